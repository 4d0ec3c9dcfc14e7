"""Fourier transforms, their frequencies and shifts, against NumPy."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, axes, check, elements

import toonygrad as xp
import toonygrad.fft
from toonygrad import dtypes
from toonygrad.fft import fftfreq

MODES = pytest.mark.parametrize("mode", ["never", "always"])
NORMS = st.sampled_from(["backward", "ortho", "forward"])
OF_ONE_AXIS = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
OF_SEVERAL = ["fftn", "ifftn", "rfftn", "irfftn"]
OF_REALS = {"rfft", "ihfft", "rfftn"}
HALVED = {"irfft", "hfft", "irfftn"}


def numbers(name):
    """Stacks of what a transform takes, integers among them."""
    kinds = dtypes.REAL_NUMERIC if name in OF_REALS else dtypes.NUMERIC
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=6)
    return st.sampled_from(kinds).flatmap(
        lambda kind: hnp.arrays(
            kind, shapes, elements=elements(kind, **{} if kind.kind in "fc" else {"max_value": 99})
        )
    )


def close(result, expected, x):
    """As exact as the precision of `x`, relative to the largest of its elements."""
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    slack = 64 * np.finfo(expected.dtype).eps * max(1e-30, np.sum(np.abs(x.astype(complex))))
    np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-5, atol=slack)


@pytest.mark.parametrize("name", OF_ONE_AXIS)
@given(data=st.data())
def test_transforms_along_one_axis(name, data):
    x, norm = data.draw(numbers(name)), data.draw(NORMS)
    axis, n = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.none() | st.integers(1, 9))
    found = getattr(xp.fft, name)(xp.asarray(x), n=n, axis=axis, norm=norm)
    close(found, getattr(np.fft, name)(x, n=n, axis=axis, norm=norm), x)


@pytest.mark.parametrize("name", OF_SEVERAL)
@given(data=st.data())
def test_transforms_along_several_axes(name, data):
    x, norm = data.draw(numbers(name)), data.draw(NORMS)
    chosen = data.draw(st.none() | st.permutations(range(x.ndim)))
    s = None
    if chosen is not None:
        chosen = [axis - data.draw(st.sampled_from([0, x.ndim])) for axis in chosen][
            : data.draw(st.integers(1, x.ndim))
        ]
        s = data.draw(st.none() | st.lists(st.integers(1, 9), min_size=len(chosen), max_size=len(chosen)))
    found = getattr(xp.fft, name)(xp.asarray(x), s=s, axes=chosen, norm=norm)
    close(found, getattr(np.fft, name)(x, s=s, axes=chosen, norm=norm), x)


@MODES
@pytest.mark.parametrize("dtype", [*dtypes.FLOATING, dtypes.int16], ids=str)
@pytest.mark.parametrize("name", [*OF_ONE_AXIS, *OF_SEVERAL])
def test_precision_is_kept(name, dtype, mode):
    if name in OF_REALS and dtype.kind == "c":
        return
    x = np.random.default_rng(3).normal(size=(4, 6)).astype(dtype)
    x = x * dtype.type(1j) + x if dtype.kind == "c" else x
    with xp.config(compile=mode):
        found = getattr(xp.fft, name)(xp.asarray(x) + xp.asarray(x))
        close(found, getattr(np.fft, name)(x + x), x)


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_a_size_of_minus_one_takes_what_is_there(name):
    x = np.arange(24.0).reshape(4, 6)
    one = xp.asarray(x)
    function = getattr(xp.fft, name)
    check(function(one, s=(-1, -1), axes=(0, 1)), np.asarray(function(one)))
    assert function(one, s=(-1, 3), axes=(0, 1)).shape == function(one, s=(4, 3), axes=(0, 1)).shape


def test_no_axes_leave_the_numbers():
    x = xp.asarray([1.0, 2.0])
    check(xp.fft.fftn(x, axes=()), np.array([1, 2], complex))
    check(xp.fft.ifftn(xp.asarray(np.float32(3))), np.array(3, np.complex64))


@MODES
def test_stacks_of_nothing(mode):
    with xp.config(compile=mode):
        x = xp.zeros((0, 4))
        check(xp.fft.fft(x), np.zeros((0, 4), complex))
        check(xp.fft.rfft(x), np.zeros((0, 3), complex))
        check(xp.fft.irfft(x), np.zeros((0, 6)))
        check(xp.fft.fft(x, n=2, axis=0), np.zeros((2, 4), complex))


@MODES
def test_neighbours_fuse(mode):
    x = np.random.default_rng(2).normal(size=(20, 64))
    with xp.config(compile=mode):
        before = xp.counters()
        given_x = xp.asarray(x)
        result = xp.sum(xp.abs(xp.fft.rfft(given_x * xp.exp(-given_x))) * 2, axis=0)
        close(result, np.sum(np.abs(np.fft.rfft(x * np.exp(-x))) * 2, axis=0), x)
        assert (xp.counters() - before).kernels_launched == (2 if mode == "always" else 0)


# -- frequencies and shifts ------------------------------------------------------------------------


@given(
    st.integers(1, 40),
    st.floats(0.01, 100) | st.floats(-100, -0.01) | st.integers(1, 5),
    st.sampled_from([None, *dtypes.REAL_FLOATING]),
)
def test_frequencies(n, d, dtype):
    for name in ("fftfreq", "rfftfreq"):
        expected = getattr(np.fft, name)(n, d=d).astype(dtype or np.float64)
        check(getattr(xp.fft, name)(n, d=d, dtype=dtype), expected, 4)
    check(xp.fft.fftfreq(n, device="cpu"), np.fft.fftfreq(n), 4)


@given(arrays(min_dims=1), st.data())
def test_shifts(x, data):
    chosen = data.draw(axes(x.ndim))
    for name in ("fftshift", "ifftshift"):
        check(getattr(xp.fft, name)(xp.asarray(x), axes=chosen), getattr(np.fft, name)(x, axes=chosen))


def test_shifts_without_axes():
    check(xp.fft.fftshift(xp.asarray(1.5)), np.array(1.5))
    check(xp.fft.ifftshift(xp.asarray([1, 2, 3]), axes=()), np.array([1, 2, 3]))


@given(arrays(dtypes.FLOATING, min_dims=1))
def test_shifts_are_inverse(x):
    check(xp.fft.ifftshift(xp.fft.fftshift(xp.asarray(x))), x)


def test_the_namespace_is_a_module():
    assert toonygrad.fft is xp.fft
    assert fftfreq is xp.fft.fftfreq
    standard = {*OF_ONE_AXIS, *OF_SEVERAL, "fftfreq", "rfftfreq", "fftshift", "ifftshift"}
    assert set(xp.fft.__all__) == standard
    for name in standard:
        function = getattr(xp.fft, name)
        assert function.__name__ == name
        assert "standard's" in function.__doc__


# -- bad input -------------------------------------------------------------------------------------

MATRIX = xp.asarray(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("name", OF_ONE_AXIS)
def test_bad_arguments_of_transforms_along_one_axis(name):
    function = getattr(xp.fft, name)
    with pytest.raises(TypeError, match=f"^{name}: .*numeric .*not bool"):
        function(MATRIX > 1)
    with pytest.raises(TypeError, match=f"^{name}: takes an Array, not list"):
        function([1.0])
    with pytest.raises(TypeError, match=f"^{name}: a number of elements must be an integer, not float"):
        function(MATRIX, n=2.0)
    with pytest.raises(ValueError, match=f"^{name}: there is no transform of 0 elements"):
        function(MATRIX, n=0)
    with pytest.raises(
        ValueError, match=f"^{name}: there is no transform of an axis of size {name in HALVED:d}"
    ):
        function(xp.zeros((2, 1 if name in HALVED else 0)))
    with pytest.raises(ValueError, match=f"^{name}: norm is .*not 'sideways'"):
        function(MATRIX, norm="sideways")
    with pytest.raises(IndexError, match=f"^{name}: axis 2 is out of bounds for an array of 2 dimensions"):
        function(MATRIX, axis=2)
    with pytest.raises(IndexError, match=f"^{name}: axis -1 is out of bounds for an array of 0"):
        function(xp.asarray(1.0))


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_bad_arguments_of_transforms_along_several_axes(name):
    function = getattr(xp.fft, name)
    with pytest.raises(TypeError, match=f"^{name}: .*numeric .*not bool"):
        function(MATRIX > 1)
    with pytest.raises(TypeError, match=f"^{name}: takes an Array, not list"):
        function([1.0])
    with pytest.raises(TypeError, match=f"^{name}: a size must be an integer, not float"):
        function(MATRIX, s=(2.0,), axes=(0,))
    with pytest.raises(ValueError, match=rf"^{name}: sizes \(2, 2\) need axes"):
        function(MATRIX, s=(2, 2))
    with pytest.raises(ValueError, match=f"^{name}: 1 sizes for 2 axes"):
        function(MATRIX, s=(2,), axes=(0, 1))
    with pytest.raises(ValueError, match=f"^{name}: there is no transform of 0 elements"):
        function(MATRIX, s=(0,), axes=(0,))
    with pytest.raises(ValueError, match=f"^{name}: .*twice"):
        function(MATRIX, axes=(0, -2))
    with pytest.raises(ValueError, match=f"^{name}: norm is .*not None"):
        function(MATRIX, norm=None)
    with pytest.raises(IndexError, match=f"^{name}: axis 2 is out of bounds for an array of 2 dimensions"):
        function(MATRIX, axes=(0, 2))


@pytest.mark.parametrize("name", sorted(OF_REALS))
def test_transforms_of_reals_refuse_complex_numbers(name):
    with pytest.raises(TypeError, match=f"^{name}: real numeric .*not complex128"):
        getattr(xp.fft, name)(xp.asarray([1j, 2.0]))


@pytest.mark.parametrize("name", ["rfftn", "irfftn"])
def test_transforms_that_halve_an_axis_need_one(name):
    with pytest.raises(ValueError, match=f"^{name}: needs at least one axis"):
        getattr(xp.fft, name)(xp.asarray(1.0))


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
def test_bad_arguments_of_frequencies(name):
    function = getattr(xp.fft, name)
    with pytest.raises(TypeError, match=f"^{name}: n must be an integer, not float"):
        function(4.0)
    with pytest.raises(TypeError, match=f"^{name}: d must be real"):
        function(4, d=1j)
    with pytest.raises(TypeError, match=f"^{name}: takes numbers, not str"):
        function(4, d="1")
    with pytest.raises(TypeError, match=f"^{name}: real floating .*not complex64"):
        function(4, dtype=xp.complex64)
    with pytest.raises(ValueError, match=f"^{name}: there are no frequencies of 0 samples"):
        function(0)
    with pytest.raises(ValueError, match=f"^{name}: there are no frequencies of 4 samples 0 apart"):
        function(4, d=0)
    with pytest.raises(ValueError, match=f"^{name}: no device 'moon'"):
        function(4, device="moon")


@pytest.mark.parametrize("name", ["fftshift", "ifftshift"])
def test_bad_arguments_of_shifts(name):
    function = getattr(xp.fft, name)
    with pytest.raises(TypeError, match=f"^{name}: takes an Array, not list"):
        function([1.0])
    with pytest.raises(IndexError, match=f"^{name}: axis 2 is out of bounds"):
        function(MATRIX, axes=2)
    with pytest.raises(ValueError, match=f"^{name}: .*twice"):
        function(MATRIX, axes=(0, 0))
