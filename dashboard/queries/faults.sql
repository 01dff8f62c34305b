-- On how many questions each kind of error, and each reason why an answer could not be read, occurs in each run; a reason
-- that several metrics give counts once.
select run_id, 'error' as fault, error_kind as kind, count(*) as times, min(left(error, 300)) as example
from read_parquet($files, union_by_name = true)
where error_kind is not null
group by run_id, error_kind
union all
select run_id, 'unread', reason, count(*), min(left(answer, 300))
from (
    select run_id, answer, unnest(list_distinct(map_values(problems))) as reason
    from read_parquet($files, union_by_name = true)
)
group by run_id, reason
order by times desc, kind
