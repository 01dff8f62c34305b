-- As scores.sql, for the questions of one slice, KEY=VALUE.
select run_id, hash(sample_id) as question, hash(document) as document, scores[$metric] as score
from read_parquet($files, union_by_name = true)
where error_kind is null and scores[$metric] is not null
    and list_contains(list_transform(map_entries(slices), lambda x: x.key || '=' || x.value), $slice)
