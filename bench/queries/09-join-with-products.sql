select products.section, count(*) as clicks, sum(events.quantity) as pieces
from events
join (
  values ('p000', 'entrance'), ('p001', 'entrance'), ('p002', 'entrance'), ('p003', 'window'), ('p004', 'window'),
         ('p005', 'window'), ('p010', 'shelf'), ('p020', 'shelf'), ('p030', 'shelf'), ('p040', 'shelf'),
         ('p050', 'store'), ('p100', 'store'), ('p150', 'store'), ('p199', 'store')
) as products (product_id, section) on events.product_id = products.product_id
group by products.section
