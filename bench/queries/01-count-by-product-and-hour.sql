select product_id, date_trunc('hour', event_time) as hour, count(*) as clicks
from events
group by 1, 2
