"""A realized structure: steps over numbered slots, made once, run with other memory.

make_plan schedules a graph into kernels and decides for each how it runs: interpreted, compiled, or by a
library. Slots hold what a run is given (memory and numbers), temporaries and results. realize.py keeps plans
and runs them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from typing import Any

import numpy as np

from toonygrad.codegen.generate import generate
from toonygrad.codegen.loops import Carried
from toonygrad.config import CompileMode, counters, settings
from toonygrad.runtime.buffer import Buffer, pool
from toonygrad.runtime.cache import obtain_kernel
from toonygrad.runtime.compile import NativeKernel, scalar_bits
from toonygrad.runtime.external import EXTERNAL
from toonygrad.runtime.interpreter import leaf_value, operation
from toonygrad.runtime.sorting import ON_ALL_CORES
from toonygrad.runtime.streaming import cache_bytes
from toonygrad.runtime.threads import launch
from toonygrad.schedule.fusion import Alias, Copy, Kernel, Routine, Step, View, schedule
from toonygrad.schedule.memory import bytes_moved, last_uses
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import Shape, size_of

# Up to this many elements an expression is interpreted: NumPy's overhead is then below that of meeting a new
# kernel, and the arithmetic costs microseconds either way.
INTERPRETED = 4096

# What slots hold during a run: memory, and the SCALAR node of a number.
Slots = list[Any]


class Plan:
    """Steps that compute the stored nodes of one structure.

    Attributes
    ----------
    found : how often realize.py has found it again by its key
    """

    def __init__(self, steps: Sequence[RunStep], slots: int, outputs: Sequence[int]) -> None:
        self.found = 0
        self.steps, self._slots, self._outputs = tuple(steps), slots, tuple(outputs)

    def run(self, leaves: Sequence[UOp]) -> list[Buffer]:
        """The stored nodes' memory, computed from `leaves`: a BUFFER or SCALAR for each argument slot.

        Raises
        ------
        IndexError
            An integer array indexed out of bounds.
        MemoryError
            Memory for a result can't be had.
        """
        values: Slots = [leaf.arg if leaf.op is Ops.BUFFER else leaf for leaf in leaves]
        values += [None] * (self._slots - len(values))
        for step in self.steps:
            step.run(values)
        return [values[slot] for slot in self._outputs]


class RunStep(ABC):
    """One step of a plan: fills slots from slots, and empties those nobody needs any more."""

    dead: tuple[int, ...] = ()

    @abstractmethod
    def run(self, values: Slots) -> None:
        """Compute this step in `values`."""


def make_plan(roots: Mapping[UOp, str], mode: CompileMode) -> Plan:
    """The plan that leaves `roots`, a graph over ARGUMENTs, in memory; with each root, why it is stored."""
    order = toposort(*roots)
    arguments = [node for node in order if node.op is Ops.ARGUMENT]
    slot = {node: node.arg[0] for node in arguments}
    count = len(arguments)
    if interprets_all(order, mode):
        for root in roots:
            slot.setdefault(root, count)
            count = len(set(slot.values()))
        everything = InterpretedStep(tuple(roots), slot)
        return Plan([everything], count, [slot[root] for root in roots])
    steps = schedule(roots)
    for step in steps:
        for node in step.writes:
            if node not in slot:
                slot[node] = count
                count += 1
    made: list[RunStep] = []
    for step, dead in zip(steps, last_uses(steps, frozenset(roots)), strict=True):
        run = run_step(step, slot, mode)
        run.dead = tuple(slot[node] for node in dead)
        made.append(run)
    return Plan(made, count, [slot[root] for root in roots])


def interprets_all(nodes: Sequence[UOp], mode: CompileMode) -> bool:
    """Whether a graph of these nodes runs through NumPy as it was recorded, without kernels."""
    return mode == "never" or (mode == "auto" and all(_is_small(node) for node in nodes))


def _is_small(node: UOp) -> bool:
    return size_of(node.shape) <= INTERPRETED


def run_step(step: Step, slot: dict[UOp, int], mode: CompileMode) -> RunStep:
    """What runs `step` on the CPU, over memory and numbers in these slots."""
    if isinstance(step, Alias):
        return AliasStep(step, slot)
    if isinstance(step, Routine):
        return RoutineStep(step, slot)
    if isinstance(step, Copy):
        return CopyStep(step, slot)
    if is_interpreted(step, mode):
        return InterpretedStep(step.writes, slot, step.arrays)
    return CompiledStep(step, slot)


def is_interpreted(kernel: Kernel, mode: CompileMode) -> bool:
    """Whether NumPy runs a kernel's operations one by one: sizes alone decide, so that bits never change."""
    if any(output.node.op is Ops.CONCAT for output in kernel.outputs):
        return False  # its parts share one memory
    if mode == "never" or not all(size_of(node.shape) for node in kernel.writes):
        return True
    return mode == "auto" and all(_is_small(node) for node in (*kernel.writes, *kernel.nodes, *kernel.arrays))


# -- NumPy without warnings ---------------------------------------------------------------------------------


_quiet: list[Context] = []


def quietly(function: Callable[..., None], *arguments: Any) -> None:
    """Call `function` while NumPy says nothing of overflow and invalid values, which the standard defines.

    NumPy keeps that choice in a context variable. Entering a context that has made it costs a quarter of
    np.errstate, which small expressions feel. A context runs one call at a time, so each call takes one from
    the idle ones.
    """
    try:
        context = _quiet.pop()
    except IndexError:
        context = Context()
        context.run(np.seterr, all="ignore")
    try:
        context.run(function, *arguments)
    finally:
        _quiet.append(context)


# -- interpreted ---------------------------------------------------------------------------------------------


class InterpretedStep(RunStep):
    """Nodes evaluated one by one with NumPy."""

    def __init__(self, nodes: Sequence[UOp], slot: dict[UOp, int], memory: Collection[UOp] = ()) -> None:
        place: dict[UOp, int] = {}
        self._given: list[tuple[int, bool]] = []
        self._fixed: list[np.ndarray | None] = []
        self._program: list[tuple[Callable[..., Any], tuple[int, ...], int, tuple[int, ...]]] = []
        order = toposort(*nodes, until=memory)
        last = {source: node for node in order if node not in memory for source in node.src}
        read = [node for node in order if node.op is Ops.ARGUMENT or node in memory]
        for node in read:
            place[node] = len(place)
            self._given.append((slot[node], node.op is Ops.ARGUMENT and node.arg[3] is None))
        for node in order:
            if node in place:
                continue
            place[node] = len(place)
            if node.op is Ops.CONST:
                self._fixed.append(leaf_value(node))
                continue
            self._fixed.append(None)
            function = _library_call(node) if node.op is Ops.EXTERNAL else operation(node)
            # Large arrays come here too, with compile="never": what nobody reads any more goes at once.
            dead = {place[s] for s in node.src if last[s] is node and s not in nodes and s.src}
            self._program.append((function, tuple(place[s] for s in node.src), place[node], tuple(dead)))
        self._results = [(place[node], slot[node]) for node in nodes]

    def run(self, values: Slots) -> None:
        """Evaluate the nodes in order."""
        counters.interpreted += 1
        here: list[Any] = [
            leaf_value(values[slot]) if number else values[slot].array for slot, number in self._given
        ]
        here += self._fixed
        quietly(self._evaluate, here)
        for place, slot in self._results:
            # Row-major, as kernels write: whether a reshape shares must not depend on who computed.
            values[slot] = Buffer(np.asarray(here[place], order="C"))
        for slot in self.dead:
            values[slot] = None

    def _evaluate(self, here: list[Any]) -> None:
        for function, sources, result, dead in self._program:
            if len(sources) == 2:
                left, right = sources
                here[result] = function(here[left], here[right])
            else:
                here[result] = function(*[here[source] for source in sources])
            for place in dead:
                here[place] = None


def _library_call(node: UOp) -> Callable[..., np.ndarray]:
    name, parameters, dtype, shape = node.arg
    routine = EXTERNAL[name]

    def call(*sources: np.ndarray) -> np.ndarray:
        out = np.empty(shape, dtype)
        routine(sources, parameters, out)
        return out

    return call


# -- compiled ------------------------------------------------------------------------------------------------


_COMBINE: dict[Op, np.ufunc] = {
    Ops.ADD: np.add,
    Ops.MUL: np.multiply,
    Ops.MAXIMUM: np.maximum,
    Ops.MINIMUM: np.minimum,
    Ops.AND: np.logical_and,
    Ops.OR: np.logical_or,
}


class CompiledStep(RunStep):
    """A generated kernel, written when the plan is made and compiled when it first runs."""

    def __init__(self, kernel: Kernel, slot: dict[UOp, int]) -> None:
        nest, self.source = generate(kernel)
        arguments = nest.arguments
        self._native: NativeKernel | None = None
        self._extent, self._grain = nest.extent, nest.grain
        # What doesn't fit the caches needn't go through them.
        self._streams = bytes_moved(kernel) > cache_bytes()
        partials = {partial.output: partial for partial in nest.partials}
        self._partial = bool(partials)
        # For each output its slot, what to allocate, and how to combine it where it comes in chunks.
        self._outputs: list[tuple[int, Shape, np.dtype, tuple[np.ufunc, np.dtype] | None]] = []
        for number, node in enumerate(kernel.writes):
            partial = partials.get(number)
            if partial is None:
                self._outputs.append((slot[node], node.shape, node.dtype, None))
            else:
                shape = (partial.chunks, *node.shape)
                self._outputs.append((slot[node], shape, partial.dtype, (_COMBINE[partial.op], node.dtype)))
        self._pointers = [
            (output, k if output else slot[kernel.arrays[k]], offset * pointer.dtype.itemsize)
            for (output, k, offset), pointer in arguments.ordered_pointers()
        ]
        self._carried = nest.carried
        self._place = {name: place for place, name in enumerate(arguments.integers)}
        self._integers = array("q", [*arguments.integers.values(), *[0] * len(arguments.numbers)])
        first = len(arguments.integers)
        self._numbers = [
            (first + k, *number_slot(node, kernel, slot), node.dtype)
            for k, node in enumerate(arguments.numbers)
        ]
        self._checks = kernel.checks

    def run(self, values: Slots) -> None:
        """Launch the kernel on the slots' memory."""
        native = self._native
        if native is None:
            native = self._native = obtain_kernel(self.source.text, self.source.name, self.source.parameters)
        made = []
        for slot, shape, dtype, partial in self._outputs:
            # The parts of a concatenation write into one memory, which the first of them takes.
            buffer = values[slot]
            if buffer is None:
                buffer = pool.allocate(shape, dtype)
                if partial is None:
                    values[slot] = buffer
            made.append(buffer)
        addresses = array(
            "q", [(made[k] if output else values[k]).address + offset for output, k, offset in self._pointers]
        )
        carries: Sequence[Buffer] = ()
        if self._carried is not None:
            carries = self._carries(self._carried)
            addresses.extend(carry.address for carry in carries)
        checks = self._checks
        if checks:
            status = array("q", [0] * len(checks))
            addresses.append(status.buffer_info()[0])
        integers = self._integers
        if self._numbers or carries:
            integers = integers[:]
            for place, slot, part, dtype in self._numbers:
                value = values[slot].arg
                if part is not None:
                    value = value.imag if part else value.real
                integers[place] = scalar_bits(dtype, value)
        pointed, counted = addresses.buffer_info()[0], integers.buffer_info()[0]
        address = native.streaming_address if self._streams else native.address
        if carries:

            def run(extent: int, grain: int) -> int:
                return launch(address, pointed, counted, extent, grain)

            self._run_waves(carries, integers, run)
        else:
            launch(address, pointed, counted, self._extent, self._grain)
        if checks:
            for (call, axis, size), outside in zip(checks, status, strict=True):
                if outside:
                    raise IndexError(f"{call}: an index is out of bounds for axis {axis} with size {size}")
        if self._partial:
            for (slot, _, _, partial), buffer in zip(self._outputs, made, strict=True):
                if partial is not None:
                    combine, dtype = partial
                    with np.errstate(all="ignore"):
                        values[slot] = Buffer(np.asarray(combine.reduce(buffer.array, axis=0)).astype(dtype))
        for slot in self.dead:
            values[slot] = None

    @staticmethod
    def _carries(carried: Carried) -> list[Buffer]:
        """Memory for what goes from chunk to chunk of the kernel's scans, and before their first chunk."""
        made = []
        for _, dtype, start in carried.kinds:
            made.append(pool.allocate((carried.chunks + 1, carried.results), dtype))
            made[-1].array[0] = start
        return made

    def _run_waves(
        self, carries: Sequence[Buffer], integers: array[int], run: Callable[[int, int], int]
    ) -> None:
        """Run scans in chunks, a wave of them at once: for their totals, and from what stands before each."""
        assert self._carried is not None
        chunks, wave = self._carried.chunks, self._carried.wave
        first_chunk, count, storing = (self._place[name] for name in ("first_chunk", "chunks", "storing"))
        threads = settings.num_threads
        if threads == 1 or (threads == 2 and self._extent == chunks):
            # One thread takes the chunks in order, each leaving to the next what waves would: no bit changes.
            # Two threads going twice over a single scan took as long, and longer where cores are busy.
            integers[count], integers[storing] = chunks, 2
            run(self._extent, self._extent)
            return
        for first in range(0, chunks, wave):
            last = min(first + wave, chunks)
            extent = self._extent // chunks * (last - first)
            integers[first_chunk], integers[count], integers[storing] = first, last - first, 0
            run(extent, self._grain)
            for carry, (op, _, _) in zip(carries, self._carried.kinds, strict=True):
                totals = carry.array[first : last + 1]
                with np.errstate(all="ignore"):
                    _COMBINE[op].accumulate(totals, axis=0, out=totals)
            integers[storing] = 1
            run(extent, self._grain)


def number_slot(node: UOp, kernel: Kernel, slot: Mapping[UOp, int]) -> tuple[int, int | None]:
    """The slot of a NUMBER of a kernel; of a complex one also which part, 0 or 1."""
    position = node.arg[0]
    if isinstance(position, tuple):
        return slot[kernel.numbers[position[0]]], position[1]
    return slot[kernel.numbers[position]], None


# -- libraries and views -------------------------------------------------------------------------------------


class RoutineStep(RunStep):
    """A call of a library into pooled memory."""

    def __init__(self, routine: Routine, slot: dict[UOp, int]) -> None:
        self.routine = routine
        self._slot = slot[routine.node]
        self._views = [(slot[view.node], _movements(view)) for view in routine.sources]

    def run(self, values: Slots) -> None:
        """Call the library."""
        node = self.routine.node
        out = pool.allocate(node.shape, node.dtype)
        sources = [_seen(values[slot].array, movements) for slot, movements in self._views]
        with np.errstate(all="ignore"):
            if node.op is Ops.EXTERNAL:
                name, parameters = node.arg[:2]
                (ON_ALL_CORES.get(name) or EXTERNAL[name])(sources, parameters, out.array)
            elif node.op is Ops.CONCAT:
                np.concatenate(sources, axis=node.arg, out=out.array)
            else:
                out.array[...] = operation(node)(*sources)
        values[self._slot] = out
        for slot in self.dead:
            values[slot] = None


class CopyStep(RunStep):
    """A small part of a concatenation, copied by NumPy."""

    def __init__(self, copy: Copy, slot: dict[UOp, int]) -> None:
        self._slot, self._source = slot[copy.node], slot[copy.view.node]
        self._movements = _movements(copy.view)
        self._shape, self._dtype = copy.node.shape, copy.node.dtype
        self._place = tuple(slice(first, first + size) for first, size in zip(copy.start, copy.shape))

    def run(self, values: Slots) -> None:
        """Copy the part."""
        if values[self._slot] is None:
            values[self._slot] = pool.allocate(self._shape, self._dtype)
        values[self._slot].array[self._place] = _seen(values[self._source].array, self._movements)
        for slot in self.dead:
            values[slot] = None


class AliasStep(RunStep):
    """A view of memory that is there: nothing is computed."""

    def __init__(self, alias: Alias, slot: dict[UOp, int]) -> None:
        self.alias = alias
        self._slot, self._source = slot[alias.node], slot[alias.view.node]
        self._movements = _movements(alias.view)

    def run(self, values: Slots) -> None:
        """Make the view."""
        values[self._slot] = Buffer(_seen(values[self._source].array, self._movements))
        for slot in self.dead:
            values[slot] = None


def _movements(view: View) -> list[Callable[..., np.ndarray]]:
    return [operation(node) for node in view.path]


def _seen(memory: np.ndarray, movements: Sequence[Callable[..., np.ndarray]]) -> np.ndarray:
    for movement in movements:
        memory = movement(memory)
    return memory
