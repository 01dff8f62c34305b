"""The ways to run a model that are left by what was asked for, the preferred ones first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from flamingo_lab.engine.budget import Room
from flamingo_lab.errors import BadSetting
from flamingo_lab.parallel import plan as sharing
from flamingo_lab.parallel.launched import Place
from flamingo_lab.placement import Placing, needs
from flamingo_lab.placement.choice import Choice, Share
from flamingo_lab.placement.devices import AUTO, CUDA, Device, Machine, dtype_named, dtype_on_cpu, named
from flamingo_lab.placement.needs import WHOLE, Form, Slice
from flamingo_lab.quant import FORMS, TORCHAO, check_form, check_kernels, lacks_torchao
from flamingo_lab.quant.linear import has_kernel
from flamingo_lab.vlm import VLM


class Ways:
    """The ways that are left by what was asked for, weighed one after the other."""

    def __init__(
        self, vlm: VLM, placing: Placing, machine: Machine, room: Room, place: Place | None, is_part: bool
    ) -> None:
        devices = named(placing.device, machine)
        self._vlm, self._placing, self._room, self._place = vlm, placing, room, place
        self._is_open = placing.device == AUTO
        self._may_spread = self._is_open and not is_part and place is None
        self._gpus = [device for device in devices if device.type == CUDA]
        self._cpus = [device for device in devices if device.type != CUDA]
        self._planned = needs.planned_tokens(vlm.architecture, room.batch_tokens)
        listed = len(self._gpus) if "," in placing.device else 1
        self._ranks = placing.tensor_parallel if placing.tensor_parallel > 1 else listed
        self._dtype = None if placing.dtype == AUTO else dtype_named(placing.dtype)
        self._check(is_part)

    def all(self) -> Iterator[Choice]:
        """The ways, the preferred ones first."""
        quant = self._placing.quant
        if self._ranks > 1:
            yield from self._split()
        elif self._placing.offload:
            yield from self._offloaded()
        else:
            yield from self._on_one_gpu(quant)
            if self._may_spread and quant is None:
                yield from self._over_gpus()
            if self._is_open and quant is None and self._dtype is None:
                for form in FORMS:
                    yield from self._on_one_gpu(form)
            yield from self._on_cpu(quant)
            if self._may_spread and quant is None:
                yield from self._offloaded()

    @property
    def lacking(self) -> str:
        """What keeps forms of fewer bits from being looked at on a GPU, where a package does."""
        is_skipped = self._placing == Placing() and self._gpus and not any(gpu.forms for gpu in self._gpus)
        return f"{' and '.join(FORMS)} on a GPU need {TORCHAO}" if is_skipped and lacks_torchao() else ""

    def _on_one_gpu(self, quant: str | None) -> Iterator[Choice]:
        able = [device for device in self._gpus if quant is None or quant in device.forms]
        yield from self._best(self._held(self._form(device, quant), device) for device in able)

    def _on_cpu(self, quant: str | None) -> Iterator[Choice]:
        for device in self._cpus:
            if quant is None or quant in device.forms:
                for form in self._forms(device, quant):
                    yield self._held(form, device)

    def _over_gpus(self) -> Iterator[Choice]:
        built = self._vlm.architecture
        for count in range(2, len(self._gpus) + 1):
            if sharing.is_possible(built, count):
                yield self._sliced(self._roomiest(count), count)

    def _split(self) -> Iterator[Choice]:
        count = self._local_ranks
        if len(self._gpus) >= self._gpus_to_see:
            yield self._sliced(self._gpus if self._place else self._roomiest(count), self._ranks)
        for device in self._cpus:
            for form in self._forms(device, None):
                yield self._sliced([device] * count, self._ranks, form)

    def _offloaded(self) -> Iterator[Choice]:
        yield from self._best(self._streamed(self._form(device, None), device) for device in self._gpus)
        for device in self._cpus:
            for form in self._forms(device, None):
                yield self._streamed(form, device)

    def _best(self, choices: Iterable[Choice]) -> Iterator[Choice]:
        """Of the same on several devices the first that fits, or the one that lacks least."""
        looked: list[Choice] = []
        for choice in choices:
            if choice.fits:
                yield choice
                return
            looked.append(choice)
        if looked:
            yield max(looked, key=lambda one: one.tightest.spare)

    def _roomiest(self, count: int) -> Sequence[Device]:
        """So many GPUs with the most room, in the order of their numbers."""
        most = sorted(self._gpus, key=self._there, reverse=True)[:count]
        return sorted(most, key=lambda device: device.index)

    def _form(self, device: Device, quant: str | None) -> Form:
        return self._forms(device, quant)[0]

    def _forms(self, device: Device, quant: str | None) -> Sequence[Form]:
        """How weights are held there: as is said, else in the dtype that is best, then in one of fewer bytes."""
        if self._dtype is not None:
            return [Form(self._dtype, quant)]
        if device.type == CUDA:
            return [Form(torch.bfloat16, quant)]
        if quant == "int8" and has_kernel():  # which multiplies bfloat16 alone
            return [Form(torch.bfloat16, quant)]
        parameters = sum(parameter.numel() for parameter in self._vlm.parameters())
        return [Form(one, quant) for one in dict.fromkeys((dtype_on_cpu(parameters, device), torch.bfloat16))]

    def _held(self, form: Form, device: Device) -> Choice:
        return Choice(form, [self._share(form, device)], self._planned)

    def _sliced(self, devices: Sequence[Device], ranks: int, form: Form | None = None) -> Choice:
        form = form or self._form(devices[0], None)
        if self._place is None:
            owns = [(rank, devices[rank]) for rank in range(ranks)]
        else:
            owns = [(self._place.rank, devices[self._place.local_rank % len(devices)])]
        return Choice(form, [self._share(form, on, Slice(rank, ranks)) for rank, on in owns], self._planned, ranks)

    def _streamed(self, form: Form, device: Device) -> Choice:
        there = self._there(device)
        needed = needs.offloaded(self._vlm, form.dtype, device, self._planned, there)
        why = needs.streamed(self._vlm, form.dtype).said
        left = there - needed.held
        tokens = needs.tokens_within(left, self._vlm, form.dtype)
        return Choice(form, [Share(device, needed, there, tokens, why)], self._planned, offload=True)

    def _share(self, form: Form, device: Device, own: Slice = WHOLE) -> Share:
        there = self._there(device)
        needed = needs.resident(self._vlm, form, device, self._planned, own)
        left = there - needed.held
        return Share(device, needed, there, needs.tokens_within(left, self._vlm, form.dtype, own))

    def _there(self, device: Device) -> int:
        """What this process may have of a device's memory. Ranks on one CPU share what is free."""
        neighbours = self._local_ranks if device.type != CUDA else 1
        return min(self._room.bound(device.memory.taken, device.memory.free, neighbours), device.total)

    @property
    def _gpus_to_see(self) -> int:
        """GPUs that this process has to see: those of all ranks here, or the one alone that it was given."""
        has_own = self._place is not None and self._place.has_own_gpu and len(self._gpus) == 1
        return 1 if has_own else self._local_ranks

    @property
    def _local_ranks(self) -> int:
        """Ranks on this machine."""
        return self._place.local_ranks if self._place and self._ranks > 1 else self._ranks

    def _check(self, is_part: bool) -> None:
        """Raises `BadSetting` for options that exclude each other, and for more ranks than can be."""
        placing, ranks = self._placing, self._ranks
        option = "--tensor-parallel" if placing.tensor_parallel > 1 else f"--device {placing.device}"
        for other, is_given in (("--offload", placing.offload), ("--quant", placing.quant is not None)):
            if is_given and ranks > 1:
                raise BadSetting(f"{option} and {other} do not go together; leave one of them away")
        if placing.offload and placing.quant is not None:
            raise BadSetting("--offload leaves weights as they are in their files: leave --quant away")
        if placing.quant is not None:
            self._check_kernels(placing.quant)
        if ranks == 1:
            return
        if self._place is not None and placing.tensor_parallel == 1:
            raise BadSetting(
                f"--device {placing.device} names several GPUs: of {self._place.ranks} processes that were started "
                f"together each has one; say --tensor-parallel {self._place.ranks} too"
            )
        if is_part:
            raise BadSetting(f"{option}: a model that is made of several is not split")
        sharing.check(self._vlm.architecture, ranks)
        if self._place is not None and self._place.ranks != ranks:
            raise BadSetting(
                f"--tensor-parallel {ranks}, but {self._place.ranks} processes were started together; "
                f"say {self._place.ranks}"
            )
        if len(self._gpus) < self._gpus_to_see and (self._gpus or not self._cpus):
            if ":" in placing.device:
                has = "one GPU" if len(self._gpus) == 1 else f"{len(self._gpus)} GPUs"
                raise BadSetting(
                    f"--device {placing.device} is {has}, and --tensor-parallel {ranks} takes one a process; say cuda"
                )
            raise BadSetting(
                f"--tensor-parallel {ranks} needs {self._local_ranks} GPUs on this machine, which has {len(self._gpus)}"
                f"{self._instead}"
            )

    def _check_kernels(self, quant: str) -> None:
        check_form(quant)
        devices = self._gpus or self._cpus
        if any(quant in device.forms for device in devices):
            return
        try:
            check_kernels(quant, devices[0].type)
        except BadSetting as error:
            raise BadSetting(f"{error}{self._instead}") from None

    @property
    def _instead(self) -> str:
        """What is told of the CPU where GPUs cannot do what was asked for: it is never taken for them unasked."""
        return "; --device cpu would do" if self._gpus and self._cpus else ""
