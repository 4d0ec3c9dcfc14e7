"""What only a GPU can show: others' memory and streams, memory that runs out, forks, a second process.

What kernels compute is compared with NumPy by test_cuda_standard.py and test_cuda_programs.py, here too.
"""

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import toonygrad as xp
from toonygrad.array import realized

pytestmark = pytest.mark.cuda

GIB = 1 << 30


def on_gpu(array: Any) -> xp.Array:
    return xp.asarray(array, device="cuda").block_until_ready()


# -- values at sizes no simulator reaches --------------------------------------------------------------------


def softmax(m: Any, x: Any) -> Any:
    powers = m.exp(x - m.max(x, axis=-1, keepdims=True))
    return powers / m.sum(powers, axis=-1, keepdims=True)


@pytest.mark.parametrize("shape", [(3, 5), (1000, 1003), (8192, 40), (7, 300_001)])
@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (x + x[::-1]) * x - 3,
        lambda m, x: x.T + 1,
        lambda m, x: x[1:, ::2] - x[:-1, ::2],
        lambda m, x: m.roll(x, 3, axis=1) + m.roll(x, -1, axis=0),
        lambda m, x: m.sum(x, axis=0),
        lambda m, x: m.sum(x, axis=1),
        lambda m, x: m.max(x, axis=1),
        lambda m, x: m.argmin(x, axis=1),
        lambda m, x: m.var(x, axis=1),
        lambda m, x: m.concat([x, x + 1, x[:2]], axis=0),
        softmax,
    ],
)
def test_like_numpy(function, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    assert_allclose(np.asarray(function(xp, on_gpu(x))), function(np, x), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("size", [1, 1000, 70_001, 10_000_019])
@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_running_sums_of_whole_numbers(size, dtype):
    x = np.random.default_rng(0).integers(-9, 9, size).astype(dtype)
    assert_array_equal(np.asarray(xp.cumulative_sum(on_gpu(x))), np.cumsum(x))


@pytest.mark.parametrize("size", [1, 1000, 70_001, 10_000_019])
@pytest.mark.parametrize("dtype", ["int8", "float32", "complex128"])
def test_masks_and_indices(size, dtype):
    random = np.random.default_rng(0)
    host = random.integers(-9, 9, size).astype(dtype)
    x, mask = on_gpu(host), random.random(size) < 0.3
    before = xp.counters()
    assert_array_equal(np.asarray(x[on_gpu(mask)]), host[mask])
    assert_array_equal(np.asarray(xp.nonzero(on_gpu(mask))[0]), np.flatnonzero(mask))
    # Few places that come twice, and many of them.
    for places in (random.permutation(size), random.integers(-size, size, size), np.arange(size) % 7 % size):
        values = random.integers(0, 99, size).astype(dtype)
        x[on_gpu(places)] = on_gpu(values)
        host[places] = values
        assert_array_equal(np.asarray(x), host)
    x[on_gpu(mask)] = on_gpu(host[::-1].copy())[on_gpu(mask)]
    host[mask] = host[::-1][mask]
    x[~on_gpu(mask)] = 1
    host[~mask] = 1
    assert_array_equal(np.asarray(x), host)
    assert (xp.counters() - before).host_steps == 0


@pytest.mark.parametrize("size", [1, 70_001, 3 << 20, (33 << 20) + 5, (300 << 20) + 1])
def test_copies_to_and_fro(size):
    host = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    assert_array_equal(np.asarray(on_gpu(host)), host)
    assert_array_equal(np.asarray(on_gpu(host[::-2])), host[::-2])


def test_more_elements_than_32_bits_count():
    x = xp.zeros(5 * GIB, dtype=xp.int8, device="cuda") + 1
    xp.realize(x)
    x[-3] = 7
    assert (int(xp.argmax(x)), int(xp.sum(x, dtype=xp.int64))) == (5 * GIB - 3, 5 * GIB + 6)


# -- other libraries -----------------------------------------------------------------------------------------


def test_torch_shares_memory_and_order():
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    x = on_gpu(np.arange(12.0).reshape(3, 4))
    theirs = torch.from_dlpack(x)
    assert theirs.data_ptr() == realized(x).address
    theirs += 1
    assert float(x[0, 0]) == 1.0
    x[1, 1] = 100.0
    x.block_until_ready()
    assert float(theirs[1, 1]) == 100.0
    turned = torch.arange(6.0, device="cuda").view(2, 3).t()
    ours = xp.from_dlpack(turned)
    assert realized(ours).address == turned.data_ptr()
    assert_array_equal(np.asarray(ours), turned.cpu().numpy())
    many = torch.ones(64 << 20, device="cuda")
    for _ in range(50):
        many = many * 1.0 + 1  # still running when we read
    assert float(xp.max(xp.from_dlpack(many))) == 51.0
    mine = xp.ones(64 << 20, dtype=xp.float32, device="cuda")
    for _ in range(50):
        mine = mine * 1.0 + 1
        xp.realize(mine)
    assert float(torch.from_dlpack(mine).max()) == 51.0


def test_cupy_shares_memory_both_ways():
    cupy = pytest.importorskip("cupy", reason="CuPy isn't installed")
    x = on_gpu(np.arange(12.0).reshape(3, 4))
    theirs = cupy.asarray(x)  # by __cuda_array_interface__
    assert theirs.data.ptr == realized(x).address
    turned = cupy.from_dlpack(x.T)
    turned[0, 0] = -1
    cupy.cuda.Device().synchronize()
    assert float(x[0, 0]) == -1
    assert realized(xp.from_dlpack(theirs)).address == theirs.data.ptr

    class Only:
        __cuda_array_interface__ = theirs.__cuda_array_interface__

    assert realized(xp.asarray(Only(), copy=False)).address == theirs.data.ptr


# -- several GPUs --------------------------------------------------------------------------------------------


@pytest.fixture
def second() -> str:
    """Another device than the one that "cuda" means."""
    if "cuda:1" not in xp.__array_namespace_info__().devices():
        pytest.skip("this machine has one GPU")
    return "cuda:1"


@pytest.mark.parametrize("size", [1, 1000, 70_001, (64 << 20) + 3])
def test_copies_between_gpus(second, size):
    host = np.random.default_rng(0).integers(0, 100, size).astype("float32")
    there = (on_gpu(host) + 1).to_device(second)
    assert there.device == second
    back = (there * 2)[::-1].to_device("cuda:0")
    assert back.device == "cuda:0"
    assert_array_equal(np.asarray(there), host + 1)
    assert_array_equal(np.asarray(back), ((host + 1) * 2)[::-1])
    there[0] = 7.0  # of its own: nobody else's memory
    assert float(back[-1]) == (host[0] + 1) * 2


def test_each_gpu_computes_its_own(second):
    host = np.random.default_rng(0).standard_normal((300, 300))
    for device in ("cuda:0", second, "cuda:0", second):
        x = xp.asarray(host, device=device)
        for _ in range(40):  # beyond where launches become a graph
            y, total = softmax(xp, x), xp.sum(x, axis=0)
            xp.realize(y, total)
        assert y.device == total.device == device
        assert_allclose(np.asarray(y), softmax(np, host), rtol=1e-12)
        assert_allclose(np.asarray(total), host.sum(axis=0), atol=1e-9)
        assert_allclose(np.asarray(x @ x), host @ host, atol=1e-9)
        assert_array_equal(np.asarray(x[x > 0]), host[host > 0])
        with xp.config(device=device):
            assert xp.zeros(3).device == device


def test_gpus_are_never_mixed(second):
    x, y = xp.ones(3, device="cuda:0"), xp.ones(3, device=second)
    for mixed in (lambda: x + y, lambda: xp.concat([x, y]), lambda: xp.take(x, xp.astype(y, xp.int64))):
        with pytest.raises(ValueError, match="cuda:1"):
            mixed()


def test_torch_shares_memory_of_the_second(second):
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    x = xp.asarray(np.arange(6.0), device=second)
    theirs = torch.from_dlpack(x.block_until_ready())
    assert theirs.device == torch.device(second) and theirs.tolist() == list(range(6))
    ours = xp.from_dlpack(theirs * 2)
    assert ours.device == second
    assert_array_equal(np.asarray(ours + x), np.arange(6.0) * 3)


# -- hard use ------------------------------------------------------------------------------------------------


def test_memory_that_runs_out():
    first, kept = on_gpu(np.arange(1000.0)), []
    with pytest.raises(MemoryError, match=r"\d+ bytes .* bytes are free"):
        while True:
            kept.append((xp.zeros(GIB, dtype=xp.float32, device="cuda") + len(kept)).block_until_ready())
    assert float(kept[-1][7]) == len(kept) - 1 and float(first[999]) == 999
    del kept
    # What is free now is of another size and has to be given up first.
    large = (xp.zeros(5 * GIB, dtype=xp.float32, device="cuda") + 5).block_until_ready()
    assert float(large[3]) == 5
    del large
    assert xp.trim_memory() > 0


def test_indices_out_of_bounds_are_told_whenever_somebody_reads():
    wrong = xp.take(on_gpu(np.arange(10.0)), on_gpu([1, 20]))
    xp.realize(wrong)
    after = wrong + 1
    xp.realize(after)
    for array in (after, wrong, wrong):
        with pytest.raises(IndexError, match=r"^take: "):
            np.asarray(array)


def test_a_fork_is_told():
    x = on_gpu(np.arange(10.0))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            np.asarray(x + 1)
            os.write(writing, b"computed")
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "forked" in os.read(reading, 1000).decode()
    os.close(reading), os.close(writing)
    assert float(x[9]) == 9.0


def test_threads_share_a_gpu():
    x, results = on_gpu(np.arange(10.0)), []

    def work(factor: int) -> None:
        results.extend(
            np.array_equal(np.asarray(x * factor + 1), np.arange(10.0) * factor + 1) for _ in range(100)
        )

    threads = [threading.Thread(target=work, args=(factor,)) for factor in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 800


def test_a_second_process_and_new_shapes_compile_nothing(tmp_path):
    """Kernels have a few forms, by whether rows are short or long and aligned; each is compiled once."""
    program = """
import numpy as np, toonygrad as xp
before = xp.counters()
some = 3, 1000, 1001, 70_000, 70_001, 3_000_000, 3_000_001
others = 7, 999, 1234, 65_537, 123_456, 2_999_999
for sizes in (some, others):
    for size in sizes:
        x = xp.asarray(np.ones((size, 3), dtype="float32"), device="cuda")
        float(xp.sum((x + 1) * size))
        np.asarray(xp.cumulative_sum(x[:, 0]) / xp.max(x))
    print((xp.counters() - before).kernels_compiled)
"""
    environment = {**os.environ, "TOONYGRAD_CACHE_DIR": str(tmp_path)}
    printed = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    (known, after), second = printed
    assert 0 < int(known) <= 30 and after == known
    assert second == ["0", "0"]
