"""What the host does to evaluate on a GPU that isn't there: programs, memory, numbers written in place."""

import gc
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_driver import FakeDriver, FakeProgram, fake_gpus
from numpy.testing import assert_array_equal

import toonygrad as xp
from toonygrad.array import realized
from toonygrad.config import counters_snapshot
from toonygrad.runtime.driver import REPEATED

HOST = np.arange(24.0).reshape(4, 6)


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus() as driver:
        yield driver
        gc.collect()


@pytest.fixture
def programs(gpu: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each program makes that is run, in order."""
    runs: list[int] = []
    run = FakeProgram.run

    def counted(self: FakeProgram, *given: int) -> int:
        runs.append(len(self._calls))
        return run(self, *given)

    monkeypatch.setattr(FakeProgram, "run", counted)
    return runs


def on_gpu(array: Any = HOST) -> xp.Array:
    return xp.asarray(array, device="cuda:0")


def centred(x: Any, np_or_xp: Any, times: int) -> Any:
    """So many kernels and more, each of which needs what the one before it left."""
    for _ in range(times):
        x = x - np_or_xp.sum(x)
    return x


def test_neighbouring_kernels_are_one_program(programs):
    x, before = on_gpu(), counters_snapshot()
    result = centred(x, xp, 3).block_until_ready()
    assert len(programs) == 1
    assert programs[0] == (counters_snapshot() - before).kernels_launched >= 4
    assert_array_equal(np.asarray(result), centred(HOST, np, 3))


def test_temporaries_share_memory(gpu):
    x = on_gpu(np.arange(5000.0))
    xp.trim_memory()
    before = gpu.used
    result = centred(x, xp, 6).block_until_ready()
    # Two of this size at a time, and small ones.
    assert gpu.used - before < 2.5 * 40960
    xp.trim_memory()
    assert gpu.used - before == 40960
    del result


@pytest.mark.parametrize("backwards", [False, True])
def test_results_have_the_memory_they_had_in_whatever_order_it_came_back(gpu, backwards):
    x = on_gpu()

    def addresses() -> list[int]:
        results = [x + k for k in range(5)]
        xp.realize(*results)
        found = [realized(each).address for each in results]
        while results:
            results.pop(0 if backwards else -1)
        return found

    assert addresses() == addresses() == addresses()


def test_library_calls_stand_between_programs(programs):
    x = on_gpu()
    product = xp.matmul(x + 1, xp.permute_dims(x * 2, (1, 0))) - 1
    assert_array_equal(np.asarray(product + product), 2 * ((HOST + 1) @ (HOST * 2).T - 1))
    assert len(programs) == 2


def test_views_of_what_a_program_leaves(gpu):
    x = on_gpu()
    total = xp.sum(x, axis=0)
    turned = xp.reshape(total, (2, 3)).T
    part = total[1:3]
    xp.realize(total, turned, part)
    assert realized(turned).memory is realized(total).memory
    assert_array_equal(np.asarray(turned), HOST.sum(0).reshape(2, 3).T)
    assert_array_equal(np.asarray(part), HOST.sum(0)[1:3])


def test_numbers_are_given_to_each_run(programs):
    x = on_gpu()
    for number in (1.5, -0.0, 3, 1e300):
        assert_array_equal(np.asarray(x * number + number), HOST * number + number)
    turning = on_gpu(HOST.astype(np.complex64))
    for number in (1j, 2 - 1j):
        assert_array_equal(np.asarray(turning + number), (HOST + number).astype(np.complex64))
    assert set(programs) == {1}


def test_memory_that_is_not_aligned_has_kernels_of_its_own(gpu):
    host = np.arange(9000, dtype=np.float32)
    whole = on_gpu(host)
    for start in (0, 1, 4, 2, 0, 3):
        part = whole[start : start + 3000]
        assert realized(part).address % 16 == start * 4 % 16
        assert float(xp.sum(part)) == host[start : start + 3000].sum(dtype=np.float64)


def test_what_does_not_fit_at_once_is_done_step_by_step(programs):
    with fake_gpus(limit=5 * 8192) as driver:
        x = on_gpu(np.arange(1000.0))
        y = xp.concat([x, x]) * 2
        # A program wants the memory of both steps at once; after the first there is room for the second.
        low = xp.cumulative_sum(xp.cumulative_sum(x, axis=0)[::2], axis=0)[::2]
        assert_array_equal(np.asarray(y), np.concatenate([np.arange(1000.0)] * 2) * 2)
        del y
        assert_array_equal(np.asarray(low), np.cumsum(np.cumsum(np.arange(1000.0))[::2])[::2])
        assert driver.used <= driver.limit


def test_a_program_that_is_repeated_is_told_once(gpu, monkeypatch):
    told: list[tuple[int, ...]] = []
    run = FakeProgram.run
    monkeypatch.setattr(FakeProgram, "run", lambda self, *given: run(self, *given) or REPEATED)
    monkeypatch.setattr(FakeProgram, "repeat", lambda self, *given: told.append(given))
    x = on_gpu()
    y = (x + 2.0).block_until_ready()
    address = realized(y).address
    x[1:3] = 5.0
    assert [given[-1] for given in told] == [address, np.float64(5).view(np.int64)]
    assert_array_equal(np.asarray(y), HOST + 2)


def test_results_at_two_places_by_turns_have_a_program_each(gpu, monkeypatch):
    told: list[tuple[int, FakeProgram]] = []
    run = FakeProgram.run
    monkeypatch.setattr(FakeProgram, "run", lambda self, *given: run(self, *given) or REPEATED)
    monkeypatch.setattr(FakeProgram, "repeat", lambda self, *given: told.append((given[-1], self)))
    x = on_gpu()
    for _ in range(4):
        y = (x + 2.0).block_until_ready()  # the last one is there until this one is
    assert [address for address, _ in told[:2]] == [address for address, _ in told[2:]]
    assert len({address for address, _ in told}) == len({id(program) for _, program in told}) == 2
    assert len(set(told)) == 2
    # Further places are the first one's.
    kept = [y, *[(x + 2.0).block_until_ready() for _ in range(3)]]
    assert {program for _, program in told[4:]} <= {program for _, program in told[:2]}
    assert_array_equal(np.asarray(xp.stack(kept)), np.stack([HOST + 2] * 4))


# -- numbers written in place ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["b1", "i1", "u2", "i4", "u8", "f4", "f8", "c8", "c16", "f2"])
def test_a_number_is_written_in_place(gpu, dtype):
    host = (HOST % 2).astype(dtype)
    x = on_gpu(host)
    address = realized(x).address
    number = True if dtype == "b1" else 1 - 2j if dtype[0] == "c" else 1.5 if dtype[0] == "f" else 7
    for key in ((slice(1, -1), slice(None, None, -2)), 2, (..., 3), (0, 0), slice(4, 4)):
        before = counters_snapshot()
        x[key] = number
        host[key] = number
        done = counters_snapshot() - before
        assert done.host_steps == 0 and done.bytes_allocated <= (64 if dtype[0] == "c" else 0)
        assert_array_equal(np.asarray(x), host)
    assert realized(x).address == address


def test_a_number_is_written_through_views_and_beside_readers(gpu):
    host = HOST.copy()
    x = on_gpu(host)
    later = x * 2
    view = xp.reshape(x, (24,))[3:9]
    view[::2] = -1
    host.reshape(24)[3:9:2] = -1
    assert_array_equal(np.asarray(x), host)
    assert_array_equal(np.asarray(view), host.reshape(24)[3:9])
    assert_array_equal(np.asarray(later), HOST * 2)
    flat = xp.reshape(x.T, (24,))
    flat[5] = 40
    assert_array_equal(np.asarray(x), host)


def test_a_number_is_written_again_without_looking(gpu):
    x, y = on_gpu(), on_gpu()
    x[1:-1] = 2.0
    before = counters_snapshot()
    y[1:-1] = -3.0
    done = counters_snapshot() - before
    assert (done.kernels_launched, done.bytes_allocated, done.plans_made) == (1, 0, 0)
    assert np.asarray(y)[1:-1].tolist() == [[-3.0] * 6] * 2


def test_a_forked_child_is_told_of_what_is_known(gpu):
    x = on_gpu()
    x[1:-1] = 1.0
    (x + 1).block_until_ready()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        for work in (lambda: xp.realize(x + 1), lambda: x.__setitem__(slice(1, -1), 2.0)):
            try:
                work()
                os.write(writing, b"done ")
            except RuntimeError as error:
                os.write(writing, b"told " if "spawn" in str(error) else b"? ")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"told told "
    os.close(reading)
    os.close(writing)
