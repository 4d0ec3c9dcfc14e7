"""What a call records: operands promoted and checked in the user's terms, then one or few nodes.

Array's operators and the standard's functions both come through here, so promotion, broadcasting and the
words of an error exist once. Works on UOps; knows nothing of handles or of how anything is computed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.errors import axis_error, dtype_error, mixed_error, shapes_error
from toonygrad.uop.node import Number, UOp
from toonygrad.uop.ops import ELEMENTWISE, Op, Ops
from toonygrad.uop.shape import Shape, broadcast_shapes, elementwise_dtype, size_of

# Which data types an elementwise op takes, by the standard's categories.
_ALLOWED = {op: frozenset(dtypes.CATEGORIES[op.takes]) for op in ELEMENTWISE}
# Integers in these are converted to the default float, as NumPy does.
_FLOATING_OPS = frozenset(op for op in ELEMENTWISE if op.takes in ("floating", "real floating"))
_INTEGERS = frozenset(dtypes.INTEGERS)

# NumPy's limit, which the interpreter shares.
MOST_DIMENSIONS = 64

# The functions that move elements, pick some or convert them, and so take float16; every other one computes.
_MOVING = """
astype broadcast_arrays broadcast_to concat diagonal empty_like expand_dims fftshift flip full_like ifftshift
matrix_transpose meshgrid moveaxis ones_like permute_dims realize repeat reshape roll squeeze stack take
take_along_axis tile tril triu unstack where zeros_like
"""
MOVES = frozenset(_MOVING.split())

# What the standard's functions hand about without knowing how it is made.
Node = UOp
Operand = UOp | Number

# Python scalars that take the array's type, so that nothing is converted: most of those that stand beside an
# array.
KEEPS_DTYPE = frozenset(
    (type(example), dtype)
    for example in (True, 1, 1.0, 1j)
    for dtype in dtypes.ALL
    if dtypes.scalar_dtype(example, dtype) is dtype
)

# Real numbers are these already.
_UNCHANGED: dict[Op, frozenset[np.dtype]] = {
    **dict.fromkeys((Ops.FLOOR, Ops.CEIL, Ops.TRUNC, Ops.ROUND), _INTEGERS),
    **dict.fromkeys((Ops.REAL, Ops.CONJ), frozenset(dtypes.REAL_NUMERIC)),
}


def data_type(call: str, dtype: Any) -> np.dtype:
    """`dtype`, given as a NumPy dtype, a scalar type of NumPy's or Python's, or a name, as one of ours.

    Raises
    ------
    TypeError
        It is no data type, or none of the standard's.
    """
    # NumPy would also take whatever has a dtype (an array), and None for its default.
    if not isinstance(dtype, (np.dtype, type, str)):
        raise TypeError(f"{call}: takes a data type, not {type(dtype).__name__}")
    try:
        result = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{call}: {dtype!r} is no data type") from None
    if not dtypes.is_supported(result):
        raise TypeError(f"{call}: {dtype!r} is none of the standard's data types")
    return result


def python_number(call: str, value: Any) -> Any:
    """A Python or NumPy number, or the one in an array of shape (), as one of Python's four kinds.

    Subclasses (numpy.float64 is a float) count as what they derive from.

    Raises
    ------
    TypeError
        It isn't a number.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    kind: Any
    for kind in (bool, int, float, complex):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{call}: takes numbers, not {type(value).__name__}")


def scalar_operand(call: str, value: Number, beside: np.dtype) -> UOp:
    """A Python scalar as an operand beside an array of type `beside`.

    Raises
    ------
    TypeError
        The scalar's kind doesn't mix with the array's.
    OverflowError
        An integer doesn't fit the array's type.
    """
    value = python_number(call, value)
    dtype = dtypes.scalar_dtype(value, beside)
    if dtype is None:
        raise mixed_error(call, (beside, f"a Python {type(value).__name__}"))
    return number(call, value, dtype)


def number(call: str, value: Number, dtype: np.dtype) -> UOp:
    """A number of the user's as a 0-d operand of type `dtype`; floats lose their fraction as integers.

    Raises
    ------
    TypeError
        A complex number is to become a real one.
    OverflowError
        An integer doesn't fit `dtype`.
    ValueError
        NaN is to become an integer.
    """
    if isinstance(value, complex) and dtype.kind not in "cb":
        raise TypeError(f"{call}: a complex number can't be a {dtype}")
    try:
        if dtype in _INTEGERS:
            value = int(value.real)
            least, most = _BOUNDS[dtype]
            if not least <= value <= most:
                raise OverflowError
        elif dtype == dtypes.bool_:
            value = bool(value)
        return UOp.scalar(value, dtype)
    except OverflowError:
        raise OverflowError(f"{call}: the Python number {value} is out of bounds for {dtype}") from None
    except ValueError:
        raise ValueError(f"{call}: {value} can't be a {dtype}") from None


_BOUNDS = {dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in dtypes.INTEGERS}


def constant(value: Number, dtype: np.dtype) -> UOp:
    """A number of the engine's own (0, 1, 2, infinity), part of a kernel's source."""
    return UOp.const(value, dtype)


def apply(op: Op, *sources: UOp) -> UOp:
    """`op` of sources that agree, nothing checked."""
    return UOp.new(op, sources)


def parts(node: UOp) -> tuple[UOp, UOp]:
    """Real and imaginary part of a complex node."""
    return UOp.new(Ops.REAL, (node,)), UOp.new(Ops.IMAG, (node,))


def filled(shape: Shape, value: UOp) -> UOp:
    """The 0-d `value` everywhere in an array of `shape`."""
    return expand(value, shape)


def promoted(call: str, *operands: Operand) -> list[UOp]:
    """Operands, at least one of them an array, brought to their common data type.

    Raises
    ------
    TypeError
        They have none, as the standard's type promotion says.
    """
    first = operands[0]
    if type(first) is UOp and all(type(each) is UOp and each.dtype is first.dtype for each in operands):
        return list(operands)  # type: ignore[arg-type]
    dtype: np.dtype | None = None
    for operand in operands:
        if isinstance(operand, UOp):
            if dtype is None or dtype == operand.dtype:
                dtype = operand.dtype
            else:
                common = dtypes.PROMOTION.get((dtype, operand.dtype))
                if common is None:
                    raise mixed_error(call, [o.dtype for o in operands if isinstance(o, UOp)])
                dtype = common
    if dtype is None:
        raise TypeError(f"{call}: at least one operand must be an array")
    result: list[UOp] = []
    for operand in operands:
        if not isinstance(operand, UOp):
            operand = scalar_operand(call, operand, dtype)
            if operand.dtype != dtype:
                dtype = operand.dtype
        result.append(operand)
    return [cast(operand, dtype) for operand in result]


def cast(node: UOp, dtype: np.dtype) -> UOp:
    """`node` as `dtype`; a number stays a number."""
    if node.dtype == dtype:
        return node
    if node.op is Ops.SCALAR and not (
        node.dtype.kind == "c" or (node.dtype.kind == "f" and dtype.kind in "iu")
    ):
        with np.errstate(over="ignore"):
            return UOp.scalar(np.array(node.arg, node.dtype).astype(dtype).item(), dtype)
    return UOp.new(Ops.CAST, (node,), dtype)


def allowed(op: Op) -> frozenset[np.dtype]:
    """The data types that an elementwise `op` takes as they are."""
    return _ALLOWED[op]


def takes(op: Op) -> str:
    """The category of data types that an elementwise `op` takes, integers it converts included."""
    if op in _FLOATING_OPS:
        return "numeric" if op.takes == "floating" else "real numeric"
    return op.takes


def as_floating(node: UOp) -> UOp:
    """`node` itself where it is of a floating-point type, else as the default float."""
    return node if node.dtype in dtypes.FLOATING else cast(node, dtypes.DEFAULT_FLOAT)


def check_takes(call: str, op: Op, node: UOp) -> None:
    """TypeError, naming the call, unless `op` takes the data type of `node`."""
    if node.dtype not in _ALLOWED[op]:
        raise dtype_error(call, op.takes, node.dtype)


def elementwise(call: str, op: Op, *operands: Operand, mirrored: bool = False) -> UOp:
    """`op` of promoted operands, in reverse order where `mirrored`.

    Raises
    ------
    TypeError
        `op` doesn't take their data types, or they have no common one.
    ValueError
        Their shapes don't broadcast.
    """
    if len(operands) == 1 and isinstance(operands[0], UOp):
        sources = [operands[0]]
    else:
        sources = promoted(call, *operands)
    dtype = sources[0].dtype
    if dtype not in _ALLOWED[op]:
        if op in _FLOATING_OPS and dtype in _INTEGERS:
            sources = [cast(source, dtypes.DEFAULT_FLOAT) for source in sources]
        else:
            raise dtype_error(call, op.takes, *(source.dtype for source in sources))
    if len(sources) == 1:
        if dtype in _UNCHANGED.get(op, ()):
            return sources[0]
        shape = sources[0].shape
    else:
        shape = check_broadcast(call, *sources)
    src = tuple(reversed(sources) if mirrored else sources)
    return UOp.known(op, src, None, elementwise_dtype(op, src, None), shape)


def check_broadcast(call: str, *sources: UOp) -> Shape:
    """The common shape of `sources`; ValueError, naming the call, where there is none."""
    return common_shape(call, *(source.shape for source in sources))


def common_shape(call: str, *shapes: Shape) -> Shape:
    """The shape to which `shapes` broadcast; ValueError, naming the call, where there is none."""
    try:
        return broadcast_shapes(*shapes)
    except ValueError:
        raise shapes_error(call, shapes) from None


def where(call: str, condition: UOp, yes: Operand, no: Operand) -> UOp:
    """Elements of `yes` where `condition` holds, else of `no`."""
    if condition.dtype != dtypes.bool_:
        raise dtype_error(call, "boolean", condition.dtype)
    sources = (condition, *promoted(call, yes, no))
    return UOp.known(Ops.WHERE, sources, None, sources[1].dtype, check_broadcast(call, *sources))


# -- integers, axes and shapes ---------------------------------------------------------------------


def integer(call: str, name: str, value: Any) -> int:
    """The argument `name` as an integer; TypeError, naming the call, where it is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{call}: {name} must be an integer, not {type(value).__name__}") from None


def one_axis(call: str, axis: Any, ndim: int) -> int:
    """`axis` as an index from the front.

    Raises
    ------
    IndexError
        It is out of bounds.
    TypeError
        It isn't an integer.
    """
    index = integer(call, "axis", axis)
    if not -ndim <= index < ndim:
        raise axis_error(call, index, ndim)
    return index % ndim


def several_axes(call: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` (None: all; an integer; a tuple) as sorted indices from the front, each once.

    Raises
    ------
    IndexError, TypeError
        As of `one_axis`.
    ValueError
        An axis is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and 0 <= axis < ndim:
        return (axis,)
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(sorted(one_axis(call, one, ndim) for one in given))
    if len(set(axes)) != len(axes):
        raise ValueError(f"{call}: axis {axis} names an axis twice")
    return axes


def shape_of(call: str, shape: Any) -> Shape:
    """A shape given as an integer or a sequence of integers.

    Raises
    ------
    TypeError
        An entry isn't an integer.
    ValueError
        An entry is negative, or there are too many.
    """
    # An array of shape () is an integer, although it claims to be iterable.
    entries = shape if isinstance(shape, Iterable) and getattr(shape, "shape", None) != () else (shape,)
    try:
        result = tuple(operator.index(size) for size in entries)
    except TypeError:
        raise TypeError(f"{call}: a shape holds integers, not {shape!r}") from None
    if any(size < 0 for size in result):
        raise ValueError(f"{call}: sizes can't be negative, as in {result}")
    check_dimensions(call, len(result))
    return result


def check_dimensions(call: str, ndim: int) -> None:
    """ValueError, naming the call, where a result would have more dimensions than arrays can have."""
    if ndim > MOST_DIMENSIONS:
        raise ValueError(f"{call}: at most {MOST_DIMENSIONS} dimensions, not {ndim}")


# -- movement --------------------------------------------------------------------------------------


def reshape(node: UOp, shape: Shape, call: str = "reshape") -> UOp:
    """`node` under another shape of the same size, which the caller has checked.

    Raises
    ------
    ValueError
        There are too many dimensions.
    """
    check_dimensions(call, len(shape))
    if node.op is Ops.RESHAPE:
        node = node.src[0]
    return node if node.shape == shape else UOp.new(Ops.RESHAPE, (node,), shape)


def flat(node: UOp) -> UOp:
    """`node` as one axis, in row-major order."""
    return reshape(node, (size_of(node.shape),))


def permute(node: UOp, axes: Sequence[int]) -> UOp:
    """`node` with axis k of the result its axis axes[k]."""
    axes = tuple(axes)
    if axes == tuple(range(len(axes))):
        return node
    return UOp.new(Ops.PERMUTE, (node,), axes)


def expand(node: UOp, shape: Shape) -> UOp:
    """`node` repeated to `shape`, to which it broadcasts."""
    return node if node.shape == shape else UOp.new(Ops.EXPAND, (node,), shape)


def slice_axes(node: UOp, parts: Sequence[tuple[int, int, int]]) -> UOp:
    """For each axis, `size` elements from `start` by `step`."""
    parts = tuple(parts)
    sizes = tuple([count for _, _, count in parts])
    if sizes == node.shape and parts == tuple([(0, 1, size) for size in sizes]):
        return node
    return UOp.known(Ops.SLICE, (node,), parts, node.dtype, sizes)


def slice_axis(node: UOp, axis: int, start: int, step: int, size: int) -> UOp:
    """`size` elements along one axis from `start` by `step`, all of the others."""
    parts = [(0, 1, extent) for extent in node.shape]
    parts[axis] = (start, step, size)
    return slice_axes(node, parts)


def insert_axes(node: UOp, axes: Iterable[int], call: str = "expand_dims") -> UOp:
    """`node` with axes of size one, standing at `axes` of the result.

    Raises
    ------
    ValueError
        There are too many dimensions.
    """
    shape = list(node.shape)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return reshape(node, tuple(shape), call)


def move_axis(node: UOp, source: int, destination: int) -> UOp:
    """`node` with one axis moved and the others in order."""
    order = [axis for axis in range(len(node.shape)) if axis != source]
    order.insert(destination, source)
    return permute(node, order)


# -- over axes -------------------------------------------------------------------------------------


def reduce(node: UOp, op: Op, axes: tuple[int, ...], keepdims: bool = False) -> UOp:
    """`op` over `axes` in the type of `node`."""
    shape = node.shape
    if not axes:
        result = node
    elif len(axes) == len(shape):
        result = UOp.known(Ops.REDUCE, (node,), (op, axes), node.dtype, ())
    else:
        left = tuple([size for axis, size in enumerate(shape) if axis not in axes])
        result = UOp.known(Ops.REDUCE, (node,), (op, axes), node.dtype, left)
    if keepdims:
        result = reshape(result, tuple([1 if axis in axes else size for axis, size in enumerate(shape)]))
    return result


def count_over(node: UOp, axes: tuple[int, ...]) -> int:
    """How many elements each result of a reduction of `node` over `axes` combines."""
    return size_of([node.shape[axis] for axis in axes])


def check_not_empty(call: str, node: UOp, axes: tuple[int, ...]) -> None:
    """ValueError, naming the call, where results would be chosen from no elements."""
    if not count_over(node, axes):
        raise ValueError(f"{call}: no elements to choose from along axes {axes} of the shape {node.shape}")


def iota(shape: Shape, axis: int) -> UOp:
    """Each element's own position along `axis` of an array of `shape`, int64."""
    return UOp.new(Ops.IOTA, (), (shape, axis))


def arange(start: int | float, step: int | float, size: int, dtype: np.dtype) -> UOp:
    """start + step * i for i in range(size), in `dtype`."""
    node = iota((size,), 0)
    if dtype in _INTEGERS:
        # Modular arithmetic in the result's own type, so that steps down work for unsigned types too.
        least, most = _BOUNDS[dtype]
        first, by = ((int(v) - least) % (most - least + 1) + least for v in (start, step))
        return cast(node, dtype) * UOp.scalar(by, dtype) + UOp.scalar(first, dtype)
    if dtype in dtypes.COMPLEX_FLOATING:
        return cast(arange(start, step, size, dtypes.REAL_PART[dtype]), dtype)
    exact = cast(node, dtypes.float64) * UOp.scalar(step, dtypes.float64) + UOp.scalar(start, dtypes.float64)
    return cast(exact, dtype)


def linspace(start: float, stop: float, count: int, endpoint: bool) -> UOp:
    """`count` float64 numbers evenly spaced from `start`; with `endpoint` the last one is `stop`."""
    steps = max(count - 1 if endpoint else count, 1)
    step = (stop - start) / steps
    if math.isinf(step) and math.isfinite(start) and math.isfinite(stop):
        return linspace(start / 2, stop / 2, count, endpoint) * 2  # only the difference overflows
    place = iota((count,), 0)
    result = cast(place, dtypes.float64) * UOp.scalar(step, dtypes.float64) + UOp.scalar(
        start, dtypes.float64
    )
    if endpoint and count > 1:
        last = place.eq(UOp.scalar(count - 1, dtypes.INDEX))
        result = last.where(UOp.scalar(stop, dtypes.float64), result)
    return result


def gather(node: UOp, indices: Sequence[UOp], axes: tuple[int, ...], position: int, call: str) -> UOp:
    """Elements of `node` at integer arrays `indices` for `axes`; their broadcast shape stands at `position`.

    Raises
    ------
    IndexError
        An axis of size zero is indexed. Indices out of bounds are found when the elements are computed.
    ValueError
        The indices don't broadcast, or the result would have too many dimensions.
    """
    shape = check_broadcast(call, *indices)
    check_dimensions(call, len(shape) + len(node.shape) - len(axes))
    for axis in axes:
        if node.shape[axis] == 0 and size_of(shape):
            raise IndexError(f"{call}: an index into axis {axis}, which has size 0, is out of bounds")
    whole = [_as_index(index) for index in indices]
    return UOp.new(Ops.GATHER, (node, *whole), (axes, position, call))


def _as_index(node: UOp) -> UOp:
    if node.dtype == dtypes.uint64:
        # What int64 can't hold would wrap to a negative index that may exist.
        node = UOp.new(Ops.MINIMUM, (node, UOp.const(_BOUNDS[dtypes.INDEX][1], dtypes.uint64)))
    return cast(node, dtypes.INDEX)


def scan(node: UOp, op: Op, axis: int) -> UOp:
    """Running `op` along `axis`, the element itself included."""
    return UOp.known(Ops.SCAN, (node,), (op, axis), node.dtype, node.shape)


def concat(parts: Sequence[UOp], axis: int) -> UOp:
    """`parts`, of one type and agreeing but for `axis`, one behind the other; empty ones vanish."""
    filled = [part for part in parts if part.shape[axis]] or list(parts[:1])
    return filled[0] if len(filled) == 1 else UOp.new(Ops.CONCAT, tuple(filled), axis)


def external(name: str, parameters: tuple[Any, ...], dtype: np.dtype, shape: Shape, *sources: UOp) -> UOp:
    """A routine of runtime/external.py on `sources`; a library reads memory, so numbers are put into some."""
    read = tuple(reshape(filled((1,), s), ()) if s.op is Ops.SCALAR else s for s in sources)
    return UOp.new(Ops.EXTERNAL, read, (name, parameters, dtype, shape))


def join(call: str, nodes: Sequence[UOp], axis: int) -> UOp:
    """`nodes`, promoted and checked, one behind the other along `axis`.

    Raises
    ------
    TypeError
        They have no common data type.
    ValueError
        Their shapes differ elsewhere.
    """
    parts = promoted(call, *nodes)
    shape = parts[0].shape
    for part in parts[1:]:
        if part.shape[:axis] + part.shape[axis + 1 :] != shape[:axis] + shape[axis + 1 :] or (
            len(part.shape) != len(shape)
        ):
            raise ValueError(f"{call}: shapes {shape} and {part.shape} differ off axis {axis}")
    return concat(parts, axis)


# -- contractions ----------------------------------------------------------------------------------
