"""Views and writing against NumPy: what is shared, what is seen when, and what it costs."""

import gc
from weakref import ref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import toonygrad as xp
from toonygrad.array import node_of
from toonygrad.uop.node import live_nodes


def check(ours, theirs):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    np.testing.assert_array_equal(np.asarray(ours), theirs)


def pair(shape=(3, 4), dtype=np.float64):
    theirs = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return xp.asarray(theirs), theirs.copy()


# -- random programs -------------------------------------------------------------------------------


def transposed(data, ours, theirs):
    axes = tuple(data.draw(st.permutations(range(theirs.ndim))))
    return xp.permute_dims(ours, axes), theirs.transpose(axes)


def sliced(data, ours, theirs):
    key = data.draw(hnp.basic_indices(theirs.shape, allow_newaxis=True, max_dims=4))
    view = theirs[key]
    return ours[key], view if isinstance(view, np.ndarray) else theirs[(*np.index_exp[key], ...)]


def with_axis(data, ours, theirs):
    axis = data.draw(st.integers(0, theirs.ndim))
    return xp.expand_dims(ours, axis=axis), np.expand_dims(theirs, axis)


def flipped(data, ours, theirs):
    return xp.flip(ours), theirs[(*[slice(None, None, -1)] * theirs.ndim, ...)]  # np.flip copies a 0-d array


def flattened(data, ours, theirs):
    return xp.reshape(ours, (-1,)), theirs.reshape(-1)


def calculated(data, ours, theirs):
    # Row-major like ours, so that reshapes share in both or in none.
    return ours * 2 + 1, np.array(theirs * 2 + 1, order="C")


def copied(data, ours, theirs):
    return xp.asarray(ours, copy=True), np.array(theirs, order="K")


MAKE = (transposed, sliced, with_axis, flipped, flattened, calculated, copied)


def write_number(data, ours, theirs, others):
    key = data.draw(hnp.basic_indices(theirs.shape, allow_newaxis=True))
    number = data.draw(st.integers(-9, 9))
    ours[key] = number
    theirs[key] = number


def write_masked(data, ours, theirs, others):
    limit = data.draw(st.integers(-9, 9))
    ours[ours > limit] = 5
    theirs[theirs > limit] = 5


def write_at_integers(data, ours, theirs, others):
    if theirs.ndim and theirs.shape[0]:
        places = data.draw(
            st.lists(st.integers(-theirs.shape[0], theirs.shape[0] - 1), min_size=1, max_size=3)
        )
        ours[xp.asarray(places)] = 3
        theirs[np.asarray(places)] = 3


def write_other(data, ours, theirs, others):
    key = data.draw(hnp.basic_indices(theirs.shape))
    shape = theirs[key].shape
    fitting = [(a, b) for a, b in others if b.shape == shape]
    if fitting:
        value, values = data.draw(st.sampled_from(fitting))
        ours[key] = value
        theirs[key] = values


def add_in_place(data, ours, theirs, others):
    ours += 1
    theirs += 1


def add_to_part(data, ours, theirs, others):
    key = data.draw(hnp.basic_indices(theirs.shape))
    ours[key] += 2
    theirs[key] += 2


def compute(data, ours, theirs, others):
    ours.block_until_ready()


CHANGE = (write_number, write_masked, write_at_integers, write_other, add_in_place, add_to_part, compute)


@settings(max_examples=150)
@given(st.data())
def test_random_programs(data):
    pairs = [pair(data.draw(st.sampled_from([(5,), (3, 4), (2, 3, 2)]))) for _ in range(2)]
    recorded = []
    for _ in range(data.draw(st.integers(3, 12))):
        ours, theirs = data.draw(st.sampled_from(pairs))
        kind = data.draw(st.sampled_from(("make", "change", "record")))
        if kind == "make":
            pairs.append(data.draw(st.sampled_from(MAKE))(data, ours, theirs))
        elif kind == "change":
            data.draw(st.sampled_from(CHANGE))(data, ours, theirs, pairs)
        else:
            recorded.append((ours - 1, theirs - 1))
    for ours, theirs in recorded + pairs:
        check(ours, theirs)


# -- what shares -----------------------------------------------------------------------------------


SHARING = {
    "basic key": lambda x, n: n[1:, ::-2],
    "integer": lambda x, n: n[1],
    "new axis": lambda x, n: n[:, None],
    "T": lambda x, n: n.T,
    "mT": lambda x, n: n.mT,
    "permute_dims": lambda x, n: x.permute_dims(n, (1, 0)),
    "matrix_transpose": lambda x, n: x.matrix_transpose(n),
    "moveaxis": lambda x, n: x.moveaxis(n, 0, 1),
    "expand_dims": lambda x, n: x.expand_dims(n, axis=1),
    "squeeze": lambda x, n: x.squeeze(x.expand_dims(n, axis=0), axis=0),
    "flip": lambda x, n: x.flip(n, axis=1),
    "reshape": lambda x, n: x.reshape(n, (2, 6)),
    "reshape of a slice": lambda x, n: x.reshape(n[1:], (2, 2, 2)),
    "unstack": lambda x, n: x.unstack(n, axis=1)[2],
    "iteration": lambda x, n: list(n)[1],
    "view of a view": lambda x, n: n.T[1:][:, 1:],
}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("name", SHARING)
def test_views_see_writes_and_write_through(name, computed):
    ours, theirs = pair()
    if not computed:
        ours = ours + 0
    view, their_view = SHARING[name](xp, ours), SHARING[name](np, theirs)
    ours[...] = ours + 10
    theirs[...] = theirs + 10
    check(view, their_view)
    view[...] = view * 2
    their_view[...] = their_view * 2
    check(ours, theirs)
    view += 1
    their_view += 1
    check(ours, theirs)
    ours -= 5
    theirs -= 5
    check(view, their_view)


OWN = {
    "elementwise": lambda x: +x,
    "copy": lambda x: xp.asarray(x, copy=True),
    "astype": lambda x: xp.astype(x, xp.float64),
    "reshape with a copy": lambda x: xp.reshape(x, (4, 3), copy=True),
    "reshape that strides can't express": lambda x: xp.reshape(x.T, (12,)),
    "broadcast_to": lambda x: xp.broadcast_to(x, (2, 3, 4)),
    "roll by nothing": lambda x: xp.roll(x, 0),
    "integer arrays": lambda x: x[xp.asarray([0, 1])],
    "mask": lambda x: x[x > -1],
    "real": xp.real,
}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_results_have_elements_of_their_own(name, computed):
    x, _ = pair()
    if not computed:
        x = x + 0
    result = OWN[name](x)
    before, source = np.array(result), np.array(x)
    x[0] = 100
    np.testing.assert_array_equal(np.asarray(result), before)
    x[0] = source[0]
    result[...] = -1
    np.testing.assert_array_equal(np.asarray(x), source)


def test_reshape_without_a_copy():
    x, _ = pair()
    xp.reshape(x, (12,), copy=False)[5] = -1
    assert x[1, 1] == -1
    with pytest.raises(ValueError, match=r"reshape: \(4, 3\) can't be seen as \(12,\) without a copy"):
        xp.reshape(x.T, (12,), copy=False)


def test_constants_are_nobodys():
    first, second = xp.zeros(3), xp.zeros(3)
    first.block_until_ready()
    first[1] = 1
    check(second, np.zeros(3))
    check(xp.zeros(3), np.zeros(3))
    a = xp.asarray(2.0)
    b = xp.asarray(2.0)
    a.block_until_ready()
    a += 1
    a[...] = a + 1
    assert float(a) == 4 and float(b) == 2


def test_results_that_are_other_results_in_another_order():
    x, n = pair()
    total = xp.sum(x, axis=0)
    row = xp.sum(x, axis=0, keepdims=True)
    xp.realize(total, row)
    total[0] = -1
    check(row, n.sum(axis=0, keepdims=True))
    row[0, 1] = -2
    check(total, np.asarray([-1, *n.sum(axis=0)[1:]]))
    y = x * 2
    first, second = xp.permute_dims(y, (1, 0)), xp.reshape(y, (12,))
    xp.realize(first, second)
    first[0, 0] = 7
    assert float(second[0]) == 7 and float(y[0, 0]) == 7


# -- what was recorded -----------------------------------------------------------------------------


def test_what_was_recorded_keeps_the_old_elements():
    x, n = pair()
    row = x[0]
    pending = [x * 2, x[1:] + 1, xp.sum(x), x[0] * 3, row + 1, xp.broadcast_to(x[0], (2, 4))]
    expected = [n * 2, n[1:] + 1, n.sum(), n[0] * 3, n[0] + 1, np.broadcast_to(n[0], (2, 4))]
    x[...] = 0
    x[0, 0] = 5
    row[1] = 6
    for ours, theirs in zip(pending, expected):
        check(ours, np.asarray(theirs))
    assert float(x[0, 1]) == 6


def test_numpy_sees_what_was_when_it_asked():
    x, n = pair()
    seen, part = np.asarray(x), np.asarray(x[1:])
    x[1, 1] = -1
    np.testing.assert_array_equal(seen, n)
    np.testing.assert_array_equal(part, n[1:])


@pytest.mark.parametrize("size", [5, 300_000])
@pytest.mark.parametrize("many", range(6))
def test_however_many_see_it(size, many):
    for make in (lambda n: xp.asarray(n), lambda n: xp.asarray(n) + 0, lambda n: xp.asarray(n[::2])):
        x = make(np.arange(size))
        x.block_until_ready()
        x[0] = 0  # in memory of its own
        before = np.array(x)
        seen = [np.asarray(x)[k:] for k in range(many)]
        x[1:3] = -1
        for k, view in enumerate(seen):
            np.testing.assert_array_equal(view, before[k:])


def test_shared_memory_is_written():
    theirs = np.arange(6.0)
    ours = xp.asarray(theirs, copy=False)
    pending, view = ours * 2, ours[1:3]
    small = ours[1] + 1
    ours[1] = 10
    ours += 1
    view *= 2
    np.testing.assert_array_equal(theirs, [1, 22, 6, 4, 5, 6])
    check(ours, theirs)
    check(pending, np.arange(6.0) * 2)
    assert float(small) == 2
    theirs[0] = -1
    assert float(ours[0]) == -1
    exported = np.arange(3)
    xp.from_dlpack(exported)[0] = 7
    assert exported[0] == 7


def test_shared_memory_is_copied_only_for_who_recorded_from_it():
    exported = xp.arange(6.0) * 1
    theirs, sharing = np.arange(6.0), np.from_dlpack(exported)
    for ours, seen in ((xp.asarray(theirs, copy=False), theirs), (exported, sharing)):
        node = ref(node_of(ours))
        ours[1:3] = 7
        ours[0] += 5
        assert node() is node_of(ours)
        pending = ours * 2
        ours[0] = 1
        assert node() is not node_of(ours)
        np.testing.assert_array_equal(seen, [1, 7, 7, 3, 4, 5])
        check(pending, np.array([10.0, 14, 14, 6, 8, 10]))


def test_read_only_memory_is_copied_before_it_is_written():
    theirs = np.arange(3.0)
    theirs.flags.writeable = False
    ours = xp.asarray(theirs, copy=False)
    ours[0] = 5
    ours += 1
    check(ours, np.asarray([6.0, 2, 3]))
    assert theirs[0] == 0


# -- keys and values -------------------------------------------------------------------------------


KEYS = {
    "integer": 1,
    "negative": -1,
    "tuple": (1, 2),
    "slices": np.s_[1:, ::2],
    "Ellipsis": np.s_[..., 0],
    "None": np.s_[:, None, 1],
    "empty": np.s_[3:],
    "mask": np.arange(12).reshape(3, 4) % 2 == 0,
    "mask of rows": np.asarray([True, False, True]),
    "mask beside a slice": (np.asarray([True, False, True]), slice(1, 3)),
    "mask beside an integer": (np.asarray([True, False, True]), 2),
    "slice beside a mask": (slice(None), np.asarray([True, False, True, True])),
    "integers": np.asarray([0, 2]),
    "pairs": (np.asarray([0, 2]), np.asarray([1, 3])),
    "grid": (np.asarray([[0], [2]]), np.asarray([1, 3])),
    "unsigned": np.asarray([0, 2], np.uint64),
    "apart": (np.asarray([0, 2]), slice(None)),
    "list": [0, 2],
    "true": True,
    "false": False,
}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("name", KEYS)
def test_keys(name, computed):
    ours, theirs = pair()
    if not computed:
        ours = ours + 0
    key = KEYS[name]
    wrapped = (
        tuple(xp.asarray(k) if isinstance(k, np.ndarray) else k for k in key)
        if isinstance(key, tuple)
        else key
    )
    if isinstance(key, np.ndarray):
        wrapped = xp.asarray(key)
    shape = theirs[key].shape
    ours[wrapped] = -1
    theirs[key] = -1
    check(ours, theirs)
    values = np.arange(np.prod(shape)).reshape(shape) * 0.5
    ours[wrapped] = xp.asarray(values)
    theirs[key] = values
    check(ours, theirs)
    ours[wrapped] += 2
    theirs[key] += 2
    check(ours, theirs)
    ours[key] = values * 2  # NumPy's arrays serve as keys and as values
    theirs[key] = values * 2
    check(ours, theirs)


@pytest.mark.parametrize("mode", ["always", "never"])
def test_large_arrays(mode):
    with xp.config(compile=mode):
        ours, theirs = pair((70, 90), np.float32)
        ours[1:-1, 1:-1] = ours[:-2, 1:-1] + ours[2:, 1:-1]
        theirs[1:-1, 1:-1] = theirs[:-2, 1:-1] + theirs[2:, 1:-1]
        check(ours, theirs)
        ours[ours > 1000] = 0
        theirs[theirs > 1000] = 0
        ours[:, 3] *= 2
        theirs[:, 3] *= 2
        check(ours, theirs)


@pytest.mark.parametrize("dtype", [xp.int8, xp.uint16, xp.int64, xp.float32, xp.complex64, xp.bool])
def test_values_take_the_arrays_type(dtype):
    x = xp.zeros(4, dtype=dtype)
    x[0] = 1
    x[1] = xp.asarray(True)
    x[2:] = xp.asarray([1.0, 0.0], dtype=xp.float32)
    assert x.dtype == dtype
    check(x, np.asarray([1, 1, 1, 0], dtype))


def test_values_with_more_axes_of_size_one():
    x = xp.zeros((2, 3))
    x[0] = xp.ones((1, 1, 3))
    x[...] = xp.ones((1, 2, 3))
    check(x, np.ones((2, 3)))


ERRORS = {
    "too many": (lambda x: x.__setitem__((0, 0, 0), 1), IndexError, "3 indices for an array of 2"),
    "outside": (lambda x: x.__setitem__(3, 1), IndexError, "index 3 is out of bounds for axis 0 with size 3"),
    "integers outside": (
        lambda x: x.__setitem__(xp.asarray([0, 3]), 1),
        IndexError,
        "index 3 is out of bounds",
    ),
    "huge unsigned": (
        lambda x: x.__setitem__(xp.asarray([2**64 - 1], dtype=xp.uint64), 1),
        IndexError,
        "out of bounds",
    ),
    "mask": (lambda x: x.__setitem__(xp.asarray([True, False]), 1), IndexError, "a mask of shape"),
    "floats": (lambda x: x.__setitem__(xp.asarray([1.0]), 1), IndexError, "of integer or boolean type"),
    "name": (lambda x: x.__setitem__("a", 1), IndexError, "not str"),
    "shape": (lambda x: x.__setitem__(0, xp.ones(3)), ValueError, "broadcast"),
    "whole shape": (lambda x: x.__setitem__(..., xp.ones(3)), ValueError, "broadcast"),
    "mask's count": (lambda x: x.__setitem__(x > 5, xp.ones(3)), ValueError, "3"),
    "complex": (lambda x: x.__setitem__(0, 1j), TypeError, "complex number can't be a float64"),
    "complex array": (lambda x: x.__setitem__(0, xp.asarray([1j])), TypeError, "complex128 can't be float64"),
    "no number": (lambda x: x.__setitem__(0, "a"), TypeError, "none of the standard's data types"),
    "none": (lambda x: x.__setitem__(0, None), TypeError, "none of the standard's data types"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_call_and_change_nothing(name):
    call, error, words = ERRORS[name]
    for view in (False, True):
        x, n = pair()
        with pytest.raises(error, match=words) as caught:
            call(x[...] if view else x)
        assert str(caught.value).startswith("__setitem__: ")
        check(x, n)


def test_integers_out_of_range():
    x = xp.zeros(3, dtype=xp.int8)
    with pytest.raises(OverflowError, match="__setitem__: the Python number 300 is out of bounds for int8"):
        x[0] = 300


# -- what it costs ---------------------------------------------------------------------------------


def test_writing_a_part_copies_nothing_else():
    x = xp.zeros(100_000)
    x[0] = 1
    view = x[10:20]
    before = xp.counters().bytes_allocated
    for i in range(50):
        x[i] = i
        x[i] += 1
        view[3] = float(x[i])
        x[i : i + 5] = x[i + 1 : i + 6]
        view *= 0.5
    assert xp.counters().bytes_allocated - before < 100_000


def test_a_large_block_is_computed_where_it_is_written():
    with xp.config(compile="always"):
        ours, theirs = pair((100, 110))
        ours.block_until_ready()
        before = xp.counters()
        for _ in range(3):
            ours[1:-1, 2:-3] = ours[:-2, 2:-3] * 0.5 + ours[2:, 2:-3]
            theirs[1:-1, 2:-3] = theirs[:-2, 2:-3] * 0.5 + theirs[2:, 2:-3]
        ours[1:] += 2
        theirs[1:] += 2
        done = xp.counters() - before
        assert (done.kernels_launched, done.bytes_allocated) == (4, 4 * theirs.nbytes)
        assert done.plans_made == 2
        check(ours, theirs)


def test_blocks_of_blocks():
    with xp.config(compile="always"):
        ours, theirs = pair((20, 30, 24))
        ours[2:19, 1:, :20] = ours[2:19, 1:, 4:] * 2
        theirs[2:19, 1:, :20] = theirs[2:19, 1:, 4:] * 2
        view, their_view = ours[1:], theirs[1:]
        view[:, :, 3:] = view[:, :, 3:] - xp.arange(21)
        their_view[:, :, 3:] = their_view[:, :, 3:] - np.arange(21)
        view += view
        their_view += their_view
        check(ours, theirs)
        parts = xp.concat([ours * 2, xp.concat([ours[:1], ours[1:2] + 1], axis=0)], axis=0)
        check(parts, np.concatenate([theirs * 2, theirs[:1], theirs[1:2] + 1]))


def test_a_copy_is_made_once():
    x = xp.zeros(10_000)
    x[0] = 1
    pending = x * 2
    before = xp.counters().bytes_allocated
    for i in range(20):
        x[i] = 3
    assert xp.counters().bytes_allocated - before == 80_000
    assert float(xp.sum(pending)) == 2


def test_loops_grow_nothing():
    x = xp.zeros(1000)
    x[0] = 1

    def loop(count):
        for i in range(count):
            x[i % 1000] = i
            x[i % 1000] += 1

    loop(1000)
    gc.collect()
    nodes, plans = sum(1 for _ in live_nodes()), xp.counters().plans_made
    loop(3000)
    gc.collect()
    # The last 256 numbers are kept, with their memory.
    assert sum(1 for _ in live_nodes()) <= nodes + 2 * 256 + 5
    assert xp.counters().plans_made == plans


def test_rows_are_one_structure():
    x, n = pair((50, 7))
    xp.sum(x[0] * 2).block_until_ready()
    made = xp.counters().plans_made
    for i in range(50):
        assert float(xp.sum(x[i] * 2)) == (n[i] * 2).sum()
    assert xp.counters().plans_made == made


def test_many_views_of_views():
    x, n = pair()
    for _ in range(2000):
        x = x.T
        x = x[...]
    assert len(x._view.steps) <= 2
    check(x, n)
