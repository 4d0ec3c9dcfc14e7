"""What the decompositions of transcendentals share: polynomials, sums and products with their rounding
errors, powers of two by bits.

The transcendental rooms call it; every function takes and gives float64 nodes of a kernel graph unless it
says otherwise. A pair (high, low) stands for the unevaluated sum high + low, about twice the precision of
float64. Imports uop and dtypes.
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

# Adding this rounds |x| < 2**51 to an integer, which then stands in the low bits of the sum's pattern: two
# additions instead of a conversion to int64 and back, which AVX2 hasn't.
ROUNDER = 1.5 * 2.0**52
ROUNDER_BITS = 0x4338 << 48
ROUNDER_SINGLE = 1.5 * 2.0**23
SIGNIFICAND_BITS_SINGLE = 23

INFINITY = math.inf
NAN = math.nan


def number(value: float, dtype: np.dtype = dtypes.float64) -> UOp:
    """A constant."""
    return UOp.const(value, dtype)


def bits(x: UOp) -> UOp:
    """The bit pattern as int64."""
    return x.bitcast(dtypes.int64)


def from_bits(pattern: UOp) -> UOp:
    """The float64 of an int64 pattern."""
    return pattern.bitcast(dtypes.float64)


def copysign(magnitude: UOp, sign: UOp) -> UOp:
    """`magnitude` with the sign of `sign`."""
    return magnitude.alu(Ops.COPYSIGN, sign)


def sqrt(x: UOp) -> UOp:
    """The square root."""
    return x.alu(Ops.SQRT)


def polynomial(x: UOp, coefficients: Sequence[float]) -> UOp:
    """Horner's rule, lowest power first: loops over many elements are bound by the number of operations,
    not by their order."""
    result = number(coefficients[-1], x.dtype)
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
