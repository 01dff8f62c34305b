-- What each answered question of the given runs scored under a metric; questions and documents by a hash of their names.
select run_id, hash(sample_id) as question, hash(document) as document, scores[$metric] as score
from read_parquet($files, union_by_name = true)
where error_kind is null and scores[$metric] is not null
