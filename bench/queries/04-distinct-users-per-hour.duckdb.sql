-- An instant in UTC taken as a time without zone: date_trunc of a time with zone costs DuckDB four times as much.
select date_trunc('hour', make_timestamp(epoch_us(event_time))) as hour, count(distinct user_id) as users
from events
group by 1
