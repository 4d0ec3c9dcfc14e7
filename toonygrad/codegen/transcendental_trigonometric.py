"""sin, cos and tan in primitives.

codegen/transcendental.py lists them. The argument is n * pi / 2 + r with |r| <= pi / 4, r and its rounding
error a pair; n chooses between the coefficients of sin r and cos r. Up to FAST_LIMIT r comes from pi / 2 in
three parts; beyond it from as many bits of 2 / pi as the argument's exponent asks for (Payne and Hanek), in
64-bit integers. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    DOUBLE,
    FORMATS,
    INFINITY,
    NAN,
    SINGLE,
    ByType,
    bits,
    exact_product,
    from_bits,
    number,
    ordered_sum,
    polynomial,
)
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# pi / 2 in three parts of which the first is rounded down. x - n times it is exact: a multiple of half its
# last place, and below 1.
HALF_PI_HIGH = ByType(1.5707963267948966, 1.5707962512969971)
HALF_PI_MIDDLE = ByType(6.123233995736766e-17, 7.549790126404332e-08)
HALF_PI_LOW = ByType(-1.4973849048591698e-33, -1.7151245100058819e-15)
TWO_OVER_PI = 0.6366197723675814

# Up to here the parts err by n times 2 ** -161 or 2 ** -77, little beside the least r, 2 ** -62 or 2 ** -30.
# In float32 2 / pi, rounded, still finds an n that leaves |r| <= 1.003 * pi / 4.
FAST_LIMIT = ByType(2.0**32, 2.0**17)

SIN = ByType(
    (
        -0.1666666666666663,
        0.008333333333321783,
        -0.00019841269829285634,
        2.755731350681183e-06,
        -2.5050728676479786e-08,
        1.5895067831187991e-10,
    ),
    (
        -0.16666653752326965,
        0.008332106284797192,
        -0.0001950788573594764,
    ),
)
COS = ByType(
    (
        0.04166666666666659,
        -0.0013888888888872186,
        2.4801587288295257e-05,
        -2.7557314015015033e-07,
        2.087567805746257e-09,
        -1.1357334479909587e-11,
    ),
    (
        0.04166664555668831,
        -0.0013887305976822972,
        2.443165249133017e-05,
    ),
)
TAN = ByType(
    (
        0.33333333333333387,
        0.13333333333324476,
        0.05396825397337439,
        0.021869488386369814,
        0.008863238132818295,
        0.003592098673379888,
        0.0014560613076468605,
        0.0005887855188883809,
        0.00024403465533043997,
        8.282871511987876e-05,
        6.856033401125533e-05,
        -2.733752189568293e-05,
        5.0066966045836606e-05,
        -2.4986897561134494e-05,
        9.958588345696474e-06,
    ),
    (
        0.3333335220813751,
        0.13332577049732208,
        0.05406986549496651,
        0.021230122074484825,
        0.010972118936479092,
        -8.44558235257864e-05,
        0.0044624716974794865,
    ),
)

Reduced = tuple[UOp, UOp, UOp]


def fast_reduction(x: UOp) -> Reduced:
    """(r, its error, an integer that is n modulo 4) for 0 <= x <= FAST_LIMIT."""
    rounder, middle = FORMATS.of(x).rounder, HALF_PI_MIDDLE.of(x)
    shifted = x.fma(TWO_OVER_PI, rounder)
    n = shifted - rounder
    first = n.fma(-HALF_PI_HIGH.of(x), x)
    r = first - n * middle
    # The difference is exact: `first` is a multiple of the product's last place.
    error = n.fma(-middle, first - r)
    return r, n.fma(-HALF_PI_LOW.of(x), error), bits(shifted)


def aligned_bits(start: UOp, count: int) -> list[UOp]:
    """As many words of 64 bits of 2 / pi, from bit `start` on."""
    word, shift = start >> 6, (start & 63).cast(dtypes.uint64)
    back = 63 - shift
    words = [UOp.new(Ops.TWO_OVER_PI, (word + i,)) for i in range(count + 1)]
    return [(words[i] << shift) | ((words[i + 1] >> 1) >> back) for i in range(count)]


def whole_product(a: UOp, b: UOp) -> tuple[UOp, UOp]:
    """The two 64-bit halves, high first, of a * b, uint64, a < 2 ** 53."""
    a_high, a_low = a >> 32, a & 0xFFFFFFFF
    b_high, b_low = b >> 32, b & 0xFFFFFFFF
    low = a_low * b_low
    middle = a_low * b_high + (low >> 32)
    other = a_high * b_low + (middle & 0xFFFFFFFF)
    return a_high * b_high + (middle >> 32) + (other >> 32), (other << 32) | (low & 0xFFFFFFFF)


def slow_reduction_double(x: UOp) -> Reduced:
    """(r, its error, an integer that is n modulo 4) for every float64 x >= 1; NaN for inf and NaN.

    x is significand * 2 ** (exponent - 1075). Bits of 2 / pi that make multiples of 4 with it are left out;
    the next 192 times the significand, modulo 2 ** 192, are x * 2 / pi modulo 4 with 190 bits of fraction.
    126 of them are kept: the least fraction of any float64 has 62 leading zeros.
    """
    pattern = bits(x)
    significand = ((pattern & DOUBLE.significand) | (1 << DOUBLE.digits)).cast(dtypes.uint64)
    aligned = aligned_bits((pattern >> DOUBLE.digits) - (1075 + 2), 3)
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
    r, error = exact_product(upper, number(HALF_PI_HIGH.double, upper))
    error = lower.fma(HALF_PI_HIGH.double, upper.fma(HALF_PI_MIDDLE.double, error))
    flip = sign & DOUBLE.sign
    r = (x < INFINITY).where(r, NAN)
    return from_bits(bits(r) ^ flip), from_bits(bits(error) ^ flip), n


def slow_reduction_single(x: UOp) -> Reduced:
    """As `slow_reduction_double` for float32: 96 bits of 2 / pi times the significand leave 62 bits of
    fraction, of which 30 may be leading zeros."""
    pattern = bits(x)
    significand = (pattern & SINGLE.significand) | (1 << SINGLE.digits)
    significand = significand.cast(dtypes.int64).cast(dtypes.uint64)
    start = (pattern >> SINGLE.digits).cast(dtypes.int64) - (150 + 2)
    first, second = aligned_bits(start, 2)
    product = significand * first + ((significand * (second >> 32)) >> 32)
    n = ((product + (1 << 61)) >> 62).cast(dtypes.int32)
    fraction = (product << 2).cast(dtypes.int64).cast(dtypes.float64)
    r = (x < INFINITY).where(fraction * (HALF_PI_HIGH.double * 2.0**-64), NAN)
    high = r.cast(dtypes.float32)
    return high, (r - high.cast(dtypes.float64)).cast(dtypes.float32), n


def reduction(x: UOp) -> Reduced:
    """(r, its error, an integer that is n modulo 4) for every x >= 0."""
    # NaN passes: it needs no slow way to stay what it is.
    near = ~(x > FAST_LIMIT.of(x))
    slow = ByType(slow_reduction_double, slow_reduction_single).of(x)(x)
    # The slow way isn't right for small x, and a guard's slow alternative must be right for all.
    r, error, n = (
        UOp.new(Ops.GUARDED, (quick, near.where(quick, other), near))
        for quick, other in zip(fast_reduction(x), slow, strict=True)
    )
    return r, error, n


def sine_or_cosine(r: UOp, error: UOp, cosine: UOp) -> UOp:
    """sin or, where `cosine` holds, cos of r + error."""
    z = r * r
    one = z.fma(-0.5, 1.0)
    one_rest = (-r).fma(error, z.fma(-0.5, 1.0 - one))
    pairs = zip(COS.of(r), SIN.of(r), strict=True)
    chosen = [cosine.where(number(c, r), number(s, r)) for c, s in pairs]
    rest = (cosine.where(z, r) * z).fma(polynomial(z, chosen), cosine.where(one_rest, error))
    return cosine.where(one, r) + rest


def with_sign(value: UOp, pattern: UOp) -> UOp:
    """`value`, negated where the sign bit of `pattern` is set."""
    return from_bits(bits(value) ^ (pattern & FORMATS.of(value).sign))


def half_turns(n: UOp) -> UOp:
    """Where n modulo 4 is 2 or 3 a pattern with the sign bit set."""
    return n << (8 * n.dtype.itemsize - 2)


def sin(x: UOp) -> UOp:
    """Sine."""
    r, error, n = reduction(abs(x))
    return with_sign(sine_or_cosine(r, error, (n & 1).ne(0)), half_turns(n) ^ bits(x))


def cos(x: UOp) -> UOp:
    """Cosine."""
    r, error, n = reduction(abs(x))
    return with_sign(sine_or_cosine(r, error, (n & 1).eq(0)), half_turns(n + 1))


def tan(x: UOp) -> UOp:
    """Tangent: tan r or -1 / tan r."""
    r, error, n = reduction(abs(x))
    z, z_rest = exact_product(r, r)
    # What the errors of r and of its square make of the rest: near pi / 4, where it shows, these factors.
    error = z_rest.fma(r * 0.6, error.fma(z * 1.5, error))
    high, low = ordered_sum(r, (r * z).fma(polynomial(z, TAN.of(x)), error))
    inverse = -1.0 / high
    inverse = inverse.fma(inverse.fma(low, inverse.fma(high, 1.0)), inverse)
    return with_sign((n & 1).ne(0).where(inverse, high), bits(x))
