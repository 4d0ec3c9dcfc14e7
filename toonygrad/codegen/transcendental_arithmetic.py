"""What the decompositions of transcendentals share: the layout of floats, constants by type, polynomials,
sums and products with their rounding errors.

The transcendental rooms call it; every function takes and gives nodes of a kernel graph, float64 or float32
alike. A pair (high, low) stands for the unevaluated sum high + low, about twice the precision of its type.
Imports uop and dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from toonygrad import dtypes
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

Pair = tuple[UOp, UOp]
T = TypeVar("T")

INFINITY = math.inf
NAN = math.nan


@dataclass(frozen=True)
class Format:
    """A floating type's layout.

    Attributes
    ----------
    floating, integer : the type, and the signed integer type of the same size
    digits : bits of the significand that are stored
    bias : what is added to an exponent
    """

    floating: np.dtype
    integer: np.dtype
    digits: int
    bias: int

    @property
    def exponent_digits(self) -> int:
        """How many bits the exponent has."""
        return (2 * self.bias + 1).bit_length()

    @property
    def significand(self) -> int:
        """The bits of the significand."""
        return (1 << self.digits) - 1

    @property
    def sign(self) -> int:
        """The bit of the sign."""
        return -((self.bias + 1) << (self.digits + 1))

    @property
    def one_bits(self) -> int:
        """The pattern of 1."""
        return self.bias << self.digits

    @property
    def least_normal(self) -> float:
        """The least number with all its digits."""
        return 2.0 ** (1 - self.bias)

    @property
    def rounder(self) -> float:
        """What, added, rounds to an integer, which then stands in the low bits of the sum's pattern: two
        additions instead of a conversion to int64 and back, which AVX2 hasn't."""
        return 1.5 * 2.0**self.digits

    @property
    def rounder_bits(self) -> int:
        """The pattern of `rounder`."""
        return ((self.bias + self.digits) << self.digits) | (1 << (self.digits - 1))


DOUBLE, SINGLE = Format(dtypes.float64, dtypes.int64, 52, 1023), Format(dtypes.float32, dtypes.int32, 23, 127)


class ByType(NamedTuple, Generic[T]):
    """A constant for float64, and what stands for it in float32."""

    double: T
    single: T

    def of(self, x: UOp) -> T:
        """The one for the type of `x`."""
        return self.double if x.dtype == dtypes.float64 else self.single


FORMATS = ByType(DOUBLE, SINGLE)


def number(value: float, like: UOp) -> UOp:
    """A constant of the type of `like`."""
    return UOp.const(value, like.dtype)


def bits(x: UOp) -> UOp:
    """The bit pattern as a signed integer of the same size."""
    return x.bitcast(FORMATS.of(x).integer)


def from_bits(pattern: UOp) -> UOp:
    """The float of a signed integer's pattern."""
    return pattern.bitcast(dtypes.float64 if pattern.dtype == dtypes.int64 else dtypes.float32)


def copysign(magnitude: UOp, sign: UOp) -> UOp:
    """`magnitude` with the sign of `sign`."""
    return magnitude.alu(Ops.COPYSIGN, sign)


def clamp(x: UOp, low: float, high: float) -> UOp:
    """`x` inside [low, high]; NaN stays."""
    x = (x > high).where(number(high, x), x)
    return (x < low).where(number(low, x), x)


# Of so many coefficients on, even and odd powers are summed side by side: on a Zen 4 that made exp 3 % faster
# with AVX-512 and 7 % with AVX2, pow and tanh 5 %; shorter ones lose by the product more.
SIDE_BY_SIDE = 8


def polynomial(x: UOp, coefficients: Sequence[float | UOp]) -> UOp:
    """Horner's rule, lowest power first. Of a long polynomial the last step alone is Horner's: the one
    whose rounding shows."""
    if len(coefficients) >= SIDE_BY_SIDE:
        first, *others = coefficients
        square = x * x
        return polynomial(square, others[1::2]).fma(x, polynomial(square, others[::2])).fma(x, first)
    last = coefficients[-1]
    result = last if isinstance(last, UOp) else number(last, x)
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
    """a * b to about twice the precision."""
    high, low = exact_product(a[0], b[0])
    return high, a[0].fma(b[1], a[1].fma(b[0], low))


def pair_sum(larger: Pair, smaller: Pair) -> Pair:
    """larger + smaller to about twice the precision, where they don't cancel."""
    high, low = ordered_sum(larger[0], smaller[0])
    return high, low + (larger[1] + smaller[1])


def quotient(numerator: UOp, denominator: Pair, low: UOp | None = None) -> Pair:
    """(numerator + low) / denominator to about twice the precision, with one division."""
    reciprocal = 1.0 / denominator[0]
    high = numerator * reciprocal
    rest = (-high).fma(denominator[1], (-high).fma(denominator[0], numerator))
    return high, (rest if low is None else rest + low) * reciprocal


def about_reciprocal(x: UOp, halved: bool = False) -> UOp:
    """1 / x to 5 %, or half of that, for x >= 0 below a quarter of the largest: what a correction may be
    multiplied by, one subtraction instead of a division; finite for 0."""
    form = FORMATS.of(x)
    pattern = ((2 * form.bias - 1) << form.digits) + (0x7311C7 << (form.digits - 23))
    return from_bits((pattern - (1 << form.digits) if halved else pattern) - bits(x))


def power_of_two(rounded: UOp) -> UOp:
    """2 ** k for normal results, where `rounded` is k + rounder + bias."""
    return from_bits(bits(rounded) << FORMATS.of(rounded).digits)


def root_and_rest(x: UOp, low: UOp | None = None) -> Pair:
    """sqrt(x + low) as a pair, to four bits more than the type has."""
    root = x.alu(Ops.SQRT)
    rest = (-root).fma(root, x)
    return root, (rest if low is None else rest + low) * about_reciprocal(root, halved=True)
