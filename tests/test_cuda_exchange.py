"""What other libraries may and may not do with memory on a GPU: DLPack's flags, devices and versions, and
`__cuda_array_interface__`'s read-only memory, on GPUs that aren't there (fake_driver.py).
"""

import ctypes
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_driver import FakeDriver, fake_gpus
from numpy.testing import assert_array_equal

import toonygrad as xp
from toonygrad.array import realized
from toonygrad.exchange import _FLAGS, _is_valid, _pointer

HOST = np.arange(12.0).reshape(3, 4)
READ_ONLY, COPIED = 1, 2
NEW, OLD = (1, 0), None


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus() as driver:
        yield driver
        gc.collect()


def on_gpu(array: Any = HOST, device: str = "cuda:0") -> xp.Array:
    return xp.asarray(array, device=device).block_until_ready()


def flags(capsule: Any) -> int:
    assert _is_valid(capsule, b"dltensor_versioned")
    return ctypes.c_uint64.from_address(_pointer(capsule, b"dltensor_versioned") + _FLAGS).value


class Interfacing:
    """Another library's array under `__cuda_array_interface__` alone."""

    def __init__(self, array: xp.Array, **changed: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = array.__cuda_array_interface__ | changed


class Exporting:
    """Another library's array under DLPack alone, which says that it is on some device."""

    def __init__(self, array: Any, device: tuple[int, int]) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def fixed() -> xp.Array:
    """An array on memory that may not be written, and the array whose memory it is."""
    x = on_gpu()
    described = x.__cuda_array_interface__
    return xp.asarray(Interfacing(x, data=(described["data"][0], True)), copy=False)


def test_what_was_copied_says_so(gpu):
    x = on_gpu()
    assert flags(x.__dlpack__(max_version=NEW)) == 0
    assert flags(x.__dlpack__(max_version=NEW, copy=True)) == COPIED
    assert flags(x[::-1].__dlpack__(max_version=NEW)) == COPIED
    assert flags(x.__dlpack__(max_version=NEW, dl_device=(1, 0))) == COPIED
    with pytest.raises(BufferError, match=r"^__dlpack__: an axis that runs backwards can't be shared"):
        x[::-1].__dlpack__(copy=False)


def test_read_only_memory_stays_so(gpu):
    y = fixed()
    assert flags(y.__dlpack__(max_version=NEW)) == READ_ONLY
    assert y.__cuda_array_interface__["data"] == (realized(y).address, True)
    assert _is_valid(y.__dlpack__(max_version=OLD), b"dltensor")  # a copy
    with pytest.raises(BufferError, match=r"^__dlpack__: read-only memory can't be shared before version"):
        y.__dlpack__(copy=False)
    assert flags(y.__dlpack__(max_version=NEW, copy=True)) == COPIED


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.__setitem__((0, 0), 7.0),
        lambda x: x.__setitem__(..., 7.0),
        lambda x: x.__setitem__(x > 3, 7.0),
        lambda x: x.__setitem__([0, 2], 7.0),
        lambda x: x.__iadd__(7.0),
    ],
    ids=["element", "all", "mask", "indices", "in place"],
)
def test_writes_do_not_reach_read_only_memory(gpu, write):
    y, expected = fixed(), HOST.copy()
    memory = realized(y)
    view = y[1:]
    write(y), write(expected)
    assert_array_equal(np.asarray(y), expected)
    assert_array_equal(np.asarray(view), expected[1:])
    assert_array_equal(memory.array, HOST)


def test_elements_that_are_not_aligned_are_refused(gpu):
    x = on_gpu()
    for changed in (
        {"data": (x.__cuda_array_interface__["data"][0] + 4, False), "shape": (3, 3)},
        {"strides": (36, 8), "shape": (2, 4)},
    ):
        with pytest.raises(BufferError, match=r"^asarray: elements on cuda:0 that aren't aligned"):
            xp.asarray(Interfacing(x, **changed), copy=False)


def test_page_locked_memory_is_the_hosts_and_managed_memory_a_gpus(gpu):
    here = xp.from_dlpack(Exporting(HOST, (3, 0)))
    assert here.device == "cpu"
    assert_array_equal(np.asarray(here), HOST)
    x = on_gpu(device="cuda:1")
    there = xp.from_dlpack(Exporting(x, (13, 1)))
    assert there.device == "cuda:1"
    assert_array_equal(np.asarray(there), HOST)


def test_what_others_have_goes_back_to_them_when_our_work_on_it_is_done(gpu):
    x = on_gpu()
    y = xp.asarray(Interfacing(x), copy=False)
    z = (y + 1).block_until_ready()
    z = y * 2 + z
    xp.realize(z)
    before = gpu.synchronized
    del y
    gc.collect()
    assert gpu.synchronized > before
    assert_array_equal(np.asarray(z), HOST * 3 + 1)


def test_the_device_of_an_interface_is_found_by_its_address(gpu):
    x = on_gpu(device="cuda:1")
    assert xp.asarray(Interfacing(x), copy=False).device == "cuda:1"


def test_explain_says_that_parts_of_a_concatenation_are_copied_there(gpu):
    x = on_gpu(np.arange(1000.0))
    joined = xp.concat([x, x * 2, on_gpu(np.arange(3.0))])
    assert [kernel.how for kernel in xp.explain(joined).kernels].count("copied on cuda:0") > 0
    with xp.config(compile="never"):
        assert {kernel.how for kernel in xp.explain(joined).kernels} == {"on the host"}
