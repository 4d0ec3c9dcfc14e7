"""log, log1p, log2, log10, asinh, acosh, atanh and logaddexp in primitives.

codegen/transcendental.py lists them; the power room uses `split`. The argument is 2 ** k * m with m in [sqrt(1/2), sqrt(2)), and
log m = 2 atanh(s / 2) with s = 2 (m - 1) / (m + 1), of which the quotient is a pair and the rest a short polynomial. Functions whose
value near zero must be good relative to itself bring 1 + f as a pair. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    EXPONENT,
    INFINITY,
    LEAST_NORMAL,
    NAN,
    ONE_BITS,
    SIGNIFICAND,
    SIGNIFICAND_BITS,
    Pair,
    bits,
    copysign,
    exact_product,
    exact_sum,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    quotient,
    sqrt,
)
from toonygrad.codegen.transcendental_exponential import LN2_HIGH, LN2_LOW, LN2
from toonygrad.uop.node import UOp

LOG = (
    0.08333333333333418,
    0.012499999999817787,
    0.002232142870464296,
    0.0004340273166824699,
    8.878692784782976e-05,
    1.869391826738513e-05,
    4.51548865708091e-06,
)
LOG_SHORT = (
    0.0833334700856442,
    0.012492992282583585,
    0.0023336745149536015,
)

# The pattern of a float64 just below sqrt(1/2): below it the significand counts for the next lower power of two.
SQRT_HALF_BITS = 0x3FE6A09E << 32
# 2 ** 52: its pattern with a small integer in the low bits is 2 ** 52 + that integer.
INTEGER_BITS = 0x433 << SIGNIFICAND_BITS


def split(x: UOp, subnormal: bool = True) -> tuple[UOp, UOp, UOp]:
    """(k, m, 2 ** 52 biased exponent bits) with x = m * 2 ** k; x > 0 and finite, and normal unless `subnormal`."""
    bias: UOp | float = 2.0**52 + 1023
    if subnormal:
        small = x < LEAST_NORMAL
        x = small.where(x * 2.0**54, x)
        bias = small.where(number(2.0**52 + 1023 + 54), 2.0**52 + 1023)
    shifted = bits(x) + (ONE_BITS - SQRT_HALF_BITS)
    exponent = shifted & EXPONENT
    k = from_bits((exponent >> SIGNIFICAND_BITS) | INTEGER_BITS) - bias
    return k, from_bits((shifted & SIGNIFICAND) + SQRT_HALF_BITS), exponent


def domain(x: UOp, result: UOp, pole: float = 0.0) -> UOp:
    """`result`, but -inf at the pole, NaN below it, and x itself where that is inf or NaN."""
    result = (x < INFINITY).where(result, x)
    return (x <= pole).where(x.eq(pole).where(number(-INFINITY), NAN), result)


def near_one(f: UOp, low: UOp | None = None) -> tuple[UOp, UOp]:
    """log(1 + f + low) as a sum of two, the first much the larger; -0.3 < f < 0.42 and low, if any, below the last place of 1 + f."""
    half = f.fma(0.5, 1.0)
    half_rest = f.fma(0.5, 1.0 - half)
    reciprocal = 1.0 / half
    s = f * reciprocal
    rest = (-s).fma(half, f)
    rest = (-s).fma(half_rest, rest)
    if low is not None:
        rest = rest + (-0.5 * s).fma(low, low)
    z = s * s
    return s, (s * z).fma(polynomial(z, LOG), rest * reciprocal)


def natural(k: UOp, s: UOp, rest: UOp) -> UOp:
    """k * ln 2 + s + rest."""
    high, low = ordered_sum(k * LN2_HIGH, s)
    return high + (low + k.fma(LN2_LOW, rest))


def log(x: UOp) -> UOp:
    """Natural logarithm of float64."""
    k, m, _ = split(x)
    return domain(x, natural(k, *near_one(m - 1.0)))


def short_near_one(m: UOp) -> UOp:
    """log m, good to 30 bits."""
    f = m - 1.0
    s = f / f.fma(0.5, 1.0)
    z = s * s
    return (s * z).fma(polynomial(z, LOG_SHORT), s)


def log_short(x: UOp) -> UOp:
    """Natural logarithm of a float32 in float64."""
    k, m, _ = split(x, subnormal=False)
    return domain(x, k.fma(LN2, short_near_one(m)))
