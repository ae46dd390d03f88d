select date_trunc('hour', event_time) as hour,
  quantileExactInclusive(0.5)(duration_ms) as p50,
  quantileExactInclusive(0.95)(duration_ms) as p95
from events
group by 1
