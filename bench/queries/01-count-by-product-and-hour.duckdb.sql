-- An instant in UTC taken as a time without zone: date_trunc of a time with zone costs DuckDB four times as much.
select product_id, date_trunc('hour', make_timestamp(epoch_us(event_time))) as hour, count(*) as clicks
from events
group by 1, 2
