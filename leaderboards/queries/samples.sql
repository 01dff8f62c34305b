-- Every sample of the given Parquet files, in the order in which each run asked.
select *
from read_parquet($files, union_by_name = true)
