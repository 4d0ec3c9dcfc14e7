"""One kernel's expression: recorded nodes evaluated at index functions, down to the memory they read.

A Trace starts at the nodes a kernel stores and walks towards their sources, turning every movement operation
into a change of index. Where a node can't be part of this kernel, it becomes a boundary with a reason;
fusion.py stores it and traces again. Iterative: the walk is a stack of generators.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from toonygrad import dtypes
from toonygrad.schedule import ranges
from toonygrad.schedule.boundaries import RECOMPUTE, SIDE_BY_SIDE, view_of, whole, work_above
from toonygrad.schedule.piecewise import Block, Piecewise, composed, pieces_of
from toonygrad.schedule.ranges import Index, NotAffine
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import ELEMENTWISE, MOVEMENT, Ops
from toonygrad.uop.shape import Shape, contiguous_strides, size_of

Indices = tuple[Index, ...]
Steps = Generator[tuple[UOp, Indices], UOp, UOp]

# Kernels that evaluate fewer elements than this may waste work: another launch costs more.
SMALL = 4096
# Rows to share among cores before a reduction and its consumers live in one kernel; short ones are always
# worth it.
FEWEST_ROWS = 16
FEWEST_COLUMNS = 4096
# On a GPU: a reduction of so few terms is written out where another reduces it, and a thread computes so many
# neighbouring results side by side, with what they share computed once (codegen/cuda_few.py).
SHORT = 8
FEW_RESULTS = 8


class Conflict(Exception):
    """Nodes that were to share a kernel can't."""


@dataclass(frozen=True)
class ForThreads:
    """What is otherwise for kernels that threads of a GPU run.

    Attributes
    ----------
    beside : reductions that are found in one walk with others that need them
    fewest_rows : in place of FEWEST_ROWS
    """

    beside: frozenset[UOp]
    fewest_rows: int = 128


@dataclass(frozen=True)
class Output:
    """A node that a kernel stores: its scalar value at a flat index into the node's row-major memory."""

    node: UOp
    value: UOp
    index: Index


def range_named(*name: object) -> UOp:
    """The loop range of this name; equal names are the same range."""
    return UOp.new(Ops.RANGE, (), name)


class Trace:
    """The evaluation of stored nodes for one kernel.

    Parameters
    ----------
    memory : nodes that stand in memory when the kernel runs, which it reads
    splits : for a range's name, the width at which it runs as two
    inlined : stored nodes that this kernel itself computes
    threads : what is otherwise for a kernel that threads of a GPU run; None on the CPU
    """

    def __init__(
        self,
        memory: Mapping[UOp, object],
        splits: dict[tuple, int],
        inlined: frozenset[UOp] = frozenset(),
        threads: ForThreads | None = None,
    ) -> None:
        self.memory, self.splits, self.inlined, self.threads = memory, splits, inlined, threads
        self.scans = [node for node in inlined if node.op is Ops.SCAN]
        self.extents: dict[UOp, int] = {}
        self.arrays: list[UOp] = []
        self.numbers: list[UOp] = []
        self.sizes: list[int] = []
        self.checks: list[tuple[str, int, int]] = []
        self.outputs: dict[UOp, Output] = {}
        self.stored_at: dict[UOp, Indices] = {}
        self.outer: tuple[UOp, ...] | None = None
        self.domain: tuple[UOp, ...] = ()
        self.domain_indices: Indices = ()
        self._domain_shape: Shape = ()
        self.boundaries: dict[UOp, str] = {}
        self.computed: dict[UOp, None] = {}
        self.places: dict[UOp, set[Indices]] = {}
        self._values: dict[tuple[UOp, Indices], UOp] = {}
        self._views: dict[UOp, tuple[UOp, int, Shape] | None] = {}
        self._work: dict[UOp, int] = {}
        self._piecewise: dict[UOp, Piecewise] = {}
        self._shifts: dict[tuple, tuple[UOp, ...]] = {}
        self._scans: dict[UOp, UOp] = {}

    # -- ranges ----------------------------------------------------------------------------------------------

    def range_of(self, name: tuple, extent: int) -> Index:
        """The index that runs over `extent` values: a range, or several where it is split."""
        if extent == 1:
            return ranges.ZERO
        width = self.splits.get(name)
        if width is None:
            node = range_named(*name)
            self.extents[node] = extent
            return ranges.atom(node)
        return self.range_of((*name, 0), extent // width).scaled(width) + self.range_of((*name, 1), width)

    # -- roots -----------------------------------------------------------------------------------------------

    def run_over(self, shape: Shape) -> None:
        """Make `shape` the domain of the kernel."""
        self._domain_shape = shape
        self.domain_indices = tuple(self.range_of(("domain", axis), size) for axis, size in enumerate(shape))
        self.domain = tuple(a for index in self.domain_indices for a in _in_order(index))

    def store(self, nodes: Sequence[UOp]) -> None:
        """Evaluate `nodes`, of one shape, over a common domain, and store them.

        Raises
        ------
        NeedsSplit
            A range must run as two; the caller traces again with the split.
        Conflict
            The nodes can't share a kernel.
        """
        if len(nodes) == 1 and nodes[0].op is Ops.RESHAPE:
            # The same memory as its source has in row-major order, so its own shape need not be walked.
            self.store_part(nodes[0].src[0], nodes[0], 0)
            if missing := [node for node in self.inlined if node not in self.outputs]:
                raise Conflict(missing)
            return
        self.run_over(nodes[0].shape)
        if any(node.op is Ops.REDUCE for node in nodes):
            self.outer = self.domain
            if self.scans:
                raise Conflict(nodes)
        if len({node.arg[1] for node in self.scans}) > 1:
            raise Conflict(nodes)
        self.stored_at.update(dict.fromkeys(nodes, self.domain_indices))
        for node in nodes:
            self._store_here(node)
        for node in [n for n in self.inlined if n not in self.stored_at]:
            # Nobody here reads it: it is computed beside another result of its shape.
            places = [at for other, at in self.stored_at.items() if other.shape == node.shape]
            if not places:
                raise Conflict([node])
            self.stored_at[node] = places[0]
            self._store_here(node)

    def _store_here(self, node: UOp) -> None:
        indices = self.stored_at[node]
        steps = (self._value if node.op is Ops.ARGUMENT else self._computed)(node, indices)
        value = self._values.get((node, indices)) or self._run(node, indices, steps)
        self.outputs[node] = Output(node, value, ranges.linear(indices, contiguous_strides(node.shape)))

    def store_part(self, source: UOp, whole: UOp, offset: int) -> None:
        """Evaluate `source` and store it in memory of `whole`, a CONCAT or RESHAPE, from an element on."""
        self.run_over(source.shape)
        strides = contiguous_strides(whole.shape if whole.op is Ops.CONCAT else source.shape)
        flat = ranges.linear(self.domain_indices, strides).shifted(offset)
        value = self._run(source, self.domain_indices, self._value(source, self.domain_indices))
        self.outputs[whole] = Output(whole, value, flat)

    def store_replaced(self, block: Block, whole: UOp) -> None:
        """Evaluate an array in which a block is replaced, all of it, and store it as `whole`."""
        self.run_over(whole.shape)
        flat = ranges.linear(self.domain_indices, contiguous_strides(whole.shape))
        value = self._run(whole, self.domain_indices, self._replaced(block))
        self.outputs[whole] = Output(whole, value, flat)

    def _replaced(self, block: Block) -> Steps:
        """The elements of a block within it, and around it those that were there."""
        within: list[UOp] = []
        places: list[Index] = []
        for axis, (index, start) in enumerate(zip(self.domain_indices, block.starts, strict=True)):
            found = composed(block.nearest(axis), index, self.extents, self._piecewise)
            assert found is not None  # an index of the domain depends on no shift
            place, shift = found
            if shift is not None:
                atom = self._shift(shift, axis)
                within.append(atom.alu(Ops.EQ, atom.src[1 + len(shift.cuts) + shift.shifts.index(-start)]))
                place += ranges.atom(atom)
            places.append(place)
        value, around = (yield block.value, tuple(places)), (yield block.around, self.domain_indices)
        for each in within:
            value = each.where(value, around)
        return value

    # -- evaluation ------------------------------------------------------------------------------------------

    def _run(self, node: UOp, indices: Indices, steps: Steps) -> UOp:
        stack = [(node, indices, steps)]
        given: UOp | None = None
        while True:
            node, indices, steps = stack[-1]
            try:
                child = steps.send(given)  # type: ignore[arg-type]  # the first send of a generator is None
            except StopIteration as finished:
                given = self._values[node, indices] = finished.value
                stack.pop()
                if not stack:
                    return finished.value
                continue
            # What this kernel also stores is looked at each time: not every place may read it.
            given = None if child[0] in self.inlined else self._values.get(child)
            if given is None:
                stack.append((*child, self._value(*child)))

    def _value(self, node: UOp, indices: Indices) -> Steps:
        """The scalar value of `node` at `indices`: read where it stands in memory, else computed."""
        if node.op is Ops.ARGUMENT and node.arg[3] is None:
            self.numbers.append(node)
            return UOp.new(Ops.NUMBER, (), (len(self.numbers) - 1, node.dtype))
        if node in self.inlined:
            return (yield from self._inlined(node, indices))
        view = self._view(node)
        if view is not None:
            array, offset, strides = view
            return self._access(array, ranges.linear(indices, strides).shifted(offset))
        reason = self._unfit(node, indices)
        if reason is not None:
            return self._boundary(node, reason)
        return (yield from self._computed(node, indices))

    def _computed(self, node: UOp, indices: Indices) -> Steps:
        """The value of `node` at `indices`, computed in this kernel."""
        op = node.op
        if op is Ops.CONST:
            return node
        if op is Ops.IOTA:
            return self._affine(indices[node.arg[1]])
        if op in ELEMENTWISE:
            self.places.setdefault(node, set()).add(indices)
            self.computed[node] = None
            sources = []
            for source in node.src:
                sources.append((yield source, ranges.broadcast(indices, source.shape)))
            return UOp.new(op, tuple(sources), node.arg)
        if op in MOVEMENT:
            try:
                moved = ranges.moved(node, indices, self.extents)
            except NotAffine:
                return self._boundary(node, "it would need a division for each element")
            return (yield node.src[0], moved)
        if op is Ops.CONCAT:
            return (yield from self._pieced(node, indices))
        if op is Ops.GATHER:
            return (yield from self._gathered(node, indices))
        if op is Ops.REDUCE:
            return (yield from self._reduced(node, indices))
        if op is Ops.SCAN:
            return (yield from self._scanned(node, indices))
        # What has a memory of its own whatever its neighbours: read here it is a boundary, stored it is a
        # step.
        return self._access(node, ranges.linear(indices, contiguous_strides(node.shape)))

    def _inlined(self, node: UOp, indices: Indices) -> Steps:
        """A stored node of this very kernel: its value, and its store where it runs over all of it."""
        if node.op is Ops.REDUCE and self._unfit_reduction(node, indices):
            raise Conflict([node])
        if node.op is Ops.SCAN and indices != self.domain_indices:
            raise Conflict([node])
        place = self.stored_at.setdefault(node, indices)
        if place != indices or not self._covers(node, indices):
            raise Conflict([node])
        value = self._values.get((node, indices))
        if value is None:
            value = yield from self._computed(node, indices)
            self.outputs[node] = Output(node, value, ranges.linear(indices, contiguous_strides(node.shape)))
        return value

    def _covers(self, node: UOp, indices: Indices) -> bool:
        """Whether `indices` take every place of `node` exactly once."""
        if indices == self.domain_indices and node.shape == self._domain_shape:
            return True  # a slice from the first element on has the same indices
        atoms = [a for index in indices for a in index.atoms]
        if any(index.offset for index in indices) or len(set(atoms)) < len(atoms):
            return False
        if any(a.op is not Ops.RANGE for a in atoms):
            return False
        return size_of([self.extents[a] for a in atoms]) == size_of(node.shape)

    def _reduced(self, node: UOp, indices: Indices) -> Steps:
        self.computed[node] = None
        op, axes = node.arg
        shape = node.src[0].shape
        extents = tuple(shape[axis] for axis in axes)
        inner = iter(self.range_of(("reduce", extents, k), size) for k, size in enumerate(extents))
        outer = iter(indices)
        body_indices = tuple(next(inner) if axis in axes else next(outer) for axis in range(len(shape)))
        over = tuple(a for axis in axes for a in _in_order(body_indices[axis]))
        body = yield node.src[0], body_indices
        return UOp.new(Ops.REDUCE, (body, *over), op) if over else body

    def _scanned(self, node: UOp, indices: Indices) -> Steps:
        self.computed[node] = None
        op, axis = node.arg
        body = yield node.src[0], indices
        over = _in_order(indices[axis])
        if not over:
            return body
        if self.threads is not None:
            for inner in toposort(body):
                if inner.op is Ops.SCAN:
                    self._boundary(self._scans[inner], "what is combined of it is another kernel's")
        value = UOp.new(Ops.SCAN, (body, *over), op)
        self._scans[value] = node
        return value

    def _pieced(self, node: UOp, indices: Indices) -> Steps:
        """The value of a CONCAT of slices of one node: that node's at indices that are shifted by pieces."""
        pieces = pieces_of(node)
        if pieces is None or 0 in node.shape:
            return self._boundary(node, SIDE_BY_SIDE)
        here = composed(pieces, indices[pieces.axis], self.extents, self._piecewise)
        if here is None:
            return self._boundary(node, SIDE_BY_SIDE)
        moved = [
            index.scaled(step).shifted(start)
            for index, (start, step) in zip(indices, pieces.slices, strict=True)
        ]
        moved[pieces.axis], shift = here
        if shift is not None:
            moved[pieces.axis] += ranges.atom(self._shift(shift, pieces.axis))
        return (yield pieces.source, tuple(moved))

    def _shift(self, shift: Piecewise, axis: int) -> UOp:
        """The atom of a shift; equal ones along equal axes have the same arguments."""
        key = (axis, shift.cuts, shift.shifts)
        if key not in self._shifts:
            self._shifts[key] = tuple(map(self._size, (*shift.cuts, *shift.shifts)))
        atom = UOp.new(Ops.PIECEWISE, (self._affine(shift.base), *self._shifts[key]))
        self._piecewise[atom] = shift
        return atom

    def _gathered(self, node: UOp, indices: Indices) -> Steps:
        self.computed[node] = None
        axes, position, call = node.arg
        source = node.src[0]
        width = len(node.shape) - (len(source.shape) - len(axes))
        at = indices[position : position + width]
        kept = iter(indices[:position] + indices[position + width :])
        found: dict[int, Index] = {}
        checked: dict[UOp, UOp] = {}
        for axis, positions in zip(axes, node.src[1:], strict=True):
            here = ranges.broadcast(at, positions.shape)
            if positions.op is Ops.IOTA:
                found[axis] = here[positions.arg[1]]  # made by take_along_axis: in bounds, and still affine
                continue
            raw = yield positions, here
            size = source.shape[axis]
            extent = self._size(size)
            wrapped = (raw < 0).where(raw + extent, raw)
            outside = (wrapped < 0) | (wrapped >= extent)
            clamped = wrapped.alu(Ops.MAXIMUM, 0).alu(Ops.MINIMUM, extent - 1)
            self.checks.append((call, axis, size))
            place = UOp.new(Ops.CHECKED, (clamped, outside), len(self.checks) - 1)
            checked[place] = extent
            self.extents[place] = size
            found[axis] = ranges.atom(place)
        if self._view(source) is None and self.work(source) > RECOMPUTE:
            return self._boundary(source, "its elements are gathered in any order")
        value = yield source, tuple(found[a] if a in found else next(kept) for a in range(len(source.shape)))
        unread = set(checked).difference(toposort(value))
        for place, extent in checked.items():
            if place in unread:
                # All elements along that axis are one, as of a constant; the index is checked all the same.
                # What stands beside them is never chosen, and differs so that the choice stays.
                other = value.op is Ops.CONST and value.arg == 0
                value = (place < extent).where(value, other)
        return value

    # -- leaves ----------------------------------------------------------------------------------------------

    def _access(self, array: UOp, flat: Index) -> UOp:
        if array not in self.arrays:
            self.arrays.append(array)
        number = self.arrays.index(array)
        coefficients = tuple(c for _, c in flat.terms)
        return UOp.new(Ops.ACCESS, flat.atoms, (number, array.dtype, coefficients, flat.offset))

    def _affine(self, index: Index) -> UOp:
        coefficients = tuple(c for _, c in index.terms)
        if (coefficients, index.offset) == ((1,), 0) and index.atoms[0].op is not Ops.RANGE:
            return index.atoms[0]
        return UOp.new(Ops.AFFINE, index.atoms, (coefficients, index.offset))

    def _size(self, value: int) -> UOp:
        self.sizes.append(value)
        return UOp.new(Ops.SIZE, (), ("size", len(self.sizes) - 1))

    def _boundary(self, node: UOp, reason: str) -> UOp:
        self.boundaries.setdefault(node, reason)
        return UOp.const(False if node.dtype == dtypes.bool_ else 0, node.dtype)

    def _view(self, node: UOp) -> tuple[UOp, int, Shape] | None:
        """As `view_of` says, for the memory that this kernel may read."""
        if node not in self._views:
            view = view_of(node, self.memory)
            # What this kernel computes itself isn't in memory yet.
            self._views[node] = None if view is not None and view[0] in self.inlined else view
        return self._views[node]

    # -- where a kernel ends ---------------------------------------------------------------------------------

    def _unfit(self, node: UOp, indices: Indices) -> str | None:
        """Why `node` at `indices` can't be computed inside this kernel; None where it can."""
        reason = whole(node)
        if reason is not None:
            return reason
        if node.op is Ops.REDUCE:
            return self._unfit_reduction(node, indices)
        if node.op is Ops.CONCAT or (node.op in ELEMENTWISE and self.work(node) > RECOMPUTE):
            mine = {a for index in indices for a in self._atoms(index)}
            if node.op is Ops.CONCAT and mine <= set(self.domain):
                return None  # only tiles of a reduction need it in memory
            return self._unfit_for_repetition(mine)
        return None

    def _unfit_for_repetition(self, mine: set[UOp]) -> str | None:
        """Why what depends on the ranges `mine` alone can't be computed inside the loops around it."""
        reduced = [a for a in self.extents if a in mine and a not in self.domain]
        around = self.domain if self.outer is None or not reduced else self.outer
        enclosing = [*around, *reduced]
        total = size_of([self.extents[a] for a in enclosing])
        if not mine or mine == set(enclosing[: len(mine)]) or total <= SMALL:
            return None
        again = total // max(1, size_of([self.extents[a] for a in mine]))
        side_by_side = self.threads is not None and reduced and len(mine) == len(enclosing) - 1
        if again == 1 or (side_by_side and again <= FEW_RESULTS):
            return None
        return f"it would be computed {again} times for each element"

    def _unfit_reduction(self, node: UOp, indices: Indices) -> str | None:
        if self.scans:
            return "a running combination stores as it goes, a reduction at its end"
        rows: list[UOp] = []
        for index in indices:
            if index.offset or any(c != 1 and len(index.terms) == 1 for _, c in index.terms):
                return "its result is read at other places than its rows"
            rows += _in_order(index)
        threads = self.threads
        if threads is not None and size_of([node.src[0].shape[axis] for axis in node.arg[1]]) <= SHORT:
            # Within another reduction, of which it depends on all ranges.
            within = {a for a in rows if a not in self.domain}
            over = {a.arg[:2] for a in within if a.op is Ops.RANGE}
            if within and within == {a for a in self.extents if a.op is Ops.RANGE and a.arg[:2] in over}:
                return self._unfit_for_repetition(set(rows))
        beside = threads is not None and node in threads.beside
        # To one value: threads can share it out in the kernel that stores what comes of it.
        own = threads is not None and not self.domain and (self.outer is None or beside)
        if not rows and not own:
            return "a reduction to one value is shared out among cores in pieces"
        outer = tuple(rows)
        if outer != self.domain[: len(outer)]:
            return "its rows aren't the outer loops of its consumer"
        across = len(node.src[0].shape) - 1 not in node.arg[1]
        if across and outer != self.domain:
            return "it reduces across rows, and its consumer runs along them"
        if self.outer is not None and outer != self.outer:
            return "its consumer is a reduction over other rows"
        count = size_of([self.extents[a] for a in outer])
        if beside or not rows:
            self.outer = outer
            return None
        few = FEWEST_ROWS if threads is None else threads.fewest_rows
        if across and count < FEWEST_COLUMNS and size_of(node.src[0].shape) > SMALL:
            return "too few columns to share among cores"
        if count < few and size_of(node.src[0].shape) > SMALL * few:
            return "too few rows to share among cores"
        self.outer = outer
        return None

    def work(self, node: UOp) -> int:
        """Additions that one element of `node` costs, down to memory: at most, for sharing isn't seen."""
        stack = [node]
        while stack:
            top = stack[-1]
            if top in self._work or self._view(top) is not None:
                self._work.setdefault(top, 0)
                stack.pop()
                continue
            waiting = [s for s in top.src if s not in self._work]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            self._work[top] = work_above(top, self._work)
        return self._work[node]

    def _place(self, indices: Indices) -> tuple:
        # The same place in another loop over the same row (softmax's sum and its quotient) counts as the
        # same.
        return tuple(map(self._alike, indices))

    def _atoms(self, index: Index) -> Iterator[UOp]:
        """What an index depends on, and what its shifts depend on in place of them."""
        for a in index.atoms:
            shift = self._piecewise.get(a)
            yield from (a,) if shift is None else shift.base.atoms

    def _alike(self, index: Index) -> tuple:
        terms: list[tuple] = []
        for a, c in index.terms:
            shift = self._piecewise.get(a)
            if a in (self.outer or ()):
                terms.append((a, c))
            elif shift is not None:
                terms.append((self._alike(shift.base), shift.cuts, shift.shifts, c))
            else:
                terms.append((self.extents.get(a), c))
        return tuple(terms), index.offset

    def repeated(self) -> dict[UOp, str]:
        """Computed nodes that it would be cheaper to store, since they are evaluated at several places."""
        found: dict[UOp, str] = {}
        for node, places in self.places.items():
            again = len({self._place(indices) for indices in places}) - 1
            if again and again * self.work(node) > RECOMPUTE and node not in self.outputs:
                found[node] = f"it is needed at {again + 1} different places"
        covered = {source for node in found for source in _below(node, found)}
        return {node: reason for node, reason in found.items() if node not in covered}


def _in_order(index: Index) -> list[UOp]:
    """An index's atoms, slowest first."""
    return [a for a, _ in sorted(index.terms, key=lambda term: -abs(term[1]))]


def _below(node: UOp, among: Mapping[UOp, str]) -> set[UOp]:
    """Nodes of `among` reached from `node` through nodes of `among` and movement."""
    found: set[UOp] = set()
    stack = list(node.src)
    while stack:
        source = stack.pop()
        if source.op in MOVEMENT:
            stack.append(source.src[0])
        elif source in among and source not in found:
            found.add(source)
            stack.extend(source.src)
    return found
