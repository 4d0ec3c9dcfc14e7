"""Sorting and searching on all cores: what NumPy finds, for any number of threads."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from numpy_reference import check, same_bits, samples

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.codegen import radix
from toonygrad.codegen.cpu import kernel_namespace
from toonygrad.runtime import sorting

REAL = (dtypes.bool_, *dtypes.REAL_NUMERIC)


@pytest.fixture
def eager(monkeypatch):
    """Kernels sort arrays of any size, some lanes at a time, in blocks that these fill several of."""
    for name in ("LEAST_SORTED", "LEAST_SORTED_LANE", "LEAST_ORDERED", "LEAST_ORDERED_LANE", "LEAST_SOUGHT"):
        monkeypatch.setattr(sorting, name, 1)
    monkeypatch.setattr(sorting, "LEAST_BLOCK", 16)
    monkeypatch.setattr(sorting, "BYTES_AT_ONCE", 500)


def filled(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Special values, ties and values of which every digit differs."""
    random = np.random.default_rng(7)
    size = int(np.prod(shape))
    chosen = random.choice(samples(dtype), size)
    if dtype.kind == "f":
        others = (random.normal(0, 1, size) * 10.0 ** random.integers(-30, 30, size)).astype(dtype)
        chosen[random.random(size) < 0.1] = -dtype.type(np.nan)
    else:
        others = random.integers(0, 256, (size, dtype.itemsize), np.uint8).view(f"u{dtype.itemsize}")[:, 0]
        others = others.astype(dtype) if dtype.kind == "b" else others.view(dtype)
    return np.where(random.random(size) < 0.5, chosen, others).reshape(shape)


def stable_order(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


def launches(function, *arguments, **keywords):
    """What a function computes, and how many kernels it launched."""
    before = xp.counters()
    result = function(*arguments, **keywords)
    result.block_until_ready()
    return result, (xp.counters() - before).kernels_launched


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("descending", [False, True])
def test_every_type_along_every_axis(eager, dtype, descending):
    for shape in ((1,), (2,), (257,), (3, 40), (2, 5, 30), (70, 2, 3)):
        x = filled(dtype, shape)
        for axis in range(len(shape)):
            order = stable_order(x, axis, descending)
            with xp.config(compile="always", num_threads=2):
                given = xp.asarray(x)
                found, launched = launches(xp.argsort, given, axis=axis, descending=descending)
                assert launched > 0
                check(found, order)
                found, launched = launches(xp.sort, given, axis=axis, descending=descending)
                assert launched > 0
                same_bits(found, np.take_along_axis(x, order, axis))


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.int64], ids=str)
def test_no_elements(eager, dtype):
    for shape in ((0,), (0, 3), (3, 0)):
        x = np.empty(shape, dtype)
        with xp.config(compile="always"):
            check(xp.sort(xp.asarray(x), axis=0), x)
            check(xp.argsort(xp.asarray(x), axis=0), x.astype(np.int64))


@pytest.mark.parametrize("dtype", [dtypes.uint8, dtypes.int32, dtypes.float64], ids=str)
def test_any_number_of_threads_gives_the_same(dtype):
    x = filled(dtype, (300_007,))
    order = stable_order(x, 0, False)
    for threads in (1, 2, 5):
        with xp.config(num_threads=threads):
            given = xp.asarray(x)
            check(xp.argsort(given), order)
            same_bits(xp.sort(given), x[order])
            # Not asked to be stable it may order zeros otherwise, though the same for any number of threads.
            check(xp.sort(given, stable=False), x[order])


def test_views_are_read_where_they_lie(eager):
    x = filled(dtypes.int32, (40, 90))
    with xp.config(compile="always"):
        given = xp.asarray(x)
        for view, expected in (
            (given[::-1, ::2], x[::-1, ::2]),
            (given.T, x.T),
            (xp.broadcast_to(given[:, :1], (40, 30)), np.broadcast_to(x[:, :1], (40, 30))),
        ):
            for axis in (0, 1):
                check(xp.sort(view, axis=axis), np.sort(expected, axis))
                check(xp.argsort(view, axis=axis), np.argsort(expected, axis, kind="stable"))


@pytest.mark.parametrize("value", [0, 5, -1])
def test_equal_elements_stay(value):
    x = np.full(40_000, value, np.int64)
    check(xp.sort(xp.asarray(x)), x)
    check(xp.argsort(xp.asarray(x)), np.arange(40_000))


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("descending", [False, True])
def test_what_is_in_order_stays(eager, dtype, descending):
    x = filled(dtype, (3, 200))
    x = np.take_along_axis(x, stable_order(x, 1, descending), 1)
    with xp.config(compile="always", num_threads=2):
        given = xp.asarray(x)
        found, launched = launches(xp.argsort, given, axis=1, descending=descending)
        assert 2 <= launched <= 6  # two for each part, which has at least a lane
        check(found, np.tile(np.arange(200), (3, 1)))
        found, launched = launches(xp.sort, given, axis=1, descending=descending)
        assert 2 <= launched <= 6  # two for each part, which has at least a lane
        same_bits(found, x)


@pytest.mark.parametrize("place", [0, 14, 15, 16, 17, 31, 198])
def test_one_element_out_of_order(eager, place):
    """Inside a block, and at the border between two."""
    x = np.repeat(np.arange(100), 2)[None].repeat(2, 0)
    x[1, place] += 3
    with xp.config(compile="always"):
        check(xp.sort(xp.asarray(x)), np.sort(x))
        check(xp.argsort(xp.asarray(x)), np.argsort(x, kind="stable"))


@pytest.mark.parametrize("bits", [8, 24, 40, 56])
def test_digits_in_which_no_key_differs(bits):
    """One digit differs, low or high: passes are left out on either side, and of positions in either half."""
    x = np.random.default_rng(2).integers(0, 100, 50_000) << bits
    check(xp.argsort(xp.asarray(x)), np.argsort(x, kind="stable"))
    check(xp.sort(xp.asarray(x), descending=True), np.sort(x)[::-1])


def test_thresholds():
    for size, sort, order in (
        (sorting.LEAST_ORDERED - 1, False, False),
        (sorting.LEAST_ORDERED, False, True),
        (sorting.LEAST_SORTED - 1, False, True),
        (sorting.LEAST_SORTED, True, True),
    ):
        x = np.random.default_rng(size).normal(size=size)
        given = xp.asarray(x)
        found, launched = launches(xp.sort, given)
        check(found, np.sort(x))
        assert (launched > 0) == sort
        found, launched = launches(xp.argsort, given)
        check(found, np.argsort(x, kind="stable"))
        assert (launched > 0) == order
    short = xp.asarray(np.ones((sorting.LEAST_SORTED, 3)))
    assert launches(xp.sort, short)[1] == launches(xp.argsort, short)[1] == 0


@pytest.mark.parametrize("shape", [(1000, 7), (7, 1000), (3, 40, 5), (2, 3), (0, 4), (60,)])
def test_short_lanes_are_shared_out_among_threads(monkeypatch, shape):
    monkeypatch.setattr(sorting, "LEAST_SHARED", 8)
    x = filled(dtypes.float64, shape)
    for threads in (1, 2, 5):
        with xp.config(compile="always", num_threads=threads):
            given = xp.asarray(x)
            for axis in range(x.ndim):
                order = stable_order(x, axis, True)
                check(xp.argsort(given, axis=axis, descending=True), order)
                same_bits(xp.sort(given, axis=axis, descending=True), np.take_along_axis(x, order, axis))


def test_nothing_is_compiled_where_that_is_switched_off():
    x = np.random.default_rng(3).normal(size=100_000)
    with xp.config(compile="never"):
        given = xp.asarray(x)
        found, launched = launches(xp.sort, given)
        assert launched == launches(xp.argsort, given)[1] == 0
        check(found, np.sort(x))


def test_several_threads_sort_at_once():
    arrays = [np.random.default_rng(seed).normal(size=60_000) for seed in range(4)]
    failures = []

    def work(x: np.ndarray) -> None:
        for _ in range(5):
            given = xp.asarray(x)
            if not (np.asarray(xp.sort(given)) == np.sort(x)).all():
                failures.append("sort")
            if not (np.asarray(xp.argsort(given)) == np.argsort(x, kind="stable")).all():
                failures.append("argsort")

    threads = [threading.Thread(target=work, args=(x,)) for x in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_forked_child_sorts():
    x = np.random.default_rng(4).normal(size=100_000)
    with xp.config(num_threads=2):
        check(xp.sort(xp.asarray(x)), np.sort(x))
        child = os.fork()
        if child == 0:
            same = (np.asarray(xp.sort(xp.asarray(-x))) == np.sort(-x)).all()
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("kind", ["u", "i", "f"])
def test_keys_in_plain_python(kind):
    """The texts mean under Python what they mean compiled: keys are in the order of the elements."""
    dtype = np.dtype(f"{kind}4")
    x = filled(dtype, (50,))
    source = radix.keys_source(kind, np.dtype("u4"))
    namespace = kernel_namespace()
    exec(source.text, namespace)
    keys, some, every = (np.zeros(50, "u4") for _ in range(3))
    with np.errstate(all="ignore"):
        namespace[source.name](keys, some, every, np.zeros(1, "i8"), x.view("u4"), 50, 1, 50, 0, 1, 0, 0, 1)
    order = np.argsort(keys, kind="stable")
    np.testing.assert_array_equal(x[order], np.sort(x))


# -- searching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_places_of_values(eager, dtype, side):
    for size, count in ((1, 1), (1, 70), (2, 3), (3, 129), (64, 64), (257, 1000)):
        ordered, values = np.sort(filled(dtype, (size,))), filled(dtype, (count,))
        with xp.config(compile="always", num_threads=2):
            found, launched = launches(xp.searchsorted, xp.asarray(ordered), xp.asarray(values), side=side)
        assert launched == 1
        check(found, np.searchsorted(ordered, values, side=side))


def test_places_of_values_in_views_and_in_nothing(eager):
    ordered, values = np.arange(0, 100, 2.0), np.random.default_rng(5).uniform(-5, 105, (20, 30))
    with xp.config(compile="always"):
        given = xp.asarray(values)
        check(xp.searchsorted(xp.asarray(ordered)[::3], given.T), np.searchsorted(ordered[::3], values.T))
        check(xp.searchsorted(xp.asarray(ordered[:0]), given), np.zeros((20, 30), np.int64))
        check(xp.searchsorted(xp.asarray(ordered), given[:0]), np.zeros((0, 30), np.int64))


def test_few_values_are_left_to_numpy():
    ordered = xp.asarray(np.arange(100_000.0))
    for count, expected in ((sorting.LEAST_SOUGHT - 1, 0), (sorting.LEAST_SOUGHT, 1)):
        found, launched = launches(xp.searchsorted, ordered, xp.asarray(np.arange(count) + 0.5))
        check(found, np.arange(count) + 1)
        assert launched == expected


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.float32, np.float64])
@pytest.mark.parametrize("threads", [2, 5])
def test_halves_that_numpy_sorts(dtype, threads, monkeypatch):
    monkeypatch.setattr(sorting, "_numpy_sorts_in_vectors", lambda dtype: True)
    monkeypatch.setattr(sorting, "LEAST_SHARED", 1 << 10)
    random = np.random.default_rng(threads)
    size = 40_003
    wide = (1000 * random.standard_normal(size)).astype(dtype)
    for x in (wide, np.round(wide / 500).astype(dtype), np.full(size, wide[0]), np.sort(wide)[::-1].copy()):
        if dtype in (np.float32, np.float64):
            x[::97], x[5], x[8], x[9] = np.nan, np.inf, -0.0, 0.0
        for descending in (False, True):
            with xp.config(num_threads=threads):
                found = np.asarray(xp.sort(xp.asarray(x), descending=descending))
            expected = np.sort(x)[::-1] if descending else np.sort(x)
            np.testing.assert_array_equal(found, expected)
            # Equal zeros stay in the order they came in.
            np.testing.assert_array_equal(np.signbit(found[found == 0]), np.signbit(x[x == 0]))


def test_who_sorts_is_decided_once():
    sorting._numpy_sorts_in_vectors.cache_clear()
    assert sorting._numpy_sorts_in_vectors(np.dtype(np.float32)) in (True, False)
    assert sorting._numpy_sorts_in_vectors(np.dtype(np.float32)) is sorting._numpy_sorts_in_vectors(
        np.dtype(np.float32)
    )
