"""A run and its samples as records, schema version 4. Values are 0..1 where a score is a share."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from leaderboards.columns import table_of
from leaderboards.errors import BadSchema, BadStore
from leaderboards.kinds import misfit
from leaderboards.migrations import migrated

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 4

Status = Literal["running", "complete", "too many errors"]

SHARE = "share"
"""The unit of a score that is shown in percent: 0..1, or what is customarily shown times 100, like CIDEr."""

POINTS = "points"
"""The unit of a score that is shown as it stands."""

ALL = "all"
"""The slice that holds every sample."""


@dataclass(frozen=True)
class Score:
    """One metric on one slice of a run, with its 95 % interval and the kind of that (`interval`: Wilson's, a bootstrap).

    `n` samples were scored; `n_errors` more have no answer and take no part; `n_unparsed` of the n gave no readable answer.
    """

    metric: str
    variant: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    stderr: float | None
    n: int
    n_errors: int = 0
    n_unparsed: int = 0
    unit: str = SHARE
    interval: str | None = None


@dataclass(frozen=True)
class Run:
    """One model's answers to one task under fixed settings, and what they scored.

    `mean_of`: the slices whose unweighted mean the whole's scores are; empty for the mean over all questions. `rescored`:
    when the stored answers were last marked anew.
    `judge`: the model that graded the answers, where one did; a score belongs to it too. `peak_memory`: in bytes, of the
    device that computed; of several processes the one that held most, as far as it is known; None where an endpoint answers.
    """

    run_id: str
    status: Status
    created: str
    command: str
    model: str
    model_digest: str
    family: str
    parameters: int | None
    backend: str
    dtype: str
    task: str
    task_digest: str
    split: str
    num_fewshot: int
    shot_selection: str
    phrasing: str
    decoding: str
    seed: int
    limit: int | None
    n: int
    settings: Mapping[str, Any]
    scores: Sequence[Score] = ()
    finished: str | None = None
    quantisation: str | None = None
    judge: str | None = None
    replicas: int = 1
    n_errors: int = 0
    seconds: float = 0.0
    questions_per_second: float | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0
    peak_memory: int | None = None
    counters: Mapping[str, float] = field(default_factory=dict[str, float])
    stages: Mapping[str, float] = field(default_factory=dict[str, float])
    hardware: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    mean_of: Sequence[str] = ()
    rescored: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Run:
        """The record in `text`. Raises `BadSchema` for a newer one, `BadStore` for what is no record; both name `where`."""
        try:
            held = json.loads(text)
            version = held["schema_version"]
            if not isinstance(version, int) or version < 1:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise BadStore(f"{where}: not a run's record; move it away or restore it") from None
        if version > SCHEMA_VERSION:
            raise BadSchema(
                f"{where}: schema version {version}; this version reads up to {SCHEMA_VERSION}: update flamingo-lab"
            )
        known = {one.name for one in fields(cls)}
        try:
            held = migrated(held, version)
            held["mean_of"] = tuple(held["mean_of"])
            scores = tuple(Score(**score) for score in held.pop("scores"))
            found = cls(**{key: value for key, value in held.items() if key in known}, scores=scores)
        except (TypeError, KeyError, AttributeError) as error:
            raise BadStore(f"{where}: not a whole record ({error})") from None
        for record in (found, *scores):
            if name := misfit(record):
                said = json.dumps(getattr(record, name))[:40]
                raise BadStore(f"{where}: not a run's record ({name}: {said}); move it away or restore it")
        return found


def score_of(run: Run, metric: str, slice: str = ALL) -> Score | None:
    """A run's score under METRIC/VARIANT on a slice."""
    return next((one for one in run.scores if f"{one.metric}/{one.variant}" == metric and one.slice == slice), None)


def headline(run: Run, slice: str = ALL, also: Collection[str] = ()) -> list[Score]:
    """What a table shows of a run: the slice's score by its first metric, then those by the METRIC/VARIANT of `also` it has."""
    first = [f"{one.metric}/{one.variant}" for one in run.scores[:1]]
    found = (score_of(run, metric, slice) for metric in dict.fromkeys((*first, *also)))
    return [score for score in found if score is not None]


def parts_of(run: Run, metric: str) -> Sequence[str]:
    """The slices whose mean the run's score under METRIC/VARIANT is; none where one of them has no score."""
    scores = [score_of(run, metric, label) for label in run.mean_of]
    return tuple(run.mean_of) if all(score is not None and score.value is not None for score in scores) else ()


class Term(NamedTuple):
    """What a question adds to a figure that is no mean of scores: such a figure is the sum of its groups' above / below.

    POPE's F1 has one group, with twice the right yes above, and below the yes that were said and those that are true.
    """

    group: str
    above: float
    below: float


@dataclass(frozen=True)
class SampleRecord:
    """One question of a run: what was asked, as sent, what came back, and what it scored.

    `problems` says, for each metric that could read nothing in the answer, why. `terms`: by METRIC/VARIANT, for figures that
    are no mean of `scores`; by `on_slice` where a slice's are others than the whole's.
    """

    run_id: str
    sample_id: str
    document: str
    image_digests: Sequence[str]
    image_paths: Sequence[str]
    question: str
    targets: Sequence[str]
    choices: Sequence[str]
    prompt: str
    shot_ids: Sequence[str]
    answer_raw: str | None
    answer: str | None
    logprob: float | None
    option_logprobs: Sequence[float] | None
    scores: Mapping[str, float]
    slices: Mapping[str, str]
    error_kind: str | None
    error: str | None
    prompt_tokens: int
    generated_tokens: int
    n_images: int
    seconds: float
    trace: str | None
    problems: Mapping[str, str] = field(default_factory=dict[str, str])
    terms: Mapping[str, Sequence[Term]] = field(default_factory=dict[str, Sequence[Term]])

    @classmethod
    def of_row(cls, columns: Sequence[str], row: Sequence[Any]) -> SampleRecord:
        """The record in a row of samples, of files of any version."""
        held = dict(zip(columns, row, strict=True))
        terms: Mapping[str, Sequence[Mapping[str, Any]]] = held.get("terms") or {}
        held["terms"] = {key: [Term(**term) for term in found] for key, found in terms.items()}
        return cls(**held)


def on_slice(metric: str, slice: str) -> str:
    """What a figure's terms on a slice are kept under, where they are others than on the whole."""
    return f"{metric} on {slice}"


def sample_schema() -> pa.Schema:
    """Columns of `samples.parquet`, in the order of `SampleRecord`'s fields."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    types = {
        **dict.fromkeys(("image_digests", "image_paths", "targets", "choices", "shot_ids"), texts),
        **dict.fromkeys(("logprob", "seconds"), pa.float64()),
        **dict.fromkeys(("prompt_tokens", "generated_tokens", "n_images"), pa.int64()),
        "option_logprobs": pa.list_(pa.float64()),
        "scores": pa.map_(text, pa.float64()),
        "slices": pa.map_(text, text),
        "problems": pa.map_(text, text),
        "terms": pa.map_(
            text, pa.list_(pa.struct([("group", text), ("above", pa.float64()), ("below", pa.float64())]))
        ),
    }
    named = [(one.name, types.get(one.name, text)) for one in fields(SampleRecord)]
    return pa.schema(named, metadata={"schema_version": str(SCHEMA_VERSION)})


def samples_table(samples: Sequence[SampleRecord]) -> pa.Table:
    """The records as an Arrow table."""
    return table_of([_row(sample) for sample in samples], sample_schema())


def _row(sample: SampleRecord) -> Mapping[str, Any]:
    """A record with its maps as lists of pairs."""
    held = asdict(sample)
    held["terms"] = {key: [term._asdict() for term in found] for key, found in sample.terms.items()}
    maps = {name: _pairs(value) for name, value in held.items() if isinstance(value, Mapping)}
    return {**held, **maps}


def _pairs(held: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [{"key": key, "value": value} for key, value in held.items()]
