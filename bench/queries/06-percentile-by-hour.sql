select date_trunc('hour', event_time) as hour,
  percentile_cont(0.5) within group (order by duration_ms) as p50,
  percentile_cont(0.95) within group (order by duration_ms) as p95
from events
group by 1
