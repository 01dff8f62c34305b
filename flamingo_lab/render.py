"""From a prompt to ids: prompt -> parts, in the family's wording -> ids, by its markup. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import Markup, Rendered, Token, Words, merged
from flamingo_lab.prompt import Image, Part, Prompt
from flamingo_lab.tokens import Tokenizer
from flamingo_lab.wording import Piecewise, Wording


@dataclass(frozen=True)
class Renderer:
    """Prompts to ids, by one family's markup and wording and one checkpoint's tokenizer.

    `tokens_of` says how many tokens a picture becomes; `answers_apart`: see `Family`; `most_pictures`: that a prompt may show.
    """

    markup: Markup
    wording: Wording
    tokenizer: Tokenizer
    tokens_of: Callable[[Image], int]
    answers_apart: bool = False
    most_pictures: int | None = None

    def render(self, prompt: Prompt, continuation: str = "") -> Rendered:
        """The prompt's ids; `continuation` is the beginning of the answer."""
        if prompt.window is not None:
            prompt = self._within(prompt, prompt.window)
        self._check(len(prompt.images))
        if prompt.is_raw:
            parts, ends_utterances = prompt.turns[0].parts, prompt.ends_utterances
        else:
            # A question and its shown answer have to be one string before any is encoded or stripped.
            said = self.wording.say(prompt, self.markup.picture)
            parts, ends_utterances = tuple(merged(said)), False
            continuation = self.wording.begin(prompt, continuation) if continuation else ""
        if continuation and not self.answers_apart:
            parts = _extended(parts, continuation)
        rendered = self.markup.encode(parts, self.tokenizer, self.tokens_of, ends_utterances=ends_utterances)
        if continuation and self.answers_apart:
            ids = (*rendered.ids, *self.tokenizer.encode(continuation))
            rendered = replace(rendered, ids=ids, text=rendered.text + continuation)
        return replace(rendered, shots=prompt.shots)

    def _check(self, shown: int) -> None:
        most = self.most_pictures
        if most is not None and shown > most:
            takes = "one" if most == 1 else most
            raise BadPrompt(f"the prompt shows {shown} pictures, worked examples included; the model takes {takes}")

    def _within(self, prompt: Prompt, window: int) -> Prompt:
        """The prompt without the turns that its window does not hold."""
        if prompt.is_raw or not isinstance(self.wording, Piecewise):
            raise BadPrompt("this prompt is said whole: a window cuts the turns of Qwen-VL's chat; leave it away")
        picture = self.markup.picture

        def count(parts: Iterable[Part]) -> int:
            return len(self.markup.encode(tuple(parts), self.tokenizer, self.tokens_of, ends_utterances=False).ids)

        return self.wording.within(prompt, window, picture, count)

    def marked(self, rendered: Rendered) -> str:
        """The text as sent, with each picture's digest in its mark."""
        marks = rendered.marks or (self.markup.mark,) * len(rendered.images)
        rest = rendered.text
        pieces: list[str] = []
        for mark, image in zip(marks, rendered.images, strict=True):
            before, _, rest = rest.partition(mark)
            pieces += [before, f"{mark.removesuffix('>')}:{image.digest[:12]}>"]
        return "".join((*pieces, rest))


def _extended(parts: Sequence[Part], continuation: str) -> tuple[Part, ...]:
    """The parts with more text at the end of the last string."""
    if parts and isinstance(parts[-1], str) and not isinstance(parts[-1], Token | Words):
        return (*parts[:-1], parts[-1].rstrip(" ") + continuation)
    return (*parts, continuation)
