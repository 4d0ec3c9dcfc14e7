"""Arrays on GPUs that aren't there (fake_driver.py): making, moving, writing, sharing, and what goes wrong.

What the functions answer there is test_cuda_standard.py's.
"""

import gc
import operator
import os
import re
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fake_driver import FakeDriver, fake_gpus
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import toonygrad as xp
from toonygrad.array import node_of, realized
from toonygrad.codegen import cuda_lookback
from toonygrad.config import counters_snapshot
from toonygrad.runtime.device import DeviceBuffer, open_device
from toonygrad.uop.node import device_of

HOST = np.arange(24.0).reshape(4, 6)


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus() as driver:
        yield driver
        gc.collect()


def on_gpu(array=HOST, device="cuda:0") -> xp.Array:
    return xp.asarray(array, device=device)


# -- where arrays are ------------------------------------------------------------------------------


def test_devices_are_listed_and_named(gpu):
    info = xp.__array_namespace_info__()
    assert info.devices() == ("cpu", "cuda:0", "cuda:1")
    assert info.default_device() == "cpu"
    assert on_gpu(device="cuda").device == "cuda:0"
    assert xp.ones(3).device == "cpu"
    with xp.config(device="cuda:1"):
        assert info.default_device() == "cuda:1"
        assert xp.ones(3).device == xp.asarray([1, 2]).device == xp.arange(3).device == "cuda:1"
        assert xp.ones(3, device="cpu").device == "cpu"
        assert xp.asarray(xp.ones(3, device="cpu")).device == "cpu"


@pytest.mark.parametrize("device", ["cuda:2", "gpu", "cuda:x", 1, "CUDA"])
def test_devices_that_do_not_exist(gpu, device):
    with pytest.raises(
        ValueError, match=rf"^zeros: no device {device!r}; there is 'cpu' and 'cuda:0' and 'cu"
    ):
        xp.zeros(3, device=device)
    with pytest.raises(ValueError, match=r"^to_device: no device"):
        xp.zeros(3).to_device(device)


def test_config_takes_devices_only():
    with pytest.raises(ValueError, match="device = 'tpu': expected 'cpu', 'cuda' or 'cuda:' and a number"):
        xp.config(device="tpu")


def test_without_a_gpu_it_is_said_what_is_missing():
    """On this machine there is either no driver or no package, and with a GPU the test says nothing."""
    try:
        xp.zeros(3, device="cuda")
    except ValueError as error:
        assert re.match(r"zeros: no device 'cuda'; there is 'cpu'; (the package|NVIDIA's driver)", str(error))
    assert "cpu" in xp.__array_namespace_info__().devices()


@pytest.mark.parametrize(
    "make",
    [
        lambda device: xp.zeros((2, 3), device=device),
        lambda device: xp.full(3, 2.5, device=device),
        lambda device: xp.arange(5, device=device),
        lambda device: xp.linspace(0, 1, 5, device=device),
        lambda device: xp.eye(3, device=device),
        lambda device: xp.fft.fftfreq(8, device=device),
        lambda device: xp.asarray([[1, 2], [3, 4]], device=device),
        lambda device: xp.asarray(True, device=device),
        lambda device: xp.astype(xp.asarray([1, 2]), xp.float32, device=device),
        lambda device: xp.from_dlpack(HOST, device=device),
    ],
)
def test_arrays_are_made_there(gpu, make):
    array = make("cuda:1")
    assert array.device == "cuda:1"
    assert_array_equal(np.asarray(array), np.asarray(make("cpu")))
    assert isinstance(realized(array), DeviceBuffer)


def test_numbers_alone_are_recorded_there_and_fused(gpu):
    x = on_gpu()
    before = len(gpu.launches)
    y = (x + xp.zeros((4, 6), device="cuda")) * xp.arange(6, device="cuda")
    y.block_until_ready()
    assert len(gpu.launches) == before + 1
    assert_array_equal(np.asarray(y), HOST * np.arange(6))


def test_like_functions_stay_beside_their_operand(gpu):
    x = on_gpu(device="cuda:1")
    for made in (xp.zeros_like(x), xp.full_like(x, 3), xp.empty_like(x)):
        assert made.device == "cuda:1"
    assert xp.ones_like(x, device="cpu").device == "cpu"


def test_moving(gpu):
    x = xp.asarray(HOST)
    assert x.to_device("cpu") is x
    there = x.to_device("cuda")
    assert there.to_device("cuda:0") is there
    other = (there.T + 1).to_device("cuda:1")
    assert (there.device, other.device) == ("cuda:0", "cuda:1")
    assert_array_equal(np.asarray(other.T.to_device("cuda:0").to_device("cpu")), HOST + 1)


def test_streams_of_others_wait_for_a_copy(gpu):
    x = xp.asarray(HOST)
    x.to_device("cuda:1", stream=77)
    assert gpu.waits == [("lets wait", 77)]
    with pytest.raises(ValueError, match=r"^to_device: the CPU has no streams"):
        x.to_device("cpu", stream=77)


def test_work_waits_for_nobody_until_a_value_is_read(gpu):
    x = on_gpu()
    before = gpu.synchronized
    y, z = x * 2, xp.exp(x[1:] + 1) * x[0]
    xp.realize(y, z)
    x[1] = 3.0
    assert gpu.synchronized == before
    y.block_until_ready()
    assert gpu.synchronized > before
    assert float(z[0, 1]) == np.exp(8.0)


# -- several devices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("__add__", operator.add),
        ("__lt__", operator.lt),
        ("__matmul__", operator.matmul),
        ("__iadd__", operator.iadd),
        ("add", xp.add),
        ("where", lambda x, y: xp.where(x > 0, x, y)),
        ("concat", lambda x, y: xp.concat([x, y])),
        ("stack", lambda x, y: xp.stack([x, y])),
        ("searchsorted", lambda x, y: xp.searchsorted(x[0], y[0])),
        ("take", lambda x, y: xp.take(x, xp.astype(y[0], xp.int64), axis=0)),
        ("__setitem__", lambda x, y: operator.setitem(x, 0, y[0])),
        ("__setitem__", lambda x, y: operator.setitem(x, ..., y)),
    ],
)
@pytest.mark.parametrize("places", [("cpu", "cuda:0"), ("cuda:1", "cuda:0")])
def test_operands_on_several_devices_are_refused(gpu, name, call, places):
    x, y = (on_gpu(np.ones((4, 4)), device) for device in places)
    with pytest.raises(ValueError, match=rf"^{name}: operands are on (cpu|cuda:0) and cuda:"):
        call(x, y)
    assert_array_equal(np.asarray(x), np.ones((4, 4)))


def test_pythons_and_numpys_numbers_are_at_home_everywhere(gpu):
    x = on_gpu(np.float32([1, 2]))
    assert (x * 2 + 1).device == "cuda:0"
    doubled = np.float64(2) * (x + np.float64(1))
    assert (doubled.device, doubled.dtype) == ("cuda:0", xp.float64)
    assert_array_equal(np.asarray(doubled), [4, 6])
    with pytest.raises(ValueError, match=r"^__add__: operands are on cpu and cuda:0"):
        x + np.ones(2)


def test_nodes_from_before_know_their_device_too():
    before = xp.asarray([1.0, 2.0]) + 1
    with fake_gpus():
        assert on_gpu().device == "cuda:0"
        assert before.device == "cpu"
        assert device_of(node_of(before)) == "cpu"
        with pytest.raises(ValueError, match=r"^__add__: operands are on cpu and cuda:0"):
            before + on_gpu([1.0, 2.0])


def test_what_was_computed_on_the_cpu_does_not_stay_there(gpu):
    """Positions are the same nodes on all devices; what the CPU remembers of them is copied."""
    numbers = xp.cumulative_sum(xp.arange(5))
    assert_array_equal(np.asarray(numbers), [0, 1, 3, 6, 10])
    x = on_gpu(np.ones((5, 5)))
    assert_array_equal(np.asarray(xp.tril(x)), np.tril(np.ones((5, 5))))
    assert xp.cumulative_sum(xp.arange(5)).device == "cpu"


def test_several_devices_in_one_realize(gpu):
    x, y, z = on_gpu() + 1, on_gpu(device="cuda:1") + 2, xp.asarray(HOST) + 3
    xp.realize(x, y, z)
    for array, added, place in ((x, 1, "cuda:0"), (y, 2, "cuda:1"), (z, 3, "cpu")):
        assert realized(array).device == place
        assert_array_equal(np.asarray(array), HOST + added)


def test_who_uses_no_gpu_looks_for_no_device():
    assert not hasattr((xp.asarray([1.0, 2.0]) + 1)._uop, "device")


# -- reading ---------------------------------------------------------------------------------------


def test_reading(gpu):
    x = on_gpu()
    assert float(x[1, 2]) == 8 and x[3, 5].item() == 23 and bool(x[0, 1]) and int(x[0, 2]) == 2
    assert x.tolist() == HOST.tolist()
    assert repr(on_gpu([1.0, 2.0])) == "Array([1., 2.], dtype=float64)" and str(x[0]) == str(HOST[0])
    assert_array_equal(np.asarray(x[::-2, 1::2].T), HOST[::-2, 1::2].T)
    copied = np.asarray(x)
    assert not copied.flags.writeable
    with pytest.raises(ValueError, match=r"^__array__: elements on cuda:0 can't be seen by NumPy without"):
        np.asarray(x, copy=False)


def test_numpys_functions_stay_on_the_gpu(gpu):
    result = np.exp(on_gpu())
    assert isinstance(result, xp.Array) and result.device == "cuda:0"


# -- views and writing -----------------------------------------------------------------------------


def keys() -> st.SearchStrategy:
    part = st.slices(4) | st.integers(-4, 3) | st.just(Ellipsis) | st.none()
    fancy = st.lists(st.integers(-4, 3), min_size=1, max_size=3)
    return part | st.tuples(st.slices(4), st.slices(6)) | fancy | st.tuples(fancy, st.slices(6))


@settings(max_examples=40)
@given(data=st.data())
def test_writing_and_views_as_numpy_has_them(data):
    with fake_gpus():
        ours, theirs = on_gpu(), HOST.copy()
        seen_ours, seen_theirs = ours.T[1:4, ::-1], theirs.T[1:4, ::-1]
        recorded, expected = ours * 2, theirs * 2
        for step in range(data.draw(st.integers(1, 4))):
            key = data.draw(keys())
            shape = theirs[key].shape
            value = data.draw(st.sampled_from(["number", "array", "own", "numpy"]))
            if value == "number":
                ours[key], theirs[key] = step + 100.0, step + 100.0
            elif value == "own":
                ours[key], theirs[key] = ours[key] * 2, theirs[key] * 2
            else:
                new = np.arange(np.prod(shape), dtype=np.float64).reshape(shape) - step
                theirs[key] = new
                ours[key] = new if value == "numpy" else on_gpu(new)
            assert ours.device == "cuda:0"
            assert_array_equal(np.asarray(ours), theirs)
            assert_array_equal(np.asarray(seen_ours), seen_theirs)
        assert_array_equal(np.asarray(recorded), expected)


def test_a_write_goes_into_the_memory_itself(gpu):
    x = on_gpu().block_until_ready()
    address = realized(x).address
    x[1, 2:4] = 7.0
    x[::2] += 1
    x[:, 0] = on_gpu([1.0, 2.0, 3.0, 4.0])
    assert realized(x).address == address
    expected = HOST.copy()
    expected[1, 2:4] = 7
    expected[::2] += 1
    expected[:, 0] = [1, 2, 3, 4]
    assert_array_equal(np.asarray(x), expected)


def test_writes_need_no_host(gpu):
    x = on_gpu().block_until_ready()
    before = xp.counters()
    x[1:3, ::2] = x[:2, 1::2] * 2
    x[0] = 5.0
    x.block_until_ready()
    assert (xp.counters() - before).host_steps == 0
    x[[0, 2], 1] = 9.0
    assert (xp.counters() - before).host_steps == 0


def test_what_was_recorded_keeps_the_old_elements(gpu):
    x = on_gpu().block_until_ready()
    y = x + 0
    x[...] = 0.0
    x[0, 0] = 1.0
    assert x.device == "cuda:0"
    assert_array_equal(np.asarray(y), HOST)


# -- memory ----------------------------------------------------------------------------------------


def test_memory_is_used_again_and_given_back(gpu):
    x = on_gpu()
    y = (x + 1).block_until_ready()
    address = realized(y).address
    del y
    assert realized((x * 3).block_until_ready()).address == address
    before = gpu.used
    assert xp.trim_memory() > 0
    assert gpu.used < before
    assert_array_equal(np.asarray(x), HOST)


def test_out_of_memory():
    with fake_gpus(limit=1 << 16) as driver:
        x = on_gpu(np.ones(4096))  # half of it
        kept = (x + 1).block_until_ready()
        del kept  # in the pool, in a block of another size than what is asked for next
        y = xp.concat([x[:2000], x[:1500]]).block_until_ready()
        assert y.device == "cuda:0"
        message = (
            r"cannot allocate 32,768 bytes on cuda:0 for an array of shape \(4096,\) and dtype float64: "
        )
        with pytest.raises(MemoryError, match=message + r"[\d,]+ bytes are free"):
            (x * 2).block_until_ready()
        assert_array_equal(np.asarray(x), np.ones(4096))
        assert_array_equal(np.asarray(y), np.ones(3500))
        del y
        assert_array_equal(np.asarray(x * 2), np.full(4096, 2.0))
        assert driver.used <= driver.limit


# -- indices out of bounds -------------------------------------------------------------------------


def test_an_index_out_of_bounds_is_found_when_read_and_stays_found(gpu):
    x = on_gpu(np.arange(5.0))
    wrong = xp.take(x, on_gpu([1, 7]))
    xp.realize(wrong)
    result = wrong * 2
    right = xp.take(x, on_gpu([1, 4]))
    assert_array_equal(np.asarray(right), [1, 4])
    message = "^take: an index is out of bounds for axis 0 with size 5"
    for read in (lambda: np.asarray(wrong), lambda: float(result[0]), lambda: np.asarray(wrong)):
        with pytest.raises(IndexError, match=message):
            read()
    for give in (
        lambda: wrong.__dlpack__(),
        lambda: result.to_device("cpu"),
        lambda: xp.unique_values(result),
    ):
        with pytest.raises(IndexError, match=message):
            give()
    assert_array_equal(np.asarray(x), np.arange(5.0))


def test_a_kernel_may_have_no_index_left_to_check(gpu):
    x = on_gpu(np.array([[1.0, 2.0]]))
    assert_array_equal(np.asarray(xp.take(-x[:, ::-1], on_gpu([0]), axis=0)), [[-2.0, -1.0]])


# -- reductions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["sum", "max", "any", "argmax", "mean", "std"])
def test_a_reduction_in_chunks_takes_two_kernels(gpu, function):
    host = (np.arange(70_000) * 7919 % 70_000).astype(np.float32)
    x = on_gpu(host)
    result = getattr(xp, function)(x)
    before = len(gpu.launches)
    xp.realize(result)
    assert len(gpu.launches) - before == 2
    assert_allclose(np.asarray(result), getattr(np, function)(host), rtol=1e-6 if function == "std" else 0)


# -- the host's part -------------------------------------------------------------------------------


def test_what_has_no_kernel_runs_on_the_host_and_is_counted(gpu):
    gpu.libraries.clear()
    x = on_gpu()
    before = xp.counters()
    transformed = xp.fft.fft(xp.astype(x, xp.complex128), axis=0) + 1
    transformed.block_until_ready()
    assert transformed.device == "cuda:0"
    assert (xp.counters() - before).host_steps == 1
    assert_array_equal(np.asarray(transformed), np.fft.fft(HOST, axis=0) + 1)


def test_interpreting_runs_on_the_host(gpu):
    x = on_gpu()
    with xp.config(compile="never"):
        before, launches = xp.counters(), len(gpu.launches)
        y = (x[::2] + 1).block_until_ready()
        assert (xp.counters() - before).host_steps == 1 and len(gpu.launches) == launches
    assert y.device == "cuda:0"
    assert_array_equal(np.asarray(y), HOST[::2] + 1)


def test_explain_says_where_steps_run(gpu):
    gpu.libraries.clear()
    explained = xp.explain(xp.fft.fft(xp.astype(on_gpu() * 2, xp.complex128)))
    assert [kernel.how for kernel in explained.kernels] == ["compiled for cuda:0", "on the host"]
    assert "thread_x()" in explained.kernels[0].function
    with xp.config(compile="never"):
        assert {kernel.how for kernel in xp.explain(on_gpu() + 1).kernels} == {"on the host"}


# -- other libraries -------------------------------------------------------------------------------


class Exporting:
    """Another library's array on the GPU: the memory of one of ours, under DLPack alone."""

    def __init__(self, array: xp.Array) -> None:
        self.array = array
        self.streams: list = []

    def __dlpack__(self, *, stream=None, max_version=None):
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream, max_version=max_version)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Interfacing:
    """The same under `__cuda_array_interface__` alone."""

    def __init__(self, array: xp.Array) -> None:
        self.array = array
        self.__cuda_array_interface__ = array.__cuda_array_interface__


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "complex128", "float16"])
def test_dlpack_shares_memory(gpu, dtype):
    x = on_gpu(HOST.astype(dtype), "cuda:1").T
    assert x.__dlpack_device__() == (2, 1)
    theirs = Exporting(x)
    y = xp.from_dlpack(theirs)
    assert (y.device, y.dtype, y.shape) == ("cuda:1", xp.asarray(HOST.astype(dtype)).dtype, (6, 4))
    assert theirs.streams == [1001] and gpu.waits[-1] == ("lets wait", 1001)
    assert realized(y).address == realized(x).address
    assert_array_equal(np.asarray(y), HOST.astype(dtype).T)
    x[1, 2] = 1
    y[0, 0] = 1
    assert np.asarray(y)[1, 2] == np.asarray(x)[0, 0] == 1


def test_what_is_shared_lives_as_long_as_anybody_has_it(gpu):
    x = on_gpu() + 0
    x.block_until_ready()
    address = realized(x).address
    y = xp.from_dlpack(Exporting(x))
    del x
    gc.collect()
    assert address not in [realized(on_gpu(HOST + k).block_until_ready()).address for k in range(3)]
    assert_array_equal(np.asarray(y), HOST)
    del y
    gc.collect()
    assert open_device("cuda:0").exported == [address]
    synchronized = gpu.synchronized
    open_device("cuda:0").trim()
    assert gpu.synchronized > synchronized


def test_asarray_copies_what_others_have_on_the_gpu(gpu):
    x = on_gpu()
    for theirs in (Exporting(x), Interfacing(x)):
        y = xp.asarray(theirs)
        assert y.device == "cuda:0" and realized(y).address != realized(x).address
        assert xp.asarray(theirs, device="cpu").device == "cpu"
        assert xp.asarray(theirs, device="cuda:1", dtype=xp.float32).device == "cuda:1"
        assert_array_equal(np.asarray(y), HOST)
        shared = xp.asarray(theirs, copy=False)
        assert realized(shared).address == realized(x).address
        with pytest.raises(ValueError, match=r"^asarray: float64 on cuda:0 can't be seen as asked for"):
            xp.asarray(theirs, copy=False, dtype=xp.int8)


def test_cuda_array_interface(gpu):
    x = on_gpu()
    described = x.T.__cuda_array_interface__
    assert described == {
        "version": 3,
        "shape": (6, 4),
        "typestr": "<f8",
        "data": (realized(x).address, False),
        "strides": (8, 48),
        "stream": 1000,
    }
    y = xp.asarray(Interfacing(x.T), copy=False)
    assert gpu.waits[-1] == ("waits for", 1000)
    assert_array_equal(np.asarray(y), HOST.T)
    assert not hasattr(xp.asarray(HOST), "__cuda_array_interface__")


def test_dlpack_to_the_cpu_copies(gpu):
    x = on_gpu()
    assert_array_equal(np.from_dlpack(x, device="cpu"), HOST)
    with pytest.raises(BufferError, match=r"^__dlpack__: elements on cuda:0 can't be shared on the CPU"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(BufferError, match=r"^__dlpack__: elements on cuda:0 aren't on the device \(2, 1\)"):
        x.__dlpack__(dl_device=(2, 1))
    with pytest.raises(ValueError, match=r"^__dlpack__: stream is None, -1 or a positive integer on a GPU"):
        x.__dlpack__(stream=0)
    waits = len(gpu.waits)
    x.__dlpack__(stream=-1)
    assert len(gpu.waits) == waits


@pytest.mark.parametrize("copy", [None, True, False])
@pytest.mark.parametrize("max_version", [None, (0, 0), (1, 0), (2, 0)])
@pytest.mark.parametrize("dl_device", [None, (1, 0)])
def test_every_way_to_ask_for_memory(gpu, copy, max_version, dl_device):
    """As the official suite's test_dunder_dlpack, but for the one case where the standard wants an error."""
    keywords = {"copy": copy, "max_version": max_version, "dl_device": dl_device}
    x = on_gpu()
    if dl_device and copy is False:
        with pytest.raises(BufferError, match="can't be shared on the CPU"):
            x.__dlpack__(**keywords)
        return
    capsule = repr(x.__dlpack__(**keywords))
    assert ("dltensor_versioned" in capsule) == (max_version is not None and max_version >= (1, 0))


def test_an_exported_capsule_may_go_unused(gpu):
    x = on_gpu()
    count = holders(x)
    capsule = x[::-1].__dlpack__(max_version=(1, 0))
    del capsule
    capsule = x.__dlpack__()
    shared = holders(x)
    del capsule
    assert (shared, holders(x)) == (count + 1, count)


def holders(x: xp.Array) -> int:
    return sys.getrefcount(realized(x).memory)


# -- processes -------------------------------------------------------------------------------------


def test_a_forked_child_is_told(gpu):
    x = on_gpu().block_until_ready()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            np.asarray(x + 1)
            answer = "computed"
        except RuntimeError as error:
            answer = str(error)
        os.write(writing, answer.encode())
        os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(reading, 10_000).decode()
    os.close(reading), os.close(writing)
    assert answer.startswith("a GPU was used before this process was forked") and "spawn" in answer
    assert_array_equal(np.asarray(x + 1), HOST + 1)


# -- running combinations in tiles -----------------------------------------------------------------


@pytest.fixture
def small_tiles(monkeypatch):
    for name, value in (("BLOCK", 128), ("VECTORS", 1), ("GROUP", 4)):
        monkeypatch.setattr(cuda_lookback, name, value)


def scans(x, k):
    total = xp.cumulative_sum(x, axis=-1)
    return total / 2, xp.cumulative_sum(xp.take(x, k, axis=-1), axis=-1, include_initial=True)


@pytest.mark.parametrize("shape", [(6000,), (3, 1100)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int16", "complex128"])
def test_long_scans_run_in_tiles(gpu, small_tiles, shape, dtype):
    array = np.random.default_rng(0).integers(-9, 9, shape).astype(dtype)
    places = np.arange(shape[-1])[::-1].copy()
    x, k = on_gpu(array), on_gpu(places)
    # Memory in the midst of other memory is not aligned for vectors.
    beside = on_gpu(np.concatenate([array.ravel()[:1], array.ravel()]))[1:]
    xp.realize(beside)
    before = counters_snapshot()
    results = (*scans(x, k), xp.cumulative_sum(beside))
    xp.realize(*results)
    done = counters_snapshot() - before
    assert done.host_steps == 0 and done.kernels_launched >= 3
    for found, meant in zip(
        results, (np.cumsum(array, axis=-1) / 2, np.cumsum(array[..., ::-1], axis=-1), np.cumsum(array))
    ):
        assert_array_equal(np.asarray(found)[..., -meant.shape[-1] :], meant)
    again = np.asarray(xp.cumulative_sum(x * 2, axis=-1))
    assert_array_equal(again, np.cumsum(array * 2, axis=-1))


def test_indices_are_checked_where_scans_run_in_tiles(gpu, small_tiles):
    x, k = on_gpu(np.arange(1100.0)), on_gpu(np.arange(1100) + 1)
    with pytest.raises(IndexError, match="out of bounds"):
        np.asarray(xp.cumulative_sum(xp.take(x, k)))


@pytest.mark.parametrize("shift", [0, 1, -1, 5, 40])
@pytest.mark.parametrize("shape", [(1, 3), (5, 4), (33, 34)])
def test_rolling_over_all_axes(gpu, shape, shift):
    """Pointers of pieces lie outside the memory, and indices lead back."""
    array = np.arange(float(np.prod(shape))).reshape(shape)
    assert_array_equal(np.asarray(xp.roll(on_gpu(array), shift)), np.roll(array, shift))


# -- several GPUs ----------------------------------------------------------------------------------


def test_devices_wait_for_one_another_only_where_elements_move(gpu):
    x = on_gpu() + 1
    xp.realize(x)
    waits = len(gpu.waits)
    y = x.to_device("cuda:1")
    assert gpu.waits[waits:] == [("lets wait", 1001), ("waits for", 1001)]
    x[...] = 0.0  # by the first device's stream, which has to wait for the copy
    z = on_gpu(HOST + 5)
    xp.realize(y * 2, z)
    assert len(gpu.waits) == waits + 2
    assert_array_equal(np.asarray(y), HOST + 1)


def test_memory_goes_back_to_its_own_device(gpu):
    y = (on_gpu() + 1).to_device("cuda:1")
    del y
    gc.collect()
    first, second = open_device("cuda:0"), open_device("cuda:1")
    for device in (first, second):
        addresses = [address for kept in device.free.values() for address in kept]
        assert addresses and all(gpu.places[address] == device.number for address in addresses)
    assert xp.trim_memory() > 0


def test_threads_with_a_device_each(gpu):
    def work(number: int) -> None:
        x = on_gpu(device=f"cuda:{number % 2}")
        for k in range(5):
            x[x > k] = float(k)
            x[[0, 1]] = x[[1, 0]] * 2
            found.setdefault(number, []).append(np.asarray(x.to_device(f"cuda:{(number + 1) % 2}")))

    found: dict[int, list[np.ndarray]] = {}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = HOST.copy()
    for k in range(5):
        expected[expected > k] = k
        expected[[0, 1]] = expected[[1, 0]] * 2
        assert [len(each) for each in found.values()] == [5] * 4
        for each in found.values():
            assert_array_equal(each[k], expected)


def test_an_index_out_of_bounds_is_found_on_another_device_too(gpu):
    wrong = xp.take(on_gpu(np.arange(5)), on_gpu([1, 7])).to_device("cuda:1")
    x = on_gpu(np.arange(9.0), "cuda:1").block_until_ready()
    with pytest.raises(IndexError, match=r"^take: an index is out of bounds for axis 0 with size 5"):
        x[wrong] = 1.0
        float(x[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x + y,
        lambda x, y: xp.concat([x, y]),
        lambda x, y: xp.matmul(x, y),
        lambda x, y: xp.where(x > 0, x, y),
        lambda x, y: x[xp.astype(y, xp.int64)],
        lambda x, y: x.__setitem__(0, y[0]),
        lambda x, y: x.__setitem__(x > 1, y[0, 0]),
        lambda x, y: x.__iadd__(y),
        lambda x, y: xp.take(x, xp.astype(y[0], xp.int64), axis=0),
        lambda x, y: xp.clip(x, y),
        lambda x, y: xp.repeat(x[0], xp.astype(y[0], xp.int64)),
    ],
)
def test_gpus_are_never_mixed_silently(gpu, call):
    x, y = on_gpu(np.ones((3, 3))), on_gpu(np.ones((3, 3)), "cuda:1")
    with pytest.raises(ValueError, match=r"operands are on cuda:0 and cuda:1; bring them to one device"):
        call(x, y)


def test_running_totals_of_running_totals_are_two_kernels(gpu):
    array = np.random.default_rng(0).integers(-9, 9, (40, 70))
    x = on_gpu(array)
    before = counters_snapshot()
    result = xp.cumulative_sum(xp.cumulative_sum(x, axis=1) * 2, axis=1)
    both = xp.cumulative_sum(result, axis=0) + result
    meant = 2 * np.cumsum(np.cumsum(array, 1), 1)
    assert_array_equal(np.asarray(both), np.cumsum(meant, 0) + meant)
    done = counters_snapshot() - before
    assert (done.host_steps, done.kernels_launched) == (0, 3)
