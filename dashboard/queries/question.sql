-- One question of a run. Long texts are cut at $most characters; how long they are stands beside them.
select
    * replace (
        left(question, $most) as question,
        left(prompt, 10 * $most) as prompt,
        left(answer_raw, $most) as answer_raw,
        left(answer, $most) as answer,
        left(error, $most) as error
    ),
    length(question) as question_length,
    length(prompt) as prompt_length,
    length(answer_raw) as answer_raw_length,
    length(answer) as answer_length
from read_parquet($files, union_by_name = true)
where sample_id = $sample
limit 1
