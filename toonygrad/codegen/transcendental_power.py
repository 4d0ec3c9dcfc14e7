"""pow, hypot, logaddexp and nextafter in primitives: the functions of two operands but atan2.

codegen/transcendental.py lists them. pow is exp(y * log |x|) with the logarithm to 65 bits, because the
product may multiply its relative error by 709. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from collections.abc import Callable

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    INFINITY,
    NAN,
    Pair,
    copysign,
    exact_product,
    exact_sum,
    number,
    ordered_sum,
    polynomial,
    sqrt,
)
from toonygrad.codegen.transcendental_exponential import (
    LN2,
    LN2_HIGH,
    LN2_LOW,
    clamp,
    exp_short,
    expm1_of_pair,
    exponential,
    exponential_of_negative,
    exponential_pair,
)
from toonygrad.codegen.transcendental_logarithm import log_of_pair_in_parts, near_one, split
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

POW_LOG = (
    0.002232142857142853,
    0.00043402777777837656,
    8.877840905493043e-05,
    1.878004923489574e-05,
    4.068988353987042e-06,
    8.978324666343208e-07,
    1.9898693901346057e-07,
    5.2198455427811227e-08,
)
POW_LOG_SHORT = (
    0.0022321561000197905,
    0.0004335578437420352,
    9.407866267223196e-05,
)
# log m = s + s ** 3 / 12 + s ** 5 / 80 + ...: the first of these in two parts.
TWELFTH = 1.0 / 12.0
TWELFTH_LOW = 4.625929269271485e-18
EIGHTIETH = 1.0 / 80.0


def precise_log(x: UOp) -> Pair:
    """log x to about 65 bits, x > 0 and finite."""
    k, m, _ = split(x)
    f = m - 1.0
    half = f.fma(0.5, 1.0)
    reciprocal = 1.0 / half
    s = f * reciprocal
    s_rest = (-s).fma(f.fma(0.5, 1.0 - half), (-s).fma(half, f)) * reciprocal
    z, z_rest = exact_product(s, s)
    z_rest = (s + s).fma(s_rest, z_rest)
    inner = z.fma(polynomial(z, POW_LOG), EIGHTIETH)
    tail, tail_rest = exact_product(z, inner)
    tail_rest = z_rest.fma(inner, tail_rest)
    high, low = ordered_sum(number(TWELFTH), tail)
    low = low + (tail_rest + TWELFTH_LOW)
    cube, cube_rest = exact_product(s, z)
    cube_rest = s.fma(z_rest, s_rest.fma(z, cube_rest))
    product, product_rest = exact_product(cube, high)
    product_rest = cube.fma(low, cube_rest.fma(high, product_rest))
    high, low = ordered_sum(s, product)
    low = low + (s_rest + product_rest)
    high, carried = ordered_sum(k * LN2_HIGH, high)
    return high, carried + k.fma(LN2_LOW, low)


def power(x: UOp, y: UOp, of_magnitude: Callable[[UOp, UOp], UOp]) -> UOp:
    """x ** y with the special cases, given exp(y * log |x|); where |x| is 1, y may be taken for 0."""
    size = abs(x)
    exponent = size.eq(1.0).where(number(0.0), y)
    magnitude = exponent.eq(0.0).where(number(1.0), of_magnitude(size, exponent))
    half = y * 0.5
    fractional = y.alu(Ops.TRUNC).ne(y)
    odd = half.alu(Ops.TRUNC).ne(half) & ~fractional
    result = copysign(magnitude, odd.where(x, 1.0))
    return ((x < 0.0) & (size < INFINITY) & fractional).where(number(NAN), result)


def logarithm_or_limit(size: UOp, logarithm: UOp) -> UOp:
    """log of 0, inf and NaN, which the logarithms here don't know."""
    return (size < INFINITY).where(size.eq(0.0).where(number(-INFINITY), logarithm), size)


def pow_of_magnitude(size: UOp, y: UOp) -> UOp:
    """size ** y of float64, size >= 0."""
    high, low = precise_log(size)
    high = logarithm_or_limit(size, high)
    product = y * high
    rest = y.fma(low, y.fma(high, -product))
    inside = clamp(product, -800.0, 800.0)
    return exponential(inside, inside.eq(product).where(rest, 0.0))


def pow(x: UOp, y: UOp) -> UOp:
    """x ** y of float64."""
    return power(x, y, pow_of_magnitude)


def pow_of_magnitude_short(size: UOp, y: UOp) -> UOp:
    """size ** y of float32 in float64, size >= 0."""
    k, m, _ = split(size, subnormal=False)
    f = m - 1.0
    s = f / f.fma(0.5, 1.0)
    z = s * s
    logarithm = (s * z).fma(polynomial(z, (TWELFTH, EIGHTIETH, *POW_LOG_SHORT)), s)
    return exp_short(y * logarithm_or_limit(size, k.fma(LN2, logarithm)))


def pow_short(x: UOp, y: UOp) -> UOp:
    """x ** y of float32 in float64."""
    return power(x, y, pow_of_magnitude_short)


def or_infinite(x: UOp, y: UOp, result: UOp) -> UOp:
    """inf where either operand is infinite, even beside NaN; else `result`."""
    return (abs(x).eq(INFINITY) | abs(y).eq(INFINITY)).where(number(INFINITY), result)


def hypot(x: UOp, y: UOp) -> UOp:
    """sqrt(x * x + y * y) of float64: the sum as a pair, one step of Newton's method after the root."""
    longer, shorter = abs(x).alu(Ops.MAXIMUM, abs(y)), abs(x).alu(Ops.MINIMUM, abs(y))
    large, small = longer > 2.0**500, longer < 2.0**-450
    scale = large.where(number(2.0**-600), small.where(number(2.0**600), 1.0))
    back = large.where(number(2.0**600), small.where(number(2.0**-600), 1.0))
    square, square_rest = exact_product(longer * scale, longer * scale)
    other, other_rest = exact_product(shorter * scale, shorter * scale)
    high, low = ordered_sum(square, other)
    root = sqrt(high)
    # The addend keeps 0 / 0 away; the least scaled root but 0 is 2 ** -474.
    rest = ((-root).fma(root, high) + (low + (square_rest + other_rest))) / root.fma(2.0, 1e-300)
    return or_infinite(x, y, (root + rest) * back)


def hypot_short(x: UOp, y: UOp) -> UOp:
    """sqrt(x * x + y * y) of float32 in float64, where the squares are exact."""
    return or_infinite(x, y, sqrt(x * x + y * y))


# The fast logaddexp has an error of 2 ** -60 relative to the larger operand; where the result is this much
# smaller than that, it is computed again (1.8 ULP were seen at 2 ** -5).
CANCELLATION = 0.25


def logaddexp_short(x: UOp, y: UOp) -> UOp:
    """log(exp(x) + exp(y)): the larger and log(1 + exp(-difference)), pairs until they are added.

    The sum cancels where e ** x + e ** y is nearly 1; the 2 ** -60 that are left are plenty for float32.
    """
    larger, smaller = x.alu(Ops.MAXIMUM, y), x.alu(Ops.MINIMUM, y)
    difference, rest = exact_sum(smaller, -larger)
    far = difference < -750.0
    difference, rest = far.where(number(-750.0), difference), far.where(number(0.0), rest)
    power, power_rest = exponential_pair(difference, rest)
    one, one_rest = ordered_sum(number(1.0), power)
    high, low = log_of_pair_in_parts(one, one_rest + power_rest)
    # The sum with 1 keeps 106 bits, too few of a small power.
    small = power < 2.0**-32
    high, low = small.where(power, high), small.where((power * -0.5).fma(power, power_rest), low)
    high, carried = exact_sum(larger, high)
    return (abs(larger) < INFINITY).where(high + (carried + low), larger)


def logaddexp(x: UOp, y: UOp) -> UOp:
    """log(exp(x) + exp(y)) of float64; where the sum is nearly 1, as log1p(expm1(larger) + exp(smaller))
    with 100 bits."""
    fast = logaddexp_short(x, y)
    larger, smaller = x.alu(Ops.MAXIMUM, y), x.alu(Ops.MINIMUM, y)
    ordinary = abs(fast) >= abs(larger) * CANCELLATION
    # Only there is the slow way right: elsewhere its operands may be anything.
    less_one, less_one_rest = expm1_of_pair((larger, number(0.0)))
    # The products in there lose bits of the tiniest operands, whose expm1 they are themselves.
    tiny = abs(larger) < 2.0**-900
    less_one, less_one_rest = tiny.where(larger, less_one), tiny.where(number(0.0), less_one_rest)
    other, other_rest = exponential_of_negative(smaller)
    high, low = exact_sum(less_one, other)
    high, low = exact_sum(high, low + (less_one_rest + other_rest))
    s, rest = near_one(high, low)
    return UOp.new(Ops.GUARDED, (fast, ordinary.where(fast, s + rest), ordinary))


def nextafter(x: UOp, y: UOp) -> UOp:
    """The next float64 or float32 from x towards y: one more or one less in the bit pattern of the
    magnitude."""
    integer = dtypes.int64 if x.dtype == dtypes.float64 else dtypes.int32
    least = UOp.const(1, integer).bitcast(x.dtype)
    pattern = x.bitcast(integer)
    away = (x < y) ^ (pattern < 0)
    step = away.where(UOp.const(1, integer), -1)
    result = x.eq(0.0).where(copysign(least, y), (pattern + step).bitcast(x.dtype))
    result = x.eq(y).where(y, result)
    return (x.ne(x) | y.ne(y)).where(x + y, result)
