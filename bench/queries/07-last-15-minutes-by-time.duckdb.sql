select product_id, count(*) as clicks, max(price) as dearest
from events
where event_time >= timestamptz '2026-11-03 23:45:00+00'
group by product_id
