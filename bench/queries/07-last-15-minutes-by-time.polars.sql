select product_id, count(*) as clicks, max(price) as dearest
from events
where event_time >= '2026-11-03 23:45:00'
group by product_id
