"""Elements moved within a GPU's memory, whatever their strides: what NumPy's assignment is to the CPU.

Plans and writes to arrays come here. Dense memory is copied by the driver, the rest by a generated kernel,
and by the host where none can be had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.cuda_generate import CudaSource, generate_cuda
from toonygrad.config import counters
from toonygrad.runtime.device import Device, DeviceBuffer, host_window
from toonygrad.runtime.driver import Call
from toonygrad.schedule.fusion import Kernel
from toonygrad.schedule.ranges import Index
from toonygrad.schedule.trace import Output, range_named
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# Kernels kept, each for one shape and layout; more are made anew.
_MOST_KEPT = 1024

_kept: dict[tuple, Any] = {}

_AS_INTEGERS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def copy_into(target: DeviceBuffer, source: DeviceBuffer) -> None:
    """Copy the elements of `source` to those of `target`, of one data type and shape, on one device.

    They don't overlap; a stride of 0 in `source` repeats elements.
    """
    if not target.nbytes:
        return
    device = target.place
    if target.is_contiguous and source.is_contiguous:
        device.driver.use(device.number)
        device.driver.copy(device.number, target.address, source.address, target.nbytes)
        return
    step = _step(target, source)
    if step is None:
        _through_host(target, source)
        return
    step.run(target, source)


def _step(target: DeviceBuffer, source: DeviceBuffer) -> Any:
    aligned = not (target.address % VECTOR_BYTES or source.address % VECTOR_BYTES)
    key = (target.layout, source.strides, aligned)
    if key not in _kept:
        if len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(list(_kept))), None)
        _kept[key] = _CopyKernel.made(target, source, aligned)
    return _kept[key]


class _CopyKernel:
    """A generated kernel that copies between two layouts."""

    def __init__(self, device: Device, source: CudaSource) -> None:
        arguments = [
            (1 if output else 2, offset * pointer.dtype.itemsize)
            for (output, _, offset), pointer in source.arguments.ordered_pointers()
        ]
        arguments += [(0, value) for value in source.arguments.integers.values()]
        kernel = device.kernel(source.text, source.name, source.parameters)
        call = Call(kernel, *source.launch, tuple(arguments))
        self._device, self._program = device, device.driver.program(device.number, 2, [call], {})

    @staticmethod
    def made(target: DeviceBuffer, source: DeviceBuffer, aligned: bool) -> _CopyKernel | None:
        """The kernel, with vectors if memory is aligned; None where there is none for this layout."""
        # As integers of the same size: nothing is converted, and NaNs keep their bits.
        itemsize = target.dtype.itemsize
        width = min(itemsize, 8)
        shape, strides = list(target.shape), [list(target.strides), list(source.strides)]
        if itemsize > width:
            shape.append(itemsize // width)
            for each in strides:
                each.append(width)
        if any(stride % width for each in strides for stride in each):
            return None
        dtype = _AS_INTEGERS[width]
        ranges = {axis: range_named("copy", axis) for axis, size in enumerate(shape) if size > 1}
        written, read = (
            tuple((node, each[axis] // width) for axis, node in ranges.items() if each[axis])
            for each in strides
        )
        memory = [UOp.new(Ops.ARGUMENT, (), (slot, dtype, (1,), (1,))) for slot in (0, 1)]
        value = UOp.new(Ops.ACCESS, tuple(node for node, _ in read), (0, dtype, tuple(c for _, c in read), 0))
        kernel = Kernel(
            outputs=(Output(memory[0], value, Index(written)),),
            arrays=(memory[1],),
            numbers=(),
            sizes=(),
            outer=None,
            domain=tuple(ranges.values()),
            extents={node: shape[axis] for axis, node in ranges.items()},
            checks=(),
            nodes=(),
            reason="copied",
        )
        found = generate_cuda(kernel, vectors=True) if aligned else None
        if found is None or not _has_aligned_vectors(found):
            found = generate_cuda(kernel, vectors=False)
        return None if found is None else _CopyKernel(target.place, found)

    def run(self, target: DeviceBuffer, source: DeviceBuffer) -> None:
        """Launch it on the target and the source."""
        self._device.run(self._program, target.address, source.address)
        counters.kernels_launched += 1


def _has_aligned_vectors(source: CudaSource) -> bool:
    """Whether its vectors stand where they may, if all memory begins there."""
    ordered = zip(source.parameters, source.arguments.ordered_pointers(), strict=False)
    return not any(
        offset * pointer.dtype.itemsize % VECTOR_BYTES
        for parameter, ((_, _, offset), pointer) in ordered
        if parameter.name in source.aligned
    )


def _through_host(target: DeviceBuffer, source: DeviceBuffer) -> None:
    values = source.array

    def put(elements: np.ndarray) -> None:
        elements[...] = values

    write_on_host(target, put)


def write_on_host(target: DeviceBuffer, write: Callable[[np.ndarray], None]) -> None:
    """Have `write` change the elements of an array on a GPU in a copy on the host, and copy them back."""
    counters.host_steps += 1
    if not target.nbytes:
        write(np.empty(target.shape, target.dtype))  # it may still complain
        return
    target.raise_if_outside()
    lowest, stretch, elements = host_window(target)
    write(elements)
    target.place.write(lowest, stretch)
