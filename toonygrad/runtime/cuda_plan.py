"""Plans for a GPU: generated kernels launched one after another on the device's stream, the rest on the host.

realize.py has a plan made here once memory on a GPU takes part. Products of matrices are a library's. A step
that has neither runs as the CPU's does, on copies, counted in `counters().host_steps`; `explain` shows it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.cuda_generate import CudaSource, generate_cuda
from toonygrad.codegen.cuda_loops import TEMPORARY, ThreadCarry
from toonygrad.config import CompileMode, counters
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.compile import scalar_bits
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.cuda_products import ProductStep, is_product
from toonygrad.runtime.device import Checks, Device, DeviceBuffer, Layout, as_laid_out, layout_of, open_device
from toonygrad.runtime.plan import (
    InterpretedStep,
    Plan,
    RunStep,
    Slots,
    number_slot,
    run_step,
)
from toonygrad.schedule.fusion import Alias, Copy, Kernel, Routine, Step, schedule
from toonygrad.schedule.memory import last_uses
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import contiguous_strides, size_of


class CudaPlan(Plan):
    """Steps that compute the stored nodes of one structure on a GPU.

    Parameters
    ----------
    uploads : slots of arguments that are on the host, which are copied first
    checks : slots in which steps leave the Checks of their kernels
    """

    def __init__(
        self,
        device: Device,
        steps: Sequence[RunStep],
        slots: int,
        outputs: Sequence[int],
        uploads: Sequence[int],
        checks: Sequence[int],
    ) -> None:
        super().__init__(steps, slots, outputs)
        self._device, self._uploads, self._checks = device, uploads, checks

    def run(self, leaves: Sequence[UOp]) -> list[Any]:
        """The stored nodes' memory, computed from `leaves`, or to be computed by what was launched.

        Raises
        ------
        MemoryError
            Memory for a result can't be had.
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
        values += [None] * (self._slots - len(values))
        device = self._device
        for slot in self._uploads:
            values[slot] = device.upload(values[slot].array)
        device.driver.use(device.number)
        for step in self.steps:
            step.run(values)
        results = [values[slot] for slot in self._outputs]
        if earlier or self._checks:
            checks = (*earlier, *(values[slot] for slot in self._checks))
            for result in results:
                result.checks = checks
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
    steps = schedule(roots, for_threads=True)
    for step in steps:
        for node in step.writes:
            if node not in slot:
                slot[node] = count
                count += 1
    checks: list[int] = []
    made: list[RunStep] = []
    for step, dead in zip(steps, last_uses(steps, frozenset(roots)), strict=True):
        gone = tuple(slot[node] for node in dead)
        run = _run_step(place, step, slot, gone)
        if isinstance(run, CudaStep) and run.checks:
            run.checks_slot = count
            checks.append(count)
            count += 1
        made.append(run)
    return CudaPlan(place, made, count, [slot[root] for root in roots], on_host, checks)


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
    if not isinstance(step, Kernel) or not all(map(_some, step.writes)) or _scans_a_scan(step):
        return None
    return generate_cuda(step)


def _scans_a_scan(kernel: Kernel) -> bool:
    """Whether running totals are totalled again in one kernel, which has no form on a GPU."""
    scans = [node for node in toposort(*(output.value for output in kernel.outputs)) if node.op is Ops.SCAN]
    return any(node.op is Ops.SCAN for scan in scans for node in toposort(*scan.src))


def _some(node: UOp) -> bool:
    return size_of(node.shape) > 0


def _run_step(device: Device, step: Step, slot: dict[UOp, int], dead: tuple[int, ...]) -> RunStep:
    run: RunStep
    if isinstance(step, Alias):
        run = AliasStep(step, slot)
    elif isinstance(step, Copy):
        run = CopyStep(device, step, slot)
    elif not any(map(_some, step.writes)):
        run = EmptyStep(device, step, slot)
    elif isinstance(step, Kernel) and (source := cuda_source(step)) is not None:
        run = CudaStep(device, step, source, slot)
    elif isinstance(step, Routine) and is_product(step, device):
        run = ProductStep(device, step, slot)
    else:
        reads = [slot[node] for node in step.reads]
        writes = [slot[node] for node in step.writes]
        return HostStep(device, run_step(step, slot, "auto"), reads, writes, dead)
    run.dead = dead
    return run


# -- on the GPU ----------------------------------------------------------------------------------------------


class _Launch:
    """What a kernel is launched with, in memory that a launch reads before it returns.

    Attributes
    ----------
    values : array of int64
        One slot of eight bytes for each argument; shorter ones take their first bytes.
    address : int
        Of the addresses of these slots.
    """

    __slots__ = ("_places", "address", "values")

    def __init__(self, values: Sequence[int]) -> None:
        self.values = array("q", values)
        first = self.values.buffer_info()[0]
        self._places = array("q", [first + 8 * k for k in range(len(values))])
        self.address = self._places.buffer_info()[0]


class _Form:
    """One source of a kernel: which of a step's arguments stand where, and what it is launched on."""

    def __init__(self, device: Device, kernel: Kernel, source: CudaSource, slot: dict[UOp, int]) -> None:
        self._device, self._source = device, source
        self.grid, self.block = source.launch
        arguments = source.arguments
        self._carries = [(len(arguments.pointers) + k, n) for k, n in enumerate(arguments.carries)]
        # Temporaries stand behind the outputs.
        outputs = len(kernel.writes)
        self._pointers = [
            (place, True, outputs + TEMPORARY - k, 0)
            if k < 0
            else (place, output, k if output else slot[kernel.arrays[k]], offset * pointer.dtype.itemsize)
            for place, ((output, k, offset), pointer) in enumerate(arguments.ordered_pointers())
        ]
        count = len(self._pointers)
        names = [parameter.name for parameter in source.parameters[:count]]
        self._aligned = [names.index(name) for name in source.aligned]
        count += len(arguments.carries)
        # Where no index is left to check, as into an axis of size one, a kernel takes no status.
        self.status = count if "status" in [parameter.name for parameter in source.parameters] else None
        fixed = [0] * (count + (self.status is not None)) + list(arguments.integers.values())
        self._numbers = [
            (len(fixed) + k, *number_slot(node, kernel, slot), node.dtype)
            for k, node in enumerate(arguments.numbers)
        ]
        self._fixed = fixed + [0] * len(self._numbers)
        # Several threads may run a plan at once; each launch takes one of these, and most find one.
        self.idle: list[_Launch] = []
        self.kernel: Any = None

    def loaded(self) -> Any:
        """The kernel, compiled when it first runs."""
        source = self._source
        self.kernel = self._device.kernel(source.text, source.name, source.parameters)
        return self.kernel

    def filled(
        self, made: Sequence[DeviceBuffer], values: Slots, carries: Sequence[DeviceBuffer]
    ) -> _Launch | None:
        """What to launch on this memory, to be put back to `idle`; None where the memory isn't aligned."""
        try:
            prepared = self.idle.pop()
        except IndexError:
            prepared = _Launch(self._fixed)
        slots = prepared.values
        for place, output, k, offset in self._pointers:
            slots[place] = (made[k] if output else values[k]).address + offset
        for place in self._aligned:
            if slots[place] % VECTOR_BYTES:
                return None
        for place, k in self._carries:
            slots[place] = carries[k].address
        for place, slot, part, dtype in self._numbers:
            value = values[slot].arg
            if part is not None:
                value = value.imag if part else value.real
            slots[place] = scalar_bits(dtype, value)
        return prepared


class CudaStep(RunStep):
    """A generated kernel, written when the plan is made and compiled when it first runs."""

    def __init__(self, device: Device, kernel: Kernel, source: CudaSource, slot: dict[UOp, int]) -> None:
        self.checks = kernel.checks
        self.checks_slot = -1
        self._device, self._driver, self._number = device, device.driver, device.number
        self._form = _Form(device, kernel, source, slot)
        self._plain: dict[_Form, _Form] = {}
        self._make_plain = (kernel, dict(slot))
        self._totals = None if source.totals is None else _Form(device, kernel, source.totals, slot)
        self._carries = [
            (layout_of(device, carry.dtype, (carry.rows, carry.chunks)), _scanning(device, carry))
            for carry in source.carries
        ]
        self._before = None if source.before is None else _Form(device, kernel, source.before, slot)
        self._temporaries = [layout_of(device, dtype, (size,)) for dtype, size in source.temporaries]
        self._outputs = [(slot[node], layout_of(device, node.dtype, node.shape)) for node in kernel.writes]

    def run(self, values: Slots) -> None:
        """Launch the kernel on the slots' memory."""
        device = self._device
        made = []
        for slot, layout in self._outputs:
            # The parts of a concatenation write into one memory, which the first of them takes.
            buffer = values[slot]
            if buffer is None:
                buffer = values[slot] = device.take(layout)
            made.append(buffer)
        made += [device.take(layout) for layout in self._temporaries]
        words = None
        if self.checks:
            words = device.allocate((len(self.checks),), _WORD)
            self._driver.clear(self._number, words.address, words.nbytes)
            values[self.checks_slot] = Checks(words, self.checks)
        carries: Sequence[DeviceBuffer] = ()
        if self._totals is not None:
            totals = [device.take(layout) for layout, _ in self._carries]
            self._launch(self._totals, made, values, totals, words)
            carries = []
            for own, (_, scan) in zip(totals, self._carries, strict=True):
                both: Slots = [own, None]
                scan.run(both)
                carries.append(both[1])
        if self._before is not None:
            self._launch(self._before, made, values, (), words)
        self._launch(self._form, made, values, carries, words)
        for slot in self.dead:
            values[slot] = None

    def _launch(
        self,
        form: _Form,
        made: Sequence[DeviceBuffer],
        values: Slots,
        carries: Sequence[DeviceBuffer],
        words: DeviceBuffer | None,
    ) -> None:
        prepared = form.filled(made, values, carries)
        if prepared is None:
            form = self._unaligned(form)
            prepared = form.filled(made, values, carries)
            assert prepared is not None
        if form.status is not None:
            assert words is not None
            prepared.values[form.status] = words.address
        self._driver.launch(
            self._number, form.kernel or form.loaded(), form.grid, form.block, prepared.address
        )
        counters.kernels_launched += 1
        form.idle.append(prepared)

    def _unaligned(self, form: _Form) -> _Form:
        """`form` for memory that doesn't start where sixteen bytes may be read at once."""
        plain = self._plain.get(form)
        if plain is None:
            kernel, slot = self._make_plain
            source = generate_cuda(kernel, vectors=False)
            if form is self._totals:
                source = source and source.totals
            if form is self._before:
                source = source and source.before
            assert source is not None
            plain = self._plain[form] = _Form(self._device, kernel, source, slot)
        return plain


_WORD = np.dtype(np.int64)


def _scanning(device: Device, carry: ThreadCarry) -> CudaStep:
    """The kernel that makes, of each chunk's totals in slot 0, those of all chunks up to it, in slot 1."""
    shape = (carry.rows, carry.chunks)
    totals = UOp.new(Ops.ARGUMENT, (), (0, carry.dtype, shape, contiguous_strides(shape)))
    node = UOp.new(Ops.SCAN, (totals,), (carry.op, 1))
    (kernel,) = schedule({node: "a scan in chunks is put together"})
    assert isinstance(kernel, Kernel)
    source = generate_cuda(kernel)
    assert source is not None
    return CudaStep(device, kernel, source, {totals: 0, node: 1})


class AliasStep(RunStep):
    """A view of memory that is there: nothing is computed."""

    def __init__(self, alias: Alias, slot: dict[UOp, int]) -> None:
        self._slot, self._source = slot[alias.node], slot[alias.view.node]
        self._path = alias.view.path

    def run(self, values: Slots) -> None:
        """Make the view."""
        values[self._slot] = values[self._source].moved(self._path)
        for slot in self.dead:
            values[slot] = None


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
