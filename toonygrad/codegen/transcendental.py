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
    Ops.EXPM1: (exponential.expm1, exponential.expm1_single),
    Ops.SINH: (exponential.sinh, exponential.sinh_single),
    Ops.COSH: (exponential.cosh, exponential.cosh_single),
    Ops.TANH: (exponential.tanh, exponential.tanh_single),
    Ops.SIN: (trigonometric.sin, trigonometric.sin_single),
    Ops.COS: (trigonometric.cos, trigonometric.cos_single),
    Ops.TAN: (trigonometric.tan, trigonometric.tan_single),
    Ops.ASIN: (inverse.asin, inverse.asin_single),
    Ops.ACOS: (inverse.acos, inverse.acos_single),
    Ops.ATAN: (inverse.atan, inverse.atan_single),
    Ops.ATAN2: (inverse.atan2, inverse.atan2_single),
    Ops.LOG: (logarithm.log, logarithm.log_single),
    Ops.LOG1P: (logarithm.log1p, logarithm.log1p_single),
    Ops.LOG2: (logarithm.log2, logarithm.log2_single),
    Ops.LOG10: (logarithm.log10, logarithm.log10_single),
    Ops.ASINH: (logarithm.asinh, logarithm.asinh_single),
    Ops.ACOSH: (logarithm.acosh, logarithm.acosh_single),
    Ops.ATANH: (logarithm.atanh, logarithm.atanh_single),
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
