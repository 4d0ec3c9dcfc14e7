"""What a valid graph is: one table of rules for each stage that a graph goes through.

A table has a row for whatever the stage knows; what no row fits has no place there. A rule is a function
whose name says what it asks, and `verify` quotes it. realize.py and codegen/generate.py call `verify` between
the stages while settings.debug is on, as it is in all tests. Imports nodes, patterns, shapes and the data
types.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import ELEMENTWISE, REDUCING, STATEMENTS, Op, Ops
from toonygrad.uop.pattern import PatternMatcher, Rule, UPat
from toonygrad.uop.shape import Shape, broadcast_shapes, infer, size_of


class InvalidGraph(RuntimeError):
    """A graph breaks a rule of its stage: always a defect of the engine. The message names node and rule."""


@dataclass(frozen=True)
class Stage:
    """What a graph is between two passes.

    Attributes
    ----------
    name : for messages
    rules : for a valid node the empty text, else the rule that it breaks
    check_order : of statements, what no node tells alone: that values are there before they are read
    """

    name: str
    rules: PatternMatcher
    check_order: Callable[[UOp], None] | None = None


def verify(stage: Stage, roots: Iterable[UOp], given: Collection[UOp] = ()) -> None:
    """Check every node below and including `roots`, but none below those of `given`, whose values are there.

    Raises
    ------
    InvalidGraph
        A node breaks a rule of `stage`.
    """
    for node in toposort(*roots, until=given):
        broken = "" if node in given else _broken(stage, node)
        if broken:
            raise InvalidGraph(f"{stage.name}: {_shown(node)} breaks the rule: {broken}")
    if stage.check_order is not None:
        for root in roots:
            stage.check_order(root)


def _shown(node: UOp) -> str:
    return f"{node!r} of {', '.join(map(repr, node.src))}" if node.src else repr(node)


def _broken(stage: Stage, node: UOp) -> str:
    if node.op.arity is not None and len(node.src) != node.op.arity:
        return f"{node.op} has {node.op.arity} sources"
    rule = stage.rules.apply(node)
    if rule is None:
        return f"no {node.op} of this kind has a place here"
    if rule or node.op in (Ops.CONST, Ops.SCALAR):
        return rule
    try:
        return (
            "" if (node.dtype, node.shape) == infer(node.op, node.src, node.arg) else "type and shape follow"
        )
    except ValueError:
        return "shapes of operands broadcast"


def _row(what: UPat, *rules: Callable[[UOp], bool]) -> Rule:
    """A row of a table: what the pattern fits, under the name "node", obeys the rules."""

    def first_broken(node: UOp) -> str:
        return next((rule.__name__.replace("_", " ") for rule in rules if not rule(node)), "")

    return what, first_broken


def _any(*ops: Op, dtype: Iterable[np.dtype] | None = None) -> UPat:
    return UPat(ops, name="node", dtype=dtype)


# -- rules of many stages ------------------------------------------------------------------------------------

_REAL = (dtypes.bool_, *dtypes.REAL_NUMERIC)
_LIMITS: dict[np.dtype, tuple[float, float]] = {
    d: (int(np.iinfo(d).min), int(np.iinfo(d).max)) for d in dtypes.INTEGERS
}


def it_has_no_arg(node: UOp) -> bool:
    return node.arg is None


def its_number_is_one_of_its_type(node: UOp) -> bool:
    kind = {"b": bool, "f": float, "c": complex}.get(node.dtype.kind, int)
    least, most = _LIMITS.get(node.dtype, (-math.inf, math.inf))
    is_of_kind = type(node.arg) is kind and dtypes.is_supported(node.dtype)
    return is_of_kind and (kind is not int or least <= node.arg <= most)


def operands_have_one_data_type(node: UOp) -> bool:
    return len({source.dtype for source in node.src}) == 1


def the_operation_takes_its_data_type(node: UOp) -> bool:
    return node.src[0].dtype in dtypes.CATEGORIES[node.op.takes]


def a_condition_is_boolean(node: UOp) -> bool:
    return node.src[0].dtype == dtypes.bool_


def branches_have_one_data_type(node: UOp) -> bool:
    return node.src[1].dtype == node.src[2].dtype


def its_arg_is_a_data_type(node: UOp) -> bool:
    return isinstance(node.arg, np.dtype) and dtypes.is_supported(node.arg)


def types_are_of_one_size(node: UOp) -> bool:
    return node.src[0].dtype.itemsize == node.dtype.itemsize


def its_data_type_is_supported(node: UOp) -> bool:
    return dtypes.is_supported(node.dtype)


_CHOICE = (it_has_no_arg, a_condition_is_boolean, branches_have_one_data_type)
_REINTERPRETATION = (its_arg_is_a_data_type, types_are_of_one_size)
_ARITHMETIC = PatternMatcher(
    [
        _row(_any(Ops.CONST), its_number_is_one_of_its_type),
        _row(_any(Ops.CAST), its_arg_is_a_data_type),
        _row(_any(Ops.BITCAST), *_REINTERPRETATION),
        _row(_any(Ops.WHERE), *_CHOICE),
        _row(
            _any(*ELEMENTWISE),
            it_has_no_arg,
            operands_have_one_data_type,
            the_operation_takes_its_data_type,
        ),
    ]
)


# -- recorded graphs -----------------------------------------------------------------------------------------


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(size) is int and size >= 0 for size in value)


def _are_axes(axes: Any, source: Shape) -> bool:
    return (
        isinstance(axes, tuple)
        and all(type(axis) is int and 0 <= axis < len(source) for axis in axes)
        and len(set(axes)) == len(axes)
    )


def it_has_memory(node: UOp) -> bool:
    layout = getattr(node.arg, "layout", None)
    return layout is not None and layout[:2] == (node.dtype, node.shape)


def it_has_a_slot_a_data_type_a_shape_and_strides(node: UOp) -> bool:
    slot, dtype, shape, strides = node.arg
    laid_out = shape == () if strides is None else len(strides) == len(shape)
    return type(slot) is int and slot >= 0 and dtypes.is_supported(dtype) and _is_shape(shape) and laid_out


def its_axis_is_one_of_its_shape(node: UOp) -> bool:
    shape, axis = node.arg
    return _is_shape(shape) and _are_axes((axis,), shape)


def its_arg_is_a_shape(node: UOp) -> bool:
    return _is_shape(node.arg)


def the_number_of_elements_stays(node: UOp) -> bool:
    return size_of(node.arg) == size_of(node.src[0].shape)


def its_source_broadcasts_to_its_shape(node: UOp) -> bool:
    try:
        return broadcast_shapes(node.src[0].shape, node.arg) == node.arg
    except ValueError:
        return False


def every_axis_stands_somewhere(node: UOp) -> bool:
    return sorted(node.arg) == list(range(len(node.src[0].shape)))


def slices_lie_inside(node: UOp) -> bool:
    shape = node.src[0].shape
    return len(node.arg) == len(shape) and all(
        step != 0
        and count >= 0
        and (count == 0 or (0 <= start < size and 0 <= start + step * (count - 1) < size))
        for (start, step, count), size in zip(node.arg, shape, strict=True)
    )


def its_axes_are_the_sources_in_order(node: UOp) -> bool:
    axes = node.arg[1]
    return _are_axes(axes, node.src[0].shape) and axes == tuple(sorted(axes)) and len(node.src) == 1


def its_axis_is_one_of_the_source(node: UOp) -> bool:
    return _are_axes((node.arg[1],), node.src[0].shape)


def _combines(op: Any, dtype: np.dtype) -> bool:
    if op in (Ops.AND, Ops.OR):
        return dtype == dtypes.bool_
    return op in REDUCING and dtype in dtypes.CATEGORIES[op.takes]


def it_combines_what_its_operation_takes(node: UOp) -> bool:
    return _combines(node.arg[0], node.dtype)


def it_has_axes_a_position_and_the_users_call(node: UOp) -> bool:
    axes, position, call = node.arg
    source = node.src[0].shape
    return _are_axes(axes, source) and 0 <= position <= len(source) - len(axes) and isinstance(call, str)


def each_axis_has_an_index_of_int64(node: UOp) -> bool:
    indices = node.src[1:]
    return len(indices) == len(node.arg[0]) > 0 and all(index.dtype == dtypes.INDEX for index in indices)


def its_axis_is_one_of_each_part(node: UOp) -> bool:
    return len(node.src) > 1 and all(_are_axes((node.arg,), source.shape) for source in node.src)


def parts_agree_off_the_axis(node: UOp) -> bool:
    return len({(*s.shape[: node.arg], *s.shape[node.arg + 1 :]) for s in node.src}) == 1


def it_has_a_name_parameters_a_data_type_and_a_shape(node: UOp) -> bool:
    name, parameters, dtype, shape = node.arg
    return (
        isinstance(name, str)
        and isinstance(parameters, tuple)
        and dtypes.is_supported(dtype)
        and _is_shape(shape)
    )


def its_block_lies_inside(node: UOp) -> bool:
    whole, block = (source.shape for source in node.src)
    if not len(node.arg) == len(whole) == len(block):
        return False
    sides = zip(node.arg, block, whole, strict=True)
    return all(0 <= start <= size - count for start, count, size in sides)


_TENSORS = _ARITHMETIC + PatternMatcher(
    [
        _row(_any(Ops.IOTA), its_axis_is_one_of_its_shape),
        _row(_any(Ops.RESHAPE), its_arg_is_a_shape, the_number_of_elements_stays),
        _row(_any(Ops.EXPAND), its_arg_is_a_shape, its_source_broadcasts_to_its_shape),
        _row(_any(Ops.PERMUTE), every_axis_stands_somewhere),
        _row(_any(Ops.SLICE), slices_lie_inside),
        _row(_any(Ops.REDUCE), its_axes_are_the_sources_in_order, it_combines_what_its_operation_takes),
        _row(_any(Ops.SCAN), its_axis_is_one_of_the_source, it_combines_what_its_operation_takes),
        _row(
            _any(Ops.GATHER),
            it_has_axes_a_position_and_the_users_call,
            each_axis_has_an_index_of_int64,
        ),
        _row(
            _any(Ops.CONCAT),
            its_axis_is_one_of_each_part,
            operands_have_one_data_type,
            parts_agree_off_the_axis,
        ),
        _row(_any(Ops.EXTERNAL), it_has_a_name_parameters_a_data_type_and_a_shape),
    ]
)

# What array calls leave: arithmetic, movement and the like over memory and the user's numbers.
RECORDED = Stage(
    "RECORDED",
    _TENSORS
    + PatternMatcher(
        [
            _row(_any(Ops.BUFFER), it_has_memory, its_data_type_is_supported),
            _row(_any(Ops.SCALAR), its_number_is_one_of_its_type),
            _row(_any(Ops.REPLACE), operands_have_one_data_type, its_block_lies_inside),
        ]
    ),
)

# The same over ARGUMENTs, so that a plan is nobody's: neither memory nor a number of the user's is in it.
CANONICAL = Stage(
    "CANONICAL",
    _TENSORS + PatternMatcher([_row(_any(Ops.ARGUMENT), it_has_a_slot_a_data_type_a_shape_and_strides)]),
)


# -- a traced kernel's expressions ---------------------------------------------------------------------------


def it_is_a_place_and_a_data_type(node: UOp) -> bool:
    place, dtype = node.arg
    return type(place) is int and place >= 0 and dtypes.is_supported(dtype)


def it_is_a_size_by_number(node: UOp) -> bool:
    kind, number = node.arg
    return kind == "size" and type(number) is int


def it_has_a_name(node: UOp) -> bool:
    return isinstance(node.arg, tuple) and len(node.arg) > 0


def each_index_has_a_coefficient(node: UOp) -> bool:
    coefficients, offset = node.arg[-2:]
    return (
        len(coefficients) == len(node.src)
        and all(type(c) is int and c != 0 for c in coefficients)
        and type(offset) is int
    )


def indices_are_different_int64s(node: UOp) -> bool:
    return all(s.dtype == dtypes.INDEX for s in node.src) and len(set(node.src)) == len(node.src)


def it_has_an_index_cuts_and_a_shift_more(node: UOp) -> bool:
    int64s = all(source.dtype == dtypes.INDEX for source in node.src)
    return node.arg is None and int64s and len(node.src) >= 4 and len(node.src) % 2 == 0


def it_is_an_index_and_whether_it_is_outside(node: UOp) -> bool:
    return (node.src[0].dtype, node.src[1].dtype, type(node.arg)) == (dtypes.INDEX, dtypes.bool_, int)


def it_runs_over_ranges(node: UOp) -> bool:
    ranges = node.src[1:]
    return len(ranges) > 0 and all(a.op is Ops.RANGE for a in ranges) and len(set(ranges)) == len(ranges)


def it_combines_numbers_that_its_operation_takes(node: UOp) -> bool:
    return _combines(node.arg, node.dtype)


_EXPRESSIONS = (
    _row(_any(Ops.SIZE), it_is_a_size_by_number),
    _row(_any(Ops.RANGE), it_has_a_name),
    _row(_any(Ops.AFFINE), each_index_has_a_coefficient, indices_are_different_int64s),
    _row(_any(Ops.PIECEWISE), it_has_an_index_cuts_and_a_shift_more),
    _row(_any(Ops.CHECKED), it_is_an_index_and_whether_it_is_outside),
)
_OVER_RANGES = (it_runs_over_ranges, it_combines_numbers_that_its_operation_takes)
_MEMORY = (each_index_has_a_coefficient, indices_are_different_int64s, its_data_type_is_supported)

# What the scheduler hands to codegen: scalar arithmetic, movement folded into the indices of ACCESSes.
KERNEL = Stage(
    "KERNEL",
    _ARITHMETIC
    + PatternMatcher(
        [
            *_EXPRESSIONS,
            _row(_any(Ops.NUMBER), it_is_a_place_and_a_data_type),
            _row(_any(Ops.ACCESS), *_MEMORY),
            _row(_any(Ops.REDUCE, Ops.SCAN), *_OVER_RANGES),
        ]
    ),
)


# -- what the dialect has words for --------------------------------------------------------------------------

_SIGNED = (*dtypes.SIGNED, *dtypes.REAL_FLOATING)
_BITS = (dtypes.bool_, *dtypes.INTEGERS)
_FLOAT = dtypes.REAL_FLOATING

# The arithmetic that is left after codegen's rules, with the data types that it is left for.
_PRIMITIVES: dict[Op, tuple[np.dtype, ...]] = {
    **dict.fromkeys((Ops.ADD, Ops.SUB, Ops.MUL, Ops.MAXIMUM, Ops.MINIMUM), dtypes.REAL_NUMERIC),
    **dict.fromkeys((Ops.LT, Ops.LE, Ops.MODULO), dtypes.REAL_NUMERIC),
    **dict.fromkeys((Ops.EQ, Ops.NE), _REAL),
    **dict.fromkeys((Ops.NEG, Ops.ABS), _SIGNED),
    **dict.fromkeys((Ops.DIV, Ops.SQRT, Ops.FLOOR, Ops.CEIL, Ops.TRUNC, Ops.ROUND), _FLOAT),
    **dict.fromkeys((Ops.COPYSIGN, Ops.FMA), _FLOAT),
    **dict.fromkeys((Ops.QUOTIENT, Ops.SHIFT_LEFT, Ops.SHIFT_RIGHT, Ops.POW), dtypes.INTEGERS),
    **dict.fromkeys((Ops.AND, Ops.OR, Ops.XOR, Ops.NOT), _BITS),
    Ops.TWO_OVER_PI: (dtypes.INDEX,),
}
_ACCUMULATING = (Ops.REASSOCIATING_ADD, Ops.REASSOCIATING_MUL)


def the_dialect_takes_its_data_type(node: UOp) -> bool:
    return node.src[0].dtype in _PRIMITIVES[node.op]


def both_ways_have_one_data_type(node: UOp) -> bool:
    return node.src[0].dtype == node.src[1].dtype


def a_guard_is_boolean(node: UOp) -> bool:
    return node.src[2].dtype == dtypes.bool_


def it_is_a_place_or_a_part_of_one_and_a_real_type(node: UOp) -> bool:
    place, dtype = node.arg
    number, part = place if isinstance(place, tuple) else (place, 0)
    return type(number) is int and number >= 0 and part in (0, 1) and dtype in _REAL


_DIALECT = PatternMatcher(
    [
        _row(_any(Ops.CONST, dtype=_REAL), its_number_is_one_of_its_type),
        _row(_any(Ops.CAST, dtype=_REAL), its_arg_is_a_data_type),
        _row(_any(Ops.BITCAST, dtype=_REAL), *_REINTERPRETATION),
        _row(_any(Ops.WHERE, dtype=_REAL), *_CHOICE),
        _row(_any(Ops.GUARDED), it_has_no_arg, both_ways_have_one_data_type, a_guard_is_boolean),
        _row(_any(Ops.NUMBER), it_is_a_place_or_a_part_of_one_and_a_real_type),
        _row(_any(Ops.CHECKED), it_is_an_index_and_whether_it_is_outside),
        _row(
            _any(*_PRIMITIVES),
            it_has_no_arg,
            operands_have_one_data_type,
            the_dialect_takes_its_data_type,
        ),
    ]
)

# A kernel's expressions after every rule: what the dialect has words for, nothing complex, nothing that
# traps.
LOWERED = Stage(
    "LOWERED",
    _DIALECT
    + PatternMatcher(
        [
            *_EXPRESSIONS,
            _row(_any(Ops.ACCESS, dtype=_REAL), *_MEMORY),
            _row(_any(Ops.REDUCE, Ops.SCAN, dtype=_REAL), *_OVER_RANGES),
        ]
    ),
)


# -- loop nests ----------------------------------------------------------------------------------------------

# The piece of the parallel range, which every kernel is given.
_GIVEN = frozenset({"lo", "hi"})


def _is_word(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def it_is_named_by_a_word(node: UOp) -> bool:
    return _is_word(node.arg)


def it_has_a_word_and_a_real_type(node: UOp) -> bool:
    return _is_word(node.arg[0]) and node.dtype in _REAL


def its_length_is_known(node: UOp) -> bool:
    return type(node.arg[2]) is int and node.arg[2] > 0


def it_stands_for_an_array(node: UOp) -> bool:
    return node.src[0].op in (Ops.POINTER, Ops.SCRATCH, Ops.SHARED)


def its_index_is_int64(node: UOp) -> bool:
    return node.src[1].dtype == dtypes.INDEX


def it_stores_what_the_array_holds(node: UOp) -> bool:
    return node.src[2].dtype == node.src[0].dtype


def it_fills_scratch_from_memory_of_its_type(node: UOp) -> bool:
    target, _, source, *_ = node.src
    return target.op is Ops.SCRATCH and source.op is Ops.POINTER and target.dtype == source.dtype


def its_sizes_are_int64(node: UOp) -> bool:
    return all(node.src[k].dtype == dtypes.INDEX for k in (1, 3, 4, 5, 6))


def it_assigns_a_variable_of_its_type(node: UOp) -> bool:
    return node.src[0].op is Ops.VARIABLE and operands_have_one_data_type(node)


def it_runs_a_range_between_int64s(node: UOp) -> bool:
    return (
        len(node.src) > 3
        and node.src[0].op is Ops.RANGE
        and all(s.dtype == dtypes.INDEX for s in node.src[:3])
    )


def it_holds_statements(node: UOp) -> bool:
    first = {Ops.LOOP: 3, Ops.IF: 1}.get(node.op, 0)
    return all(source.op in STATEMENTS for source in node.src[first:])


# What gives its src[0] a value.
_WRITING = (Ops.LOOP, Ops.ASSIGN, Ops.SHUFFLE, Ops.AWAIT)


def check_order(body: UOp) -> None:
    """InvalidGraph where `body`, a SINK, reads a RANGE outside its LOOP or a VARIABLE nobody assigned."""
    if body.op is not Ops.SINK:
        raise InvalidGraph(f"NEST: {body!r} breaks the rule: a nest is a SINK")
    order = toposort(body)
    reads: dict[UOp, frozenset[UOp]] = {}
    nothing: frozenset[UOp] = frozenset()
    for node in order:
        own = frozenset((node,)) if node.op in (Ops.RANGE, Ops.VARIABLE) else nothing
        reads[node] = own.union(*(reads[source] for source in node.src))
    given = frozenset(node for node in order if node.op is Ops.VARIABLE and node.arg[0] in _GIVEN)
    _check_statements(body.src, given, reads)


def _check_statements(
    statements: Collection[UOp], known: frozenset[UOp], reads: dict[UOp, frozenset[UOp]]
) -> None:
    # Recursive over statements inside statements, which are as deep as a kernel has loops.
    for statement in statements:
        first = {Ops.LOOP: 3, Ops.IF: 1}.get(statement.op, len(statement.src))
        written = statement.src[:1] if statement.op in _WRITING else ()
        for source in statement.src[len(written) : first]:
            for unknown in reads[source] - known:
                raise InvalidGraph(
                    f"NEST: {_shown(statement)} breaks the rule: {unknown!r} has a value where it is read"
                )
        if statement.op in _WRITING and statement.op is not Ops.LOOP:
            known = known.union(written)
        else:
            _check_statements(statement.src[first:], known.union(written), reads)


# Statements around what the dialect has words for: what python_source writes, line by line.
NEST = Stage(
    "NEST",
    _DIALECT
    + PatternMatcher(
        [
            _row(
                _any(*_ACCUMULATING, dtype=_FLOAT),
                it_has_no_arg,
                operands_have_one_data_type,
            ),
            _row(_any(Ops.SIZE, Ops.RANGE), it_is_named_by_a_word),
            _row(_any(Ops.PIECEWISE), it_has_an_index_cuts_and_a_shift_more),
            _row(_any(Ops.POINTER, Ops.VARIABLE), it_has_a_word_and_a_real_type),
            _row(_any(Ops.SCRATCH), it_has_a_word_and_a_real_type, its_length_is_known),
            _row(_any(Ops.LOAD), it_has_no_arg, it_stands_for_an_array, its_index_is_int64),
            _row(_any(Ops.STORE), it_stands_for_an_array, its_index_is_int64, it_stores_what_the_array_holds),
            _row(_any(Ops.TRANSPOSE), it_fills_scratch_from_memory_of_its_type, its_sizes_are_int64),
            _row(_any(Ops.ASSIGN), it_assigns_a_variable_of_its_type),
            _row(_any(Ops.LOOP), it_runs_a_range_between_int64s, it_holds_statements),
            _row(_any(Ops.IF), a_condition_is_boolean, it_holds_statements),
            _row(_any(Ops.SINK), it_holds_statements),
        ]
    ),
    check_order,
)
