"""Reductions that need another's result first, written so that one walk over memory finds both.

A place of an extreme (argmax) becomes the least of keys that hold element and place; squares of deviations
from a mean (var, std) become sums of deviations from the row's first element; a reduction of a few terms
within another becomes arithmetic. cuda_generate.py has a lowered kernel rewritten here before it chooses a
form: columns, and rows too long to be held, would be read twice.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace

from toonygrad import dtypes
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import ranges_of
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import ELEMENTWISE, Op, Ops

# A key's lower half is a place, its upper half an element.
_PLACES = 1 << 32
_INT32 = 1 << 31
# What may stand below a deviation: the first element of a row is computed again beside the others.
_ALONG = frozenset({Ops.ACCESS, Ops.AFFINE, Ops.RANGE, Ops.CONST, Ops.NUMBER, Ops.SIZE})


def in_one_pass(body: Body, places: bool = True) -> Body:
    """`body` with fewer reductions that wait for others; without `places`, those of extremes still wait."""
    body = _written_out(body)
    made: dict[UOp, UOp] = {}
    sizes = list(body.sizes)
    exact: set[UOp] = set()
    for node in body.reduces:
        found = _place_of_extreme(node, body) if places else None
        if found is None:
            found = _squares_of_deviations(node, body, sizes, exact)
        if found is not None:
            made[node] = found
    if not made:
        return body
    values = substitute((store.value for store in body.stores), made)
    stores = tuple(replace(store, value=value) for store, value in zip(body.stores, values, strict=True))
    return replace(body, stores=stores, sizes=tuple(sizes), widened=frozenset(exact))


def _waits_for(node: UOp, over: Collection[UOp]) -> bool:
    """Whether `node` has one value a row, which a reduction along it gives."""
    order = toposort(node)
    return ranges_of(order)[node].isdisjoint(over) and any(
        below.op is Ops.REDUCE and below.src[1:] == tuple(over) for below in order
    )


# -- places of extremes --------------------------------------------------------------------------------------


def _place_of_extreme(node: UOp, body: Body) -> UOp | None:
    """The minimum of where(element == extreme, place, length), NaN being equal to NaN, by keys."""
    choice, over = node.src[0], node.src[1:]
    if node.arg is not Ops.MINIMUM or choice.op is not Ops.WHERE or choice.src[1].op is not Ops.AFFINE:
        return None
    condition, place, other = choice.src
    steps, offset = place.arg
    last = offset + sum(step * (body.extents[a] - 1) for a, step in zip(place.src, steps, strict=True))
    if not set(place.src) <= set(over) or min((*steps, offset)) < 0 or last >= _PLACES:
        return None
    if not ranges_of(toposort(other))[other].isdisjoint(over):
        return None
    for same in (condition, *condition.src):
        for extreme in same.src if same.op is Ops.EQ else ():
            if extreme.op is Ops.REDUCE and extreme.src[1:] == over:
                element = extreme.src[0]
                equal = element.eq(extreme)
                floating = element.dtype in dtypes.REAL_FLOATING
                whole = equal | element.ne(element) if floating else equal
                largest = extreme.arg in (Ops.MAXIMUM, Ops.OR)
                known = largest or extreme.arg in (Ops.MINIMUM, Ops.AND)
                if known and condition is whole and element.dtype.itemsize <= 4:
                    key = _ordered(element, largest) * _PLACES + place
                    found = UOp.new(Ops.REDUCE, (key, *over), Ops.MINIMUM)
                    return found & (_PLACES - 1)
    return None


def _ordered(element: UOp, largest: bool) -> UOp:
    """An int64 of 32 bits that is the less, the earlier an element is to be chosen."""
    if element.dtype == dtypes.float32:
        # Zeros are equal whatever their signs; negative numbers run backwards.
        bits = UOp.new(Ops.BITCAST, (element + 0.0,), dtypes.int32)
        sign = UOp.new(Ops.SHIFT_RIGHT, (bits, UOp.const(31, dtypes.int32)))
        order = bits ^ (sign & (_INT32 - 1))
        order = ~order if largest else order
        return element.ne(element).where(UOp.const(-_INT32, dtypes.int32), order).cast(dtypes.INDEX)
    order = element.cast(dtypes.INDEX)
    if element.dtype == dtypes.uint32:
        order = order - _INT32
    return ~order if largest else order


# -- squares of deviations -----------------------------------------------------------------------------------


def _squares_of_deviations(node: UOp, body: Body, sizes: list[int], widened: set[UOp]) -> UOp | None:
    """The sum of (x - m) ** 2 of float32, m being known after another walk, by sums in float64 of what x
    differs from the row's first element: deviations from that are as small as those from the mean, or it
    alone makes the variance large.
    """
    square, over = node.src[0], node.src[1:]
    if node.arg is not Ops.ADD or node.dtype != dtypes.float32:
        return None
    if square.op is not Ops.MUL or square.src[0] is not square.src[1] or square.src[0].op is not Ops.SUB:
        return None
    x, m = square.src[0].src
    if not _waits_for(m, over):
        x, m = m, x
    order = toposort(x)
    plain = all(below.op in _ALONG or below.op in ELEMENTWISE for below in order)
    if not plain or not _waits_for(m, over) or ranges_of(order)[x].isdisjoint(over):
        return None
    wide = dtypes.float64
    first = _at(x, dict.fromkeys(over, 0)).cast(wide)
    difference = x.cast(wide) - first
    sums = [UOp.new(Ops.REDUCE, (term, *over), Ops.ADD) for term in (difference, difference * difference)]
    widened.update(sums)
    count: UOp | None = None
    for a in over:
        size = UOp.new(Ops.SIZE, (), ("size", len(sizes))).cast(wide)
        sizes.append(body.extents[a])
        count = size if count is None else count * size
    assert count is not None
    # A mean is known from the deviations' sum: without infinities, with which the result is NaN either way.
    total = UOp.new(Ops.REDUCE, (x, *over), Ops.ADD)
    (m,) = substitute([m], {total: (sums[0] + count * first).cast(x.dtype)})
    shift = m.cast(wide) - first
    result = sums[1] - shift * (sums[0] * 2.0 - count * shift)
    return result.alu(Ops.MAXIMUM, 0.0).cast(node.dtype)


# -- a few terms within another reduction --------------------------------------------------------------------


def _written_out(body: Body) -> Body:
    """`body` with those reductions as arithmetic that stand within others, for schedules leave only short
    ones there (schedule/trace.py).
    """
    reduces = body.reduces
    if len(reduces) < 2:
        return body
    ranges, outer = ranges_of(toposort(*reduces)), set(body.outer)
    made: dict[UOp, UOp] = {}
    for node in reduces:
        if not ranges[node] <= outer:
            (term,) = substitute([node.src[0]], made)
            over = node.src[1:]
            places = itertools.product(*(range(body.extents[a]) for a in over))
            terms = [_at(term, dict(zip(over, place, strict=True))) for place in places]
            made[node] = functools.reduce(functools.partial(_combined, node.arg), terms)
    if not made:
        return body
    values = substitute((store.value for store in body.stores), made)
    return replace(body, stores=tuple(map(lambda s, v: replace(s, value=v), body.stores, values)))


def _combined(op: Op, left: UOp, right: UOp) -> UOp:
    return left.alu(op, right)


def _at(x: UOp, places: Mapping[UOp, int]) -> UOp:
    """`x` where ranges have these values: numbers among indices, so that other ways to an element show."""
    made: dict[UOp, UOp] = {}
    for node in toposort(x):
        if node in places:
            made[node] = UOp.const(places[node], dtypes.INDEX)
        elif node.op in (Ops.ACCESS, Ops.AFFINE):
            steps: dict[UOp, int] = {}
            for a, step in zip(node.src, node.arg[-2], strict=True):
                if places.get(a) != 0:
                    steps[made[a]] = steps.get(made[a], 0) + step
            arg = (*node.arg[:-2], tuple(steps.values()), node.arg[-1])
            made[node] = UOp.new(node.op, tuple(steps), arg)
        else:
            made[node] = node.replace(tuple(made[source] for source in node.src))
    return made[x]
