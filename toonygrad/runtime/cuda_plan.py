"""Plans for a GPU: generated kernels on the device's stream, the rest on the host.

realize.py has a plan made here once memory on a GPU takes part. Neighbouring kernels are handed over together
(runtime/cuda_program.py). Products of matrices are a library's. A step that has neither runs as the CPU's
does, on copies, counted in `counters().host_steps`; `explain` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from toonygrad.codegen.cuda_generate import CudaSource, generate_cuda
from toonygrad.config import CompileMode, counters
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.cuda_products import ProductStep, is_product
from toonygrad.runtime.cuda_program import Part, ProgramStep, given_place
from toonygrad.runtime.cuda_routines import LibraryStep, in_words_of_libraries, is_library_call
from toonygrad.runtime.device import Checks, Device, DeviceBuffer, Layout, as_laid_out, layout_of, open_device
from toonygrad.runtime.plan import InterpretedStep, Plan, RunStep, Slots, run_step
from toonygrad.schedule.fusion import Alias, Copy, Kernel, Routine, Step, schedule
from toonygrad.schedule.memory import last_uses
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import contiguous_strides, size_of

# Checks that nobody has looked at; before there are more somebody does, so that a loop doesn't pile them up.
MOST_CHECKS = 16


class CudaPlan(Plan):
    """Steps that compute the stored nodes of one structure on a GPU.

    Parameters
    ----------
    uploads : slots of arguments that are on the host, which are copied first
    checks : slots in which steps leave the Checks of their kernels
    scalars : numbers that are arguments behind those of the graph
    """

    def __init__(
        self,
        device: Device,
        steps: Sequence[RunStep],
        slots: int,
        outputs: Sequence[int],
        uploads: Sequence[int],
        checks: Sequence[int],
        scalars: Sequence[UOp] = (),
    ) -> None:
        super().__init__(steps, slots, outputs)
        self._scalars = scalars
        self._device, self._uploads, self._checks = device, uploads, checks

    def run(self, leaves: Sequence[UOp]) -> list[Any]:
        """The stored nodes' memory, computed from `leaves`, or to be computed by what was launched.

        Raises
        ------
        MemoryError
            Memory for a result can't be had.
        IndexError, numpy.linalg.LinAlgError
            Something was wrong with what `leaves` are made of, where they stand on much that nobody has read.
        """
        buffer = Ops.BUFFER
        values: Slots = []
        earlier: tuple[Checks, ...] = ()
        for leaf in leaves:
            if leaf.op is buffer:
                memory = leaf.arg
                values.append(memory)
                if memory.checks:
                    earlier += tuple(c for c in memory.checks if c not in earlier and not c.passed)
            else:
                values.append(leaf)
        if len(earlier) >= MOST_CHECKS:
            for checks in earlier:
                checks.raise_if_outside()
            earlier = ()
        values += self._scalars
        values += [None] * (self._slots - len(values))
        device = self._device
        for slot in self._uploads:
            values[slot] = device.upload(values[slot].array)
        device.driver.use(device.number)
        try:
            for step in self.steps:
                step.run(values)
        except np.linalg.LinAlgError:
            # Perhaps of elements that an index out of bounds led to.
            for checks in (*earlier, *(values[slot] for slot in self._checks)):
                if checks is not None:
                    checks.raise_if_outside()
            raise
        results = [values[slot] for slot in self._outputs]
        if earlier or self._checks:
            found = (*earlier, *(values[slot] for slot in self._checks))
            for result in results:
                result.checks = found
        return results


class SingleProgramPlan(CudaPlan):
    """A plan of kernels alone, whose results are memory of their own: what most plans are, in fewer steps."""

    def __init__(
        self,
        device: Device,
        program: ProgramStep,
        slots: int,
        outputs: Sequence[int],
        read: Sequence[int],
        blocks: Sequence[tuple[int, int, Layout]],
    ) -> None:
        super().__init__(device, [program], slots, outputs, (), ())
        self._program, self._read, self._blocks = program, sorted(read), blocks

    def run(self, leaves: Sequence[UOp]) -> list[Any]:
        """As of every plan."""
        given = []
        earlier: tuple[Checks, ...] = ()
        for slot in self._read:
            memory = leaves[slot].arg
            given.append(memory.address)
            if memory.checks:
                earlier += tuple(c for c in memory.checks if c not in earlier and not c.passed)
        try:
            blocks = self._program.handed_over(given, leaves)
        except MemoryError:
            blocks = None
        if blocks is None:
            return super().run(leaves)
        results = []
        for block, offset, layout in self._blocks:
            memory = blocks[block]
            result = DeviceBuffer(layout, memory, memory.address + offset)
            if earlier:
                result.checks = earlier
            results.append(result)
        return results


def make_cuda_plan(
    roots: Mapping[UOp, str], mode: CompileMode, device: str, on_host: Sequence[int] = ()
) -> CudaPlan:
    """The plan that leaves `roots`, a graph over ARGUMENTs, in a GPU's memory.

    Parameters
    ----------
    roots : what to store, and why
    mode : with "never" everything is interpreted, on the host
    device : where
    on_host : slots of the arguments that are in the host's memory
    """
    place = open_device(device)
    if on_host:
        roots = _with_copied_arguments(roots, frozenset(on_host))
    order = toposort(*roots)
    arguments = [node for node in order if node.op is Ops.ARGUMENT]
    slot = {node: node.arg[0] for node in arguments}
    count = max(slot.values(), default=-1) + 1
    if mode == "never":
        for root in roots:
            if root not in slot:
                slot[root] = count
                count += 1
        everything = HostStep(
            place,
            InterpretedStep(tuple(roots), slot),
            [node.arg[0] for node in arguments if node.arg[3] is not None],
            [slot[root] for root in roots if root.op is not Ops.ARGUMENT],
            (),
        )
        return CudaPlan(place, [everything], count, [slot[root] for root in roots], on_host, ())
    stored, scalars = in_words_of_libraries(roots, place, count)
    roots = dict(zip(stored, roots.values()))
    slot |= {node: node.arg[0] for node in toposort(*roots) if node.op is Ops.ARGUMENT}
    count += len(scalars)
    steps = schedule(roots, for_threads=True)
    for step in steps:
        for node in step.writes:
            if node not in slot:
                slot[node] = count
                count += 1
    done = [
        (step, cuda_source(step), tuple(slot[node] for node in dead))
        for step, dead in zip(steps, last_uses(steps, frozenset(roots)), strict=True)
    ]
    outputs = [slot[node] for node in stored]
    places = {
        node.arg[0]: given_place(node.arg[0], layout_of(place, node.dtype, node.shape, _bytes(node)))
        for node in arguments
        if node.arg[3] is not None
    }
    checks: list[int] = []
    made: list[RunStep] = []
    after = 0
    for in_program, together in groupby(done, lambda each: each[1] is not None or isinstance(each[0], Alias)):
        group = list(together)
        after += len(group)
        if not in_program:
            for step, _, dead in group:
                run = _run_step(place, step, slot, dead)
                if isinstance(run, LibraryStep) and run.checking:
                    run.leave_checks(count)
                    checks.append(count)
                    count += 1
                made.append(run)
                for node in step.writes:
                    places[slot[node]] = given_place(slot[node], layout_of(place, node.dtype, node.shape))
            continue
        # What is in a program has a source or is an Alias, which the groups' key has found.
        parts = [Part(step, source, dead) for step, source, dead in group]  # type: ignore[arg-type]
        touched = {number for part in parts for number in part.touched(slot)}
        later = {slot[node] for step, _, _ in done[after:] for node in (*step.reads, *step.writes)}
        read = {number: places[number] for number in sorted(touched.intersection(places))}
        program = ProgramStep(place, parts, slot, read, later.union(outputs))
        numbers = range(count, count + program.checking)
        program.leave_checks(numbers)
        checks += numbers
        count += program.checking
        places |= program.places
        made.append(program)
    if len(made) == 1 and isinstance(made[0], ProgramStep) and not (on_host or scalars):
        given = [node.arg[0] for node in arguments if node.arg[3] is not None]
        blocks = made[0].blocks(outputs, given)
        if blocks is not None:
            return SingleProgramPlan(place, made[0], count, outputs, given, blocks)
    return CudaPlan(place, made, count, outputs, on_host, checks, scalars)


def _bytes(argument: UOp) -> tuple[int, ...]:
    """The strides of an ARGUMENT in bytes."""
    return tuple(step * argument.dtype.itemsize for step in argument.arg[3])


def _with_copied_arguments(roots: Mapping[UOp, str], on_host: frozenset[int]) -> dict[UOp, str]:
    """The graph in which arguments that are copied to the GPU have the copies' row-major strides."""
    replaced = {}
    for node in toposort(*roots):
        if node.op is Ops.ARGUMENT and node.arg[0] in on_host:
            slot, dtype, shape, _ = node.arg
            replaced[node] = UOp.new(Ops.ARGUMENT, (), (slot, dtype, shape, contiguous_strides(shape)))
    return dict(zip(substitute(roots, replaced), roots.values(), strict=True))


def cuda_source(step: Step) -> CudaSource | None:
    """The kernel that runs a step on a GPU; None where it runs on the host."""
    if not isinstance(step, Kernel) or not all(map(_some, step.writes)):
        return None
    return generate_cuda(step)


def _some(node: UOp) -> bool:
    return size_of(node.shape) > 0


def _run_step(device: Device, step: Step, slot: dict[UOp, int], dead: tuple[int, ...]) -> RunStep:
    run: RunStep
    if isinstance(step, Copy):
        run = CopyStep(device, step, slot)
    elif not any(map(_some, step.writes)):
        run = EmptyStep(device, step, slot)
    elif isinstance(step, Routine) and is_product(step, device):
        run = ProductStep(device, step, slot)
    elif isinstance(step, Routine) and is_library_call(step):
        run = LibraryStep(device, step, slot)
    else:
        reads = [slot[node] for node in step.reads]
        writes = [slot[node] for node in step.writes]
        return HostStep(device, run_step(step, slot, "auto"), reads, writes, dead)
    run.dead = dead
    return run


# -- on the GPU ----------------------------------------------------------------------------------------------


class CopyStep(RunStep):
    """A small part of a concatenation, copied to its place."""

    def __init__(self, device: Device, copy: Copy, slot: dict[UOp, int]) -> None:
        self._device = device
        self._slot, self._source = slot[copy.node], slot[copy.view.node]
        self._path = copy.view.path
        self._whole, self._shape, self._dtype = copy.node.shape, copy.shape, copy.node.dtype
        strides = contiguous_strides(self._whole)
        self._strides = tuple(step * self._dtype.itemsize for step in strides)
        self._offset = sum(first * step for first, step in zip(copy.start, self._strides, strict=True))

    def run(self, values: Slots) -> None:
        """Copy the part."""
        whole = values[self._slot]
        if whole is None:
            whole = values[self._slot] = self._device.allocate(self._whole, self._dtype)
        source = values[self._source].moved(self._path)
        copy_into(whole.view(self._offset, self._shape, self._strides), source)
        for slot in self.dead:
            values[slot] = None


class EmptyStep(RunStep):
    """Results without elements."""

    def __init__(self, device: Device, step: Step, slot: dict[UOp, int]) -> None:
        self._device = device
        self._results = [(slot[node], node.shape, node.dtype) for node in step.writes]

    def run(self, values: Slots) -> None:
        """Make the results."""
        for slot, shape, dtype in self._results:
            values[slot] = self._device.allocate(shape, dtype)
        for slot in self.dead:
            values[slot] = None


# -- on the host ---------------------------------------------------------------------------------------------


class HostStep(RunStep):
    """A step of the CPU's, run on copies of its arrays."""

    def __init__(
        self,
        device: Device,
        step: RunStep,
        reads: Sequence[int],
        writes: Sequence[int],
        dead: tuple[int, ...],
    ) -> None:
        self._device, self._step = device, step
        self._reads, self._writes = tuple(dict.fromkeys(reads)), tuple(dict.fromkeys(writes))
        self.dead = dead

    def run(self, values: Slots) -> None:
        """Copy, compute, copy back."""
        counters.host_steps += 1
        here = list(values)
        for slot in self._reads:
            values[slot].raise_if_outside()
            here[slot] = Buffer(as_laid_out(values[slot]))
        for slot in self._writes:
            if values[slot] is not None:  # a concatenation of which other parts are there
                here[slot] = Buffer(np.array(values[slot].array))
        self._step.run(here)
        device = self._device
        for slot in self._writes:
            values[slot] = device.upload(here[slot].array)
        device.driver.use(device.number)
        for slot in self.dead:
            values[slot] = None
