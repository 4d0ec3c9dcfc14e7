"""Each stage's spec: graphs the engine makes pass, and for every rule there is a graph that it refuses."""

from collections.abc import Callable

import numpy as np
import pytest

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import node_of
from toonygrad.codegen.generate import generate
from toonygrad.codegen.loops import HI, LO
from toonygrad.codegen.lower import lower
from toonygrad.config import config
from toonygrad.realize import canonical, structure_of
from toonygrad.runtime.buffer import Buffer
from toonygrad.schedule.fusion import Kernel, schedule
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.spec import CANONICAL, KERNEL, LOWERED, NEST, RECORDED, InvalidGraph, Stage, verify

Make = Callable[[], UOp]


def buffer(dtype: np.dtype = dtypes.float64, *shape: int) -> UOp:
    return UOp.new(Ops.BUFFER, (), Buffer(np.zeros(shape or (2, 3), dtype)))


def argument(dtype: np.dtype = dtypes.float64) -> UOp:
    return UOp.new(Ops.ARGUMENT, (), (0, dtype, (2, 3), (3, 1)))


def number(dtype: np.dtype = dtypes.float64) -> UOp:
    return UOp.new(Ops.NUMBER, (), (0, dtype))


def const(value: float = 1, dtype: np.dtype = dtypes.int64) -> UOp:
    return UOp.const(value, dtype)


def variable(name: str, dtype: np.dtype = dtypes.int64) -> UOp:
    return UOp.new(Ops.VARIABLE, (), (name, dtype))


def pointer(name: str = "out0", dtype: np.dtype = dtypes.float64) -> UOp:
    return UOp.new(Ops.POINTER, (), (name, dtype))


def loop(over: UOp, *statements: UOp, stop: UOp = HI) -> UOp:
    return UOp.new(Ops.LOOP, (over, LO, stop, *statements))


def store(index: UOp, value: UOp, target: UOp | None = None) -> UOp:
    return UOp.new(Ops.STORE, (target or pointer(), index, value))


def sink(*statements: UOp) -> UOp:
    return UOp.new(Ops.SINK, statements)


def wrong(op, src, arg, dtype, shape=()) -> UOp:
    """A node that inference would not make."""
    return UOp.known(op, src, arg, dtype, shape)


RANGE, OTHER = UOp.new(Ops.RANGE, (), ("domain", 0)), UOp.new(Ops.RANGE, (), ("domain", 1))
I0 = UOp.new(Ops.RANGE, (), "i0")
ONE = const(1.0, dtypes.float64)
F64, F32, I64, C128, BOOL = dtypes.float64, dtypes.float32, dtypes.int64, dtypes.complex128, dtypes.bool_

INVALID: list[tuple[str, Stage, Make]] = [
    # -- what calls record
    (
        "operands have one data type",
        RECORDED,
        lambda: wrong(Ops.ADD, (buffer(F64), buffer(F32)), None, F64, (2, 3)),
    ),
    ("the operation takes its data type", RECORDED, lambda: UOp.new(Ops.ADD, (buffer(BOOL), buffer(BOOL)))),
    ("the operation takes its data type", RECORDED, lambda: UOp.new(Ops.LT, (buffer(C128), buffer(C128)))),
    ("the operation takes its data type", RECORDED, lambda: UOp.new(Ops.SQRT, (buffer(I64),))),
    ("it has no arg", RECORDED, lambda: UOp.new(Ops.NEG, (buffer(),), "loudly")),
    ("ADD has 2 sources", RECORDED, lambda: UOp.new(Ops.ADD, (buffer(),))),
    ("type and shape follow", RECORDED, lambda: wrong(Ops.NEG, (buffer(),), None, F64, (3, 2))),
    ("type and shape follow", RECORDED, lambda: wrong(Ops.EQ, (buffer(), buffer()), None, F64, (2, 3))),
    (
        "shapes of operands broadcast",
        RECORDED,
        lambda: wrong(Ops.ADD, (buffer(F64, 2), buffer(F64, 3)), None, F64, (3,)),
    ),
    ("a condition is boolean", RECORDED, lambda: UOp.new(Ops.WHERE, (buffer(I64), buffer(), buffer()))),
    (
        "branches have one data type",
        RECORDED,
        lambda: UOp.new(Ops.WHERE, (buffer(BOOL), buffer(F64), buffer(F32))),
    ),
    ("its arg is a data type", RECORDED, lambda: wrong(Ops.CAST, (buffer(),), "float64", F64, (2, 3))),
    ("its arg is a data type", RECORDED, lambda: UOp.new(Ops.CAST, (buffer(),), np.dtype("S4"))),
    ("types are of one size", RECORDED, lambda: UOp.new(Ops.BITCAST, (buffer(F64),), F32)),
    ("its number is one of its type", RECORDED, lambda: wrong(Ops.SCALAR, (), 300, dtypes.uint8)),
    ("its number is one of its type", RECORDED, lambda: wrong(Ops.SCALAR, (), 1, F64)),
    ("its data type is supported", RECORDED, lambda: UOp.new(Ops.BUFFER, (), Buffer(np.zeros(3, "S4")))),
    ("it has memory", RECORDED, lambda: wrong(Ops.BUFFER, (), b"bytes", F64)),
    ("its axis is one of its shape", RECORDED, lambda: UOp.new(Ops.IOTA, (), ((2, 3), 2))),
    ("the number of elements stays", RECORDED, lambda: UOp.new(Ops.RESHAPE, (buffer(),), (4,))),
    ("its arg is a shape", RECORDED, lambda: UOp.new(Ops.RESHAPE, (buffer(),), (-1,))),
    ("its source broadcasts to its shape", RECORDED, lambda: UOp.new(Ops.EXPAND, (buffer(),), (2, 4))),
    ("every axis stands somewhere", RECORDED, lambda: UOp.new(Ops.PERMUTE, (buffer(),), (0, 0))),
    ("slices lie inside", RECORDED, lambda: UOp.new(Ops.SLICE, (buffer(),), ((0, 1, 2), (1, 1, 3)))),
    ("its block lies inside", RECORDED, lambda: UOp.new(Ops.REPLACE, (buffer(), buffer()), (0, 1))),
    ("its block lies inside", RECORDED, lambda: UOp.new(Ops.REPLACE, (buffer(), buffer()), (0,))),
    ("slices lie inside", RECORDED, lambda: UOp.new(Ops.SLICE, (buffer(),), ((0, 1, 2), (0, -1, 2)))),
    ("slices lie inside", RECORDED, lambda: UOp.new(Ops.SLICE, (buffer(),), ((0, 0, 2), (0, 1, 3)))),
    (
        "its axes are the sources in order",
        RECORDED,
        lambda: UOp.new(Ops.REDUCE, (buffer(),), (Ops.ADD, (1, 0))),
    ),
    (
        "its axes are the sources in order",
        RECORDED,
        lambda: UOp.new(Ops.REDUCE, (buffer(),), (Ops.ADD, (2,))),
    ),
    (
        "it combines what its operation takes",
        RECORDED,
        lambda: UOp.new(Ops.REDUCE, (buffer(),), (Ops.SUB, (0,))),
    ),
    (
        "it combines what its operation takes",
        RECORDED,
        lambda: UOp.new(Ops.REDUCE, (buffer(I64),), (Ops.OR, (0,))),
    ),
    (
        "it combines what its operation takes",
        RECORDED,
        lambda: UOp.new(Ops.SCAN, (buffer(BOOL),), (Ops.ADD, 0)),
    ),
    ("its axis is one of the source", RECORDED, lambda: UOp.new(Ops.SCAN, (buffer(),), (Ops.ADD, -1))),
    (
        "it has axes a position and the users call",
        RECORDED,
        lambda: UOp.new(Ops.GATHER, (buffer(), buffer(I64)), ((1, 1), 0, "take")),
    ),
    (
        "each axis has an index of int64",
        RECORDED,
        lambda: UOp.new(Ops.GATHER, (buffer(), buffer(dtypes.int32)), ((1,), 0, "take")),
    ),
    (
        "each axis has an index of int64",
        RECORDED,
        lambda: UOp.new(Ops.GATHER, (buffer(), buffer(I64)), ((0, 1), 0, "take")),
    ),
    ("operands have one data type", RECORDED, lambda: UOp.new(Ops.CONCAT, (buffer(F64), buffer(F32)), 0)),
    (
        "parts agree off the axis",
        RECORDED,
        lambda: UOp.new(Ops.CONCAT, (buffer(F64, 2, 3), buffer(F64, 2, 4)), 0),
    ),
    (
        "its axis is one of each part",
        RECORDED,
        lambda: wrong(Ops.CONCAT, (buffer(F64, 2), buffer(F64, 2, 4)), 1, F64, (2, 4)),
    ),
    (
        "it has a name parameters a data type and a shape",
        RECORDED,
        lambda: UOp.new(Ops.EXTERNAL, (buffer(),), ("matmul", (), F64, (2, -3))),
    ),
    ("no ARGUMENT of this kind has a place here", RECORDED, lambda: -argument()),
    ("no POINTER of this kind has a place here", RECORDED, lambda: UOp.new(Ops.LOAD, (pointer(), const()))),
    (
        "no QUOTIENT of this kind has a place here",
        RECORDED,
        lambda: buffer(I64).alu(Ops.QUOTIENT, buffer(I64)),
    ),
    # -- the same without anybody's memory or numbers
    ("no BUFFER of this kind has a place here", CANONICAL, lambda: argument() + buffer()),
    ("no SCALAR of this kind has a place here", CANONICAL, lambda: argument() + UOp.scalar(2.0, F64)),
    (
        "it has a slot a data type a shape and strides",
        CANONICAL,
        lambda: UOp.new(Ops.ARGUMENT, (), (0, F64, (2, 3), (1,))),
    ),
    (
        "it has a slot a data type a shape and strides",
        CANONICAL,
        lambda: UOp.new(Ops.ARGUMENT, (), (0, F64, (2, 3), None)),
    ),
    ("the operation takes its data type", CANONICAL, lambda: argument(I64).alu(Ops.EXP)),
    # -- a traced kernel
    ("no RESHAPE of this kind has a place here", KERNEL, lambda: UOp.new(Ops.RESHAPE, (number(),), ())),
    ("no ARGUMENT of this kind has a place here", KERNEL, lambda: -argument()),
    ("no STORE of this kind has a place here", KERNEL, lambda: store(const(), ONE, ONE)),
    ("each index has a coefficient", KERNEL, lambda: UOp.new(Ops.ACCESS, (RANGE,), (0, F64, (), 0))),
    ("each index has a coefficient", KERNEL, lambda: UOp.new(Ops.AFFINE, (RANGE,), ((0,), 0))),
    ("indices are different int64s", KERNEL, lambda: UOp.new(Ops.ACCESS, (number(),), (0, F64, (1,), 0))),
    ("indices are different int64s", KERNEL, lambda: UOp.new(Ops.AFFINE, (RANGE, RANGE), ((1, 2), 0))),
    (
        "it has an index cuts and a shift more",
        KERNEL,
        lambda: UOp.new(Ops.PIECEWISE, (RANGE, const(), const())),
    ),
    ("it runs over ranges", KERNEL, lambda: UOp.new(Ops.REDUCE, (number(),), Ops.ADD)),
    ("it runs over ranges", KERNEL, lambda: UOp.new(Ops.REDUCE, (number(), const()), Ops.ADD)),
    (
        "it combines numbers that its operation takes",
        KERNEL,
        lambda: UOp.new(Ops.REDUCE, (number(C128), RANGE), Ops.MAXIMUM),
    ),
    (
        "it is an index and whether it is outside",
        KERNEL,
        lambda: UOp.new(Ops.CHECKED, (const(), const()), 0),
    ),
    ("it is a place and a data type", KERNEL, lambda: UOp.new(Ops.NUMBER, (), ((0, 1), F64))),
    ("it is a size by number", KERNEL, lambda: UOp.new(Ops.SIZE, (), ("width", 0)) + 1),
    ("it has a name", KERNEL, lambda: UOp.new(Ops.RANGE, (), "i0") + 1),
    # -- what the dialect has words for
    ("no EXP of this kind has a place here", LOWERED, lambda: number().alu(Ops.EXP)),
    (
        "no FLOORDIV of this kind has a place here",
        LOWERED,
        lambda: number(I64).alu(Ops.FLOORDIV, number(I64)),
    ),
    ("no SHL of this kind has a place here", LOWERED, lambda: number(I64).alu(Ops.SHL, number(I64))),
    ("no COMPLEX of this kind has a place here", LOWERED, lambda: number().alu(Ops.COMPLEX, ONE)),
    (
        "no ACCESS of this kind has a place here",
        LOWERED,
        lambda: UOp.new(Ops.ACCESS, (RANGE,), (0, C128, (2,), 0)),
    ),
    ("no CONST of this kind has a place here", LOWERED, lambda: const(1j, C128)),
    ("it is a place or a part of one and a real type", LOWERED, lambda: number(C128)),
    ("the dialect takes its data type", LOWERED, lambda: number(F64).alu(Ops.POW, ONE)),
    ("the dialect takes its data type", LOWERED, lambda: number(dtypes.uint8).alu(Ops.NEG)),
    ("the dialect takes its data type", LOWERED, lambda: number(I64).alu(Ops.DIV, number(I64))),
    ("the dialect takes its data type", LOWERED, lambda: number(F64).alu(Ops.QUOTIENT, ONE)),
    ("the dialect takes its data type", LOWERED, lambda: number(BOOL).alu(Ops.MAXIMUM, number(BOOL))),
    (
        "both ways have one data type",
        LOWERED,
        lambda: number(F64).alu(Ops.GUARDED, number(F32), number(BOOL)),
    ),
    ("a guard is boolean", LOWERED, lambda: number(F64).alu(Ops.GUARDED, ONE, ONE)),
    ("no LOAD of this kind has a place here", LOWERED, lambda: UOp.new(Ops.LOAD, (ONE, const()))),
    # -- loop nests
    ("a nest is a SINK", NEST, lambda: loop(I0, store(I0, ONE))),
    ("UOp(RANGE, int64, i0; 0 sources) has a value where it is read", NEST, lambda: sink(store(I0, ONE))),
    (
        "has a value where it is read",
        NEST,
        lambda: sink(loop(I0, store(I0, ONE)), store(I0, ONE)),
    ),
    ("has a value where it is read", NEST, lambda: sink(loop(I0, store(I0, ONE), stop=I0))),
    ("has a value where it is read", NEST, lambda: sink(store(const(), variable("total", F64)))),
    (
        "has a value where it is read",
        NEST,
        lambda: sink(loop(I0, assign("total", ONE)), store(const(), variable("total", F64))),
    ),
    (
        "has a value where it is read",
        NEST,
        lambda: sink(store(const(), variable("total", F64)), assign("total", ONE)),
    ),
    ("it runs a range between int64s", NEST, lambda: sink(loop(I0, store(I0, ONE), stop=ONE))),
    ("it runs a range between int64s", NEST, lambda: sink(loop(variable("i"), store(const(), ONE)))),
    ("it holds statements", NEST, lambda: sink(loop(I0, I0 + 1))),
    ("it holds statements", NEST, lambda: sink(ONE)),
    ("a condition is boolean", NEST, lambda: sink(UOp.new(Ops.IF, (const(), store(const(), ONE))))),
    ("its index is int64", NEST, lambda: sink(store(ONE, ONE))),
    ("it stores what the array holds", NEST, lambda: sink(store(const(), const()))),
    ("it stands for an array", NEST, lambda: sink(store(const(), ONE, variable("x", F64)))),
    ("it assigns a variable of its type", NEST, lambda: sink(UOp.new(Ops.ASSIGN, (variable("x"), ONE)))),
    ("it assigns a variable of its type", NEST, lambda: sink(UOp.new(Ops.ASSIGN, (I0, const())))),
    ("it is named by a word", NEST, lambda: sink(store(UOp.new(Ops.SIZE, (), "n; import os"), ONE))),
    ("it is named by a word", NEST, lambda: sink(store(UOp.new(Ops.SIZE, (), "lambda"), ONE))),
    ("it has a word and a real type", NEST, lambda: sink(store(const(), ONE, pointer("a b")))),
    (
        "it has a word and a real type",
        NEST,
        lambda: sink(store(const(), const(1j, C128), pointer("a", C128))),
    ),
    (
        "its length is known",
        NEST,
        lambda: sink(store(const(), ONE, UOp.new(Ops.SCRATCH, (), ("totals", F64, 0)))),
    ),
    ("it fills scratch from memory of its type", NEST, lambda: sink(copied(pointer("in0", I64), const()))),
    ("it fills scratch from memory of its type", NEST, lambda: sink(copied(scratch(), const()))),
    ("its sizes are int64", NEST, lambda: sink(copied(pointer("in0"), ONE))),
    (
        "no REDUCE of this kind has a place here",
        NEST,
        lambda: sink(store(const(), UOp.new(Ops.REDUCE, (ONE, I0), Ops.ADD))),
    ),
    (
        "no REASSOCIATING_ADD of this kind",
        NEST,
        lambda: sink(store(const(), const().alu(Ops.REASSOCIATING_ADD, 1))),
    ),
]


def scratch() -> UOp:
    return UOp.new(Ops.SCRATCH, (), ("tile", F64, 64))


def copied(source: UOp, rows: UOp) -> UOp:
    return UOp.new(Ops.TRANSPOSE, (scratch(), const(8), source, const(0), const(8), rows, const(8)))


def assign(name: str, value: UOp) -> UOp:
    return UOp.new(Ops.ASSIGN, (variable(name, value.dtype), value))


@pytest.mark.parametrize(("rule", "stage", "make"), INVALID, ids=lambda part: getattr(part, "name", None))
def test_a_graph_that_breaks_a_rule_is_refused(rule: str, stage: Stage, make: Make) -> None:
    node = make()
    with pytest.raises(InvalidGraph) as caught:
        verify(stage, [node])
    assert str(caught.value).startswith(f"{stage.name}: UOp(")
    assert rule in str(caught.value)


def test_the_message_names_the_node_its_sources_and_the_rule() -> None:
    with pytest.raises(InvalidGraph) as caught:
        verify(LOWERED, [number(I64).alu(Ops.DIV, number(I64))])
    assert str(caught.value) == (
        "LOWERED: UOp(DIV, int64; 2 sources) of UOp(NUMBER, int64, (0, dtype('int64')); 0 sources), "
        "UOp(NUMBER, int64, (0, dtype('int64')); 0 sources) breaks the rule: the dialect takes its data type"
    )


def test_a_broken_node_is_found_anywhere_but_below_what_is_given() -> None:
    broken = UOp.new(Ops.SQRT, (buffer(I64),))
    root = -(broken + broken)
    with pytest.raises(InvalidGraph, match="the operation takes its data type"):
        verify(RECORDED, [buffer(), root])
    verify(RECORDED, [root], given={broken})


def test_a_long_chain_is_checked_without_recursion() -> None:
    node = buffer()
    for _ in range(20_000):
        node = -node
    verify(RECORDED, [node])


def programs() -> dict[str, tuple[xp.Array, ...]]:
    x = xp.asarray(np.arange(1.0, 601.0).reshape(20, 30))
    z = x + 1j * x
    n = xp.astype(x, xp.int32)
    return {
        "elementwise": (xp.where(x > 3, xp.exp(x) * 2.5, -x),),
        "integers": (n // 7 + (n % 5) * (n << 2) ** 3,),
        "complex": (xp.exp(z) / xp.conj(z), xp.sum(z, axis=0)),
        "rows": (x / xp.sum(x, axis=1, keepdims=True),),
        "columns": (xp.max(x, axis=0), xp.mean(n, axis=0)),
        "everything": (xp.sum(x), xp.any(x > 5), xp.argmax(x)),
        "running": (xp.cumulative_sum(x, axis=1),),
        "guarded": (xp.sum(xp.sin(x), axis=1), x % 0.3),
        "gathered": (xp.take(x, xp.asarray([3, 1]), axis=1), x[xp.asarray([1, -2]), 4]),
        "moved": (xp.reshape(x.T, (6, 100))[::2, 1:], xp.concat([x, x[::-1]], axis=1), xp.roll(x, 3)),
        "product": (x @ x.T, n @ n.T),
        "made": (xp.arange(10) * 2, xp.linspace(0, 1, 7), xp.eye(4, 5)),
    }


@pytest.mark.parametrize("name", list(programs()))
def test_what_the_engine_makes_is_valid_at_every_stage(name: str) -> None:
    nodes = [node_of(array) for array in programs()[name]]
    with config(debug=0):  # here it is this test that checks
        structure = structure_of(nodes, looking=True)
        verify(RECORDED, nodes, given=structure.memory)
        roots = canonical(structure)
        verify(CANONICAL, roots)
        for step in schedule(roots):
            if isinstance(step, Kernel):
                verify(KERNEL, [output.value for output in step.outputs])
                verify(LOWERED, [store.value for store in lower(step).stores])
                verify(NEST, [generate(step).nest.body])


def test_the_engine_checks_while_debug_is_on() -> None:
    def invalid() -> xp.Array:
        x = xp.asarray(np.arange(6.0).reshape(2, 3))
        x._uop = UOp.new(Ops.RESHAPE, (x._uop,), (6,))
        x._uop = UOp.known(Ops.NEG, (x._uop,), None, dtypes.float64, (3, 2))
        return x

    with config(debug=1, compile="never"), pytest.raises(InvalidGraph, match="type and shape follow"):
        invalid().block_until_ready()
    with config(debug=0, compile="never"):
        invalid().block_until_ready()
