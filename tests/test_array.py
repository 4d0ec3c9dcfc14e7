"""The Array: operators, conversions, laziness, and what keeps what alive."""

import gc
import inspect
import operator
import weakref

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, check, elements, samples

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import MOST_PENDING, from_numpy, node_of
from toonygrad.uop.node import live_nodes

ARITHMETIC = ("add", "sub", "mul")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
BITWISE = ("and_", "or_", "xor")


def computed():
    counters = xp.counters()
    return counters.interpreted, counters.kernels_launched, counters.bytes_allocated, counters.plans_made


# -- operators ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISONS, "truediv", "mod"])
@pytest.mark.parametrize("dtype", dtypes.REAL_NUMERIC, ids=str)
def test_binary_operator(name, dtype):
    operate = getattr(operator, name)
    x, y = samples(dtype, finite=True), samples(dtype, finite=True)[::-1].copy()
    y[y == 0] = 1
    expected = operate(x, y)
    if name == "truediv" and dtype.kind in "iu":
        expected = x.astype(np.float64) / y.astype(np.float64)
    check(operate(xp.asarray(x), xp.asarray(y)), expected)
    check(operate(xp.asarray(x), 3), operate(xp.asarray(x), xp.asarray(np.array(3, dtype))))
    check(operate(3, xp.asarray(y)), operate(xp.asarray(np.array(3, dtype)), xp.asarray(y)))


@pytest.mark.parametrize("name", [*BITWISE, "lshift", "rshift"])
@pytest.mark.parametrize("dtype", (dtypes.bool_, *dtypes.INTEGERS), ids=str)
def test_bitwise_operator(name, dtype):
    if dtype == dtypes.bool_ and name in ("lshift", "rshift"):
        with pytest.raises(TypeError, match=f"__{name}__: integral"):
            getattr(operator, name)(xp.asarray([True]), xp.asarray([True]))
        return
    operate = getattr(operator, name)
    x, y = samples(dtype), samples(dtype)[::-1].copy()
    if name in ("lshift", "rshift"):
        y = (np.abs(y.astype(np.int64)) % 7).astype(dtype)
    check(operate(xp.asarray(x), xp.asarray(y)), operate(x, y))
    scalar = True if dtype == dtypes.bool_ else 3
    check(operate(xp.asarray(x), scalar), operate(x, dtype.type(scalar)))
    if name in BITWISE:
        check(operate(scalar, xp.asarray(x)), operate(dtype.type(scalar), x))


@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_complex_operators(dtype):
    x, y = samples(dtype, finite=True), samples(dtype, finite=True)[::-1].copy()
    y[y == 0] = 1
    for name in (*ARITHMETIC, "truediv", "eq", "ne"):
        operate = getattr(operator, name)
        check(operate(xp.asarray(x), xp.asarray(y)), operate(x, y), 4)
        check(operate(xp.asarray(x), 2 + 1j), operate(x, dtype.type(2 + 1j)), 4)


@pytest.mark.parametrize("name", ["neg", "pos", "abs", "invert"])
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_unary_operator(name, dtype):
    operate = getattr(operator, name)
    allowed = dtype.kind in "biu" if name == "invert" else dtype.kind != "b"
    x = samples(dtype)
    if not allowed:
        with pytest.raises(TypeError, match=f"__{name}__.*{dtype}"):
            operate(xp.asarray(x))
        return
    check(operate(xp.asarray(x)), operate(x), 2)


@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=4), st.data())
def test_matmul_operator(shapes, data):
    a, b = (
        data.draw(hnp.arrays(np.float64, shape, elements=elements(dtypes.float64)))
        for shape in shapes.input_shapes
    )
    np.testing.assert_allclose(np.asarray(xp.asarray(a) @ xp.asarray(b)), a @ b, atol=1e-6)
    check(
        xp.asarray(a.astype(np.int64)) @ xp.asarray(b.astype(np.int64)),
        a.astype(np.int64) @ b.astype(np.int64),
    )


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift"]
)
def test_in_place_operators_keep_the_handle_and_the_type(name):
    integers = name in ("and", "or", "xor", "lshift", "rshift")
    x = xp.asarray([5, 6]) if integers else xp.asarray([5.0, 6.0])
    before, handle, expected = x + 0, x, getattr(operator, name if name not in ("and", "or") else f"{name}_")
    expected = expected(np.asarray(x), 2)
    x = getattr(operator, f"i{name}")(x, 2)
    assert x is handle
    check(x, expected)
    check(before, np.array([5, 6]) if integers else np.array([5.0, 6.0]))


def test_in_place_matmul():
    x = handle = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
    x @= xp.asarray([[0.0, 1.0], [1.0, 0.0]])
    assert x is handle
    check(x, np.array([[2.0, 1.0], [4.0, 3.0]]))


def test_in_place_operators_narrow_within_a_kind():
    """As NumPy's "same kind": SciPy adds int64 counts to int32 ones, and multiplies by numpy.sqrt(2)."""
    x = xp.asarray([1, 2], dtype=xp.float32)
    row = x[:1]
    x *= np.float64(2.5)
    check(x, np.array([2.5, 5], np.float32))
    row += xp.asarray([0.5])
    check(x, np.array([3, 5], np.float32))
    counts = xp.asarray([1, 2], dtype=xp.int32)
    counts += xp.asarray([10, 20])
    check(counts, np.array([11, 22], np.int32))
    for array, other in ((counts, 1.5), (counts, x), (x, 1j), (xp.asarray([1], dtype=xp.uint8), counts)):
        with pytest.raises(TypeError, match=r"__iadd__: .*can't be kept"):
            array += other


def test_numpy_arrays_and_scalars_beside_arrays():
    x = xp.asarray([1.0, 2.0])
    other = np.array([10.0, 20.0])
    for result in (x + other, other + x, x + np.float64(10), np.float64(10) + x, np.array(10.0) + x):
        assert type(result) is xp.Array
    check(other - x, np.array([9.0, 18.0]))
    check(np.float32(3) * xp.asarray(np.array([2], np.float32)), np.array([6], np.float32))
    check(np.eye(2) @ xp.asarray([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    check(xp.asarray([[1.0, 2.0], [3.0, 4.0]]) @ np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]))
    total = x + other
    other[:] = 0  # what was recorded keeps what it saw
    check(total, np.array([11.0, 22.0]))


def test_operators_leave_other_objects_to_themselves():
    class Other:
        def __radd__(self, other):
            return "reflected"

    x = xp.asarray([1.0])
    assert x + Other() == "reflected"
    assert (x == "text") is False
    assert (x != None) is True  # noqa: E711
    for operate in (operator.add, operator.matmul, operator.lt):
        with pytest.raises(TypeError):
            operate(x, "text")


# -- attributes and conversion --------------------------------------------------------------------


@given(arrays())
def test_attributes(x):
    y = xp.asarray(x)
    assert (y.dtype, y.shape, y.ndim, y.size, y.device) == (x.dtype, x.shape, x.ndim, x.size, "cpu")
    assert y.__array_namespace__() is xp
    assert y.__array_namespace__(api_version="2025.12") is xp
    assert y.to_device("cpu") is y
    if x.ndim == 2:
        check(y.T, x.T)
    if x.ndim >= 2:
        check(y.mT, np.swapaxes(x, -1, -2))
    if x.ndim:
        assert len(y) == len(x)
        for mine, theirs in zip(y, x):
            check(mine, theirs)


def test_python_values():
    assert float(xp.asarray(2.5)) == 2.5
    assert int(xp.asarray(2.9)) == 2
    assert complex(xp.asarray(1 + 2j)) == 1 + 2j
    assert bool(xp.asarray(0)) is False
    assert bool(xp.asarray(0.5)) is True
    assert operator.index(xp.asarray(7)) == 7
    assert [10, 20, 30][xp.asarray(1)] == 20
    assert type(float(xp.asarray(np.float32(1)))) is float
    for convert in (float, int, complex):
        with pytest.raises(TypeError, match="0-d"):
            convert(xp.asarray([1.0]))
    for convert in (float, int):
        with pytest.raises(TypeError, match="complex128"):
            convert(xp.asarray(1j))
    with pytest.raises(TypeError, match="float64"):
        operator.index(xp.asarray(1.0))
    with pytest.raises(TypeError, match="0-d"):
        len(xp.asarray(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(xp.asarray(1.0))
    with pytest.raises(TypeError, match="unhashable"):
        hash(xp.asarray(1.0))
    with pytest.raises(TypeError, match="asarray"):
        xp.Array()


def test_display():
    x = xp.asarray([1.0, 2.5])
    assert repr(x) == "Array([1. , 2.5], dtype=float64)"
    assert str(x) == "[1.  2.5]"
    assert repr(xp.asarray([[1, 2], [3, 4]])) == "Array([[1, 2],\n       [3, 4]], dtype=int64)"


def test_numpy_sees_the_elements_and_cant_change_them():
    x = xp.asarray([1.0, 2.0])
    seen = np.asarray(x)
    assert np.asarray(x).ctypes.data == seen.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 3
    copy = np.array(x)
    copy[0] = 3
    check(x, np.array([1.0, 2.0]))
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(x, dtype=np.float32, copy=False)
    np.testing.assert_array_equal(np.sqrt(x), np.sqrt([1.0, 2.0]))


def test_dlpack_shares_memory():
    x = xp.arange(5.0) * 2
    shared = np.from_dlpack(x)
    assert shared.ctypes.data == np.asarray(x).ctypes.data
    assert x.__dlpack_device__() == (1, 0)
    y = np.arange(3)
    check(xp.from_dlpack(y), y)
    assert np.asarray(xp.from_dlpack(y)).ctypes.data == y.ctypes.data
    assert np.asarray(xp.from_dlpack(y, copy=True)).ctypes.data != y.ctypes.data
    frozen = np.arange(3)
    frozen.flags.writeable = False
    z = xp.asarray(frozen, copy=False)
    assert np.from_dlpack(z).ctypes.data == frozen.ctypes.data
    assert z.__dlpack__() is not None  # to a consumer that can't be told that it must not write: a copy
    with pytest.raises(BufferError):
        z.__dlpack__(copy=False)
    ones = xp.ones(3)
    assert ones.__dlpack__(copy=False) is not None
    shared = np.from_dlpack(ones)
    assert shared.strides == (8,) and shared.ctypes.data == np.asarray(ones).ctypes.data
    check(xp.ones(3), np.ones(3))


def test_methods_have_the_standards_signatures():
    for name in ("__add__", "__radd__", "__getitem__", "__matmul__", "__eq__", "__lshift__", "__iadd__"):
        parameters = list(inspect.signature(getattr(xp.Array, name)).parameters.values())
        assert [each.kind for each in parameters] == [inspect.Parameter.POSITIONAL_ONLY] * 2
        assert getattr(xp.Array, name).__name__ == name


# -- laziness ------------------------------------------------------------------------------------


def test_recording_computes_nothing():
    x = xp.asarray(np.arange(12.0).reshape(3, 4))
    y = xp.asarray(np.arange(4))
    before = computed()
    z = xp.exp(x) * 2 + y / 3 - x.T.mT
    z = xp.where(z > 0, z, -z)
    z = xp.sum(z, axis=1, keepdims=True) / xp.mean(x) + xp.var(x, axis=0)
    z = xp.concat([z, xp.zeros((2, 4)), xp.ones((1, 4))])
    z = xp.take(xp.flip(z), xp.asarray([0, 1]), axis=1)[None, ..., ::-1]
    z = xp.cumulative_sum(xp.reshape(z, (-1,)))
    z = xp.argmax(xp.tril(xp.eye(4)) @ xp.full((4, 4), 3.5))
    z += 1
    assert (z.shape, z.dtype) == ((), dtypes.int64)
    assert computed() == before
    int(z)
    assert computed() != before


def test_asking_twice_computes_once():
    x = xp.exp(xp.arange(10.0))
    np.asarray(x)
    before = computed()
    np.asarray(x)
    str(x)
    assert computed() == before


def test_realize_computes_several_at_once():
    x = xp.arange(10.0)
    a, b = x + 1, x * 2
    before = xp.counters()
    xp.realize(a, b)
    assert (xp.counters() - before).plans_made + (xp.counters() - before).plans_reused == 1
    before = computed()
    check(a, np.arange(10.0) + 1)
    check(b, np.arange(10.0) * 2)
    assert computed() == before
    assert a.block_until_ready() is a


def test_equal_expressions_are_one_node():
    x, y = xp.asarray([1.0]), xp.asarray([2.0])
    assert node_of(x + y) is node_of(x + y)
    assert node_of(x * 2.0) is node_of(x * 2.0)
    assert node_of(x * 0.0) is not node_of(x * -0.0)
    assert node_of(xp.sum(x * 2, axis=0)) is node_of(xp.sum(x * 2, axis=0))
    assert node_of(xp.zeros(3)) is node_of(xp.zeros((3,)))
    assert node_of(x + y) is not node_of(y + x)


# -- what keeps what alive ------------------------------------------------------------------------


def count_nodes():
    gc.collect()
    return sum(1 for _ in live_nodes())


def run_twice(program):
    """How many nodes the second run leaves behind; a plan, kept from the first, has nodes of its own."""
    program()
    before = count_nodes()
    program()
    return count_nodes() - before


def test_nodes_die_with_the_last_handle():
    x = xp.asarray([1.0, 2.0])

    def program():
        before = count_nodes()
        y = xp.sin(x) + xp.cos(x) * 3.0
        z = y - 1.0
        with_all = count_nodes()
        assert with_all > before + 4
        del y
        assert count_nodes() == with_all  # z still needs it
        np.asarray(z)

    assert run_twice(program) == 0


def test_computing_frees_what_led_to_it():
    x = xp.asarray([1.0, 2.0])

    def program():
        before = count_nodes()
        y = x
        for _ in range(MOST_PENDING - 1):
            y = y * 1.5
        assert count_nodes() >= before + MOST_PENDING - 1
        np.asarray(y)
        return count_nodes() - before

    program()
    assert program() == 1  # its memory


def test_a_pending_graph_keeps_its_memory():
    data = np.arange(4.0)
    x = from_numpy(data)
    memory = weakref.ref(data)
    y = x + 1
    del x, data
    gc.collect()
    assert memory() is not None
    check(y, np.arange(4.0) + 1)
    del y
    gc.collect()
    assert memory() is None


def test_a_chain_of_100_000_operations():
    x = xp.asarray([1.0])
    for _ in range(100_000):
        x = x + 1.0
    check(x, np.array([100_001.0]))


def test_pending_graphs_are_bounded():
    one = xp.asarray([1.0])

    def program(step):
        before = count_nodes()
        x = one
        for _ in range(5 * MOST_PENDING):
            x = step(x)
        return count_nodes() - before

    for step in (lambda x: x + one, lambda x: one + x, lambda x: 1.5 + x, lambda x: xp.add(one, x), xp.flip):
        program(step)
        assert program(step) <= MOST_PENDING + 3


def test_a_tree_of_50_000_leaves():
    level = [xp.asarray([float(k)]) for k in range(50_000)]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2])
        level = [a + b for a, b in pairs] + level[len(level) // 2 * 2 :]
    check(level[0], np.array([sum(range(50_000))], np.float64))


def test_one_array_used_ten_thousand_times_is_one_node():
    x = xp.asarray([2.0])
    total = x
    for _ in range(200):
        total = total + total * x
    assert np.isfinite(float(total[0]))
