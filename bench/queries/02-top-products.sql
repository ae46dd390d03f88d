select product_id, count(*) as clicks
from events
group by product_id
order by clicks desc, product_id
limit 10
