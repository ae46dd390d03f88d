select
  count(*) as sessions,
  sum(case when viewed is not null then 1 else 0 end) as viewers,
  sum(case when added > viewed then 1 else 0 end) as adders,
  sum(case when bought > added and added > viewed then 1 else 0 end) as buyers
from (
  select session_id,
    min(case when action = 'view' then event_time end) as viewed,
    min(case when action = 'add' then event_time end) as added,
    max(case when action = 'buy' then event_time end) as bought
  from events
  group by session_id
) as steps
