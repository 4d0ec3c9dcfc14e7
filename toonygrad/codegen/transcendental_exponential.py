"""exp, expm1, sinh, cosh and tanh in primitives.

codegen/transcendental.py lists them; the other transcendental rooms use `exponential` of a pair. The argument is k * ln 2 + r with
|r| <= ln(2) / 2; r and its rounding error are kept as a pair, so that little more than the last addition rounds. The float32 forms run in
float64 with shorter polynomials and round once. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    ROUNDER,
    SIGNIFICAND_BITS,
    bits,
    copysign,
    exact_sum,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    power_of_two,
)
from toonygrad.uop.node import UOp

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
# ln 2 in two parts, the first of 41 bits: its product with any k is exact.
LN2_HIGH = 0.693147180559663
LN2_LOW = 2.8235290563031577e-13

EXP = (
    0.5000000000000011,
    0.16666666666666438,
    0.04166666666652578,
    0.008333333333473898,
    0.0013888888944887476,
    0.00019841269560754105,
    2.4801491690083e-05,
    2.755752896520176e-06,
    2.7630779387975294e-07,
    2.5020944506738058e-08,
)
EXP_SHORT = (
    0.4999999345162451,
    0.16666520459471987,
    0.041668377807988204,
    0.008368763431221286,
    0.0013816565402807216,
)
EXPM1 = (
    0.5000000000000001,
    0.1666666666666667,
    0.041666666666648415,
    0.00833333333332729,
    0.001388888889742311,
    0.0001984126987031363,
    2.4801571003413584e-05,
    2.7557260734968824e-06,
    2.7570913616615696e-07,
    2.5103213142411535e-08,
    1.6772940425880479e-09,
)
EXPM1_SHORT = (
    0.5000000053053912,
    0.16666666903809893,
    0.041666326969014435,
    0.008333219010662276,
    0.0013943213946434275,
    0.0001996289180355321,
)
SINH = (
    0.16666666666666677,
    0.008333333333321378,
    0.0001984126988685407,
    2.7557243408101217e-06,
    2.5109331692369916e-08,
)
COSH = (
    0.041666666666666685,
    0.0013888888888873262,
    2.480158734929358e-05,
    2.7557251696458327e-07,
    2.0921823185235745e-09,
)


def clamp(x: UOp, low: float, high: float) -> UOp:
    """`x` inside [low, high]; NaN stays."""
    x = (x > high).where(number(high), x)
    return (x < low).where(number(low), x)


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
    """value * 2 ** k for every |k| <= 1100, in two steps, so that only the last rounds; `shifted` is k + ROUNDER + 2046."""
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


def exp(x: UOp) -> UOp:
    """e ** x of float64."""
    return exponential(x)


def reduced_short(x: UOp) -> tuple[UOp, UOp]:
    """(k + ROUNDER + 1023, r), for results that are rounded to float32."""
    shifted = x.fma(LOG2_E, ROUNDER + 1023)
    return shifted, (shifted - (ROUNDER + 1023)).fma(-LN2, x)


def exp_short(x: UOp) -> UOp:
    """e ** x good to 28 bits."""
    shifted, r = reduced_short(clamp(x, -150.0, 150.0))
    return polynomial(r, (1.0, 1.0, *EXP_SHORT)) * power_of_two(shifted)
