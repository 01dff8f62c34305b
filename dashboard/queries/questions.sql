-- The questions of a run that pass the filters, in the order in which they were asked: $most of them from $skip on, with
-- how many there are. The picture is the first of the question's own, which stand behind those of the shots.
select
    sample_id,
    left(question, 300) as question,
    left(answer, 200) as answer,
    error_kind,
    scores[$metric] as score,
    problems[$metric] as problem,
    image_digests[own] as digest,
    image_paths[own] as path,
    count(*) over () as found
from (
    select
        *,
        file_row_number as place,
        len(image_paths) - greatest(1, len(image_paths) // (len(shot_ids) + 1)) + 1 as own
    from read_parquet($files, union_by_name = true, file_row_number = true)
)
where ($text = '' or contains(lower(concat_ws(chr(10), question, answer, sample_id, array_to_string(targets, chr(10)))), lower($text)))
  and ($slice = '' or slices[$slice] = $value)
  and ($kind = '' or error_kind = $kind or list_contains(map_values(problems), $kind))
  and ($verdict <> 'right' or scores[$metric] >= 1)
  and ($verdict <> 'part' or (scores[$metric] > 0 and scores[$metric] < 1))
  and ($verdict <> 'wrong' or scores[$metric] <= 0)
  and ($verdict <> 'unread' or cardinality(problems) > 0)
  and ($verdict <> 'error' or error_kind is not null)
  and ($low is null or scores[$metric] >= $low)
  and ($high is null or scores[$metric] <= $high)
  and ($short is null or length(answer) >= $short)
  and ($long is null or length(answer) <= $long)
order by place
limit $most offset $skip
