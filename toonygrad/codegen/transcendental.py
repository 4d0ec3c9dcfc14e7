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

# op -> (its float64 form, its float32 form: of operands converted to float64, with a result that is rounded
# to float32 once).
DECOMPOSITIONS: dict[Op, tuple[Decomposition, Decomposition]] = {
    Ops.EXP: (exponential.exp, exponential.exp_short),
    Ops.EXPM1: (exponential.expm1, exponential.expm1_short),
    Ops.SINH: (exponential.sinh, exponential.sinh_short),
    Ops.COSH: (exponential.cosh, exponential.cosh_short),
    Ops.TANH: (exponential.tanh, exponential.tanh_short),
    Ops.SIN: (trigonometric.sin, trigonometric.sin_short),
    Ops.COS: (trigonometric.cos, trigonometric.cos_short),
    Ops.TAN: (trigonometric.tan, trigonometric.tan_short),
    Ops.ASIN: (inverse.asin, inverse.asin_short),
    Ops.ACOS: (inverse.acos, inverse.acos_short),
    Ops.ATAN: (inverse.atan, inverse.atan_short),
    Ops.ATAN2: (inverse.atan2, inverse.atan2_short),
    Ops.LOG: (logarithm.log, logarithm.log_short),
    Ops.LOG1P: (logarithm.log1p, logarithm.log1p_short),
    Ops.LOG2: (logarithm.log2, logarithm.log2_short),
    Ops.LOG10: (logarithm.log10, logarithm.log10_short),
    Ops.ASINH: (logarithm.asinh, logarithm.asinh_short),
    Ops.ACOSH: (logarithm.acosh, logarithm.acosh_short),
    Ops.ATANH: (logarithm.atanh, logarithm.atanh_short),
    Ops.POW: (power.pow, power.pow_short),
    Ops.HYPOT: (power.hypot, power.hypot_short),
    Ops.LOGADDEXP: (power.logaddexp, power.logaddexp_short),
}


def decompose(node: UOp) -> UOp | None:
    """`node`, a transcendental of a real floating type, in primitives; None where it is of another type."""
    double, single = DECOMPOSITIONS[node.op]
    if node.dtype == dtypes.float64:
        return double(*node.src)
    if node.dtype == dtypes.float32:
        return single(*(source.cast(dtypes.float64) for source in node.src)).cast(dtypes.float32)
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
