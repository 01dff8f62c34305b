"""Which of the ways to run a model is taken on the devices that there are. Decides from numbers alone, and loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from flamingo_lab.engine.budget import Room
from flamingo_lab.errors import BadSetting
from flamingo_lab.notes import note
from flamingo_lab.parallel.launched import Place
from flamingo_lab.placement import Placing
from flamingo_lab.placement.choice import Choice, gib
from flamingo_lab.placement.devices import CUDA, Machine
from flamingo_lab.placement.needs import Form
from flamingo_lab.placement.ways import Ways
from flamingo_lab.vlm import VLM


@dataclass(frozen=True)
class Plan:
    """The ways that were considered, in the order in which they are preferred, and what is done.

    `taken`: the first that fits; where none does, the first that at least holds the weights; None where none can be.
    `otherwise`: what would fit where what was asked for cannot be; lacking: what keeps further ways from being looked at.
    """

    choices: Sequence[Choice]
    taken: Choice | None
    room: Room
    otherwise: Choice | None = None
    lacking: str = ""

    @property
    def chosen(self) -> Choice:
        """What is done. Raises `BadSetting` where nothing can be, with what it would need and what there is."""
        if self.taken is None:
            raise BadSetting(self.refusal)
        return self.taken

    @property
    def devices(self) -> Sequence[torch.device]:
        """The devices of the ranks; of a rank that others started, its own."""
        return [share.device.torch for share in self.chosen.shares]

    @property
    def form(self) -> Form:
        """How the weights are held."""
        return self.chosen.form

    @property
    def slices(self) -> int:
        """How many ranks share the weights."""
        return self.chosen.slices

    @property
    def offload(self) -> bool:
        """Whether weights stay in their files."""
        return self.chosen.offload

    @property
    def placing(self) -> Placing:
        """What asks for the same again, with nothing left to be decided."""
        chosen = self.chosen
        dtype = str(chosen.form.dtype).removeprefix("torch.")
        return Placing(chosen.device, dtype, chosen.form.quant, chosen.slices, chosen.offload)

    @property
    def reason(self) -> str:
        """Why this one: what it needs of what there is, and why those before it were not taken."""
        chosen = self.chosen
        before = self.choices[: self.choices.index(chosen)]
        said = [f"needed with {chosen.name}: {chosen.against}", *_each(before)]
        if self.lacking and (chosen.offload or chosen.type != CUDA):
            said.append(self.lacking)
        return "; ".join(said)

    @property
    def shortness(self) -> str:
        """What is to be known of one that holds the weights and little more."""
        chosen = self.chosen
        return (
            f"{chosen.options} leaves room for prompts of about {chosen.tokens} tokens, and longer ones are refused; "
            f"{chosen.planned} would need {chosen.against}"
        )

    @property
    def refusal(self) -> str:
        """What is wrong where nothing can be done."""
        nearest = max(self.choices, key=lambda one: one.tightest.left)
        told = self._shortage(nearest)
        if len(self.choices) > 1:
            told = f"no way to run it fits; the nearest is {nearest.options}: {told}"
        otherwise = f"{self.otherwise.options} would do" if self.otherwise else ""
        return "; ".join(filter(None, (told, self.lacking, otherwise)))

    def _shortage(self, choice: Choice) -> str:
        share = choice.tightest
        held = share.needs.held
        what = "--offload takes" if choice.offload else "the weights and the program take"
        if self.room.memory_bytes is not None:
            told = f"--memory {gib(share.there, 2)} is less than the {gib(held, 2)} that {what}"
        else:
            told = (
                f"--device {choice.device} has room for {gib(share.there, 2)}, less than the {gib(held, 2)} that {what}"
            )
        return f"{told} in {choice.form}{share.why}"

    def say(self, name: str) -> None:
        """Note what is done with the model of this name, where it is not what one would expect without looking."""
        chosen = self.chosen
        if not chosen.fits:
            note(f"{name}: {self.shortness}")
        elif chosen is not self.choices[0]:
            note(f"{name} runs with {chosen.options}: {self.reason}")


def _each(choices: Iterable[Choice]) -> Iterator[str]:
    return (f"{one.name} in {one.form} would need {one.against}" for one in choices)


def plan(
    vlm: VLM,
    placing: Placing,
    machine: Machine,
    room: Room,
    place: Place | None = None,
    *,
    is_part: bool = False,
    is_whole: bool = False,
) -> Plan:
    """How to run a model, which is on the meta device.

    `--device auto` leaves all to be decided that is not said; with a device, only an `auto` dtype is. place: this
    process among those of the model, where others started it. is_part: of a model made of several, which is neither
    split nor offloaded. is_whole: all ways are looked at, not only up to the first that fits. Raises `BadSetting` for
    what cannot be meant.
    """
    ways = Ways(vlm, placing, machine, room, place, is_part)
    choices: list[Choice] = []
    for choice in ways.all():
        choices.append(choice)
        if choice.fits and not is_whole:
            break
    taken = next((one for one in choices if one.fits), None) or next((one for one in choices if one.tokens), None)
    otherwise = None
    if taken is None and place is None and placing != Placing():
        free = plan(vlm, Placing(), machine, room, is_part=is_part).taken
        otherwise = free if free is not None and free.fits else None
    return Plan(choices, taken, room, otherwise, ways.lacking)
