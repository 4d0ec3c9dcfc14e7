"""Plans whose kernels run in the simulator: what the tests of generated CUDA kernels share."""

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from simulator import Memory, simulate

import toonygrad as xp
from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.cuda_generate import CudaSource, generate_cuda
from toonygrad.codegen.cuda_loops import TEMPORARY
from toonygrad.runtime import plan
from toonygrad.runtime.buffer import Buffer, pool
from toonygrad.runtime.plan import CompiledStep, RunStep, Slots
from toonygrad.schedule.fusion import Kernel
from toonygrad.uop.node import UOp


class SimulatedStep(RunStep):
    """A kernel in the simulator; on the host where no CUDA kernel is generated."""

    def __init__(
        self, kernel: Kernel, slot: dict[UOp, int], seen: list[CudaSource | None], vectors: bool
    ) -> None:
        self._kernel, self._slot = kernel, slot
        self.source = generate_cuda(kernel, vectors)
        seen.append(self.source)
        self._host = CompiledStep(kernel, slot) if self.source is None else None

    def run(self, values: Slots) -> None:
        kernel, slot, source = self._kernel, self._slot, self.source
        if source is None:
            assert self._host is not None
            self._host.dead = self.dead
            self._host.run(values)
            return
        made = []
        for node in kernel.writes:
            buffer = values[slot[node]]
            if buffer is None:
                buffer = values[slot[node]] = pool.allocate(node.shape, node.dtype)
            made.append(buffer)
        made += [Buffer(np.full(size, 3, dtype)) for dtype, size in source.temporaries]
        for parameter, memory in zip(source.parameters, self._pointers(source, made, values), strict=False):
            if parameter.name in source.aligned and memory.offset * memory.array.itemsize % VECTOR_BYTES:
                source = self.source = generate_cuda(kernel, vectors=False)
                break
        status = np.zeros(len(kernel.checks), np.int64)
        # What no kernel writes is no number that anything may be added to.
        carries = [
            np.frombuffer(bytes([0xA5]) * (c.rows * c.chunks * c.dtype.itemsize), c.dtype).copy()
            for c in source.carries
        ]
        if source.totals is not None:
            self._simulate(source.totals, made, values, carries, status)
            for carry, array in zip(source.carries, carries, strict=True):
                rows = array.reshape(carry.rows, carry.chunks)
                rows[...] = plan._COMBINE[carry.op].accumulate(rows, axis=1)
        carries += [np.zeros(count, np.uint64) for count in source.words]
        if source.before is not None:
            self._simulate(source.before, made, values, (), status)
        self._simulate(source, made, values, carries, status)
        for (call, axis, size), outside in zip(kernel.checks, status, strict=True):
            if outside:
                raise IndexError(f"{call}: an index is out of bounds for axis {axis} with size {size}")
        for place in self.dead:
            values[place] = None

    def _simulate(
        self,
        source: CudaSource,
        made: Sequence[Buffer],
        values: Slots,
        carries: Sequence[np.ndarray],
        status: np.ndarray,
    ) -> None:
        arguments = [*self._pointers(source, made, values), *carries]
        if any(parameter.name == "status" for parameter in source.parameters):
            arguments.append(status)
        arguments += source.arguments.integers.values()
        for node in source.arguments.numbers:
            place, part = node.arg[0] if isinstance(node.arg[0], tuple) else (node.arg[0], None)
            value = values[self._slot[self._kernel.numbers[place]]].arg
            arguments.append(value if part is None else value.imag if part else value.real)
        simulate(source.text, source.name, source.parameters, source.grid, source.block, arguments)

    def _pointers(self, source: CudaSource, made: Sequence[Buffer], values: Slots) -> list[Any]:
        arguments = []
        for (output, k, offset), pointer in source.arguments.ordered_pointers():
            if k < 0:
                array = made[len(self._kernel.writes) + TEMPORARY - k].array
            else:
                array = (made[k] if output else values[self._slot[self._kernel.arrays[k]]]).array
            element = np.dtype(np.uint8) if pointer.dtype == np.bool_ else pointer.dtype
            arguments.append(_memory(array, element, offset))
        return arguments


def _memory(array: np.ndarray, element: np.dtype, offset: int) -> Memory:
    """All the memory that an array lies in, as a pointer to one element; offsets count from its first."""
    low, high = np.lib.array_utils.byte_bounds(array)
    size = (high - low) // element.itemsize
    first = (array.ctypes.data - low) // element.itemsize
    whole = np.frombuffer((ctypes.c_char * (high - low)).from_address(low), element, size)
    return Memory(whole, first + offset)


@contextmanager
def simulated(vectors: bool = True) -> Iterator[list[CudaSource | None]]:
    """Plans made meanwhile run their kernels in the simulator; what was generated is listed."""
    seen: list[CudaSource | None] = []

    def step(kernel: Kernel, slot: dict[UOp, int]) -> SimulatedStep:
        return SimulatedStep(kernel, slot, seen, vectors)

    with (
        mock.patch.object(plan, "CompiledStep", step),
        mock.patch.dict(sys.modules["toonygrad.realize"]._plans, clear=True),
        xp.config(compile="always"),
    ):
        yield seen


def both(
    function: Callable[..., Any], *arrays: np.ndarray, vectors: bool = True
) -> tuple[list[Any], list[Any]]:
    """The results of `function` in the simulator, and by the interpreter."""
    results = []
    for simulate_it in (True, False):
        with simulated(vectors) if simulate_it else xp.config(compile="never"):
            given = [xp.asarray(array) for array in arrays]
            found = function(*given)
            found = found if isinstance(found, tuple) else (found,)
            xp.realize(*found)
            results.append([np.asarray(one) for one in found])
    return results[0], results[1]


def sources(
    function: Callable[..., Any], *arrays: np.ndarray, vectors: bool = True
) -> Sequence[CudaSource | None]:
    """The CUDA sources of a function's kernels, without running them."""
    with (
        simulated(vectors) as seen,
        mock.patch.object(SimulatedStep, "run", lambda self, values: _zeros(self, values)),
    ):
        xp.realize(*_tuple(function(*(xp.asarray(array) for array in arrays))))
    return seen


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def _zeros(step: SimulatedStep, values: Slots) -> None:
    for node in step._kernel.writes:
        values[step._slot[node]] = Buffer(np.zeros(node.shape, node.dtype))
