"""exp, expm1, sinh, cosh and tanh in primitives.

codegen/transcendental.py lists them; the other transcendental rooms use `exponential` of a pair. The
argument is k * ln 2 + r with |r| <= ln(2) / 2; r and its rounding error are kept as a pair, so that little
more than the last addition rounds. The float32 forms run in float64 with shorter polynomials and round
once; exp alone stays in float32. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

import math
from fractions import Fraction

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    ONE_BITS,
    ROUNDER,
    ROUNDER_BITS,
    ROUNDER_SINGLE,
    SIGNIFICAND_BITS,
    SIGNIFICAND_BITS_SINGLE,
    Pair,
    bits,
    copysign,
    exact_product,
    exact_sum,
    from_bits,
    number,
    ordered_sum,
    pair_product,
    pair_sum,
    polynomial,
    power_of_two,
    quotient,
)
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
# ln 2 in two parts, the first of 41 bits: its product with any k is exact.
LN2_HIGH = 0.693147180559663
LN2_LOW = 2.8235290563031577e-13
LN2_LOWEST = 1.94704509238075e-31
# And for float32, the first of 15 bits.
LN2_HIGH_SINGLE = 0.693145751953125
LN2_LOW_SINGLE = 1.4286068203094172e-06

EXP = (
    0.5000000000000011,
    0.16666666666666438,
    0.04166666666652578,
    0.008333333333473632,
    0.0013888888944887556,
    0.00019841269562402482,
    2.4801491692059205e-05,
    2.7557526027295704e-06,
    2.763077523348567e-07,
    2.502247152636644e-08,
)
EXP_SHORT = (
    0.4999999345162451,
    0.16666520459471987,
    0.041668377807988204,
    0.008368763431221286,
    0.0013816565402807216,
)
EXPM1 = (
    0.16666666666666677,
    0.041666666666666644,
    0.008333333333321263,
    0.0013888888888894792,
    0.00019841269887327338,
    2.480158731152044e-05,
    2.7557242828285227e-06,
    2.7557279560970644e-07,
    2.510954668081655e-08,
    2.0914160360496906e-09,
)
EXPM1_SHORT = (
    0.1666666630043646,
    0.04166648258318033,
    0.008333419847756788,
    0.0013933278936703953,
    0.00019821189762859255,
)
SINH = (
    0.16666666666666677,
    0.008333333333321378,
    0.0001984126988685407,
    2.7557243408101217e-06,
    2.5109331692369916e-08,
)
SINH_SHORT = (
    0.16666666754072287,
    0.008333289080699016,
    0.00019904900678855284,
)
COSH_SHORT = (
    0.04166646087242708,
    0.0013935283998268218,
)
COSH = (
    0.041666666666603645,
    0.0013888888926930948,
    2.4801508508961503e-05,
    2.7625279725342907e-07,
)


def clamp(x: UOp, low: float, high: float) -> UOp:
    """`x` inside [low, high]; NaN stays."""
    x = (x > high).where(number(high, x.dtype), x)
    return (x < low).where(number(low, x.dtype), x)


def reduced(x: UOp, rounder: float, low: UOp | None = None) -> tuple[UOp, UOp, UOp]:
    """(k + rounder, r, error of r) where x + low = k * ln 2 + r + error."""
    shifted = x.fma(LOG2_E, rounder)
    k = shifted - rounder
    first = k.fma(-LN2_HIGH, x)
    if low is None:
        r = k.fma(-LN2_LOW, first)
        return shifted, r, k.fma(-LN2_LOW, first - r)
    correction = k.fma(-LN2_LOW, low)
    r = first + correction
    return shifted, r, correction - (r - first)


def scale(value: UOp, shifted: UOp) -> UOp:
    """value * 2 ** k for |k| <= 1100, in two steps of which only the last rounds; `shifted` is
    k + ROUNDER + 2046."""
    pattern = bits(shifted)
    half = pattern >> 1
    return value * from_bits(half << SIGNIFICAND_BITS) * from_bits((pattern - half) << SIGNIFICAND_BITS)


def exponential(x: UOp, low: UOp | None = None) -> UOp:
    """e ** (x + low) for float64; x within +-800 where `low` is given."""
    if low is None:
        x = clamp(x, -750.0, 750.0)
    shifted, r, error = reduced(x, ROUNDER + 2046, low)
    one, rest = ordered_sum(number(1.0), r)
    result = one + (r * r).fma(polynomial(r, EXP), rest + error)
    return scale(result, shifted)


def exponential_pair(x: UOp, low: UOp) -> Pair:
    """e ** (x + low) as a pair for -800 < x <= 0."""
    shifted, r, error = reduced(x, ROUNDER + 2046, low)
    high, rest = ordered_sum(*near_one(r, error))
    return scale(high, shifted), scale(rest, shifted)


def exp(x: UOp) -> UOp:
    """e ** x of float64."""
    return exponential(x)


def reduced_short(x: UOp) -> tuple[UOp, UOp]:
    """(k + ROUNDER + 1023, r), for results that are rounded to float32."""
    shifted = x.fma(LOG2_E, ROUNDER + 1023)
    return shifted, (shifted - (ROUNDER + 1023)).fma(-LN2, x)


def exp_single(x: UOp) -> UOp:
    """e ** x of float32, as `exponential` in float32 throughout: twice the elements in a vector."""
    rounder = ROUNDER_SINGLE + 254
    x = clamp(x, -110.0, 110.0)
    shifted = x.fma(LOG2_E, rounder)
    k = shifted - rounder
    first = k.fma(-LN2_HIGH_SINGLE, x)
    r = k.fma(-LN2_LOW_SINGLE, first)
    one, rest = ordered_sum(number(1.0, dtypes.float32), r)
    rest = rest + k.fma(-LN2_LOW_SINGLE, first - r)
    result = one + (r * r).fma(polynomial(r, EXP_SHORT), rest)
    pattern = shifted.bitcast(dtypes.int32)
    half = pattern >> 1
    for part in (half, pattern - half):
        result = result * (part << SIGNIFICAND_BITS_SINGLE).bitcast(dtypes.float32)
    return result


def exp_short(x: UOp) -> UOp:
    """e ** x good to 28 bits."""
    shifted, r = reduced_short(clamp(x, -150.0, 150.0))
    return polynomial(r, (1.0, 1.0, *EXP_SHORT)) * power_of_two(shifted)


def near_one(r: UOp, error: UOp) -> Pair:
    """e ** (r + error) in two parts: 1 + r + r * r / 2 without an error, because expm1 takes most of the
    first part away again."""
    one, rest = ordered_sum(number(1.0), r)
    square, square_rest = exact_product(r, r)
    one, half_rest = ordered_sum(one, square * 0.5)
    rest = square_rest.fma(0.5, rest + error) + half_rest
    return one, (r * square).fma(polynomial(r, EXPM1), rest)


def expm1(x: UOp) -> UOp:
    """e ** x - 1 of float64: 2 ** a * (1 + r + ...) - 2 ** -b, times 2 ** b, where a + b is k."""
    shifted, r, error = reduced(clamp(x, -750.0, 750.0), ROUNDER + 2046)
    one, rest = near_one(r, error)
    pattern = bits(shifted)
    half = pattern >> 1
    first = from_bits(half << SIGNIFICAND_BITS)
    second = (pattern - half) << SIGNIFICAND_BITS
    high, low = exact_sum(one * first, -from_bits(2 * ONE_BITS - second))
    return copysign((high + rest.fma(first, low)) * from_bits(second), x)


def reciprocal_factorial(n: int) -> tuple[float, float]:
    """1 / n! in two parts."""
    exact = Fraction(1, math.factorial(n))
    return float(exact), float(exact - Fraction(float(exact)))


def expm1_of_pair(x: Pair) -> Pair:
    """e ** x - 1 to about 100 bits of itself for |x| < 0.7.

    Taylor's series of x / 32, and then five times (1 + p) ** 2 - 1 = p * (2 + p).
    """
    r = (x[0] * 2.0**-5, x[1] * 2.0**-5)
    tail = polynomial(r[0], [reciprocal_factorial(n)[0] for n in range(8, 15)])
    series = (tail, number(0.0))
    for n in range(7, 1, -1):
        high, low = reciprocal_factorial(n)
        series = pair_sum((number(high), number(low)), pair_product(r, series))
    p = pair_sum(r, pair_product(r, pair_product(r, series)))
    for _ in range(5):
        p = pair_product(p, pair_sum((number(2.0), number(0.0)), p))
    return p


def exponential_of_negative(x: UOp) -> Pair:
    """e ** x to about 100 bits for -800 < x < 0."""
    shifted = x.fma(LOG2_E, ROUNDER + 2046)
    k = shifted - (ROUNDER + 2046)
    product, product_rest = exact_product(k, number(-LN2_LOW))
    high, low = exact_sum(k.fma(-LN2_HIGH, x), product)
    p = expm1_of_pair((high, low + k.fma(-LN2_LOWEST, product_rest)))
    one, rest = ordered_sum(number(1.0), p[0])
    return scale(one, shifted), scale(rest + p[1], shifted)


def expm1_short(x: UOp) -> UOp:
    """e ** x - 1 good to 30 bits."""
    shifted, r = reduced_short(clamp(x, -150.0, 150.0))
    power = power_of_two(shifted)
    return copysign(power.fma((r * r).fma(polynomial(r, (0.5, *EXPM1_SHORT)), r), power - 1.0), x)


def hyperbolic(x: UOp, sine: bool) -> UOp:
    """sinh(x) or cosh(x) of x >= 0 by the addition theorem for k * ln 2 + r: no division, and sinh is good
    relative to itself."""
    x = (x > 711.0).where(number(711.0), x)  # both are infinite from there on
    shifted, r, error = reduced(x, ROUNDER + 1020)
    # 2 ** (k - 3) and 2 ** (-k - 3), for a quarter of the result, whose parts can still be represented.
    growing = power_of_two(shifted)
    falling = from_bits((2040 + ROUNDER_BITS - bits(shifted)).alu(Ops.MAXIMUM, 0) << SIGNIFICAND_BITS)
    sinh_k, cosh_k = growing - falling, growing + falling
    z = r * r
    sinh_rest = (r * z).fma(polynomial(z, SINH), error)
    cosh_rest = z * polynomial(z, (0.5, *COSH))
    if sine:
        a, a_rest, b = sinh_k, (growing - sinh_k) - falling, cosh_k
    else:
        a, a_rest, b = cosh_k, (growing - cosh_k) + falling, sinh_k
    product, product_rest = exact_product(b, r)
    high, low = ordered_sum(a, product)
    rest = b.fma(sinh_rest, a.fma(cosh_rest, a_rest))
    return (high + (low + (product_rest + rest))) * 4.0


def sinh(x: UOp) -> UOp:
    """Hyperbolic sine of float64."""
    y = abs(x)
    return copysign((y < 2.0**-28).where(y, hyperbolic(y, sine=True)), x)


def cosh(x: UOp) -> UOp:
    """Hyperbolic cosine of float64."""
    return hyperbolic(abs(x), sine=False)


def hyperbolic_short(x: UOp) -> tuple[UOp, UOp, UOp, UOp]:
    """(sinh k ln 2, cosh k ln 2, sinh r, cosh r) for |x| < 100."""
    shifted, r = reduced_short(x)
    growing = from_bits((bits(shifted) - 1) << SIGNIFICAND_BITS)
    falling = from_bits((2045 - bits(shifted)) << SIGNIFICAND_BITS)
    z = r * r
    return (
        growing - falling,
        growing + falling,
        (r * z).fma(polynomial(z, SINH_SHORT), r),
        polynomial(z, (1.0, 0.5, *COSH_SHORT)),
    )


def sinh_short(x: UOp) -> UOp:
    """Hyperbolic sine good to 30 bits."""
    sinh_k, cosh_k, sinh_r, cosh_r = hyperbolic_short(clamp(x, -100.0, 100.0))
    return copysign(cosh_k.fma(sinh_r, sinh_k * cosh_r), x)


def cosh_short(x: UOp) -> UOp:
    """Hyperbolic cosine good to 30 bits."""
    sinh_k, cosh_k, sinh_r, cosh_r = hyperbolic_short(clamp(x, -100.0, 100.0))
    return cosh_k.fma(cosh_r, sinh_k * sinh_r)


def tanh(x: UOp) -> UOp:
    """Hyperbolic tangent of float64: u / (u + 2) with u = expm1(2 |x|) a pair."""
    y = abs(x)
    y = (y > 22.0).where(number(22.0), y)
    shifted, r, error = reduced(y + y, ROUNDER + 1023)
    one, rest = near_one(r, error)
    power = power_of_two(shifted)
    high, low = ordered_sum(one * power, number(-1.0))
    numerator = ordered_sum(high, rest.fma(power, low))
    high, low = exact_sum(numerator[0], number(2.0))
    high, low = quotient(numerator, (high, low + numerator[1]))
    return copysign(high + low, x)


def tanh_short(x: UOp) -> UOp:
    """Hyperbolic tangent good to 29 bits."""
    y = abs(x)
    y = (y > 20.0).where(number(20.0), y)
    shifted, r = reduced_short(y + y)
    power = power_of_two(shifted)
    u = power.fma((r * r).fma(polynomial(r, (0.5, *EXPM1_SHORT)), r), power - 1.0)
    return copysign(u / (u + 2.0), x)
