"""asin, acos, atan and atan2 in primitives.

codegen/transcendental.py lists them. asin and acos beyond 1/2 go through sqrt((1 - |x|) / 2); the arc
tangent of a ratio turns the point by 0, pi / 4 or pi / 2 so that a ratio within 1/2 is left, and its
quotient is a pair. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad.codegen.transcendental_arithmetic import (
    INFINITY,
    ByType,
    Pair,
    about_reciprocal,
    bits,
    copysign,
    number,
    ordered_sum,
    polynomial,
    root_and_rest,
)
from toonygrad.uop.node import UOp

# pi / 4 in two parts; three times the first is exact too.
QUARTER_PI = ByType(0.7853981633974483, 0.7853981852531433)
QUARTER_PI_LOW = ByType(3.061616997868383e-17, -2.1855694143368964e-08)

# Beyond this the arc tangent is pi / 2.
ATAN_HIGH = 2.0**60
# Coordinates below the first are multiplied by the second, others by the third, so that neither the ratio's
# remainder nor the reciprocal under- or overflows; the fourth is less than all of them but 0.
ATAN2_SCALES = ByType((2.0**500, 2.0**500, 2.0**-200, 2.0**-700), (2.0**64, 2.0**60, 2.0**-20, 2.0**-100))

ASIN = ByType(
    (
        0.1666666666666676,
        0.07499999999970863,
        0.04464285717456488,
        0.03038194270970094,
        0.02237221493829856,
        0.01735161286653801,
        0.0139808103698435,
        0.011398996773353407,
        0.010779766782339236,
        0.0037082992293110567,
        0.02170270667132533,
        -0.02099215671297367,
        0.032624187368120734,
    ),
    (
        0.16666752099990845,
        0.074953094124794,
        0.045469459146261215,
        0.024181358516216278,
        0.042167533189058304,
    ),
)
ATAN = ByType(
    (
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
    ),
    (
        -0.3333323299884796,
        0.19994166493415833,
        -0.14174169301986694,
        0.10155453532934189,
        -0.05123960226774216,
    ),
)


def arc_sine(x: UOp) -> tuple[UOp, UOp, UOp]:
    """(|x| > 1/2, s, asin(s) - s): s = sqrt((1 - |x|) / 2) where |x| > 1/2, else s = |x|."""
    y = abs(x)
    large = y > 0.5
    z = large.where(y.fma(-0.5, 0.5), y * y)
    root, root_rest = root_and_rest(z)
    s = large.where(root, y)
    return large, s, (s * z).fma(polynomial(z, ASIN.of(x)), large.where(root_rest, 0.0))


def turned_angle(quarters: UOp, factor: UOp, s: UOp, rest: UOp) -> UOp:
    """quarters * pi / 4 + factor * (s + rest); the first is 0 or larger."""
    base = quarters * QUARTER_PI.of(s)
    high = factor.fma(s, base)
    return high + factor.fma(rest, quarters.fma(QUARTER_PI_LOW.of(s), factor.fma(s, base - high)))


def asin(x: UOp) -> UOp:
    """Inverse sine: x + ..., beyond 1/2 as pi / 2 - 2 asin(s)."""
    large, s, rest = arc_sine(x)
    quarters, factor = large.where(number(2.0, x), 0.0), large.where(number(-2.0, x), 1.0)
    return copysign(turned_angle(quarters, factor, s, rest), x)


def acos(x: UOp) -> UOp:
    """Inverse cosine: pi / 2 - asin(x), beyond 1/2 as 2 asin(s), and pi less that for negative x."""
    large, s, rest = arc_sine(x)
    negative = x < 0.0
    quarters = large.where(negative.where(number(4.0, x), 0.0), 2.0)
    factor = negative.where(large.where(number(-2.0, x), 1.0), large.where(number(2.0, x), -1.0))
    return turned_angle(quarters, factor, s, rest)


def ratio_angle(numerator: UOp, denominator: Pair) -> Pair:
    """atan(numerator / denominator) as a pair, for ratios within 1/2."""
    t = numerator / denominator[0]
    rest = (-t).fma(denominator[1], (-t).fma(denominator[0], numerator)) * about_reciprocal(denominator[0])
    z = t * t
    return t, (t * z).fma(polynomial(z, ATAN.of(t)), rest)


def beyond_quarters(quarters: UOp, t: UOp, rest: UOp) -> UOp:
    """quarters * pi / 4 + t + rest."""
    high, low = ordered_sum(quarters * QUARTER_PI.of(t), t)
    return high + (low + quarters.fma(QUARTER_PI_LOW.of(t), rest))


def atan(x: UOp) -> UOp:
    """Inverse tangent."""
    y = abs(x)
    y = (y > ATAN_HIGH).where(number(ATAN_HIGH, x), y)
    steep, middle = y > 2.0, y > 0.5
    sum_rest = y - ((y + 1.0) - 1.0)  # what y + 1 lost, with nothing lost on the way
    numerator = steep.where(number(-1.0, x), middle.where(y - 1.0, y))
    denominator = steep.where(y, middle.where(y + 1.0, 1.0))
    denominator_rest = (middle & ~steep).where(sum_rest, 0.0)
    quarters = steep.where(number(2.0, x), middle.where(number(1.0, x), 0.0))
    t, rest = ratio_angle(numerator, (denominator, denominator_rest))
    return copysign(beyond_quarters(quarters, t, rest), x)


def atan2(y: UOp, x: UOp) -> UOp:
    """Angle of the point (x, y): of its image below the diagonal of the first quadrant, turned by pi / 4
    where it lies near that, and back."""
    across, up = abs(x), abs(y)
    steep = up > across
    longer, shorter = steep.where(up, across), steep.where(across, up)
    middling, larger, smaller, least = ATAN2_SCALES.of(x)
    scale = (longer < middling).where(number(larger, x), smaller)
    longer, shorter = longer * scale, shorter * scale
    difference, total = shorter - longer, shorter + longer
    middle = ~(difference <= longer * -0.5)  # two infinities too, whose difference is NaN
    numerator, denominator = middle.where(difference, shorter), middle.where(total, longer)
    denominator = (denominator < least).where(number(least, x), denominator)  # the point (0, 0)
    denominator_rest = middle.where(shorter - (total - longer), 0.0)
    t, rest = ratio_angle(numerator, (denominator, denominator_rest))
    infinite = longer.eq(INFINITY) & shorter.eq(shorter)
    t, rest = infinite.where(number(0.0, x), t), infinite.where(number(0.0, x), rest)
    left = bits(x) < 0
    quarters = middle.where(number(1.0, x), 0.0)
    quarters = steep.where(2.0 - quarters, quarters)
    quarters = left.where(4.0 - quarters, quarters)
    back = steep ^ left
    t, rest = back.where(-t, t), back.where(-rest, rest)
    return copysign(beyond_quarters(quarters, t, rest), y)
