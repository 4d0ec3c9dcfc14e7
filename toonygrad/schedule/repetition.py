"""What rolled reads would compute again and again: stored before any kernel is traced.

A trace finds that too, but looks at each place first, and places multiply from step to step of a stencil on a
torus. fusion.py asks once for a schedule.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from toonygrad.schedule.piecewise import pieces_of
from toonygrad.schedule.trace import RECOMPUTE, work_above
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import ELEMENTWISE, LEAVES, MOVEMENT, Ops


def read_at_several_places(order: Sequence[UOp], stored: Collection[UOp]) -> dict[UOp, str]:
    """Computed nodes that are cheaper to store than to compute wherever movement over a CONCAT reads them.

    Parameters
    ----------
    order : the nodes of a schedule, sources first
    stored : those that are stored anyway
    """
    if all(node.op is not Ops.CONCAT or node in stored for node in order):
        return {}
    # What each node shows, and whether through a CONCAT.
    shown: dict[UOp, tuple[UOp, bool]] = {}
    ways: dict[UOp, set[UOp]] = {}
    for node in order:
        moves = node not in stored and (node.op in MOVEMENT or node.op is Ops.CONCAT)
        if not moves:
            for source in node.src:
                base, rolled = shown[source]
                ways.setdefault(base, set()).add(source if rolled else base)
            shown[node] = node, False
        elif node.op is Ops.CONCAT:
            pieces = pieces_of(node)
            shown[node] = (node if pieces is None else shown[pieces.source][0]), True
        else:
            shown[node] = shown[node.src[0]]
    found: dict[UOp, str] = {}
    work: dict[UOp, int] = {}
    for node in order:
        work[node] = 0 if node in stored or node.op in LEAVES else work_above(node, work)
        places = len(ways.get(node, ()))
        if node.op in ELEMENTWISE and (places - 1) * work[node] > RECOMPUTE:
            found[node] = f"it is needed at {places} different places"
            work[node] = 0
    return found
