"""A scheduled kernel in scalar terms: rules applied, ranges merged, memory as pointers with index arithmetic.

The scheduler's expression still has complex numbers, float16, integer division, transcendentals, ACCESSes
with numbers for strides. `lower` rewrites all of that and hands loops.py a Body, in which every size and
stride is an argument with a value for this shape, so that the source written from it serves every shape of
the same layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.complex_numbers import COMPLEX_RULES
from toonygrad.codegen.float16 import FLOAT16_RULES, stored
from toonygrad.codegen.integers import INTEGER_RULES
from toonygrad.codegen.transcendental import TRANSCENDENTAL_RULES
from toonygrad.schedule.fusion import Kernel
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.pattern import PatternMatcher, UPat
from toonygrad.uop.rewrite import graph_rewrite
from toonygrad.uop.simplify import SIMPLIFY


def _complex_access(node: UOp) -> UOp:
    number, dtype, coefficients, offset = node.arg
    part = dtypes.REAL_PART[dtype]
    doubled = tuple(2 * c for c in coefficients)
    real, imaginary = (
        UOp.new(Ops.ACCESS, node.src, ((number, k), part, doubled, 2 * offset)) for k in (0, 1)
    )
    return UOp.new(Ops.COMPLEX, (real, imaginary))


def _complex_number(node: UOp) -> UOp:
    position, dtype = node.arg
    real, imaginary = (UOp.new(Ops.NUMBER, (), ((position, k), dtypes.REAL_PART[dtype])) for k in (0, 1))
    return UOp.new(Ops.COMPLEX, (real, imaginary))


def _complex_sum(node: UOp) -> UOp | None:
    if node.arg is not Ops.ADD:
        return None
    real, imaginary = node.src[0].src
    return UOp.new(
        Ops.COMPLEX, tuple(UOp.new(node.op, (part, *node.src[1:]), Ops.ADD) for part in (real, imaginary))
    )


_SPLIT_COMPLEX = PatternMatcher(
    [
        (UPat(Ops.ACCESS, dtype=dtypes.COMPLEX_FLOATING, name="node"), _complex_access),
        (UPat(Ops.NUMBER, dtype=dtypes.COMPLEX_FLOATING, name="node"), _complex_number),
        (UPat((Ops.REDUCE, Ops.SCAN), dtype=dtypes.COMPLEX_FLOATING, name="node"), _complex_sum),
    ]
)
# One table, one pass: a complex function becomes real ones, these become arithmetic, and constants fold on
# the way.
RULES = FLOAT16_RULES + _SPLIT_COMPLEX + COMPLEX_RULES + INTEGER_RULES + TRANSCENDENTAL_RULES + SIMPLIFY


@dataclass(frozen=True)
class Store:
    """One result: its value at each combination of the ranges in `index`, into an array of the outputs."""

    array: int
    index: UOp  # AFFINE over ranges
    value: UOp
    parts: int  # 2 for one part of a complex result, else 1


@dataclass(frozen=True)
class Body:
    """A kernel's expressions after every rewrite.

    Attributes
    ----------
    stores : what is stored where
    outer, inner : the domain's ranges, slowest first: those that reductions are computed for, and the others
    extents : how many values each range takes
    sizes : what the SIZE nodes in expressions stand for
    widened : float64 sums whose terms are float32's, exact enough as they are
    """

    stores: tuple[Store, ...]
    outer: tuple[UOp, ...]
    inner: tuple[UOp, ...]
    extents: dict[UOp, int]
    sizes: tuple[int, ...]
    widened: frozenset[UOp] = frozenset()

    @property
    def reduces(self) -> list[UOp]:
        """Every REDUCE, those that others need first."""
        return [node for node in toposort(*(store.value for store in self.stores)) if node.op is Ops.REDUCE]


def lower(kernel: Kernel) -> Body:
    """The kernel's expressions with every rule applied and ranges merged where all memory allows it."""
    values = UOp.new(Ops.SINK, tuple(stored(output.value) for output in kernel.outputs))
    values = _single_parts(graph_rewrite(values, RULES, "lower"))
    stores: list[tuple[int, tuple[tuple[UOp, int], ...], int, UOp]] = []
    for number, (output, value) in enumerate(zip(kernel.outputs, values.src, strict=True)):
        if value.op is Ops.COMPLEX:
            doubled = output.index.scaled(2)
            stores += [(number, doubled.terms, doubled.offset + k, part) for k, part in enumerate(value.src)]
        else:
            stores.append((number, output.index.terms, output.index.offset, value))
    indices = [
        UOp.new(Ops.AFFINE, tuple(a for a, _ in terms), (tuple(c for _, c in terms), offset))
        for _, terms, offset, _ in stores
    ]
    domain = kernel.domain
    outer = domain if kernel.outer is None else kernel.outer
    merged = _merge(
        [*indices, *(value for *_, value in stores)], outer, domain[len(outer) :], dict(kernel.extents)
    )
    half = len(indices)
    return Body(
        tuple(
            Store(number, index, value, 2 if kernel.outputs[number].node.dtype.kind == "c" else 1)
            for (number, *_), index, value in zip(
                stores, merged.nodes[:half], merged.nodes[half:], strict=True
            )
        ),
        merged.outer,
        merged.inner,
        merged.extents,
        kernel.sizes,
    )


def _single_parts(values: UOp) -> UOp:
    """`values`, but a part that is read without the other as an element of an array of its own: LLVM loads
    every second element by vectors only from the pointer on.
    """
    parts = [n for n in toposort(values) if n.op is Ops.ACCESS and isinstance(n.arg[0], tuple)]
    read, alone = set(parts), {}
    for node in parts:
        (number, k), dtype, coefficients, offset = node.arg
        if UOp.new(Ops.ACCESS, node.src, ((number, 1 - k), dtype, coefficients, offset)) not in read:
            alone[node] = UOp.new(Ops.ACCESS, node.src, (number, dtype, coefficients, offset + k))
    return substitute([values], alone)[0] if alone else values


# -- merging ranges ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Merged:
    nodes: list[UOp]
    outer: tuple[UOp, ...]
    inner: tuple[UOp, ...]
    extents: dict[UOp, int]


def _merge(
    nodes: list[UOp], outer: tuple[UOp, ...], inner: tuple[UOp, ...], extents: dict[UOp, int]
) -> _Merged:
    """Neighbouring ranges run as one wherever all memory is laid out so that they can."""
    while True:
        pair = _mergeable(nodes, outer, inner, extents)
        if pair is None:
            return _Merged(nodes, outer, inner, extents)
        slow, fast = pair
        both = UOp.new(Ops.RANGE, (), ("merged", slow.arg, fast.arg))
        extents[both] = extents[slow] * extents[fast]
        nodes = _replace_pair(nodes, slow, fast, both)
        outer, inner = (
            tuple(both if a is fast else a for a in part if a is not slow) for part in (outer, inner)
        )


def _mergeable(
    nodes: Sequence[UOp], outer: tuple[UOp, ...], inner: tuple[UOp, ...], extents: dict[UOp, int]
) -> tuple[UOp, UOp] | None:
    order = toposort(*nodes)
    uses = [node for node in order if node.op in (Ops.ACCESS, Ops.AFFINE)]
    over = [node.src[1:] for node in order if node.op is Ops.REDUCE]
    scanned = {a for node in order if node.op is Ops.SCAN for a in node.src[1:]}
    for group in (outer, inner, *over):
        for slow, fast in pairwise(group):
            if slow in scanned or fast in scanned:
                continue
            if any((slow in ranges) != (fast in ranges) for ranges in over):
                continue
            if all(_runs_on(use, slow, fast, extents[fast]) for use in uses):
                return slow, fast
    return None


def _coefficients(use: UOp) -> tuple[int, ...]:
    return use.arg[-2]


def _runs_on(use: UOp, slow: UOp, fast: UOp, extent: int) -> bool:
    """Whether the last of `fast` is followed by the next of `slow` at the same stride."""
    terms = dict(zip(use.src, _coefficients(use), strict=True))
    return terms.get(slow, 0) == terms.get(fast, 0) * extent


def _replace_pair(nodes: Iterable[UOp], slow: UOp, fast: UOp, both: UOp) -> list[UOp]:
    nodes = list(nodes)
    made: dict[UOp, UOp] = {}
    for node in toposort(*nodes):
        if node.op in (Ops.ACCESS, Ops.AFFINE):
            terms = {made[a]: c for a, c in zip(node.src, _coefficients(node), strict=True) if a is not slow}
            if fast in terms:
                terms = {both if a is fast else a: c for a, c in terms.items()}
            arg = (*node.arg[:-2], tuple(terms.values()), node.arg[-1])
            made[node] = UOp.new(node.op, tuple(terms), arg)
        elif node.op is Ops.REDUCE:
            over = tuple(both if a is fast else a for a in node.src[1:] if a is not slow)
            made[node] = UOp.new(node.op, (made[node.src[0]], *over), node.arg)
        else:
            made[node] = node.replace(tuple(made[s] for s in node.src))
    return [made[node] for node in nodes]


# -- memory as pointers --------------------------------------------------------------------------------------


class Arguments:
    """The arguments a kernel takes, found while its memory is written as pointers.

    Attributes
    ----------
    pointers : (is it an output, which array, first element) for each pointer, in order
    carries : the pointers to what is carried between chunks of scans, by the scan's number
    integers : names and values, for this shape, of the sizes and strides
    numbers : the scalars by (position, part) and type
    """

    def __init__(self) -> None:
        self.pointers: dict[tuple[bool, int, int], UOp] = {}
        self.carries: dict[int, UOp] = {}
        self.integers: dict[str, int] = {}
        self.numbers: dict[UOp, None] = {}
        self._strides: dict[tuple[bool, int, int], UOp] = {}

    def size(self, name: str, value: int) -> UOp:
        """The argument `name`, an extent or the like, with this shape's value."""
        if self.integers.setdefault(name, value) != value:
            raise RuntimeError(f"argument {name} can't be both {self.integers[name]} and {value}")
        return UOp.new(Ops.SIZE, (), name)

    def pointer(self, output: bool, array: int, offset: int, dtype: np.dtype) -> UOp:
        """The pointer to an array from an element on."""
        key = (output, array, offset)
        if key not in self.pointers:
            number = sum(1 for other in self.pointers if other[0] == output)
            name = f"{'out' if output else 'in'}{number}"
            self.pointers[key] = UOp.new(Ops.POINTER, (), (name, dtype))
        return self.pointers[key]

    def carry(self, number: int, dtype: np.dtype) -> UOp:
        """The pointer to what the plan carries from chunk to chunk of a kernel's scans, by their number."""
        name = UOp.new(Ops.POINTER, (), (f"carry{number}", dtype))
        return self.carries.setdefault(number, name)

    def ordered_pointers(self) -> list[tuple[tuple[bool, int, int], UOp]]:
        """The pointers to arrays as a kernel takes them, outputs first; after them come the carries."""
        return sorted(self.pointers.items(), key=lambda item: not item[0][0])

    def stride(self, output: bool, array: int, value: int) -> UOp:
        """A stride; the same value in one array is the same argument, in other arrays another."""
        key = (output, array, value)
        if key not in self._strides:
            self._strides[key] = self.size(f"s{len(self._strides)}", value)
        return self._strides[key]

    def flat(self, output: bool, array: int, terms: Iterable[tuple[UOp, int]], part: int = 0) -> UOp:
        """The index arithmetic: the sum of stride * atom, and the part of a complex number as text.

        Both parts are read from one pointer so that LLVM sees them to be neighbours: it then loads vectors
        and shuffles, where it would gather and scatter, in a quarter of the time for a product.
        """
        terms = list(terms)
        # What loops vectorise by is part of the source: steps of one, and of two, which complex numbers take.
        # A row of two elements is a stride like any other.
        steps = (1, -1) if any(abs(c) == 1 for _, c in terms) else (1, -1, 2)
        total: UOp | None = None
        for node, coefficient in terms:
            if coefficient == 1:
                term = node
            elif coefficient in steps:
                term = node * coefficient
            else:
                term = node * self.stride(output, array, coefficient)
            total = term if total is None else total + term
        if total is None:
            return UOp.const(part, dtypes.INDEX)
        return total + part if part else total

    def concrete(
        self, nodes: Sequence[UOp], atoms: Mapping[UOp, UOp], sizes: Sequence[int], order: Sequence[UOp]
    ) -> list[UOp]:
        """`nodes` with ACCESS and AFFINE as LOADs and arithmetic.

        Parameters
        ----------
        atoms : what a RANGE of the body is written as; the nest's own stay
        sizes : values of the SIZE nodes in expressions
        order : ranges, slowest first: the order in which index terms are written
        """
        rank = {node: k for k, node in enumerate(order)}
        made: dict[UOp, UOp] = {}
        for node in toposort(*nodes):
            if node.op is Ops.RANGE:
                made[node] = atoms.get(node, node)
            elif node.op in (Ops.ACCESS, Ops.AFFINE):
                pairs = zip(node.src, _coefficients(node), strict=True)
                slowest_first = sorted(pairs, key=lambda pair: rank.get(pair[0], len(rank)))
                terms = [(made[a], c) for a, c in slowest_first]
                if node.op is Ops.ACCESS:
                    place, dtype, _, offset = node.arg
                    array, part = place if isinstance(place, tuple) else (place, 0)
                    pointer = self.pointer(False, array, offset, dtype)
                    made[node] = UOp.new(Ops.LOAD, (pointer, self.flat(False, array, terms, part)))
                else:
                    total = self.flat(False, -1, terms)
                    if node.arg[1]:
                        total = total + self.size(f"c{len(self.integers)}", node.arg[1])
                    made[node] = total
            elif node.op is Ops.SIZE and isinstance(node.arg, tuple):
                made[node] = self.size(f"e{node.arg[1]}", sizes[node.arg[1]])
            else:
                if node.op is Ops.NUMBER:
                    self.numbers[node] = None
                made[node] = node.replace(tuple(made[s] for s in node.src))
        return [made[node] for node in nodes]

    def store(self, store: Store, index: Sequence[tuple[UOp, int]], value: UOp) -> UOp:
        """The STORE of `value` at an output's index."""
        offset = store.index.arg[1]
        part = offset % store.parts
        pointer = self.pointer(True, store.array, offset - part, value.dtype)
        return UOp.new(Ops.STORE, (pointer, self.flat(True, store.array, index, part), value))
