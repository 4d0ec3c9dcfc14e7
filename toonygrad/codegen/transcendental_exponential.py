"""exp, expm1, sinh, cosh and tanh in primitives.

codegen/transcendental.py lists them; pow and logaddexp use `exponential` and `exponential_pair`. The argument
is k * ln 2 + r with |r| <= ln(2) / 2. A large part of k * ln 2 is taken off without an error, the other joins
the small terms, so that little more than the last two additions rounds. docs/minimax.py derives the
coefficients.
"""

from __future__ import annotations

import math
from fractions import Fraction

from toonygrad.codegen.transcendental_arithmetic import (
    FORMATS,
    ByType,
    Pair,
    bits,
    clamp,
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
# ln 2 in two parts, the first of 41 or 15 bits: its product with any k is exact.
LN2_HIGH = ByType(0.693147180559663, 0.693145751953125)
LN2_LOW = ByType(2.8235290563031577e-13, 1.4286068203094172e-06)
LN2_LOWEST = 1.94704509238075e-31

EXP = ByType(
    (
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
    ),
    (
        0.4999999403953552,
        0.1666652113199234,
        0.04166827350854874,
        0.00836868304759264,
        0.0013820049352943897,
    ),
)
EXPM1 = ByType(
    (
        0.5,
        0.16666666666666677,
        0.041666666666666685,
        0.00833333333332179,
        0.0013888888888893632,
        0.00019841269885373215,
        2.4801587279264873e-05,
        2.7557245103567363e-06,
        2.75573291137447e-07,
        2.5108710133353833e-08,
        2.089411458303024e-09,
    ),
    (
        0.5,
        0.1666666567325592,
        0.04166649281978607,
        0.008333544246852398,
        0.0013932340079918504,
        0.00019763433374464512,
    ),
)
SINH = ByType(
    (
        0.16666666666666677,
        0.008333333333321376,
        0.00019841269886867818,
        2.755724337479455e-06,
        2.5109356026169415e-08,
    ),
    (
        0.1666654348373413,
        0.008366553112864494,
    ),
)
COSH = ByType(
    (
        0.5000000000000013,
        0.041666666666510095,
        0.0013888888948543011,
        2.4801488229243413e-05,
        2.763193568841628e-07,
    ),
    (
        0.5,
        0.041666459292173386,
        0.0013935451861470938,
    ),
)

# Beyond, e ** x over- and underflows.
EXP_RANGE = ByType(750.0, 110.0)
# From here on down e ** x - 1 is -1, and up to there half of it can be represented.
EXPM1_LOW, EXPM1_HIGH = ByType(-40.0, -20.0), ByType(710.0, 89.0)
# Both sinh and cosh are infinite from there on; below, sinh x is x.
HYPERBOLIC_HIGH, SINH_SMALL = ByType(711.0, 90.0), ByType(2.0**-28, 2.0**-14)
# tanh x is 1 from ONE on, and its neighbour from BELOW_ONE.
TANH_BELOW_ONE, TANH_ONE = ByType(18.7, 8.664), ByType(19.0615, 9.0109)


def reduced(x: UOp, offset: int, low: UOp | None = None) -> tuple[UOp, UOp, UOp, UOp]:
    """(k + rounder + offset, first, small, r) where x + low = k * ln 2 + first + small, `first` has no error
    and r is the sum of the two."""
    rounder = FORMATS.of(x).rounder + offset
    shifted = x.fma(LOG2_E, rounder)
    k = shifted - rounder
    first, factor = k.fma(-LN2_HIGH.of(x), x), -LN2_LOW.of(x)
    small = k * factor if low is None else k.fma(factor, low)
    return shifted, first, small, first + small


def scale(value: UOp, shifted: UOp) -> UOp:
    """value * 2 ** k for every k that a result may have, in two steps of which only the last rounds;
    `shifted` is k + rounder + 2 bias."""
    digits = FORMATS.of(value).digits
    pattern = bits(shifted)
    half = pattern >> 1
    return value * from_bits(half << digits) * from_bits((pattern - half) << digits)


def exponential(x: UOp, low: UOp | None = None) -> UOp:
    """e ** (x + low) for x within EXP_RANGE, low below its last place."""
    shifted, first, small, r = reduced(x, 2 * FORMATS.of(x).bias, low)
    return scale(1.0 + (first + (r * r).fma(polynomial(r, EXP.of(x)), small)), shifted)


def exp(x: UOp) -> UOp:
    """e ** x."""
    return exponential(clamp(x, -EXP_RANGE.of(x), EXP_RANGE.of(x)))


def near_one(r: UOp, error: UOp) -> Pair:
    """e ** (r + error) in two parts: 1 + r + r * r / 2 without an error, and the rest."""
    one, rest = ordered_sum(number(1.0, r), r)
    square, square_rest = exact_product(r, r)
    one, half_rest = ordered_sum(one, square * 0.5)
    rest = square_rest.fma(0.5, rest + error) + half_rest
    return one, (r * square).fma(polynomial(r, EXPM1.of(r)[1:]), rest)


def exponential_pair(x: UOp, low: UOp) -> Pair:
    """e ** (x + low) as a pair, for x as `exponential`."""
    shifted, first, small, _ = reduced(x, 2 * FORMATS.of(x).bias, low)
    high, rest = ordered_sum(*near_one(*ordered_sum(first, small)))
    return scale(high, shifted), scale(rest, shifted)


def less_one(power: UOp, first: UOp, small: UOp, r: UOp, one: float) -> Pair:
    """power * e ** (first + small) - one as a pair; power is one * 2 ** k, and r the sum of the exponents."""
    less = power - one
    high = power.fma(first, less)
    low = power.fma(first, less - high)
    return high, power.fma((r * r).fma(polynomial(r, EXPM1.of(r)), small), low)


def expm1(x: UOp) -> UOp:
    """e ** x - 1, by halves: e ** k may be too large by one power of two."""
    inside = clamp(x, EXPM1_LOW.of(x), EXPM1_HIGH.of(x))
    shifted, first, small, r = reduced(inside, FORMATS.of(x).bias - 1)
    # What r was rounded by shows in its square, where the 1 takes most of the larger terms away.
    small = r.fma(small - (r - first), small)
    power = power_of_two(shifted)
    high, low = less_one(power, first, small, r, 0.5)
    half = high + (low + ((power - (power - 0.5)) - 0.5))  # what the 1/2 has lost for a large k
    # Halves of subnormal numbers lose a bit, and the sum has no negative zero.
    return (r * r).eq(0.0).where(x, half + half)


def tanh(x: UOp) -> UOp:
    """Hyperbolic tangent: u / (u + 2) with u = expm1(2 |x|) a pair."""
    y = abs(x)
    inside = (y > TANH_BELOW_ONE.of(x)).where(number(TANH_BELOW_ONE.of(x), x), y)
    shifted, first, small, r = reduced(inside + inside, FORMATS.of(x).bias)
    high, low = ordered_sum(*less_one(power_of_two(shifted), first, small, r, 1.0))
    denominator = high + 2.0
    high, low = quotient(high, (denominator, low + (high - (denominator - 2.0))), low)
    return copysign((y > TANH_ONE.of(x)).where(number(1.0, x), high + low), x)


def hyperbolic(x: UOp, sine: bool) -> UOp:
    """sinh(x) or cosh(x) of x >= 0 by the addition theorem for k * ln 2 + r: no division, and sinh is good
    relative to itself."""
    form, high = FORMATS.of(x), HYPERBOLIC_HIGH.of(x)
    shifted, first, small, r = reduced((x > high).where(number(high, x), x), form.bias - 3)
    # 2 ** (k - 3) and 2 ** (-k - 3), for a quarter of the result, whose parts can still be represented.
    growing = power_of_two(shifted)
    falling = 2 * (form.bias - 3) + form.rounder_bits - bits(shifted)
    falling = from_bits(falling.alu(Ops.MAXIMUM, 0) << form.digits)
    sinh_k, cosh_k = growing - falling, growing + falling
    z = r * r
    sinh_rest = (r * z).fma(polynomial(z, SINH.of(x)), small)
    cosh_rest = z * polynomial(z, COSH.of(x))
    if sine:
        a, a_rest, b = sinh_k, (growing - sinh_k) - falling, cosh_k
    else:
        a, a_rest, b = cosh_k, (growing - cosh_k) + falling, sinh_k
    high_part = b.fma(first, a)
    low = b.fma(first, a - high_part) + a_rest
    return (high_part + b.fma(sinh_rest, a.fma(cosh_rest, low))) * 4.0


def sinh(x: UOp) -> UOp:
    """Hyperbolic sine."""
    y = abs(x)
    return copysign((y < SINH_SMALL.of(x)).where(y, hyperbolic(y, sine=True)), x)


def cosh(x: UOp) -> UOp:
    """Hyperbolic cosine."""
    return hyperbolic(abs(x), sine=False)


# -- with about 100 bits, float64 alone ----------------------------------------------------------------------


def reciprocal_factorial(n: int) -> tuple[float, float]:
    """1 / n! in two parts."""
    exact = Fraction(1, math.factorial(n))
    return float(exact), float(exact - Fraction(float(exact)))


def expm1_of_pair(x: Pair) -> Pair:
    """e ** x - 1 to about 100 bits of itself for |x| < 0.7.

    Taylor's series of x / 32, and then five times (1 + p) ** 2 - 1 = p * (2 + p).
    """
    r = (x[0] * 2.0**-5, x[1] * 2.0**-5)
    zero, two = number(0.0, x[0]), number(2.0, x[0])
    tail = polynomial(r[0], [reciprocal_factorial(n)[0] for n in range(8, 15)])
    series = (tail, zero)
    for n in range(7, 1, -1):
        high, low = reciprocal_factorial(n)
        series = pair_sum((number(high, tail), number(low, tail)), pair_product(r, series))
    p = pair_sum(r, pair_product(r, pair_product(r, series)))
    for _ in range(5):
        p = pair_product(p, pair_sum((two, zero), p))
    return p


def exponential_of_negative(x: UOp) -> Pair:
    """e ** x to about 100 bits for -800 < x < 0."""
    rounder = FORMATS.of(x).rounder + 2 * FORMATS.of(x).bias
    shifted = x.fma(LOG2_E, rounder)
    k = shifted - rounder
    product, product_rest = exact_product(k, number(-LN2_LOW.double, x))
    high, low = exact_sum(k.fma(-LN2_HIGH.double, x), product)
    p = expm1_of_pair((high, low + k.fma(-LN2_LOWEST, product_rest)))
    one, rest = ordered_sum(number(1.0, x), p[0])
    return scale(one, shifted), scale(rest + p[1], shifted)
