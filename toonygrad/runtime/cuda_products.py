"""Products of matrices on a GPU by the library: the plan's step, and which layouts are passed as they are.

cuda_plan.py and explain.py come here. The library has BLAS's order, columns one after another; in it a
row-major matrix is its transpose, and C = A B is computed as Cᵀ = Bᵀ Aᵀ.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from toonygrad.dtypes import FLOATING
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.device import Device, DeviceBuffer, Layout, layout_of
from toonygrad.runtime.driver import Gemm
from toonygrad.runtime.plan import RunStep, Slots
from toonygrad.schedule.fusion import Routine
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import Shape, contiguous_strides


def is_product(step: Routine, device: Device) -> bool:
    """Whether a call of a library is a product of matrices that the device has a library for."""
    return (
        step.node.op is Ops.EXTERNAL
        and step.node.arg[0] == "matmul"
        and step.node.dtype in FLOATING
        and device.multiplies()
    )


class ProductStep(RunStep):
    """A product of stacks of matrices by the library."""

    def __init__(self, device: Device, routine: Routine, slot: dict[UOp, int]) -> None:
        self._device, node = device, routine.node
        self._slot, self._layout = slot[node], layout_of(device, node.dtype, node.shape)
        self._sources = [(slot[view.node], view.path) for view in routine.sources]
        # What has been passed as it is, or as a copy, and how. A plan is for fixed layouts, so only memory
        # that isn't aligned is looked at again.
        self._calls: tuple[Layout, Layout, _Calls] | None = None

    def run(self, values: Slots) -> None:
        """Call the library."""
        device = self._device
        left, right = (values[slot].moved(path) if path else values[slot] for slot, path in self._sources)
        result = device.take(self._layout)
        if left.shape[-1]:
            known = self._calls
            if (
                known is None
                or left.layout is not known[0]
                or right.layout is not known[1]
                or (left.address | right.address) % left.dtype.itemsize
            ):
                left, right = _readable(left), _readable(right)
                made = _calls(self._layout.shape, left.layout, right.layout)
                known = self._calls = left.layout, right.layout, made
            gemm, offsets = known[2]
            for of_left, of_right, of_result in offsets:
                device.multiply(
                    gemm, right.address + of_right, left.address + of_left, result.address + of_result
                )
        else:  # sums of nothing
            device.driver.clear(device.number, result.address, result.nbytes)
        values[self._slot] = result
        for slot in self.dead:
            values[slot] = None


# -- layouts -------------------------------------------------------------------------------------------------


class _Calls(NamedTuple):
    """What all calls ask for, and where the matrices of each begin: bytes in left, right and result."""

    gemm: Gemm
    offsets: list[tuple[int, ...]]


def _leading(layout: Layout) -> tuple[bool, int] | None:
    """Whether columns rather than rows of the matrices lie in one piece, and how far one is from the next.

    None where neither do, or where they overlap: no argument of BLAS says so.
    """
    itemsize = layout.dtype.itemsize
    size, stride = layout.shape[-2:], [step // itemsize for step in layout.strides[-2:]]
    for transposed in (False, True):
        outer, inner = (1, 0) if transposed else (0, 1)
        dense = size[inner] == 1 or stride[inner] == 1
        if dense and (size[outer] == 1 or stride[outer] >= size[inner]):
            return transposed, size[inner] if size[outer] == 1 else stride[outer]
    return None


def _readable(source: DeviceBuffer) -> DeviceBuffer:
    """The stack, or where BLAS has no words for its layout a row-major copy that repeats no matrix."""
    layout, itemsize = source.layout, source.dtype.itemsize
    stack = layout.strides[:-2]
    aligned = not any(each % itemsize for each in (source.address, *layout.strides))
    if aligned and _leading(layout) is not None and min(stack, default=0) >= 0:
        return source
    once = [size if stride else 1 for size, stride in zip(layout.shape, stack)]
    shape = (*once, *layout.shape[-2:])
    copy = source.place.allocate(shape, source.dtype)
    copy_into(copy, source.view(0, shape, layout.strides))
    return copy


def _calls(shape: Shape, left: Layout, right: Layout) -> _Calls:
    """What to ask of the library for a row-major result of `shape`."""
    itemsize = left.dtype.itemsize
    of_left, of_right = _leading(left), _leading(right)
    assert of_left is not None and of_right is not None
    (left_transposed, left_leading), (right_transposed, right_leading) = of_left, of_right
    rows, inner, columns = shape[-2], left.shape[-1], shape[-1]
    stack = shape[:-2]
    axes = _merged(stack, (_spread(left, stack), _spread(right, stack), contiguous_strides(shape)[:-2]))
    # One call does a stack along one axis: the longest.
    count, strides = max(axes, key=lambda axis: axis[0], default=(1, (0, 0, 0)))
    loops = [axis for axis in axes if axis != (count, strides)]
    if not left_transposed and strides == (rows * left_leading, 0, rows * columns):
        # All by the same matrix, and row after row: one large product.
        rows, count = rows * count, 1
    gemm = Gemm(
        left.dtype,
        (right_transposed, left_transposed),
        columns,
        rows,
        inner,
        (right_leading, left_leading, columns),
        (strides[1], strides[0], strides[2]),
        count,
    )
    offsets = [
        tuple(sum(at * axis[1][k] for at, axis in zip(place, loops)) * itemsize for k in range(3))
        for place in product(*(range(size) for size, _ in loops))
    ]
    return _Calls(gemm, offsets)


def _spread(layout: Layout, stack: Shape) -> list[int]:
    """The strides in elements of an operand broadcast to a stack, 0 where it repeats."""
    itemsize = layout.dtype.itemsize
    own = [
        stride // itemsize if size > 1 else 0 for size, stride in zip(layout.shape[:-2], layout.strides[:-2])
    ]
    return [0] * (len(stack) - len(own)) + own


def _merged(stack: Shape, strides: Sequence[Sequence[int]]) -> list[tuple[int, tuple[int, ...]]]:
    """Size and strides of as few axes as show the same stack in all operands."""
    axes: list[tuple[int, tuple[int, ...]]] = []
    for size, *steps in zip(stack, *strides):
        if size == 1:
            continue
        if axes and all(outer == step * size for outer, step in zip(axes[-1][1], steps)):
            axes[-1] = (axes[-1][0] * size, tuple(steps))
        else:
            axes.append((size, tuple(steps)))
    return axes
