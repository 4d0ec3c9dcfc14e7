"""Lifetimes: when each intermediate result of a schedule can give its memory back.

A plan drops a temporary after the last step that reads it; the pool hands the same memory to a later step, so
a chain of steps needs as many buffers as are alive at once, not as many as it has steps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from toonygrad.schedule.fusion import Alias, Copy, Kernel, Step
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of


def last_uses(steps: Sequence[Step], kept: Collection[UOp]) -> list[list[UOp]]:
    """For each step, the stored nodes that nothing needs once it has run.

    Parameters
    ----------
    steps : in the order in which they run
    kept : nodes whose memory is handed out
    """
    last: dict[UOp, int] = {}
    for number, step in enumerate(steps):
        for node in (*step.writes, *step.reads):
            if node.op is not Ops.ARGUMENT:
                last[node] = number
    dead: list[list[UOp]] = [[] for _ in steps]
    for node, number in last.items():
        if node not in kept:
            dead[number].append(node)
    return dead


def peak_bytes(steps: Sequence[Step], kept: Collection[UOp]) -> int:
    """The most bytes of outputs and temporaries that are alive at once while the steps run."""
    alive: dict[UOp, int] = {}
    peak = 0
    for step, dead in zip(steps, last_uses(steps, kept), strict=True):
        for node in step.writes:
            alive[node] = 0 if isinstance(step, Alias) else _size(node)
        peak = max(peak, sum(alive.values()))
        for node in dead:
            del alive[node]
    return peak


def bytes_moved(step: Step) -> int:
    """Bytes that a step reads from and writes to memory, each element once."""
    if isinstance(step, Alias):
        return 0
    return sum(bytes_read(step).values()) + sum(bytes_written(step).values())


def bytes_read(step: Step) -> dict[UOp, int]:
    """Bytes of each array that a step reads, an element counted once however often it is read."""
    if isinstance(step, Copy):
        return {step.view.node: _size(step)}
    if not isinstance(step, Kernel):
        return {node: _size(node) for node in step.reads}
    elements = dict.fromkeys(step.arrays, 0)
    for node in toposort(*(output.value for output in step.outputs)):
        if node.op is Ops.ACCESS:
            ranges = {a for source in node.src for a in toposort(source) if a.op is Ops.RANGE}
            elements[step.arrays[node.arg[0]]] += size_of([step.extents[a] for a in ranges])
    return {array: min(count * array.dtype.itemsize, _size(array)) for array, count in elements.items()}


def bytes_written(step: Step) -> dict[UOp, int]:
    """Bytes of each node that a step writes."""
    if isinstance(step, Copy):
        return {step.node: _size(step)}
    if not isinstance(step, Kernel):
        return {node: _size(node) for node in step.writes}
    return {
        output.node: size_of([step.extents[a] for a in output.index.atoms]) * output.node.dtype.itemsize
        for output in step.outputs
    }


def _size(memory: UOp | Copy) -> int:
    return size_of(memory.shape) * memory.dtype.itemsize
