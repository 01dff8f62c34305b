-- One question of a run. Long texts are cut at $most characters; how long they are stands beside them. Of a prompt longer
-- than $longest the middle is left out, as the question stands at its end.
select
    * replace (
        left(question, $most) as question,
        if(length(prompt) > $longest, left(prompt, $longest // 2), prompt) as prompt,
        left(answer_raw, $most) as answer_raw,
        left(answer, $most) as answer,
        left(error, $most) as error
    ),
    length(question) as question_length,
    length(prompt) as prompt_length,
    if(length(prompt) > $longest, right(prompt, $longest // 2), '') as prompt_end,
    length(answer_raw) as answer_raw_length,
    length(answer) as answer_length,
    length(error) as error_length
from read_parquet($files, union_by_name = true)
where sample_id = $sample
limit 1
