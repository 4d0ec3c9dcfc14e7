"""What the decompositions of transcendentals share: polynomials, sums and products with their rounding
errors, powers of two by bits.

The transcendental rooms call it; functions take and give nodes of a kernel graph, float64 or float32. A pair
(high, low) stands for the unevaluated sum high + low, about twice the precision of its type. Imports uop and
dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toonygrad import dtypes
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

Pair = tuple[UOp, UOp]

SIGNIFICAND_BITS = 52
SIGNIFICAND = (1 << SIGNIFICAND_BITS) - 1
EXPONENT = 0x7FF << SIGNIFICAND_BITS
SIGN = -(1 << 63)
ONE_BITS = 1023 << SIGNIFICAND_BITS
LEAST_NORMAL = 2.0**-1022

SIGNIFICAND_BITS_SINGLE = 23
SIGNIFICAND_SINGLE = (1 << SIGNIFICAND_BITS_SINGLE) - 1
SIGN_SINGLE = -(1 << 31)
ONE_BITS_SINGLE = 127 << SIGNIFICAND_BITS_SINGLE

# Adding this rounds |x| < 2**51 to an integer, which then stands in the low bits of the sum's pattern: two
# additions instead of a conversion to int64 and back, which AVX2 hasn't.
ROUNDER = 1.5 * 2.0**52
ROUNDER_BITS = 0x4338 << 48
ROUNDER_SINGLE = 1.5 * 2.0**23
ROUNDER_BITS_SINGLE = 0x4B40 << 16

INFINITY = math.inf
NAN = math.nan


def number(value: float, dtype: np.dtype = dtypes.float64) -> UOp:
    """A constant."""
    return UOp.const(value, dtype)


def single(value: float) -> UOp:
    """A constant of float32."""
    return UOp.const(value, dtypes.float32)


def bits(x: UOp) -> UOp:
    """The bit pattern as a signed integer of the same size."""
    return x.bitcast(dtypes.int64 if x.dtype == dtypes.float64 else dtypes.int32)


def from_bits(pattern: UOp) -> UOp:
    """The float of a signed integer's pattern."""
    return pattern.bitcast(dtypes.float64 if pattern.dtype == dtypes.int64 else dtypes.float32)


def copysign(magnitude: UOp, sign: UOp) -> UOp:
    """`magnitude` with the sign of `sign`."""
    return magnitude.alu(Ops.COPYSIGN, sign)


def sqrt(x: UOp) -> UOp:
    """The square root."""
    return x.alu(Ops.SQRT)


def polynomial(x: UOp, coefficients: Sequence[float | UOp]) -> UOp:
    """Horner's rule, lowest power first: loops over many elements are bound by the number of operations,
    not by their order."""
    last = coefficients[-1]
    result = last if isinstance(last, UOp) else number(last, x.dtype)
    for coefficient in reversed(coefficients[:-1]):
        result = result.fma(x, coefficient)
    return result


def ordered_sum(larger: UOp, smaller: UOp) -> Pair:
    """larger + smaller exactly, where |larger| >= |smaller| or larger is zero (Dekker)."""
    high = larger + smaller
    return high, smaller - (high - larger)


def exact_sum(a: UOp, b: UOp) -> Pair:
    """a + b exactly (Knuth)."""
    high = a + b
    rest = high - a
    return high, (a - (high - rest)) + (b - rest)


def exact_product(a: UOp, b: UOp) -> Pair:
    """a * b exactly, where nothing under- or overflows."""
    high = a * b
    return high, a.fma(b, -high)


def pair_product(a: Pair, b: Pair) -> Pair:
    """a * b to about 104 bits."""
    high, low = exact_product(a[0], b[0])
    return high, a[0].fma(b[1], a[1].fma(b[0], low))


def pair_sum(larger: Pair, smaller: Pair) -> Pair:
    """larger + smaller to about 104 bits, where they don't cancel."""
    high, low = ordered_sum(larger[0], smaller[0])
    return high, low + (larger[1] + smaller[1])


def quotient(numerator: Pair, denominator: Pair, reciprocal: UOp | None = None) -> Pair:
    """numerator / denominator to about 100 bits with one division."""
    reciprocal = 1.0 / denominator[0] if reciprocal is None else reciprocal
    high = numerator[0] * reciprocal
    rest = (-high).fma(denominator[0], numerator[0])
    rest = rest + (-high).fma(denominator[1], numerator[1])
    return high, rest * reciprocal


def power_of_two(rounded: UOp) -> UOp:
    """2 ** k for -1022 <= k <= 1023, where `rounded` is k + ROUNDER + 1023."""
    return from_bits(bits(rounded) << SIGNIFICAND_BITS)


def power_of_two_single(rounded: UOp) -> UOp:
    """2 ** k of float32 for -126 <= k <= 127, where `rounded` is k + ROUNDER_SINGLE + 127."""
    return from_bits(bits(rounded) << SIGNIFICAND_BITS_SINGLE)


def about_reciprocal(x: UOp, halved: bool = False) -> UOp:
    """1 / x to 5 %, or half of that, for float32 0 <= x < 2 ** 126: what a correction may be multiplied by,
    one subtraction instead of a division; finite for 0."""
    return from_bits((0x7E7311C7 if halved else 0x7EF311C7) - bits(x))
