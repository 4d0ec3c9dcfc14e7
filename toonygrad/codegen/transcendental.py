"""Transcendental functions in primitives that vectorise: one rule for each, applied to kernel graphs by
codegen.

No branches and no tables, so that a loop over them becomes vector instructions. At most 1 ULP in float64
and float32 with every special case of the standard (docs/transcendentals.md has the measured errors;
tests/test_transcendental.py holds them). The rooms transcendental_*.py have the mathematics by family, the
same for both types but for constants; this one lists it. Imports uop and dtypes.
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

# op -> its decomposition for operands of float64 or float32.
DECOMPOSITIONS: dict[Op, Callable[..., UOp]] = {
    Ops.EXP: exponential.exp,
    Ops.EXPM1: exponential.expm1,
    Ops.SINH: exponential.sinh,
    Ops.COSH: exponential.cosh,
    Ops.TANH: exponential.tanh,
    Ops.SIN: trigonometric.sin,
    Ops.COS: trigonometric.cos,
    Ops.TAN: trigonometric.tan,
    Ops.ASIN: inverse.asin,
    Ops.ACOS: inverse.acos,
    Ops.ATAN: inverse.atan,
    Ops.ATAN2: inverse.atan2,
    Ops.LOG: logarithm.log,
    Ops.LOG1P: logarithm.log1p,
    Ops.LOG2: logarithm.log2,
    Ops.LOG10: logarithm.log10,
    Ops.ASINH: logarithm.asinh,
    Ops.ACOSH: logarithm.acosh,
    Ops.ATANH: logarithm.atanh,
    Ops.POW: power.pow,
    Ops.HYPOT: power.hypot,
    Ops.LOGADDEXP: power.logaddexp,
}

TRANSCENDENTAL_RULES = PatternMatcher(
    [
        (
            UPat(tuple(DECOMPOSITIONS), name="node", dtype=dtypes.REAL_FLOATING),
            lambda node: DECOMPOSITIONS[node.op](*node.src),
        ),
        (
            UPat(Ops.NEXTAFTER, name="node", dtype=dtypes.REAL_FLOATING),
            lambda node: power.nextafter(*node.src),
        ),
    ]
)
