"""What a node alone says of where kernels end: its work, whether it has memory of its own, what it shows.

trace.py and repetition.py ask for each node they come by, fusion.py before it traces any.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from toonygrad import dtypes
from toonygrad.schedule import ranges
from toonygrad.schedule.piecewise import pieces_of
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import ELEMENTWISE, MOVEMENT, TRANSCENDENTAL, Op, Ops
from toonygrad.uop.shape import Shape, contiguous_strides

# What an operation costs beside reading an element from cache, in additions: measured in
# benchmarks/transcendental.py.
_COST: dict[Op, int] = {
    **dict.fromkeys(TRANSCENDENTAL, 20),
    **dict.fromkeys((Ops.DIV, Ops.SQRT, Ops.FLOORDIV, Ops.REMAINDER), 5),
}
# Computing an element again is worth this many additions before it is stored instead: a store and a load from
# memory.
RECOMPUTE = 16
SIDE_BY_SIDE = "its parts are written side by side"


def work_above(node: UOp, work: Mapping[UOp, int]) -> int:
    """Additions that one element of `node` costs, given those of its sources."""
    below = [work[source] for source in node.src]
    if node.op is Ops.CONCAT:
        return max(below)  # an element is one of one part
    own = _COST.get(node.op, 1) if node.op in ELEMENTWISE else 0
    return min(own + sum(below), 1 << 30)


def whole(node: UOp) -> str | None:
    """Why `node` always has a memory of its own, whoever its neighbours are; None where it doesn't."""
    if node.op is Ops.EXTERNAL:
        return "a library's routine"
    if node.op is Ops.CONCAT and pieces_of(node) is None:
        return SIDE_BY_SIDE
    if node.op is Ops.SCAN:
        return "a running combination needs all that stands before"
    if has_no_kernel(node):
        return "products of complex numbers run through the interpreter"
    return None


def has_no_kernel(node: UOp) -> bool:
    """Whether no kernel is generated for `node`: a complex product has two parts that need each other."""
    product = node.op in (Ops.REDUCE, Ops.SCAN) and node.arg[0] is Ops.MUL
    return product and node.dtype in dtypes.COMPLEX_FLOATING


def view_of(node: UOp, memory: Collection[UOp]) -> tuple[UOp, int, Shape] | None:
    """The memory that `node` is a view of, offset and strides in elements; None where it must be computed.

    A movement node in `memory` is an alias of what it is a view of where it is one, and else stands there
    row-major.
    """
    chain = [node]
    while chain[-1].op in MOVEMENT:
        chain.append(chain[-1].src[0])
    found: tuple[UOp, int, Shape] | None = None
    for seen in reversed(chain):
        if seen.op in MOVEMENT and found is not None:
            base, offset, strides = found
            view = ranges.viewed(seen, seen.src[0].shape, strides)
            found = None if view is None else (base, offset + view[0], view[1])
        elif seen.op is Ops.ARGUMENT and seen.arg[3] is not None:
            found = seen, 0, seen.arg[3]
        if found is None and seen in memory:
            found = seen, 0, contiguous_strides(seen.shape)
    return found
