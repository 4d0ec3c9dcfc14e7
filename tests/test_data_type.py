"""The data type functions, the inspection of the namespace, and the constants."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, check, samples

import toonygrad as xp
from toonygrad import dtypes


@given(arrays(), st.sampled_from(dtypes.ALL))
def test_astype(x, dtype):
    y = xp.asarray(x)
    if x.dtype.kind == "c" and dtype.kind not in "cb":
        with pytest.raises(TypeError, match=f"astype: {x.dtype} can't be {dtype}"):
            xp.astype(y, dtype)
        return
    if x.dtype.kind == "f" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole = [0 if np.isnan(one) else math.trunc(float(one)) for one in x.flat]
        kept = [min(max(one, limits.min), limits.max) for one in whole]
        check(xp.astype(y, dtype), np.array(kept, dtype).reshape(x.shape))
    else:
        check(xp.astype(y, dtype), x.astype(dtype))
    assert (xp.astype(y, dtype, copy=False) is y) == (dtype == x.dtype)
    assert xp.astype(y, dtype) is not y


@pytest.mark.parametrize("source", dtypes.REAL_FLOATING, ids=str)
@pytest.mark.parametrize("target", dtypes.INTEGERS, ids=str)
def test_casts_out_of_range_saturate(source, target):
    limits = np.iinfo(target)
    x = xp.asarray(np.array([np.inf, -np.inf, np.nan, 1e30, -1e30, 2.9, -0.9], source))
    check(
        xp.astype(x, target),
        np.array([limits.max, limits.min, 0, limits.max, limits.min, 2, 0], target),
    )


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_casts_of_numbers_that_are_not_arrays_yet(dtype):
    """A recorded scalar is converted at once, and as its elements would be."""
    for value in (0, 1, 300, -1, 2**40):
        check(xp.astype(xp.asarray(value), dtype), np.array(value).astype(dtype))


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_truth_of_every_type(dtype):
    x = samples(dtype)
    check(xp.astype(xp.asarray(x), xp.bool), x.astype(bool))


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_limits(dtype):
    for given_type in (dtype, xp.ones(1, dtype=dtype)):
        if dtype in dtypes.INTEGERS:
            found, theirs = xp.iinfo(given_type), np.iinfo(dtype)
            assert (found.bits, found.min, found.max) == (theirs.bits, theirs.min, theirs.max)
            assert found.dtype == dtype
            assert type(found.max) is int
        else:
            with pytest.raises(TypeError, match=f"iinfo: .*{dtype}"):
                xp.iinfo(given_type)
        if dtype in dtypes.FLOATING:
            part = dtypes.REAL_PART.get(dtype, dtype)
            found, theirs = xp.finfo(given_type), np.finfo(part)
            for name in ("eps", "max", "min", "smallest_normal"):
                assert getattr(found, name) == getattr(theirs, name)
                assert type(getattr(found, name)) is float
            assert (found.bits, found.dtype) == (theirs.bits, part)
        else:
            with pytest.raises(TypeError, match=f"finfo: .*{dtype}"):
                xp.finfo(given_type)


def test_isdtype():
    kinds = {
        "bool": "b",
        "signed integer": "i",
        "unsigned integer": "u",
        "integral": "iu",
        "real floating": "f",
        "complex floating": "c",
        "numeric": "iufc",
    }
    for dtype in dtypes.ALL:
        for kind, letters in kinds.items():
            assert xp.isdtype(dtype, kind) == (dtype.kind in letters)
        assert xp.isdtype(dtype, dtype)
        assert xp.isdtype(dtype, ("bool", "numeric"))
        assert not xp.isdtype(dtype, ())
        assert xp.isdtype(dtype, (xp.int8, xp.bool)) == (dtype in (xp.int8, xp.bool))
    with pytest.raises(ValueError, match="isdtype: no kind 'real'"):
        xp.isdtype(xp.float32, "real")


def test_constants():
    assert (xp.pi, xp.e, xp.inf, xp.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(xp.nan)


def test_inspection():
    info = xp.__array_namespace_info__()
    capabilities = info.capabilities()
    assert capabilities == {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}
    assert info.default_device() in info.devices() == ("cpu",)
    defaults = info.default_dtypes(device="cpu")
    assert defaults["real floating"] == xp.zeros(1).dtype
    assert defaults["integral"] == xp.asarray(1).dtype
    assert defaults["complex floating"] == xp.asarray(1j).dtype
    assert defaults["indexing"] == xp.argmax(xp.zeros(1)).dtype
    every = info.dtypes()
    assert every == {dtype.name: dtype for dtype in dtypes.ALL}
    assert all(getattr(xp, name) is dtype.type for name, dtype in every.items())
    assert set(info.dtypes(kind="unsigned integer")) == {"uint8", "uint16", "uint32", "uint64"}
    assert set(info.dtypes(kind=("bool", "real floating"))) == {"bool", "float32", "float64"}
    for call in (
        lambda: info.dtypes(device="moon"),
        lambda: info.dtypes(kind="odd"),
        lambda: info.default_dtypes(device="moon"),
    ):
        with pytest.raises(ValueError):
            call()
