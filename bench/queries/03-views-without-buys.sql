select count(*) as sessions
from (
  select session_id
  from events
  group by session_id
  having sum(case when action = 'view' then 1 else 0 end) >= 5
     and sum(case when action = 'buy' then 1 else 0 end) = 0
) as lookers
