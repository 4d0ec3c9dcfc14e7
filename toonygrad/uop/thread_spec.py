"""What a nest of statements is that many threads of a GPU go through: spec.py's NEST and a few words more.

codegen/cuda_generate.py verifies it. Imports spec.py.
"""

from __future__ import annotations

from toonygrad import dtypes
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.pattern import PatternMatcher
from toonygrad.uop.spec import (
    NEST,
    Stage,
    _any,
    _is_word,
    _row,
    check_order,
    it_assigns_a_variable_of_its_type,
    it_has_a_word_and_a_real_type,
    it_has_no_arg,
    it_is_named_by_a_word,
    its_length_is_known,
)


def it_is_named_by_a_lanes_word(node: UOp) -> bool:
    word, lanes = node.arg
    return _is_word(word) and type(lanes) is int and 0 <= lanes < 32


def it_copies_between_scratch_and_memory(node: UOp) -> bool:
    target, source = node.src[0].op, node.src[2].op
    near, far = (target, source) if node.op is Ops.LOAD_VECTOR else (source, target)
    return near is Ops.SCRATCH and far in (Ops.POINTER, Ops.SHARED)


def its_words_are_of_64_bits(node: UOp) -> bool:
    words, place = node.src[:2] if node.op is Ops.PUBLISH else node.src[1:]
    return words.op is Ops.POINTER and words.dtype == dtypes.uint64 and place.dtype == dtypes.INDEX


def it_gives_a_variable_a_value(node: UOp) -> bool:
    return node.src[0].op is Ops.VARIABLE


def its_arrays_have_one_data_type(node: UOp) -> bool:
    return node.src[0].dtype == node.src[2].dtype


def its_length_is_a_power_of_two(node: UOp) -> bool:
    return node.arg is None or (type(node.arg) is int and node.arg > 1 and node.arg & (node.arg - 1) == 0)


def its_indices_are_int64(node: UOp) -> bool:
    return node.src[1].dtype == node.src[3].dtype == dtypes.INDEX


# Statements that each of many threads goes through.
THREAD_NEST = Stage(
    "THREAD_NEST",
    NEST.rules
    + PatternMatcher(
        [
            _row(_any(Ops.THREAD), it_is_named_by_a_word),
            _row(_any(Ops.SHARED), it_has_a_word_and_a_real_type, its_length_is_known),
            _row(_any(Ops.SHUFFLE), it_assigns_a_variable_of_its_type, it_is_named_by_a_lanes_word),
            _row(_any(Ops.BARRIER), it_has_no_arg),
            _row(_any(Ops.PUBLISH), it_has_no_arg, its_words_are_of_64_bits),
            _row(_any(Ops.AWAIT), it_has_no_arg, its_words_are_of_64_bits, it_gives_a_variable_a_value),
            _row(
                _any(Ops.LOAD_VECTOR, Ops.STORE_VECTOR),
                it_copies_between_scratch_and_memory,
                its_arrays_have_one_data_type,
                its_indices_are_int64,
                its_length_is_a_power_of_two,
            ),
        ]
    ),
    check_order,
)
