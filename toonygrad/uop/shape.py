"""Data type and shape of every op's result, and broadcasting.

`infer` is asked once when a node is made, so that every UOp knows its own shape and type. The layers that
speak to users check arguments first and name the user's call, so an error raised here is the engine's own
mistake. Imports the page of ops and the data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toonygrad import dtypes
from toonygrad.devices import DEVICE
from toonygrad.uop.ops import COMPARISONS, ELEMENTWISE, STATEMENTS, Op, Ops

if TYPE_CHECKING:
    from toonygrad.uop.node import UOp

Shape = tuple[int, ...]


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape of arrays of these shapes, as the standard's "Broadcasting" says.

    Raises
    ------
    ValueError
        Two sizes of one axis differ and neither is one.
    """
    result = shapes[0] if shapes else ()
    for shape in shapes[1:]:
        if shape == result or not shape:
            continue
        if len(shape) > len(result):
            shape, result = result, shape
        front = len(result) - len(shape)
        sizes = list(result)
        for axis, size in enumerate(shape):
            if size != sizes[front + axis]:
                if sizes[front + axis] != 1 and size != 1:
                    raise ValueError("shapes " + ", ".join(map(str, shapes)) + " do not broadcast together")
                if size != 1:
                    sizes[front + axis] = size
        result = tuple(sizes)
    return result


def size_of(shape: Sequence[int]) -> int:
    """The number of elements of an array of this shape."""
    count = 1
    for size in shape:
        count *= size
    return count


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Strides, in elements, of a row-major array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def infer(op: Op, src: tuple[UOp, ...], arg: Any) -> tuple[np.dtype, Shape]:
    """Data type and shape of `op` applied to `src` with `arg`."""
    if op in ELEMENTWISE:
        shape = src[0].shape
        for source in src:
            if source.shape != shape:
                shape = broadcast_shapes(*(s.shape for s in src))
                break
        return elementwise_dtype(op, src, arg), shape
    if op in _MOVED:
        return src[0].dtype, _MOVED[op](src[0].shape, arg)
    if op is Ops.REDUCE:
        if isinstance(arg, Op):
            return src[0].dtype, ()
        return src[0].dtype, tuple(size for axis, size in enumerate(src[0].shape) if axis not in arg[1])
    if op is Ops.SCAN or op is Ops.REPLACE:
        return src[0].dtype, src[0].shape
    if op is Ops.GATHER:
        axes, position, _ = arg
        kept = [size for axis, size in enumerate(src[0].shape) if axis not in axes]
        index_shape = broadcast_shapes(*(s.shape for s in src[1:]))
        return src[0].dtype, (*kept[:position], *index_shape, *kept[position:])
    if op is Ops.CONCAT:
        shape = src[0].shape
        total = sum(s.shape[arg] for s in src)
        return src[0].dtype, (*shape[:arg], total, *shape[arg + 1 :])
    if op is Ops.IOTA:
        return dtypes.INDEX, arg[0]
    if op is Ops.EXTERNAL:
        return arg[2], arg[3]
    if op is Ops.ARGUMENT:
        return arg[1], arg[2]
    if op is Ops.BUFFER:
        # The array of what is on a GPU would be a copy.
        memory = arg.array if arg.device == DEVICE else arg
        return memory.dtype, memory.shape
    return _kernel_dtype(op, src, arg), ()


def elementwise_dtype(op: Op, src: tuple[UOp, ...], arg: Any) -> np.dtype:
    """The result type of elementwise arithmetic on operands that already agree."""
    if op is Ops.CAST or op is Ops.BITCAST:
        return arg
    if op in COMPARISONS:
        return dtypes.bool_
    if op is Ops.WHERE:
        return src[1].dtype
    if op is Ops.COMPLEX:
        return dtypes.COMPLEX_OF[src[0].dtype]
    if op in (Ops.REAL, Ops.IMAG, Ops.ABS):
        return dtypes.REAL_PART.get(src[0].dtype, src[0].dtype)
    return src[0].dtype


def _kernel_dtype(op: Op, src: tuple[UOp, ...], arg: Any) -> np.dtype:
    if op is Ops.LOAD:
        return src[0].dtype
    if op in (Ops.POINTER, Ops.NUMBER, Ops.VARIABLE, Ops.SCRATCH, Ops.SHARED, Ops.ACCESS):
        return arg[1]
    if op in (Ops.SIZE, Ops.RANGE, Ops.CHECKED, Ops.AFFINE, Ops.PIECEWISE, Ops.THREAD):
        return dtypes.INDEX
    if op is Ops.TWO_OVER_PI:
        return dtypes.uint64
    if op in STATEMENTS:
        return dtypes.bool_  # statements have no value; a type keeps the node uniform
    return src[0].dtype


_MOVED = {
    Ops.RESHAPE: lambda shape, arg: arg,
    Ops.EXPAND: lambda shape, arg: arg,
    Ops.PERMUTE: lambda shape, arg: tuple(shape[axis] for axis in arg),
    Ops.SLICE: lambda shape, arg: tuple(size for _, _, size in arg),
}
