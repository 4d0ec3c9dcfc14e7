"""Transcendental functions in primitives that vectorise: one rule for each, applied to kernel graphs by
codegen.

No branches and no tables, so that a loop over them becomes vector instructions. At most 1 ULP in float64
and float32 with every special case of the standard (docs/transcendentals.md has the measured errors;
tests/test_transcendental.py holds them). The rooms transcendental_*.py have the mathematics by family; this
one lists it. Imports uop and dtypes.
"""

from __future__ import annotations

from collections.abc import Callable

from toonygrad import dtypes
from toonygrad.codegen import transcendental_exponential as exponential
from toonygrad.codegen import transcendental_inverse as inverse
from toonygrad.codegen import transcendental_logarithm as logarithm
from toonygrad.codegen import transcendental_power as power
from toonygrad.codegen import transcendental_trigonometric as trigonometric
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.pattern import PatternMatcher, UPat

Decomposition = Callable[..., UOp]


def by_float64(decomposition: Decomposition) -> Decomposition:
    """For float32: evaluated in float64, to some bits more than float32 has, and rounded once."""
    return lambda *operands: decomposition(*(x.cast(dtypes.float64) for x in operands)).cast(dtypes.float32)


# op -> its decomposition for operands of float64, and for operands of float32.
DECOMPOSITIONS: dict[Op, tuple[Decomposition, Decomposition]] = {
    Ops.EXP: (exponential.exp, exponential.exp_single),
    Ops.EXPM1: (exponential.expm1, by_float64(exponential.expm1_short)),
    Ops.SINH: (exponential.sinh, by_float64(exponential.sinh_short)),
    Ops.COSH: (exponential.cosh, by_float64(exponential.cosh_short)),
    Ops.TANH: (exponential.tanh, by_float64(exponential.tanh_short)),
    Ops.SIN: (trigonometric.sin, by_float64(trigonometric.sin_short)),
    Ops.COS: (trigonometric.cos, by_float64(trigonometric.cos_short)),
    Ops.TAN: (trigonometric.tan, by_float64(trigonometric.tan_short)),
    Ops.ASIN: (inverse.asin, by_float64(inverse.asin_short)),
    Ops.ACOS: (inverse.acos, by_float64(inverse.acos_short)),
    Ops.ATAN: (inverse.atan, by_float64(inverse.atan_short)),
    Ops.ATAN2: (inverse.atan2, by_float64(inverse.atan2_short)),
    Ops.LOG: (logarithm.log, by_float64(logarithm.log_short)),
    Ops.LOG1P: (logarithm.log1p, by_float64(logarithm.log1p_short)),
    Ops.LOG2: (logarithm.log2, by_float64(logarithm.log2_short)),
    Ops.LOG10: (logarithm.log10, by_float64(logarithm.log10_short)),
    Ops.ASINH: (logarithm.asinh, by_float64(logarithm.asinh_short)),
    Ops.ACOSH: (logarithm.acosh, by_float64(logarithm.acosh_short)),
    Ops.ATANH: (logarithm.atanh, by_float64(logarithm.atanh_short)),
    Ops.POW: (power.pow, by_float64(power.pow_short)),
    Ops.HYPOT: (power.hypot, by_float64(power.hypot_short)),
    Ops.LOGADDEXP: (power.logaddexp, by_float64(power.logaddexp_short)),
}


def decompose(node: UOp) -> UOp | None:
    """`node`, a transcendental of a real floating type, in primitives; None where it is of another type."""
    double, single = DECOMPOSITIONS[node.op]
    if node.dtype == dtypes.float64:
        return double(*node.src)
    if node.dtype == dtypes.float32:
        return single(*node.src)
    return None


TRANSCENDENTAL_RULES = PatternMatcher(
    [
        (UPat(tuple(DECOMPOSITIONS), name="node"), decompose),
        (
            UPat(Ops.NEXTAFTER, name="node", dtype=dtypes.REAL_FLOATING),
            lambda node: power.nextafter(*node.src),
        ),
    ]
)
