-- As scores.sql, where the whole is the unweighted mean of parts (slices, KEY=VALUE): each score is weighted so that the
-- plain mean of a run's rows is the mean of its parts' means.
with rows as (
    select
        run_id,
        hash(sample_id) as question,
        hash(document) as document,
        scores[$metric] as score,
        list_filter(
            list_transform(map_entries(slices), lambda x: x.key || '=' || x.value), lambda x: list_contains($parts, x)
        )[1] as part
    from read_parquet($files, union_by_name = true)
    where error_kind is null and scores[$metric] is not null
)
select
    run_id,
    question,
    document,
    score * count(*) over (partition by run_id) / (count(*) over (partition by run_id, part) * len($parts)) as score
from rows
where part is not null
