"""Sorting and searching on GPUs that aren't there: what CUB is asked for, and what kernels make of it.

fake_cub.py has what is used of cuda.compute, and sorts by the bits it is told to compare.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cub import FakeCub
from fake_driver import FakeDriver, fake_gpus
from hypothesis import given, settings
from hypothesis import strategies as st

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.codegen.cuda_lane_sort import lanes_source
from toonygrad.runtime import cuda_sorting
from toonygrad.runtime.cuda_compile import compile_ptx
from toonygrad.runtime.cuda_libraries import open_library
from toonygrad.runtime.cuda_sorting import Cub
from toonygrad.runtime.driver import DeviceMemoryError

SORTED = [*dtypes.REAL_NUMERIC, dtypes.bool_]


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[FakeDriver]:
    with fake_gpus() as driver, xp.config(cache_dir=tmp_path):
        yield driver
        gc.collect()


@pytest.fixture
def cub(gpu, monkeypatch) -> FakeCub:
    """CUB, which has all the work."""
    monkeypatch.setattr(cuda_sorting, "LONGEST_IN_A_BLOCK", 0)
    return gpu.libraries[Cub]


def on_gpu(host: np.ndarray) -> xp.Array:
    return xp.asarray(host, device="cuda:1").block_until_ready()


def elements(shape: tuple[int, ...], dtype: Any, seed: int) -> np.ndarray:
    """Few values, so that many are equal; of floats also zeros of both signs, infinities and NaNs."""
    generator = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        ends = [0, 1] if dtype.kind == "b" else [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1, 2, 5, 7]
        return generator.choice(np.array(ends, dtype), shape)
    values = [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45]
    return generator.choice(np.array(values, dtype), shape)


def bits(array: Any) -> bytes:
    """The elements to the last bit, but that all NaNs are one."""
    array = np.array(array)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.tobytes()


@pytest.mark.parametrize("way", ["lane by lane", "all lanes at once", "by blocks"])
@pytest.mark.parametrize("dtype", SORTED, ids=str)
@settings(max_examples=10)
@given(data=st.data())
def test_in_order(way, dtype, data):
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    x = elements(tuple(shape), dtype, data.draw(st.integers(0, 99)))
    axis, descending = data.draw(st.integers(0, x.ndim - 1)), data.draw(st.booleans())
    with fake_gpus(), xp.config(cache_dir=None), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_sorting, "LEAST_OWN_CALL", 1 if way == "lane by lane" else 1 << 20)
        if way != "by blocks":
            patch.setattr(cuda_sorting, "LONGEST_IN_A_BLOCK", 0)
        before = xp.counters()
        chosen = {"axis": axis, "descending": descending}
        there = [function(on_gpu(x), **chosen) for function in (xp.sort, xp.argsort)]
        here = [function(xp.asarray(x), **chosen) for function in (xp.sort, xp.argsort)]
        for found, expected in zip(there, here):
            assert found.device == "cuda:1" and found.dtype == expected.dtype
            assert bits(found) == bits(expected)
        assert (xp.counters() - before).host_steps == 0


# Shape and data type, what is done, then CUB's calls: type of keys, how many, which bits, if with values;
# and how many kernels run besides.
CALLS: dict[str, tuple[Any, ...]] = {
    "integers": ((50,), "int32", lambda x: xp.sort(x), [("int32", 50, (0, 32), False)], 0),
    "descending": ((50,), "uint8", lambda x: xp.sort(x, descending=True), [("uint8", 50, (0, 8), False)], 2),
    "floats": ((50,), "float32", lambda x: xp.sort(x), [("float32", 50, (0, 32), False)], 1),
    "fused": ((50,), "float64", lambda x: xp.sort(x * 2), [("float64", 50, (0, 64), False)], 1),
    "positions": ((50,), "int64", lambda x: xp.argsort(x), [("int64", 50, (0, 64), True)], 2),
    "lanes": ((6, 50), "float32", lambda x: xp.sort(x), [("uint64", 300, (1, 36), False)], 2),
    "across": ((50, 6), "int16", lambda x: xp.sort(x, axis=0), [("uint64", 300, (1, 36), False)], 2),
    "wide lanes": (
        *((6, 50), "float64", lambda x: xp.argsort(x)),
        [("float64", 300, (0, 64), True), ("uint32", 300, (0, 3), True)],
        4,
    ),
    "one element each": ((6, 1), "int32", lambda x: xp.sort(x), [("uint64", 6, (1, 36), False)], 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(cub, name):
    shape, dtype, function, calls, kernels = CALLS[name]
    there = on_gpu(elements(shape, dtype, 0))
    before = xp.counters()
    function(there).block_until_ready()
    spent = xp.counters() - before
    assert cub.sorted == calls
    assert (spent.kernels_launched, spent.host_steps) == (kernels, 0)


def test_a_part_is_copied(cub):
    x = elements((100,), "int32", 0)
    assert bits(xp.sort(on_gpu(x)[::-2])) == bits(np.sort(x[::-2]))


def test_compiled_once_a_machine(gpu, cub, tmp_path):
    x = elements((50,), "int32", 0)
    there = on_gpu(x)
    before = xp.counters()
    for _ in range(2):
        assert bits(xp.sort(there)) == bits(np.sort(x))
    spent = xp.counters() - before
    assert cub.compiled == [("int32", "", 90)] and (spent.kernels_compiled, spent.kernels_loaded) == (1, 0)
    with fake_gpus() as another, xp.config(cache_dir=tmp_path):
        before = xp.counters()
        assert bits(xp.sort(on_gpu(x))) == bits(np.sort(x))
        spent = xp.counters() - before
        assert not another.libraries[Cub].compiled
        assert (spent.kernels_compiled, spent.kernels_loaded) == (0, 1)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_lanes_of_several_warps(gpu, dtype):
    """Beyond 128 elements partners meet in shared memory; 2048 are the most that a block holds."""
    for shape in ((3, 129), (1, 700), (2049,)):
        x = elements(shape, dtype, 3)
        there = on_gpu(x)
        for name, descending in (("sort", False), ("argsort", True)):
            chosen = {"descending": descending}
            found, expected = getattr(xp, name)(there, **chosen), getattr(xp, name)(xp.asarray(x), **chosen)
            assert bits(found) == bits(expected)
    assert len(gpu.libraries[Cub].sorted) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool"])
@pytest.mark.parametrize("positions", [False, True])
def test_lanes_compile(dtype, positions):
    source = lanes_source(np.dtype(dtype), positions)
    assert ".local" not in compile_ptx(source.text, source.name, source.parameters)


def test_short_lanes_need_no_library(gpu):
    del gpu.libraries[Cub]
    there = on_gpu(elements((50,), "float32", 0))
    assert [kernel.how for kernel in xp.explain(xp.sort(there)).kernels] == ["library"]
    before = xp.counters()
    xp.sort(there).block_until_ready()
    spent = xp.counters() - before
    assert (spent.kernels_launched, spent.host_steps) == (1, 0)


def test_without_the_library_the_host_computes(gpu, monkeypatch):
    monkeypatch.setattr(cuda_sorting, "LONGEST_IN_A_BLOCK", 0)
    del gpu.libraries[Cub]
    x = elements((50,), "float32", 0)
    there = on_gpu(x)
    assert [kernel.how for kernel in xp.explain(xp.sort(there)).kernels] == ["on the host"]
    before = xp.counters()
    assert bits(xp.argsort(there)) == bits(np.argsort(x, stable=True))
    assert (xp.counters() - before).host_steps == 1


def test_memory_kept_for_reuse_is_given_up(cub):
    x = elements((50,), "int32", 0)
    there = on_gpu(x)
    cub.failing.append(DeviceMemoryError())
    assert bits(xp.sort(there)) == bits(np.sort(x)) and not cub.failing


def test_an_older_package_is_none(monkeypatch):
    assert open_library(Cub, object(), 1000) is None


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", SORTED, ids=str)
def test_searching(gpu, side, dtype):
    for size in (1, 2, 3, 8, 13):
        ordered, values = np.sort(elements((size,), dtype, size)), elements((4, 7), dtype, 1)
        there = on_gpu(ordered), on_gpu(values)
        before = xp.counters()
        found = xp.searchsorted(*there, side=side)
        assert found.device == "cuda:1" and found.dtype == np.int64
        np.testing.assert_array_equal(np.asarray(found), np.searchsorted(ordered, values, side=side))
        spent = xp.counters() - before
        assert (spent.kernels_launched, spent.host_steps) == (1, 0)


def test_searching_in_nothing(gpu):
    found = xp.searchsorted(on_gpu(np.zeros(0)), on_gpu(np.ones(3)))
    np.testing.assert_array_equal(np.asarray(found), [0, 0, 0])


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse", "unique_values"])
@pytest.mark.parametrize("dtype", SORTED, ids=str)
def test_distinct_elements(gpu, name, dtype):
    for shape in ((1,), (40,), (5, 7), ()):
        x = elements(shape, dtype, 2)
        there = on_gpu(x)
        before = xp.counters()
        found, expected = getattr(xp, name)(there), getattr(xp, name)(xp.asarray(x))
        assert (xp.counters() - before).host_steps == 0
        for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (found, expected))):
            assert one.device == "cuda:1" and (one.dtype, one.shape) == (other.dtype, other.shape)
            assert bits(one) == bits(other)


def test_distinct_elements_of_others(gpu):
    x = np.array([1 + 1j, 1, 1 + 1j, 0])
    found = xp.unique_all(on_gpu(x))
    assert [np.asarray(part).tolist() for part in found] == [
        [0, 1, 1 + 1j],
        [3, 1, 0],
        [2, 1, 2, 0],
        [1, 1, 2],
    ]
    assert xp.unique_values(on_gpu(np.zeros((3, 0)))).shape == (0,)
