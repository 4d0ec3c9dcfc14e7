"""Evaluates scalar expressions of kernels on arrays through the interpreter: for tests of the rules.

What only kernels have is given here, and what the rules promise about it is checked: divisors and shift
amounts are safe.
"""

from collections.abc import Callable

import numpy as np

from toonygrad.codegen.cpu import two_over_pi
from toonygrad.runtime.interpreter import leaf_value, operation
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops


def variable(name: str, dtype: np.dtype) -> UOp:
    """A leaf to bind to an array."""
    return UOp.new(Ops.VARIABLE, (), (name, dtype))


def evaluate(root: UOp, values: dict[UOp, np.ndarray]) -> np.ndarray:
    """The value of `root` with its VARIABLEs bound to arrays."""
    done = dict(values)
    with np.errstate(all="ignore"):
        for node in toposort(root):
            if node not in done:
                sources = [done[source] for source in node.src]
                done[node] = leaf_value(node) if node.op is Ops.CONST else _compute(node, *sources)
                assert np.asarray(done[node]).dtype == node.dtype, node
    return np.asarray(done[root])


def _compute(node: UOp, *sources: np.ndarray) -> np.ndarray:
    return (_OF_KERNELS.get(node.op) or operation(node))(*sources)


def _quotient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    _assert_safe_divisor(x, y)
    return (x - np.fmod(x, y)) // y


def _modulo(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        _assert_safe_divisor(x, y)
    return np.fmod(x, y)


def _assert_safe_divisor(x: np.ndarray, y: np.ndarray) -> None:
    assert np.all(y != 0)
    assert not np.any((y == -1) & (x == np.iinfo(x.dtype).min)) or x.dtype.kind == "u"


def _shift(function: np.ufunc) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def shift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        assert np.all((y >= 0) & (y < x.dtype.itemsize * 8))
        return function(x, y)

    return shift


_OF_KERNELS: dict = {
    Ops.TWO_OVER_PI: np.vectorize(two_over_pi, otypes=[np.uint64]),
    Ops.QUOTIENT: _quotient,
    Ops.MODULO: _modulo,
    Ops.SHIFT_LEFT: _shift(np.left_shift),
    Ops.SHIFT_RIGHT: _shift(np.right_shift),
    Ops.GUARDED: lambda fast, slow, condition: np.where(condition, fast, slow),
}
