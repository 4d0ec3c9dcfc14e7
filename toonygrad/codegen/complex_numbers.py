"""Complex arithmetic and functions in terms of real ones: a complex value becomes a pair, and no kernel
sees one.

The lowering applies COMPLEX_RULES to scalar expressions whose complex leaves are COMPLEX(re, im) nodes and
constants. The functions follow the standard's special cases, which are C99's Annex G; choices are WHEREs,
so that loops vectorise. This file imports the graph and the real functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.transcendental_power import scaled_hypot
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.pattern import PatternMatcher, Rule, UPat

Pair = tuple[UOp, UOp]

INFINITY = math.inf


@dataclass(frozen=True)
class _Limits:
    """Where a float type needs care. Factors are powers of two, so that scaling by them is exact."""

    large: float  # sums of squares' roots overflow not far above
    small: float  # below, they lose digits to underflow
    shrink: float  # a factor for what is large, an even power of two
    grow: float  # a factor for what is small, an even power of two
    exponent: float  # exp overflows not far above
    one: float  # tanh is 1 above
    right_angle: float  # atan is pi/2 above, and the square still far from overflow
    tiny: float  # 2 / x is far from overflow above
    tiny_shrink: float  # a factor that makes 2 / x finite for every x


_LIMITS = {
    dtypes.float64: _Limits(
        2.0**1000, 2.0**-960, 2.0**-4, 2.0**108, 700.0, 22.0, 2.0**60, 2.0**-500, 2.0**-60
    ),
    dtypes.float32: _Limits(2.0**120, 2.0**-100, 2.0**-4, 2.0**48, 80.0, 10.0, 2.0**30, 2.0**-60, 2.0**-30),
}


def _is_infinite(x: UOp) -> UOp:
    return abs(x).eq(INFINITY)


def _is_finite(x: UOp) -> UOp:
    return abs(x) < INFINITY


def _is_nan(x: UOp) -> UOp:
    return x.ne(x)


def _with_sign(size: UOp | float, sign: UOp) -> UOp:
    return (size if isinstance(size, UOp) else UOp.const(size, sign.dtype)).alu(Ops.COPYSIGN, sign)


def _either(condition: UOp, yes: UOp | float, no: UOp) -> UOp:
    return condition.where(yes if isinstance(yes, UOp) else UOp.const(yes, no.dtype), no)


def _choose(first: UOp, yes: float, second: UOp, then: float, otherwise: UOp) -> UOp:
    return _either(first, yes, _either(second, then, otherwise))


# -- arithmetic
# --------------------------------------------------------------------------------------------------------


def multiply(a: UOp, b: UOp, c: UOp, d: UOp) -> Pair:
    """(a + ib) (c + id), as NumPy computes it."""
    return a * c - b * d, a * d + b * c


def divide(a: UOp, b: UOp, c: UOp, d: UOp) -> Pair:
    """(a + ib) / (c + id) by Smith's method: first by the divisor's larger part, so no square overflows."""
    swap = abs(c) < abs(d)
    larger, smaller = swap.where(d, c), swap.where(c, d)
    u, v = swap.where(b, a), swap.where(a, b)
    zero = larger.eq(0)
    ratio = _either(zero, 0.0, smaller / larger)
    divisor = _either(zero, 0.0, larger + smaller * ratio)
    imaginary = (v - u * ratio) / divisor
    return (u + v * ratio) / divisor, swap.where(-imaginary, imaginary)


def _equal(a: UOp, b: UOp, c: UOp, d: UOp) -> UOp:
    return a.eq(c) & b.eq(d)


def _not_equal(a: UOp, b: UOp, c: UOp, d: UOp) -> UOp:
    return a.ne(c) | b.ne(d)


# -- building blocks
# ---------------------------------------------------------------------------------------------------


def _scaling(a: UOp, b: UOp) -> tuple[UOp, UOp, UOp]:
    """Whether the larger part is large, whether it is small, and the factor that makes squares harmless."""
    limits, size = _LIMITS[a.dtype], abs(a).alu(Ops.MAXIMUM, abs(b))
    large, small = size > limits.large, size < limits.small
    return large, small, _choose(large, limits.shrink, small, limits.grow, UOp.const(1.0, a.dtype))


def _two_sum(x: UOp, y: UOp) -> Pair:
    """The rounded sum and its error."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _square(x: UOp) -> Pair:
    """The rounded square and its error."""
    square = x * x
    return square, x.fma(x, -square)


def _log_far(a: UOp, b: UOp, logarithm: Op, unit: float) -> UOp:
    """log |a + ib| where it isn't near zero; `unit` is the natural logarithm of the logarithm's base."""
    limits = _LIMITS[a.dtype]
    large, small, scale = _scaling(a, b)
    undo_large, undo_small = -math.log(limits.shrink) / unit, -math.log(limits.grow) / unit
    undo = _choose(large, undo_large, small, undo_small, UOp.const(0.0, a.dtype))
    return scaled_hypot(a * scale, b * scale).alu(logarithm) + undo


def _log_modulus(a: UOp, b: UOp, logarithm: Op, unit: float) -> UOp:
    """log |a + ib|. Near |z| = 1 by log1p of |z|**2 - 1, which is computed in twice the digits."""
    size, other = abs(a).alu(Ops.MAXIMUM, abs(b)), abs(a).alu(Ops.MINIMUM, abs(b))
    square, square_error = _square(size)
    addend, addend_error = _square(other)
    excess, error = _two_sum(square - 1.0, addend)
    excess = excess + (error + (square_error + addend_error))
    near = (excess > -0.5) & (excess < 2.0)
    return near.where(excess.alu(Ops.LOG1P) * (0.5 / unit), _log_far(a, b, logarithm, unit))


def _scaled_exp(a: UOp) -> Pair:
    """exp(a) as a product, whose first factor overflows much later."""
    limit = _LIMITS[a.dtype].exponent
    large = a > limit
    return large.where(a - limit, a).alu(Ops.EXP), _either(large, math.exp(limit), UOp.const(1.0, a.dtype))


@dataclass(frozen=True)
class _Hyperbolic:
    """sinh x and cosh x over a common factor, without which they overflow much later; exp(-|x|)."""

    sine: UOp
    cosine: UOp
    factor: UOp
    decay: UOp


def _hyperbolic(x: UOp) -> _Hyperbolic:
    limit, size = _LIMITS[x.dtype].exponent, abs(x)
    large = size > limit
    less = large.where(size - limit, size).alu(Ops.EXPM1)
    power = less + 1.0
    decay = 1.0 / power
    sine = large.where(power, less + less * decay) * 0.5
    cosine = large.where(power, power + decay) * 0.5
    factor = _either(large, math.exp(limit), UOp.const(1.0, x.dtype))
    return _Hyperbolic(_with_sign(sine, x), cosine, factor, _either(large, 0.0, decay))


def _angle_beside(x: UOp, y: UOp) -> UOp:
    """`y`, but 0 where neither it nor x is finite: inf * cos(0) is inf, inf * sin(0) NaN, as C99 has it."""
    return (_is_infinite(x) & ~_is_finite(y)).where(_with_sign(0.0, y), y)


# -- exponentials and logarithms
# ---------------------------------------------------------------------------------------


def exp(a: UOp, b: UOp) -> Pair:
    """exp(a) (cos b + i sin b)."""
    power, factor = _scaled_exp(a)
    angle = _angle_beside(a, b)
    return power * angle.alu(Ops.COS) * factor, b.eq(0).where(b, power * angle.alu(Ops.SIN) * factor)


def expm1(a: UOp, b: UOp) -> Pair:
    """exp(a + ib) - 1; for small a without the cancellation of exp(a) cos(b) - 1."""
    power, factor = _scaled_exp(a)
    angle = _angle_beside(a, b)
    cosine = angle.alu(Ops.COS)
    half = (angle * 0.5).alu(Ops.SIN)
    # Subtracted, so that it is +0 at b = 0: expm1(-0 + 0i) is +0.
    near = a.alu(Ops.EXPM1).fma(cosine, 0.0 - half * half * 2.0)
    real = (abs(a) < 1.0).where(near, power * cosine * factor - 1.0)
    return real, b.eq(0).where(b, power * angle.alu(Ops.SIN) * factor)


def log(a: UOp, b: UOp) -> Pair:
    """log |z| + i arg z."""
    return _log_modulus(a, b, Ops.LOG, 1.0), b.alu(Ops.ATAN2, a)


def log2(a: UOp, b: UOp) -> Pair:
    """log z / log 2."""
    return _log_modulus(a, b, Ops.LOG2, math.log(2)), b.alu(Ops.ATAN2, a) * (1 / math.log(2))


def log10(a: UOp, b: UOp) -> Pair:
    """log z / log 10."""
    return _log_modulus(a, b, Ops.LOG10, math.log(10)), b.alu(Ops.ATAN2, a) * (1 / math.log(10))


def log1p(a: UOp, b: UOp) -> Pair:
    """log |1 + z| + i arg(1 + z).

    Near |1 + z| = 1 from |1 + z|**2 - 1 = 2a + a**2 + b**2, which is computed in twice the digits.
    """
    square, square_error = _square(a)
    addend, addend_error = _square(b)
    first, first_error = _two_sum(a * 2.0, square)
    excess, error = _two_sum(first, addend)
    excess = excess + (error + first_error + (square_error + addend_error))
    near = (excess > -0.5) & (excess < 8.0)
    beside = a + 1.0
    real = near.where(excess.alu(Ops.LOG1P) * 0.5, _log_far(beside, b, Ops.LOG, 1.0))
    return real, b.alu(Ops.ATAN2, beside)


# -- powers
# ------------------------------------------------------------------------------------------------------------


def sqrt(a: UOp, b: UOp) -> Pair:
    """The root in the right half plane, from hypot, which doesn't cancel, of scaled parts."""
    limits = _LIMITS[a.dtype]
    large, small, scale = _scaling(a, b)
    undo = _choose(large, limits.shrink**-0.5, small, limits.grow**-0.5, UOp.const(1.0, a.dtype))
    x, y = a * scale, b * scale
    root = ((abs(x) + scaled_hypot(x, y)) * 0.5).alu(Ops.SQRT)
    other = abs(y) / (root * 2.0)
    left = x < 0
    real = left.where(other, root) * undo
    imaginary = left.where(root, other) * undo
    zero, infinite = root.eq(0), _is_infinite(b)
    real = _either(infinite, INFINITY, _either(zero, 0.0, real))
    return real, _with_sign(infinite.where(abs(b), _either(zero, 0.0, imaginary)), b)


# Integer exponents up to this size go by multiplication, which is exact where the numbers are small
# integers. The interpreter has the same limit.
MULTIPLIED_POWERS = 7


def power(a: UOp, b: UOp, c: UOp, d: UOp) -> Pair:
    """(a + ib) ** (c + id) = |z|**c exp(-d arg z), turned by c arg z + d log |z|; computed in float64.

    The standard asks for exp(w * log(z)) and allows more care: zero and infinite bases keep components that
    this makes NaN, z ** 0 is 1 for every z, and small integer exponents multiply.
    """
    part = a.dtype
    a, b, c, d = (x.cast(dtypes.float64) for x in (a, b, c, d))
    radius, angle = scaled_hypot(a, b), b.alu(Ops.ATAN2, a)
    real_exponent = d.eq(0)
    size = radius.alu(Ops.POW, c) * _either(real_exponent, 0.0, -(d * angle)).alu(Ops.EXP)
    turn = c * angle + _either(real_exponent, 0.0, d * radius.alu(Ops.LOG))
    vanishes, nothing = size.eq(0), c.eq(0) & real_exponent
    real = _either(nothing, 1.0, _either(vanishes, 0.0, size * turn.alu(Ops.COS)))
    imaginary = _either(nothing | vanishes | turn.eq(0), 0.0, size * turn.alu(Ops.SIN))
    x, y = _small_integer_power(a, b, c)
    multiplied = real_exponent & (abs(c) <= MULTIPLIED_POWERS) & c.alu(Ops.TRUNC).eq(c)
    multiplied = multiplied & _is_finite(x) & _is_finite(y)
    return multiplied.where(x, real).cast(part), multiplied.where(y, imaginary).cast(part)


def _small_integer_power(a: UOp, b: UOp, exponent: UOp) -> Pair:
    """(a + ib) ** exponent for integers of size 0 ... 7, by three squarings at most."""
    one, zero = UOp.const(1.0, a.dtype), UOp.const(0.0, a.dtype)
    bits = abs(exponent).cast(dtypes.int32)
    x, y, square = one, zero, (a, b)
    for bit in (1, 2, 4):
        with_square = multiply(x, y, *square) if bit > 1 else square
        chosen = (bits & bit).ne(0)
        x, y = chosen.where(with_square[0], x), chosen.where(with_square[1], y)
        square = multiply(*square, *square)
    inverse = divide(one, zero, x, y)
    negative = exponent < 0
    return negative.where(inverse[0], x), negative.where(inverse[1], y)


# -- trigonometric and hyperbolic functions
# ----------------------------------------------------------------------------


def sinh(x: UOp, y: UOp) -> Pair:
    """sinh x cos y + i cosh x sin y."""
    of, angle = _hyperbolic(x), _angle_beside(x, y)
    real = x.eq(0).where(x, of.sine * angle.alu(Ops.COS) * of.factor)
    return real, y.eq(0).where(y, of.cosine * angle.alu(Ops.SIN) * of.factor)


def cosh(x: UOp, y: UOp) -> Pair:
    """cosh x cos y + i sinh x sin y."""
    of, angle = _hyperbolic(x), _angle_beside(x, y)
    imaginary = (x.eq(0) & ~_is_finite(y)).where(x, of.sine * angle.alu(Ops.SIN) * of.factor)
    imaginary = y.eq(0).where(y * _with_sign(1.0, x), imaginary)
    return of.cosine * angle.alu(Ops.COS) * of.factor, imaginary


def tanh(x: UOp, y: UOp) -> Pair:
    """(sinh x cosh x + i sin y cos y) / (sinh(x)**2 + cos(y)**2), and for large |x| what remains of it."""
    of, sine, cosine = _hyperbolic(x), y.alu(Ops.SIN), y.alu(Ops.COS)
    product = sine * cosine
    divisor = of.sine * of.sine + cosine * cosine
    large = abs(x) > _LIMITS[x.dtype].one
    sign = _with_sign(1.0, x)
    real = large.where(_is_nan(product).where(product, sign), of.sine * of.cosine / divisor)
    imaginary = large.where(product * 4.0 * of.decay * of.decay, product / divisor)
    infinite = _is_infinite(x)
    real = infinite.where(sign, x.eq(0).where(x, real))
    return real, infinite.where(_with_sign(0.0, y), y.eq(0).where(y, imaginary))


def cos(a: UOp, b: UOp) -> Pair:
    """cosh(iz)."""
    return cosh(-b, a)


def asinh(a: UOp, b: UOp) -> Pair:
    """By products of the roots of 1 + iz and 1 - iz, none of which cancel.

    W. Kahan, "Branch cuts for complex elementary functions", 1987.
    """
    p, q = sqrt(b + 1.0, -a)
    r, s = sqrt(1.0 - b, a)
    infinite = _is_infinite(a) | _is_infinite(b)
    real = infinite.where(_with_sign(INFINITY, a), (p * s - r * q).alu(Ops.ASINH))
    # With an infinite part the angle is that of z, folded to the right.
    return real, b.eq(0).where(b, b.alu(Ops.ATAN2, infinite.where(abs(a), p * r - q * s)))


def acos(a: UOp, b: UOp) -> Pair:
    """Kahan's form, as asinh: with the roots of 1 - z and 1 + z."""
    p, q = sqrt(1.0 - a, -b)
    r, s = sqrt(a + 1.0, b)
    infinite = _is_infinite(a) | _is_infinite(b)
    angle = infinite.where(abs(b), p).alu(Ops.ATAN2, infinite.where(a, r))
    real = _either(a.eq(0), math.pi / 2, infinite.where(angle, angle * 2.0))
    return real, infinite.where(-_with_sign(INFINITY, b), (r * q - s * p).alu(Ops.ASINH))


def acosh(a: UOp, b: UOp) -> Pair:
    """acos turned by a right angle into the right half plane."""
    real, imaginary = acos(a, b)
    return abs(imaginary), _with_sign(real, b)


def atanh(a: UOp, b: UOp) -> Pair:
    """log1p(4|a| / |1 - z|**2) / 4 + i atan2(2b, (1 - a)(1 + a) - b**2) / 2.

    Near the branch points the first is log(|1 + z| / |1 - z|) / 2.
    """
    limits, x = _LIMITS[a.dtype], abs(a)
    distance = scaled_hypot(1.0 - x, b)
    near, tiny = distance < 0.125, distance < limits.tiny
    one = UOp.const(1.0, a.dtype)
    quotient = scaled_hypot(x + 1.0, b) * _either(tiny, limits.tiny_shrink, one) / distance
    logarithm = near.where(quotient - 1.0, x / distance / distance * 4.0).alu(Ops.LOG1P)
    undone = _either(tiny, logarithm - math.log(limits.tiny_shrink), logarithm)
    size = near.where(undone * 0.5, logarithm * 0.25)
    infinite = _is_infinite(a) | _is_infinite(b)
    real = a.eq(0).where(a, _with_sign(_either(infinite, 0.0, size), a))
    far = _is_infinite(b) | (x.alu(Ops.MAXIMUM, abs(b)) > limits.right_angle)
    angle = (b * 2.0).alu(Ops.ATAN2, (1.0 - x) * (x + 1.0) - b * b) * 0.5
    return real, far.where(_with_sign(math.pi / 2, b), angle)


def _turned(function: Callable[[UOp, UOp], Pair]) -> Callable[[UOp, UOp], Pair]:
    """-i f(iz), the circular function of an odd hyperbolic f: the parts of f(b + ia), exchanged."""

    def turned(a: UOp, b: UOp) -> Pair:
        real, imaginary = function(b, a)
        return imaginary, real

    return turned


# -- the table
# ---------------------------------------------------------------------------------------------------------

_UNARY: dict[Op, Callable[[UOp, UOp], Pair]] = {
    Ops.NEG: lambda a, b: (-a, -b),
    Ops.CONJ: lambda a, b: (a, -b),
    Ops.ROUND: lambda a, b: (a.alu(Ops.ROUND), b.alu(Ops.ROUND)),
    Ops.SQRT: sqrt,
    Ops.EXP: exp,
    Ops.EXPM1: expm1,
    Ops.LOG: log,
    Ops.LOG1P: log1p,
    Ops.LOG2: log2,
    Ops.LOG10: log10,
    Ops.SIN: _turned(sinh),
    Ops.COS: cos,
    Ops.TAN: _turned(tanh),
    Ops.ASIN: _turned(asinh),
    Ops.ACOS: acos,
    Ops.ATAN: _turned(atanh),
    Ops.SINH: sinh,
    Ops.COSH: cosh,
    Ops.TANH: tanh,
    Ops.ASINH: asinh,
    Ops.ACOSH: acosh,
    Ops.ATANH: atanh,
}

_BINARY: dict[Op, Callable[[UOp, UOp, UOp, UOp], Pair]] = {
    Ops.ADD: lambda a, b, c, d: (a + c, b + d),
    Ops.SUB: lambda a, b, c, d: (a - c, b - d),
    Ops.MUL: multiply,
    Ops.DIV: divide,
    Ops.POW: power,
}

_REAL = (dtypes.bool_, *dtypes.REAL_NUMERIC)
_X = UPat(name="x", dtype=_REAL)
_Z = UPat(Ops.COMPLEX, (UPat(name="a"), UPat(name="b")))
_W = UPat(Ops.COMPLEX, (UPat(name="c"), UPat(name="d")))


def _pair(parts: Pair) -> UOp:
    return UOp.new(Ops.COMPLEX, parts)


def _unary_rule(op: Op, function: Callable[[UOp, UOp], Pair]) -> Rule:
    return UPat(op, (_Z,)), lambda a, b: _pair(function(a, b))


def _binary_rule(op: Op, function: Callable[[UOp, UOp, UOp, UOp], Pair]) -> Rule:
    return UPat(op, (_Z, _W)), lambda a, b, c, d: _pair(function(a, b, c, d))


def _constant(x: UOp) -> UOp:
    part = dtypes.REAL_PART[x.dtype]
    return _pair((UOp.const(x.arg.real, part), UOp.const(x.arg.imag, part)))


def _cast(x: UOp, a: UOp, b: UOp) -> UOp:
    target: np.dtype = x.dtype
    if target == dtypes.bool_:
        return a.ne(0) | b.ne(0)
    if target in dtypes.COMPLEX_FLOATING:
        part = dtypes.REAL_PART[target]
        return _pair((a.cast(part), b.cast(part)))
    return a.cast(target)


def _cast_to_complex(x: UOp, y: UOp) -> UOp:
    part = dtypes.REAL_PART[y.dtype]
    return _pair((x.cast(part), UOp.const(0.0, part)))


COMPLEX_RULES = PatternMatcher(
    [
        (UPat(Ops.CONST, name="x", dtype=dtypes.COMPLEX_FLOATING), _constant),
        (UPat(Ops.CAST, (_Z,), name="x"), _cast),
        (UPat(Ops.CAST, (_X,), name="y", dtype=dtypes.COMPLEX_FLOATING), _cast_to_complex),
        (UPat(Ops.REAL, (_Z,)), lambda a, b: a),
        (UPat(Ops.IMAG, (_Z,)), lambda a, b: b),
        (UPat(Ops.ABS, (_Z,)), lambda a, b: a.alu(Ops.HYPOT, b)),
        (UPat((Ops.REAL, Ops.CONJ), (_X,)), lambda x: x),
        (UPat(Ops.IMAG, (_X,)), lambda x: UOp.const(0, x.dtype)),
        (UPat(Ops.EQ, (_Z, _W)), _equal),
        (UPat(Ops.NE, (_Z, _W)), _not_equal),
        (UPat(Ops.WHERE, (_X, _Z, _W)), lambda x, a, b, c, d: _pair((x.where(a, c), x.where(b, d)))),
        *(_unary_rule(op, function) for op, function in _UNARY.items()),
        *(_binary_rule(op, function) for op, function in _BINARY.items()),
    ]
)
