"""Masks, positions of truths, and writing by arrays, on GPUs that aren't there (fake_driver.py).

Nothing of it may pass through the host. What keys mean is test_indexing.py's.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_driver import FakeDriver, fake_gpus
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import toonygrad as xp
from toonygrad import writing
from toonygrad.array import realized
from toonygrad.config import counters_snapshot
from toonygrad.runtime import cuda_scatter, cuda_selection
from toonygrad.runtime.cuda_compile import compile_ptx
from toonygrad.runtime.device import open_device

RANDOM = np.random.default_rng(0)
CUBE = RANDOM.integers(-9, 9, (3, 4, 5))
# Enough for several blocks.
LONG = RANDOM.integers(-9, 9, 2 * cuda_selection.TILE + 5)


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus(1 << 26) as driver:
        yield driver


def on_gpu(array: Any) -> xp.Array:
    return xp.asarray(array, device="cuda").block_until_ready()


def as_ours(key: Any) -> Any:
    """A NumPy key with its arrays on the GPU."""
    if isinstance(key, tuple):
        return tuple(map(as_ours, key))
    return on_gpu(key) if isinstance(key, np.ndarray) else key


@pytest.fixture
def no_host(gpu) -> Iterator[None]:
    before = xp.counters()
    yield
    assert (xp.counters() - before).host_steps == 0


# -- masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128", "int8", "bool", "float16"])
@pytest.mark.parametrize("most", [0.0, 0.3, 1.0], ids=["none", "some", "all"])
def test_what_a_mask_selects(no_host, monkeypatch, dtype, most):
    monkeypatch.setattr(cuda_selection, "MOST_CHUNKS", 2)
    host = LONG.astype(dtype)
    mask = RANDOM.random(host.shape) < most
    x = on_gpu(host)
    assert_array_equal(np.asarray(x[on_gpu(mask)]), host[mask])
    (found,) = xp.nonzero(on_gpu(mask))
    assert found.dtype == xp.int64 and found.device == "cuda:0"
    assert_array_equal(np.asarray(found), np.flatnonzero(mask))


def test_masks_in_the_midst_of_memory_and_in_other_orders(no_host):
    x, mask = on_gpu(CUBE), on_gpu(CUBE > 0)
    assert_array_equal(np.asarray(x[1:, ::2][mask[1:, ::2]]), CUBE[1:, ::2][CUBE[1:, ::2] > 0])
    assert_array_equal(np.asarray(x.mT[mask.mT]), CUBE.swapaxes(1, 2)[CUBE.swapaxes(1, 2) > 0])
    assert_array_equal(np.asarray(x[mask[:, :, 0]]), CUBE[CUBE[:, :, 0] > 0])
    for ours, theirs in zip(xp.nonzero(x[:, 1:]), np.nonzero(CUBE[:, 1:]), strict=True):
        assert_array_equal(np.asarray(ours), theirs)


def test_a_mask_takes_two_kernels_and_its_expression_one(gpu):
    x = on_gpu(CUBE)
    before = len(gpu.launches)
    x[x > 0].block_until_ready()
    assert len(gpu.launches) - before == 3


def test_what_led_to_a_mask_is_checked_first(gpu):
    x = on_gpu(np.arange(5))
    outside = xp.take(x, on_gpu(np.array([0, 1, 2, 3, 9]))) > 1
    with pytest.raises(IndexError, match=r"^take: an index is out of bounds for axis 0 with size 5"):
        x[outside]
    with pytest.raises(IndexError, match=r"^take: an index is out of bounds for axis 0 with size 5"):
        x[outside] = 1
    assert_array_equal(np.asarray(x), np.arange(5))


def test_repeating_by_an_array(gpu):
    times = RANDOM.integers(0, 4, 700)
    x, ours = on_gpu(LONG[:700]), on_gpu(times)
    before = xp.counters()
    assert_array_equal(np.asarray(xp.repeat(x, ours)), np.repeat(LONG[:700], times))
    assert xp.repeat(on_gpu(CUBE), on_gpu(np.array([0, 2, 0])), axis=0).shape == (2, 4, 5)
    assert xp.repeat(x, ours * 0).shape == (0,)
    assert xp.repeat(x[:0], ours[:0]).shape == (0,)
    assert (xp.counters() - before).host_steps == 0
    with pytest.raises(ValueError, match=r"^repeat: can't repeat -1 times"):
        xp.repeat(x, ours - 1)


# -- writing ---------------------------------------------------------------------------------------


@st.composite
def array_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Keys with arrays in them for an array of this shape."""
    arrays = [(), (1,), (3,), (2, 1), (2, 3)]
    key: list[Any] = []
    axis = 0
    while axis < len(shape):
        size = shape[axis]
        kind = draw(st.sampled_from(["array", "array", "slice", "integer", "new", "mask", "truth"]))
        if kind == "array":
            index = st.integers(-size, size - 1)
            chosen = draw(st.sampled_from(arrays))
            count = int(np.prod(chosen))
            values = draw(st.lists(index, min_size=count, max_size=count))
            key.append(np.array(values, np.int64).reshape(chosen))
        elif kind == "slice":
            key.append(draw(st.slices(size)))
        elif kind == "integer":
            key.append(draw(st.integers(-size, size - 1)))
        elif kind == "mask" and axis + 1 < len(shape):
            key.append(draw(st.integers(0, 9)) < CUBE[:size, : shape[axis + 1], 0] + 5)
            if key[-1].shape != shape[axis : axis + 2]:
                key.pop()
                continue
            axis += 1
        else:
            key.append(None if kind != "truth" else draw(st.booleans()))
            continue
        axis += 1
    return tuple(key)


@settings(max_examples=100)
@given(st.data())
def test_writing_by_arrays_as_numpy_has_it(data):
    host = CUBE.copy()
    turn = data.draw(st.sampled_from([(0, 1, 2), (2, 1, 0), (1, 2, 0)]))
    backwards = data.draw(st.booleans())

    def seen(array: Any) -> Any:
        moved = np.transpose(array, turn) if isinstance(array, np.ndarray) else xp.permute_dims(array, turn)
        return moved[::-1, :, 1:] if backwards else moved

    key = data.draw(array_keys(seen(host).shape))
    try:
        shape = seen(host)[key].shape
    except IndexError:
        return  # arrays that don't broadcast
    part = data.draw(st.integers(0, len(shape)))
    value = np.arange(np.prod(shape[part:], dtype=int)).reshape(shape[part:]) + 100
    if data.draw(st.booleans()):
        value = value.reshape(-1)[:1].reshape(()) if value.size else np.array(7)
    with fake_gpus(1 << 26):
        x = on_gpu(host)
        address = realized(x).address
        ours, given_value = as_ours(key), on_gpu(value)
        before = counters_snapshot()
        seen(x)[ours] = given_value if value.shape or data.draw(st.booleans()) else int(value)
        assert (counters_snapshot() - before).host_steps == 0
        seen(host)[key] = value
        assert_array_equal(np.asarray(x), host)
        assert realized(x).address == address


@pytest.mark.parametrize("compared", [0, 1 << 20], ids=["claimed", "compared"])
@pytest.mark.parametrize("most", [10_000, 40], ids=["few twice", "many twice"])
def test_the_last_of_several_is_written(gpu, monkeypatch, compared, most):
    monkeypatch.setattr(cuda_scatter, "MOST_COMPARED", compared)
    monkeypatch.setattr(cuda_scatter, "IDLE_BLOCKS", 2)
    places = RANDOM.integers(-most, most, 1200)
    host, values = np.zeros((most, 2), complex), RANDOM.random((1200, 2)) + 1j
    x = on_gpu(host)
    x[on_gpu(places)] = on_gpu(values)
    host[places] = values
    assert_array_equal(np.asarray(x), host)


def test_memory_that_runs_out_leaves_the_elements(monkeypatch):
    monkeypatch.setattr(cuda_scatter, "MOST_COMPARED", 1)
    with fake_gpus(1 << 16) as driver:
        host = np.arange(3000.0)
        x, k = on_gpu(host), on_gpu(np.array([3, 3, 5], np.int32))
        y = on_gpu(np.ones(3))
        driver.limit = driver.used + 4096
        with pytest.raises(MemoryError, match=r"cannot allocate [\d,]+ bytes on cuda:0"):
            x[k] = y
        driver.limit = 1 << 16
        assert_array_equal(np.asarray(x), host)
        x[k] = y
        host[[3, 5]] = 1
        assert_array_equal(np.asarray(x), host)


def test_kernels_that_a_write_takes(gpu):
    x, k = on_gpu(LONG), on_gpu(np.arange(9))
    value, mask = on_gpu(np.arange(9)), on_gpu(LONG > 0)
    for write, kernels in (
        (lambda: x.__setitem__(mask, 7), 1),
        (lambda: x.__setitem__(k, 7), 2),  # one looks at the indices, and one writes
        (lambda: x.__setitem__(k, value), 2),
        (lambda: x.__setitem__((k,), x[::-1][:9]), 3),  # with a copy of the values
        (lambda: x.__setitem__(on_gpu(np.arange(4097) % 2000), on_gpu(np.arange(4097))), 5),
    ):
        before = len(gpu.launches)
        write()
        assert len(gpu.launches) - before == kernels


def test_what_is_written_outside_leaves_the_elements_and_is_found_by_readers(gpu):
    x = on_gpu(np.arange(5.0))
    part = x[1:3]
    float(part[0])
    x[on_gpu(np.array([1, 7]))] = 3.0
    for read in (lambda: np.asarray(x), lambda: np.asarray(part), lambda: float(xp.sum(x))):
        with pytest.raises(IndexError, match=r"^__setitem__: an index is out of bounds for axis 0 with si"):
            read()
    x[...] = 0.0
    assert_array_equal(np.asarray(x), np.zeros(5))
    y = on_gpu(np.arange(5.0))
    memory = realized(y)
    y[on_gpu(np.array([1, 7]))] = 3.0
    memory.checks = ()
    assert_array_equal(memory.array, np.arange(5.0))


def test_unread_checks_do_not_pile_up(gpu):
    x, k = on_gpu(np.arange(5.0)), on_gpu(np.array([3]))
    synchronized = gpu.synchronized
    for step in range(2 * writing.MOST_CHECKS):
        x[k] = float(step)
        assert len(realized(x).checks) == 1
    assert gpu.synchronized == synchronized
    for step in range(2 * writing.MOST_CHECKS):
        x[k] = float(step)
        x[:4][k] = float(step)
        assert len(realized(x).checks) <= writing.MOST_CHECKS
    assert_array_equal(np.asarray(x), [0, 1, 2, step, 4])
    assert not realized(x).checks
    y = x * 1
    xp.realize(y)
    for place in (9, 1, 2):
        x[on_gpu(np.array([place]))] = 7.0
    assert_array_equal(np.asarray(y), [0, 1, 2, step, 4])
    for _ in range(2):
        with pytest.raises(IndexError, match=r"^__setitem__: an index is out of bounds for axis 0 with"):
            np.asarray(x)


def test_values_that_indices_led_to_are_written_without_waiting(gpu):
    host = np.arange(50.0)
    x, k = on_gpu(host), on_gpu(np.array([3, 9, 3]))
    synchronized = gpu.synchronized
    for _ in range(4):
        x[k] = x[k] + 1
        host[[3, 9]] += 1
    assert gpu.synchronized == synchronized
    assert_array_equal(np.asarray(x), host)
    y = on_gpu(np.arange(50.0))
    y[k] = x[on_gpu(np.array([1, 50, 2]))]
    memory = realized(y)
    for _ in range(2):
        with pytest.raises(IndexError, match=r"^__getitem__: an index is out of bounds for axis 0 with si"):
            float(y[0])
    memory.checks = ()
    assert_array_equal(memory.array, np.arange(50.0))


def test_keys_and_values_that_are_the_array_itself(gpu):
    host = np.array([3, 0, 2, 1, 4])
    x = on_gpu(host)
    x[x] = x[::-1]
    host[host.copy()] = host[::-1].copy()
    assert_array_equal(np.asarray(x), host)
    x[x > 2] = x[:2]
    host[host > 2] = host[:2].copy()
    assert_array_equal(np.asarray(x), host)


def test_who_recorded_before_keeps_the_elements(gpu):
    x = on_gpu(CUBE)
    recorded = x * 2
    x[on_gpu(np.array([0, 2]))] = 0
    x[x < 0] = 1
    assert_array_equal(np.asarray(recorded), CUBE * 2)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (np.array([0, 1]), np.zeros((3, 4, 5)), ValueError),
        (CUBE > 0, np.zeros(3), ValueError),
        (np.zeros((2, 4, 5), bool), 1, IndexError),
        ((np.array([0, 1]), np.array([0, 1, 2])), 1, ValueError),
        ((np.array([0]),) * 4, 1, IndexError),
    ],
    ids=["values", "values of a mask", "mask", "arrays", "too many"],
)
def test_refusals_name_the_call_and_change_nothing(gpu, key, value, error):
    x = on_gpu(CUBE.astype(float))
    with pytest.raises(error, match=r"^__setitem__: "):
        x[as_ours(key)] = on_gpu(value) * 1.0
    assert_array_equal(np.asarray(x), CUBE)


def test_keys_are_on_the_device_of_their_array(gpu):
    x = on_gpu(CUBE)
    for place in ("cpu", "cuda:1"):
        for key in (np.array([0, 1]), CUBE > 0):
            elsewhere = xp.asarray(key, device=place)
            with pytest.raises(ValueError, match=r"^__getitem__: operands are on .* and "):
                x[elsewhere]
            with pytest.raises(ValueError, match=r"^__setitem__: operands are on .* and "):
                x[elsewhere] = 1
    # What isn't an Array has no device, and what is numbers alone fits all.
    for key in ([0, 1], np.array([0, 1]), xp.arange(2), xp.ones(3, dtype=xp.bool)):
        assert_array_equal(np.asarray(x[key]), CUBE[np.asarray(key)])


def test_empty_arrays(no_host):
    x = on_gpu(np.zeros((0, 3)))
    x[on_gpu(np.zeros(0, int))] = 1.0
    x[x > 0] = 2.0
    assert np.asarray(x[x > 0]).shape == (0,)
    assert [each.shape for each in xp.nonzero(x)] == [(0,), (0,)]


def test_interpreting_stays_on_the_host(gpu):
    x = on_gpu(CUBE)
    with xp.config(compile="never"):
        launches = len(gpu.launches)
        assert_array_equal(np.asarray(x[x > 0]), CUBE[CUBE > 0])
        x[on_gpu(np.array([0, 0]))] = on_gpu(CUBE[1:])
        assert len(gpu.launches) == launches
    assert_array_equal(np.asarray(x[0]), CUBE[2])


def test_a_mask_of_all_is_recorded(no_host, gpu):
    x = on_gpu(LONG)
    copy, view = xp.asarray(x, copy=True), x[3:]
    before = len(gpu.launches)
    x[x < 0] = 0
    x[x > 5] = on_gpu(np.array([5]))
    later = x * 2
    assert len(gpu.launches) == before
    assert_array_equal(np.asarray(later), np.clip(LONG, 0, 5) * 2)
    assert len(gpu.launches) == before + 1
    assert_array_equal(np.asarray(view), np.clip(LONG, 0, 5)[3:])
    assert_array_equal(np.asarray(copy), LONG)


def test_a_mask_in_memory_is_written_in_place(no_host, gpu):
    x, mask = on_gpu(LONG), on_gpu(LONG < 0)
    address = realized(x).address
    x[mask] = 7
    assert realized(x).address == address
    assert_array_equal(np.asarray(x), np.where(LONG < 0, 7, LONG))


def test_a_number_of_sixteen_bits(no_host, gpu):
    host = LONG.astype("f2")
    x = on_gpu(host)
    x[on_gpu(LONG) < 0] = 1.5
    assert_array_equal(np.asarray(x), np.where(LONG < 0, np.float16(1.5), host))


# -- their code ------------------------------------------------------------------------------------


def test_ptx():
    number, byte, four, eight = np.dtype("u4"), np.dtype("u1"), np.dtype(np.int32), np.dtype(np.int64)
    short, long = np.dtype("u2"), np.dtype("u8")
    for kernel in (
        cuda_selection._counting(),
        cuda_selection._storing(None, 1),
        cuda_selection._storing(number, 2),
        cuda_selection._bisecting(),
        cuda_scatter._filling(byte, 1, 3, True),
        cuda_scatter._filling(long, 2, 0, False),
        cuda_scatter._to_places(number, 2, 2),
        cuda_scatter._looking((eight,), None, True, True),
        cuda_scatter._looking((eight, byte), "last", False, True),
        cuda_scatter._looking((long, four), "bits", True, False),
        cuda_scatter._claiming((eight, four), four, False),
        cuda_scatter._claiming((short,), eight, True),
        cuda_scatter._writing(number, 1, (eight,), 1, 4, "all", True, True),
        cuda_scatter._writing(long, 2, (four,), 0, 1, "single", False, False),
        cuda_scatter._writing(byte, 1, (four, eight), 2, 4, "last", False, False),
        cuda_scatter._writing(short, 1, (eight,), 1, 1, "int32", False, False),
    ):
        assert kernel.name in compile_ptx(kernel.text, kernel.name, kernel.parameters)
    for kernel, words in (
        (cuda_scatter._claiming((eight,), four, True), "max.s32"),
        (cuda_scatter._looking((eight,), "bits", False, False), "or.b32"),
    ):
        assert f"atom.global.{words}" in compile_ptx(kernel.text, kernel.name, kernel.parameters)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_indices_of_all_integers(gpu, dtype):
    x, host = on_gpu(np.zeros(200)), np.zeros(200)
    places = np.array([3, 199, 3, 0]).astype(dtype)
    x[on_gpu(places)] = on_gpu(np.arange(4.0) + 1)
    host[places] = np.arange(4.0) + 1
    assert_array_equal(np.asarray(x), host)
    x[on_gpu(np.array([200]).astype(dtype))] = 5.0
    with pytest.raises(IndexError, match=r"^__setitem__: an index is out of bounds for axis 0 with size 200"):
        float(x[0])
    y = on_gpu(np.zeros(200))
    y[on_gpu(np.array([2**64 - 1], np.uint64))] = 1.0
    with pytest.raises(IndexError):
        float(y[0])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", 200),
        ("int8", -100),
        ("uint64", 2**64 - 1),
        ("int64", -(2**63)),
        ("bool", True),
        ("float32", -1.5),
        ("float64", -0.0),
        ("complex64", -1.5 + 2j),
        ("complex128", -1.5 - 2j),
    ],
)
def test_one_number_for_all(gpu, dtype, value):
    host = np.zeros(9, dtype)
    x = on_gpu(host)
    x[on_gpu(np.array([1, 1, -2]))] = value
    x[on_gpu(np.arange(9) > 6)] = value
    host[[1, 7, 8]] = value
    assert np.asarray(x).tobytes() == host.tobytes()


def test_long_rows(gpu):
    x, host = on_gpu(np.zeros((5, 3, 1000))), np.zeros((5, 3, 1000))
    values = RANDOM.random((4, 3, 1000))
    x[on_gpu(np.array([1, 4, 1, 0]))] = on_gpu(values)
    host[[1, 4, 1, 0]] = values
    x[:, on_gpu(np.array([2, 0])), ::-1] = on_gpu(values[0, 0])
    host[:, [2, 0], ::-1] = values[0, 0]
    assert_array_equal(np.asarray(x), host)


def test_memory_is_not_kept(gpu):
    device = open_device("cuda:0")
    x, k = on_gpu(LONG), on_gpu(np.arange(9))
    taken = []
    for _ in range(4):
        x[k] = 1
        x[x > 0] = 0
        taken.append(len(device.sizes))
    assert taken[3] == taken[1]
