"""sin, cos and tan in primitives.

codegen/transcendental.py lists them. The argument is n * pi / 2 + r with |r| <= pi / 4, r and its rounding
error a pair; in float64 sin r and cos r are both computed and n chooses, in float32 n chooses coefficients.
Up to FAST_LIMIT r comes from pi / 2 in three parts; beyond it from as many bits of 2 / pi as the argument's
exponent asks for (Payne and Hanek), in 64-bit integers. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    INFINITY,
    NAN,
    ROUNDER,
    ROUNDER_SINGLE,
    SIGN,
    SIGN_SINGLE,
    SIGNIFICAND,
    SIGNIFICAND_BITS,
    SIGNIFICAND_BITS_SINGLE,
    SIGNIFICAND_SINGLE,
    Pair,
    bits,
    exact_product,
    exact_sum,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    quotient,
    single,
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

# For float32 the same with 72 bits. x - n * HIGH is a multiple of 2 ** -24 for n > 0, and fits.
HALF_PI_HIGH_SINGLE = 1.5707962512969971
HALF_PI_MIDDLE_SINGLE = 7.549790126404332e-08
HALF_PI_LOW_SINGLE = -1.7151245100058819e-15
# Up to here 2 / pi, rounded to float32, still finds an n that leaves |r| <= 1.003 * pi / 4.
FAST_LIMIT_SINGLE = 2.0**17

SIN = (
    -0.1666666666666663,
    0.008333333333321842,
    -0.00019841269829361228,
    2.7557313539918212e-06,
    -2.5050734688417443e-08,
    1.5895455766545097e-10,
)
SIN_SINGLE = (
    -0.16666653752326965,
    0.008332106284797192,
    -0.0001950788573594764,
)
COS = (
    0.041666666666666595,
    -0.0013888888888873338,
    2.4801587288996973e-05,
    -2.7557314214971417e-07,
    2.0875705045932436e-09,
    -1.1358728007195408e-11,
)
COS_SINGLE = (
    0.04166664555668831,
    -0.0013887305976822972,
    2.443165249133017e-05,
)
TAN_SINGLE = (
    0.3333335220813751,
    0.13332577049732208,
    0.05406986549496651,
    0.021230122074484825,
    0.010972118936479092,
    -8.44558235257864e-05,
    0.0044624716974794865,
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


def fast_reduction_single(x: UOp) -> Reduced:
    """As `fast_reduction` for float32, 0 <= x <= FAST_LIMIT_SINGLE."""
    shifted = x.fma(TWO_OVER_PI, ROUNDER_SINGLE)
    n = shifted - ROUNDER_SINGLE
    first = n.fma(-HALF_PI_HIGH_SINGLE, x)
    r = first - n * HALF_PI_MIDDLE_SINGLE
    # The difference is exact: `first` is a multiple of the product's last place, or zero.
    error = n.fma(-HALF_PI_MIDDLE_SINGLE, first - r)
    return r, n.fma(-HALF_PI_LOW_SINGLE, error), bits(shifted)


def whole_product(a: UOp, b: UOp) -> tuple[UOp, UOp]:
    """The two 64-bit halves, high first, of a * b, uint64, a < 2 ** 53."""
    a_high, a_low = a >> 32, a & 0xFFFFFFFF
    b_high, b_low = b >> 32, b & 0xFFFFFFFF
    low = a_low * b_low
    middle = a_low * b_high + (low >> 32)
    other = a_high * b_low + (middle & 0xFFFFFFFF)
    return a_high * b_high + (middle >> 32) + (other >> 32), (other << 32) | (low & 0xFFFFFFFF)


def aligned_bits(start: UOp, count: int) -> list[UOp]:
    """As many words of 64 bits of 2 / pi, from bit `start` on."""
    word, shift = start >> 6, (start & 63).cast(dtypes.uint64)
    back = 63 - shift
    words = [UOp.new(Ops.TWO_OVER_PI, (word + i,)) for i in range(count + 1)]
    return [(words[i] << shift) | ((words[i + 1] >> 1) >> back) for i in range(count)]


def slow_reduction(x: UOp) -> Reduced:
    """(r, its error, an integer that is n modulo 4) for every |x| >= 1; NaN for inf and NaN.

    x is significand * 2 ** (exponent - 1075). Bits of 2 / pi that make multiples of 4 with it are left out;
    the next 192 times the significand, modulo 2 ** 192, are x * 2 / pi modulo 4 with 190 bits of fraction.
    126 of them are kept: the least fraction of any float64 has 62 leading zeros.
    """
    pattern = bits(abs(x))
    significand = ((pattern & SIGNIFICAND) | (1 << SIGNIFICAND_BITS)).cast(dtypes.uint64)
    aligned = aligned_bits((pattern >> SIGNIFICAND_BITS) - (1075 + 2), 3)
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


def slow_reduction_single(x: UOp) -> Reduced:
    """As `slow_reduction` for float32, x >= 1: 96 bits of 2 / pi times the significand leave 62 bits of
    fraction, of which 30 may be leading zeros."""
    pattern = bits(x)
    significand = (pattern & SIGNIFICAND_SINGLE) | (1 << SIGNIFICAND_BITS_SINGLE)
    significand = significand.cast(dtypes.int64).cast(dtypes.uint64)
    start = (pattern >> SIGNIFICAND_BITS_SINGLE).cast(dtypes.int64) - (150 + 2)
    first, second = aligned_bits(start, 2)
    product = significand * first + ((significand * (second >> 32)) >> 32)
    n = ((product + (1 << 61)) >> 62).cast(dtypes.int32)
    fraction = (product << 2).cast(dtypes.int64).cast(dtypes.float64)
    r = (x < INFINITY).where(fraction * (HALF_PI_HIGH * 2.0**-64), NAN)
    high = r.cast(dtypes.float32)
    return high, (r - high.cast(dtypes.float64)).cast(dtypes.float32), n


def reduction(x: UOp, limit: float, fast: Reduced, slow: Reduced) -> Reduced:
    """`fast` up to a limit of |x|, guarded, and `slow` beyond."""
    # NaN passes: it needs no slow way to stay what it is.
    near = ~(abs(x) > limit)
    # The slow way isn't right for small x, and a guard's slow alternative must be right for all.
    r, error, n = (
        UOp.new(Ops.GUARDED, (quick, near.where(quick, other), near))
        for quick, other in zip(fast, slow, strict=True)
    )
    return r, error, n


def reduction_double(x: UOp) -> Reduced:
    """`reduction` of float64."""
    return reduction(x, FAST_LIMIT, fast_reduction(x), slow_reduction(x))


def reduction_single(x: UOp) -> Reduced:
    """`reduction` of float32, x >= 0."""
    return reduction(x, FAST_LIMIT_SINGLE, fast_reduction_single(x), slow_reduction_single(x))


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
    r, error, n = reduction_double(x)
    sine, cosine = sine_and_cosine(r, error)
    odd = (n & 1).ne(0)
    result = odd.where(cosine[0], sine[0]) + odd.where(cosine[1], sine[1])
    return x.eq(0.0).where(x, turned(n, result))


def cos(x: UOp) -> UOp:
    """Cosine of float64."""
    r, error, n = reduction_double(x)
    sine, cosine = sine_and_cosine(r, error)
    odd = (n & 1).ne(0)
    result = odd.where(sine[0], cosine[0]) + odd.where(sine[1], cosine[1])
    return turned(n + (n & 1), result)


def tan(x: UOp) -> UOp:
    """Tangent of float64."""
    r, error, n = reduction_double(x)
    sine, cosine = sine_and_cosine(r, error)
    sine, cosine = ordered_sum(*sine), ordered_sum(*cosine)
    odd = (n & 1).ne(0)
    numerator = (odd.where(cosine[0], sine[0]), odd.where(cosine[1], sine[1]))
    denominator = (odd.where(sine[0], cosine[0]), odd.where(sine[1], cosine[1]))
    high, low = quotient(numerator, denominator)
    return x.eq(0.0).where(x, from_bits(bits(high + low) ^ (n << 63)))


def sine_or_cosine_single(r: UOp, error: UOp, cosine: UOp) -> UOp:
    """sin or, where `cosine` holds, cos of r + error, float32."""
    z = r * r
    one = z.fma(-0.5, 1.0)
    one_rest = (-r).fma(error, z.fma(-0.5, 1.0 - one))
    chosen = [cosine.where(single(c), single(s)) for c, s in zip(COS_SINGLE, SIN_SINGLE, strict=True)]
    rest = (cosine.where(z, r) * z).fma(polynomial(z, chosen), cosine.where(one_rest, error))
    return cosine.where(one, r) + rest


def sin_single(x: UOp) -> UOp:
    """Sine of float32."""
    r, error, n = reduction_single(abs(x))
    result = sine_or_cosine_single(r, error, (n & 1).ne(0))
    return from_bits(bits(result) ^ (((n << 30) ^ bits(x)) & SIGN_SINGLE))


def cos_single(x: UOp) -> UOp:
    """Cosine of float32."""
    r, error, n = reduction_single(abs(x))
    result = sine_or_cosine_single(r, error, (n & 1).eq(0))
    return from_bits(bits(result) ^ (((n + 1) << 30) & SIGN_SINGLE))


def tan_single(x: UOp) -> UOp:
    """Tangent of float32: tan r or -1 / tan r."""
    r, error, n = reduction_single(abs(x))
    z, z_rest = exact_product(r, r)
    # What the errors of r and of its square make of the rest: near pi / 4, where it shows, these factors.
    error = z_rest.fma(r * 0.6, error.fma(z * 1.5, error))
    high, low = ordered_sum(r, (r * z).fma(polynomial(z, TAN_SINGLE), error))
    inverse = -1.0 / high
    inverse = inverse.fma(inverse.fma(low, inverse.fma(high, 1.0)), inverse)
    result = (n & 1).ne(0).where(inverse, high)
    return from_bits(bits(result) ^ (bits(x) & SIGN_SINGLE))
