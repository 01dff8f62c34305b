-- The questions on which two runs' scores differ, the largest difference first, then by how sure both models were of what
-- they said. Sure is the probability of the chosen option among all, or a token's mean probability in a free answer.
with answered as (
    select
        *,
        scores[$metric] as score,
        case
            when option_logprobs is not null
            then 1 / list_sum(list_transform(option_logprobs, lambda x: exp(x - list_max(option_logprobs))))
            else exp(logprob / greatest(generated_tokens, 1))
        end as sure
    from read_parquet($files, union_by_name = true)
    where error_kind is null
)
select
    a.sample_id,
    a.document,
    a.question,
    a.targets,
    a.choices,
    a.image_digests,
    a.image_paths,
    a.slices,
    a.answer as answer_a,
    b.answer as answer_b,
    a.score as score_a,
    b.score as score_b,
    b.score - a.score as difference,
    if(a.sure is null or b.sure is null, null, least(a.sure, b.sure)) as sure,
    a.prompt = b.prompt as has_same_prompt
from (select * from answered where run_id = $a) as a
join (select * from answered where run_id = $b) as b using (sample_id)
where abs(a.score - b.score) > 1e-9
    and ($slice = 'all' or list_contains(list_transform(map_entries(a.slices), lambda x: x.key || '=' || x.value), $slice))
order by abs(difference) desc, sure desc nulls last, sample_id
limit $limit offset $offset
