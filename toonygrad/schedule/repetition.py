"""What slices and rolls would compute again and again: stored before any kernel is traced.

A trace finds that too, but looks at each place first, and places multiply from step to step of a stencil.
fusion.py asks once for a schedule.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from toonygrad.schedule.boundaries import RECOMPUTE, work_above
from toonygrad.schedule.piecewise import pieces_of
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import ELEMENTWISE, LEAVES, MOVEMENT, Ops

# How a base is read: nothing for where it stands, starts and steps of slices, or a node over a CONCAT.
Way = tuple[tuple[int, int], ...] | UOp


def read_at_several_places(order: Sequence[UOp], stored: Collection[UOp]) -> dict[UOp, str]:
    """Computed nodes that are cheaper to store than to compute wherever slices and rolls read them.

    Parameters
    ----------
    order : the nodes of a schedule, sources first
    stored : those that are stored anyway
    """
    if all(node.op not in (Ops.SLICE, Ops.CONCAT) or node in stored for node in order):
        return {}
    shown: dict[UOp, tuple[UOp, Way]] = {}  # what each node shows, and how
    ways: dict[UOp, set[Way]] = {}
    sliced: set[UOp] = set()  # what shows its base by slices alone
    for node in order:
        if node in stored or (node.op not in MOVEMENT and node.op is not Ops.CONCAT):
            for source in node.src:
                base, way = shown[source]
                ways.setdefault(base, set()).add(way)
            shown[node] = node, ()
        elif node.op is Ops.CONCAT:
            pieces = pieces_of(node)
            shown[node] = (node if pieces is None else shown[pieces.source][0]), node
        else:
            (source,) = node.src
            base, way = shown[source]
            if isinstance(way, UOp):
                way = node
            elif node.op is Ops.SLICE and (source is base or source in sliced):
                sliced.add(node)
                way = _sliced(way, node.arg)
            # Of slices above other movement a trace knows more.
            shown[node] = base, way
    found: dict[UOp, str] = {}
    work: dict[UOp, int] = {}
    for node in order:
        work[node] = 0 if node in stored or node.op in LEAVES else work_above(node, work)
        places = len(ways.get(node, ()))
        if node.op in ELEMENTWISE and (places - 1) * work[node] > RECOMPUTE:
            found[node] = f"it is needed at {places} different places"
            work[node] = 0
    return found


def _sliced(way: Sequence[tuple[int, int]], arg: Sequence[tuple[int, int, int]]) -> Way:
    """Starts and steps of a slice of what is seen through others; nothing where it begins as they do."""
    seen = tuple(
        (first + start * stride, step * stride)
        for (first, stride), (start, step, _) in zip(way or [(0, 1)] * len(arg), arg, strict=True)
    )
    return () if all(place == (0, 1) for place in seen) else seen
