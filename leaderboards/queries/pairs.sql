-- Two runs' questions side by side. Of a question that only one of them has the other side is empty.
-- Questions of one document share a number, counted from 0.
with first as (
    select null::map(varchar, struct("group" varchar, above double, below double)[]) as terms where false
    union all by name
    select * from read_parquet($files[1]) where run_id = $a
),
second as (
    select null::map(varchar, struct("group" varchar, above double, below double)[]) as terms where false
    union all by name
    select * from read_parquet($files[2]) where run_id = $b
)
select
    a.sample_id is not null as in_a,
    b.sample_id is not null as in_b,
    a.error_kind as error_a,
    b.error_kind as error_b,
    a.targets is distinct from b.targets as is_changed,
    dense_rank() over (order by coalesce(a.document, b.document)) - 1 as cluster,
    coalesce(a.slices, b.slices) as slices,
    a.scores as scores_a,
    b.scores as scores_b,
    a.terms as terms_a,
    b.terms as terms_b
from first as a
full join second as b using (sample_id)
