"""sin, cos and tan in primitives.

codegen/transcendental.py lists them. The argument is n * pi / 2 + r with |r| <= pi / 4, r and its rounding
error a pair; sin r and cos r are both computed and n chooses. Up to FAST_LIMIT r comes from pi / 2 in three
parts; beyond it from as many bits of 2 / pi as the argument's exponent asks for (Payne and Hanek), in
64-bit integers. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    INFINITY,
    NAN,
    ROUNDER,
    SIGN,
    SIGNIFICAND,
    SIGNIFICAND_BITS,
    Pair,
    bits,
    exact_product,
    exact_sum,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    quotient,
)
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# pi / 2 = HIGH + MIDDLE + LOW to 161 bits. x - n * HIGH is exact: a multiple of the last place of HIGH and
# below 1.
HALF_PI_HIGH = 1.5707963267948966
HALF_PI_MIDDLE = 6.123233995736766e-17
HALF_PI_LOW = -1.4973849048591698e-33
TWO_OVER_PI = 0.6366197723675814

# Up to here the three parts err by n * 2 ** -161, less than 2 ** -129; the least r that any float64 leaves is
# about 2 ** -62.
FAST_LIMIT = 2.0**32

SIN = (
    -0.1666666666666663,
    0.008333333333321846,
    -0.00019841269829366884,
    2.755731354290269e-06,
    -2.505073530503205e-08,
    1.5895498844438406e-10,
)
SIN_SHORT = (
    -0.16666666640772626,
    0.00833332930104756,
    -0.00019839311135192982,
    2.7181136713728847e-06,
)
COS = (
    0.041666666666666595,
    -0.001388888888887334,
    2.4801587288999833e-05,
    -2.7557314216255334e-07,
    2.0875705285990283e-09,
    -1.135874393479792e-11,
)
COS_SHORT = (
    0.04166664568811848,
    -0.001388731652488785,
    2.4433178752639506e-05,
)


Reduced = tuple[UOp, UOp, UOp]


def fast_reduction(x: UOp) -> Reduced:
    """(r, its error, an integer that is n modulo 4) for |x| <= FAST_LIMIT."""
    shifted = x.fma(TWO_OVER_PI, ROUNDER)
    n = shifted - ROUNDER
    first = n.fma(-HALF_PI_HIGH, x)
    middle, middle_rest = exact_product(n, number(-HALF_PI_MIDDLE))
    r, error = exact_sum(first, middle)
    return r, n.fma(-HALF_PI_LOW, error + middle_rest), bits(shifted)


def fast_reduction_short(x: UOp) -> Reduced:
    """As `fast_reduction` for a float32 in float64, without the error."""
    shifted = x.fma(TWO_OVER_PI, ROUNDER)
    n = shifted - ROUNDER
    return n.fma(-HALF_PI_MIDDLE, n.fma(-HALF_PI_HIGH, x)), number(0.0), bits(shifted)


def whole_product(a: UOp, b: UOp) -> tuple[UOp, UOp]:
    """The two 64-bit halves, high first, of a * b, uint64, a < 2 ** 53."""
    a_high, a_low = a >> 32, a & 0xFFFFFFFF
    b_high, b_low = b >> 32, b & 0xFFFFFFFF
    low = a_low * b_low
    middle = a_low * b_high + (low >> 32)
    other = a_high * b_low + (middle & 0xFFFFFFFF)
    return a_high * b_high + (middle >> 32) + (other >> 32), (other << 32) | (low & 0xFFFFFFFF)


def slow_reduction(x: UOp) -> Reduced:
    """(r, its error, an integer that is n modulo 4) for every |x| >= 1; NaN for inf and NaN.

    x is significand * 2 ** (exponent - 1075). Bits of 2 / pi that make multiples of 4 with it are left out;
    the next 192 times the significand, modulo 2 ** 192, are x * 2 / pi modulo 4 with 190 bits of fraction.
    126 of them are kept: the least fraction of any float64 has 62 leading zeros.
    """
    pattern = bits(abs(x))
    significand = ((pattern & SIGNIFICAND) | (1 << SIGNIFICAND_BITS)).cast(dtypes.uint64)
    start = (pattern >> SIGNIFICAND_BITS) - (1075 + 2)
    word, shift = start >> 6, (start & 63).cast(dtypes.uint64)
    back = 63 - shift
    words = [UOp.new(Ops.TWO_OVER_PI, (word + i,)) for i in range(4)]
    aligned = [(words[i] << shift) | ((words[i + 1] >> 1) >> back) for i in range(3)]
    middle_high, middle_low = whole_product(significand, aligned[1])
    low_high, _ = whole_product(significand, aligned[2])
    low = middle_low + low_high
    high = significand * aligned[0] + middle_high + (low < middle_low).cast(dtypes.uint64)
    n = ((high + (1 << 61)) >> 62).cast(dtypes.int64)
    # The fraction, from -1/2 to 1/2 in two's complement, becomes sign and magnitude, which in two pieces of
    # at most 63 bits become float64.
    first = ((high << 2) | (low >> 62)).cast(dtypes.int64)
    sign = first >> 63
    first = first ^ sign
    second = (low << 2) ^ sign.cast(dtypes.uint64)
    upper = (first & -2048).cast(dtypes.float64) * 2.0**-64
    lower = (((first & 2047) << 52) | (second >> 12).cast(dtypes.int64)).cast(dtypes.float64) * 2.0**-116
    upper, lower = ordered_sum(upper, lower)
    r, error = exact_product(upper, number(HALF_PI_HIGH))
    error = lower.fma(HALF_PI_HIGH, upper.fma(HALF_PI_MIDDLE, error))
    negative = bits(x) >> 63
    flip = (sign ^ negative) & SIGN
    r = (abs(x) < INFINITY).where(r, NAN)
    return from_bits(bits(r) ^ flip), from_bits(bits(error) ^ flip), (n ^ negative) - negative


def reduction(x: UOp, fast: Reduced) -> Reduced:
    """`fast`, guarded: for every x."""
    near = abs(x) <= FAST_LIMIT
    # The slow way isn't right for small x, and a guard's slow alternative must be right for all.
    r, error, n = (
        UOp.new(Ops.GUARDED, (quick, near.where(quick, slow), near))
        for quick, slow in zip(fast, slow_reduction(x), strict=True)
    )
    return r, error, n


def sine_and_cosine(r: UOp, error: UOp) -> tuple[Pair, Pair]:
    """(sin, cos) of r + error, each in two parts, the first much the larger."""
    z, z_rest = exact_product(r, r)
    half = z * 0.5
    one = 1.0 - half
    sine_rest = (r * z).fma(polynomial(z, SIN), error.fma(-half, error))
    cosine_rest = (1.0 - one) - half - r.fma(error, z_rest * 0.5)
    return (r, sine_rest), (one, (z * z).fma(polynomial(z, COS), cosine_rest))


def turned(n: UOp, value: UOp) -> UOp:
    """-value where n modulo 4 is 2 or 3."""
    return from_bits(bits(value) ^ ((n & 2) << 62))


def sin(x: UOp) -> UOp:
    """Sine of float64."""
    r, error, n = reduction(x, fast_reduction(x))
    sine, cosine = sine_and_cosine(r, error)
    odd = (n & 1).ne(0)
    result = odd.where(cosine[0], sine[0]) + odd.where(cosine[1], sine[1])
    return x.eq(0.0).where(x, turned(n, result))


def cos(x: UOp) -> UOp:
    """Cosine of float64."""
    r, error, n = reduction(x, fast_reduction(x))
    sine, cosine = sine_and_cosine(r, error)
    odd = (n & 1).ne(0)
    result = odd.where(sine[0], cosine[0]) + odd.where(sine[1], cosine[1])
    return turned(n + (n & 1), result)


def tan(x: UOp) -> UOp:
    """Tangent of float64."""
    r, error, n = reduction(x, fast_reduction(x))
    sine, cosine = sine_and_cosine(r, error)
    sine, cosine = ordered_sum(*sine), ordered_sum(*cosine)
    odd = (n & 1).ne(0)
    numerator = (odd.where(cosine[0], sine[0]), odd.where(cosine[1], sine[1]))
    denominator = (odd.where(sine[0], cosine[0]), odd.where(sine[1], cosine[1]))
    high, low = quotient(numerator, denominator)
    return x.eq(0.0).where(x, from_bits(bits(high + low) ^ (n << 63)))


def short_sine_and_cosine(r: UOp) -> tuple[UOp, UOp]:
    """(sin r, cos r), good to 30 bits."""
    z = r * r
    return (r * z).fma(polynomial(z, SIN_SHORT), r), polynomial(z, (1.0, -0.5, *COS_SHORT))


def sin_short(x: UOp) -> UOp:
    """Sine of a float32 in float64."""
    r, _, n = reduction(x, fast_reduction_short(x))
    sine, cosine = short_sine_and_cosine(r)
    return x.eq(0.0).where(x, turned(n, (n & 1).ne(0).where(cosine, sine)))


def cos_short(x: UOp) -> UOp:
    """Cosine of a float32 in float64."""
    r, _, n = reduction(x, fast_reduction_short(x))
    sine, cosine = short_sine_and_cosine(r)
    return turned(n + (n & 1), (n & 1).ne(0).where(sine, cosine))


def tan_short(x: UOp) -> UOp:
    """Tangent of a float32 in float64."""
    r, _, n = reduction(x, fast_reduction_short(x))
    sine, cosine = short_sine_and_cosine(r)
    odd = (n & 1).ne(0)
    result = odd.where(cosine, sine) / odd.where(sine, cosine)
    return x.eq(0.0).where(x, from_bits(bits(result) ^ (n << 63)))
