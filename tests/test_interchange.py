"""Arrays among Python's, NumPy's and other libraries' objects: ufuncs, DLPack, copies, pickles, formats.

What NumPy does with its own arrays is what is expected, unless the standard or a data type says otherwise.
"""

import copy
import gc
import inspect
import operator
import pickle
from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, axes, check, samples

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.interchange import _CALLED, _REDUCED

F4, F8, I8 = dtypes.float32, dtypes.float64, dtypes.int64
NUMBERS = np.array([0.25, 0.5, 0.75])
OTHERS = np.array([0.75, 0.5, 0.25])


def counted():
    counters = xp.counters()
    return counters.interpreted, counters.kernels_launched, counters.plans_made + counters.plans_reused


def layouts():
    """Arrays whose elements lie in memory in each way: pending, reversed, every other one, one for all."""
    x = xp.asarray(np.arange(24.0).reshape(4, 6))
    return {
        "memory": x,
        "pending": x * 2 + 1,
        "transposed": x.T,
        "strided": x[::2, 1::2],
        "reversed": x[::-1],
        "repeated": xp.broadcast_to(x[0], (3, 6)),
        "constant": xp.ones((2, 3)),
        "0-d": x[1, 2],
        "empty": x[:0],
        "int8": xp.asarray([1, 2, 3], dtype=xp.int8),
        "bool": x > 3,
        "complex64": xp.asarray([1j, 2], dtype=xp.complex64),
    }


LAYOUTS = layouts()
each_layout = pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)


# -- ufuncs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", _CALLED, ids=lambda ufunc: ufunc.__name__)
def test_a_ufunc_is_the_standards_function(ufunc):
    integers = ufunc.__name__.startswith(("bitwise", "left", "right", "invert"))
    given = [np.array([1, 2, 3]), np.array([3, 1, 2])] if integers else [NUMBERS, OTHERS]
    if ufunc is np.arccosh:
        given = [1 + NUMBERS]
    given = given[: ufunc.nin]
    expected = np.asarray(ufunc(*given))
    function = getattr(xp, _CALLED[ufunc])
    mine = [xp.asarray(each) for each in given]
    before = counted()
    found = ufunc(*mine)
    assert counted() == before  # recorded, not computed
    np.testing.assert_array_equal(np.asarray(found), np.asarray(function(*mine)))
    check(found, expected, 4)
    if ufunc.nin == 2:
        check(ufunc(given[0], mine[1]), expected, 4)
        check(ufunc(mine[0], given[1]), expected, 4)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "eq", "ne"])
def test_operators_with_numpy_on_either_side(name):
    operate = getattr(operator, name)
    x, y = xp.asarray(NUMBERS), xp.asarray(OTHERS)
    for one in (OTHERS[0], np.float64(2), np.array(2.0), OTHERS, OTHERS[:1], OTHERS[::-1]):
        before = counted()
        left, right = operate(one, y), operate(x, one)
        assert counted() == before
        check(left, operate(one, OTHERS), 4)
        check(right, operate(NUMBERS, one), 4)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
@pytest.mark.parametrize("other", dtypes.ALL, ids=str)
def test_numpys_scalars_count_with_their_data_types(dtype, other):
    """In either order, and whoever is asked: numpy.float64 is a float to Python, and no exception here."""
    x, theirs = xp.ones(3, dtype=dtype), np.ones(3, dtype)
    for value in (other.type(1), np.array(1, other), np.ones(1, other)):
        for expected, operations in (
            (np.equal, (np.equal, operator.eq, xp.equal)),
            (np.less_equal, (np.less_equal, operator.le, xp.less_equal)),
            (np.multiply, (np.multiply, operator.mul, xp.multiply)),
        ):
            if expected is not np.equal and {dtype.kind, other.kind} & {"b", "c"}:
                continue
            for operate in operations if isinstance(value, np.generic) else operations[:2]:
                for operands in ((x, value), (value, x)):
                    if (dtype, other) in dtypes.PROMOTION:
                        check(operate(*operands), expected(theirs, value))
                    else:
                        with pytest.raises(TypeError, match="common data type"):
                            operate(*operands)


def test_pythons_scalars_take_the_arrays_data_type():
    x = xp.asarray(NUMBERS, dtype=F4)
    for found in (np.multiply(2.0, x), np.multiply(x, 2), np.add(x, True + 1)):
        assert found.dtype == F4
    check(np.power(2.0, x), np.power(np.float32(2), NUMBERS.astype(F4)), 4)


def test_ufuncs_keep_what_they_saw():
    data = NUMBERS.copy()
    total = data + xp.asarray(OTHERS)
    data[:] = 0
    check(total, NUMBERS + OTHERS)


def test_matmul_from_numpy():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    for found in (a @ xp.asarray(b), xp.asarray(a) @ b, np.matmul(a, xp.asarray(b))):
        check(found, a @ b)
    check(np.vecdot(a, xp.asarray(a)), np.vecdot(a, a))


# -- out= ------------------------------------------------------------------------------------------


def test_in_place_into_numpy():
    data = handle = NUMBERS.copy()
    data += xp.asarray(OTHERS)
    assert data is handle and type(data) is np.ndarray
    np.testing.assert_array_equal(data, NUMBERS + OTHERS)
    data *= xp.asarray(2, dtype=F4)
    np.testing.assert_array_equal(handle, 2 * (NUMBERS + OTHERS))


def test_in_place_matmul_into_numpy():
    x = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
    matrix, vector = np.eye(2), np.array([1.0, 2.0])
    matrix @= x
    np.testing.assert_array_equal(matrix, np.asarray(x))
    vector @= x
    np.testing.assert_array_equal(vector, [7.0, 10.0])
    with pytest.raises(ValueError, match=r"matmul: .*shape"):
        matrix @= x[0]
    with pytest.raises(ValueError, match=r"matmul: .*shape"):
        vector @= x[0]


def test_out_is_written_to_and_answered():
    x = xp.asarray(NUMBERS)
    out = np.zeros(3, F4)
    assert np.exp(x, out=out) is out  # float64 into float32: of one kind
    np.testing.assert_array_equal(out, np.exp(NUMBERS).astype(F4))
    total = np.zeros(())
    assert np.add.reduce(x, out=total) is total and total == 1.5
    assert np.sum(x, out=total) is total
    assert x.sum(0, None, total) is total
    assert np.add(NUMBERS, 1, out=None) is not None


def test_an_array_as_out():
    x, out = xp.asarray(NUMBERS), xp.zeros(3, dtype=F4)
    whole = out[:]
    assert np.add(x, 1, out=out) is out
    check(out, (NUMBERS + 1).astype(F4))
    check(whole, (NUMBERS + 1).astype(F4))
    assert np.add(NUMBERS, OTHERS, out=out) is out
    check(out, (NUMBERS + OTHERS).astype(F4))
    assert np.multiply(out, out, out=out) is out
    check(out, np.ones(3, F4))
    assert x.sum(out=out[0]).shape == ()
    check(out, np.array([1.5, 1, 1], F4))
    with pytest.raises(TypeError, match=r"add: .*float64.*int64"):
        np.add(x, 1, out=xp.zeros(3, dtype=I8))
    with pytest.raises(ValueError, match="shape"):
        np.add(x, 1, out=xp.zeros(2))


def test_out_that_cant_take_the_result():
    x = xp.asarray(NUMBERS)
    integers = np.arange(3)
    with pytest.raises(TypeError, match=r"add: .*float64.*int64"):
        integers += x
    np.testing.assert_array_equal(integers, np.arange(3))
    with pytest.raises(TypeError, match=r"sum: .*float64.*int64"):
        np.sum(x, out=np.zeros((), I8))
    with pytest.raises(TypeError, match=r"exp: .*complex128.*float64"):
        np.exp(x * 1j, out=np.zeros(3))
    with pytest.raises(ValueError, match=r"add: .*\(3,\).*\(2,\)"):
        np.add(x, 1, out=np.zeros(2))
    with pytest.raises(ValueError, match=r"add: .*read-only"):
        np.add(x, 1, out=np.asarray(x))


# -- reductions and what NumPy makes of them -------------------------------------------------------


@given(st.data())
def test_reductions_by_ufuncs(data):
    x = data.draw(arrays((dtypes.bool_, dtypes.int8, dtypes.uint32, dtypes.int64), min_side=1))
    y = xp.asarray(x)
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    for ufunc, name in _REDUCED.items():
        expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        check(ufunc.reduce(y, axis=axis, keepdims=keepdims), expected)
        if not (name == "all" and keepdims):
            check(getattr(np, name)(y, axis=axis, keepdims=keepdims), expected)


def test_reduce_takes_the_first_axis_unless_told():
    x = np.arange(6.0).reshape(2, 3)
    check(np.add.reduce(xp.asarray(x)), x.sum(axis=0))
    check(np.maximum.reduce(xp.asarray(x), 1), x.max(axis=1))
    check(np.add.reduce(xp.asarray(x), dtype=F4, axis=None), np.array(15, F4))
    check(np.sum(xp.asarray(x), dtype=F4), np.array(15, F4))


def test_numpys_other_functions_see_the_elements():
    """They go through `__array__`, and answer NumPy's arrays."""
    x = xp.asarray(NUMBERS) * 2
    for function in (np.mean, np.std, np.cumsum, np.sort, np.linalg.norm, np.round, np.argmax, np.copy):
        found = function(x)
        assert isinstance(found, (np.ndarray, np.generic))
        np.testing.assert_array_equal(found, function(NUMBERS * 2))
    np.testing.assert_array_equal(np.concatenate([x, x]), np.tile(NUMBERS * 2, 2))
    np.testing.assert_array_equal(np.array([x[0], x[1]]), NUMBERS[:2] * 2)
    np.testing.assert_array_equal(np.where(x > 1, x, 0), [0, 0, 1.5])
    assert np.allclose(x, NUMBERS * 2)
    assert (np.shape(x), np.ndim(x), np.size(x), np.result_type(x, np.int8)) == ((3,), 1, 3, F8)
    np.testing.assert_allclose(x, NUMBERS * 2)
    masked = np.ma.array(NUMBERS, mask=[True, False, False]) + x
    assert masked.tolist() == [None, 1.5, 2.25]


# -- ufuncs that can't be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: np.cbrt(x), "cbrt: the array API standard"),
        (lambda x: np.modf(x), "modf: the array API standard"),
        (lambda x: np.divmod(x, 2), "divmod: the array API standard"),
        (lambda x: divmod(NUMBERS, x), "divmod: the array API standard"),
        (lambda x: np.modf(x, np.zeros(3), np.zeros(3)), "modf: the array API standard"),
        (lambda x: np.add.accumulate(x), "add.accumulate: the array API standard"),
        (lambda x: np.add.outer(x, x), "add.outer: the array API standard"),
        (lambda x: np.add.at(x, x, 1), "add.at: the array API standard"),
        (lambda x: np.add.reduceat(x, NUMBERS), "add.reduceat: the array API standard"),
        (lambda x: np.subtract.reduce(x), "subtract.reduce: the array API standard"),
        (lambda x: np.frompyfunc(abs, 1, 1)(x), r"abs.*: the array API standard"),
        (lambda x: np.add(x, 1, where=NUMBERS > 0), "add: where="),
        (lambda x: np.add(x, 1, dtype=F4), "add: dtype="),
        (lambda x: np.add(x, 1, casting="unsafe"), "add: casting="),
        (lambda x: np.matmul(x, x, axes=[0, 0, 0]), "matmul: axes="),
        (lambda x: np.max(x, initial=3), "maximum.reduce: initial="),
        (lambda x: np.add.reduce(x, where=NUMBERS > 0), "add.reduce: where="),
        (lambda x: np.maximum.reduce(x, dtype=F4), "maximum.reduce: dtype="),
        (lambda x: np.logical_or.reduce(x, dtype=F4), "logical_or.reduce: dtype="),
        (lambda x: np.add(x, np.array(["a"])), "add: .*U1"),
        (lambda x: x + np.array(["a"]), "__add__: .*U1"),
        (lambda x: np.array([None]) == x, "equal: object"),
        (lambda x: np.add(x, [1, 2, 3]), "ufunc 'add'.*'list'"),
        (lambda x: np.add(x, "text"), "ufunc 'add'.*'str'"),
        (lambda x: np.add(x, None), "ufunc 'add'.*'NoneType'"),
        (lambda x: np.add(x, 1, out=[0]), "ufunc 'add'.*'list'"),
    ],
)
def test_type_errors_name_the_ufunc(call, words):
    with pytest.raises(TypeError, match=words):
        call(xp.asarray(NUMBERS))


def test_keywords_that_change_nothing():
    x = xp.asarray(NUMBERS)
    check(np.add(x, 1, where=True, dtype=None), NUMBERS + 1)
    check(np.add.reduce(x, where=True), NUMBERS.sum())


def test_errors_of_the_functions_reach_the_caller():
    x = xp.asarray(NUMBERS)
    with pytest.raises(ValueError, match=r"add: .*\(2,\).*\(3,\)|add: .*\(3,\).*\(2,\)"):
        np.ones(2) + x
    with pytest.raises(TypeError, match=r"bitwise_invert: .*float64"):
        np.invert(x)
    with pytest.raises(IndexError, match="sum: axis 1"):
        np.sum(x, axis=1)


def test_other_libraries_get_their_turn():
    class Quantity:
        def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
            return "theirs"

    class Subclass(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
            return "theirs"

    x = xp.asarray(NUMBERS)
    for other in (Quantity(), NUMBERS.view(Subclass)):
        assert np.add(x, other) == np.add(other, x) == np.cbrt(x, out=other) == "theirs"

    class Plain(np.ndarray):
        """Leaves ufuncs as they are."""

    check(np.add(x, NUMBERS.view(Plain)), NUMBERS + NUMBERS)


# -- DLPack ----------------------------------------------------------------------------------------


class Consumer:
    """Asks for a capsule as given, for numpy.from_dlpack, which would ask for more."""

    def __init__(self, x, **forced):
        self.x, self.forced = x, forced

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()

    def __dlpack__(self, **keywords):
        return self.x.__dlpack__(**{**keywords, **self.forced})


def address(array):
    return array.__array_interface__["data"][0]


@each_layout
@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("forbidden", [None, True])
def test_dlpack_holds_the_elements(x, max_version, forbidden):
    expected = np.array(x)
    taken = np.from_dlpack(Consumer(x, max_version=max_version, copy=forbidden))
    np.testing.assert_array_equal(taken, expected)
    assert (taken.dtype, taken.shape) == (x.dtype, x.shape)
    if forbidden or not taken.flags.writeable:
        return
    taken[...] = 1  # whoever is allowed to write changes each element alone
    assert address(taken) == address(np.asarray(x)) or np.array_equal(np.asarray(x), expected)


@each_layout
def test_dlpack_shares_memory(x):
    first = np.from_dlpack(x)
    seen = np.asarray(x)
    steps = [step for size, step in zip(seen.shape, seen.strides) if size > 1]
    if min(steps, default=1) < 0:  # torch would end the process
        with pytest.raises(BufferError, match="backwards"):
            np.from_dlpack(x, copy=False)
        assert address(first) != address(seen)
        return
    shared = np.from_dlpack(x, copy=False)
    assert address(first) == address(shared) == address(seen)
    assert shared.strides == seen.strides and 0 not in steps


@each_layout
def test_dlpack_copies(x):
    copied = np.from_dlpack(x, copy=True)
    assert copied.size == 0 or not np.shares_memory(copied, np.asarray(x))
    np.testing.assert_array_equal(copied, np.asarray(x))


def test_dlpack_of_memory_that_nobody_may_write():
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    x = xp.asarray(frozen, copy=False)
    told = np.from_dlpack(x)
    assert address(told) == address(frozen) and not told.flags.writeable
    untold = np.from_dlpack(Consumer(x, max_version=None))
    assert address(untold) != address(frozen)
    with pytest.raises(BufferError):
        x.__dlpack__(copy=False)


def test_dlpack_of_one_number_seen_as_many():
    """What is handed out for writing has a place for each element, and the array sees what is written."""
    for make in (
        lambda: xp.ones((2, 3)),
        lambda: xp.broadcast_to(xp.arange(3.0), (2, 3)),
        lambda: xp.ones((2, 6))[:, ::2],
    ):
        x = make()
        assert x.__dlpack__(copy=False) is not None
        shared = np.from_dlpack(x)
        shared[0, 1] = 7
        assert float(x[0, 1]) == 7 and float(x[1, 1]) == 1
    assert float(xp.ones((2, 3))[0, 1]) == 1


def test_what_a_consumer_writes_is_seen_by_its_array_alone():
    """Others may hold the same node, or one on the same memory, and NumPy was promised what it was shown."""
    x = xp.asarray(NUMBERS) * 1.0
    x.block_until_ready()
    others = [x.copy(), +x, x * 1.0, x[:1] * 1.0, xp.astype(x, F8, copy=True), np.asarray(x)]
    view = x[1:]
    shared = np.from_dlpack(x)
    shared[0] = 9
    later = x * 1.0
    x[1] = 8
    check(x, np.array([9, 8, 0.75]))
    check(view, np.array([8, 0.75]))
    assert shared[1] == 8
    check(later, np.array([9, 0.5, 0.75]))
    for other in others:
        check(xp.asarray(other), NUMBERS[: len(other)])
    copied = x.copy()
    np.from_dlpack(copied)[:] = 0
    check(x, np.array([9, 8, 0.75]))


def test_dlpack_outlives_the_array():
    x = xp.arange(1000.0) * 2
    shared = np.from_dlpack(x)
    del x
    gc.collect()
    others = [np.asarray(xp.arange(1000.0) * 3) for _ in range(5)]
    np.testing.assert_array_equal(shared, np.arange(1000.0) * 2)
    assert len(others) == 5


@pytest.mark.parametrize("device", [(2, 0), (1, 1), (13, 0), ("cpu", 0)])
@pytest.mark.parametrize("forbidden", [None, False, True])
def test_dlpack_to_another_device(device, forbidden):
    with pytest.raises(BufferError, match=r"__dlpack__: .*device"):
        xp.ones(3).__dlpack__(dl_device=device, copy=forbidden)


def test_dlpack_keywords():
    x = xp.asarray(NUMBERS)
    assert "versioned" not in repr(x.__dlpack__())
    assert "versioned" in repr(x.__dlpack__(stream=None, max_version=(1, 0), dl_device=(1, 0), copy=None))
    with pytest.raises(RuntimeError, match="stream"):
        x.__dlpack__(stream=1)
    with pytest.raises(TypeError, match="max_version"):
        x.__dlpack__(max_version=1)
    with pytest.raises(TypeError):
        x.__dlpack__(None)
    assert list(inspect.signature(x.__dlpack__).parameters) == ["stream", "max_version", "dl_device", "copy"]


# -- to Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "spec"),
    [(2.5, ".3f"), (2.5, ""), (1e300, "12.4e"), (7, "05d"), (7, "x"), (True, ""), (1 + 2j, ".1f")],
)
def test_format_of_one_element(value, spec):
    assert format(xp.asarray(value), spec) == format(np.asarray(value), spec)
    assert format(xp.asarray(value)[None][0], spec) == format(np.asarray(value), spec)


def test_format_of_many():
    x = xp.asarray(NUMBERS)
    assert f"{x}" == str(x) == str(NUMBERS)
    assert f"{xp.asarray(0.1, dtype=F4)}" == "0.1"
    with pytest.raises(TypeError, match=r"'\.3f'.*\(3,\)"):
        format(x, ".3f")
    with pytest.raises(ValueError, match="format"):
        format(x[0], "d")


def test_arrays_are_no_keys():
    for x in (xp.asarray(NUMBERS), xp.asarray(1)):
        assert not isinstance(x, Hashable)
        with pytest.raises(TypeError, match="unhashable type: 'Array'"):
            hash(x)
        with pytest.raises(TypeError, match="unhashable type: 'Array'"):
            {x: 1}


def test_every_integer_array_of_one_element_is_an_index():
    assert list(range(10))[xp.asarray(3, dtype=xp.uint8)] == 3
    assert np.arange(10)[xp.asarray(3)] == 3
    assert "ab" * xp.asarray(2) == "abab"
    assert hex(xp.asarray(255)) == "0xff"


@given(arrays())
def test_truth_of_one_element(x):
    if x.size == 1:
        assert bool(xp.asarray(x)) is bool(x)
    else:
        with pytest.raises(TypeError, match=r"^bool: .*one element"):
            bool(xp.asarray(x))


@given(arrays())
def test_items_and_lists(x):
    y = xp.asarray(x)
    np.testing.assert_equal(y.tolist(), x.tolist())
    if x.size == 1:
        np.testing.assert_equal(y.item(), x.item())
        assert type(y.item()) is type(x.item())
    if x.size:
        np.testing.assert_equal(y.item(-1), x.item(-1))
        index = tuple(size - 1 for size in x.shape)
        np.testing.assert_equal(y.item(index), x.item(index))
        np.testing.assert_equal(y.item(*index), x.item(index))


def test_items_that_arent_there():
    x = xp.asarray(NUMBERS)
    with pytest.raises(ValueError, match=r"item: .*size 1"):
        x.item()
    with pytest.raises(IndexError, match=r"item: .*3"):
        x.item(3)
    with pytest.raises(ValueError, match="item: "):
        x.item(0, 0)
    with pytest.raises(TypeError):
        x.item("a")


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each_layout
def test_pickle(x, protocol):
    check(pickle.loads(pickle.dumps(x, protocol)), np.asarray(x))


@given(arrays())
def test_pickle_of_what_is_pending(x):
    check(pickle.loads(pickle.dumps(xp.flip(xp.asarray(x)))), np.flip(x))


def test_pickle_beside_its_buffers():
    x = xp.arange(1000.0) + 1
    buffers = []
    pickled = pickle.dumps({"x": x, "again": x}, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 1 and len(pickled) < 1000
    loaded = pickle.loads(pickled, buffers=[bytes(buffer) for buffer in buffers])
    assert loaded["x"] is loaded["again"]
    check(loaded["x"], np.arange(1000.0) + 1)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: x.copy()])
@each_layout
def test_copies(copied, x):
    y = copied(x)
    assert y is not x
    check(y, np.asarray(x))


def test_a_deep_copy_copies_each_array_once():
    x = xp.asarray(NUMBERS)
    copied = copy.deepcopy({"x": x, "again": [x]})
    assert copied["x"] is copied["again"][0] is not x
    check(copied["x"], NUMBERS)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: x.copy()])
@pytest.mark.parametrize("computed", [True, False])
def test_copies_are_independent(copied, computed):
    x = xp.asarray(NUMBERS) * 1.0
    if computed:
        x.block_until_ready()
    y = copied(x)
    x += 1
    check(y, NUMBERS)
    y[0] = 3
    check(x, NUMBERS + 1)
    x[1:] = 0
    check(y, np.array([3, *NUMBERS[1:]]))


# -- NumPy's methods -------------------------------------------------------------------------------


@given(arrays(), st.sampled_from(dtypes.ALL))
def test_attributes_and_astype(x, dtype):
    y = xp.asarray(x)
    assert (y.itemsize, y.nbytes) == (x.itemsize, x.nbytes)
    if x.dtype.kind == "c" and dtype.kind not in "cb":
        with pytest.raises(TypeError, match="astype: "):
            y.astype(dtype)
        return
    check(y.astype(dtype), np.asarray(xp.astype(y, dtype)))
    assert (y.astype(dtype, copy=False) is y) == (dtype == x.dtype)


def test_astype_takes_what_names_a_data_type():
    x = xp.asarray([0.25, 1.5])
    for dtype in (int, "int64", np.int64, xp.int64, "i8"):
        check(x.astype(dtype), np.array([0, 1]))
    for dtype in ("text", object, None, "datetime64[s]"):
        with pytest.raises(TypeError, match="astype: "):
            x.astype(dtype)


@given(st.data())
def test_reshape_and_transpose(data):
    x = data.draw(arrays())
    y = xp.asarray(x)
    for shape in ((-1,), x.shape, x.shape[::-1], (1, *x.shape)):
        if x.size:
            check(y.reshape(shape), x.reshape(shape))
            check(y.reshape(*shape), x.reshape(shape))
            check(y.reshape(list(shape)), x.reshape(shape))
    order = data.draw(st.permutations(range(x.ndim)))
    check(y.transpose(), x.transpose())
    check(y.transpose(None), x.transpose())
    check(y.transpose(tuple(order)), x.transpose(order))
    if order:
        check(y.transpose(*order), x.transpose(order))


def test_reshape_and_transpose_share_the_elements():
    x = xp.asarray(np.arange(6.0).reshape(2, 3))
    x.reshape(-1)[1] = 10
    x.transpose()[0, 1] = 20
    check(x, np.array([[0.0, 10, 2], [20, 4, 5]]))


@given(st.data())
def test_sum(data):
    x = data.draw(arrays(dtypes.INTEGERS))
    y = xp.asarray(x)
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    check(y.sum(axis, keepdims=keepdims), x.sum(axis, keepdims=keepdims))
    check(y.sum(axis=axis, dtype=F8), x.sum(axis=axis, dtype=F8))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: x.reshape(2, 2), ValueError, r"reshape: .*\(3,\).*\(2, 2\)"),
        (lambda x: x.reshape(-1, -1), ValueError, "reshape: "),
        (lambda x: x.reshape(1.5), TypeError, "reshape: "),
        (lambda x: x.reshape("a"), TypeError, "reshape: "),
        (lambda x: x.transpose(1), (ValueError, IndexError), "permute_dims: "),
        (lambda x: x.transpose(0, 0), ValueError, "permute_dims: "),
        (lambda x: x.sum(axis=3), IndexError, "sum: axis 3"),
        (lambda x: x.sum(dtype="text"), TypeError, "sum: "),
        (lambda x: x.sum(out=[0]), TypeError, "sum: out"),
    ],
)
def test_bad_arguments_of_methods(call, error, words):
    with pytest.raises(error, match=words):
        call(xp.asarray(NUMBERS))


def test_samples_survive_the_way_through_numpy_and_back():
    for dtype in dtypes.ALL:
        x = samples(dtype)
        check(xp.asarray(np.from_dlpack(xp.from_dlpack(x))), x)
        check(xp.asarray(np.asarray(xp.asarray(x))), x)
