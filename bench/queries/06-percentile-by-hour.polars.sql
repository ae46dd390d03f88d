select date_trunc('hour', event_time) as hour,
  quantile_cont(duration_ms, 0.5) as p50,
  quantile_cont(duration_ms, 0.95) as p95
from events
group by 1
