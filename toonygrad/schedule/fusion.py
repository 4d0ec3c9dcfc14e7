"""Where kernels begin and end, with the reason for each boundary.

`schedule` turns the nodes to store into steps in order: kernels made by tracing, and library routines. It
starts with what was asked for and traces every stored node's kernel; a node that can't be part of a kernel
becomes stored itself, until nothing new comes up. Then kernels over one domain are joined.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toonygrad.schedule.boundaries import has_no_kernel, view_of, whole
from toonygrad.schedule.one_walk import found_with_others
from toonygrad.schedule.piecewise import Block, block_of
from toonygrad.schedule.ranges import NeedsSplit
from toonygrad.schedule.repetition import read_at_several_places
from toonygrad.schedule.trace import Conflict, ForThreads, Output, Trace
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import LEAVES, MOVEMENT, Ops
from toonygrad.uop.shape import Shape, contiguous_strides, size_of

# Limits of one kernel: compile time is linear in its length (about a millisecond an operation), and beyond
# this many arrays the pointers no longer fit the registers.
MOST_OPERATIONS = 256
MOST_ARRAYS = 24
MOST_OUTPUTS = 8
# From this many parts on one library call joins them faster than a launch for each.
MOST_PARTS = 16
# Up to this part of a concatenation is copied by NumPy, on one core, where it is in memory already: what
# surrounds a block that is written is mostly so small. A share: with a number, larger shapes would compile.
COPIED_PART = 1 / 16
# From this part of an array on threads of a GPU replace a block in one pass over all of it: each launch for
# what surrounds the block takes longer than what the pass computes there in vain.
REPLACED_PART = 3 / 4
# How far back a kernel looks for another to join: wide graphs would take quadratic time otherwise.
JOIN_WITHIN = 16


@dataclass(frozen=True)
class Kernel:
    """One generated kernel.

    Attributes
    ----------
    outputs : what it stores, and where
    arrays : the memory it reads, in the order that its ACCESS nodes number
    numbers, sizes : its scalar arguments and the sizes that its expressions mention
    outer, domain : the ranges its reductions share with their consumers; all ranges of what it stores
    extents : the values each range runs over
    checks : for each gathered index the call, the axis and its size
    nodes : the recorded operations it computes, sources first
    reason : why it ends where it does
    """

    outputs: tuple[Output, ...]
    arrays: tuple[UOp, ...]
    numbers: tuple[UOp, ...]
    sizes: tuple[int, ...]
    outer: tuple[UOp, ...] | None
    domain: tuple[UOp, ...]
    extents: dict[UOp, int]
    checks: tuple[tuple[str, int, int], ...]
    nodes: tuple[UOp, ...]
    reason: str

    @property
    def reads(self) -> tuple[UOp, ...]:
        """The nodes that must stand in memory before."""
        return self.arrays

    @property
    def writes(self) -> tuple[UOp, ...]:
        """The nodes that stand in memory afterwards, in full or in part."""
        return tuple(output.node for output in self.outputs)


@dataclass(frozen=True)
class View:
    """Memory seen through movement operations, all of which offsets and strides can show.

    Attributes
    ----------
    node : what stands in memory
    path : the movement operations, the one next to memory first
    """

    node: UOp
    path: tuple[UOp, ...]


@dataclass(frozen=True)
class Routine:
    """One call of a library: for an EXTERNAL, a CONCAT of many parts, and what no kernel is generated for."""

    node: UOp
    sources: tuple[View, ...]
    reason: str

    @property
    def reads(self) -> tuple[UOp, ...]:
        """The nodes that must stand in memory before."""
        return tuple(view.node for view in self.sources)

    @property
    def writes(self) -> tuple[UOp, ...]:
        """The node that stands in memory afterwards."""
        return (self.node,)


@dataclass(frozen=True)
class Alias:
    """A stored node that is a view of other memory: nothing moves."""

    node: UOp
    view: View

    @property
    def reads(self) -> tuple[UOp, ...]:
        """The node that must stand in memory before."""
        return (self.view.node,)

    @property
    def writes(self) -> tuple[UOp, ...]:
        """The node that stands in memory afterwards."""
        return (self.node,)


@dataclass(frozen=True)
class Copy:
    """A small part of a CONCAT that is in memory already, copied to its place.

    Attributes
    ----------
    node : the CONCAT
    view : what is copied
    start : the place of its first element
    shape : of the part
    reason : why the CONCAT is stored
    """

    node: UOp
    view: View
    start: Shape
    shape: Shape
    reason: str

    @property
    def dtype(self) -> np.dtype:
        """Of what is copied."""
        return self.node.dtype

    @property
    def reads(self) -> tuple[UOp, ...]:
        """The node that must stand in memory before."""
        return (self.view.node,)

    @property
    def writes(self) -> tuple[UOp, ...]:
        """The node that stands in memory afterwards, in part."""
        return (self.node,)


Step = Kernel | Routine | Alias | Copy


class _Fusion:
    """The boundaries found so far, and kernels traced with them."""

    def __init__(self, stored: dict[UOp, str], order: Sequence[UOp], for_threads: bool) -> None:
        self.stored = stored
        self.threads = ForThreads(found_with_others(order)) if for_threads else None
        self.place = {node: number for number, node in enumerate(order)}
        self.splits: dict[UOp, dict[tuple, int]] = {}

    def kernel(self, nodes: Sequence[UOp], inlined: Sequence[UOp] = ()) -> Kernel | dict[UOp, str]:
        """The kernel that stores `nodes` and `inlined`, or the boundaries that it needs first.

        Raises
        ------
        Conflict
            They can't share one.
        """
        return self._traced(nodes, frozenset((*nodes, *inlined)), lambda trace: trace.store(nodes))

    def part(self, source: UOp, whole: UOp, offset: int) -> Kernel | dict[UOp, str]:
        """The kernel that writes `source` into the memory of `whole`, or the boundaries that it needs."""
        return self._traced((source,), frozenset(), lambda trace: trace.store_part(source, whole, offset))

    def replaced(self, block: Block, whole: UOp) -> Kernel | None:
        """The kernel that writes all of an array with a block replaced; None where it needs boundaries."""
        kernel = self._traced((whole,), frozenset(), lambda trace: trace.store_replaced(block, whole))
        return kernel if isinstance(kernel, Kernel) else None

    def _traced(
        self, nodes: Sequence[UOp], inlined: frozenset[UOp], store: Callable[[Trace], None]
    ) -> Kernel | dict[UOp, str]:
        splits = dict(self.splits.get(nodes[-1], {}))
        while True:
            trace = Trace(self.stored, splits, inlined, self.threads)
            try:
                store(trace)
            except NeedsSplit as need:
                splits[need.range.arg] = need.width
                continue
            break
        self.splits[nodes[-1]] = splits
        found = trace.boundaries | trace.repeated()
        if found:
            return found
        outputs = tuple(trace.outputs[node] for node in sorted(trace.outputs, key=self.place.__getitem__))
        return Kernel(
            outputs,
            tuple(trace.arrays),
            tuple(trace.numbers),
            tuple(trace.sizes),
            trace.outer,
            trace.domain,
            trace.extents,
            tuple(trace.checks),
            tuple(sorted(trace.computed, key=self.place.__getitem__)),
            "; ".join(dict.fromkeys(self.stored[output.node] for output in outputs)),
        )


def schedule(roots: Mapping[UOp, str], for_threads: bool = False) -> list[Step]:
    """Steps, in an order that works, that leave `roots` in memory; memory is there of ARGUMENTs alone.

    Parameters
    ----------
    roots : the nodes to store, and why
    for_threads : whether for a GPU
    """
    order = toposort(*roots)
    fusion = _Fusion(dict(roots), order, for_threads)
    _fixed_boundaries(order, fusion.stored)
    fusion.stored.update(read_at_several_places(order, fusion.stored))
    _limit_size(order, fusion.stored)
    steps: dict[UOp, list[Step]] = {}
    while True:
        found: dict[UOp, str] = {}
        for node in [n for n in order if n in fusion.stored and n not in steps]:
            made = _steps_for(node, fusion)
            if isinstance(made, dict):
                found.update(made)
            else:
                steps[node] = made
        if not found:
            found = _reduced_twice(steps, fusion.stored)
        if not found:
            break
        fusion.stored.update(found)
        _drop_outdated(steps, found)
    return _joined([step for node in order if node in steps for step in steps[node]], fusion)


def _drop_outdated(steps: dict[UOp, list[Step]], found: Mapping[UOp, str]) -> None:
    """Forget the steps to be made again once `found` are stored."""
    # A kernel that computed what is now stored reads it instead.
    outdated = {
        node
        for node, made in steps.items()
        if any(_computes(step, found) or _reads_unmade_view(step, steps) for step in made)
    }
    while outdated:
        for node in outdated:
            del steps[node]
        outdated = {node for node, made in steps.items() if any(_reads_unmade_view(s, steps) for s in made)}


def _reads_unmade_view(step: Step, steps: Collection[UOp]) -> bool:
    """Whether a movement without a step is read: it may become a view of other memory, and lie otherwise."""
    return any(node.op in MOVEMENT and node not in steps for node in step.reads)


def _computes(step: Step, found: Mapping[UOp, str]) -> bool:
    return isinstance(step, Kernel) and any(node in found for node in step.nodes)


def _steps_for(node: UOp, fusion: _Fusion) -> list[Step] | dict[UOp, str]:
    """The steps that leave one stored node in memory, or the boundaries that they need first."""
    reason = fusion.stored[node]
    if node.op in MOVEMENT:
        view = _view(node, fusion.stored.keys() - {node})
        if view is not None:
            return [Alias(node, view)]
    parts = _parts(node, fusion.stored)
    many = len(parts) > MOST_PARTS
    if node.op is Ops.EXTERNAL or many or has_no_kernel(node):
        name = node.arg[0] if node.op is Ops.EXTERNAL else node.op.name.lower()
        views = [(source, _view(source, fusion.stored)) for source in node.src]
        missing = {source: f"read by a library's routine, {name}" for source, view in views if view is None}
        return missing or [Routine(node, tuple(view for _, view in views if view is not None), reason)]
    if node.op is not Ops.CONCAT:
        kernel = fusion.kernel([node])
        return [kernel] if isinstance(kernel, Kernel) else kernel
    block = None if fusion.threads is None else block_of(node, parts)
    if block is not None and _is_most_of_it(block):
        replaced = fusion.replaced(block, node)
        if replaced is not None:
            return [replaced]
    steps: list[Step] = []
    strides = contiguous_strides(node.shape)
    for source, start in parts:
        small = size_of(source.shape) <= COPIED_PART * size_of(node.shape)
        view = _view(source, fusion.stored) if small else None
        if view is not None:
            steps.append(Copy(node, view, start, source.shape, reason))
            continue
        kernel = fusion.part(source, node, sum(map(operator.mul, start, strides)))
        if not isinstance(kernel, Kernel):
            return kernel
        steps.append(kernel)
    return steps


def _is_most_of_it(block: Block) -> bool:
    return size_of(block.value.shape) >= REPLACED_PART * size_of(block.around.shape)


def _parts(node: UOp, stored: Collection[UOp]) -> list[tuple[UOp, Shape]]:
    """What lies side by side in a CONCAT, and where: the parts of its parts, where those aren't stored."""
    if node.op is not Ops.CONCAT:
        return []
    parts: list[tuple[UOp, Shape]] = []
    stack = [(node, (0,) * len(node.shape))]
    while stack:
        part, start = stack.pop()
        if part.op is not Ops.CONCAT or (part in stored and part is not node):
            parts.append((part, start))
            continue
        axis, within = part.arg, []
        for source in part.src:
            within.append((source, start))
            start = (*start[:axis], start[axis] + source.shape[axis], *start[axis + 1 :])
        stack += reversed(within)
    return parts


def _view(node: UOp, memory: Collection[UOp]) -> View | None:
    found = view_of(node, memory)
    if found is None:
        return None
    path = []
    while node is not found[0]:
        path.append(node)
        node = node.src[0]
    return View(node, tuple(reversed(path)))


def _fixed_boundaries(order: Sequence[UOp], stored: dict[UOp, str]) -> None:
    """Store what has a memory of its own whoever its neighbours are."""
    # A concatenation that is only part of others is written where they are.
    apart = {s for node in order if node.op is not Ops.CONCAT for s in node.src if s.op is Ops.CONCAT}
    parts = {s for node in order if node.op is Ops.CONCAT for s in node.src} - apart
    for node in order:
        reason = whole(node)
        if reason is not None and (node.op is not Ops.CONCAT or node not in parts):
            stored.setdefault(node, reason)


def _limit_size(order: Sequence[UOp], stored: dict[UOp, str]) -> None:
    """Store nodes on the way where a kernel would take too many operations or arrays."""
    if len(order) <= min(MOST_OPERATIONS, MOST_ARRAYS):
        return
    operations: dict[UOp, frozenset[UOp]] = {}
    arrays: dict[UOp, frozenset[UOp]] = {}
    nothing: frozenset[UOp] = frozenset()
    for node in order:
        if node.op in LEAVES:
            operations[node] = nothing
            arrays[node] = (
                frozenset((node,)) if node.op is Ops.ARGUMENT and node.arg[3] is not None else nothing
            )
            continue
        while True:
            below = frozenset((node,)).union(*(operations[s] for s in node.src))
            read = nothing.union(*(arrays[s] for s in node.src))
            largest = max(node.src, key=lambda s: (len(arrays[s]), len(operations[s])))
            if (len(below) <= MOST_OPERATIONS and len(read) <= MOST_ARRAYS) or not operations[largest]:
                break
            stored.setdefault(largest, "a kernel would grow too large")
            operations[largest], arrays[largest] = nothing, frozenset((largest,))
        operations[node], arrays[node] = below, read
        if node in stored:
            operations[node], arrays[node] = nothing, frozenset((node,))


def _reduced_twice(steps: dict[UOp, list[Step]], stored: dict[UOp, str]) -> dict[UOp, str]:
    """Reductions that several kernels would compute, each again."""
    seen: dict[UOp, Step] = {}
    found: dict[UOp, str] = {}
    for made in steps.values():
        for step in made:
            if not isinstance(step, Kernel):
                continue
            for node in step.nodes:
                if node.op is Ops.REDUCE and node not in stored and seen.setdefault(node, step) is not step:
                    found[node] = "several kernels need it"
    return found


# -- joining kernels -----------------------------------------------------------------------------------------


def _joined(steps: list[Step], fusion: _Fusion) -> list[Step]:
    """`steps` with kernels over one domain, that share memory or feed one another, made one.

    A kernel joins an earlier one only where no step between depends on the one and is needed by the other.
    """
    groups: list[Step | None] = list(steps)
    # Which steps each step needs, directly and through others, as bits.
    needs = _dependences(steps)
    for later, step in enumerate(steps):
        if not isinstance(step, Kernel) or step.writes[0].op is Ops.CONCAT:
            continue
        for earlier in range(max(0, later - JOIN_WITHIN), later):
            one, other = groups[earlier], groups[later]
            if not isinstance(one, Kernel) or not isinstance(other, Kernel) or one.writes[0].op is Ops.CONCAT:
                continue
            if not _could_join(one, other):
                continue
            # A step between may need the one and be needed by the other, whichever comes first: what has been
            # joined to the later one may be needed by the earlier.
            if _is_between(needs, earlier, later) or _is_between(needs, later, earlier):
                continue
            kernel = _join(one, other, fusion)
            if kernel is not None:
                groups[earlier], groups[later] = None, kernel
                needs = _needs_joined(needs, earlier, later)
    return _in_order([step for step in groups if step is not None])


def _feeds(one: Kernel, other: Kernel) -> bool:
    return any(node in other.arrays for node in one.writes)


def _could_join(one: Kernel, other: Kernel) -> bool:
    """Whether two kernels have memory in common and are small enough: what is quickly known."""
    if not _feeds(one, other) and not any(array in other.arrays for array in one.arrays):
        return False
    return (
        len(one.writes) + len(other.writes) <= MOST_OUTPUTS
        and len({*one.arrays, *other.arrays}) <= MOST_ARRAYS
        and len(one.nodes) + len(other.nodes) <= MOST_OPERATIONS
    )


def _join(one: Kernel, other: Kernel, fusion: _Fusion) -> Kernel | None:
    ours, theirs = one.writes, other.writes
    together = list(dict.fromkeys((*ours, *theirs)))
    mine = [node for node in together if node.shape == theirs[-1].shape]
    rest = [node for node in together if node.shape != theirs[-1].shape]
    if not _feeds(one, other) and (rest or _loops_of(one) != _loops_of(other)):
        return None
    try:
        kernel = fusion.kernel(mine, rest)
    except Conflict:
        return None
    return kernel if isinstance(kernel, Kernel) and _stores_once(kernel) else None


def _stores_once(kernel: Kernel) -> bool:
    """Whether a kernel stores each result once: not again in a loop that the result doesn't depend on."""
    shared = set(kernel.domain if kernel.outer is None else kernel.outer)
    return all(shared <= set(output.index.atoms) for output in kernel.outputs)


def _loops_of(kernel: Kernel) -> set[tuple]:
    """What a kernel's reductions and scans run over, by shape and axes."""
    return {(node.src[0].shape, node.arg[1]) for node in kernel.nodes if node.op in (Ops.REDUCE, Ops.SCAN)}


def _dependences(steps: Sequence[Step]) -> list[int]:
    writers: dict[UOp, int] = {}
    needs: list[int] = []
    for number, step in enumerate(steps):
        mask = 0
        for node in step.reads:
            mask |= writers.get(node, 0)
        for writer in _places(mask):
            mask |= needs[writer]
        needs.append(mask)
        for node in step.writes:
            writers[node] = writers.get(node, 0) | 1 << number
    return needs


def _places(mask: int) -> Iterator[int]:
    """The places of a number's bits."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _is_between(needs: Sequence[int], one: int, other: int) -> bool:
    """Whether a step needs the one and is needed by the other."""
    return any(needs[step] >> one & 1 for step in _places(needs[other]))


def _needs_joined(needs: Sequence[int], earlier: int, later: int) -> list[int]:
    """`needs` once the earlier step is part of the later."""
    gone, joined = 1 << earlier, 1 << later
    both = (needs[earlier] | needs[later]) & ~(gone | joined)
    result = [mask & ~gone | joined | both if mask & (gone | joined) else mask for mask in needs]
    result[later] = both
    return result


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """Steps sorted so that each comes after those that write what it reads; otherwise as they stood."""
    left = {node: 0 for step in steps for node in step.writes}
    for step in steps:
        for node in step.writes:
            left[node] += 1
    waiting, ordered = list(steps), []
    while waiting:
        later = []
        for step in waiting:
            if any(left.get(node, 0) for node in step.reads if node not in step.writes):
                later.append(step)
                continue
            ordered.append(step)
            for node in step.writes:
                left[node] -= 1
        if len(later) == len(waiting):
            raise RuntimeError("the steps of a schedule depend on each other in a circle")
        waiting = later
    return ordered
