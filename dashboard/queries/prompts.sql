-- The prompts of some questions, each run's by itself.
select run_id, sample_id, left(prompt, 4000) as prompt
from read_parquet($files, union_by_name = true)
where list_contains($samples, sample_id)
