"""Hard use of the engine from outside: threads, forks, interrupts, no memory, deep graphs, bad numbers."""

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import node_of
from toonygrad.runtime.buffer import MemoryPool
from toonygrad.uop.node import live_nodes

MODES = ("always", "never", "auto")


def in_a_child(script: str, **environment: str) -> str:
    """What a fresh process prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", "import numpy as np\nimport toonygrad as xp\n" + script],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- threads and processes -------------------------------------------------------------------------


def together(work: Callable[[int], None], threads: int = 8) -> None:
    """Run `work` in threads that start at once; the first error is raised here."""
    errors: list[BaseException] = []
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        try:
            start.wait()
            with xp.config(compile="always"):
                work(number)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def test_eight_threads_evaluate_one_expression_of_their_own_each() -> None:
    array = np.arange(20_000.0)

    def work(number: int) -> None:
        for step in range(30):
            x = xp.asarray(array) + number
            total = xp.sum(x * step - number)
            np.testing.assert_array_equal(np.asarray(x * 2 + step), (array + number) * 2 + step)
            assert float(total) == np.sum((array + number) * step - number)

    together(work)


def test_eight_threads_compute_the_same_arrays() -> None:
    array = np.arange(30_000.0).reshape(100, 300)
    x = xp.asarray(array)
    for _ in range(10):
        shared = x * 3 - 1
        rows, view = xp.sum(shared, axis=1), shared.T

        def work(number: int) -> None:
            asked = [shared, rows, view] if number % 2 else [view, rows, shared]  # noqa: B023 (in this turn)
            meant = {shared.shape: array * 3 - 1, view.shape: (array * 3 - 1).T}  # noqa: B023 (as well)
            for one in asked:
                expected = meant.get(one.shape, (array * 3 - 1).sum(axis=1))
                np.testing.assert_array_equal(np.asarray(one), expected)

        together(work)


def test_eight_threads_compile_different_kernels() -> None:
    array = np.arange(1000.0)

    def work(number: int) -> None:
        x = xp.asarray(array)
        result, expected = x, array
        for _ in range(number + 1):
            result, expected = result * 2 + x, expected * 2 + array
        np.testing.assert_array_equal(np.asarray(result), expected)

    together(work)


def test_a_forked_child_computes() -> None:
    in_a_child("""
import os, threading
array = np.arange(300_000.0)
with xp.config(compile="always", num_threads=2):
    x = xp.asarray(array)
    pending, before = xp.sqrt(x) + 1, float(xp.sum(x))
    child = os.fork()
    np.testing.assert_array_equal(np.asarray(pending), np.sqrt(array) + 1)   # both compute what was pending,
    assert float(xp.sum(x)) == before                                        # what was known,
    np.testing.assert_array_equal(np.asarray(x * 7 - 3), array * 7 - 3)      # and what is new
    if child == 0:
        grandchild = os.fork()
        assert float(xp.max(x)) == array[-1]
        if grandchild == 0:
            os._exit(0)
        os._exit(os.waitpid(grandchild, 0)[1])
    assert os.waitpid(child, 0)[1] == 0
""")


def test_a_second_process_loads_kernels_without_numba(tmp_path: Any) -> None:
    script = """
import sys
with xp.config(compile="always"):
    x = xp.asarray(np.arange(10_000.0))
    assert float(xp.sum(xp.exp(x / -100) * 2)) > 0
    assert np.asarray(x[::2] + 1)[3] == 7
counters = xp.counters()
print(counters.kernels_compiled, counters.kernels_loaded, "numba" in sys.modules)
"""
    first, second = (in_a_child(script, TOONYGRAD_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2))
    assert first.split() == ["2", "0", "True"]
    assert second.split() == ["0", "2", "False"]


def test_ctrl_c_during_a_long_run_leaves_all_usable() -> None:
    printed = in_a_child("""
import os, random, signal
array = np.random.default_rng(0).normal(size=(300, 400))
random.seed(1)
interrupts = 0
with xp.config(compile="always"):
    x = xp.asarray(array)
    kept = x * 3 - 1
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # what Ctrl-C does
    for attempt in range(40):
        # Interrupts anywhere: while recording, planning, compiling, launching, computing.
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.03))
            for step in range(10_000):
                y = xp.exp(-x * x + step) * kept
                (y / (1 + xp.sum(xp.abs(y), axis=1, keepdims=True))).block_until_ready()
        except KeyboardInterrupt:
            interrupts += 1
        np.testing.assert_array_equal(np.asarray(x), array)
        np.testing.assert_array_equal(np.asarray(x * attempt + 1), array * attempt + 1)
    np.testing.assert_array_equal(np.asarray(kept), array * 3 - 1)
print(interrupts)
""")
    # Python drops an interrupt that arrives inside a finaliser, as of a node or a buffer that dies just then.
    assert int(printed) >= 20


# -- memory ----------------------------------------------------------------------------------------

# Larger than any address space.
ABSURD = 1 << 57


@pytest.mark.parametrize("mode", MODES)
def test_no_memory_for_a_result(mode: Any) -> None:
    with xp.config(compile=mode):
        x = xp.asarray([1.0, 2.0])
        pending = x * 3
        absurd = xp.zeros((ABSURD,)) + x[0]
        for _ in range(2):
            with pytest.raises(MemoryError):
                absurd.block_until_ready()
            with pytest.raises(MemoryError):
                xp.realize(x + 1, absurd, pending)
        np.testing.assert_array_equal(np.asarray(x), [1, 2])
        np.testing.assert_array_equal(np.asarray(pending), [3, 6])
        np.testing.assert_array_equal(np.asarray(x + 1), [2, 3])


def test_no_memory_for_a_temporary_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(200, 300))
    allocate, left = MemoryPool.allocate, [0]

    def sparing(self: MemoryPool, *args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError("none left")
        return allocate(self, *args, **kwargs)

    monkeypatch.setattr(MemoryPool, "allocate", sparing)
    with xp.config(compile="always"):
        x = xp.asarray(array)
        earlier = x + 1
        left[0] = 1
        earlier.block_until_ready()
        steps = 0
        while True:
            result = xp.concat([earlier - xp.mean(earlier, axis=0), xp.exp(x) @ (x.T @ x)], axis=0)
            left[0] = steps
            try:
                result.block_until_ready()
            except MemoryError:
                steps += 1
                assert np.array_equal(np.asarray(earlier), array + 1)
                continue
            break
        assert steps > 2
        plus = array + 1
        expected = np.concatenate([plus - plus.mean(axis=0), np.exp(array) @ (array.T @ array)])
        np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-10, atol=1e-10)


# -- large graphs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["always", "never"])
def test_a_chain_of_a_hundred_thousand_operations(mode: Any) -> None:
    with xp.config(compile=mode):
        x = xp.asarray(np.arange(10.0))
        y = x
        for _ in range(50_000):
            y = (y + 1) * 1.0
        np.testing.assert_array_equal(np.asarray(y), np.arange(10.0) + 50_000)


def test_a_chain_that_shares_everything() -> None:
    """As a tree it would have two to the 200th leaves."""
    x = y = xp.asarray(np.full(5, 1.5))
    for _ in range(200):
        y = (y + y) / 2
    for mode in ("always", "never"):
        with xp.config(compile=mode):
            np.testing.assert_array_equal(np.asarray(y + 0), np.asarray(x))


@pytest.mark.parametrize("mode", ["always", "never"])
def test_a_tree_of_fifty_thousand_leaves(mode: Any) -> None:
    with xp.config(compile=mode):
        leaves = [xp.asarray(np.full(3, float(k))) for k in range(50_000)]
        while len(leaves) > 1:
            pairs = zip(leaves[::2], leaves[1::2])
            leaves = [a + b for a, b in pairs] + leaves[len(leaves) & ~1 :]
        np.testing.assert_array_equal(np.asarray(leaves[0]), np.full(3, 50_000 * 49_999 / 2))


# -- what keeps what alive -------------------------------------------------------------------------


def test_a_pending_graph_keeps_its_arrays_alive() -> None:
    def recorded() -> tuple[xp.Array, weakref.ref]:
        x = xp.asarray(np.arange(5.0))
        return x * 2 + xp.asarray(np.ones(5)), weakref.ref(node_of(x).arg)

    pending, memory = recorded()
    gc.collect()
    assert memory() is not None
    np.testing.assert_array_equal(np.asarray(pending), np.arange(5.0) * 2 + 1)
    gc.collect()
    assert memory() is None  # and no longer than it is needed


def test_nodes_are_freed_when_nobody_holds_them() -> None:
    def work() -> None:
        for mode in MODES:
            with xp.config(compile=mode):
                x = xp.asarray(np.arange(100.0))
                y = x
                for step in range(50):
                    y = y * 2 - step
                np.asarray(y), xp.explain(y + x)

    work()
    gc.collect()
    before = sum(1 for _ in live_nodes())
    work()
    gc.collect()
    assert sum(1 for _ in live_nodes()) == before


# -- bad numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_gathers_out_of_bounds(mode: Any) -> None:
    array = np.arange(12.0).reshape(3, 4)
    with xp.config(compile=mode):
        x = xp.asarray(array)
        pending = x * 2
        for bad in (3, -4, 2**40, -(2**63)):
            index = xp.asarray(np.array([0, bad]))
            for gathered in (x[index], xp.take(x, index, axis=0), (pending + 1)[index] * 2):
                with pytest.raises(IndexError, match="out of bounds for axis 0 with size 3"):
                    np.asarray(gathered)
                with pytest.raises(IndexError):  # and again: nothing half done was kept
                    np.asarray(gathered)
        with pytest.raises(IndexError, match="axis 1 with size 4"):
            np.asarray(xp.take(x, xp.asarray([4]), axis=1))
        np.testing.assert_array_equal(np.asarray(pending), array * 2)
        np.testing.assert_array_equal(np.asarray(x[xp.asarray([-1, 0])]), array[[-1, 0]])


@pytest.mark.parametrize("mode", MODES)
def test_a_gather_out_of_bounds_takes_nothing_else_along(mode: Any) -> None:
    with xp.config(compile=mode):
        x = xp.asarray(np.arange(6.0))
        good, bad = x + 1, xp.take(x, xp.asarray([9]), axis=0)
        with pytest.raises(IndexError):
            xp.realize(good, bad)
        np.testing.assert_array_equal(np.asarray(good), np.arange(6.0) + 1)


def test_integer_arithmetic_never_traps() -> None:
    """In a process of its own: what traps ends it."""
    in_a_child("""
for mode in ("always", "never", "auto"):
    with xp.config(compile=mode):
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
            limits, dtype = np.iinfo(name), np.dtype(name)
            numbers = np.array([0, 1, 7, limits.min, limits.max, limits.max - 1], dtype)
            minus_one = np.array(-1).astype(dtype)
            x = xp.asarray(numbers)
            zero = xp.zeros(6, dtype=dtype)
            assert not np.any(np.asarray(x // zero)) and not np.any(np.asarray(x % zero))
            assert not np.any(np.asarray(x // 0)) and not np.any(np.asarray(x % 0))
            if limits.min < 0:
                np.testing.assert_array_equal(np.asarray(x // -1), np.negative(numbers))
                assert not np.any(np.asarray(x % -1))
                np.testing.assert_array_equal(np.asarray(abs(x)), np.abs(numbers))
            width = 8 * dtype.itemsize
            for amount in (width, width + 1, 100):
                shifts = xp.full(6, amount, dtype=dtype)
                assert not np.any(np.asarray(x << shifts))
                np.testing.assert_array_equal(np.asarray(x >> shifts), np.where(numbers < 0, minus_one, 0))
            np.testing.assert_array_equal(np.asarray(x + x), numbers + numbers)
            np.testing.assert_array_equal(np.asarray(x * x), numbers * numbers)
            for source in ("float32", "float64"):
                floats = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.9, -2.9], source)
                converted = np.asarray(xp.astype(xp.asarray(floats), dtype))
                low = max(-2, limits.min)
                meant = [0, limits.max, limits.min, limits.max, limits.min, 2, low]
                assert converted.tolist() == meant, (mode, name, source, converted)
            other = np.asarray(xp.astype(x, xp.int16))
            np.testing.assert_array_equal(other, numbers.astype(np.int16))
""")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_results_without_elements_and_of_one(mode: Any, dtype: np.dtype) -> None:
    with xp.config(compile=mode):
        for shape in ((0,), (3, 0), (0, 4, 1), (), (1,), (1, 1, 1)):
            x = xp.zeros(shape, dtype=dtype)
            y = xp.where(x == x, x, x)
            assert (np.asarray(y).shape, np.asarray(y).dtype) == (shape, dtype)
            assert int(xp.count_nonzero(y)) == 0
            assert np.asarray(xp.concat([xp.reshape(x, (-1,)), xp.reshape(y, (-1,))])).size == 2 * y.size
            assert not bool(xp.any(x))
            if dtype != dtypes.bool_:
                assert complex(xp.sum(x)) == 0
                assert complex(xp.prod(x)) == (1 if x.size == 0 else 0)


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_plans_hold_no_memory_of_constants(mode: str) -> None:
    with xp.config(compile=mode):
        for shape in ((21, 31), (210, 310)):
            (xp.zeros(shape) + 3).block_until_ready()
            xp.ones(shape).block_until_ready()
            xp.eye(shape[0]).block_until_ready()
    gc.collect()
    shapes = ((21, 31), (210, 310))
    held = [node for node in live_nodes() if node.realized is not None and node.shape in shapes]
    assert not held


@pytest.mark.parametrize("part", [0, slice(0, 1), slice(0, 3), slice(None, None, 2)], ids=str)
def test_a_part_that_is_asked_for_does_not_stand_for_the_whole(part):
    """A slice from the first element on has the indices of what it is taken from, and fewer of them."""
    values = np.arange(1.0, 6.0)
    with xp.config(compile="always"):
        x = xp.asarray(values)
        half = x / 2
        rest = x - half * 3
        xp.realize(half[part])  # asked for once, `half` is stored when the next computation has it inside
        np.testing.assert_array_equal(np.asarray(rest[part]), (values - values / 2 * 3)[part])
        np.testing.assert_array_equal(np.asarray(half), values / 2)
