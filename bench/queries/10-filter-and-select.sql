select event_time, event_id, product_id, session_id, price
from events
where action = 'buy' and country = 'SE' and price > 150
order by event_time desc, event_id
limit 1000
