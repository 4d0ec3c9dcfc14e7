"""asin, acos, atan and atan2 in primitives.

codegen/transcendental.py lists them. asin and acos beyond 1/2 go through sqrt((1 - |x|) / 2); the arc
tangent of a ratio turns the point by 0, pi / 4 or pi / 2 so that a ratio within 1/2 is left, and its
quotient is a pair. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    INFINITY,
    SIGN_SINGLE,
    Pair,
    about_reciprocal,
    bits,
    copysign,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    single,
    sqrt,
)
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# pi / 4 in two parts; three times the first is exact too.
QUARTER_PI = 0.7853981633974483
QUARTER_PI_LOW = 3.061616997868383e-17
# pi / 2 and pi have the same low part relative to the high one.
PI = 4.0 * QUARTER_PI
PI_LOW_RATIO = QUARTER_PI_LOW / QUARTER_PI
QUARTER_PI_SINGLE = 0.7853981852531433
QUARTER_PI_LOW_SINGLE = -2.1855694143368964e-08

ASIN = (
    0.1666666666666676,
    0.07499999999970863,
    0.04464285717456488,
    0.03038194270970094,
    0.02237221493829856,
    0.017351612866574394,
    0.01398081036783605,
    0.011398996818654044,
    0.010779766249061495,
    0.003708302728703002,
    0.02170269383500965,
    -0.02099213211321123,
    0.03262416815908637,
)
ASIN_SINGLE = (
    0.16666752099990845,
    0.074953094124794,
    0.045469459146261215,
    0.024181358516216278,
    0.042167533189058304,
)
ATAN = (
    -0.33333333333333315,
    0.19999999999993764,
    -0.1428571428499801,
    0.11111111070032444,
    -0.09090907705095765,
    0.07692277634696504,
    -0.06666224909769652,
    0.058778148117594846,
    -0.05230040919486589,
    0.04589512132734985,
    -0.03711952319880728,
    0.02365528563941691,
    -0.008365434074052248,
)
ATAN_SINGLE = (
    -0.3333323299884796,
    0.19994166493415833,
    -0.14174169301986694,
    0.10155453532934189,
    -0.05123960226774216,
)


def arc_sine_root(x: UOp) -> tuple[UOp, UOp, UOp, UOp]:
    """(|x| > 1/2, s, error of s, z): s = sqrt(z) = sqrt((1 - |x|) / 2) where |x| > 1/2, else s = |x|."""
    y = abs(x)
    large = y > 0.5
    z = large.where(y.fma(-0.5, 0.5), y * y)
    root = sqrt(z)
    # The least root but 0 is 2 ** -27: the addend only keeps 0 / 0 away.
    root_rest = (-root).fma(root, z) / root.fma(2.0, 1e-300)
    return large, large.where(root, y), large.where(root_rest, 0.0), z


def asin(x: UOp) -> UOp:
    """Inverse sine of float64: x + ..., beyond 1/2 as pi / 2 - 2 asin(s)."""
    large, s, s_rest, z = arc_sine_root(x)
    rest = (s * z).fma(polynomial(z, ASIN), s_rest)
    high, low = ordered_sum(number(2.0 * QUARTER_PI), s * -2.0)
    result = large.where(high + (low + rest.fma(-2.0, 2.0 * QUARTER_PI_LOW)), s + rest)
    return copysign(result, x)


def acos(x: UOp) -> UOp:
    """Inverse cosine of float64: pi / 2 - asin(x), beyond 1/2 as 2 asin(s), and pi less that for negative
    x."""
    large, s, s_rest, z = arc_sine_root(x)
    rest = (s * z).fma(polynomial(z, ASIN), s_rest)
    negative = x < 0.0
    factor = negative.where(large.where(number(-2.0), 1.0), large.where(number(2.0), -1.0))
    base = large.where(negative.where(number(PI), 0.0), PI / 2)
    high, low = ordered_sum(base, factor * s)
    return high + (low + rest.fma(factor, base * PI_LOW_RATIO))


def arc_sine_single(x: UOp) -> tuple[UOp, UOp, UOp]:
    """(|x| > 1/2, s, asin(s) - s) of float32: s = sqrt((1 - |x|) / 2) where |x| > 1/2, else s = |x|."""
    y = abs(x)
    large = y > 0.5
    z = large.where(y.fma(-0.5, 0.5), y * y)
    root = sqrt(z)
    root_rest = (-root).fma(root, z) * about_reciprocal(root, halved=True)
    s = large.where(root, y)
    return large, s, (s * z).fma(polynomial(z, ASIN_SINGLE), large.where(root_rest, 0.0))


def angle_from_single(base: UOp, base_low: UOp, factor: UOp, s: UOp, rest: UOp) -> UOp:
    """base + base_low + factor * (s + rest), float32; |base| is 0 or larger than |factor * s|."""
    high = factor.fma(s, base)
    return high + factor.fma(rest, factor.fma(s, base - high) + base_low)


def asin_single(x: UOp) -> UOp:
    """Inverse sine of float32, as `asin`."""
    large, s, rest = arc_sine_single(x)
    base, base_low = (large.where(single(2.0 * q), 0.0) for q in (QUARTER_PI_SINGLE, QUARTER_PI_LOW_SINGLE))
    return copysign(angle_from_single(base, base_low, large.where(single(-2.0), 1.0), s, rest), x)


def acos_single(x: UOp) -> UOp:
    """Inverse cosine of float32, as `acos`."""
    large, s, rest = arc_sine_single(x)
    negative = x < 0.0
    factor = negative.where(large.where(single(-2.0), 1.0), large.where(single(2.0), -1.0))
    base, base_low = (
        large.where(negative.where(single(4.0 * q), 0.0), 2.0 * q)
        for q in (QUARTER_PI_SINGLE, QUARTER_PI_LOW_SINGLE)
    )
    return angle_from_single(base, base_low, factor, s, rest)


def turned_ratio(y: UOp, x: UOp) -> tuple[UOp, UOp, UOp, UOp]:
    """(numerator, denominator, quarters, where the denominator is a sum): the point (x, y), both >= 0,
    turned back by quarters * pi / 4."""
    steep = y > x * 2.0
    middle = (y > x * 0.5) & ~steep
    numerator = steep.where(-x, middle.where(y - x, y))
    denominator = steep.where(y, middle.where(x + y, x))
    quarters = steep.where(number(2.0, x.dtype), middle.where(number(1.0, x.dtype), 0.0))
    return numerator, denominator, quarters, middle


def angle_of_ratio(numerator: UOp, denominator: Pair, quarters: UOp) -> UOp:
    """quarters * pi / 4 + atan(numerator / denominator)."""
    reciprocal = 1.0 / denominator[0]
    t = numerator * reciprocal
    rest = (-t).fma(denominator[1], (-t).fma(denominator[0], numerator)) * reciprocal
    z = t * t
    high, low = ordered_sum(quarters * QUARTER_PI, t)
    rest = (t * z).fma(polynomial(z, ATAN), quarters.fma(QUARTER_PI_LOW, rest))
    return high + (low + rest)


def atan(x: UOp) -> UOp:
    """Inverse tangent of float64."""
    y = abs(x).alu(Ops.MINIMUM, 2.0**60)  # inf too; the angle is pi / 2 from far below
    numerator, denominator, quarters, middle = turned_ratio(y, number(1.0))
    # 1/2 < y <= 2 there, so that this is what 1 + y lost, with nothing lost on the way.
    denominator_rest = middle.where(y - (denominator - 1.0), 0.0)
    return copysign(angle_of_ratio(numerator, (denominator, denominator_rest), quarters), x)


def atan2(y: UOp, x: UOp) -> UOp:
    """Angle of the point (x, y), float64; the coordinates are scaled so that nothing under- or overflows
    but the result."""
    longer = abs(x).alu(Ops.MAXIMUM, abs(y))
    scale = (longer < 2.0**400).where(number(2.0**500), 2.0**-100)
    infinite = longer.eq(INFINITY)
    scale = infinite.where(number(0.0), scale)  # beside an infinite coordinate a finite one is nothing

    def scaled(coordinate: UOp) -> UOp:
        size = abs(coordinate)
        return size.eq(INFINITY).where(number(1.0), size * scale)

    across, up = scaled(x), scaled(y)
    numerator, denominator, quarters, middle = turned_ratio(up, across)
    first = across.alu(Ops.MAXIMUM, up)
    denominator_rest = middle.where((first - denominator) + across.alu(Ops.MINIMUM, up), 0.0)
    denominator = denominator.alu(Ops.MAXIMUM, 2.0**-600)  # the point (0, 0)
    left = bits(x) < 0
    numerator = left.where(-numerator, numerator)
    quarters = left.where(4.0 - quarters, quarters)
    return copysign(angle_of_ratio(numerator, (denominator, denominator_rest), quarters), y)


def ratio_angle_single(numerator: UOp, denominator: Pair) -> Pair:
    """atan(numerator / denominator) of float32 as a pair, for ratios within 1/2."""
    t = numerator / denominator[0]
    rest = (-t).fma(denominator[1], (-t).fma(denominator[0], numerator)) * about_reciprocal(denominator[0])
    z = t * t
    return t, (t * z).fma(polynomial(z, ATAN_SINGLE), rest)


def beyond_quarters_single(quarters: UOp, t: UOp, rest: UOp) -> UOp:
    """quarters * pi / 4 + t + rest of float32."""
    high, low = ordered_sum(quarters * QUARTER_PI_SINGLE, t)
    return high + (low + quarters.fma(QUARTER_PI_LOW_SINGLE, rest))


def atan_single(x: UOp) -> UOp:
    """Inverse tangent of float32, as `atan`."""
    y = abs(x)
    y = (y > 2.0**60).where(single(2.0**60), y)
    numerator, denominator, quarters, middle = turned_ratio(y, single(1.0))
    denominator_rest = middle.where(y - (denominator - 1.0), 0.0)
    t, rest = ratio_angle_single(numerator, (denominator, denominator_rest))
    return copysign(beyond_quarters_single(quarters, t, rest), x)


def atan2_single(y: UOp, x: UOp) -> UOp:
    """Angle of the point (x, y), float32: of its image below the diagonal of the first quadrant, turned by
    pi / 4 where it lies near that, and back."""
    across, up = abs(x), abs(y)
    steep = up > across
    longer, shorter = steep.where(up, across), steep.where(across, up)
    # So that neither the ratio's remainder nor the reciprocal under- or overflows.
    scale = (longer < 2.0**64).where(single(2.0**60), 2.0**-20)
    longer, shorter = longer * scale, shorter * scale
    difference, total = shorter - longer, shorter + longer
    middle = ~(difference <= longer * -0.5)  # two infinities too, whose difference is NaN
    numerator, denominator = middle.where(difference, shorter), middle.where(total, longer)
    denominator = (denominator < 2.0**-100).where(single(2.0**-100), denominator)  # the point (0, 0)
    denominator_rest = middle.where(shorter - (total - longer), 0.0)
    t, rest = ratio_angle_single(numerator, (denominator, denominator_rest))
    infinite = longer.eq(INFINITY) & shorter.eq(shorter)
    t, rest = infinite.where(single(0.0), t), infinite.where(single(0.0), rest)
    left = bits(x) < 0
    quarters = middle.where(single(1.0), 0.0)
    quarters = steep.where(2.0 - quarters, quarters)
    quarters = left.where(4.0 - quarters, quarters)
    back = (steep ^ left).where(UOp.const(SIGN_SINGLE, dtypes.int32), 0)
    t, rest = from_bits(bits(t) ^ back), from_bits(bits(rest) ^ back)
    return copysign(beyond_quarters_single(quarters, t, rest), y)
