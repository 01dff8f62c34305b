-- What each answered question of the given runs adds to a figure that is no mean of scores, a line a term; a question that adds
-- nothing has one line without a term. `parts` are slices whose mean the figure is; each question's stands beside it. A slice's
-- own terms, where it has some, go before the whole's.
with samples as (
    select null::map(varchar, struct("group" varchar, above double, below double)[]) as terms where false
    union all by name
    select * from read_parquet($files, union_by_name = true)
),
labelled as (
    select *, list_transform(map_entries(slices), lambda x: x.key || '=' || x.value) as labels
    from samples
    where error_kind is null
),
told as (
    select
        run_id,
        hash(sample_id) as question,
        hash(document) as document,
        if($slice = 'all', list_filter(labels, lambda x: list_contains($parts, x))[1], $slice) as part,
        terms
    from labelled
    where $slice = 'all' or list_contains(labels, $slice)
),
held as (
    select
        * exclude (terms),
        unnest(coalesce(nullif(coalesce(terms[$metric || ' on ' || part], terms[$metric]), []), [null])) as term
    from told
)
select run_id, question, document, part, term."group" as "group", term.above as above, term.below as below
from held
