-- The pictures of some questions, and how many shots stand before them.
select sample_id, shot_ids, image_digests, image_paths
from read_parquet($files, union_by_name = true)
where list_contains($samples, sample_id)
