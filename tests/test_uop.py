"""The graph itself: equality is identity, nodes die with their holders, walks don't recurse, rules apply."""

import gc
import itertools
import math
import random
import threading

import numpy as np
import pytest
from scalar_evaluator import evaluate, variable

from toonygrad import dtypes
from toonygrad.uop.node import UOp, live_nodes, substitute, toposort
from toonygrad.uop.ops import ELEMENTWISE, LEAVES, MOVEMENT, STATEMENTS, Op, Ops
from toonygrad.uop.pattern import PatternMatcher, UPat
from toonygrad.uop.rewrite import graph_rewrite, record_rewrites
from toonygrad.uop.shape import broadcast_shapes, contiguous_strides, size_of
from toonygrad.uop.simplify import SIMPLIFY, wrapped

F32, F64, I64, I8, U8, BOOL = (
    *(dtypes.float32, dtypes.float64, dtypes.int64, dtypes.int8, dtypes.uint8, dtypes.bool_),
)
X, Y, N, M = variable("x", F64), variable("y", F64), variable("n", I64), variable("m", I64)


# -- equality is identity --------------------------------------------------------------------------


def test_equal_nodes_are_one() -> None:
    assert X + Y is X + Y
    assert X + Y is not Y + X
    assert UOp.new(Ops.ADD, (X, Y)) is UOp.known(Ops.ADD, (X, Y), None, F64, ())
    assert (X * 2 + Y).replace((X * 2, Y)) is X * 2 + Y
    assert X.cast(F64) is X and X.bitcast(F64) is X
    assert X.cast(F32) is X.cast(F32)
    assert UOp.new(Ops.IOTA, (), ((3, 4), 1)) is UOp.new(Ops.IOTA, (), ((3, 4), 1))


def test_numbers_are_told_apart_by_type_and_bits() -> None:
    values = [0.0, -0.0, 1.0, math.nan, math.inf, 0, 1, True, False, 0j, complex(0, -0.0), 1 + 0j]
    types = [F64, F64, F64, F64, F64, I64, I64, BOOL, BOOL, *3 * [dtypes.complex128]]
    for make in (UOp.const, UOp.scalar):
        nodes = [make(value, dtype) for value, dtype in zip(values, types)]
        assert len(set(nodes)) == len(nodes)
        assert all(make(value, dtype) is node for value, dtype, node in zip(values, types, nodes))
    assert UOp.const(1, I64) is not UOp.const(1, I8)
    assert UOp.const(1, I64) is not UOp.scalar(1, I64)
    assert UOp.const(0.1, F32).arg == float(np.float32(0.1))
    assert UOp.const(2**64 - 1, dtypes.uint64).arg == 2**64 - 1


def test_arithmetic_writes_numbers_in_the_type_of_the_other_operand() -> None:
    half = X.cast(F32) * 0.5
    assert half.dtype == F32 and half.src[1].dtype == F32
    assert (2 - N).src == (UOp.const(2, I64), N)
    assert (X > Y) is (Y < X) and (X > 1) is (UOp.const(1.0, F64) < X)
    assert (X < Y).dtype == BOOL
    assert X.eq(Y).where(X, 0).src[2] is UOp.const(0.0, F64)
    assert X.fma(2, Y).src == (X, UOp.const(2.0, F64), Y)


def test_threads_make_one_node() -> None:
    made: list[list[UOp]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def work(mine: list[UOp]) -> None:
        start.wait()
        node = X
        for number in range(300):
            node = (node + number) * Y
            mine.append(node)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for same in zip(*made):
        assert len(set(same)) == 1


# -- life and death --------------------------------------------------------------------------------


def count() -> int:
    gc.collect()
    return sum(1 for _ in live_nodes())


def test_nodes_die_with_their_holders() -> None:
    before = count()
    top = (X * 3.25 + Y) * 3.25
    assert count() == before + 4  # the number and three operations
    del top
    assert count() == before
    part = (X * 3.25 + Y).src[0]
    assert count() == before + 2
    assert part is X * 3.25


def test_a_node_made_again_after_its_death_is_new_and_one() -> None:
    for _ in range(100):
        first = X - 17.5
        identity = id(first)
        assert X - 17.5 is first
        del first
        assert identity  # its address may serve the next one
    assert X - 17.5 is X - 17.5


def test_a_deep_graph_dies_without_recursion() -> None:
    before = count()
    node = X
    for _ in range(100_000):
        node = -node
    assert node.depth == 100_000
    del node
    assert count() == before


# -- walks -----------------------------------------------------------------------------------------


def deep(length: int) -> UOp:
    node = X
    for number in range(length):
        node = node + Y if number % 2 else -node
    return node


def test_sources_come_first_and_once() -> None:
    shared = X * Y
    top = (shared + X) * (shared - Y)
    order = toposort(top, shared)
    assert len(order) == len(set(order)) == 6
    place = {node: number for number, node in enumerate(order)}
    assert all(place[source] < place[node] for node in order for source in node.src)
    assert set(toposort(top, until={shared})) == {top, *top.src, shared, X, Y}
    assert toposort() == []


def test_walks_of_deep_graphs() -> None:
    node = deep(100_000)
    assert len(toposort(node)) == 100_002
    (other,) = substitute([node], {X: Y})
    assert other.depth == node.depth and X not in toposort(other)
    rewritten = graph_rewrite(node, PatternMatcher([(UPat(Ops.NEG, (UPat(name="x"),)), lambda x: x)]), "test")
    assert rewritten.depth == 50_000


def test_substitute() -> None:
    shared = X * Y
    found = substitute([shared + X, shared, Y], {X: N.cast(F64)})
    assert found == [N.cast(F64) * Y + N.cast(F64), N.cast(F64) * Y, Y]


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes",
    [[(3, 4), (4,)], [(3, 1), (1, 4)], [(), (2,)], [(0, 3), (1, 3)], [(1,), (0,)], [(2, 1, 3), (5, 1), (1,)]],
)
def test_shapes_broadcast_as_numpys(shapes: list[tuple[int, ...]]) -> None:
    for order in itertools.permutations(shapes):
        assert broadcast_shapes(*order) == np.broadcast_shapes(*order)
    assert broadcast_shapes() == ()


@pytest.mark.parametrize("shapes", [[(3,), (4,)], [(2, 3), (2,)], [(0,), (2,)]])
def test_shapes_that_do_not_broadcast(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="do not broadcast"):
        broadcast_shapes(*shapes)


def test_sizes_and_strides() -> None:
    assert (size_of(()), size_of((3, 4)), size_of((3, 0))) == (1, 12, 0)
    assert contiguous_strides((2, 3, 4)) == (12, 4, 1)
    assert contiguous_strides(()) == ()


def test_results_know_shape_and_type() -> None:
    x = UOp.new(Ops.ARGUMENT, (), (0, F32, (3, 1, 4), (4, 4, 1)))
    assert (x + x).shape == (3, 1, 4)
    assert (x < x).dtype == BOOL
    assert UOp.new(Ops.REDUCE, (x,), (Ops.ADD, (0, 2))).shape == (1,)
    assert UOp.new(Ops.SCAN, (x,), (Ops.ADD, 0)).shape == x.shape
    assert UOp.new(Ops.CONCAT, (x, x, x), 1).shape == (3, 3, 4)
    assert UOp.new(Ops.PERMUTE, (x,), (2, 0, 1)).shape == (4, 3, 1)
    assert UOp.new(Ops.SLICE, (x,), ((2, -1, 2), (0, 1, 1), (0, 2, 2))).shape == (2, 1, 2)
    index = UOp.new(Ops.IOTA, (), ((5, 2), 0))
    assert UOp.new(Ops.GATHER, (x, index), ((2,), 1, "call")).shape == (3, 5, 2, 1)
    assert UOp.new(Ops.COMPLEX, (x, x)).dtype == dtypes.complex64
    assert UOp.new(Ops.ABS, (UOp.new(Ops.COMPLEX, (x, x)),)).dtype == F32
    assert "ADD" in repr(x + x) and "(3, 1, 4)" in repr(x + x)


def test_the_page_of_operations() -> None:
    operations = Ops.all()
    assert len({op.name for op in operations}) == len(operations)
    assert all(op is getattr(Ops, op.name) and op.meaning and op.group for op in operations)
    assert not LEAVES & MOVEMENT and not ELEMENTWISE & STATEMENTS
    assert repr(Ops.ADD) == "ADD"
    arity = {op.arity for op in ELEMENTWISE}
    assert arity == {1, 2, 3}


# -- patterns --------------------------------------------------------------------------------------


def matched(pattern: UPat, node: UOp) -> dict[str, UOp] | None:
    found: dict[str, UOp] = {}
    return found if pattern.match(node, found) else None


def test_patterns() -> None:
    add = UPat(Ops.ADD, (UPat(name="a"), UPat(name="b")), name="sum")
    assert matched(add, X + Y) == {"a": X, "b": Y, "sum": X + Y}
    assert matched(add, X - Y) is None
    assert matched(UPat((Ops.ADD, Ops.SUB)), X - Y) == {}
    twice = UPat(Ops.ADD, (UPat(name="a"), UPat(name="a")))
    assert matched(twice, X + X) == {"a": X}
    assert matched(twice, X + Y) is None
    assert matched(UPat(dtype=F64), X) == {} and matched(UPat(dtype=(F32, I64)), X) is None
    assert matched(UPat(Ops.CAST, arg=F32), X.cast(F32)) == {}
    assert matched(UPat(Ops.CAST, arg=F32), N.cast(F64)) is None
    assert matched(UPat(Ops.ADD, (UPat(),)), X + Y) is None  # another number of sources
    nested = UPat(Ops.NEG, (UPat(Ops.ADD, (UPat(Ops.CONST), UPat(name="x"))),))
    assert matched(nested, -(2 + X)) == {"x": X}


def test_the_first_rule_that_answers_decides() -> None:
    rules = PatternMatcher([
        (UPat(Ops.NEG, name="node"), lambda node: None),
        (UPat(Ops.NEG, (UPat(name="x"),)), lambda x: x),
        (UPat(None, name="node"), lambda node: node.src[-1] if node.src else None),
    ])  # fmt: skip
    assert rules.apply(-X) is X
    assert rules.apply(X + Y) is Y
    assert rules.apply(X) is None
    more = PatternMatcher([(UPat(Ops.NEG), lambda: Y)]) + rules
    assert more.apply(-X) is Y and rules.apply(-X) is X


# -- rewriting -------------------------------------------------------------------------------------


def test_rewriting_goes_on_until_nothing_fits() -> None:
    rules = PatternMatcher([
        (UPat(Ops.SUB, (UPat(name="x"), UPat(name="y"))), lambda x, y: x + -y),
        (UPat(Ops.NEG, (UPat(Ops.NEG, (UPat(name="x"),)),)), lambda x: x),
    ])  # fmt: skip
    assert graph_rewrite(X - -Y, rules, "test") is X + Y
    assert graph_rewrite((X - -Y) * (X - -Y), rules, "test") is (X + Y) * (X + Y)
    assert graph_rewrite(X, rules, "test") is X


def test_rewrites_are_recorded() -> None:
    rules = PatternMatcher([(UPat(Ops.NEG, (UPat(name="x"),)), lambda x: x)])
    with record_rewrites() as steps:
        graph_rewrite(-(-X + Y), rules, "signs")
    assert [(step.stage, step.before, step.after) for step in steps] == [
        ("signs", -X, X),
        ("signs", -(X + Y), X + Y),
    ]
    graph_rewrite(-X, rules, "unseen")
    assert len(steps) == 2


def test_rules_without_end_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toonygrad.uop.rewrite.MOST_STEPS", 1000)
    grows = PatternMatcher([(UPat(Ops.NEG, (UPat(name="x"),)), lambda x: -(x + 1))])
    with pytest.raises(RuntimeError, match="'growing' does not come to an end"):
        graph_rewrite(-X, grows, "growing")
    turns = PatternMatcher([
        (UPat(Ops.ADD, (UPat(name="x"), UPat(name="y"))), lambda x, y: y - x),
        (UPat(Ops.SUB, (UPat(name="x"), UPat(name="y"))), lambda x, y: y + x),
    ])  # fmt: skip
    with pytest.raises(RuntimeError, match="'turning'"):
        graph_rewrite(X + Y, turns, "turning")


# -- simplification --------------------------------------------------------------------------------


def simplified(node: UOp) -> UOp:
    return graph_rewrite(node, SIMPLIFY, "simplify")


def test_what_simplifies() -> None:
    one, true = UOp.const(1, I64), UOp.const(True, BOOL)
    assert simplified(N + 0) is simplified(0 + N) is simplified(N - 0) is simplified(N * 1) is N
    assert simplified(X * 1) is simplified(X / 1) is simplified(1 * X) is X
    assert simplified(true.where(X, Y)) is X and simplified((X < Y).where(X, X)) is X
    assert simplified(X.alu(Ops.NEG).alu(Ops.NEG)) is X and simplified(~(~N)) is N
    assert simplified(one + one * 3) is UOp.const(4, I64)
    assert simplified((one + 1).cast(F64)) is UOp.const(2.0, F64)
    assert simplified((one < 2).where(X, Y)) is X
    assert simplified(UOp.const(100, I8) + 100) is UOp.const(-56, I8)
    assert simplified(UOp.const(3, U8) - 5) is UOp.const(254, U8)


def test_what_ieee_arithmetic_forbids_to_simplify() -> None:
    for node in (X + 0, X - 0, 0 - X, X * 0, X - X, X / X, X + X, X.eq(X)):
        assert simplified(node) is node


def test_wrapping() -> None:
    assert (wrapped(200, I8), wrapped(-1, U8), wrapped(256, U8), wrapped(2**63, I64)) == (
        -56,
        255,
        0,
        -(2**63),
    )
    assert wrapped(2, BOOL) is True


def random_expression(generator: random.Random, depth: int, leaves: list[UOp], operations: list[Op]) -> UOp:
    if depth == 0 or generator.random() < 0.2:
        if generator.random() < 0.5:
            numbers = [0, 1, 2, 5] if leaves[0].dtype.kind == "u" else [0, 1, -1, 2, 5]
            return UOp.const(generator.choice(numbers), leaves[0].dtype)
        return generator.choice(leaves)
    x, y = (random_expression(generator, depth - 1, leaves, operations) for _ in range(2))
    op = generator.choice(operations)
    if op in (Ops.NEG, Ops.NOT):
        return x.alu(op)
    if op is Ops.WHERE:
        return (x < y).where(x, y)
    return x.alu(op, y)


@pytest.mark.parametrize("dtype", [I64, I8, U8, F64, F32], ids=str)
def test_simplified_expressions_keep_their_value(dtype: np.dtype) -> None:
    generator = random.Random(5)
    leaves = [variable(name, dtype) for name in "abc"]
    operations = [Ops.ADD, Ops.SUB, Ops.MUL, Ops.NEG, Ops.WHERE, Ops.MAXIMUM, Ops.MINIMUM]
    if dtype.kind in "iu":
        operations += [Ops.AND, Ops.OR, Ops.XOR, Ops.NOT]
        numbers = np.array([0, 1, 2, 7, 100, 127], dtype)
    else:
        numbers = np.array([0.0, -0.0, 1.0, -2.5, np.inf, np.nan], dtype)
    values = {leaf: np.roll(numbers, shift) for shift, leaf in enumerate(leaves)}
    smaller = 0
    for _ in range(200):
        node = random_expression(generator, 5, leaves, operations)
        simple = simplified(node)
        assert simple.dtype == node.dtype
        smaller += len(toposort(simple)) < len(toposort(node))
        before, after = (np.broadcast_to(evaluate(one, values), numbers.shape) for one in (node, simple))
        np.testing.assert_array_equal(after, before)
        if dtype.kind == "f":
            known = ~np.isnan(before)
            np.testing.assert_array_equal(np.signbit(after)[known], np.signbit(before)[known])
    assert smaller > 20
