"""Every function of the namespace against NumPy, with arguments drawn by hypothesis.extra.array_api.

The tables say how arguments are drawn and how near the answers have to be; the last test says that no
function is missing. What moves and picks elements is in test_standard_arrays.py, linear algebra and Fourier
transforms are in test_standard_extensions.py.
"""

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standard_cases import (
    Call,
    Case,
    Draw,
    Elements,
    along_axes,
    arrays,
    axis_of,
    call,
    data_types,
    eighths,
    halves,
    in_floats,
    operands,
    positive,
    several,
    shapes,
    small,
    some,
    tame,
    wild,
    xps,
)
from test_standard_arrays import ARRAYS
from test_standard_extensions import LINEAR_ALGEBRA

import toonygrad as xp
from toonygrad import dtypes

# Settings, counters and the engine's own, which NumPy has none of.
OURS = {"config", "counters", "explain", "realize", "trim_memory"}

# -- element-wise functions ------------------------------------------------------------------------


def exponents(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """What can be an exponent: of integers none below zero."""
    return tame(dtype, 0 if dtype in dtypes.INTEGERS else -5, 5)


def shifts(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """From 0 to past the width."""
    return tame(dtype, 0, 70)


# Equal to NumPy's: name -> kinds of data types.
EXACT = {
    "bitwise_invert": "integer or boolean",
    "ceil": "real numeric",
    "conj": "numeric",
    "floor": "real numeric",
    "imag": "numeric",
    "isfinite": "numeric",
    "isinf": "numeric",
    "isnan": "numeric",
    "logical_not": "any",
    "negative": "numeric",
    "positive": "numeric",
    "real": "numeric",
    "round": "real numeric",
    "signbit": "real floating",
    "trunc": "real numeric",
}
EXACT_PAIRS = {
    "add": "numeric",
    "bitwise_and": "integer or boolean",
    "bitwise_or": "integer or boolean",
    "bitwise_xor": "integer or boolean",
    "copysign": "real floating",
    "equal": "any",
    "greater": "real numeric",
    "greater_equal": "real numeric",
    "less": "real numeric",
    "less_equal": "real numeric",
    "logical_and": "any",
    "logical_or": "any",
    "logical_xor": "any",
    "maximum": "real numeric",
    "minimum": "real numeric",
    "nextafter": "real floating",
    "not_equal": "any",
    "subtract": "numeric",
}
# Of integers and real floats, and as near as 4 ULP: any number at all.
REAL = ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log", "log10")
REAL += ("log1p", "log2", "reciprocal", "sin", "sinh", "sqrt", "tan", "tanh")

ELEMENTWISE = {
    **{name: Case(call(arrays(kind)), getattr(np, name)) for name, kind in EXACT.items()},
    **{name: Case(operands(kind), getattr(np, name)) for name, kind in EXACT_PAIRS.items()},
    **{name: Case(call(arrays("real numeric")), in_floats(getattr(np, name)), 4) for name in REAL},
    "abs": Case(call(arrays("real numeric") | arrays("numeric", elements=tame)), np.abs, 2),
    "atan2": Case(operands("real numeric"), in_floats(np.atan2), 4),
    "bitwise_left_shift": Case(operands("integral", wild, shifts), np.bitwise_left_shift),
    "bitwise_right_shift": Case(operands("integral", wild, shifts), np.bitwise_right_shift),
    "divide": Case(operands("real numeric") | operands("numeric", tame, positive), in_floats(np.divide), 4),
    "floor_divide": Case(operands("real numeric", tame, positive), np.floor_divide),
    "hypot": Case(operands("real numeric"), in_floats(np.hypot), 4),
    "logaddexp": Case(operands("real numeric"), in_floats(np.logaddexp), 4, slack=4),
    "multiply": Case(operands("real numeric") | operands("numeric", tame), np.multiply, 4),
    "pow": Case(operands("real numeric", positive, exponents), np.pow, 4),
    "remainder": Case(operands("real numeric", tame, positive), np.remainder),
    "sign": Case(call(arrays("real numeric") | arrays("numeric", elements=tame)), np.sign, 4),
    "square": Case(call(arrays("real numeric") | arrays("numeric", elements=tame)), np.square, 4),
}

# Of complex numbers: their parts together as near as 4 ULP of the modulus.
ELEMENTWISE |= {
    f"{name} of complex": Case(call(arrays("floating", elements=small)), getattr(np, name), 4, slack=4)
    for name in REAL
    if name not in ("expm1", "log1p", "reciprocal")  # NumPy's first two lose their digits near zero
}
ELEMENTWISE["reciprocal of complex"] = Case(call(arrays("floating", elements=positive)), np.reciprocal, 4)


@st.composite
def clipped(draw: Draw) -> Call:
    x, least, most = draw(several("real numeric", 3, tame))
    least, most = (draw(st.just(bound) | st.none() | tame(x.dtype)) for bound in (least, most))
    return Call((x, least, most), {})


def clip(x: np.ndarray, least: Any, most: Any) -> np.ndarray:
    """What NumPy answers, but the least where both bounds can't hold."""
    for bound, pick in ((most, np.minimum), (least, np.maximum)):
        x = x if bound is None else pick(x, bound)
    return x


ELEMENTWISE["clip"] = Case(clipped(), clip)


# -- creation functions ----------------------------------------------------------------------------

_SHAPES = shapes() | st.integers(0, 4) | shapes().map(list)
_TYPES = st.none() | data_types("any")
_SIZE = st.integers(0, 5)
_DIAGONAL = st.integers(-6, 6)
_MATRICES = arrays("any", shapes(2, max_dims=4))


@st.composite
def ranges(draw: Draw) -> Call:
    """Numbers whose multiples and sums are exact."""
    dtype = draw(st.sampled_from((dtypes.int64, dtypes.float64)))
    steps = eighths(dtype).filter(lambda step: abs(step) >= 0.5)
    types = st.sampled_from(
        (dtypes.int16, dtype, dtypes.float32) if dtype.kind == "i" else (dtype, dtypes.float32)
    )
    number = eighths(dtype)
    ends = draw(st.tuples(number) | st.tuples(number, number) | st.tuples(number, number, steps))
    return Call(ends, some(draw, dtype=types, device=st.just("cpu")))


@st.composite
def spaces(draw: Draw) -> Call:
    dtype = draw(data_types("floating"))
    start, stop = draw(tame(dtype)), draw(tame(dtype))
    types = [dtypes.complex64, dtype] if dtype.kind == "c" else [dtypes.int16, dtypes.complex64, dtype]
    return Call(
        (start, stop, draw(st.integers(0, 9))),
        some(draw, dtype=st.sampled_from(types), endpoint=st.booleans()),
    )


@st.composite
def objects(draw: Draw) -> Call:
    x = draw(arrays("any", elements=tame))
    forms = (x, np.asarray(x), np.asarray(x).tolist())
    return Call((draw(st.sampled_from(forms)),), some(draw, copy=st.sampled_from((None, True))))


@st.composite
def fillings(draw: Draw) -> Call:
    dtype = draw(data_types("any"))
    number = draw(tame(dtype) | xps.arrays(dtype, (), elements=wild(dtype)))
    return Call((draw(_SHAPES), number), some(draw, dtype=st.just(dtype)))


@st.composite
def fillings_like(draw: Draw) -> Call:
    x = draw(arrays("any"))
    return Call((x, draw(wild(x.dtype))), {})


def constant(value: int) -> Case:
    def reference(shape: Any, dtype: Any = None, device: Any = None) -> np.ndarray:
        return np.full(shape, value, np.float64 if dtype is None else dtype)

    return Case(call(_SHAPES, dtype=_TYPES, device=st.just("cpu")), reference)


def constant_like(value: int) -> Case:
    def reference(x: np.ndarray, dtype: Any = None, device: Any = None) -> np.ndarray:
        return np.full(x.shape, value, x.dtype if dtype is None else dtype)

    return Case(call(arrays("any"), dtype=_TYPES, device=st.just("cpu")), reference)


CREATION = {
    "arange": Case(ranges(), np.arange),
    "asarray": Case(objects(), np.asarray),
    "empty": constant(0),
    "empty_like": constant_like(0),
    "eye": Case(call(_SIZE, _SIZE | st.none(), k=_DIAGONAL, dtype=_TYPES), np.eye),
    "from_dlpack": Case(call(arrays("any").map(np.asarray), copy=st.booleans()), lambda x, copy=None: x),
    "full": Case(fillings(), np.full),
    "full_like": Case(fillings_like(), np.full_like),
    "linspace": Case(spaces(), np.linspace, 4, slack=800),
    "meshgrid": Case(
        st.builds(
            Call,
            st.lists(arrays("any", shapes(1, max_dims=1)), max_size=3).map(tuple),
            st.fixed_dictionaries({}, optional={"indexing": st.sampled_from(("xy", "ij"))}),
        ),
        np.meshgrid,
    ),
    "ones": constant(1),
    "ones_like": constant_like(1),
    "tril": Case(call(_MATRICES, k=_DIAGONAL), np.tril),
    "triu": Case(call(_MATRICES, k=_DIAGONAL), np.triu),
    "zeros": constant(0),
    "zeros_like": constant_like(0),
}

# -- data types and inspection ---------------------------------------------------------------------

_KINDS = st.sampled_from(
    ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric")
)
_LIMITS = ("bits", "max", "min", "eps", "smallest_normal")


def limits(namespace: Any, question: str, *names: str) -> Any:
    """The attributes of what `finfo` or `iinfo` answers, as Python floats."""

    def answer(dtype: np.dtype) -> list[Any]:
        found = getattr(namespace, question)(dtype)
        return [found.dtype, *(float(getattr(found, name)) for name in names)]

    return answer


@st.composite
def conversions(draw: Draw) -> Call:
    """To whatever holds the numbers; fractions may be lost, an imaginary part not."""
    x = draw(arrays("any", elements=lambda dtype: tame(dtype, 0, 100)))
    targets = data_types("any").filter(lambda target: x.dtype.kind != "c" or target.kind in "cb")
    return Call((x, draw(targets)), some(draw, copy=st.booleans(), device=st.just("cpu")))


@st.composite
def casts(draw: Draw) -> Call:
    """Of truth values to themselves alone: NumPy takes them for numbers."""
    source = draw(data_types("any"))
    return Call((source, draw(st.just(source) if source == dtypes.bool_ else data_types("any"))), {})


@st.composite
def mixtures(draw: Draw) -> Call:
    a, b, c = draw(several("any", 3, tame))
    forms = [draw(st.sampled_from((x, x.dtype))) for x in (a, b)]
    return Call((*forms, draw(tame(c.dtype)) if a.dtype.kind == c.dtype.kind else c), {})


def inspected(namespace: Any) -> Any:
    return lambda question, **options: getattr(namespace.__array_namespace_info__(), question)(**options)


_QUESTIONS = st.sampled_from(("capabilities", "default_device", "default_dtypes", "dtypes"))


DATA_TYPES = {
    "__array_namespace_info__": Case(
        call(_QUESTIONS) | call(st.just("dtypes"), kind=_KINDS), inspected(np), ours=inspected(xp)
    ),
    "astype": Case(conversions(), lambda x, dtype, copy=True, device=None: x.astype(dtype)),
    "can_cast": Case(casts(), np.can_cast),
    "finfo": Case(
        call(data_types("floating")), limits(np, "finfo", *_LIMITS), ours=limits(xp, "finfo", *_LIMITS)
    ),
    "iinfo": Case(
        call(data_types("integral")),
        limits(np, "iinfo", *_LIMITS[:3]),
        ours=limits(xp, "iinfo", *_LIMITS[:3]),
    ),
    "isdtype": Case(
        call(data_types("any"), _KINDS | data_types("any") | st.tuples(_KINDS, data_types("any"))), np.isdtype
    ),
    "result_type": Case(mixtures(), np.result_type),
}

# -- statistics and utility functions --------------------------------------------------------------


def sums_in(dtype: np.dtype) -> st.SearchStrategy[np.dtype | None]:
    """In which types numbers of a type may be added: none that would lose an imaginary part or a sign."""
    kinds = {"c": "c", "f": "ifc"}.get(dtype.kind, "iufc")
    return st.none() | data_types("numeric").filter(lambda wanted: wanted.kind in kinds)


@st.composite
def totals(draw: Draw, elements: Elements) -> Call:
    drawn = draw(along_axes("any", elements))
    return Call(drawn.args, {**drawn.kwargs, **some(draw, dtype=sums_in(drawn.args[0].dtype))})


@st.composite
def running(draw: Draw, elements: Elements) -> Call:
    x = draw(arrays("any", shapes(1), elements))
    axis = {} if x.ndim == 1 and draw(st.booleans()) else {"axis": draw(axis_of(x))}
    return Call((x,), {**axis, **some(draw, dtype=sums_in(x.dtype), include_initial=st.booleans())})


@st.composite
def differences(draw: Draw) -> Call:
    x = draw(arrays("numeric", shapes(1), eighths))
    axis = draw(axis_of(x))
    shape = list(x.shape)
    shape[axis] = draw(st.integers(0, 2))
    ends = xps.arrays(x.dtype, tuple(shape), elements=eighths(x.dtype))
    joined = some(draw, prepend=ends, append=ends)
    # NumPy joins nothing where n is 0.
    return Call((x,), {"axis": axis, "n": draw(st.integers(1 if joined else 0, 5)), **joined})


_EXTREMES = along_axes("real or boolean", min_side=1)
_SPREAD = along_axes("real or boolean", eighths, correction=st.sampled_from((0, 1, 0.5)))
STATISTICS = {
    "all": Case(along_axes("any"), np.all),
    "any": Case(along_axes("any"), np.any),
    "cumulative_prod": Case(running(halves), np.cumulative_prod, 256),
    "cumulative_sum": Case(running(eighths), np.cumulative_sum),
    "diff": Case(differences(), np.diff),
    "max": Case(_EXTREMES, np.max),
    "mean": Case(along_axes("any", eighths), np.mean, 4),
    "min": Case(_EXTREMES, np.min),
    "prod": Case(totals(halves), np.prod, 256),
    "std": Case(_SPREAD, np.std, 8),
    "sum": Case(totals(eighths), np.sum),
    "var": Case(_SPREAD, np.var, 8),
}


# -- the tests -------------------------------------------------------------------------------------

CASES = ELEMENTWISE | CREATION | DATA_TYPES | STATISTICS
# Some of everything, for the ways that small arrays don't take by themselves.
SAMPLE = ("add", "sqrt", "where", "sum", "var", "argmax", "cumulative_sum", "concat", "roll", "take", "tril")


def function_of(name: str) -> Any:
    return getattr(xp, name.partition(" ")[0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20)
@given(data=st.data())
def test_like_numpy(name, data):
    CASES[name].compare(function_of(name), data.draw(CASES[name].arguments))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mode", ["always", "never"])
@pytest.mark.parametrize("name", SAMPLE)
@settings(max_examples=6)
@given(data=st.data())
def test_like_numpy_however_computed(name, mode, data):
    case = (CASES | ARRAYS)[name]
    drawn = data.draw(case.arguments)
    with xp.config(compile=mode):
        case.compare(function_of(name), drawn)


def test_no_function_is_missing():
    functions = {name for name in xp.__all__ if inspect.isfunction(getattr(xp, name))}
    assert functions - OURS == {name.partition(" ")[0] for name in CASES | ARRAYS | LINEAR_ALGEBRA}
