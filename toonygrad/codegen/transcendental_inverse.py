"""asin, acos, atan and atan2 in primitives.

codegen/transcendental.py lists them. asin and acos beyond 1/2 go through sqrt((1 - |x|) / 2); the arc
tangent of a ratio turns the point by 0, pi / 4 or pi / 2 so that a ratio within 1/2 is left, and its
quotient is a pair. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad.codegen.transcendental_arithmetic import (
    INFINITY,
    Pair,
    bits,
    copysign,
    number,
    ordered_sum,
    polynomial,
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

ASIN = (
    0.1666666666666676,
    0.07499999999970863,
    0.044642857174582745,
    0.030381942707889464,
    0.022372215015074217,
    0.01735161105691666,
    0.013980836852754707,
    0.011398743626283287,
    0.010781376712673858,
    0.0037015397015994892,
    0.021720714494219473,
    -0.021019743373439283,
    0.03264269847510353,
)
ASIN_SHORT = (
    0.16666659989058646,
    0.07500504197536041,
    0.04451695349392887,
    0.03180785379437762,
    0.014437214455275004,
    0.03752020003353145,
)
ATAN = (
    -0.33333333333333315,
    0.19999999999993764,
    -0.14285714284981318,
    0.11111111068366687,
    -0.09090907635836908,
    0.07692276035512648,
    -0.06666201985977013,
    0.058776000451871736,
    -0.05228701047486356,
    0.04583988314510827,
    -0.036974908206128504,
    0.023437425480198386,
    -0.008221598345646475,
)
ATAN_SHORT = (
    -0.33333326913434447,
    0.19999488924440684,
    -0.14272054000352025,
    0.10940692943360525,
    -0.07982560951480519,
    0.03869523221858674,
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


def asin_short(x: UOp) -> UOp:
    """Inverse sine of a float32 in float64."""
    y = abs(x)
    large = y > 0.5
    z = large.where(y.fma(-0.5, 0.5), y * y)
    s = large.where(sqrt(z), y)
    angle = (s * z).fma(polynomial(z, ASIN_SHORT), s)
    return copysign(large.where(angle.fma(-2.0, PI / 2), angle), x)


def acos_short(x: UOp) -> UOp:
    """Inverse cosine of a float32 in float64."""
    y = abs(x)
    large = y > 0.5
    z = large.where(y.fma(-0.5, 0.5), y * y)
    s = large.where(sqrt(z), x)
    angle = (s * z).fma(polynomial(z, ASIN_SHORT), s)
    beyond = (x < 0.0).where(angle.fma(-2.0, PI), angle + angle)
    return large.where(beyond, PI / 2 - angle)


def turned_ratio(y: UOp, x: UOp) -> tuple[UOp, UOp, UOp, UOp]:
    """(numerator, denominator, quarters, where the denominator is a sum): the point (x, y), both >= 0,
    turned back by quarters * pi / 4."""
    steep = y > x * 2.0
    middle = (y > x * 0.5) & ~steep
    numerator = steep.where(-x, middle.where(y - x, y))
    denominator = steep.where(y, middle.where(x + y, x))
    quarters = steep.where(number(2.0), middle.where(number(1.0), 0.0))
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


def short_angle(numerator: UOp, denominator: UOp, quarters: UOp) -> UOp:
    """quarters * pi / 4 + atan(numerator / denominator), good to 30 bits."""
    t = numerator / denominator
    z = t * t
    return quarters.fma(QUARTER_PI, (t * z).fma(polynomial(z, ATAN_SHORT), t))


def atan_short(x: UOp) -> UOp:
    """Inverse tangent of a float32 in float64."""
    numerator, denominator, quarters, _ = turned_ratio(abs(x).alu(Ops.MINIMUM, 2.0**200), number(1.0))
    return copysign(short_angle(numerator, denominator, quarters), x)


def atan2_short(y: UOp, x: UOp) -> UOp:
    """Angle of the point (x, y), float32 in float64, where every quotient of theirs is normal; infinity
    becomes larger than they are."""
    across, up = abs(x).alu(Ops.MINIMUM, 2.0**300), abs(y).alu(Ops.MINIMUM, 2.0**300)
    numerator, denominator, quarters, _ = turned_ratio(up, across)
    denominator = denominator.alu(Ops.MAXIMUM, 2.0**-300)  # the point (0, 0)
    left = bits(x) < 0
    numerator = left.where(-numerator, numerator)
    return copysign(short_angle(numerator, denominator, left.where(4.0 - quarters, quarters)), y)
