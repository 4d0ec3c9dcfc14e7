"""Structures that come again and again: recognised without a walk, and never mistaken for one another."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import toonygrad as xp
from toonygrad.realize import RECOGNISED_AFTER
from toonygrad.recognition import MOST_NODES
from toonygrad.uop.node import UOp

# The package has a function of the module's name.
realize = sys.modules["toonygrad.realize"]

A, B = np.arange(1.0, 13.0).reshape(3, 4), np.linspace(-2.0, 2.0, 12).reshape(3, 4)

Program = Callable[[Any, Any, Any], Any]

PROGRAMS: dict[str, Program] = {
    "chain": lambda np, a, b: (a + b) * a - a / 2 + b * b,
    "numbers": lambda np, a, b: (a * 2 + 2) * 2,
    "one node twice": lambda np, a, b: (a + b) * (a + b),
    "sum": lambda np, a, b: np.sum(a * b),
    "sums in a chain": lambda np, a, b: (a - np.sum(a)) * np.max(b, axis=0),
    "moved": lambda np, a, b: a[1:, ::2] + b[:-1, 1::2],
    "transposed": lambda np, a, b: a.T + b.T,
    "positions": lambda np, a, b: a + np.arange(4),
    "chosen": lambda np, a, b: np.where(a > b, a, 0.5),
    "gathered": lambda np, a, b: np.take(a, np.astype(np.abs(b), np.int64), axis=0),
    "joined": lambda np, a, b: np.concat([a, b + 1, a], axis=1),
    "running": lambda np, a, b: np.cumulative_sum(a, axis=1) + b,
    "several": lambda np, a, b: (a + b, a - b, np.sum(a)),
    "several above one": lambda np, a, b: (np.exp(b) + a, np.exp(b) * 2),
}


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """None of other tests."""
    own: dict[Any, Any] = {}
    monkeypatch.setattr(realize, "_plans", own)
    return own


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each graph that was walked."""
    found: list[int] = []
    walk = realize._walk

    def counted(*arguments: Any, **named: Any) -> Any:
        found.append(1)
        return walk(*arguments, **named)

    monkeypatch.setattr(realize, "_walk", counted)
    return found


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def computed(program: Program, *operands: Any) -> tuple[np.ndarray, ...]:
    results = as_tuple(program(xp, *operands))
    xp.realize(*results)
    return tuple(np.asarray(result) for result in results)


def often(program: Program, *operands: Any) -> None:
    for _ in range(RECOGNISED_AFTER + 1):
        computed(program, *operands)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_comes_again_is_recognised(name, walks):
    program, (a, b) = PROGRAMS[name], map(xp.asarray, (A, B))
    often(program, a, b)
    walks.clear()
    before = xp.counters()
    # Other memory of the same layout.
    found = computed(program, xp.asarray(A + 1), xp.asarray(B * 0.75))
    assert not walks
    assert (xp.counters() - before).plans_reused == 1
    for ours, theirs in zip(found, as_tuple(program(np, A + 1, B * 0.75)), strict=True):
        assert_allclose(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_numbers_are_arguments(walks):
    a = xp.asarray(A)
    often(lambda xp, a: (a * 2 + 2) * 2, a)
    walks.clear()
    assert_array_equal(*computed(lambda xp, a: (a * 3 + 0.5) * -1, a), (A * 3 + 0.5) * -1)
    assert not walks


# What looks alike at first: the same root, depth and shape. Each is a pair of programs.
ALIKE: dict[str, tuple[Program, Program]] = {
    "operation": (lambda np, a, b: (a + b) * a, lambda np, a, b: (a - b) * a),
    "number or array": (lambda np, a, b: (a + b) * a, lambda np, a, b: (a + 2) * a),
    "which array": (lambda np, a, b: (a - b) * a, lambda np, a, b: (b - a) * a),
    "one array twice": (lambda np, a, b: (a + b) * a, lambda np, a, b: (a + a) * a),
    "one node twice": (lambda np, a, b: (a + b) * (b + a), lambda np, a, b: (a + b) * (a + b)),
    "axis": (
        lambda np, a, b: np.sum(a[:3, :3], axis=0) * 2,
        lambda np, a, b: np.sum(a[:3, :3], axis=1) * 2,
    ),
    "part": (lambda np, a, b: a[:2] * 2, lambda np, a, b: a[1:] * 2),
    "type of a number": (
        lambda np, a, b: np.astype(a, np.float32) * 0.1 + 1,
        lambda np, a, b: np.astype(a, np.int32) * 3 + 1,
    ),
    "how many parts": (
        lambda np, a, b: np.concat([a[:1], b[:1], a[:1]]) * 2,
        lambda np, a, b: np.concat([a[:2], b[:1]]) * 2,
    ),
    "how many results": (lambda np, a, b: (a + b, a * b), lambda np, a, b: (a + b, a * b, a - b)),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_looks_alike_is_told_apart(name):
    a, b = xp.asarray(A), xp.asarray(B)
    for first, second in (ALIKE[name], ALIKE[name][::-1]):
        often(first, a, b)
        for ours, theirs in zip(computed(second, a, b), as_tuple(second(np, A, B)), strict=True):
            assert_allclose(ours, theirs, rtol=1e-6)
            assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("other", [A.astype(np.float32), A[:, ::-1], A.T, A[:, :1]], ids=str)
def test_memory_laid_out_otherwise_is_another_structure(other, walks):
    often(lambda xp, a: (a + a) * 2, xp.asarray(A))
    walks.clear()
    shared = xp.asarray(other, copy=False)
    assert_array_equal(*computed(lambda xp, a: (a + a) * 2, shared), (other + other) * 2)
    assert walks


def test_more_structures_that_look_alike_than_are_kept():
    a, b = xp.asarray(A), xp.asarray(B)
    programs = [
        lambda xp, a, b, k=k: (
            ((a + b) if k & 1 else (a - b)) * ((a * b) if k & 2 else (a / (b + 3))) + (a, b)[k >> 2]
        )
        for k in range(8)
    ]
    for _ in range(2):
        for program in programs:
            often(program, a, b)
    for program in programs:
        assert_allclose(*computed(program, a, b), program(np, A, B))


def test_what_was_computed_meanwhile_is_memory():
    a = xp.asarray(A)

    def in_steps(between: Callable[[xp.Array], None]) -> np.ndarray:
        middle = a + 1
        result = middle * 2
        between(middle)
        return np.asarray(result)

    for _ in range(RECOGNISED_AFTER + 1):
        in_steps(lambda middle: None)
    assert_array_equal(in_steps(xp.realize), (A + 1) * 2)


def test_what_is_asked_for_again_is_stored():
    a = xp.asarray(A)
    often(lambda xp, a: (a + 1) * 2, a)
    middle = a + 1
    assert_array_equal(np.asarray(middle * 2), (A + 1) * 2)
    assert middle._uop.realized is None
    assert_array_equal(np.asarray(middle * 2 - 1), (A + 1) * 2 - 1)
    assert middle._uop.realized is not None


def test_a_reduction_that_somebody_holds_is_stored():
    a = xp.asarray(A)
    often(lambda xp, a: a - xp.sum(a), a)
    held = xp.sum(a)
    assert_allclose(np.asarray(a - held), A - A.sum())
    assert held._uop.realized is not None


def normalised(xp: Any, a: Any) -> tuple[Any, ...]:
    """A result, and what was held meanwhile."""
    middle = xp.mean(a, axis=1, keepdims=True)
    far = a - middle
    spread = xp.sum(far * far, axis=1, keepdims=True)
    return far / spread, middle, far, spread


@pytest.mark.parametrize("held", [(), (1,), (2,), (3,), (1, 3), (1, 2, 3)], ids=str)
def test_what_is_held_is_part_of_the_structure(held, walks):
    a = xp.asarray(A)

    def once() -> list[xp.Array]:
        found = normalised(xp, a)
        chosen = [found[0], *[found[k] for k in held]]
        del found
        xp.realize(chosen[0])
        return chosen

    stored = [array._uop.realized is not None for array in once()]
    for _ in range(RECOGNISED_AFTER + 1):
        once()
    walks.clear()
    found = once()
    assert not walks
    assert [array._uop.realized is not None for array in found] == stored
    expected = normalised(np, A)
    for ours, theirs in zip(found, (expected[0], *[expected[k] for k in held]), strict=True):
        assert_allclose(np.asarray(ours), theirs)


def test_nothing_is_kept_alive():
    a = xp.asarray(A)
    often(PROGRAMS["several"], a, xp.asarray(B))
    memory = a._uop
    references = sys.getrefcount(memory)
    often(PROGRAMS["several"], a, xp.asarray(B))
    assert sys.getrefcount(memory) == references


def test_large_graphs_are_walked(walks, plans):
    def large(xp: Any, a: Any) -> Any:
        terms = [a * number for number in range(MOST_NODES)]
        while len(terms) > 1:
            terms = [first + second for first, second in zip(terms[::2], terms[1::2], strict=True)]
        return terms[0]

    a = xp.asarray(A)
    often(large, a)
    walks.clear()
    assert_array_equal(*computed(large, a), large(np, A))
    assert walks
    assert len(plans) == 1


def test_numbers_and_memory_by_themselves_are_no_structure():
    number = xp.asarray(2.0)
    for _ in range(2 * RECOGNISED_AFTER):
        moved = xp.asarray(A).T
        xp.realize(moved, number, moved)
    assert_array_equal(np.asarray(moved), A.T)
    assert isinstance(moved._uop, UOp)
