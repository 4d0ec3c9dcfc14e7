"""Pooled memory: reused when nobody sees it, left alone when somebody does, given back when it is needed."""

from __future__ import annotations

import gc
import mmap
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from toonygrad.config import counters_snapshot
from toonygrad.runtime import buffer
from toonygrad.runtime.buffer import ALIGNMENT, HUGE_PAGE, Buffer, MemoryPool, pool

F8 = np.dtype(np.float64)
SMALL, LARGE = (1000,), (400_000,)  # from malloc, and mapped
SIZES = pytest.mark.parametrize("shape", [SMALL, LARGE], ids=["small", "mapped"])


@pytest.fixture
def fresh() -> MemoryPool:
    return MemoryPool(1 << 30)


def start_of(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def run_script(body: str) -> tuple[int, str, str]:
    heading = "import gc, resource, sys\nimport numpy as np\nfrom toonygrad.runtime.buffer import *\n"
    done = subprocess.run(
        [sys.executable, "-c", heading + body],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


# -- what a buffer is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0),
        np.arange(24).reshape(2, 3, 4)[:, ::-1, 1:],
        np.asfortranarray(np.ones((3, 4), np.float32)),
        np.zeros((0, 3)),
        np.array(1 + 2j),
        np.broadcast_to(np.int8(3), (5, 5)),
    ],
    ids=["1d", "view", "fortran", "empty", "0d", "broadcast"],
)
def test_wrapping_shares_the_memory(array):
    wrapped = Buffer(array)
    assert wrapped.array is array
    assert wrapped.address == start_of(array)
    assert wrapped.address == wrapped.address
    assert (wrapped.nbytes, wrapped.device) == (array.nbytes, "cpu")


def test_a_buffer_has_no_other_attributes():
    with pytest.raises(AttributeError, match="shape"):
        Buffer(np.zeros(3)).shape  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (3, 5), (2, 3, 4), (1000, 700)])
def test_allocated_arrays_are_what_was_asked_for(fresh, shape, dtype):
    for _ in range(2):  # fresh, then reused
        made = fresh.allocate(shape, np.dtype(dtype))
        assert (made.array.shape, made.array.dtype) == (shape, np.dtype(dtype))
        assert made.array.flags.c_contiguous and made.array.flags.writeable
        assert made.address == start_of(made.array) and made.address % ALIGNMENT == 0
        made.array[...] = 1
        assert made.array.sum() == made.array.size
        del made


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 0, 2), (1, 5, 1)])
def test_strides_order(fresh, shape, order):
    made = fresh.allocate(shape, F8, order)
    assert made.array.shape == shape
    assert made.array.transpose(order).flags.c_contiguous
    made.array[...] = np.arange(made.array.size).reshape(shape)
    assert (made.array.ravel() == np.arange(made.array.size)).all()


def test_size_classes_waste_at_most_an_eighth():
    sizes = [
        *range(5000),
        *(2**k + d for k in range(13, 50) for d in (-1, 0, 1, 2 ** (k - 1), 2 ** (k - 4) + 1)),
    ]
    for size in sizes:
        rounded = buffer._size_class(size)
        assert max(size, 1) <= rounded <= max(size + size // 8, size + ALIGNMENT - 1, ALIGNMENT)
        assert rounded % ALIGNMENT == 0
        assert buffer._size_class(rounded) == rounded


# -- reuse ---------------------------------------------------------------------------------------------------


@SIZES
def test_a_dropped_block_is_used_again(fresh, shape):
    first = fresh.allocate(shape, F8)
    address, nbytes = first.address, first.nbytes
    assert fresh.kept_bytes == 0
    del first
    assert fresh.kept_bytes >= nbytes
    again = fresh.allocate((nbytes,), np.dtype(np.uint8))
    assert (again.address, fresh.kept_bytes) == (address, 0)
    assert fresh.allocate(shape, F8).address != address


def views(array: np.ndarray) -> list[object]:
    return [
        array,
        array.view(),
        array[3:7],
        array[::-2].reshape(-1, 2)[1:],
        array.view(np.uint8)[5:],
        np.asarray(array),
        np.from_dlpack(array),
        memoryview(array),
        np.frombuffer(array),
        np.lib.stride_tricks.as_strided(array, (3,), (8,)),
        array.view(np.recarray),
        iter(array),
        [array[k : k + 1] for k in range(3)],
    ]


@SIZES
@pytest.mark.parametrize("kind", range(len(views(np.zeros(8)))))
def test_memory_that_is_still_seen_is_not_reused(fresh, shape, kind):
    made = fresh.allocate(shape, F8)
    made.array[...] = 5
    address = made.address
    held = views(made.array)[kind]
    contents = np.array(held) if isinstance(held, (np.ndarray, memoryview)) else None
    del made
    assert fresh.kept_bytes == 0
    others = [fresh.allocate(shape, F8) for _ in range(3)]
    for other in others:
        other.array[...] = 9
    assert address not in [other.address for other in others]
    if contents is not None:
        assert np.array_equal(np.array(held), contents)
    del others, other, held
    # It was freed with its last view, and never came to the pool.
    assert fresh.kept_bytes == 3 * buffer._size_class(8 * shape[0])


@SIZES
def test_views_that_are_gone_do_not_matter(fresh, shape):
    made = fresh.allocate(shape, F8)
    address = made.address
    held = views(made.array)
    del held
    del made
    assert fresh.allocate(shape, F8).address == address


def test_a_view_that_does_not_hold_the_memory_stops_reuse(monkeypatch, fresh):
    # A NumPy that would not make its arrays refer to the memory they were made of.
    monkeypatch.setattr(buffer.np, "ndarray", lambda shape, dtype, memory, *_: np.zeros(shape, dtype))
    block = buffer._Block(fresh, 64)
    assert block.idle_references == -1


def test_a_buffer_in_a_dead_cycle_comes_back(fresh):
    cycle: list[object] = [fresh.allocate(SMALL, F8)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert fresh.kept_bytes > 0


def test_a_dead_cycle_with_a_view_does_not(fresh):
    made = fresh.allocate(SMALL, F8)
    cycle: list[object] = [made.array[1:], made]
    cycle.append(cycle)
    del cycle, made
    gc.collect()
    assert fresh.allocate(SMALL, F8).array.shape == SMALL


def test_threads_share_a_pool(fresh):
    failures: list[str] = []

    def work(number: int) -> None:
        generator = np.random.default_rng(number)
        held: list[Buffer] = []
        for _ in range(1500):
            made = fresh.allocate((int(generator.integers(1, 60)),), F8)
            made.array[...] = number
            held.append(made)
            if len(held) > 8:
                gone = held.pop(int(generator.integers(len(held))))
                if not (gone.array == number).all():
                    failures.append(f"thread {number} reads {gone.array}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    kept = fresh.kept_bytes
    assert kept == fresh.trim() and fresh.kept_bytes == 0


def test_bytes_allocated_are_counted(fresh):
    before = counters_snapshot()
    fresh.allocate((10, 10), F8)
    fresh.allocate((10, 10), F8)
    Buffer(np.zeros(100))
    assert (counters_snapshot() - before).bytes_allocated == 2 * 800


def test_a_forked_child_has_its_own_memory(fresh):
    made = fresh.allocate(LARGE, F8)
    made.array[...] = 1
    child = os.fork()
    if not child:
        made.array[...] = 2
        del made
        os._exit(int(fresh.allocate(LARGE, F8).array[0] != 2))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (made.array == 1).all()


# -- bounds --------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded():
    bounded = MemoryPool(limit=100_000)
    held = [bounded.allocate((1024,), F8) for _ in range(40)]
    for _ in range(40):
        held.pop()
        assert bounded.kept_bytes <= 100_000
    assert bounded.kept_bytes > 0
    bounded.allocate((100_000,), F8)  # too large to keep, and no reason to give up the rest
    assert bounded.kept_bytes > 0


def test_the_default_bound_is_a_part_of_this_machine():
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < pool.limit <= min(physical * buffer.KEPT_FRACTION, buffer.KEPT_AT_MOST)


@SIZES
def test_trim(fresh, shape):
    kept, used = fresh.allocate(shape, F8), fresh.allocate(shape, F8)
    used.array[...] = 3
    del kept
    assert fresh.trim() == buffer._size_class(8 * shape[0])
    assert (fresh.trim(), fresh.kept_bytes) == (0, 0)
    assert (used.array == 3).all()


def end_period(pool: MemoryPool) -> None:
    """Let the period be over, and the pool notice it when the next block comes back."""
    pool._period_ends = pool._until_look = 0


@SIZES
def test_what_goes_unused_through_a_whole_period_is_freed(fresh, shape):
    other = (2 * shape[0],)
    fresh.allocate(shape, F8)
    fresh.allocate(other, F8)
    kept = fresh.kept_bytes
    end_period(fresh)
    fresh.allocate(other, F8)
    assert fresh.kept_bytes == kept  # as after a pause: both were used in the period that ended
    fresh.allocate(other, F8)
    end_period(fresh)
    fresh.allocate(other, F8)
    assert fresh.kept_bytes == buffer._size_class(16 * shape[0])


def test_of_equal_blocks_those_are_freed_that_were_not_needed(fresh):
    held = [fresh.allocate(LARGE, F8) for _ in range(5)]
    held.clear()
    end_period(fresh)
    for _ in range(2):
        held = [fresh.allocate(LARGE, F8) for _ in range(2)]
        addresses = {each.address for each in held}
        held.clear()
    assert fresh.kept_bytes == 5 * buffer._size_class(8 * LARGE[0])
    end_period(fresh)
    fresh.allocate(SMALL, F8)
    assert fresh.kept_bytes == 2 * buffer._size_class(8 * LARGE[0]) + buffer._size_class(8 * SMALL[0])
    assert {fresh.allocate(LARGE, F8).address} <= addresses


def test_a_program_of_small_arrays_alone_gives_back_large_ones(fresh):
    fresh.allocate(LARGE, F8)
    for _ in range(2):
        fresh._period_ends = 0
        for _ in range(buffer.BYTES_BETWEEN_LOOKS // (8 * SMALL[0]) + 1):
            fresh.allocate(SMALL, F8)
    assert fresh.kept_bytes == buffer._size_class(8 * SMALL[0])


def test_nothing_is_freed_within_a_period(fresh):
    fresh.allocate(LARGE, F8)
    kept = fresh.kept_bytes
    for _ in range(1000):
        fresh.allocate(SMALL, F8)
    assert fresh.kept_bytes == kept + buffer._size_class(8 * SMALL[0])


def test_periods_end_while_threads_share_a_pool(fresh):
    wrong: list[int] = []

    def work(number: int) -> None:
        for k in range(2000):
            held = [fresh.allocate((100 + k % 7,), F8) for _ in range(k % 5)]
            for each in held:
                each.array[...] = number
            end_period(fresh)
            wrong.extend(number for each in held if not (each.array == number).all())

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    kept = sum(size * len(blocks) for size, blocks in fresh._free.items())
    assert kept == fresh.trim() and fresh.kept_bytes == 0


def test_ten_thousand_allocations_leave_memory_flat():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    def work(repeats: int) -> None:
        for repeat in range(repeats):
            made = pool.allocate((30_000 + repeat % 50,), F8)
            other = pool.allocate((HUGE_PAGE,), np.dtype(np.int8))
            made.array[::512] = repeat
            other.array[::4096] = repeat % 100

    work(100)
    before = resident()
    work(5000)
    assert resident() - before < 4 << 20


# -- no memory -----------------------------------------------------------------------------------------------


@SIZES
def test_when_memory_is_short_the_pool_is_emptied_and_asked_again(monkeypatch, fresh, shape):
    used = fresh.allocate(shape, F8)
    used.array[...] = 3
    fresh.allocate((2 * shape[0],), F8)
    kept_when_asked: list[int] = []
    make = buffer._Block

    def short_of_memory(pool: MemoryPool, size: int) -> object:
        kept_when_asked.append(pool.kept_bytes)
        if pool.kept_bytes:
            raise MemoryError if size < HUGE_PAGE else OSError(12, "Cannot allocate memory")
        return make(pool, size)

    monkeypatch.setattr(buffer, "_Block", short_of_memory)
    made = fresh.allocate((3 * shape[0],), F8)
    assert made.array.shape == (3 * shape[0],)
    assert kept_when_asked == [buffer._size_class(16 * shape[0]), 0]
    assert (used.array == 3).all()


def test_memory_in_dead_cycles_is_found_too(monkeypatch, fresh):
    made = fresh.allocate(LARGE, F8)
    in_cycle = weakref.ref(made)
    cycle: list[object] = [made]
    cycle.append(cycle)
    del cycle, made
    make = buffer._Block

    def short_of_memory(pool: MemoryPool, size: int) -> object:
        if in_cycle() is not None or pool.kept_bytes:
            raise MemoryError
        return make(pool, size)

    monkeypatch.setattr(buffer, "_Block", short_of_memory)
    assert fresh.allocate(SMALL, F8).array.shape == SMALL


@pytest.mark.parametrize("shape", [(1 << 50,), (1 << 40, 1 << 40), (1 << 62, 8)])
def test_what_cannot_be_had_is_a_memory_error_that_says_how_much(fresh, shape):
    used = fresh.allocate(SMALL, F8)
    used.array[...] = 3
    before = counters_snapshot()
    with pytest.raises(MemoryError, match=r"cannot allocate [\d,]+ bytes for an array of shape .* float64"):
        fresh.allocate(shape, F8)
    assert counters_snapshot() == before
    assert (used.array == 3).all()
    assert fresh.allocate(SMALL, F8).array.shape == SMALL


def test_a_real_limit_on_memory():
    code, out, err = run_script("""
f8 = np.dtype("f8")
used = [pool.allocate((1_000_000,), f8) for _ in range(3)]
for each in used: each.array[...] = 7
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
pool.allocate((15_000_000,), f8)             # 120 MB, kept ...
pool.allocate((22_000_000,), f8)             # ... and given up for 176 MB
for count in (10**8, 10**9):
    try:
        pool.allocate((count,), f8)
    except MemoryError as error:
        print(error)
assert all((each.array == 7).all() for each in used)
print(pool.allocate((22_000_000,), f8).array.size)
""")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.startswith("cannot allocate") for line in lines] == [True, True, False]
    assert lines[2] == "22000000"


def test_buffers_that_outlive_the_interpreter_die_quietly():
    script = """
class Late:
    def __init__(self): self.buffer = pool.allocate((100,), np.dtype("f8"))
    def __del__(self): del self.buffer
import builtins
builtins.late = Late()                       # dies after every module is gone
kept = [pool.allocate((100,), np.dtype("f8")), Late()]
kept.append(kept)
gc.disable()
"""
    assert run_script(script) == (0, "", "")


def test_trim_memory_frees_what_is_kept_and_nothing_else() -> None:
    import toonygrad as xp

    with xp.config(compile="always"):
        kept = (xp.ones((1000, 1000)) * 3.0).block_until_ready()
        (xp.ones((1000, 1000)) * 2.0).block_until_ready()
    assert xp.trim_memory() >= 8_000_000
    assert xp.trim_memory() == 0
    assert float(kept[999, 999]) == 3.0


def test_trim_memory_gives_small_blocks_to_the_system_too() -> None:
    script = """
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
f8 = np.dtype("f8")
start = resident()
held = [pool.allocate((10_000,), f8) for _ in range(1000)]
for each in held: each.array[...] = 7
between = pool.allocate((10_000,), f8)  # behind them on malloc's heap, so that it can't just shrink
used = resident() - start
del held, each
assert trim_memory() >= 80_000_000
print(used > 80_000_000, resident() - start < 8_000_000)
"""
    assert run_script("from toonygrad import trim_memory\n" + script) == (0, "True True\n", "")
