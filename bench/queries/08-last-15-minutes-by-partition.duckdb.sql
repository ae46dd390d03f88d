select product_id, count(*) as clicks, max(price) as dearest
from events
where year = 2026 and month = 11 and day = 3 and hour = 23
  and event_time >= timestamptz '2026-11-03 23:45:00+00'
group by product_id
