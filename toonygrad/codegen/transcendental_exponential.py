"""exp, expm1, sinh, cosh and tanh in primitives.

codegen/transcendental.py lists them; the other transcendental rooms use `exponential` of a pair. The
argument is k * ln 2 + r with |r| <= ln(2) / 2; r and its rounding error are kept as a pair, so that little
more than the last addition rounds. float32 takes a large part of k * ln 2 off without an error, and the
other joins the small terms. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

import math
from fractions import Fraction

from toonygrad.codegen.transcendental_arithmetic import (
    ONE_BITS,
    ROUNDER,
    ROUNDER_BITS,
    ROUNDER_BITS_SINGLE,
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
    power_of_two_single,
    quotient,
    single,
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
    0.16666666666666452,
    0.041666666666528046,
    0.008333333333476696,
    0.0013888888943998376,
    0.00019841269535585983,
    2.480149279720071e-05,
    2.7557565776761634e-06,
    2.763034490210652e-07,
    2.5005469922555872e-08,
)
EXP_SINGLE = (
    0.4999999403953552,
    0.1666652113199234,
    0.04166827350854874,
    0.00836868304759264,
    0.0013820049352943897,
)
EXP_SHORT = (
    0.499999934123235,
    0.16666520115317046,
    0.04166839432137448,
    0.008368779427997176,
    0.0013814456953483312,
)
EXPM1 = (
    0.16666666666666677,
    0.041666666666666685,
    0.00833333333332179,
    0.0013888888888893632,
    0.00019841269885373215,
    2.4801587279264873e-05,
    2.7557245103567363e-06,
    2.7557329117913556e-07,
    2.510870993844021e-08,
    2.0894105173558386e-09,
)
EXPM1_SINGLE = (
    0.5,
    0.1666666567325592,
    0.04166649281978607,
    0.008333544246852398,
    0.0013932340079918504,
    0.00019763433374464512,
)
SINH = (
    0.16666666666666677,
    0.008333333333321376,
    0.00019841269886867818,
    2.755724337479455e-06,
    2.5109356026169415e-08,
)
SINH_SINGLE = (
    0.1666654348373413,
    0.008366553112864494,
)
COSH_SINGLE = (
    0.5,
    0.041666459292173386,
    0.0013935451861470938,
)
COSH = (
    0.041666666666603194,
    0.0013888888927133971,
    2.4801508228327233e-05,
    2.7625377685932884e-07,
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


def reduced_single(x: UOp, rounder: float) -> tuple[UOp, UOp, UOp, UOp]:
    """(k + rounder, first, small, r) of float32 where x = k * ln 2 + first + small, `first` has no error and
    r is the sum of the two."""
    shifted = x.fma(LOG2_E, rounder)
    k = shifted - rounder
    first, small = k.fma(-LN2_HIGH_SINGLE, x), k * -LN2_LOW_SINGLE
    return shifted, first, small, first + small


def exp_single(x: UOp) -> UOp:
    """e ** x of float32."""
    shifted, first, small, r = reduced_single(clamp(x, -110.0, 110.0), ROUNDER_SINGLE + 254)
    result = 1.0 + (first + (r * r).fma(polynomial(r, EXP_SINGLE), small))
    # Two steps as in `scale`.
    pattern = bits(shifted)
    half = pattern >> 1
    for part in (half, pattern - half):
        result = result * from_bits(part << SIGNIFICAND_BITS_SINGLE)
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


def less_one_single(x: UOp, rounder: float, one: float) -> tuple[UOp, UOp, UOp, UOp]:
    """(power, high, low, square) of float32: power * e ** r - one = high + low, the first much the larger,
    with power = one * 2 ** k; the square is that of r."""
    shifted, first, small, r = reduced_single(x, rounder)
    power = power_of_two_single(shifted)
    less = power - one
    high = power.fma(first, less)
    low = power.fma(first, less - high)
    square = r * r
    return power, high, power.fma(square.fma(polynomial(r, EXPM1_SINGLE), small), low), square


def expm1_single(x: UOp) -> UOp:
    """e ** x - 1 of float32, by halves: 2 ** 128 is too large."""
    power, high, low, square = less_one_single(clamp(x, -20.0, 89.0), ROUNDER_SINGLE + 126, 0.5)
    half = high + (low + ((power - (power - 0.5)) - 0.5))  # what the 1/2 has lost where k is 25 or more
    # Halves of subnormal numbers lose a bit, and the sum has no negative zero.
    return square.eq(0.0).where(x, half + half)


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


def hyperbolic_single(x: UOp, sine: bool) -> UOp:
    """sinh(x) or cosh(x) of float32, x >= 0, as `hyperbolic`."""
    x = (x > 90.0).where(single(90.0), x)  # both are infinite from there on
    shifted, first, small, r = reduced_single(x, ROUNDER_SINGLE + 124)
    growing = power_of_two_single(shifted)
    falling = (248 + ROUNDER_BITS_SINGLE - bits(shifted)).alu(Ops.MAXIMUM, 0)
    falling = from_bits(falling << SIGNIFICAND_BITS_SINGLE)
    sinh_k, cosh_k = growing - falling, growing + falling
    z = r * r
    sinh_rest = (r * z).fma(polynomial(z, SINH_SINGLE), small)
    cosh_rest = z * polynomial(z, COSH_SINGLE)
    if sine:
        a, a_rest, b = sinh_k, (growing - sinh_k) - falling, cosh_k
    else:
        a, a_rest, b = cosh_k, (growing - cosh_k) + falling, sinh_k
    high = b.fma(first, a)
    low = b.fma(first, a - high) + a_rest
    return (high + b.fma(sinh_rest, a.fma(cosh_rest, low))) * 4.0


def sinh_single(x: UOp) -> UOp:
    """Hyperbolic sine of float32."""
    y = abs(x)
    return copysign((y < 2.0**-14).where(y, hyperbolic_single(y, sine=True)), x)


def cosh_single(x: UOp) -> UOp:
    """Hyperbolic cosine of float32."""
    return hyperbolic_single(abs(x), sine=False)


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


def tanh_single(x: UOp) -> UOp:
    """Hyperbolic tangent of float32, as `tanh`: 1 from 9.011 on, and its neighbour from 8.664."""
    y = abs(x)
    doubled = (y > 8.664).where(single(8.664), y)
    _, high, low, _ = less_one_single(doubled + doubled, ROUNDER_SINGLE + 127, 1.0)
    high, low = ordered_sum(high, low)
    denominator = high + 2.0
    result = quotient((high, low), (denominator, low + (high - (denominator - 2.0))))
    return copysign((y > 9.0109).where(single(1.0), result[0] + result[1]), x)
