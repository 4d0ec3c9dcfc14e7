"""float16 for storage: conversions to the bit, everything that moves elements, and refusal to compute."""

import inspect
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import check

import toonygrad as xp
from toonygrad import dtypes, record

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)]
MODES = pytest.mark.parametrize("mode", ["always", "never"])
MATRIX = EVERY[::11][:5940].reshape(60, 99)
TRUTHS = MATRIX.view(np.uint16) % 3 == 0


def same_bits(result: xp.Array, expected: np.ndarray) -> None:
    """`result` has type, shape and bits of `expected`; of NaNs the bits don't matter."""
    found = np.asarray(result)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    bits = f"u{expected.itemsize}"
    numbers = expected == expected
    np.testing.assert_array_equal(found.view(bits)[numbers], expected.view(bits)[numbers])
    assert np.isnan(found[~numbers]).all()


# -- conversions -----------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=str)
def test_every_float16_and_back(mode, dtype):
    with xp.config(compile=mode):
        wide = xp.astype(xp.asarray(EVERY), dtype)
        same_bits(wide, EVERY.astype(dtype))
        same_bits(xp.astype(wide, xp.float16), EVERY)


@MODES
@pytest.mark.parametrize("dtype", [dtypes.complex64, dtypes.complex128, dtypes.bool_], ids=str)
def test_every_float16_as_another_kind(mode, dtype):
    with xp.config(compile=mode):
        check(xp.astype(xp.asarray(EVERY), dtype), EVERY.astype(dtype))


@MODES
@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_every_float16_as_an_integer(mode, dtype):
    limits = np.iinfo(dtype)
    ends = {float("inf"): limits.max, float("-inf"): limits.min}
    whole = [0 if x != x else ends[x] if x in ends else int(x) for x in EVERY.tolist()]
    expected = np.array([min(max(x, limits.min), limits.max) for x in whole], dtype)
    with xp.config(compile=mode):
        check(xp.astype(xp.asarray(EVERY), dtype), expected)


@MODES
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=str)
def test_rounding_at_and_beside_every_tie(mode, dtype):
    with np.errstate(over="ignore"):
        above = np.nextafter(FINITE, np.float16(np.inf)).astype(np.float64)
    # As if float16 went on: what lies half-way to 65536 and beyond is infinite.
    between = (FINITE.astype(np.float64) + np.where(np.isinf(above), 65536.0, above)) / 2
    ties = between.astype(dtype)
    assert (ties == between).all()
    far = np.array(
        [65519.99, 65520, -65520, 1e30, -1e30, 1e-30, -1e-30, 2.0**-25, 2.0**-14, 0.0, -0.0], dtype
    )
    for numbers in (
        ties,
        np.nextafter(ties, dtype.type(np.inf)),
        np.nextafter(ties, dtype.type(-np.inf)),
        far,
    ):
        with xp.config(compile=mode), np.errstate(over="ignore"):
            same_bits(xp.astype(xp.asarray(numbers), xp.float16), numbers.astype(np.float16))


@MODES
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=str)
def test_rounding_of_any_bits(mode, dtype):
    unsigned = np.dtype(f"u{dtype.itemsize}")
    random = np.random.default_rng(20251201)
    anywhere = random.integers(0, np.iinfo(unsigned).max, 1 << 18, unsigned, endpoint=True).view(dtype)
    near = random.normal(0, 1, 1 << 18) * 2.0 ** random.integers(-27, 18, 1 << 18)
    with xp.config(compile=mode), np.errstate(over="ignore", invalid="ignore"):
        for numbers in (anywhere, near.astype(dtype)):
            same_bits(xp.astype(xp.asarray(numbers), xp.float16), numbers.astype(np.float16))


@MODES
@pytest.mark.parametrize("dtype", [dtypes.bool_, *dtypes.INTEGERS], ids=str)
def test_integers_and_truth_values_as_float16(mode, dtype):
    numbers = np.arange(-70000, 70000).astype(dtype)
    if dtype in dtypes.INTEGERS:
        limits = np.iinfo(dtype)
        numbers = np.append(numbers, np.array([limits.min, limits.max], dtype))
    with xp.config(compile=mode), np.errstate(over="ignore"):
        same_bits(xp.astype(xp.asarray(numbers), xp.float16), numbers.astype(np.float16))


@MODES
@given(st.floats(width=64), st.floats(width=64))
def test_numbers_are_rounded_once(mode, fill, other):
    with xp.config(compile=mode), np.errstate(over="ignore"):
        same_bits(xp.full(3, fill, dtype=xp.float16), np.full(3, fill).astype(np.float16))
        x = xp.where(xp.asarray([True, False]), xp.asarray(np.float16([1, 2])), other)
        same_bits(x, np.array([1, other]).astype(np.float16))
        same_bits(xp.asarray([fill, other], dtype="float16"), np.array([fill, other]).astype(np.float16))
        same_bits(xp.asarray(fill, dtype="float16"), np.asarray(np.float64(fill).astype(np.float16)))


def test_complex_numbers_do_not_become_float16():
    with pytest.raises(TypeError, match="astype: complex64 can't be float16"):
        xp.astype(xp.ones(2, dtype=xp.complex64), xp.float16)
    with pytest.raises(TypeError, match="full: a complex number can't be a float16"):
        xp.full(2, 1j, dtype=xp.float16)


def test_conversions_fuse_with_what_computes():
    x = xp.asarray(MATRIX[:30])
    y = np.where(np.isfinite(MATRIX[:30]), MATRIX[:30], np.float16(1)).astype(np.float32)
    with xp.config(compile="always"):
        before = xp.counters()
        wide = xp.where(xp.isfinite(xp.astype(x, xp.float32)), xp.astype(x, xp.float32), 1.0)
        result = xp.astype(wide * 0.5 + 0.25, xp.float16)
        same_bits(result, (y * np.float32(0.5) + np.float32(0.25)).astype(np.float16))
        assert (xp.counters() - before).kernels_launched == 1
        check(xp.sum(wide, axis=1), y.astype(np.float64).sum(axis=1).astype(np.float32), ulp=2)


# -- what takes it ---------------------------------------------------------------------------------

INDICES = np.array([5, 3, -1, 5])

MOVES = {
    "slice": (lambda np, x: x[3:50:7, ::-2]),
    "element": (lambda np, x: x[4, 5]),
    "mask": (lambda np, x: x[np.asarray(TRUTHS)]),
    "integer array": (lambda np, x: x[np.asarray(INDICES), None, 1:9]),
    "take": (lambda np, x: np.take(x, np.asarray(INDICES), axis=1)),
    "take_along_axis": (lambda np, x: np.take_along_axis(x, np.asarray(INDICES[:, None]), axis=0)),
    "flip": (lambda np, x: np.flip(x)),
    "roll": (lambda np, x: np.roll(x, 3, axis=1)),
    "permute_dims": (lambda np, x: np.permute_dims(x, (1, 0))),
    "reshape": (lambda np, x: np.reshape(x[:, ::3], (-1,))),
    "expand_dims": (lambda np, x: np.expand_dims(x, axis=1)),
    "squeeze": (lambda np, x: np.squeeze(x[:1], axis=0)),
    "broadcast_to": (lambda np, x: np.broadcast_to(x[0], (3, 99))),
    "concat": (lambda np, x: np.concat([x, x[::-1], x[:2]], axis=0)),
    "stack": (lambda np, x: np.stack([x, x[::-1]], axis=-1)),
    "tile": (lambda np, x: np.tile(x, (2, 1))),
    "repeat": (lambda np, x: np.repeat(x, 2, axis=1)),
    "where": (lambda np, x: np.where(np.asarray(TRUTHS), x, x[::-1])),
    "tril": (lambda np, x: np.tril(x)),
    "triu": (lambda np, x: np.triu(x, k=2)),
    "eye": (lambda np, x: np.eye(70, dtype=np.float16)),
    "zeros": (lambda np, x: np.zeros((70, 70), dtype=np.float16)),
    "ones_like": (lambda np, x: np.ones_like(x)),
    "asarray of a sequence": (lambda np, x: np.asarray([x[0], x[1]])),
}


@MODES
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_elements_are_moved_and_picked(mode, move):
    with xp.config(compile=mode):
        same_bits(move(xp, xp.asarray(MATRIX)), np.asarray(move(np, MATRIX)))


def test_memory_is_shared():
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert np.shares_memory(np.asarray(xp.from_dlpack(x)), x)
    assert np.shares_memory(np.asarray(xp.asarray(x, copy=False)), x)
    check(xp.asarray(np.from_dlpack(xp.asarray(x))), x)
    assert xp.asarray(x).dtype == xp.float16


def test_elements_as_python_sees_them():
    x = xp.asarray(np.float16([0.1, -2, 3]))
    assert repr(x) == "Array([ 0.1, -2. ,  3. ], dtype=float16)"
    assert (float(x[0]), int(x[1]), bool(x[2])) == (float(np.float16(0.1)), -2, True)
    assert complex(x[2]) == 3


# -- what doesn't ----------------------------------------------------------------------------------

X = xp.ones((3, 3), dtype=xp.float16)
SPACES = {"": xp, "linalg.": xp.linalg, "fft.": xp.fft}


def computing():
    """Functions that take an Array first and are none of those that move elements, by their names."""
    for prefix, space in SPACES.items():
        for name in space.__all__:
            function = getattr(space, name)
            if inspect.isfunction(function) and name not in record.MOVES:
                first = next(iter(inspect.signature(function).parameters.values()), None)
                if first is not None and first.annotation == "Array" and first.kind is first.POSITIONAL_ONLY:
                    yield prefix + name, function


COMPUTING = dict(computing())
OPERATORS = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lt",
    "gt",
    "eq",
    "ne",
    "and_",
    "matmul",
]


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_refuse_it(name):
    operate = getattr(operator, name)
    for other in [X] if name == "matmul" else [X, 1, 1.5]:
        with pytest.raises(TypeError, match=r"^__\w+__: float16 is for storage.*astype\(float32\)"):
            operate(X, other)
    with pytest.raises(TypeError, match=r"^__\w+__: no common data type for float16 and float32"):
        operate(X, xp.ones((3, 3), dtype=xp.float32))


@pytest.mark.parametrize(("name", "function"), COMPUTING.items(), ids=COMPUTING)
def test_functions_that_compute_refuse_it(name, function):
    parameters = inspect.signature(function).parameters.values()
    arguments = [X if "Array" in p.annotation else 1 for p in parameters if p.default is p.empty]
    with pytest.raises(TypeError, match=rf"^{name.split('.')[-1]}: float16 is for storage"):
        function(*arguments)


def test_every_function_that_moves_elements_is_one_of_the_namespace():
    assert record.MOVES.issubset(name for space in SPACES.values() for name in space.__all__)
    assert len(COMPUTING) > 90


# -- as a data type --------------------------------------------------------------------------------


def test_it_is_no_type_of_the_standard():
    assert xp.float16 is np.float16
    assert "float16" not in xp.__array_namespace_info__().dtypes()
    for kind in ("real floating", "numeric", ("bool", "integral", "complex floating")):
        assert not xp.isdtype(xp.float16, kind)
    assert xp.isdtype(X.dtype, (xp.float32, xp.float16))
    assert (xp.can_cast(xp.float16, "float16"), xp.can_cast(X, xp.float32)) == (True, False)
    assert xp.result_type(X, xp.float16, 1.5) == xp.float16
    limits = xp.finfo(X)
    assert (limits.bits, limits.max, limits.dtype) == (16, 65504.0, np.dtype("float16"))
    for others in (xp.float32, xp.int8, xp.bool, 1j):
        with pytest.raises(TypeError, match="result_type"):
            xp.result_type(X, others)
