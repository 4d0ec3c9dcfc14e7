"""How many kernels, launches, compiles and bytes named expressions take, and why each kernel ends."""

import gc
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import node_of
from toonygrad.config import Counters
from toonygrad.realize import realize_nodes
from toonygrad.runtime.buffer import pool
from toonygrad.schedule import ranges
from toonygrad.uop.node import UOp, live_nodes

ROWS, COLUMNS = 200, 300
BYTES = ROWS * COLUMNS * 8


@pytest.fixture(autouse=True)
def compiled():
    with xp.config(compile="always"):
        yield


def numbers(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def inputs(rows: int = ROWS, columns: int = COLUMNS) -> list[xp.Array]:
    return [xp.asarray(numbers(rows, columns, seed)) for seed in range(3)]


def spent(compute: Callable[[], Any]) -> Counters:
    """What computing takes, with the plan made and the kernels compiled before."""
    compute()
    before = xp.counters()
    compute()
    return xp.counters() - before


# -- the expressions -------------------------------------------------------------------------------


def softmax(x: Any, axis: int, ns: Any = xp) -> Any:
    weights = ns.exp(x - ns.max(x, axis=axis, keepdims=True))
    return weights / ns.sum(weights, axis=axis, keepdims=True)


def layer_norm(x: Any, ns: Any = xp) -> Any:
    centred = x - ns.mean(x, axis=1, keepdims=True)
    return centred / ns.sqrt(ns.var(x, axis=1, keepdims=True) + 1e-5)


def columns_and_rows(x: Any) -> Any:
    return xp.exp(x[:, 0])[:, None] * xp.exp(x[0, :])[None, :]


# name -> (what to compute together, from three arrays; the kernels it takes)
EXPRESSIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "chain": (lambda x, y, z: (x + y) * z - x / 2 + y * y, 1),
    "transposed": (lambda x, y, z: x.T + 1, 1),
    "sliced and flipped": (lambda x, y, z: xp.flip(x[::2, 5:], axis=0) + y[100:, 5:], 1),
    "broadcast": (lambda x, y, z: xp.broadcast_to(x[0, :], (ROWS, COLUMNS)) * y, 1),
    "affine reshape": (lambda x, y, z: xp.reshape(x * 2, (10, 20, COLUMNS)) + 1, 1),
    "reshape splitting a range": (lambda x, y, z: xp.reshape(x * 2, (2 * ROWS, COLUMNS // 2)).T + 1, 1),
    "reshape that divides": (lambda x, y, z: xp.reshape((x * 2).T, (ROWS, COLUMNS)) + 1, 2),
    "stencil": (lambda x, y, z: x[2:, 1:-1] + x[:-2, 1:-1] + x[1:-1, 2:] - 3 * x[1:-1, 1:-1], 1),
    "where": (lambda x, y, z: xp.where(x > 0, x, -y), 1),
    "several elementwise": (lambda x, y, z: (x + y, x * y, xp.exp(x)), 1),
    "sum of everything": (lambda x, y, z: xp.sum(x * y + 1), 1),
    "row variance": (lambda x, y, z: xp.var(x, axis=1), 1),
    "mean, max and sum": (lambda x, y, z: (xp.mean(x, axis=1), xp.max(x, axis=1), xp.sum(x, axis=1)), 1),
    "sums and products of columns": (lambda x, y, z: (xp.sum(x, axis=0), xp.prod(x, axis=0)), 1),
    "row sums and their source": (lambda x, y, z: (lambda s: (s, xp.sum(s, axis=1)))(x * y), 1),
    "softmax of rows": (lambda x, y, z: softmax(x, 1), 1),
    "softmax of columns": (lambda x, y, z: softmax(x, 0), 3),
    "layer norm": (lambda x, y, z: layer_norm(x), 1),
    "rows centred": (lambda x, y, z: x - xp.mean(x, axis=1, keepdims=True), 1),
    "columns centred": (lambda x, y, z: x - xp.mean(x, axis=0), 2),
    "all centred": (lambda x, y, z: x - xp.mean(x), 2),
    "argmax": (lambda x, y, z: xp.argmax(x, axis=1), 1),
    "scan and what follows": (lambda x, y, z: xp.cumulative_sum(x * 2, axis=1) * 3, 1),
    "concatenation": (lambda x, y, z: xp.concat([x * 2, y + 1], axis=0), 2),
    "gather": (lambda x, y, z: xp.take(x * 2, xp.asarray([3, 1, 2]), axis=0) + 1, 1),
    "gather of what is dear": (lambda x, y, z: xp.take(xp.tanh(x), xp.asarray([3, 1] * 200), axis=0), 2),
    "matrix product": (lambda x, y, z: x @ y.T, 1),
    "matrix product of a chain": (lambda x, y, z: xp.exp(x) @ y.T + 1, 3),
    "integer matrix product": (lambda x, y, z: xp.astype(x, xp.int64) @ xp.astype(y.T, xp.int64), 1),
    "outer product of what is dear": (lambda x, y, z: columns_and_rows(x), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_kernels_of(name: str) -> None:
    function, kernels = EXPRESSIONS[name]
    arrays = inputs()

    def compute() -> None:
        made = function(*arrays)
        xp.realize(*(made if isinstance(made, tuple) else (made,)))

    made = function(*arrays)
    explained = xp.explain(*(made if isinstance(made, tuple) else (made,)))
    assert len(explained.kernels) == kernels, explained
    del made  # whoever still holds an expression is given its result
    library = sum(kernel.how == "library" for kernel in explained.kernels)
    cost = spent(compute)
    assert cost.kernels_launched == kernels - library
    assert (cost.kernels_compiled, cost.kernels_loaded, cost.plans_made, cost.plans_reused) == (0, 0, 0, 1)


@pytest.mark.parametrize("view", [
    lambda x: xp.permute_dims(x, (1, 0)), lambda x: x[::2, 5:], lambda x: xp.flip(x), lambda x: x[3],
    lambda x: xp.broadcast_to(x, (4, ROWS, COLUMNS)), lambda x: xp.reshape(x, (10, -1)), lambda x: x[:, None],
])  # fmt: skip
def test_views_take_no_kernel_and_no_memory(view: Callable[..., Any]) -> None:
    x, expected = inputs()[0], view_of_numpy(view)
    before = xp.counters()
    seen = view(x)
    assert not xp.explain(seen).kernels
    found = np.asarray(seen)
    cost = xp.counters() - before
    assert (cost.kernels_launched, cost.bytes_allocated) == (0, 0)
    assert np.shares_memory(found, np.asarray(x))
    np.testing.assert_array_equal(found, expected)


def view_of_numpy(view: Callable[..., Any]) -> np.ndarray:
    with xp.config(compile="never"):
        return np.array(view(inputs()[0]))


# -- bytes -----------------------------------------------------------------------------------------


def allocated(compute: Callable[[], Any]) -> int:
    return spent(compute).bytes_allocated


@pytest.mark.parametrize(
    "name, size",
    [
        ("chain", BYTES),
        ("row variance", ROWS * 8),
        ("softmax of rows", BYTES),
        ("layer norm", BYTES),
        ("columns centred", BYTES + COLUMNS * 8),
        ("concatenation", 2 * BYTES),
        ("gather", 3 * COLUMNS * 8 + 3 * 8),
        ("reshape that divides", 2 * BYTES),
        ("several elementwise", 3 * BYTES),
    ],
)
def test_bytes_allocated(name: str, size: int) -> None:
    """A kernel's results, and nothing else."""
    function, _ = EXPRESSIONS[name]
    arrays = inputs()

    def compute() -> None:
        made = function(*arrays)
        xp.realize(*(made if isinstance(made, tuple) else (made,)))

    # The indices of a gather are wrapped, not allocated.
    assert allocated(compute) == (3 * COLUMNS * 8 if name == "gather" else size)


def test_temporaries_share_memory() -> None:
    """A chain of steps holds as many temporaries as are alive at once, not as many as it has steps."""
    x = inputs()[0]
    result = x
    for axis in (0, 1, 0, 1, 0):
        result = softmax(result.T, axis)
    explained = xp.explain(result)
    assert len(explained.kernels) > 4
    assert explained.bytes_peak < 3.5 * BYTES
    del result, explained


@pytest.mark.parametrize("mode", ["always", "auto"])
@pytest.mark.parametrize("size", [100, 5000])
def test_ten_thousand_evaluations_leave_memory_flat(mode: str, size: int) -> None:
    array = xp.asarray(np.arange(float(size)))

    def evaluate(count: int) -> None:
        for number in range(count):
            y = (array + number) * 2 - array / 3
            total = xp.sum(y * y)
            np.asarray(y)
            float(total)

    with xp.config(compile=mode):
        evaluate(1000)
        gc.collect()
        nodes, kept, resident = sum(1 for _ in live_nodes()), pool.kept_bytes, resident_bytes()
        evaluate(9000 if size == 100 else 2000)
        gc.collect()
        # Up to 256 numbers that stood beside arrays lately are kept (toonygrad/array.py), fewer by chance.
        assert sum(1 for _ in live_nodes()) <= nodes + 256 + 8
        assert pool.kept_bytes <= kept + 4 * size * 8
        assert resident_bytes() < resident + (2 << 20)


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- nothing compiles again ------------------------------------------------------------------------

SHAPELESS: dict[str, Callable[..., Any]] = {
    "elementwise": lambda x, y, k: (x + y) * k - x / 2,
    "row reduction": lambda x, y, k: xp.sum(x * k, axis=1),
    "column reduction": lambda x, y, k: xp.max(x * k, axis=0),
    "full reduction": lambda x, y, k: xp.mean(x * y + k),
    "softmax": lambda x, y, k: softmax(x * k, 1),
    "gather": lambda x, y, k: xp.take(x, xp.asarray([1, 0, 2]), axis=0) * k,
    "concatenation": lambda x, y, k: xp.concat([x, y * k, x], axis=1),
    "scan": lambda x, y, k: xp.cumulative_sum(x + k, axis=1),
    "slices": lambda x, y, k: x[1:, ::2] - y[:-1, ::2] * k,
    "transposed": lambda x, y, k: xp.permute_dims(x, (1, 0)) * k,
    "roll": lambda x, y, k: xp.roll(x, 3, axis=0) + k,
    "argmax": lambda x, y, k: xp.argmax(x * k, axis=1),
    "arange": lambda x, y, k: xp.arange(x.shape[0] * 100) * k,
    "integer power": lambda x, y, k: xp.astype(x * k, xp.int64) ** 3,
}


@pytest.mark.parametrize("name", SHAPELESS)
def test_ten_sizes_and_ten_numbers_compile_once(name: str) -> None:
    function = SHAPELESS[name]

    def compute(rows: int, columns: int, number: float) -> None:
        x, y, _ = inputs(rows, columns)
        np.asarray(function(x, y, number))

    # Even numbers of columns: only there do rows with steps of two run on from one to the next, as one loop.
    compute(80, 90, 3.0)
    before = xp.counters()
    for step in range(1, 10):
        compute(80 + 7 * step, 90 + 30 * step, 3.0)
    compute(4200, 2, 3.0)
    sizes = xp.counters() - before
    # So short a side takes no tiles, and sums of so few along a row have one block, running sums none.
    forms = int(name in ("transposed", "row reduction", "softmax", "scan"))
    assert (sizes.kernels_compiled, sizes.kernels_loaded) == (forms, 0)
    assert sizes.plans_made == 10
    before = xp.counters()
    for number in (0.0, 1.0, -1.0, 2.0, 0.5, 1e300, float("inf"), float("nan"), -0.0, 7.25):
        compute(80, 90, number)
    numbers = xp.counters() - before
    assert (numbers.kernels_compiled, numbers.kernels_loaded, numbers.plans_made) == (0, 0, 0)


def test_sizes_across_all_thresholds_need_few_kernels() -> None:
    """Where a reduction is cut in pieces depends on its size; nothing else does."""
    names = set()
    for columns in (3, 70, 1000, 40_000, 300_000):
        for rows in (2, 9, 100) if columns < 40_000 else (2, 9):
            x = xp.asarray(np.ones((rows, columns)))
            names.update(kernel.name for kernel in xp.explain(xp.sum(x, axis=1)).kernels)
            names.update(kernel.name for kernel in xp.explain(xp.sum(x, axis=0)).kernels)
            names.update(kernel.name for kernel in xp.explain(x + x).kernels)
    assert len(names) <= 6


# -- what is stored --------------------------------------------------------------------------------


def test_an_intermediate_demanded_twice_is_stored() -> None:
    x = inputs()[0]
    y = xp.exp(x)
    first, second, third = y + 1, y * 2, y - 3
    before = xp.counters()
    first.block_until_ready()
    assert (xp.counters() - before).bytes_allocated == BYTES
    (kernel,) = xp.explain(second).kernels
    assert "asked for by a second computation" in kernel.reason
    assert len(kernel.outputs) == 2
    second.block_until_ready()
    assert (xp.counters() - before).bytes_allocated == 3 * BYTES
    before = xp.counters()
    np.asarray(y)
    assert xp.counters() == before
    (kernel,) = xp.explain(third).kernels
    assert kernel.operations == ("SUB",)
    np.testing.assert_array_equal(np.asarray(third), np.asarray(y) - 3)


def stencil(u: Any) -> Any:
    around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return u[1:-1, 1:-1] + 0.1 * (around - 4 * u[1:-1, 1:-1])


def periodic(u: Any) -> Any:
    ns = np if isinstance(u, np.ndarray) else xp
    return u + 0.1 * (sum(ns.roll(u, shift, axis=axis) for shift in (1, -1) for axis in (0, 1)) - 4 * u)


def leapfrog(before: Any, now: Any) -> Any:
    return 2 * now[1:-1] - before[1:-1] + 0.1 * (now[2:] - 2 * now[1:-1] + now[:-2])


def test_planning_takes_time_that_grows_as_the_steps_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = 0

    def counting(*arguments: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return moved(*arguments)

    moved = ranges.moved
    monkeypatch.setattr(ranges, "moved", counting)
    u, steps = xp.asarray(numbers(200, 200)), []
    for _ in range(2):
        looked_at = 0
        for _ in range(6):
            u = stencil(u)
        xp.explain(u)
        steps.append(looked_at)
    assert 0 < steps[1] <= 2.5 * steps[0]


@pytest.mark.parametrize("step", [stencil, periodic])
@pytest.mark.parametrize("count", [25, 100])
def test_each_of_many_steps_is_computed_once(step: Callable[[Any], Any], count: int) -> None:
    # What is computed on the way, lest the graph grow, is what the loop goes on from.
    u = xp.asarray(numbers(260, 260))
    expected = np.asarray(u)
    launched = xp.counters().kernels_launched
    for _ in range(count):
        u, expected = step(u), step(expected)
    np.testing.assert_allclose(np.asarray(u), expected, rtol=1e-9)
    assert xp.counters().kernels_launched - launched == count


@pytest.mark.parametrize("asked_for", [False, True])
def test_a_state_of_two_arrays_is_computed_once(asked_for: bool) -> None:
    # A number whose own memory somebody has asked for is still a number.
    numbers_used = [UOp.scalar(number, dtypes.float64) for number in (2, 0.1)]
    realize_nodes(numbers_used if asked_for else [])
    before, now = (xp.asarray(numbers(1, 5000, seed)[0]) for seed in range(2))
    old, new = np.asarray(before), np.asarray(now)
    launched = xp.counters().kernels_launched
    for _ in range(60):
        before, now = now[1:-1], leapfrog(before, now)
        old, new = new[1:-1], leapfrog(old, new)
    np.testing.assert_allclose(np.asarray(now), new, rtol=1e-9)
    assert xp.counters().kernels_launched - launched <= 75


def test_a_history_is_computed_once() -> None:
    states = [xp.asarray(numbers(300, 300))]
    launched = xp.counters().kernels_launched
    for _ in range(40):
        states.append(stencil(states[-1]))
    xp.realize(*states)
    assert xp.counters().kernels_launched - launched == 40


def test_reductions_still_held_are_stored() -> None:
    x = inputs()[0]
    total = xp.sum(x, axis=1, keepdims=True)
    centred = x - total
    (kernel,) = xp.explain(centred).kernels
    assert "somebody holds it and may ask for it" in kernel.reason
    before = xp.counters()
    centred.block_until_ready()
    assert (xp.counters() - before).bytes_allocated == BYTES + ROWS * 8
    before = xp.counters()
    np.asarray(total)
    assert (xp.counters() - before).kernels_launched == 0

    def dropped() -> xp.Array:
        return x - xp.sum(x, axis=1, keepdims=True) * 2

    assert allocated(lambda: dropped().block_until_ready()) == BYTES


def test_what_is_computed_is_kept_with_its_array() -> None:
    x = inputs()[0]
    y = x * 2 + 1
    view = y.T
    y.block_until_ready()
    before = xp.counters()
    np.asarray(y), np.asarray(view), float(y[3, 4])
    cost = xp.counters() - before
    assert (cost.kernels_launched, cost.bytes_allocated) == (0, 0)
    assert node_of(y).arg.array.nbytes == BYTES


def test_equal_expressions_are_computed_once() -> None:
    x = inputs()[0]
    one, other = xp.exp(x) + 1, xp.exp(x) + 1
    one.block_until_ready()
    before = xp.counters()
    np.asarray(other)
    assert xp.counters() == before


def test_every_kernel_has_its_reason() -> None:
    x, y, _ = inputs()
    reasons = {
        "asked for": x + 1,
        "it would need a division for each element": xp.reshape((x * 2).T, (ROWS, COLUMNS)) + 1,
        "its rows aren't the outer loops of its consumer": x - xp.mean(x, axis=0),
        "a reduction to one value is shared out among cores in pieces": x - xp.mean(x),
        "its parts are written side by side": xp.concat([x, y], axis=0) + 1,
        "a running combination needs all that stands before": xp.cumulative_sum(x, axis=1)[:, ::-1] + 1,
        "read by a library's routine, matmul": xp.exp(x) @ y.T,
        "it would be computed 200 times for each element": columns_and_rows(x),
    }
    for reason, array in reasons.items():
        assert any(reason in kernel.reason for kernel in xp.explain(array).kernels), reason
    many = [xp.asarray(numbers(seed=seed)) for seed in range(40)]
    total = many[0]
    for one in many[1:]:
        total = total + one
    kernels = xp.explain(total).kernels
    assert len(kernels) == 2
    assert "a kernel would grow too large" in kernels[0].reason


def test_numbers_do_not_make_a_kernel_too_large() -> None:
    x = xp.asarray(np.linspace(0, 1, 5000))
    y = x
    for k in range(60):
        y = y * x + (k + 0.5)
    (kernel,) = xp.explain(y).kernels
    assert kernel.bytes_moved == kernel.bytes_least == 2 * 8 * 5000


# -- the same bits for any number of threads -------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_no_bit(dtype: Any) -> None:
    array = np.random.default_rng(4).normal(size=(700, 900)).astype(dtype)

    def results() -> list[np.ndarray]:
        x = xp.asarray(array)
        made = [xp.sum(x), xp.sum(x, axis=0), xp.sum(x, axis=1), xp.std(x), softmax(x, 1), softmax(x, 0)]
        made += [layer_norm(x), xp.cumulative_sum(x, axis=1), xp.prod(1 + x / 1000), xp.sin(x) * x]
        made += [xp.max(x, axis=0), xp.argmin(x, axis=1)]
        return [np.asarray(one).copy() for one in made]

    with xp.config(num_threads=1):
        alone = results()
    for threads in (2, 3):
        with xp.config(num_threads=threads):
            for mine, other in zip(alone, results()):
                assert mine.tobytes() == other.tobytes()


def test_a_result_of_the_row_is_not_overwritten_by_what_is_kept_in_rows() -> None:
    array = np.random.default_rng(5).uniform(0.1, 1.0, (64, 200))

    def maps(xp: Any, x: Any) -> tuple[Any, Any, Any]:
        slope = xp.atan(xp.sqrt(x))
        return slope * 57.0, xp.cos(slope) + xp.sin(slope), xp.mean(slope * 57.0, axis=1)

    with xp.config(compile="always"):
        results = maps(xp, xp.asarray(array))
        xp.realize(*results)
    for ours, numpys in zip(results, maps(np, array), strict=True):
        np.testing.assert_allclose(np.asarray(ours), numpys, rtol=1e-13)
