"""Programs: neighbouring kernels of a plan on a GPU, handed to the driver in one call.

cuda_plan.py gives a ProgramStep the kernels and views between two steps of other kinds. What happens from run
to run is known when the plan is made but for the addresses of memory and the user's numbers, so those are all
that a run hands over, and what kernels leave for each other has no object of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.cuda_generate import CudaSource, generate_cuda
from toonygrad.codegen.cuda_loops import TEMPORARY, ThreadCarry
from toonygrad.config import counters
from toonygrad.dtypes import REAL_PART, float16, float32
from toonygrad.runtime.compile import scalar_bits
from toonygrad.runtime.device import Checks, Device, DeviceBuffer, Layout, Memory, layout_of
from toonygrad.runtime.driver import REPEATED, UNALIGNED, Call, Runnable
from toonygrad.runtime.plan import RunStep, Slots, number_slot
from toonygrad.schedule.fusion import Alias, Kernel, schedule
from toonygrad.schedule.ranges import viewed
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import contiguous_strides

_WORD = np.dtype(np.int64)
# Of one form, each a graph that costs memory of the GPU's.
_MOST_PROGRAMS = 2
# What blocks of a kernel tell one another in.
_PUBLISHED = np.dtype(np.uint64)


class Given(NamedTuple):
    """Something a program is given anew for each run.

    Attributes
    ----------
    kind : "memory" and "number" of a slot, or "block" of memory that the program takes
    slot : of a block its number
    part : of a complex number, 0 or 1
    """

    kind: str
    slot: int
    part: int | None = None


class Place(NamedTuple):
    """Memory as a program knows it: what it is given, and bytes from there; how elements lie."""

    given: Given
    offset: int
    layout: Layout


def given_place(slot: int, layout: Layout) -> Place:
    """Memory that a slot holds when a program is run."""
    return Place(Given("memory", slot), 0, layout)


class Launch(NamedTuple):
    """A Call of a kernel that isn't loaded yet."""

    text: str
    name: str
    parameters: tuple[Parameter, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[tuple[Given | None, int], ...]


class Clear(NamedTuple):
    """Zeros over memory."""

    place: Place


@dataclass
class _Block:
    layout: Layout  # of what is first kept there
    users: int = 1


@dataclass
class Written:
    """A program as it is written down, step by step.

    Attributes
    ----------
    unaligned : memory whose address is no multiple of VECTOR_BYTES
    calls : what is to be done, in order
    places : where the elements of each slot are
    blocks : of memory to be taken; a step has one that was given back before if there is one of its size
    vectors : memory whose alignment decided which kernels are here
    checks : the words of each kernel that checks indices, and what they say
    nbytes : of all results and temporaries
    """

    device: Device
    unaligned: frozenset[Given]
    calls: list[Launch | Clear] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    blocks: list[_Block] = field(default_factory=list)
    vectors: set[Given] = field(default_factory=set)
    checks: list[tuple[Place, Sequence[tuple[str, int, int]]]] = field(default_factory=list)
    nbytes: int = 0
    _idle: dict[int, list[int]] = field(default_factory=dict)

    def take(self, layout: Layout) -> Place:
        """A block for a layout without gaps."""
        self.nbytes += layout.nbytes
        idle = self._idle.get(layout.size)
        if idle:
            number = idle.pop()
            self.blocks[number].users = 1
        else:
            number = len(self.blocks)
            self.blocks.append(_Block(layout))
        return Place(Given("block", number), 0, layout)

    def give_back(self, place: Place) -> None:
        """One user fewer; memory that nobody uses any more is there for later steps."""
        kind, number = place.given[:2]
        if kind == "block":
            block = self.blocks[number]
            block.users -= 1
            if not block.users:
                self._idle.setdefault(block.layout.size, []).append(number)

    def clear(self, place: Place) -> None:
        """Zeros over a block."""
        self.calls.append(Clear(place))

    def view(self, slot: int, source: int, path: Sequence[UOp]) -> None:
        """A slot that shows movement of another one."""
        place = self.places[source]
        offset, shape, strides = place.offset, place.layout.shape, place.layout.strides
        for node in path:
            found = viewed(node, shape, strides)
            assert found is not None, "an alias is what strides can show"
            offset += found[0]
            shape, strides = node.shape, found[1]
        self.places[slot] = Place(
            place.given, offset, layout_of(self.device, place.layout.dtype, shape, strides)
        )
        if place.given.kind == "block":
            self.blocks[place.given.slot].users += 1

    def kernel(self, kernel: Kernel, source: CudaSource, slot: Mapping[UOp, int]) -> None:
        """A kernel, and those that run before it on chunks."""
        device = self.device
        made = []
        for node in kernel.writes:
            # The parts of a concatenation write into one memory, which the first of them takes.
            place = self.places.get(slot[node])
            if place is None:
                place = self.places[slot[node]] = self.take(layout_of(device, node.dtype, node.shape))
            made.append(place)
        temporaries = [self.take(layout_of(device, dtype, (size,))) for dtype, size in source.temporaries]
        made += temporaries
        words = None
        if kernel.checks:
            words = self.take(layout_of(device, _WORD, (len(kernel.checks),)))
            self.clear(words)
            self.checks.append((words, kernel.checks))
        carries: list[Place] = []
        if source.totals is not None:
            totals = [
                self.take(layout_of(device, carry.dtype, (carry.rows, carry.chunks)))
                for carry in source.carries
            ]
            self._launch(kernel, source, slot, made, words, totals, "totals")
            for own, carry in zip(totals, source.carries, strict=True):
                carries.append(self._own(_scanning(carry), own))
                self.give_back(own)
        for count in source.words:
            carries.append(self.take(layout_of(device, _PUBLISHED, (count,))))
            self.clear(carries[-1])
        if source.before is not None:
            self._launch(kernel, source, slot, made, words, (), "before")
        self._launch(kernel, source, slot, made, words, carries)
        for place in (*carries, *temporaries):
            self.give_back(place)

    def _own(self, made: tuple[Kernel, UOp, UOp], place: Place) -> Place:
        """What a kernel of the engine's own makes of memory."""
        kernel, given, result = made
        source = generate_cuda(kernel)
        assert source is not None
        outside, self.places = self.places, {0: place}
        self.kernel(kernel, source, {given: 0, result: 1})
        inside, self.places = self.places, outside
        return inside[1]

    def _launch(
        self,
        kernel: Kernel,
        source: CudaSource,
        slot: Mapping[UOp, int],
        made: Sequence[Place],
        words: Place | None,
        carries: Sequence[Place],
        chunks: str | None = None,
    ) -> None:
        form = _part_of(source, chunks)
        pointers = self._pointers(kernel, form, slot, made)
        for name in form.aligned:
            given, offset = pointers[name]
            if given.kind == "memory":
                self.vectors.add(given)
            if offset % VECTOR_BYTES or given in self.unaligned:
                form = _part_of(generate_cuda(kernel, vectors=False), chunks)
                pointers = self._pointers(kernel, form, slot, made)
                break
        arguments: list[tuple[Given | None, int]] = list(pointers.values())
        arguments += [(carry.given, carry.offset) for _, carry in zip(form.arguments.carries, carries)]
        # Where no index is left to check, as into an axis of size one, a kernel takes no status.
        if any(parameter.name == "status" for parameter in form.parameters):
            assert words is not None
            arguments.append((words.given, words.offset))
        arguments += [(None, value) for value in form.arguments.integers.values()]
        for node in form.arguments.numbers:
            arguments.append((Given("number", *number_slot(node, kernel, slot)), 0))
        assert len(arguments) == len(form.parameters)
        self.calls.append(Launch(form.text, form.name, form.parameters, *form.launch, tuple(arguments)))

    def _pointers(
        self, kernel: Kernel, source: CudaSource, slot: Mapping[UOp, int], made: Sequence[Place]
    ) -> dict[str, tuple[Given, int]]:
        found = {}
        ordered = source.arguments.ordered_pointers()
        for parameter, ((output, k, offset), pointer) in zip(source.parameters, ordered, strict=False):
            if k < 0:  # temporaries stand behind the outputs
                place = made[len(kernel.writes) + TEMPORARY - k]
            else:
                place = made[k] if output else self.places[slot[kernel.arrays[k]]]
            found[parameter.name] = place.given, place.offset + offset * pointer.dtype.itemsize
        return found


def _part_of(source: CudaSource | None, chunks: str | None) -> CudaSource:
    """A kernel's source, or that of what runs before it on chunks, by its name."""
    form = source if chunks is None else getattr(source, chunks)
    assert isinstance(form, CudaSource)
    return form


def _scanning(carry: ThreadCarry) -> tuple[Kernel, UOp, UOp]:
    """The kernel that makes, of chunks' totals, those of all chunks up to each; the ARGUMENT that stands for
    the totals; the result.
    """
    shape = (carry.rows, carry.chunks)
    totals = UOp.new(Ops.ARGUMENT, (), (0, carry.dtype, shape, contiguous_strides(shape)))
    node = UOp.new(Ops.SCAN, (totals,), (carry.op, 1))
    (kernel,) = schedule({node: "a scan in chunks is put together"})
    assert isinstance(kernel, Kernel)
    return kernel, totals, node


# -- run -----------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A step of a plan inside a program, and the slots that nobody needs after it."""

    step: Kernel | Alias
    source: CudaSource | None
    dead: tuple[int, ...]

    def touched(self, slot: Mapping[UOp, int]) -> set[int]:
        """The slots it reads and writes."""
        return {slot[node] for node in (*self.step.reads, *self.step.writes)}


class ProgramStep(RunStep):
    """Kernels and views of a plan, one after another.

    Parameters
    ----------
    parts : what it does
    slot : of each stored node
    read : where the elements of slots are that are filled before
    kept : slots that somebody needs afterwards
    """

    def __init__(
        self,
        device: Device,
        parts: Sequence[Part],
        slot: Mapping[UOp, int],
        read: Mapping[int, Place],
        kept: Collection[int],
    ) -> None:
        self._device, self._parts, self._slot, self._read, self._kept = device, parts, slot, read, kept
        self.dead = tuple(number for part in parts for number in part.dead)
        self._aligned = self._written(frozenset())
        self._memory = tuple(read)
        own = {n: place for n, place in self._aligned.places.items() if n in kept and n not in read}
        results = [place for place in own.values() if place.given.kind == "block"]
        # The blocks that outlive a run.
        results += [place for place, _ in self._aligned.checks]
        sizes = {place.given.slot: self._aligned.blocks[place.given.slot].layout.size for place in results}
        self._lasting = tuple(sorted(sizes, key=sizes.__getitem__))
        # The slots it fills: which of those or which slot has the memory, the first byte, and the layout.
        self._results, self._views = [], []
        for n, (given, offset, layout) in own.items():
            if given.kind == "block":
                self._results.append((n, self._lasting.index(given.slot), offset, layout))
            else:
                self._views.append((n, given.slot, offset, layout))
        self._checked: list[tuple[int, int, Layout, Sequence[tuple[str, int, int]]]] = []
        self._forms: dict[frozenset[Given], _Form] = {}
        self._form: _Form | None = None

    @property
    def places(self) -> dict[int, Place]:
        """Where the elements of the slots it fills are, for later steps."""
        return {
            number: given_place(number, layout) for number, _, _, layout in (*self._results, *self._views)
        }

    @property
    def checking(self) -> int:
        """How many of its kernels check indices."""
        return len(self._aligned.checks)

    def leave_checks(self, slots: Sequence[int]) -> None:
        """Fill these slots with the Checks of its kernels."""
        self._checked = [
            (number, self._lasting.index(place.given.slot), place.layout, checks)
            for number, (place, checks) in zip(slots, self._aligned.checks, strict=True)
        ]

    def _written(self, unaligned: frozenset[Given]) -> Written:
        slot = self._slot
        written = Written(self._device, unaligned, places=dict(self._read))
        for part in self._parts:
            if isinstance(part.step, Alias):
                written.view(slot[part.step.node], slot[part.step.view.node], part.step.view.path)
            else:
                assert part.source is not None
                written.kernel(part.step, part.source, slot)
            for number in part.dead:
                if number not in self._kept and number in written.places:
                    written.give_back(written.places[number])
        return written

    def run(self, values: Slots) -> None:
        """Hand the kernels over, for the memory and the numbers in the slots."""
        try:
            blocks = self._launched(values)
        except MemoryError:
            if len(self._parts) == 1:
                raise
            # One after another they need memory of fewer sizes at once.
            for step in self._one_by_one():
                step.run(values)
            return
        for number, block, offset, layout in self._results:
            memory = blocks[block]
            values[number] = DeviceBuffer(layout, memory, memory.address + offset)
        for number, source, offset, layout in self._views:
            seen = values[source]
            view = values[number] = DeviceBuffer(layout, seen.memory, seen.address + offset)
            view.checks = seen.checks
        for number, block, layout, checks in self._checked:
            memory = blocks[block]
            values[number] = Checks(DeviceBuffer(layout, memory, memory.address), checks)
        for number in self.dead:
            values[number] = None

    def _launched(self, values: Slots) -> list[Memory]:
        while True:
            blocks = self.handed_over([values[number].address for number in self._memory], values)
            if blocks is not None:
                return blocks
            vectors = self._aligned.vectors
            self._ready(frozenset(each for each in vectors if values[each.slot].address % VECTOR_BYTES))

    def handed_over(self, given: list[int], numbers: Sequence[Any]) -> list[Memory] | None:
        """The blocks that outlive a run, once the program is handed over.

        None, and nothing has been done, where memory isn't aligned as it was the last time.

        Parameters
        ----------
        given : the addresses of the memory it reads, in the order of slots; what else it is given is added
        numbers : with the SCALARs in their slots
        """
        device = self._device
        form = self._form or self._ready(frozenset())
        for number, part in form.numbers:
            node = numbers[number]
            if part is not None:
                given.append(_bits_of_part(node, part))
                continue
            try:
                given.append(node.bits)
            except AttributeError:
                # Kernels compute with float32 what is stored in sixteen bits (codegen/float16.py).
                dtype = float32 if node.dtype == float16 else node.dtype
                node.bits = scalar_bits(dtype, node.arg)
                given.append(node.bits)
        blocks = []
        for free, layout in form.lasting:
            try:
                address = free.pop()
            except IndexError:
                address = device.fresh(layout)
            blocks.append(Memory(device, address, free))
        for start, stop in form.alike:
            # In whatever order blocks came back, each is the same result's again: nothing new for a graph.
            blocks[start:stop] = sorted(blocks[start:stop], key=_address)
        given += [memory.address for memory in blocks]
        passing, first = form.passing, len(given)
        try:
            for free, layout in passing:
                try:
                    given.append(free.pop())
                except IndexError:
                    given.append(device.fresh(layout))
            where = blocks[-1].address if blocks else 0
            program = form.programs.get(where) or form.program_at(where)
            status = program.run(*given)
        finally:
            # What comes later in the stream may have the others again at once. What was taken last goes back
            # first, so that the next run has the same addresses.
            if passing:
                for k in range(len(given) - 1, first - 1, -1):
                    passing[k - first][0].append(given[k])
        if status:
            if status == UNALIGNED:
                return None
            if status == REPEATED:
                program.repeat(*given)
                form.programs.setdefault(where, program)
            else:
                device.driver.refuse(status)
        launches, nbytes = form.launches, form.nbytes
        counters.kernels_launched += launches
        counters.bytes_allocated += nbytes
        return blocks

    def blocks(self, outputs: Sequence[int], memory: Collection[int]) -> list[tuple[int, int, Layout]] | None:
        """For each of these slots the block, the first byte there and the layout.

        None where it fills slots with anything else, or doesn't read all the slots of `memory`.
        """
        found = {number: (block, offset, layout) for number, block, offset, layout in self._results}
        if (
            self._views
            or self._checked
            or set(self._memory) != set(memory)
            or not found.keys() >= set(outputs)
        ):
            return None
        return [found[number] for number in outputs]

    def _ready(self, unaligned: frozenset[Given]) -> _Form:
        form = self._forms.get(unaligned)
        if form is None:
            written = self._written(unaligned) if unaligned else self._aligned
            form = self._forms[unaligned] = _Form(self._device, written, self._memory, self._lasting)
        self._form = form
        return form

    def _one_by_one(self) -> list[ProgramStep]:
        """A program for each part."""
        steps: list[ProgramStep] = []
        read, slots = dict(self._read), iter([number for number, *_ in self._checked])
        for k, part in enumerate(self._parts):
            later = {number for other in self._parts[k + 1 :] for number in other.touched(self._slot)}
            step = ProgramStep(self._device, [part], self._slot, read, later | set(self._kept))
            step.leave_checks([next(slots) for _ in range(step.checking)])
            read |= step.places
            steps.append(step)
        return steps


_address = attrgetter("address")


class _Form:
    """A program for memory that is aligned in one way, with its kernels loaded.

    Attributes
    ----------
    numbers : for each number it is given the slot, and of a complex one the part
    lasting, passing : where blocks of its size are kept, and the layout, of each block that outlives a run,
        by size, and of those that don't
    alike : where several that outlive a run have one size, the first of them and the one behind the last
    launches, nbytes : what counters count
    programs : those that were repeated, by where the last result was; told apart since a program whose
        results are kept until the next ones are there writes them to two places by turns
    """

    def __init__(
        self, device: Device, written: Written, memory: Sequence[int], lasting: Sequence[int]
    ) -> None:
        launches = [call for call in written.calls if isinstance(call, Launch)]
        used = (given for call in launches for given, _ in call.arguments)
        numbers = list(dict.fromkeys(given for given in used if given is not None and given.kind == "number"))
        given = [Given("memory", number) for number in memory]
        passing = [number for number in range(len(written.blocks)) if number not in lasting]
        blocks = [Given("block", number) for number in (*lasting, *passing)]
        order = {each: place for place, each in enumerate((*given, *numbers, *blocks), 1)}
        calls = []
        for call in written.calls:
            if isinstance(call, Clear):
                place = call.place
                address = order[place.given], place.offset
                calls.append(Call(None, (place.layout.nbytes, 1, 1), (1, 1, 1), (address,)))
            else:
                kernel = device.kernel(call.text, call.name, call.parameters)
                arguments = tuple(
                    (0 if each is None else order[each], added) for each, added in call.arguments
                )
                calls.append(Call(kernel, call.grid, call.block, arguments))
        self.numbers = [(number.slot, number.part) for number in numbers]
        layouts = [block.layout for block in written.blocks]
        self.lasting = [(device.free[layouts[number].size], layouts[number]) for number in lasting]
        together = [list(each) for _, each in groupby(range(len(lasting)), lambda k: self.lasting[k][1].size)]
        self.alike = [(each[0], each[-1] + 1) for each in together if len(each) > 1]
        self.passing = [(device.free[layouts[number].size], layouts[number]) for number in passing]
        self.launches, self.nbytes = len(launches), written.nbytes
        alignments = {order[each]: each in written.unaligned for each in written.vectors}
        self._written = partial(device.driver.program, device.number, len(order), calls, alignments)
        self._first = self._written()
        self.programs: dict[int, Runnable] = {}

    def program_at(self, address: int) -> Runnable:
        """The program to run where the last result that outlives the run is to be at an address."""
        if not self.programs or len(self.programs) >= _MOST_PROGRAMS:
            return self._first
        return self.programs.setdefault(address, self._written())


def _bits_of_part(node: UOp, part: int) -> int:
    """The real part of a complex SCALAR, or its imaginary one, as a kernel takes it."""
    return scalar_bits(REAL_PART[node.dtype], node.arg.imag if part else node.arg.real)
