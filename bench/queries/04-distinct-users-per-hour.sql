select date_trunc('hour', event_time) as hour, count(distinct user_id) as users
from events
group by 1
