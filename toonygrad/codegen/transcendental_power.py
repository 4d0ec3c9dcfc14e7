"""pow, hypot, logaddexp and nextafter in primitives: the functions of two operands but atan2.

codegen/transcendental.py lists them. pow is exp(y * log |x|) with the logarithm to eleven bits more than its
type has, because the product may multiply its relative error by 709. docs/minimax.py derives the
coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    FORMATS,
    INFINITY,
    NAN,
    ByType,
    Pair,
    clamp,
    copysign,
    exact_product,
    exact_sum,
    number,
    ordered_sum,
    root_and_rest,
)
from toonygrad.codegen.transcendental_exponential import (
    EXP_RANGE,
    exp,
    expm1_of_pair,
    exponential,
    exponential_of_negative,
    exponential_pair,
)
from toonygrad.codegen.transcendental_logarithm import log1p_of_pair, precise_log, precise_log1p, split
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops


def pow_of_magnitude(size: UOp, y: UOp) -> UOp:
    """size ** y, size >= 0."""
    k, f, _ = split(size)
    high, low = precise_log(k, f)
    high = (size < INFINITY).where(size.eq(0.0).where(number(-INFINITY, size), high), size)
    product = y * high
    rest = y.fma(low, y.fma(high, -product))
    limit = EXP_RANGE.of(size)
    inside = clamp(product, -limit, limit)
    return exponential(inside, inside.eq(product).where(rest, 0.0))


def cube(x: UOp) -> UOp:
    """x ** 3: the square's rounding error is known exactly, so that only the last step rounds."""
    square = x * x
    rest = x.fma(x, -square)
    return (square < INFINITY).where(square.fma(x, rest * x), square * x)


def pow(x: UOp, y: UOp) -> UOp:
    """x ** y."""
    if y.op is Ops.CONST and y.arg == 3:
        return cube(x)
    size = abs(x)
    exponent = size.eq(1.0).where(number(0.0, x), y)  # 1 to the power of infinity is 1 too
    magnitude = exponent.eq(0.0).where(number(1.0, x), pow_of_magnitude(size, exponent))
    half = y * 0.5
    fractional = y.alu(Ops.TRUNC).ne(y)
    odd = half.alu(Ops.TRUNC).ne(half) & ~fractional
    result = copysign(magnitude, odd.where(x, 1.0))
    return ((x < 0.0) & (size < INFINITY) & fractional).where(number(NAN, x), result)


# Above the first and below the second the coordinates are scaled by the third and fourth.
HYPOT_SCALES = ByType((2.0**500, 2.0**-450, 2.0**-600, 2.0**600), (2.0**60, 2.0**-40, 2.0**-70, 2.0**80))


def root_of_squares(longer: UOp, shorter: UOp) -> UOp:
    """sqrt(longer**2 + shorter**2) inside the scales: the sum as a pair, a step of Newton's method after the
    root."""
    square, square_rest = exact_product(longer, longer)
    other, other_rest = exact_product(shorter, shorter)
    high, low = ordered_sum(square, other)
    root, rest = root_and_rest(high, low + (square_rest + other_rest))
    return root + rest


def by_size(across: UOp, up: UOp) -> Pair:
    """The larger of two magnitudes, and the smaller."""
    steep = up > across
    return steep.where(up, across), steep.where(across, up)


def scaled_hypot(x: UOp, y: UOp) -> UOp:
    """sqrt(x * x + y * y) of any x and y."""
    across, up = abs(x), abs(y)
    longer, shorter = by_size(across, up)
    above, below, down, upwards = HYPOT_SCALES.of(x)
    large, small = longer > above, longer < below
    scale = large.where(number(down, x), small.where(number(upwards, x), 1.0))
    back = large.where(number(1.0 / down, x), small.where(number(1.0 / upwards, x), 1.0))
    # inf where either operand is infinite, even beside NaN.
    infinite = across.eq(INFINITY) | up.eq(INFINITY)
    return infinite.where(number(INFINITY, x), root_of_squares(longer * scale, shorter * scale) * back)


def hypot(x: UOp, y: UOp) -> UOp:
    """sqrt(x * x + y * y); the scaling, a third of the time, only where a block asks for it."""
    across, up = abs(x), abs(y)
    longer, shorter = by_size(across, up)
    above, below, _, _ = HYPOT_SCALES.of(x)
    # Zeros and NaN are ordinary.
    extreme = (across > above) | (up > above) | ((longer < below) & longer.ne(0.0))
    return root_of_squares(longer, shorter).alu(Ops.GUARDED, scaled_hypot(x, y), ~extreme)


# Beyond this difference the smaller operand adds nothing; below this power its logarithm has too few bits as
# that of a sum with 1.
LOGADDEXP_FAR, LOGADDEXP_SMALL = -750.0, 2.0**-32
# The fast logaddexp has an error of 2 ** -60, of float32 2 ** -50, relative to the larger operand; where the
# result is this much smaller than that, it is computed again.
CANCELLATION = ByType(0.25, 2.0**-20)


def logaddexp_fast(x: UOp, y: UOp) -> UOp:
    """log(exp(x) + exp(y)) of float64: the larger and log(1 + e ** -difference), as pairs."""
    below = x < y
    larger, smaller = below.where(y, x), below.where(x, y)
    difference, rest = exact_sum(smaller, -larger)
    far, zero = difference < LOGADDEXP_FAR, number(0.0, x)
    difference, rest = far.where(number(LOGADDEXP_FAR, x), difference), far.where(zero, rest)
    power, power_rest = exponential_pair(difference, rest)
    one, one_rest = ordered_sum(number(1.0, x), power)
    k, f, inverse = split(one, subnormal=False)
    high, low = precise_log(k, *ordered_sum(f, (one_rest + power_rest) * inverse))
    small = power < LOGADDEXP_SMALL
    high, low = small.where(power, high), small.where((power * -0.5).fma(power, power_rest), low)
    high, carried = exact_sum(larger, high)
    infinite = abs(larger).eq(INFINITY) & smaller.eq(smaller)
    return infinite.where(larger, high + (carried + low))


def logaddexp_slow(x: UOp, y: UOp) -> UOp:
    """log(exp(x) + exp(y)) of float64 as log1p(expm1(larger) + exp(smaller)) with 100 bits, where the sum is
    nearly 1."""
    below = x < y
    larger, smaller = below.where(y, x), below.where(x, y)
    less_one, less_one_rest = expm1_of_pair((larger, number(0.0, x)))
    # The products in there lose bits of the tiniest operands, whose expm1 they are themselves.
    tiny = abs(larger) < 2.0**-900
    less_one = tiny.where(larger, less_one)
    less_one_rest = tiny.where(number(0.0, x), less_one_rest)
    other, other_rest = exponential_of_negative(smaller)
    high, low = exact_sum(less_one, other)
    high, low = exact_sum(high, low + (less_one_rest + other_rest))
    tiny, near = abs(high) < 2.0**-900, high + low
    high, low = precise_log1p(high, low)
    return tiny.where(near, high + low)


def logaddexp_short(x: UOp, y: UOp) -> UOp:
    """log(exp(x) + exp(y)) of float64, to 50 bits relative to the larger operand."""
    below = x < y
    larger, smaller = below.where(y, x), below.where(x, y)
    infinite = abs(larger).eq(INFINITY) & smaller.eq(smaller)
    return infinite.where(larger, larger + log1p_of_pair(exp(smaller - larger)))


def logaddexp(x: UOp, y: UOp) -> UOp:
    """log(exp(x) + exp(y)); where it cancels, slowly with 100 bits. float32 is evaluated in float64: pairs of
    its own would take as long."""
    a, b = x.cast(dtypes.float64), y.cast(dtypes.float64)
    fast = ByType(logaddexp_fast, logaddexp_short).of(x)(a, b).cast(x.dtype)
    slow = logaddexp_slow(a, b).cast(x.dtype)
    ordinary = ~(abs(fast) < abs((x < y).where(y, x)) * CANCELLATION.of(x))  # NaN is
    # Only there is the slow way right: elsewhere its operands may be anything.
    return UOp.new(Ops.GUARDED, (fast, ordinary.where(fast, slow), ordinary))


def nextafter(x: UOp, y: UOp) -> UOp:
    """The next float from x towards y: one more or one less in the bit pattern of the magnitude."""
    integer = FORMATS.of(x).integer
    least = UOp.const(1, integer).bitcast(x.dtype)
    pattern = x.bitcast(integer)
    away = (x < y) ^ (pattern < 0)
    step = away.where(UOp.const(1, integer), -1)
    result = x.eq(0.0).where(copysign(least, y), (pattern + step).bitcast(x.dtype))
    result = x.eq(y).where(y, result)
    return (x.ne(x) | y.ne(y)).where(x + y, result)
