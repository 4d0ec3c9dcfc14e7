"""Division, shifts and truth values in terms of primitives that cannot trap: rules for scalar expressions.

LLVM leaves x / 0, INT_MIN / -1 and shifts past the width undefined, and the processor may raise a signal;
after these rules every divisor and every amount is safe, and the results are the interpreter's. The lowering
applies INTEGER_RULES to each kernel; this file imports the graph alone.
"""

from __future__ import annotations

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import DOUBLE, SINGLE, Format
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.pattern import PatternMatcher, UPat

# Below this a float quotient is floored exactly: the quotient, rounded to an integer, is off by one at most,
# and the fused x - n * y tells by which side. The interpreter has the same limit.
EXACT_QUOTIENT = {dtypes.float32: 2.0**21, dtypes.float64: 2.0**50}

# A constant integer exponent up to this is written as multiplications; the square is what programs ask for.
LONGEST_PRODUCT = 16


def _bits(dtype: np.dtype) -> int:
    return dtype.itemsize * 8


def _unsigned(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"uint{_bits(dtype)}")


# -- division of integers ----------------------------------------------------------------------------------

# Processors divide vectors of floats, not of integers. Integers in [-this, this), which `rounder` converts,
# divide as float64: a quotient that isn't whole is further from the next integer than rounding moves it, so
# its floor is exact, and so is what remains. The same holds for 16 bits in float32.
MOST_AS_FLOAT = 2**51
# What a rounded quotient of rounded operands is multiplied by so that it is never too large.
BELOW = 1 - 2.0**-50


def _never_zero(y: UOp) -> UOp:
    """`y`, but 1 in place of 0: the remainder is 0 too."""
    constant = y.op is Ops.CONST and y.arg != 0
    return y if constant else y.eq(0).where(UOp.const(1, y.dtype), y)


def _format(dtype: np.dtype) -> Format:
    return SINGLE if dtype.itemsize <= 2 else DOUBLE


def _as_float(x: UOp) -> UOp:
    """`x` as a float that holds it exactly; 64 bits by way of the pattern, since AVX2 can't convert them."""
    form = _format(x.dtype)
    if x.dtype.itemsize < 8:
        return x.cast(form.floating)
    return (x.cast(form.integer) + form.rounder_bits).bitcast(form.floating) - form.rounder


def _as_integer(x: UOp, dtype: np.dtype) -> UOp:
    """An integral float as `dtype`, wrapping: its digits stand in the low bits of the pattern of a sum."""
    form = _format(dtype)
    pattern = (x + form.rounder).bitcast(form.integer)
    return (pattern if dtype.itemsize < 8 else pattern - form.rounder_bits).cast(dtype)


def _divided(x: UOp, y: UOp) -> tuple[UOp, UOp]:
    """The floored quotient and the remainder, y != 0; of 64 bits where floats hold both exactly."""
    numerator, divisor = _as_float(x), _as_float(y)
    quotient = (numerator / divisor).alu(Ops.FLOOR)
    return _as_integer(quotient, x.dtype), _as_integer(numerator - quotient * divisor, x.dtype)


def _divided_long(x: UOp, y: UOp) -> tuple[UOp, UOp]:
    """The floored quotient and the remainder of any 64 bits, y != 0.

    In two steps of magnitudes, each from below: of n / d the first leaves less than 2 ** 15, the second 2.
    """
    signed = x.dtype in dtypes.SIGNED
    n, d = ((abs(z) if signed else z).cast(dtypes.uint64) for z in (x, y))
    divisor = d.cast(dtypes.float64)
    quotient, rest = UOp.const(0, dtypes.uint64), n
    for _ in range(2):
        part = (rest.cast(dtypes.float64) / divisor * BELOW).cast(dtypes.uint64)
        quotient, rest = quotient + part, rest - part * d
    more = d <= rest
    quotient, rest = quotient + more.cast(dtypes.uint64), more.where(rest - d, rest)
    if not signed:
        return quotient, rest
    opposite = (x ^ y) < 0
    across = opposite & rest.ne(0)
    quotient, rest = quotient + across.cast(dtypes.uint64), across.where(d - rest, rest)
    quotient, rest = quotient.cast(x.dtype), rest.cast(x.dtype)
    return opposite.where(-quotient, quotient), (y < 0).where(-rest, rest)


def _are_exact_floats(x: UOp, y: UOp) -> UOp:
    def inside(x: UOp) -> UOp:
        if x.dtype in dtypes.UNSIGNED:
            return x < MOST_AS_FLOAT
        # Read as unsigned, what lies below is huge.
        return (x + MOST_AS_FLOAT).cast(dtypes.uint64) < 2 * MOST_AS_FLOAT

    return inside(x) & inside(y)


def _quotient_and_remainder(x: UOp, y: UOp) -> tuple[UOp, UOp]:
    fast = _divided(x, y)
    if x.dtype.itemsize < 8:
        return fast
    slow, ordinary = _divided_long(x, y), _are_exact_floats(x, y)
    return fast[0].alu(Ops.GUARDED, slow[0], ordinary), fast[1].alu(Ops.GUARDED, slow[1], ordinary)


def floor_division(x: UOp, y: UOp) -> UOp:
    """x // y; by 0 it is 0."""
    divisor = _never_zero(y)
    quotient, _ = _quotient_and_remainder(x, divisor)
    return quotient if divisor is y else y.eq(0).where(UOp.const(0, x.dtype), quotient)


def remainder(x: UOp, y: UOp) -> UOp:
    """x % y with the sign of y; by 0 it is 0."""
    return _quotient_and_remainder(x, _never_zero(y))[1]


# -- division of floats ------------------------------------------------------------------------------------


def _exact_rest(x: UOp, y: UOp, quotient: UOp) -> tuple[UOp, UOp]:
    """The quotient to the nearest integer n, and x - n * y, which a float holds exactly while n is small."""
    nearest = quotient.alu(Ops.ROUND)
    return nearest, (-nearest).fma(y, x)


def float_floor_division(x: UOp, y: UOp) -> UOp:
    """floor(x / y) of the exact quotient while that is small; beyond and at infinities floor of the rounded
    one."""
    quotient = x / y
    nearest, rest = _exact_rest(x, y, quotient)
    below = rest.ne(0) & (rest < 0).ne(y < 0)
    floor = below.where(nearest - 1, nearest)
    floor = floor.eq(0).where(floor.alu(Ops.COPYSIGN, quotient), floor)
    exact = (abs(quotient) < EXACT_QUOTIENT[x.dtype]) & (abs(y) < np.inf)
    return exact.where(floor, quotient.alu(Ops.FLOOR))


def float_remainder(x: UOp, y: UOp) -> UOp:
    """Python's x % y: C's fmod (MODULO of floats), moved to the sign of y.

    fmod is a loop in a library. While the quotient is small one multiplication does, and it vectorises.
    """
    quotient = x / y
    nearest, rest = _exact_rest(x, y, quotient)
    rest = nearest.eq(0).where(x, rest)  # for an infinite y too, where 0 * y is NaN
    slow = x.alu(Ops.MODULO, y)
    rest = rest.alu(Ops.GUARDED, slow, abs(quotient) < EXACT_QUOTIENT[x.dtype])
    moved = (rest < 0).ne(y < 0).where(rest + y, rest)
    return rest.eq(0).where(rest.alu(Ops.COPYSIGN, y), moved)


# -- shifts and powers -------------------------------------------------------------------------------------


def _inside_width(y: UOp) -> UOp:
    # Read as unsigned, a negative amount is a huge one.
    return y.cast(_unsigned(y.dtype)) < _bits(y.dtype)


def _is_inside_width(y: UOp) -> bool:
    return y.op is Ops.CONST and 0 <= y.arg < _bits(y.dtype)


def shift_left(x: UOp, y: UOp) -> UOp:
    """x << y; 0 past the width."""
    if _is_inside_width(y):
        return x << y
    inside = _inside_width(y)
    return inside.where(x << inside.where(y, 0), 0)


def shift_right(x: UOp, y: UOp) -> UOp:
    """x >> y; past the width 0, or what the sign fills in."""
    if _is_inside_width(y):
        return x >> y
    inside = _inside_width(y)
    if x.dtype in dtypes.SIGNED:
        return x >> inside.where(y, _bits(x.dtype) - 1)
    return inside.where(x >> inside.where(y, 0), 0)


def constant_power(x: UOp, y: UOp) -> UOp | None:
    """x ** n for a small constant n, by squaring. Other powers of integers stay POW: the dialect has a loop
    for them.

    Written out, a power of int64 takes 64 steps of two multiplications and a choice in every element.
    """
    if y.op is not Ops.CONST or not 0 <= y.arg <= LONGEST_PRODUCT:
        return None
    result: UOp | None = None
    square, exponent = x, int(y.arg)
    while exponent:
        if exponent & 1:
            result = square if result is None else result * square
        exponent >>= 1
        if exponent:
            square = square * square
    return UOp.const(1, x.dtype) if result is None else result


# -- the tables --------------------------------------------------------------------------------------------

_X, _Y = UPat(name="x"), UPat(name="y")
_INTEGER_OR_BOOLEAN = (dtypes.bool_, *dtypes.INTEGERS)
_NOT_FLOATING_X = UPat(name="x", dtype=_INTEGER_OR_BOOLEAN)

INTEGER_RULES = PatternMatcher(
    [
        (UPat(Ops.FLOORDIV, (_X, _Y), dtype=dtypes.INTEGERS), floor_division),
        (UPat(Ops.REMAINDER, (_X, _Y), dtype=dtypes.INTEGERS), remainder),
        (UPat(Ops.FLOORDIV, (_X, _Y), dtype=dtypes.REAL_FLOATING), float_floor_division),
        (UPat(Ops.REMAINDER, (_X, _Y), dtype=dtypes.REAL_FLOATING), float_remainder),
        (UPat(Ops.SHL, (_X, _Y)), shift_left),
        (UPat(Ops.SHR, (_X, _Y)), shift_right),
        (UPat(Ops.POW, (_X, _Y), dtype=dtypes.INTEGERS), constant_power),
        # Integers are integral, unsigned ones not negative.
        (UPat((Ops.ROUND, Ops.FLOOR, Ops.CEIL, Ops.TRUNC), (_NOT_FLOATING_X,)), lambda x: x),
        (UPat(Ops.ABS, (UPat(name="x", dtype=(dtypes.bool_, *dtypes.UNSIGNED)),)), lambda x: x),
        (UPat(Ops.NEG, (UPat(name="x", dtype=dtypes.UNSIGNED),)), lambda x: UOp.const(0, x.dtype) - x),
        (UPat(Ops.FMA, (_X, _Y, UPat(name="z")), dtype=dtypes.INTEGERS), lambda x, y, z: x * y + z),
        # Truth values.
        (UPat((Ops.ADD, Ops.MAXIMUM), (_X, _Y), dtype=dtypes.bool_), lambda x, y: x | y),
        (UPat((Ops.MUL, Ops.MINIMUM), (_X, _Y), dtype=dtypes.bool_), lambda x, y: x & y),
        (UPat(Ops.LT, (UPat(name="x", dtype=dtypes.bool_), _Y)), lambda x, y: ~x & y),
        (UPat(Ops.LE, (UPat(name="x", dtype=dtypes.bool_), _Y)), lambda x, y: ~x | y),
    ]
)
