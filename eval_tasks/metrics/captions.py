"""Captions: CIDEr-D first, then BLEU, METEOR and ROUGE-L, through pycocoevalcap 1.2 (targets are the reference captions).

CIDEr weighs words by how many of the set's pictures have them in a reference, so a part of a set has another score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval_tasks.captions_java import check, meteor, tokenise
from eval_tasks.errors import BadRow
from eval_tasks.metrics import HEADLINE, Figure, Item, Metric, Outcome, about, mean_figure


@dataclass(frozen=True)
class Caption:
    """A candidate and its references as they are compared, what METEOR counted, and how large the set was."""

    candidate: str
    references: tuple[str, ...]
    statistics: str
    of: int


def ptb(items: Sequence[Item]) -> Sequence[Outcome]:
    """pycocoevalcap with its PTB tokenizer, as COCO's and nocaps' servers: punctuation and case do not count."""
    return _marked(items, tokenise)


def raw(items: Sequence[Item]) -> Sequence[Outcome]:
    """pycocoevalcap on the texts as they stand, without its tokenizer (nlg-eval, VLMEvalKit): both count."""
    return _marked(items, list)


def _marked(items: Sequence[Item], prepare: Callable[[Sequence[str]], list[str]]) -> Sequence[Outcome]:
    """Each caption's CIDEr in its set. References go first and all at once, then candidates, as in pycocoevalcap."""
    if not items:
        return []
    scorer = meteor()
    targets = [item.targets.texts for item in items]
    if not all(targets):
        raise BadRow("a picture has no reference captions to compare with")
    prepared = iter(prepare([text for texts in targets for text in texts]))
    references = [tuple(next(prepared) for _ in texts) for texts in targets]
    candidates = prepare([item.prediction.text for item in items])
    captions = [
        Caption(candidate, texts, scorer.statistics(candidate, texts), len(items))
        for candidate, texts in zip(candidates, references, strict=True)
    ]
    return [Outcome(score, caption) for score, caption in zip(_cider(captions), captions, strict=True)]


def figures(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """CIDEr, BLEU of one to four words, METEOR and ROUGE-L of the set, under the names that pycocoevalcap gives them.

    A slice's CIDEr weighs words by the slice's own references.
    """
    names = (HEADLINE, "Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L")
    if not outcomes:
        return dict.fromkeys(names, Figure(None))
    captions: list[Caption] = [outcome.read for outcome in outcomes]
    is_whole = all(caption.of == len(captions) for caption in captions)
    cider = [outcome.score for outcome in outcomes] if is_whole else _cider(captions)
    documents = [item.document for item in items]
    found = (
        mean_figure(cider, documents),
        *(Figure(value) for value in _bleu(captions)),
        Figure(meteor().score([caption.statistics for caption in captions])),
        mean_figure(_rouge(captions), documents),
    )
    return dict(zip(names, found, strict=True))


def _cider(captions: Sequence[Caption]) -> list[float]:
    from pycocoevalcap.cider.cider import Cider

    if not any(text.split() for caption in captions for text in caption.references):
        return [0.0] * len(captions)  # pycocoevalcap fails where there is no word to weigh
    return Cider().compute_score(*_as_dicts(captions))[1].tolist()


def _bleu(captions: Sequence[Caption]) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu

    return Bleu(4).compute_score(*_as_dicts(captions), verbose=0)[0]


def _rouge(captions: Sequence[Caption]) -> list[float]:
    from pycocoevalcap.rouge.rouge import Rouge

    return Rouge().compute_score(*_as_dicts(captions))[1].tolist()


def _as_dicts(captions: Sequence[Caption]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and candidates by number, as pycocoevalcap's scorers take them."""
    references = {number: list(caption.references) for number, caption in enumerate(captions)}
    return references, {number: [caption.candidate] for number, caption in enumerate(captions)}


VARIANTS = {
    "ptb": Metric(ptb, about(ptb), figures, needs_all=True, check=check),
    "raw": Metric(raw, about(raw), figures, needs_all=True, check=check),
}
