"""From recorded nodes to memory: structure key, plan, run.

Whoever needs values calls `realize_nodes`. A graph's structure (its ops, args and the layouts of its leaves,
not the leaves themselves and no number of the user's) is the key of a plan; a plan is made once and then run
with other memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from toonygrad.config import counters, settings
from toonygrad.devices import DEVICE, use
from toonygrad.recognition import MOST_NODES, Recogniser, recogniser
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.interpreter import leaf_value, operation
from toonygrad.runtime.plan import Plan, make_plan
from toonygrad.schedule.piecewise import in_parts, is_rearranged
from toonygrad.schedule.ranges import viewed
from toonygrad.uop.node import UOp, device_of, toposort
from toonygrad.uop.ops import MOVEMENT, Ops
from toonygrad.uop.spec import CANONICAL, RECORDED, verify

# Plans kept. One is some kilobytes; a program that meets more structures than this makes the oldest ones
# anew.
MOST_PLANS = 4096

# Why a node is stored that nobody holds.
_AGAIN = "asked for by a second computation"

# Results worth keeping when somebody may still ask for them: they cost more to compute again than to store.
_EXPENSIVE = frozenset({Ops.REDUCE, Ops.SCAN, Ops.EXTERNAL, Ops.CONCAT})

# What may be in memory, or a number, without having been computed.
_NOT_ALWAYS_PENDING = MOVEMENT | {Ops.BUFFER, Ops.SCALAR, Ops.CONST}

# A plan that has been found this often has a function written that recognises its structure, and again after
# twice as many times, for other nodes may be held by then. It costs about what a hundred keys do.
RECOGNISED_AFTER = 64

# By setting and structure; and, by a first look at the roots, the latest that may be recognised there: one
# table, so that one bound holds for both and who forgets plans forgets how to recognise them.
_plans: dict[tuple, Plan | tuple[Recognised, ...]] = {}
_MOST_ALIKE = 4


class Recognised(NamedTuple):
    """A plan whose structure is recognised by a function."""

    recognise: Recogniser
    plan: Plan


class Structure(NamedTuple):
    """A graph told apart from what it is applied to."""

    key: tuple
    leaves: list[UOp]  # what a plan is run with, by slot: BUFFERs, and SCALARs once for each use
    number: dict[UOp, int]  # every node, sources first, to its place in the key; nothing below memory
    memory: dict[UOp, UOp]  # computed nodes to their BUFFERs
    stored: dict[UOp, str]  # the nodes to leave in memory, and why: the roots, and what is worth keeping


def realize_nodes(nodes: Sequence[UOp]) -> list[UOp]:
    """The BUFFER of each of `nodes`, computed in one schedule.

    Raises
    ------
    IndexError
        An integer array indexed out of bounds.
    MemoryError
        An output or intermediate result can't be had; what existed before is intact.
    """
    if len(nodes) == 1:
        (node,) = nodes
        if node.realized is None and node.op not in _NOT_ALWAYS_PENDING:
            if not _computed_as_before(nodes):
                _compute(nodes)
            assert node.realized is not None
            return [node.realized]
        memory = in_memory(node)
        if memory is not None:
            return [memory]
    elif nodes and _computed_as_before(nodes):
        return [node.realized or _memory(node) for node in nodes]
    pending = pending_nodes(nodes)
    for together in on_each_device(pending) if use.several and len(pending) > 1 else [pending]:
        # All of them were looked at just now.
        if together and (len(together) == len(nodes) or not _computed_as_before(together)):
            _compute(together)
    return [node.realized or _memory(node) for node in nodes]


def _compute(roots: Sequence[UOp]) -> None:
    """Compute nodes of one device, and what is worth keeping with them."""
    number, memory, key, leaves, again, expensive = _walk(roots, False)
    stored = dict.fromkeys(roots, "asked for")
    if again or expensive:
        _add_what_is_kept(stored, number, memory, again, expensive)
    key.extend(map(number.__getitem__, stored))
    structure = tuple(key)
    plan: Any = _plans.get((settings.compile, structure))
    if plan is None:
        plan = _new_plan(Structure(structure, leaves, number, memory, stored))
    else:
        counters.plans_reused += 1
        plan.found += 1
        if plan.found >= RECOGNISED_AFTER:
            _recognise(plan, roots, stored, number, memory)
    buffers = plan.run(leaves)
    if len(stored) == 1:
        (node,), (buffer,) = roots, buffers
        node.realized = UOp.known(Ops.BUFFER, (), buffer, node.dtype, node.shape)
        return
    computed = list(zip(stored, buffers, strict=True))
    if use.several and len(stored) > len(roots):
        # What stands above no memory is the CPU's wherever it was computed.
        computed = [each for each in computed if (device_of(each[0]) or DEVICE) == each[1].device]
    computed.sort(key=_sources_first)
    for node, buffer in computed:
        # Movement of what is in memory now has none of its own: who asks sees that memory as it then is.
        if node.op not in MOVEMENT or in_memory(node) is None:
            node.realized = UOp.known(Ops.BUFFER, (), buffer, node.dtype, node.shape)


# -- structures that come again and again --------------------------------------------------------------------


def _first_look(roots: Sequence[UOp]) -> tuple:
    """What tells most structures apart."""
    root = roots[0]
    return settings.compile, len(roots), root.op, root.depth, root.shape


def _computed_as_before(roots: Sequence[UOp]) -> bool:
    """Whether the structure of nodes is recognised; then they are computed."""
    recognised: Any = _plans.get(_first_look(roots), ())
    for recognise, plan in recognised:
        found = recognise(roots)
        if found is not None:
            leaves, kept = found
            counters.plans_reused += 1
            buffers = plan.run(leaves)
            for node, buffer in zip(roots, buffers):
                node.realized = UOp.known(Ops.BUFFER, (), buffer, node.dtype, node.shape)
            if kept:
                for node, buffer in zip(kept, buffers[len(roots) :]):
                    if not use.several or (device_of(node) or DEVICE) == buffer.device:  # as in `_compute`
                        node.realized = UOp.known(Ops.BUFFER, (), buffer, node.dtype, node.shape)
            return True
    return False


def _recognise(
    plan: Plan,
    roots: Sequence[UOp],
    stored: Mapping[UOp, str],
    number: dict[UOp, int],
    memory: dict[UOp, UOp],
) -> None:
    """Have the structure recognised from now on, if it is time for that."""
    often = plan.found & (plan.found - 1) == 0
    if (
        not often
        or len(number) > MOST_NODES
        or any(root.op in _NOT_ALWAYS_PENDING for root in roots)
        or _AGAIN in stored.values()
    ):
        return
    uses, own = _uses(number, memory), _OWN_REFERENCES
    counted = _references(uses)
    below, _ = _expensive_below(number, memory)
    # What is stored depends on who holds these.
    held = {
        node: references > own + used + (node in stored)
        for (node, used), references in zip(uses.items(), counted, strict=True)
        if below.get(node) and node not in roots
    }
    kept = [node for node in stored if node not in roots]
    given = _made_of_positions(number, memory)
    function = recogniser(roots, number, memory, kept, given, held)
    look = _first_look(roots)
    alike: Any = _plans.get(look, ())
    _plans[look] = (Recognised(function, plan), *alike[: _MOST_ALIKE - 1])


def on_each_device(nodes: Iterable[UOp]) -> list[list[UOp]]:
    """`nodes` by their devices: each has a schedule of its own. Those above no memory are the CPU's."""
    found: dict[str, list[UOp]] = {}
    for node in nodes:
        found.setdefault(device_of(node) or DEVICE, []).append(node)
    return list(found.values())


def _sources_first(computed: tuple[UOp, Buffer]) -> int:
    return computed[0].depth


def _memory(node: UOp) -> UOp:
    memory = in_memory(node)
    assert memory is not None
    return memory


def pending_nodes(nodes: Iterable[UOp]) -> list[UOp]:
    """Those of `nodes` that take a computation, each once; a number by itself takes none."""
    pending = []
    for node in dict.fromkeys(nodes):
        if in_memory(node) is None:
            if node.op in (Ops.SCALAR, Ops.CONST):
                node.realized = UOp.new(Ops.BUFFER, (), Buffer(leaf_value(node)))
            else:
                pending.append(node)
    return pending


def in_memory(node: UOp) -> UOp | None:
    """The BUFFER with the elements of `node` where they are in memory, be it in another order, else None."""
    if node.realized is not None:
        return node.realized
    movements = []
    while node.op in MOVEMENT and node.realized is None:
        movements.append(node)
        node = node.src[0]
    memory = node if node.op is Ops.BUFFER else node.realized
    if memory is None or not movements:
        return memory
    if memory.arg.device != DEVICE:
        seen = memory.arg.moved(movements[::-1])
        return None if seen is None else UOp.known(Ops.BUFFER, (), seen, memory.dtype, movements[0].shape)
    array = memory.arg.array
    for movement in reversed(movements):
        if movement.op is Ops.RESHAPE and viewed(movement, array.shape, array.strides) is None:
            return None
        array = operation(movement)(array)
    return UOp.new(Ops.BUFFER, (), Buffer(array))


def _new_plan(structure: Structure) -> Plan:
    roots = canonical(structure)
    if settings.debug:
        verify(RECORDED, structure.stored, given=structure.memory)
        verify(CANONICAL, roots)
    plan = _made(structure, roots)
    counters.plans_made += 1
    while len(_plans) >= MOST_PLANS:
        # Plans are cheap to make again; a list() is one step for the interpreter, so threads don't
        # disturb it.
        _plans.pop(next(iter(list(_plans))), None)
    _plans[settings.compile, structure.key] = plan
    return plan


def _made(structure: Structure, roots: dict[UOp, str]) -> Plan:
    if not use.several:
        return make_plan(roots, settings.compile)
    places = [leaf.arg.device if leaf.op is Ops.BUFFER else None for leaf in structure.leaves]
    device = next((place for place in places if place not in (None, DEVICE)), None)
    if device is None:
        return make_plan(roots, settings.compile)
    from toonygrad.runtime.cuda_plan import make_cuda_plan

    # What stands above no memory may have been computed on the CPU before.
    on_host = [slot for slot, place in enumerate(places) if place == DEVICE]
    return make_cuda_plan(roots, settings.compile, device, on_host)


def shallow(node: UOp, most: int) -> UOp:
    """`node` with fewer than `most` operations pending in a chain: some of those below are computed.

    What a loop goes on from is asked for by name: of what somebody holds, first what is needed several times.
    Computed alone, `node` would leave that to be computed again.
    """
    for several in (True, False):
        node = _over_memory(node)
        if node.depth < most:
            return node
        realize_nodes(_held_below(node, several))
    node = _over_memory(node)
    return node if node.depth < most else realize_nodes([node])[0]


class _Computed:
    """Nodes that have been computed, as a container."""

    def __contains__(self, node: object) -> bool:
        return isinstance(node, UOp) and node.realized is not None


def _over_memory(node: UOp) -> UOp:
    """`node` over the memory of what has been computed since it was recorded."""
    made: dict[UOp, UOp] = {}
    for each in toposort(node, until=_Computed()):
        # A number stays one, also where somebody has asked for its memory.
        memory = each.realized if each.src else each
        made[each] = memory or each.replace(tuple([made[source] for source in each.src]))
    return made[node]


def _held_below(root: UOp, several: bool) -> list[UOp]:
    """What is pending below `root` and somebody holds; with `several`, what is needed more than once."""
    number, memory, _, _, again, _ = _walk([root], looking=True)
    again.clear()
    uses = _uses(number, memory)
    found = []
    for node in _held(number, memory, uses):
        while node.op in MOVEMENT or is_rearranged(node):
            node = node.src[0]
        if node.src and (not several or uses[node] > 1 or node.op in _EXPENSIVE):
            found.append(node)
    return found


def structure_of(roots: Sequence[UOp], looking: bool = False) -> Structure:
    """The structure of the graph under `roots`; with `looking`, it counts as nobody's demand."""
    number, memory, key, leaves, again, expensive = _walk(roots, looking)
    stored = dict.fromkeys(roots, "asked for")
    if again or expensive:
        _add_what_is_kept(stored, number, memory, again, expensive)
    key.extend(map(number.__getitem__, stored))
    return Structure(tuple(key), leaves, number, memory, stored)


def _add_what_is_kept(
    stored: dict[UOp, str],
    number: dict[UOp, int],
    memory: dict[UOp, UOp],
    again: list[UOp],
    expensive: bool,
) -> None:
    """Add the nodes that are worth storing beside those asked for, and why."""
    if again:
        stored |= dict.fromkeys(_demanded_again(number, memory, again), _AGAIN)
        again.clear()  # references like these would look like somebody's
    if expensive:
        held = _still_held(number, memory, set(stored))
        stored |= dict.fromkeys(held, "somebody holds it and may ask for it")


def _walk(
    roots: Sequence[UOp], looking: bool
) -> tuple[dict[UOp, int], dict[UOp, UOp], list[object], list[UOp], list[UOp], bool]:
    """The parts of a Structure, nodes demanded before, and whether some are worth keeping."""
    number: dict[UOp, int] = {}
    memory: dict[UOp, UOp] = {}
    key: list[object] = []
    leaves: list[UOp] = []
    again: list[UOp] = []
    expensive = False
    buffer, scalar = Ops.BUFFER, Ops.SCALAR
    stack = list(roots)
    while stack:
        node = stack[-1]
        if node in number:
            stack.pop()
            continue
        src = node.src
        ready = True
        for source in src:
            if source in number:
                continue
            op = source.op
            if op is buffer:
                leaf = source
            elif op is scalar:
                continue
            elif source.realized is None:
                stack.append(source)
                ready = False
                continue
            else:
                leaf = memory[source] = source.realized
                if leaf in number:
                    number[source] = number[leaf]
                    continue
                number[leaf] = len(key)
            number[source] = len(key)
            leaves.append(leaf)
            key.append(leaf.arg.layout)
        if not ready:
            continue
        stack.pop()
        number[node] = len(key)
        if len(src) == 1 and src[0].op is not scalar:
            key.append((node.op, node.arg, number[src[0]]))
        elif len(src) == 2 and src[0].op is not scalar:  # most nodes
            second = src[1]
            if second.op is scalar:
                leaves.append(second)
                key.append((node.op, node.arg, number[src[0]], second.dtype))
            else:
                key.append((node.op, node.arg, number[src[0]], number[second]))
        else:
            key.append(_entry(node, number, leaves))
        if node.demanded:
            again.append(node)
        if not looking:
            node.demanded += 1
        if node.op in _EXPENSIVE and not is_rearranged(node):
            expensive = True
    return number, memory, key, leaves, again, expensive


def _entry(node: UOp, number: dict[UOp, int], leaves: list[UOp]) -> tuple:
    """A node's part of the key; the numbers among its sources join `leaves`."""
    if not node.src:
        return (node,)  # CONST and IOTA are their own structure
    entry: list[object] = [node.op, node.arg]
    for source in node.src:
        if source.op is Ops.SCALAR:
            # Each use has a slot of its own: numbers that happen to be equal make no other structure.
            leaves.append(source)
            entry.append(source.dtype)
        else:
            entry.append(number[source])
    return tuple(entry)


def canonical(structure: Structure) -> dict[UOp, str]:
    """The stored nodes over ARGUMENTs in place of memory and numbers: a plan holds nobody's memory."""
    made: dict[UOp, UOp] = {}
    slot = 0

    def argument(node: UOp) -> UOp:
        nonlocal slot
        strides = None
        if node.op is Ops.BUFFER:
            strides = tuple(stride // node.dtype.itemsize for stride in node.arg.layout[2])
        slot += 1
        return UOp.new(Ops.ARGUMENT, (), (slot - 1, node.dtype, node.shape, strides))

    for node in structure.number:
        if node in made:
            continue
        leaf = structure.memory.get(node, node)
        if leaf.op is Ops.BUFFER:
            made[node] = made[leaf] = made.get(leaf) or argument(leaf)
        elif not leaf.src:
            made[node] = node
        else:
            sources = tuple(argument(s) if s.op is Ops.SCALAR else made[s] for s in node.src)
            if node.op is Ops.REPLACE:
                made[node] = in_parts(sources[0], sources[1], node.arg)
            else:
                made[node] = UOp.new(node.op, sources, node.arg)
    return {made[node]: reason for node, reason in structure.stored.items()}


def _demanded_again(number: dict[UOp, int], memory: dict[UOp, UOp], again: list[UOp]) -> list[UOp]:
    """Nodes that an earlier computation had inside without storing them, next to nodes that are new.

    What lies below them was inside that computation as well, and is not asked for beyond them.
    """
    old = set(again)
    found: dict[UOp, None] = {}
    given = _made_of_positions(number, memory)
    for node in number:
        if node in old or node in memory:
            continue
        for source in node.src:
            while source in old and source.op in MOVEMENT:
                source = source.src[0]
            if source in old and source not in given:
                found[source] = None
    return list(found)


def _made_of_positions(number: dict[UOp, int], memory: dict[UOp, UOp]) -> set[UOp]:
    """The nodes made of positions and constants alone: cheaper to make again than to read, and shared by
    unrelated arrays.
    """
    found: set[UOp] = set()
    for node in number:
        memory_or_number = node in memory or node.op is Ops.BUFFER or node.op is Ops.SCALAR
        if not memory_or_number and found.issuperset(node.src):
            found.add(node)
    return found


def _still_held(number: dict[UOp, int], memory: dict[UOp, UOp], roots: set[UOp]) -> list[UOp]:
    """Expensive nodes that somebody outside this graph may ask for again.

    Whoever holds a node needs the expensive ones nearest below it.
    """
    held = [node for node in _held(number, memory, _uses(number, memory)) if node not in roots]
    if not any(node.src for node in held):
        return []
    below, expensive = _expensive_below(number, memory)
    kept = 0
    for node in held:
        kept |= below[node]
    return [node for place, node in enumerate(expensive) if kept >> place & 1 and node not in roots]


def _uses(number: dict[UOp, int], memory: dict[UOp, UOp]) -> Counter[UOp]:
    """How often each node is a source in this graph."""
    return Counter(chain.from_iterable([node.src for node in number if node not in memory]))


def _held(number: dict[UOp, int], memory: dict[UOp, UOp], uses: Counter[UOp]) -> list[UOp]:
    """Nodes that have more references than the graph's own: somebody holds them."""
    own = _OWN_REFERENCES
    return [
        node
        for (node, used), references in zip(uses.items(), _references(uses), strict=True)
        if references > own + used and node in number and node not in memory
    ]


def _expensive_below(number: dict[UOp, int], memory: dict[UOp, UOp]) -> tuple[dict[UOp, int], list[UOp]]:
    """For each node the expensive ones nearest below it, as bits by their place in the list of them."""
    below: dict[UOp, int] = {}
    expensive: list[UOp] = []
    for node in number:
        below[node] = 0
        if node.op in _EXPENSIVE and node not in memory and not is_rearranged(node):
            below[node] = 1 << len(expensive)
            expensive.append(node)
        elif node not in memory:
            for source in node.src:
                below[node] |= below.get(source, 0)
    return below, expensive


def _references(uses: Mapping[UOp, int]) -> list[int]:
    return [sys.getrefcount(node) for node in uses]


def _count_own_references() -> int:
    """References to a node in `_still_held` that nobody holds: two tables, and the counting itself."""
    number = {UOp.new(Ops.IOTA, (), ((0,), -1)): 0}
    return _references(Counter(number))[0]


_OWN_REFERENCES = _count_own_references()
