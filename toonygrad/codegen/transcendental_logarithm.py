"""log, log1p, log2, log10, asinh, acosh, atanh and logaddexp in primitives.

codegen/transcendental.py lists them; the power room uses `split`. The argument is 2 ** k * m with m in
[sqrt(1/2), sqrt(2)), and log m = 2 atanh(s / 2) with s = 2 (m - 1) / (m + 1), of which the quotient is a
pair and the rest a short polynomial. Functions whose value near zero must be good relative to itself bring
1 + f as a pair. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

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
from toonygrad.codegen.transcendental_exponential import (
    LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
)
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

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

LOG2_E_LOW = 2.0355273740931033e-17
LOG10_E = 0.4342944819032518
LOG10_E_LOW = 1.098319650216765e-17
# log10(2) in two parts, the first of 41 bits.
LOG10_2 = 0.3010299956639812
LOG10_2_HIGH = 0.30102999566383914
LOG10_2_LOW = 1.42050232272661e-13

# The pattern of a float64 just below sqrt(1/2): below it the significand counts for the next lower power of
# two.
SQRT_HALF_BITS = 0x3FE6A09E << 32
# 2 ** 52: its pattern with a small integer in the low bits is 2 ** 52 + that integer.
INTEGER_BITS = 0x433 << SIGNIFICAND_BITS


def split(x: UOp, subnormal: bool = True) -> tuple[UOp, UOp, UOp]:
    """(k, m, k + 1023 as exponent bits) with x = m * 2 ** k, for finite x > 0.

    Unless `subnormal`, x must be normal. With it the third is wrong for subnormal x.
    """
    bias: UOp | float = 2.0**52 + 1023
    if subnormal:
        small = x < LEAST_NORMAL
        x = small.where(x * 2.0**54, x)
        bias = small.where(number(2.0**52 + 1023 + 54), 2.0**52 + 1023)
    shifted = bits(x) + (ONE_BITS - SQRT_HALF_BITS)
    exponent = shifted & EXPONENT
    k = from_bits((exponent >> SIGNIFICAND_BITS) | INTEGER_BITS) - bias
    return k, from_bits((shifted & SIGNIFICAND) + SQRT_HALF_BITS), exponent


def domain(x: UOp, result: UOp, end: float = 0.0, there: float = -INFINITY) -> UOp:
    """`result`, but `there` where x is `end`, NaN below, and x itself where that is inf or NaN."""
    result = (x < INFINITY).where(result, x)
    return (x <= end).where(x.eq(end).where(number(there), NAN), result)


def inverse_power(exponent: UOp) -> UOp:
    """2 ** -k from the exponent bits that `split` gives, 0 for k > 1022."""
    return from_bits((2 * ONE_BITS - exponent).alu(Ops.MAXIMUM, 0))


def near_one(f: UOp, low: UOp | None = None) -> tuple[UOp, UOp]:
    """log(1 + f + low) as a sum of two, the first much the larger; -0.3 < f < 0.42 and low, if any, below
    the last place of 1 + f."""
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


def natural_parts(k: UOp, s: UOp, rest: UOp) -> Pair:
    """k * ln 2 + s + rest in two parts, the first much the larger."""
    high, low = ordered_sum(k * LN2_HIGH, s)
    return high, low + k.fma(LN2_LOW, rest)


def natural(k: UOp, s: UOp, rest: UOp) -> UOp:
    """k * ln 2 + s + rest."""
    high, low = natural_parts(k, s, rest)
    return high + low


def log(x: UOp) -> UOp:
    """Natural logarithm of float64."""
    k, m, _ = split(x)
    return domain(x, natural(k, *near_one(m - 1.0)))


def log2(x: UOp) -> UOp:
    """Logarithm to base 2 of float64, exact for powers of two."""
    k, m, _ = split(x)
    s, rest = near_one(m - 1.0)
    product, product_rest = exact_product(s, number(LOG2_E))
    high, low = ordered_sum(k, product)
    rest = rest.fma(LOG2_E, s.fma(LOG2_E_LOW, product_rest))
    return domain(x, high + (low + rest))


def log10(x: UOp) -> UOp:
    """Logarithm to base 10 of float64."""
    k, m, _ = split(x)
    s, rest = near_one(m - 1.0)
    product, product_rest = exact_product(s, number(LOG10_E))
    high, low = ordered_sum(k * LOG10_2_HIGH, product)
    rest = rest.fma(LOG10_E, s.fma(LOG10_E_LOW, product_rest))
    return domain(x, high + (low + k.fma(LOG10_2_LOW, rest)))


def log_of_pair_in_parts(high: UOp, low: UOp, doublings: UOp | None = None) -> Pair:
    """log(high + low), plus ln 2 a doubling, good relative to itself also near 1; high is normal and low
    below its last place."""
    k, m, exponent = split(high, subnormal=False)
    s, rest = near_one(*ordered_sum(m - 1.0, low * inverse_power(exponent)))
    return natural_parts(k if doublings is None else k + doublings, s, rest)


def log_of_pair(high: UOp, low: UOp, doublings: UOp | None = None) -> UOp:
    """As `log_of_pair_in_parts`, rounded."""
    high, low = log_of_pair_in_parts(high, low, doublings)
    return high + low


def log1p(x: UOp) -> UOp:
    """log(1 + x) of float64."""
    return copysign(domain(x, log_of_pair(*exact_sum(number(1.0), x)), end=-1.0), x)


# The inverse hyperbolic functions are the logarithm of a pair. From here on sqrt(x * x +- 1) is x.
LARGE = 2.0**30
# Below this asinh(x) and atanh(x) are x.
SMALL = 2.0**-28


def root_of_pair(high: UOp, low: UOp) -> Pair:
    """sqrt(high + low) as a pair."""
    root = sqrt(high)
    return root, ((-root).fma(root, high) + low) * (0.5 / root)


def asinh(x: UOp) -> UOp:
    """Inverse hyperbolic sine of float64: log(|x| + sqrt(x * x + 1))."""
    y = abs(x)
    large = y > LARGE
    square, square_rest = exact_product(y, y)
    high, low = exact_sum(square, number(1.0))
    root, root_rest = root_of_pair(high, low + square_rest)
    high, low = ordered_sum(root, y)
    result = log_of_pair(
        large.where(y, high), large.where(number(0.0), low + root_rest), large.where(number(1.0), 0.0)
    )
    result = (y < SMALL).where(y, result)
    return copysign((y < INFINITY).where(result, y), x)


def acosh(x: UOp) -> UOp:
    """Inverse hyperbolic cosine of float64: log(x + sqrt(x * x - 1))."""
    large = x > LARGE
    square, square_rest = exact_product(x, x)
    high, low = ordered_sum(square, number(-1.0))
    root, root_rest = root_of_pair(high, low + square_rest)
    high, low = ordered_sum(x, root)
    result = log_of_pair(
        large.where(x, high), large.where(number(0.0), low + root_rest), large.where(number(1.0), 0.0)
    )
    return domain(x, result, end=1.0, there=0.0)


def atanh(x: UOp) -> UOp:
    """Inverse hyperbolic tangent of float64: half of log((1 + |x|) / (1 - |x|))."""
    y = abs(x)
    ratio = quotient(ordered_sum(number(1.0), y), ordered_sum(number(1.0), -y))
    result = (y < SMALL).where(y, 0.5 * log_of_pair(*ratio))
    return copysign((y < 1.0).where(result, y.eq(1.0).where(number(INFINITY), NAN)), x)


def short_logarithm(f: UOp) -> UOp:
    """log(1 + f), good to 30 bits."""
    s = f / f.fma(0.5, 1.0)
    z = s * s
    return (s * z).fma(polynomial(z, LOG_SHORT), s)


def log_short(x: UOp) -> UOp:
    """Natural logarithm of a float32 in float64."""
    k, m, _ = split(x, subnormal=False)
    return domain(x, k.fma(LN2, short_logarithm(m - 1.0)))


def log2_short(x: UOp) -> UOp:
    """Logarithm to base 2 of a float32 in float64."""
    k, m, _ = split(x, subnormal=False)
    return domain(x, short_logarithm(m - 1.0).fma(LOG2_E, k))


def log10_short(x: UOp) -> UOp:
    """Logarithm to base 10 of a float32 in float64."""
    k, m, _ = split(x, subnormal=False)
    return domain(x, k.fma(LOG10_2, LOG10_E * short_logarithm(m - 1.0)))


def log1p_short(x: UOp) -> UOp:
    """log(1 + x), x a float64, good to 30 bits relative to itself."""
    k, m, _ = split(1.0 + x, subnormal=False)
    # Where 1 + x needn't be divided by a power of two, x is what 1 + x lost no bits of.
    f = k.eq(0.0).where(x, m - 1.0)
    return copysign(domain(x, k.fma(LN2, short_logarithm(f)), end=-1.0), x)


def asinh_short(x: UOp) -> UOp:
    """Inverse hyperbolic sine of a float32 in float64."""
    y = abs(x)
    square = y * y
    result = log1p_short(y + square / (1.0 + sqrt(1.0 + square)))
    return copysign((y < INFINITY).where(result, y), x)


def acosh_short(x: UOp) -> UOp:
    """Inverse hyperbolic cosine of a float32 in float64."""
    less = x - 1.0
    return (less < 0.0).where(number(NAN), log1p_short(less + sqrt(less * (x + 1.0))))


def atanh_short(x: UOp) -> UOp:
    """Inverse hyperbolic tangent of a float32 in float64; log1p has the right value outside [-1, 1] too."""
    return 0.5 * log1p_short((x + x) / (1.0 - x))
