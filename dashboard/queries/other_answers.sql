-- What each of the given runs answered to one question.
select run_id, left(answer, 200) as answer, error_kind, scores[$metric] as score
from read_parquet($files, union_by_name = true)
where sample_id = $sample
