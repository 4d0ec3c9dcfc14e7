"""log, log1p, log2, log10, asinh, acosh and atanh in primitives.

codegen/transcendental.py lists them; the power room uses `split` and the precise logarithms. The argument is
(1 + f) * 2 ** k with 1 + f in [0.6953125, 1.390625); log(1 + f) = f - f * f / 2 + s * (f * f / 2 + ...) with
s = f / (2 + f), where f is exact and the rest small enough to be rounded. Functions whose value near zero
must be good relative to itself bring 1 + f as a pair. docs/minimax.py derives the coefficients.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.codegen.transcendental_arithmetic import (
    FORMATS,
    INFINITY,
    NAN,
    ByType,
    Pair,
    bits,
    copysign,
    from_bits,
    number,
    ordered_sum,
    polynomial,
    quotient,
    root_and_rest,
)
from toonygrad.codegen.transcendental_exponential import LN2_HIGH, LN2_LOW
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# Logarithms to other bases: 1 / log(base) in two parts, and log(2) to that base in two, the first with so few
# digits that its product with any k is exact.
LOG2_E = ByType(1.4426950408889634, 1.4426950216293335)
LOG2_E_LOW = ByType(2.0355273740931033e-17, 1.925963033500011e-08)
LOG10_E = ByType(0.4342944819032518, 0.4342944920063019)
LOG10_E_LOW = ByType(1.098319650216765e-17, -1.0103049952192578e-08)
LOG10_2_HIGH = ByType(0.30102999566383914, 0.301025390625)
LOG10_2_LOW = ByType(1.42050232272661e-13, 4.605039066518657e-06)
# 2 / 3 and what it lacks: the second coefficient of 2 atanh(s), needed to twice the precision.
TWO_THIRDS = ByType(0.6666666666666666, 0.6666666865348816)
TWO_THIRDS_LOW = ByType(3.700743415417188e-17, -1.9868215517249155e-08)

LOG = ByType(
    (
        0.6666666666666797,
        0.3999999999897036,
        0.2857142884569314,
        0.22222187633091714,
        0.18184145623556405,
        0.15298952344144912,
        0.14948471895976256,
    ),
    (
        0.6666681170463562,
        0.3997289836406708,
        0.3000172972679138,
    ),
)
PRECISE_LOG = ByType(
    (
        0.3999999999999995,
        0.2857142857146056,
        0.22222222213959353,
        0.18181819288580398,
        0.15384529658910562,
        0.1333731649339381,
        0.11655451461192905,
        0.12143148217349112,
    ),
    (
        0.40000203251838684,
        0.285419225692749,
        0.23542387783527374,
    ),
)
ASINH = ByType(
    (
        -0.1666666666666661,
        0.07499999999984412,
        -0.04464285712782438,
        0.03038194371600818,
        -0.02237213834766919,
        0.017352386785264667,
        -0.013960230547893582,
        0.011512972957958712,
        -0.009534095629328951,
        0.007465475871528183,
        -0.004747326243028455,
        0.001717962545003302,
    ),
    (
        -0.1666664332151413,
        0.07498640567064285,
        -0.0443829707801342,
        0.028161223977804184,
        -0.013223742134869099,
    ),
)


def split(x: UOp, subnormal: bool = True) -> tuple[UOp, UOp, UOp]:
    """(k, f, 2 ** -k) with x = (1 + f) * 2 ** k, k an integer, for finite x > 0.

    The power is 0 where it would be subnormal. Unless `subnormal`, x must be normal. With it the power is
    wrong for subnormal x.
    """
    form = FORMATS.of(x)
    small = x < form.least_normal
    if subnormal:
        x = small.where(x * 2.0 ** (form.digits + 2), x)
    # 0.6953125: below it the significand counts for the next lower power of two. The worst errors are those
    # of a little less than twice that, so that sqrt(1/2) would be worse.
    least = form.one_bits - (1 << form.digits) + (0x64 << (form.digits - 8))
    shifted = bits(x) - least
    k, f = shifted >> form.digits, from_bits((shifted & form.significand) + least) - 1.0
    inverse = from_bits((form.one_bits - (shifted & ~form.significand)).alu(Ops.MAXIMUM, 0))
    return small.where(k - (form.digits + 2), k) if subnormal else k, f, inverse


def as_float(k: UOp, like: UOp) -> UOp:
    """A small integer as a float of the type of `like`."""
    if like.dtype == dtypes.float32:
        return k.cast(dtypes.float32)
    form = FORMATS.of(like)
    return from_bits(k + form.rounder_bits) - form.rounder  # AVX2 has no conversion


def domain(x: UOp, result: UOp) -> UOp:
    """`result`, but -inf for zeros, NaN for x below, and x itself where that is inf or NaN."""
    form, pattern = FORMATS.of(x), bits(x)
    # What is below zero has bits in its exponent that, moved to the significand of -inf, make that a NaN.
    unsigned = dtypes.uint64 if form.integer == dtypes.int64 else dtypes.uint32
    moved = (pattern.cast(unsigned) >> form.exponent_digits).cast(form.integer)
    outside = from_bits(pattern | moved | ~form.significand)
    return (x <= 0.0).where(outside, (x < INFINITY).where(result, x))


def parts(f: UOp) -> tuple[UOp, UOp, UOp]:
    """(s, inner, half) with log(1 + f) = f + s * inner - half * f."""
    s = f / (f + 2.0)
    z, half = s * s, f * 0.5
    return s, z.fma(polynomial(z, LOG.of(f)), half * f), half


def natural(k: UOp, f: UOp, low: UOp | None = None) -> UOp:
    """k * ln 2 + log(1 + f + low), low below the last place of 1 + f."""
    k = as_float(k, f)
    high = k.fma(LN2_HIGH.of(f), f)
    rest = k.fma(LN2_LOW.of(f), k.fma(LN2_HIGH.of(f), -high) + f)
    if low is not None:
        rest = low.fma(f.fma(-0.85, 1.0), rest)  # 1 / (1 + f), near enough
    s, inner, half = parts(f)
    return high + s.fma(inner, (-half).fma(f, rest))


def log(x: UOp) -> UOp:
    """Natural logarithm."""
    k, f, _ = split(x)
    return domain(x, natural(k, f))


def to_base(x: UOp, factor: float, factor_low: float, unit: float = 1.0, unit_low: float = 0.0) -> UOp:
    """log x times a factor in two parts; the unit is what ln 2 becomes, in two parts too."""
    k, f, _ = split(x)
    k = as_float(k, x)
    whole = k * unit
    high = whole + f * factor
    low = f.fma(factor_low, f.fma(factor, whole - high))
    low = k.fma(unit_low, low) if unit_low else low
    s, inner, half = parts(f)
    return domain(x, high + (-half).fma(f, s * inner).fma(factor, low))


def log2(x: UOp) -> UOp:
    """Logarithm to base 2, exact for powers of two."""
    return to_base(x, LOG2_E.of(x), LOG2_E_LOW.of(x))


def log10(x: UOp) -> UOp:
    """Logarithm to base 10."""
    return to_base(x, LOG10_E.of(x), LOG10_E_LOW.of(x), LOG10_2_HIGH.of(x), LOG10_2_LOW.of(x))


def log1p_of_pair(high: UOp, low: UOp | None = None, doublings: UOp | None = None) -> UOp:
    """log(1 + high + low), plus ln 2 a doubling, good relative to itself."""
    one = 1.0 + high
    rest = high - (one - 1.0)
    k, f, inverse = split(one, subnormal=False)
    # Where 1 + x needn't be divided by a power of two, x is what 1 + x lost no bits of.
    near = k.eq(0)
    rest = near.where(number(0.0, high), rest)
    rest = (rest if low is None else rest + low) * inverse
    return natural(k if doublings is None else k + doublings, near.where(high, f), rest)


def log1p(x: UOp) -> UOp:
    """log(1 + x)."""
    return copysign(domain(1.0 + x, log1p_of_pair(x)), x)


# From here on sqrt(x * x + 1) is x, and x * x - 1 must not overflow.
ASINH_LARGE, ACOSH_LARGE = ByType(2.0**28, 2.0**12), ByType(2.0**500, 2.0**60)


def asinh(x: UOp) -> UOp:
    """Inverse hyperbolic sine: log(|x| + sqrt(x * x + 1)), below 1/2 a polynomial."""
    y = abs(x)
    large = y > ASINH_LARGE.of(x)
    square = y.fma(y, 1.0)
    root, root_rest = root_and_rest(square, y.fma(y, 1.0 - square))
    high, low = ordered_sum(root, y)
    k, f, inverse = split(large.where(y, high), subnormal=False)
    low = large.where(number(0.0, x), low + root_rest) * inverse
    result = natural(large.where(k + 1, k), f, low)
    z = y * y
    result = (y < 0.5).where((y * z).fma(polynomial(z, ASINH.of(x)), y), result)
    return copysign((y < INFINITY).where(result, y), x)


def acosh(x: UOp) -> UOp:
    """Inverse hyperbolic cosine: log(1 + d + sqrt(d * d + 2 d)) with d = x - 1."""
    large = x > ACOSH_LARGE.of(x)
    less = x - 1.0
    twice = less + less
    square = less.fma(less, twice)
    root, root_rest = root_and_rest(square, less.fma(less, twice - square))
    high, low = ordered_sum(root, less)
    low = large.where(number(0.0, x), low + root_rest)
    doublings = large.where(UOp.const(1, FORMATS.of(x).integer), 0)
    result = log1p_of_pair(large.where(x, high), low, doublings)
    return (x < 1.0).where(number(NAN, x), (x < INFINITY).where(result, x))


def atanh(x: UOp) -> UOp:
    """Inverse hyperbolic tangent: half of log(1 + 2 |x| / (1 - |x|))."""
    y = abs(x)
    result = 0.5 * log1p_of_pair(*quotient(y + y, ordered_sum(number(1.0, x), -y)))
    return copysign((y < 1.0).where(result, y.eq(1.0).where(number(INFINITY, x), NAN)), x)


def precise_log1p(f: UOp, low: UOp | None = None) -> Pair:
    """log(1 + f + low) to about 65 bits, in float32 34, for f as of `split`.

    2 atanh(s) = s * (2 + z * (2 / 3 + ...)) with z = s * s; s, z and the two coefficients are pairs.
    """
    two = f + 2.0
    two_rest = f - (two - 2.0)
    s, s_rest = quotient(f, (two, two_rest if low is None else two_rest + low), low)
    z = s * s
    z_rest = (s + s).fma(s_rest, s.fma(s, -z))
    tail, third = polynomial(z, PRECISE_LOG.of(f)), TWO_THIRDS.of(f)
    inner = z.fma(tail, third)
    inner_rest = z.fma(tail, third - inner) + TWO_THIRDS_LOW.of(f)
    outer = z.fma(inner, 2.0)
    outer_rest = z_rest.fma(inner, z.fma(inner_rest, z.fma(inner, 2.0 - outer)))
    product = s * outer
    return product, s_rest.fma(outer, s.fma(outer_rest, s.fma(outer, -product)))


def precise_log(k: UOp, f: UOp, low: UOp | None = None) -> Pair:
    """k * ln 2 + log(1 + f + low), as good."""
    high, rest = precise_log1p(f, low)
    k = as_float(k, f)
    high, carried = ordered_sum(k * LN2_HIGH.of(f), high)
    return high, carried + k.fma(LN2_LOW.of(f), rest)
