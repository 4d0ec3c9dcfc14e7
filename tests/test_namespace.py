"""The face of the package: which names there are, and what they are."""

import doctest
import inspect
import sys
from importlib import metadata

import pytest

import toonygrad as xp
from toonygrad import array_api, dtypes
from toonygrad.config import settings

# The standard's functions (2025.12) outside linalg and fft.
FUNCTIONS = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
    "astype",
    "can_cast",
    "finfo",
    "iinfo",
    "isdtype",
    "result_type",
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_invert",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "equal",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "square",
    "sqrt",
    "subtract",
    "tan",
    "tanh",
    "trunc",
    "take",
    "take_along_axis",
    "matmul",
    "matrix_transpose",
    "tensordot",
    "vecdot",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "unstack",
    "argmax",
    "argmin",
    "count_nonzero",
    "nonzero",
    "searchsorted",
    "where",
    "isin",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "argsort",
    "sort",
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
    "all",
    "any",
    "diff",
    "__array_namespace_info__",
]


def test_everything_is_there():
    names = {*FUNCTIONS, *(dtype.name for dtype in dtypes.ALL), "float16", "e", "inf", "nan", "newaxis", "pi"}
    names |= {"fft", "linalg"}
    ours = {"Array", "config", "counters", "explain", "realize", "trim_memory"}
    ours |= {"__version__", "__array_api_version__"}
    assert set(xp.__all__) == names | ours
    assert len(xp.__all__) == len(set(xp.__all__))
    assert all(hasattr(xp, name) for name in xp.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented(name):
    function = getattr(xp, name)
    assert callable(function)
    assert "standard's" in function.__doc__
    assert function.__name__ == name
    module = sys.modules[function.__module__]
    assert module.__name__.startswith(array_api.__name__ + ".")
    assert name in module.__all__
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
    assert signature.return_annotation is not inspect.Parameter.empty


def test_versions():
    assert xp.__array_api_version__ == "2025.12"
    assert xp.__version__ == metadata.version("toonygrad")


def test_the_face_is_not_hidden_by_modules_of_the_same_name():
    with xp.config(compile="never", num_threads=1):
        assert (settings.compile, settings.num_threads) == ("never", 1)
    assert callable(xp.realize) and not inspect.ismodule(xp.realize)
    assert callable(xp.explain) and not inspect.ismodule(xp.explain)
    assert xp.counters() - xp.counters() == type(xp.counters())()


def test_the_example_in_the_documentation():
    assert doctest.testmod(xp).failed == 0
