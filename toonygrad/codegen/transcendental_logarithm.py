"""log, log1p, log2, log10, asinh, acosh, atanh and logaddexp in primitives.

codegen/transcendental.py lists them; the power room uses `split`. The argument is 2 ** k * m with m in
[sqrt(1/2), sqrt(2)), and log m = 2 atanh(s / 2) with s = 2 (m - 1) / (m + 1), of which the quotient is a
pair and the rest a short polynomial. Functions whose value near zero must be good relative to itself bring
1 + f as a pair. float32 has a polynomial in m - 1, longer but without a division. docs/minimax.py derives the
coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    EXPONENT,
    INFINITY,
    LEAST_NORMAL,
    NAN,
    ONE_BITS,
    ONE_BITS_SINGLE,
    SIGNIFICAND,
    SIGNIFICAND_BITS,
    SIGNIFICAND_BITS_SINGLE,
    SIGNIFICAND_SINGLE,
    Pair,
    about_reciprocal,
    bits,
    copysign,
    exact_product,
    exact_sum,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    quotient,
    single,
    sqrt,
)
from toonygrad.codegen.transcendental_exponential import (
    LN2_HIGH,
    LN2_HIGH_SINGLE,
    LN2_LOW,
    LN2_LOW_SINGLE,
    LOG2_E,
)
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

LOG = (
    0.08333333333333418,
    0.012499999999817756,
    0.0022321428704738977,
    0.0004340273162108318,
    8.878693489881417e-05,
    1.8693886667089047e-05,
    4.5154826698571244e-06,
)
LOG_SINGLE = (
    -0.49999991059303284,
    0.33333271741867065,
    -0.2500128149986267,
    0.20005935430526733,
    -0.16620978713035583,
    0.1410052478313446,
    -0.13040104508399963,
    0.13405101001262665,
    -0.08837858587503433,
)
# Of log2(1 + f) / f and log10(1 + f) / f; the first are what LOG2_E_SINGLE and LOG10_E_SINGLE lack.
LOG2_SINGLE = (
    1.925963033500011e-08,
    -0.7213473916053772,
    0.480897456407547,
    -0.36069223284721375,
    0.28862476348876953,
    -0.23979052901268005,
    0.20342572033405304,
    -0.18812298774719238,
    0.19340017437934875,
    -0.12752023339271545,
)
LOG10_SINGLE = (
    -1.0103049952192578e-08,
    -0.21714720129966736,
    0.14476457238197327,
    -0.10857920348644257,
    0.08688416332006454,
    -0.07218373566865921,
    0.06124473735690117,
    -0.056637827306985855,
    0.058185312896966934,
    -0.038341473788022995,
)
ASINH_SINGLE = (
    -0.1666664332151413,
    0.07498640567064285,
    -0.0443829707801342,
    0.028161223977804184,
    -0.013223742134869099,
)

LOG2_E_LOW = 2.0355273740931033e-17
LOG10_E = 0.4342944819032518
LOG10_E_LOW = 1.098319650216765e-17
# log10(2) in two parts, the first of 41 bits.
LOG10_2 = 0.3010299956639812
LOG10_2_HIGH = 0.30102999566383914
LOG10_2_LOW = 1.42050232272661e-13
LOG2_E_SINGLE = 1.4426950216293335
LOG10_E_SINGLE = 0.4342944920063019
# For float32, the first of 15 bits.
LOG10_2_HIGH_SINGLE = 0.301025390625
LOG10_2_LOW_SINGLE = 4.605039066518657e-06

# The pattern of a float64 just below sqrt(1/2): below it the significand counts for the next lower power of
# two.
SQRT_HALF_BITS = 0x3FE6A09E << 32
# And of 0.6953125: in float32 the worst errors are those of a little less than sqrt(2).
LEAST_BITS_SINGLE = 0x3F32 << 16
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


def split_single(x: UOp) -> tuple[UOp, UOp, UOp]:
    """(k, f, 2 ** -k) of float32 with x = (1 + f) * 2 ** k, k an int32; for finite normal x > 0. The power is
    0 for k > 126."""
    shifted = bits(x) - LEAST_BITS_SINGLE
    f = from_bits((shifted & SIGNIFICAND_SINGLE) + LEAST_BITS_SINGLE) - 1.0
    inverse = (ONE_BITS_SINGLE - (shifted & ~SIGNIFICAND_SINGLE)).alu(Ops.MAXIMUM, 0)
    return shifted >> SIGNIFICAND_BITS_SINGLE, f, from_bits(inverse)


def split_all_single(x: UOp) -> tuple[UOp, UOp]:
    """(k, f) as of `split_single`, k a float32, subnormal x included."""
    small = x < 2.0**-126
    k, f, _ = split_single(small.where(x * 2.0**25, x))
    return small.where(k - 25, k).cast(dtypes.float32), f


def domain_single(x: UOp, result: UOp) -> UOp:
    """`result`, but for float32 x <= 0 and where x is inf or NaN."""
    pattern = bits(x)
    # -inf for zeros; what other negative numbers have in their bits makes it NaN.
    outside = from_bits(pattern | (pattern >> 8) | ~SIGNIFICAND_SINGLE)
    return (x <= 0.0).where(outside, (x < INFINITY).where(result, x))


def natural_single(k: UOp, f: UOp, low: UOp | None = None) -> UOp:
    """k * ln 2 + log(1 + f + low), float32; low is below the last place of 1 + f."""
    k = k.cast(dtypes.float32)
    high = k.fma(LN2_HIGH_SINGLE, f)
    rest = k.fma(LN2_LOW_SINGLE, k.fma(LN2_HIGH_SINGLE, -high) + f)
    if low is not None:
        rest = low.fma(f.fma(-0.85, 1.0), rest)  # 1 / (1 + f), near enough
    return high + (f * f).fma(polynomial(f, LOG_SINGLE), rest)


def log_single(x: UOp) -> UOp:
    """Natural logarithm of float32."""
    return domain_single(x, natural_single(*split_all_single(x)))


def log2_single(x: UOp) -> UOp:
    """Logarithm to base 2 of float32, exact for powers of two."""
    k, f = split_all_single(x)
    high = k + f * LOG2_E_SINGLE
    low = f.fma(LOG2_E_SINGLE, k - high)
    return domain_single(x, high + f.fma(polynomial(f, LOG2_SINGLE), low))


def log10_single(x: UOp) -> UOp:
    """Logarithm to base 10 of float32."""
    k, f = split_all_single(x)
    whole = k * LOG10_2_HIGH_SINGLE
    high = whole + f * LOG10_E_SINGLE
    low = k.fma(LOG10_2_LOW_SINGLE, f.fma(LOG10_E_SINGLE, whole - high))
    return domain_single(x, high + f.fma(polynomial(f, LOG10_SINGLE), low))


def log1p_of_pair_single(high: UOp, low: UOp | None = None, doublings: UOp | None = None) -> UOp:
    """log(1 + high + low) of float32, plus ln 2 a doubling, good relative to itself."""
    one = 1.0 + high
    rest = high - (one - 1.0)
    k, f, inverse = split_single(one)
    # Where 1 + x needn't be divided by a power of two, x is what 1 + x lost no bits of.
    near = k.eq(0)
    rest = near.where(single(0.0), rest)
    rest = (rest if low is None else rest + low) * inverse
    return natural_single(k if doublings is None else k + doublings, near.where(high, f), rest)


def log1p_single(x: UOp) -> UOp:
    """log(1 + x) of float32."""
    return copysign(domain_single(1.0 + x, log1p_of_pair_single(x)), x)


def root_of_pair_single(high: UOp, low: UOp) -> Pair:
    """sqrt(high + low) of float32 as a pair, good to 4 bits more than the first has."""
    root = sqrt(high)
    return root, ((-root).fma(root, high) + low) * about_reciprocal(root, halved=True)


def asinh_single(x: UOp) -> UOp:
    """Inverse hyperbolic sine of float32: log(|x| + sqrt(x * x + 1)), below 1/2 a polynomial."""
    y = abs(x)
    large = y > 2.0**12
    square = y.fma(y, 1.0)
    root, root_rest = root_of_pair_single(square, y.fma(y, 1.0 - square))
    high, low = ordered_sum(root, y)
    k, f, inverse = split_single(large.where(y, high))
    low = large.where(single(0.0), low + root_rest) * inverse
    result = natural_single(large.where(k + 1, k), f, low)
    z = y * y
    result = (y < 0.5).where((y * z).fma(polynomial(z, ASINH_SINGLE), y), result)
    return copysign((y < INFINITY).where(result, y), x)


def acosh_single(x: UOp) -> UOp:
    """Inverse hyperbolic cosine of float32: log(1 + d + sqrt(d * d + 2 d)) with d = x - 1."""
    large = x > 2.0**60
    less = x - 1.0
    twice = less + less
    square = less.fma(less, twice)
    root, root_rest = root_of_pair_single(square, less.fma(less, twice - square))
    high, low = ordered_sum(root, less)
    result = log1p_of_pair_single(
        large.where(x, high),
        large.where(single(0.0), low + root_rest),
        large.where(UOp.const(1, dtypes.int32), 0),
    )
    return (x < 1.0).where(single(NAN), (x < INFINITY).where(result, x))


def atanh_single(x: UOp) -> UOp:
    """Inverse hyperbolic tangent of float32: half of log(1 + 2 |x| / (1 - |x|))."""
    y = abs(x)
    twice = y + y
    less, less_rest = ordered_sum(single(1.0), -y)
    reciprocal = 1.0 / less
    ratio = twice * reciprocal
    rest = (-ratio).fma(less_rest, (-ratio).fma(less, twice)) * reciprocal
    result = 0.5 * log1p_of_pair_single(ratio, rest)
    return copysign((y < 1.0).where(result, y.eq(1.0).where(single(INFINITY), NAN)), x)
