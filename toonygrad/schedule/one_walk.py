"""Reductions that a GPU's kernels compute in the walk of another that needs them (codegen/cuda_one_pass.py).

fusion.py asks once for a schedule for threads. Such a reduction needs no kernel of its own where there are
too few rows to share out, for what the kernel then stores still comes in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toonygrad import dtypes
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import LEAVES, MOVEMENT, Op, Ops

# What is as cheap to compute for a row's first element once more.
_PLAIN: frozenset[Op] = LEAVES | MOVEMENT | {Ops.ADD, Ops.SUB, Ops.MUL, Ops.DIV, Ops.NEG, Ops.ABS, Ops.SQRT}


def found_with_others(order: Sequence[UOp]) -> frozenset[UOp]:
    """The extremes whose places are looked for, and the means that squares are taken from."""
    found: list[UOp] = []
    for node in order:
        if node.op is Ops.REDUCE:
            found += _extremes(node) or _means(node)
    return frozenset(found)


def _extremes(node: UOp) -> list[UOp]:
    choice = node.src[0]
    if node.arg[0] is not Ops.MINIMUM or choice.op is not Ops.WHERE or choice.src[1].dtype != dtypes.INDEX:
        return []
    condition, place, _ = choice.src
    if any(below.op is not Ops.IOTA and below.op not in MOVEMENT for below in toposort(place)):
        return []
    for same in (condition, *condition.src):
        if same.op is Ops.EQ:
            element, extreme = same.src
            either = condition.op is Ops.OR and element.ne(element) in condition.src
            whole = either if element.dtype in dtypes.REAL_FLOATING else same is condition
            if whole and element.dtype.itemsize <= 4:
                return _beside((extreme,), node, element)
    return []


def _means(node: UOp) -> list[UOp]:
    square = node.src[0]
    if node.arg[0] is not Ops.ADD or square.op is not Ops.MUL or square.src[0] is not square.src[1]:
        return []
    deviation = square.src[0]
    if deviation.op is not Ops.SUB or node.dtype != dtypes.float32:
        return []
    x, m = deviation.src
    plain = all(below.op in _PLAIN and below.dtype == dtypes.float32 for below in toposort(x))
    return _beside(toposort(m, until={x}), node, x) if plain else []


def _beside(below: Iterable[UOp], node: UOp, x: UOp) -> list[UOp]:
    """The reductions of `x` itself over the same axes as `node`."""
    found = []
    for each in below:
        while each.op in MOVEMENT:
            each = each.src[0]
        if each.op is Ops.REDUCE and each.src[0] is x and each.arg[1] == node.arg[1]:
            found.append(each)
    return found
