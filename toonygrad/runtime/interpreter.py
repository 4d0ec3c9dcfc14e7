"""The meaning of every recorded operation, as NumPy computes it: the reference and the path for small arrays.

`operation` gives, for one node, the callable that takes its sources' arrays. Wherever NumPy means what we
mean it is NumPy's own function and nothing around it: a call on 100 elements costs what NumPy costs. Plans
and tests call it; it imports the graph's nodes and the data types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from operator import attrgetter, itemgetter, methodcaller
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.complex_numbers import MULTIPLIED_POWERS
from toonygrad.codegen.integers import EXACT_QUOTIENT
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import broadcast_shapes

Operation = Callable[..., Any]

# Here NumPy means what we mean. Integer division and remainder by zero give 0, INT_MIN // -1 wraps, shifts
# past the width or by negative numbers give 0 or the sign's fill: tests/test_interpreter.py holds NumPy to
# each.
_SAME: dict[Op, Operation] = {
    Ops.NEG: np.negative,
    Ops.ABS: np.absolute,
    Ops.NOT: np.invert,
    Ops.SQRT: np.sqrt,
    Ops.FLOOR: np.floor,
    Ops.CEIL: np.ceil,
    Ops.TRUNC: np.trunc,
    Ops.ROUND: np.rint,
    Ops.CONJ: np.conjugate,
    Ops.ADD: np.add,
    Ops.SUB: np.subtract,
    Ops.MUL: np.multiply,
    Ops.DIV: np.true_divide,
    Ops.FLOORDIV: np.floor_divide,
    Ops.REMAINDER: np.remainder,
    Ops.MAXIMUM: np.maximum,
    Ops.MINIMUM: np.minimum,
    Ops.AND: np.bitwise_and,
    Ops.OR: np.bitwise_or,
    Ops.XOR: np.bitwise_xor,
    Ops.SHL: np.left_shift,
    Ops.SHR: np.right_shift,
    Ops.COPYSIGN: np.copysign,
    Ops.NEXTAFTER: np.nextafter,
    Ops.LT: np.less,
    Ops.LE: np.less_equal,
    Ops.EQ: np.equal,
    Ops.NE: np.not_equal,
    Ops.WHERE: np.where,
    Ops.EXP: np.exp,
    Ops.EXPM1: np.expm1,
    Ops.LOG: np.log,
    Ops.LOG1P: np.log1p,
    Ops.LOG2: np.log2,
    Ops.LOG10: np.log10,
    Ops.SIN: np.sin,
    Ops.COS: np.cos,
    Ops.TAN: np.tan,
    Ops.ASIN: np.arcsin,
    Ops.ACOS: np.arccos,
    Ops.ATAN: np.arctan,
    Ops.SINH: np.sinh,
    Ops.COSH: np.cosh,
    Ops.TANH: np.tanh,
    Ops.ASINH: np.arcsinh,
    Ops.ACOSH: np.arccosh,
    Ops.ATANH: np.arctanh,
    Ops.ATAN2: np.arctan2,
    Ops.POW: np.power,
    Ops.HYPOT: np.hypot,
    Ops.LOGADDEXP: np.logaddexp,
}


def operation(node: UOp) -> Operation:
    """The callable that computes `node` from its sources' values, in order.

    It takes arrays or NumPy scalars and gives an array or, as NumPy's functions do, a NumPy scalar where
    the shape is (). Both serve as sources of the next operation. `np.asarray` on what is kept at the end
    costs 40 ns; on every step it would be a tenth of the arithmetic. Results may be views of sources, and
    read-only ones. Floating-point warnings are the caller's to silence, once for a whole run.

    Parameters
    ----------
    node
        An elementwise operation, a movement, IOTA, REDUCE, SCAN, GATHER or CONCAT of the recorded graph.

    Raises
    ------
    KeyError
        The operation has no meaning here: a leaf (see `leaf_value`), an EXTERNAL, or part of a kernel.
    """
    op = node.op
    maker = _MADE.get(op)
    if maker is not None:
        return maker(node)
    kind = node.src[0].dtype.kind if node.src else ""
    return _OF_KIND.get((op, kind)) or _SAME[op]


def interprets(op: Op) -> bool:
    """Whether `operation` has a meaning for `op`."""
    return op in _SAME or op in _MADE


def leaf_value(node: UOp) -> np.ndarray:
    """The value of a CONST or SCALAR as an array of shape (), or the array of a BUFFER."""
    if node.op is Ops.BUFFER:
        return node.arg.array
    if node.dtype.kind in "iu":
        # A number out of range wraps, as the kernel that gets its bits sees it.
        return np.array(int(node.arg) & _ALL_BITS, np.uint64).astype(node.dtype)
    return np.array(node.arg, node.dtype)


_ALL_BITS = (1 << 64) - 1


# -- conversions -------------------------------------------------------------------------------------------


def _cast(node: UOp) -> Operation:
    source, target = node.src[0].dtype, node.dtype
    if target.kind in "iu" and source.kind in "fc":
        # float16 doesn't reach the ends of an integer's range, float32 does.
        part = dtypes.REAL_PART.get(source, source)
        return _to_integer(dtypes.float32 if part == dtypes.float16 else part, target)
    if source.kind == "c" and target.kind == "f":
        return lambda x: x.real.astype(target)
    return methodcaller("astype", target)


def _to_integer(source: np.dtype, target: np.dtype) -> Operation:
    """Truncate; what lies outside the range becomes the end next to it, NaN becomes 0."""
    limits = np.iinfo(target)
    zero, low, high = source.type(0), source.type(limits.min), source.type(limits.max)
    # The largest integer may not be a float: it is put in where the float was above the one below it.
    rounded_up = int(high) > limits.max
    inside = np.nextafter(high, zero) if rounded_up else high
    largest = target.type(limits.max)

    def convert(x: np.ndarray) -> Any:
        x = x.real
        fits = (x >= low) & (x <= inside)
        if np.count_nonzero(fits) == fits.size:
            return x.astype(target)
        number = np.where(x == x, x, zero)
        result = np.minimum(np.maximum(number, low), inside).astype(target)
        return np.where(number > inside, largest, result) if rounded_up else result

    return convert


def _bitcast(node: UOp) -> Operation:
    return methodcaller("view", node.dtype)


def _real(node: UOp) -> Operation:
    return attrgetter("real")


def _imag(node: UOp) -> Operation:
    return attrgetter("imag") if node.src[0].dtype.kind == "c" else np.zeros_like


def _complex(node: UOp) -> Operation:
    return lambda real, imaginary: _joined(real, imaginary, node.dtype)


def _joined(real: np.ndarray, imaginary: np.ndarray, dtype: np.dtype) -> np.ndarray:
    result = np.empty(np.broadcast_shapes(real.shape, imaginary.shape), dtype)
    result.real = real
    result.imag = imaginary
    return result


# -- reals and integers where NumPy means something else, or leaves it open --------------------------------


def _identity(x: np.ndarray) -> np.ndarray:
    return x


def _maximum(x: np.ndarray, y: np.ndarray) -> Any:
    result = np.maximum(x, y)
    if np.count_nonzero(result) == result.size:
        return result
    # NumPy leaves open which of -0.0 and 0.0 it gives; the sum of two zeros is -0.0 only if both are.
    return np.where((result == 0) & (x == y), x + y, result)


def _minimum(x: np.ndarray, y: np.ndarray) -> Any:
    result = np.minimum(x, y)
    if np.count_nonzero(result) == result.size:
        return result
    return np.where((result == 0) & (x == y), -(-x - y), result)


def _floor_quotient(x: np.ndarray, y: np.ndarray) -> Any:
    """floor(x / y), of the exact quotient while that is small; beyond, of the rounded one.

    The latter is also what the standard asks at infinities, where NumPy gives NaN and -1.
    """
    quotient = np.true_divide(x, y)
    exact = (np.abs(quotient) < EXACT_QUOTIENT[quotient.dtype]) & (np.abs(y) < np.inf)
    return np.where(exact, np.floor_divide(x, y), np.floor(quotient))


def _integer_power(x: np.ndarray, y: np.ndarray) -> Any:
    negative = np.less(y, 0)
    if not np.count_nonzero(negative):
        return np.power(x, y)
    one, zero = x.dtype.type(1), x.dtype.type(0)
    # A negative power of -1 is 1 or -1, of 1 is 1; every other one rounds to 0.
    reciprocal = np.where(x == one, one, np.where(x == -one, one - (y & one) - (y & one), zero))
    return np.where(negative, reciprocal, np.power(x, np.where(negative, zero, y)))


# -- multiply and add, rounded once ------------------------------------------------------------------------


def _fma(node: UOp) -> Operation:
    return {"float64": _fused_float64, "float32": _fused_float32}.get(node.dtype.name, _multiply_add)


def _multiply_add(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Any:
    return x * y + z


def _fused_float32(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Any:
    # float64 holds the product exactly; a sum rounded to odd there may be rounded again without harm.
    product = np.multiply(x, y, dtype=np.float64)
    return _sum_to_odd(product, np.asarray(z, np.float64)).astype(np.float32)


def _fused_float64(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Any:
    """Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008.

    The few elements that may overflow or underflow on the way are computed by fractions.
    """
    x, y, z = np.broadcast_arrays(x, y, z)
    product, product_error = _two_product(x, y)
    addend, addend_error = _two_sum(z, product_error)
    high, high_error = _two_sum(product, addend)
    result = high + _sum_to_odd(addend_error, high_error)
    plain = product + z
    result = np.where(result == 0, plain, result)  # an exact zero: the sum knows its sign
    finite = np.isfinite(x) & np.isfinite(y)
    result = np.where(finite & np.isfinite(z), result, np.where(finite, z, plain))
    size = np.abs(product)
    safe = (np.abs(x) < 2.0**990) & (np.abs(y) < 2.0**990) & (np.abs(z) < 2.0**1000)
    safe &= ((size > 2.0**-900) & (size < 2.0**1000)) | (x == 0) | (y == 0)
    for index in map(tuple, np.argwhere(finite & np.isfinite(z) & ~safe)):
        result[index] = _fused_exactly(float(x[index]), float(y[index]), float(z[index]))
    return result


def _fused_exactly(x: float, y: float, z: float) -> float:
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:
        return x * y + z
    try:
        return float(exact)
    except OverflowError:
        return np.inf if exact > 0 else -np.inf


def _two_sum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded sum and its error (Knuth)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _two_product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded product of float64 numbers and its error (Dekker)."""
    product = x * y
    x_high, x_low = _halves(x)
    y_high, y_low = _halves(y)
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shifted = x * 134217729.0  # 2**27 + 1
    high = shifted - (shifted - x)
    return high, x - high


def _sum_to_odd(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y in float64; where that is inexact, the neighbour whose last bit is one."""
    total, error = _two_sum(x, y)
    even = (np.asarray(total).view(np.int64) & 1) == 0
    outward = np.where(error > 0, np.inf, -np.inf)
    return np.where(even & ((error > 0) | (error < 0)), np.nextafter(total, outward), total)


# -- complex numbers where NumPy departs from the standard or loses digits ---------------------------------


def _complex_expm1(z: np.ndarray) -> Any:
    """The standard's special cases, of which NumPy misses seven; in float64."""
    a, b = z.real.astype(np.float64), z.imag.astype(np.float64)
    finite, half, growth = np.isfinite(b), np.sin(b / 2), np.expm1(a)
    # expm1(-0 + 0i) is +0: the zero is that of exp(a) cos(b) - 1.
    real = np.where(b == 0, growth + 0.0, growth * np.cos(b) - 2 * half * half)
    real = np.where(np.isinf(a), np.where(a < 0, -1, np.where(finite & (b != 0), a * np.cos(b), a)), real)
    imaginary = np.where(b == 0, b, np.exp(a) * np.sin(b))
    imaginary = np.where((a == -np.inf) & ~finite, np.copysign(0, b), imaginary)
    return _joined(real, imaginary, z.dtype)


def _complex_tanh(z: np.ndarray) -> Any:
    """At infinity the standard's zero has the sign of the imaginary part, C99's that of sin(2b)."""
    infinite = np.isinf(z.real)
    result = np.tanh(z)
    if not np.count_nonzero(infinite):
        return result
    return _joined(result.real, np.where(infinite, np.copysign(0, z.imag), result.imag), z.dtype)


def _complex_tan(z: np.ndarray) -> Any:
    turned = _complex_tanh(_joined(z.imag, z.real, z.dtype))
    return _joined(turned.imag, turned.real, z.dtype)


def _complex_log1p(z: np.ndarray) -> Any:
    """Near |1 + z| = 1, where NumPy's log(hypot(1 + a, b)) loses all digits, |1 + z| ** 2 - 1 keeps them."""
    a, b = z.real.astype(np.float64), z.imag.astype(np.float64)
    square, square_error = _two_product(a, a)
    other, other_error = _two_product(b, b)
    first, first_error = _two_sum(2 * a, square)
    excess, error = _two_sum(first, other)
    excess = excess + (error + first_error + square_error + other_error)
    near = (np.abs(a) < 4) & (np.abs(b) < 4) & (excess > -0.5)
    real = np.where(near, np.log1p(excess) / 2, np.log(np.hypot(1 + a, b)))
    return _joined(real, np.arctan2(b, 1 + a), z.dtype)


def _complex_quotient(x: Any, y: Any) -> Any:
    """By Smith's method, as in kernels: NumPy's takes a reciprocal, infinite for tiny divisors."""
    swap = np.abs(y.real) < np.abs(y.imag)
    larger, smaller = np.where(swap, y.imag, y.real), np.where(swap, y.real, y.imag)
    u, v = np.where(swap, x.imag, x.real), np.where(swap, x.real, x.imag)
    zero = larger == 0
    ratio = np.where(zero, larger.dtype.type(0), smaller / larger)
    divisor = np.where(zero, larger.dtype.type(0), larger + smaller * ratio)
    imaginary = (v - u * ratio) / divisor
    return _joined((u + v * ratio) / divisor, np.where(swap, -imaginary, imaginary), x.dtype)


def _complex_power(x: np.ndarray, y: np.ndarray) -> Any:
    """Powers by the polar form in float64, small integer ones by multiplication; x ** 0 is 1 for every x.

    The standard asks for exp(y * log(x)) and allows more care: here zero and infinite bases keep components
    that this makes NaN.
    """
    a, b, c, d = (part.astype(np.float64) for part in (x.real, x.imag, y.real, y.imag))
    radius, angle = np.hypot(a, b), np.arctan2(b, a)
    real_exponent = d == 0
    size = np.power(radius, c) * np.exp(np.where(real_exponent, 0, -d * angle))
    turn = c * angle + np.where(real_exponent, 0, d * np.log(radius))
    by_angle = size != 0
    real = np.where(by_angle, size * np.cos(turn), 0)
    imaginary = np.where(by_angle & (turn != 0), size * np.sin(turn), 0)
    nothing = (c == 0) & real_exponent
    result = _joined(np.where(nothing, 1, real), np.where(nothing, 0, imaginary), dtypes.complex128)
    few = real_exponent & (np.abs(c) <= MULTIPLIED_POWERS) & (np.trunc(c) == c)
    if few.any():
        product = np.power(x.astype(np.complex128), np.where(few, c, 0))
        result = np.where(few & np.isfinite(product), product, result)
    return result.astype(x.dtype)


# -- movement: views wherever NumPy can --------------------------------------------------------------------


def _reshape(node: UOp) -> Operation:
    return methodcaller("reshape", node.arg)


def _permute(node: UOp) -> Operation:
    return methodcaller("transpose", node.arg)


def _expand(node: UOp) -> Operation:
    return partial(np.broadcast_to, shape=node.arg)


def _slice(node: UOp) -> Operation:
    # The Ellipsis keeps shape () an array.
    return itemgetter((*(_as_slice(*each) for each in node.arg), ...))


def _as_slice(start: int, step: int, size: int) -> slice:
    if size == 0:
        return slice(0, 0)
    stop = start + step * (size - 1) + (1 if step > 0 else -1)
    return slice(start, stop if stop >= 0 else None, step)


def _iota(node: UOp) -> Operation:
    shape, axis = node.arg
    along = (-1, *(1 for _ in shape[axis + 1 :]))
    return lambda: np.broadcast_to(np.arange(shape[axis], dtype=dtypes.INDEX).reshape(along), shape)


# -- over axes ---------------------------------------------------------------------------------------------

_WIDE = {dtypes.float32: dtypes.float64, dtypes.complex64: dtypes.complex128}
_COMBINE: dict[Op, np.ufunc] = {
    Ops.ADD: np.add,
    Ops.MUL: np.multiply,
    Ops.MAXIMUM: np.maximum,
    Ops.MINIMUM: np.minimum,
    Ops.AND: np.bitwise_and,
    Ops.OR: np.bitwise_or,
}


def _reduce(node: UOp) -> Operation:
    (op, axes), dtype = node.arg, node.dtype
    combine = _COMBINE[op].reduce
    if op is Ops.ADD and dtype in _WIDE:
        wide = partial(combine, axis=axes, dtype=_WIDE[dtype])
        return lambda x: wide(x).astype(dtype)
    if dtype.kind == "f" and op in (Ops.MAXIMUM, Ops.MINIMUM):
        return partial(_extremum, op is Ops.MAXIMUM, combine, np.logical_or.reduce, axes)
    # NumPy would widen small integers and count booleans.
    return partial(combine, axis=axes, dtype=dtype)


def _scan(node: UOp) -> Operation:
    (op, axis), dtype = node.arg, node.dtype
    combine = _COMBINE[op].accumulate
    if op is Ops.ADD and dtype in _WIDE:
        wide = partial(combine, axis=axis, dtype=_WIDE[dtype])
        return lambda x: wide(x).astype(dtype)
    if dtype.kind == "f" and op in (Ops.MAXIMUM, Ops.MINIMUM):
        return partial(_extremum, op is Ops.MAXIMUM, combine, np.logical_or.accumulate, axis)
    return partial(combine, axis=axis, dtype=dtype)


def _extremum(largest: bool, combine: Operation, either: Operation, axis: Any, x: np.ndarray) -> Any:
    """Largest or smallest along axes; NumPy leaves open which zero wins, here 0.0 is the larger one."""
    result = combine(x, axis=axis)
    if np.count_nonzero(result) == result.size:
        return result
    zeros = x == 0
    winner = either(zeros & (np.signbit(x) != largest), axis=axis)
    zero = x.dtype.type(0)
    return np.where(result == 0, np.where(winner == largest, zero, -zero), result)


def _gather(node: UOp) -> Operation:
    axes, position, call = node.arg
    source, indices = node.src[0], node.src[1:]
    sizes = [source.shape[axis] for axis in axes]
    in_place = len(axes) == 1 and position == axes[0]
    count = len(broadcast_shapes(*(index.shape for index in indices)))
    kept = [axis for axis in range(len(source.shape)) if axis not in axes]
    first = (*axes, *kept)
    # NumPy puts the indices' axes in front of the kept ones.
    behind = range(count, count + len(kept))
    order = (*behind[:position], *range(count), *behind[position:])
    # NumPy refuses uint64 as an index; what int64 can't hold is out of bounds anyway.
    unsigned = any(index.dtype == dtypes.uint64 for index in indices)

    def gather(x: np.ndarray, *given: np.ndarray) -> np.ndarray:
        taken = tuple(np.minimum(i, _LARGEST_INDEX).astype(np.int64) for i in given) if unsigned else given
        try:
            if in_place:
                return x.take(taken[0], axes[0])
            return x.transpose(first)[taken].transpose(order)
        except IndexError:
            raise _out_of_bounds(call, axes, sizes, given) from None

    return gather


_LARGEST_INDEX = np.uint64(np.iinfo(np.int64).max)


def _out_of_bounds(
    call: str, axes: Sequence[int], sizes: Sequence[int], indices: Sequence[np.ndarray]
) -> IndexError:
    for axis, size, index in zip(axes, sizes, indices):
        for value in np.ravel(index).tolist():
            if not -size <= value < size:
                return IndexError(f"{call}: index {value} is out of bounds for axis {axis} with size {size}")
    raise AssertionError(f"{call}: NumPy refused indices that lie inside {sizes}")


def _concat(node: UOp) -> Operation:
    axis = node.arg
    return lambda *parts: np.concatenate(parts, axis)


_MADE: dict[Op, Callable[[UOp], Operation]] = {
    Ops.CAST: _cast,
    Ops.BITCAST: _bitcast,
    Ops.REAL: _real,
    Ops.IMAG: _imag,
    Ops.COMPLEX: _complex,
    Ops.FMA: _fma,
    Ops.RESHAPE: _reshape,
    Ops.PERMUTE: _permute,
    Ops.EXPAND: _expand,
    Ops.SLICE: _slice,
    Ops.IOTA: _iota,
    Ops.REDUCE: _reduce,
    Ops.SCAN: _scan,
    Ops.GATHER: _gather,
    Ops.CONCAT: _concat,
}

# Where the kind of the first source decides that NumPy's own function is not the one.
_OF_KIND: dict[tuple[Op, str], Operation] = {
    (Ops.MAXIMUM, "f"): _maximum,
    (Ops.MINIMUM, "f"): _minimum,
    (Ops.FLOORDIV, "f"): _floor_quotient,
    (Ops.POW, "i"): _integer_power,
    (Ops.DIV, "c"): _complex_quotient,
    (Ops.EXPM1, "c"): _complex_expm1,
    (Ops.TANH, "c"): _complex_tanh,
    (Ops.TAN, "c"): _complex_tan,
    (Ops.LOG1P, "c"): _complex_log1p,
    (Ops.POW, "c"): _complex_power,
    **{(op, kind): _identity for op in (Ops.FLOOR, Ops.CEIL, Ops.TRUNC, Ops.ROUND) for kind in "iub"},
    **{(op, kind): _identity for op in (Ops.CONJ,) for kind in "iubf"},
}
