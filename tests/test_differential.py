"""Random programs, compiled against the interpreter and against NumPy.

Programs work on small integers, whatever their type, and stay where every sum is exact: compiled,
interpreted and NumPy's results must then be equal, in whatever order a kernel adds. What rounds has tests of
its own.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy_reference import samples

import toonygrad as xp
from toonygrad import dtypes, record
from toonygrad.realize import realize_nodes
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.interpreter import leaf_value, operation
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops

# Every program is some new kernels, 60 to 150 ms each: this many keep the file below two minutes.
PROGRAMS = settings(max_examples=150, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))

FEW = settings(PROGRAMS, max_examples=40)

SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 64, 130, 600)
MOST_ELEMENTS = 6000
# Up to these, the numbers of a program are sums of integers that the type holds.
EXACT = {
    dtypes.float32: 2.0**24,
    dtypes.float64: 2.0**53,
    dtypes.complex64: 2.0**22,
    dtypes.complex128: 2.0**50,
}


class Step(NamedTuple):
    """One call: `function` of a namespace and the results of earlier steps."""

    function: Callable[..., Any]
    sources: tuple[int, ...]


class Program:
    """Steps, with their results by NumPy: what is drawn next depends on shapes, types and sizes."""

    def __init__(self, inputs: list[np.ndarray]) -> None:
        self.inputs = inputs
        self.values = list(inputs)
        self.steps: list[Step] = []

    def call(self, function: Callable[..., Any], *sources: int) -> bool:
        """Add a step, if NumPy can do it and its numbers stay small."""
        with np.errstate(all="ignore"):
            value = np.asarray(function(np, *(self.values[s] for s in sources)))
        if value.size > MOST_ELEMENTS or value.ndim > 5 or value.dtype not in dtypes.ALL:
            return False
        if value.dtype in EXACT and value.size:
            largest = np.max(np.abs(value))
            if not np.isfinite(largest) or largest > 1000 or np.any(value != np.round(value)):
                return False
        self.steps.append(Step(function, sources))
        self.values.append(value)
        return True

    def __repr__(self) -> str:
        lines = [f"{x.dtype}{list(x.shape)} strides {x.strides}" for x in self.inputs]
        for number, (function, sources) in enumerate(self.steps, len(lines)):
            maker = function.__qualname__.split(".")[0]
            value = self.values[number]
            given = {name: value for name, value in inspect.getclosurevars(function).nonlocals.items()}
            lines.append(f"{maker} {given} of {sources} -> {value.dtype}{list(value.shape)}")
        return "\n".join(["Program", *(f"  {number}: {line}" for number, line in enumerate(lines))])

    def run(self, inputs: list[Any]) -> list[Any]:
        """The results of all steps, recorded from toonygrad's arrays."""
        values = list(inputs)
        for step in self.steps:
            values.append(step.function(xp, *(values[s] for s in step.sources)))
        return values


# -- what a program may do -------------------------------------------------------------------------


def exact_sum(value: np.ndarray) -> bool:
    return value.dtype not in EXACT or float(np.sum(np.abs(value))) < EXACT[value.dtype]


def pick(draw: Any, program: Program, of: Callable[[np.ndarray], bool] = lambda value: True) -> int | None:
    # Late results first, or programs would be many short ones side by side.
    places = [k for k, value in reversed(list(enumerate(program.values))) if of(value)]
    return draw(st.sampled_from(places[:4])) if places else None


def an_axis(draw: Any, value: np.ndarray) -> int:
    return draw(st.integers(-value.ndim, value.ndim - 1))


def some_axes(draw: Any, value: np.ndarray) -> Any:
    return draw(st.sampled_from([None, *(tuple(a) for a in _subsets(range(value.ndim)))]))


def _subsets(items: Any) -> list[list[int]]:
    subsets: list[list[int]] = [[]]
    for item in items:
        subsets += [[*one, item] for one in subsets]
    return subsets[1:]


def unary(draw: Any, program: Program) -> bool:
    place = pick(draw, program)
    kind = program.values[place].dtype.kind
    names = {
        "b": ["logical_not", "bitwise_invert"],
        "i": ["negative", "abs", "bitwise_invert", "square", "sign", "logical_not"],
        "u": ["negative", "bitwise_invert", "square", "sign"],
        "f": ["negative", "abs", "floor", "square", "sign", "signbit", "isnan", "trunc", "round"],
        "c": ["negative", "conj", "real", "imag", "square"],
    }[kind]
    name = draw(st.sampled_from(names))
    return program.call(lambda ns, x: getattr(ns, name)(x), place)


def binary(draw: Any, program: Program) -> bool:
    left = pick(draw, program)
    value = program.values[left]
    right = pick(draw, program, lambda other: other.dtype == value.dtype and _broadcast(other, value))
    kind = value.dtype.kind
    names = ["equal", "not_equal"]
    if kind == "b":
        names += ["logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_xor"]
    else:
        names += ["add", "subtract", "multiply"]
    if kind in "iuf":
        names += ["maximum", "minimum", "less", "less_equal", "greater"]
    if kind in "iu":
        names += [
            "bitwise_and",
            "bitwise_or",
            "bitwise_xor",
            "floor_divide",
            "remainder",
            "bitwise_left_shift",
        ]
        names += ["bitwise_right_shift"]
    if kind == "f":
        names += ["copysign"]
    name = draw(st.sampled_from(names))
    return program.call(lambda ns, x, y: getattr(ns, name)(x, y), left, right)


def _broadcast(x: np.ndarray, y: np.ndarray) -> bool:
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return math.prod(shape) <= MOST_ELEMENTS


def scalar(draw: Any, program: Program) -> bool:
    place = pick(draw, program, lambda value: value.dtype.kind != "b")
    if place is None:
        return False
    number = draw(st.integers(0, 5))
    name = draw(st.sampled_from(["add", "multiply", "subtract"]))
    return program.call(lambda ns, x: getattr(ns, name)(x, number), place)


def where(draw: Any, program: Program) -> bool:
    condition = pick(draw, program, lambda value: value.dtype == dtypes.bool_)
    if condition is None:
        place = pick(draw, program, lambda value: value.dtype.kind in "iuf")
        return place is not None and program.call(lambda ns, x: x > 1, place)
    shape = program.values[condition].shape
    yes = pick(draw, program, lambda value: _broadcast(value, np.empty(shape)))
    value = program.values[yes]
    no = pick(draw, program, lambda other: other.dtype == value.dtype and _broadcast(other, value))
    try:
        return program.call(lambda ns, c, x, y: ns.where(c, x, y), condition, yes, no)
    except ValueError:  # each broadcasts with another, but not all three
        return False


def cast(draw: Any, program: Program) -> bool:
    place = pick(draw, program, lambda value: value.dtype.kind != "c" and _fits(value))
    if place is None:
        return False
    target = draw(st.sampled_from(dtypes.ALL))
    return program.call(lambda ns, x: ns.astype(x, target), place)


def _fits(value: np.ndarray) -> bool:
    return value.dtype.kind == "b" or not value.size or bool(np.all((value >= 0) & (value <= 100)))


def movement(draw: Any, program: Program) -> bool:
    place = pick(draw, program, lambda value: value.ndim > 0)
    if place is None:
        return False
    value = program.values[place]
    name = draw(
        st.sampled_from(["permute", "flip", "slice", "reshape", "broadcast", "roll", "expand", "squeeze"])
    )
    if name == "permute":
        axes = tuple(draw(st.permutations(range(value.ndim))))
        return program.call(lambda ns, x: ns.permute_dims(x, axes), place)
    if name == "flip":
        flipped = some_axes(draw, value)
        return program.call(lambda ns, x: ns.flip(x, axis=flipped), place)
    if name == "slice":
        key = draw(hnp.basic_indices(value.shape, allow_newaxis=True))
        return program.call(lambda ns, x: x[key], place)
    if name == "reshape":
        shape = draw(reshapes(value.size))
        return program.call(lambda ns, x: ns.reshape(x, shape), place)
    if name == "broadcast":
        front = draw(st.sampled_from([(), (1,), (2,), (3, 1)]))
        wide = (*front, *(draw(st.sampled_from([1, 3, 5])) if size == 1 else size for size in value.shape))
        return program.call(lambda ns, x: ns.broadcast_to(x, wide), place)
    if name == "roll":
        axis, by = an_axis(draw, value), draw(st.integers(-3, 7))
        return program.call(lambda ns, x: ns.roll(x, by, axis=axis), place)
    if name == "expand":
        at = draw(st.integers(0, value.ndim))
        return program.call(lambda ns, x: ns.expand_dims(x, axis=at), place)
    single = tuple(axis for axis, size in enumerate(value.shape) if size == 1)
    return program.call(lambda ns, x: ns.squeeze(x, axis=single), place)


@st.composite
def reshapes(draw: Any, size: int) -> tuple[int, ...]:
    if size == 0:
        return draw(st.sampled_from([(0,), (0, 3), (2, 0)]))
    shape, left = [], size
    while left > 1 and len(shape) < 4:
        divisors = [k for k in range(1, left + 1) if left % k == 0][-8:] + [2 - left % 2]
        shape.append(draw(st.sampled_from(divisors)))
        left //= shape[-1]
    return tuple(draw(st.permutations([*shape, left])))


def joining(draw: Any, program: Program) -> bool:
    place = pick(draw, program, lambda value: value.ndim > 0)
    if place is None:
        return False
    value = program.values[place]
    name = draw(st.sampled_from(["concat", "stack", "tile", "repeat", "concat"]))
    axis = an_axis(draw, value)
    if name == "concat":

        def fits(other: np.ndarray) -> bool:
            off = lambda x: tuple(np.delete(x.shape, axis)) if x.ndim == value.ndim else None  # noqa: E731
            return other.dtype == value.dtype and off(other) == off(value)

        other = pick(draw, program, fits)
        return program.call(lambda ns, x, y: ns.concat([x, y, x], axis=axis), place, other)
    if name == "stack":
        return program.call(lambda ns, x: ns.stack([x, x], axis=axis), place)
    if name == "tile":
        return program.call(lambda ns, x: ns.tile(x, (2, 1)), place)
    return program.call(lambda ns, x: ns.repeat(x, 3, axis=axis), place)


def reduction(draw: Any, program: Program) -> bool:
    place = pick(draw, program, exact_sum)
    if place is None:
        return False
    value = program.values[place]
    names = ["any", "all", "count_nonzero"]
    if value.dtype.kind in "iufc":
        names += ["sum"] * 4
    if value.dtype.kind in "iuf" and value.size:
        names += ["max", "min"] * 2
    name, axes, keepdims = draw(st.sampled_from(names)), some_axes(draw, value), draw(st.booleans())
    if not program.call(lambda ns, x: getattr(ns, name)(x, axis=axes, keepdims=keepdims), place):
        return False
    if (
        keepdims
        and program.values[-1].dtype == value.dtype
        and value.dtype.kind in "iufc"
        and draw(st.booleans())
    ):
        # A consumer over the same rows, as a softmax has one.
        program.call(lambda ns, x, total: x - total, place, len(program.values) - 1)
    return True


def search(draw: Any, program: Program) -> bool:
    place = pick(draw, program, lambda value: value.ndim > 0 and value.size > 0 and value.dtype.kind in "iuf")
    if place is None:
        return False
    axis, name = an_axis(draw, program.values[place]), draw(st.sampled_from(["argmax", "argmin"]))
    return program.call(lambda ns, x: getattr(ns, name)(x, axis=axis), place)


def scan(draw: Any, program: Program) -> bool:
    place = pick(
        draw, program, lambda value: value.ndim > 0 and exact_sum(value) and value.dtype.kind in "iufc"
    )
    if place is None:
        return False
    axis = an_axis(draw, program.values[place])
    return program.call(lambda ns, x: ns.cumulative_sum(x, axis=axis), place)


def gather(draw: Any, program: Program) -> bool:
    place = pick(draw, program, lambda value: value.ndim > 0 and value.size > 0)
    if place is None:
        return False
    value = program.values[place]
    axis = an_axis(draw, value)
    size = value.shape[axis]
    indices = np.array(draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=5)))
    name = draw(st.sampled_from(["take", "getitem", "take_along_axis"]))
    if name == "take":
        return program.call(lambda ns, x: ns.take(x, ns.asarray(indices), axis=axis), place)
    if name == "getitem":
        front = (slice(None, None, -1),) * (axis % value.ndim)
        return program.call(lambda ns, x: x[(*front, ns.asarray(indices))], place)
    shape = list(value.shape)
    shape[axis] = len(indices)
    along = np.resize(indices, shape)
    return program.call(lambda ns, x: ns.take_along_axis(x, ns.asarray(along), axis=axis), place)


def product(draw: Any, program: Program) -> bool:
    def fits(value: np.ndarray) -> bool:
        return value.ndim == 2 and value.dtype.kind in "iuf" and value.size <= 600

    place = pick(draw, program, fits)
    return place is not None and program.call(lambda ns, x: x @ ns.matrix_transpose(x), place)


KINDS = (
    unary,
    binary,
    binary,
    scalar,
    where,
    cast,
    movement,
    movement,
    movement,
    joining,
    reduction,
    reduction,
)
KINDS += (search, scan, gather, product)


@st.composite
def programs(draw: Any) -> Program:
    dtype = draw(st.sampled_from((dtypes.float64, dtypes.float32, dtypes.int64, *dtypes.ALL)))
    shape = draw(shapes())
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs = [small_integers(generator, shape, dtype) for _ in range(draw(st.integers(1, 2)))]
    inputs.append(small_integers(generator, shape[-1:], dtype))
    program = Program([draw(laid_out(one)) for one in inputs])
    for _ in range(draw(st.integers(2, 7))):
        draw(st.sampled_from(KINDS))(draw, program)
    return program


@st.composite
def shapes(draw: Any) -> tuple[int, ...]:
    if draw(st.integers(0, 15)) == 0:
        return draw(st.sampled_from([(), (0,), (3, 0), (0, 4), (1, 1)]))
    shape: list[int] = []
    for _ in range(draw(st.integers(1, 3))):
        most = MOST_ELEMENTS // 3 // math.prod(shape)
        shape.append(draw(st.sampled_from([size for size in SIZES if size <= most])))
    return tuple(shape)


def small_integers(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "c":
        return np.asarray(generator.integers(-4, 5, shape) + 1j * generator.integers(-4, 5, shape), dtype)
    low, high = {"b": (0, 2), "u": (0, 5)}.get(dtype.kind, (-4, 5))
    return np.asarray(generator.integers(low, high, shape), dtype)


@st.composite
def laid_out(draw: Any, array: np.ndarray) -> np.ndarray:
    """The same numbers in memory of another layout: kernels are of the layouts of what they read."""
    layout = draw(st.sampled_from(["C", "C", "F", "reversed", "gaps"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1])[::-1] if array.ndim else array
    if layout == "gaps" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array


def recorded(inputs: list[np.ndarray]) -> list[xp.Array]:
    return [xp.asarray(one, copy=False) for one in inputs]


def assert_equal(found: Any, expected: np.ndarray, what: str) -> None:
    found = np.asarray(found)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    np.testing.assert_array_equal(found, expected, err_msg=what)


@PROGRAMS
@given(programs(), st.data())
def test_programs_compute_what_numpy_computes(program: Program, data: st.DataObject) -> None:
    modes = ("always", "never", "auto")
    # Some results are held and asked for late, one may be computed on the way; the last is always wanted.
    count = len(program.values) - len(program.inputs)
    wanted = data.draw(st.sets(st.integers(0, max(0, count - 1)), max_size=3)) | {count - 1}
    early = data.draw(st.integers(-1, count - 1))
    for mode in modes:
        with xp.config(compile=mode):
            results = program.run(recorded(program.inputs))[len(program.inputs) :]
            if early >= 0:
                np.asarray(results[early])
            outputs = [(k, results[k]) for k in sorted(wanted) if 0 <= k < count]
            results.clear()
            xp.realize(*(output for _, output in outputs))
            for k, output in outputs:
                assert_equal(output, program.values[len(program.inputs) + k], f"{mode}, result {k}")


# -- every elementwise function, in every type -----------------------------------------------------

UNARY = [
    *(
        "abs",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "bitwise_invert",
        "ceil",
        "conj",
        "cos",
        "cosh",
    ),
    *("exp", "expm1", "floor", "imag", "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10"),
    *("logical_not", "negative", "positive", "real", "reciprocal", "round", "sign", "signbit", "sin", "sinh"),
    *("sqrt", "square", "tan", "tanh", "trunc"),
]
BINARY = [
    *(
        "add",
        "atan2",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
    ),
    *(
        "copysign",
        "divide",
        "equal",
        "floor_divide",
        "greater",
        "greater_equal",
        "hypot",
        "less",
        "less_equal",
    ),
    *("logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter"),
    *("not_equal", "pow", "remainder", "subtract"),
]
# Both sides are right to a few units in the last place (tests/test_transcendental.py holds each to one).
ULP = 4


def evaluated(mode: str, functions: list[Callable[..., Any]], *arrays: np.ndarray) -> list[np.ndarray]:
    """All functions of the arrays, in one schedule: several results share a kernel, and its compiling."""
    with xp.config(compile=mode):
        inputs = [xp.asarray(array) for array in arrays]
        results = [function(*inputs) for function in functions]
        xp.realize(*results)
        return [np.asarray(result) for result in results]


def assert_agree(names: list[str], *arrays: np.ndarray) -> None:
    functions = [getattr(xp, name) for name in names]
    compiled, interpreted = (evaluated(mode, functions, *arrays) for mode in ("always", "never"))
    for name, mine, meant in zip(names, compiled, interpreted):
        assert (mine.dtype, mine.shape) == (meant.dtype, meant.shape), name
        if mine.dtype.kind == "c":
            size = np.abs(meant)
            np.testing.assert_array_less(
                np.abs(mine - meant), 64 * np.finfo(mine.dtype).eps * (size + 1e-30), name
            )
        elif mine.dtype.kind == "f":
            limits = np.finfo(mine.dtype)
            # Where the sum cancels NumPy's logaddexp is off in its last digits.
            near = limits.eps if name == "logaddexp" else limits.smallest_subnormal
            np.testing.assert_allclose(mine, meant, rtol=ULP * limits.eps, atol=4 * near, err_msg=name)
            zeros = meant == 0
            np.testing.assert_array_equal(np.signbit(mine[zeros]), np.signbit(meant[zeros]), err_msg=name)
        else:
            np.testing.assert_array_equal(mine, meant, err_msg=name)


def accepted(names: list[str], *arrays: np.ndarray) -> list[str]:
    """The functions that take this type."""
    inputs = [xp.asarray(array) for array in arrays]
    taken = []
    for name in names:
        try:
            getattr(xp, name)(*inputs)
        except TypeError:
            continue
        taken.append(name)
    return taken


# Of the integers one of each width: the programs above mix all of them.
WIDTHS = (
    dtypes.bool_,
    dtypes.int8,
    dtypes.uint16,
    dtypes.int32,
    dtypes.uint64,
    dtypes.int64,
    *dtypes.FLOATING,
)


@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_elementwise_functions_compiled(dtype: np.dtype) -> None:
    if dtype.kind == "c":
        # Special values of complex functions are tests/test_complex_numbers.py's.
        generator = np.random.default_rng(1)
        x, y = (
            (generator.normal(0, 2, 24) + 1j * generator.normal(0, 2, 24)).astype(dtype) for _ in range(2)
        )
    else:
        x = samples(dtype)
        y = x.copy()
    assert_agree(accepted(UNARY, x), x)
    grid = [np.repeat(x, y.size), np.tile(y, x.size)]
    assert_agree(accepted(BINARY, *grid), *grid)


@pytest.mark.parametrize("source", dtypes.ALL, ids=str)
def test_casts_compiled(source: np.dtype) -> None:
    x = samples(source)
    targets = [t for t in dtypes.ALL if t is not source and not (source.kind == "c" and t.kind not in "cb")]
    functions = [lambda x, t=t: xp.astype(x, t) for t in targets]
    for mine, meant in zip(*(evaluated(mode, functions, x) for mode in ("always", "never"))):
        np.testing.assert_array_equal(mine, meant)


# -- what rounds -----------------------------------------------------------------------------------


def softmax(ns: Any, x: Any, axis: int) -> Any:
    weights = ns.exp(x - ns.max(x, axis=axis, keepdims=True))
    return weights / ns.sum(weights, axis=axis, keepdims=True)


def layer_norm(ns: Any, x: Any, axis: int) -> Any:
    centred = x - ns.mean(x, axis=axis, keepdims=True)
    return centred / ns.sqrt(ns.mean(centred * centred, axis=axis, keepdims=True) + 1e-5)


def standard_deviation(ns: Any, x: Any, axis: int) -> Any:
    return ns.std(x, axis=axis)


def log_sum_exp(ns: Any, x: Any, axis: int) -> Any:
    largest = ns.max(x, axis=axis, keepdims=True)
    return largest + ns.log(ns.sum(ns.exp(x - largest), axis=axis, keepdims=True))


def mean_of_a_chain(ns: Any, x: Any, axis: int) -> Any:
    return ns.mean(ns.tanh(x) * x + ns.sin(x) / (ns.abs(x) + 1), axis=axis)


def entropy(ns: Any, x: Any, axis: int) -> Any:
    share = ns.abs(x) / ns.sum(ns.abs(x), axis=axis, keepdims=True)
    return -ns.sum(share * ns.log(share + 1e-3), axis=axis)


def stencil(ns: Any, x: Any, axis: int) -> Any:
    x = ns.moveaxis(x, axis, 0)
    return (x[2:] - 2 * x[1:-1] + x[:-2]) / 4 + ns.roll(x, 1, axis=0)[1:-1]


def whitened(ns: Any, x: Any, axis: int) -> Any:
    return (x - ns.mean(x)) / ns.std(x) + ns.max(ns.exp(-x * x), axis=axis, keepdims=True)


PATTERNS = (
    softmax, layer_norm, standard_deviation, log_sum_exp, mean_of_a_chain, entropy, stencil, whitened,
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
@pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
@settings(max_examples=6)
@given(shape=st.lists(st.sampled_from([3, 4, 17, 130, 1100]), min_size=1, max_size=3), data=st.data())
def test_patterns(
    pattern: Callable[..., Any], dtype: np.dtype, shape: list[int], data: st.DataObject
) -> None:
    while math.prod(shape) > 20_000:
        shape.remove(max(shape))
    axis = data.draw(st.integers(0, len(shape) - 1))
    exact = np.random.default_rng(7).normal(0, 2, shape).astype(dtype)
    expected = pattern(np, exact.astype(np.longdouble), axis)
    for array in (exact, np.asfortranarray(exact)):
        for mode in ("always", "never"):
            with xp.config(compile=mode):
                found = np.asarray(pattern(xp, xp.asarray(array), axis))
            assert found.dtype == dtype
            tolerance = 64 * np.finfo(dtype).eps
            np.testing.assert_allclose(
                found, expected.astype(dtype), rtol=tolerance, atol=tolerance, err_msg=mode
            )


# -- large reductions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(300_001,), (3, 100_003), (100_003, 3), (2, 5, 20_011), (20_011, 2, 5), (600, 601)]
)
def test_large_reductions(shape: tuple[int, ...]) -> None:
    """Those with too few results to share out run in chunks."""
    generator = np.random.default_rng(3)
    integers = generator.integers(-4, 5, shape)
    for axis in [None, *range(len(shape)), tuple(range(len(shape)))[1:]]:
        for array in (integers.astype(np.float32), integers.astype(np.int8), integers + 1j * integers):
            with xp.config(compile="always"):
                x = xp.asarray(array)
                results = [xp.sum(x, axis=axis), xp.count_nonzero(x, axis=axis), xp.any(x, axis=axis)]
                expected = [
                    np.sum(array, axis=axis),
                    np.count_nonzero(array, axis=axis),
                    np.any(array, axis=axis),
                ]
                if array.dtype.kind != "c":
                    results += [
                        xp.max(x, axis=axis),
                        xp.argmin(x, axis=axis) if np.ndim(axis) == 0 else xp.min(x),
                    ]
                    expected += [
                        np.max(array, axis=axis),
                        array.argmin(axis) if np.ndim(axis) == 0 else array.min(),
                    ]
                xp.realize(*results)
            for found, meant in zip(results, expected):
                np.testing.assert_array_equal(np.asarray(found), meant)


@pytest.mark.parametrize("dtype", [*dtypes.FLOATING, dtypes.int64, dtypes.uint8], ids=str)
def test_large_sums_stay_accurate(dtype: np.dtype) -> None:
    array = (np.random.default_rng(5).random((400, 1000)) * 200).astype(dtype)
    meant = array.astype(np.clongdouble if dtype.kind == "c" else np.longdouble)
    for axis in (None, 0, 1):
        with xp.config(compile="always"):
            found = np.asarray(xp.sum(xp.asarray(array), axis=axis))
        expected = np.sum(meant, axis=axis)
        # Relative to the sum of magnitudes.
        eps = 4 * np.finfo(dtype).eps if dtype.kind in "fc" else 0
        assert np.all(np.abs(found - expected) <= eps * np.sum(np.abs(meant), axis=axis))


# -- graphs as the recording layer makes them ------------------------------------------------------


def computed(nodes: list[UOp], mode: str) -> list[np.ndarray]:
    with xp.config(compile=mode):
        return [buffer.arg.array.copy() for buffer in realize_nodes(nodes)]


def leaf(array: np.ndarray) -> UOp:
    return UOp.new(Ops.BUFFER, (), Buffer(array))


@st.composite
def movements(draw: Any, node: UOp) -> UOp:
    """A chain of movement operations, with reshapes that need ranges split or can't be had without a copy."""
    for _ in range(draw(st.integers(2, 6))):
        shape = node.shape
        kind = draw(st.sampled_from(["reshape", "reshape", "permute", "slice", "expand"]))
        if kind == "reshape":
            node = record.reshape(node, draw(reshapes(math.prod(shape))))
        elif kind == "permute":
            node = record.permute(node, draw(st.permutations(range(len(shape)))))
        elif kind == "slice":
            parts = []
            for size in shape:
                start, stop, step = draw(st.slices(size)).indices(size)
                count = max(1, len(range(start, stop, step)))
                parts.append((start, step, count) if len(range(start, stop, step)) else (0, 1, 1))
            node = record.slice_axes(node, parts)
        elif math.prod(shape) <= 2000:
            node = record.expand(node, (3, *shape))
    return node


@FEW
@given(st.lists(st.sampled_from([2, 3, 4, 6, 8, 12, 30]), min_size=1, max_size=3), st.data())
def test_movement_chains(shape: list[int], data: st.DataObject) -> None:
    node = leaf(np.arange(float(math.prod(shape))).reshape(shape))
    doubled = UOp.new(Ops.ADD, (node, node)) if data.draw(st.booleans()) else node
    moved = data.draw(movements(doubled))
    place = record.iota(moved.shape, len(moved.shape) - 1) if moved.shape else record.iota((1,), 0)
    outputs = [UOp.new(Ops.NEG, (moved,)), record.cast(place, dtypes.float64) * moved]
    if moved.shape:
        axes = (data.draw(st.integers(0, len(moved.shape) - 1)),)
        outputs.append(record.reduce(moved, Ops.ADD, axes))
        back = record.reduce(moved, Ops.MAXIMUM, axes, keepdims=True)
        outputs.append(moved - back)
    for one in outputs:
        for mine, meant in zip(computed([one], "always"), interpret(one)):
            np.testing.assert_array_equal(mine, meant)
    fresh = [UOp.new(Ops.NEG, (one,)) for one in outputs]
    for one, mine in zip(fresh, computed(fresh, "always")):
        np.testing.assert_array_equal(mine, interpret(one)[0])


def interpret(node: UOp) -> list[np.ndarray]:
    """Every operation by the interpreter alone, without schedules or plans."""
    values: dict[UOp, Any] = {}
    for one in toposort(node):
        if one.op in (Ops.BUFFER, Ops.CONST, Ops.SCALAR):
            values[one] = leaf_value(one)
        else:
            values[one] = operation(one)(*(values[s] for s in one.src))
    return [np.asarray(values[node])]


@FEW
@given(st.data())
def test_gathers_of_several_axes(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    node = leaf(np.arange(math.prod(shape)).reshape(shape))
    if data.draw(st.booleans()):
        node = node * node
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1, max_size=2))))
    width = data.draw(st.integers(0, 2))
    indices = []
    for axis in axes:
        extents = [data.draw(st.sampled_from([1, 4])) for _ in range(width)]
        drawn = np.random.default_rng(data.draw(st.integers(0, 99))).integers(
            -shape[axis], shape[axis], extents
        )
        indices.append(leaf(np.asarray(drawn).astype(data.draw(st.sampled_from([np.int8, np.int64])))))
    position = data.draw(st.integers(0, len(shape) - len(axes)))
    gathered = record.gather(node, indices, axes, position, "test")
    outputs = [gathered + gathered]
    if gathered.shape:
        outputs.append(record.reduce(gathered, Ops.ADD, (0,)))
    for one, mine in zip(outputs, computed(outputs, "always")):
        np.testing.assert_array_equal(mine, interpret(one)[0])


def test_results_of_every_kind_from_one_schedule() -> None:
    """Rows' reductions, what consumes them, and results stored inside the loops that reduce."""
    array = np.random.default_rng(2).integers(-9, 10, (130, 70)).astype(np.float64)
    for made in (array, np.asfortranarray(array)):
        x = leaf(made)
        square = x * x
        largest = record.reduce(square, Ops.MAXIMUM, (1,), keepdims=True)
        total = record.reduce(square, Ops.ADD, (1,))
        less = square - largest
        again = record.reduce(less, Ops.MINIMUM, (1,))
        columns = record.reduce(less, Ops.ADD, (0,))
        everything = record.reduce(less, Ops.ADD, (0, 1))
        nodes = [square, less, total, again, columns, everything, record.permute(less, (1, 0))]
        for one, mine in zip(nodes, computed(nodes, "always")):
            np.testing.assert_array_equal(mine, interpret(one)[0])


def test_a_result_beside_a_reshape_of_what_needs_it() -> None:
    array = np.array([3.0, 4.0])
    x = leaf(array)
    once = UOp.new(Ops.NEG, (x,))
    nodes = [once, record.reshape(UOp.new(Ops.NEG, (once,)), (1, 2)), UOp.new(Ops.ABS, (once,))]
    for found, expected in zip(computed(nodes, "always"), (-array, array[None], array)):
        np.testing.assert_array_equal(found, expected)


def test_results_that_are_views_of_one_another() -> None:
    """A stored view is read where it lies: reversed, repeated or with gaps."""
    array = np.array([1.0, 2.0, 3.0, 4.0])
    for view in (
        lambda x: xp.flip(x),
        lambda x: xp.broadcast_to(x, (3, 4)),
        lambda x: x[::2],
        lambda x: x[1:, None],
    ):
        with xp.config(compile="always"):
            seen = view(xp.asarray(array))
            doubled = seen * 2
            xp.realize(seen, doubled)
        np.testing.assert_array_equal(np.asarray(doubled), 2 * np.asarray(seen))


def test_a_view_of_what_is_stored_only_later() -> None:
    """A result that turns out to be a view of another's memory, after its readers have been planned."""
    array = np.array([3.0])
    with xp.config(compile="always"):
        tiled = xp.tile(xp.sum(xp.asarray(array) * 2, keepdims=True), (2, 1))
        negative = -tiled
        xp.realize(tiled, negative)
    np.testing.assert_array_equal(np.asarray(negative), [[-6.0], [-6.0]])


@pytest.mark.parametrize("axis", [0, 1])
def test_scans_beside_reductions_and_other_scans(axis: int) -> None:
    array = np.random.default_rng(0).integers(-9, 10, (6, 8)).astype(float)

    def results(ns: Any, x: Any) -> list[Any]:
        running = ns.cumulative_sum(x, axis=axis)
        other = ns.cumulative_sum(x * x, axis=1 - axis)
        less = ns.cumulative_sum(x - ns.max(x, axis=1, keepdims=True), axis=axis)
        twice = ns.cumulative_sum(running, axis=1 - axis)
        return [
            running,
            other,
            running * 2 + other,
            less,
            twice,
            ns.sum(running, axis=1),
            ns.argmax(running, axis=0),
        ]

    with xp.config(compile="always"):
        found = results(xp, xp.asarray(array))
        xp.realize(*found)
    for mine, meant in zip(found, results(np, array)):
        np.testing.assert_array_equal(np.asarray(mine), meant)
    one = xp.cumulative_sum(xp.asarray(array[:1]), axis=0)
    np.testing.assert_array_equal(np.asarray(one), array[:1])


def test_results_without_elements_inside_a_schedule() -> None:
    x = xp.asarray(np.ones((3, 0)))
    with xp.config(compile="always"):
        total = xp.sum(xp.reshape(x, (1, 0, 2))[:, ::-1], axis=1, keepdims=True)
        np.testing.assert_array_equal(np.asarray(total), np.zeros((1, 1, 2)))
