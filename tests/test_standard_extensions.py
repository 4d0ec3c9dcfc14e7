"""Linear algebra and Fourier transforms against NumPy, with arguments drawn by hypothesis.extra.array_api.

The core's chapter and the extensions linalg and fft; the last test says that no function of these is missing.
"""

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
    along_axis,
    arrays,
    axis_of,
    beside,
    broadcastable,
    call,
    data_types,
    eighths,
    in_floats,
    shapes,
    some,
    unit,
    xps,
)

import toonygrad as xp

_MATRICES = arrays("any", shapes(2, max_dims=4))
_OFFSET = st.integers(-5, 5)

# -- products --------------------------------------------------------------------------------------


@st.composite
def multiplied(draw: Draw) -> Call:
    """Stacks of matrices, or vectors, whose inner sizes agree and whose stacks broadcast."""
    stacks = draw(broadcastable(2, max_dims=1)).input_shapes
    rows, inner, columns = (draw(st.integers(0, 4)) for _ in range(3))
    left = draw(st.sampled_from(((*stacks[0], rows, inner), (inner,))))
    right = draw(st.sampled_from(((*stacks[1], inner, columns), (inner,))))
    return draw(two("numeric", left, right))


@st.composite
def two(draw: Draw, kind: str, first: tuple[int, ...], second: tuple[int, ...]) -> Call:
    """Two arrays of these shapes with a common data type."""
    dtype = draw(data_types(kind))
    other = draw(beside(dtype, kind))
    x1 = draw(xps.arrays(dtype, first, elements=eighths(dtype)))
    return Call((x1, draw(xps.arrays(other, second, elements=eighths(other)))), {})


@st.composite
def contracted(draw: Draw) -> Call:
    """Two arrays with some sizes in common: by a number of axes, or by naming them."""
    first, shared, second = (draw(shapes(max_dims=2)) for _ in range(3))
    axes = len(shared)
    named = tuple(range(-axes, 0)), tuple(range(axes))
    drawn = draw(two("numeric", (*first, *shared), (*shared, *second)))
    return Call(drawn.args, {"axes": draw(st.sampled_from((axes, named)))})


@st.composite
def along_last(draw: Draw, sizes: st.SearchStrategy[int]) -> Call:
    """Vectors of a size along an axis counted from the last one."""
    before, behind = (draw(shapes(max_dims=1)) for _ in range(2))
    shape = (*before, draw(sizes), *behind)
    drawn = draw(two("numeric", shape, shape[draw(st.integers(0, len(before))) :]))
    return Call(drawn.args, {"axis": -1 - len(behind)})


@st.composite
def vectors(draw: Draw) -> Call:
    return draw(two("numeric", (draw(st.integers(0, 4)),), (draw(st.integers(0, 4)),)))


PRODUCTS = {
    "matmul": Case(multiplied(), np.matmul),
    "matrix_transpose": Case(call(_MATRICES), np.matrix_transpose),
    "tensordot": Case(contracted(), np.tensordot),
    "vecdot": Case(along_last(st.integers(0, 4)), np.vecdot),
}
LINEAR_ALGEBRA = PRODUCTS

# -- linalg ----------------------------------------------------------------------------------------


@st.composite
def matrices(draw: Draw, kind: str = "numeric", min_side: int = 0) -> xp.Array:
    dtype = draw(data_types(kind))
    return draw(xps.arrays(dtype, shapes(2, min_side), elements=eighths(dtype)))


@st.composite
def square(draw: Draw, elements: Elements = eighths) -> xp.Array:
    *stack, size = draw(shapes(1))
    dtype = draw(data_types("numeric"))
    return draw(xps.arrays(dtype, (*stack, size, size), elements=elements(dtype)))


def regular(x: xp.Array) -> xp.Array:
    """What has elements up to 1, made a matrix far from singular by its diagonal."""
    return x + xp.astype(16 * xp.eye(x.shape[-1]), x.dtype)


def definite(x: xp.Array) -> xp.Array:
    """Hermitian, and positive definite by its diagonal."""
    return regular(x + xp.conj(xp.matrix_transpose(x)))


_REGULAR = square(unit).map(regular)
_DEFINITE = square(unit).map(definite)


@st.composite
def systems(draw: Draw) -> Call:
    left = draw(_REGULAR)
    size = left.shape[-1]
    right = draw(st.sampled_from(((size,), (*left.shape[:-1], draw(st.integers(0, 3))))))
    dtype = draw(beside(left.dtype, "numeric"))
    return Call((left, draw(xps.arrays(dtype, right, elements=eighths(dtype)))), {})


def always_complex(x: np.ndarray) -> Any:
    """Eigenvalues and vectors, complex where NumPy finds them real."""
    values, vectors = np.linalg.eig(x)
    return [part.astype(np.result_type(part, np.complex64)) for part in (values, vectors)]


ORDERS = st.sampled_from((1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc"))
LINALG = {
    **PRODUCTS,
    "cholesky": Case(call(_DEFINITE, upper=st.booleans()), in_floats(np.linalg.cholesky), 64),
    "cross": Case(along_last(st.just(3)), np.linalg.cross),
    "det": Case(call(_REGULAR), in_floats(np.linalg.det), 64),
    "diagonal": Case(call(_MATRICES, offset=_OFFSET), np.linalg.diagonal),
    "eig": Case(call(square()), in_floats(always_complex), 64, slack=64),
    "eigh": Case(call(_DEFINITE), in_floats(lambda x: tuple(np.linalg.eigh(x))), 64, slack=64),
    "eigvals": Case(call(square()), in_floats(lambda x: always_complex(x)[0]), 64, slack=64),
    "eigvalsh": Case(call(_DEFINITE), in_floats(np.linalg.eigvalsh), 64),
    "inv": Case(call(_REGULAR), in_floats(np.linalg.inv), 64, slack=64),
    "matrix_norm": Case(
        call(matrices(min_side=1), keepdims=st.booleans(), ord=ORDERS), in_floats(np.linalg.matrix_norm), 64
    ),
    "matrix_power": Case(call(_REGULAR, st.integers(-3, 5)), in_floats(np.linalg.matrix_power), 64, slack=64),
    "matrix_rank": Case(call(matrices(min_side=1)), in_floats(np.linalg.matrix_rank)),
    "outer": Case(vectors(), np.linalg.outer),
    "pinv": Case(call(_REGULAR), in_floats(np.linalg.pinv), 64, slack=64),
    "qr": Case(
        call(matrices(), mode=st.sampled_from(("reduced", "complete"))),
        in_floats(lambda x, mode="reduced": tuple(np.linalg.qr(x, mode))),
        64,
        slack=64,
    ),
    "slogdet": Case(call(_REGULAR), in_floats(lambda x: tuple(np.linalg.slogdet(x))), 64),
    "solve": Case(systems(), in_floats(np.linalg.solve), 64, slack=64),
    "svd": Case(
        call(matrices(), full_matrices=st.booleans()),
        in_floats(lambda x, full_matrices=True: tuple(np.linalg.svd(x, full_matrices))),
        64,
        slack=64,
    ),
    "svdvals": Case(call(matrices()), in_floats(np.linalg.svdvals), 64, slack=64),
    "trace": Case(call(matrices(), offset=_OFFSET), np.linalg.trace),
    "vector_norm": Case(
        along_axes(
            "numeric", eighths, min_side=1, ord=st.sampled_from((0, 1, 2, 3, 0.5, -1, np.inf, -np.inf))
        ),
        in_floats(np.linalg.vector_norm),
        8,
    ),
}

# -- fft -------------------------------------------------------------------------------------------

_NORMS = st.sampled_from(("backward", "ortho", "forward"))
_LENGTH = st.integers(1, 6)


@st.composite
def transformed(draw: Draw, kind: str) -> Call:
    """Along one axis, of at least two elements: half a transform of one has none."""
    return draw(along_axis(kind, eighths, min_side=2, n=_LENGTH, norm=_NORMS))


@st.composite
def transformed_along_several(draw: Draw, kind: str) -> Call:
    x = draw(arrays(kind, shapes(1, 2), eighths))
    axes = draw(xps.valid_tuple_axes(x.ndim, min_size=1))
    lengths = st.tuples(*[_LENGTH] * len(axes))
    where = draw(st.sampled_from(({}, {"axes": axes}, {"axes": axes, "s": draw(lengths)})))
    return Call((x,), {**where, **some(draw, norm=_NORMS)})


_SAMPLES = call(st.integers(1, 20), d=st.sampled_from((0.1, 1.0, 3)), dtype=data_types("real floating"))


def frequencies(function: Any) -> Any:
    return lambda n, d=1.0, dtype=np.float64: function(n, d).astype(dtype)


@st.composite
def shifted(draw: Draw) -> Call:
    x = draw(arrays("any", shapes(1)))
    return Call((x,), some(draw, axes=axis_of(x) | xps.valid_tuple_axes(x.ndim, min_size=1)))


FFT = {
    **{
        name: Case(transformed("numeric"), in_floats(getattr(np.fft, name)), 16, slack=512)
        for name in ("fft", "ifft", "irfft", "hfft")
    },
    **{
        name: Case(transformed("real numeric"), in_floats(getattr(np.fft, name)), 16, slack=512)
        for name in ("rfft", "ihfft")
    },
    **{
        name: Case(transformed_along_several("numeric"), in_floats(getattr(np.fft, name)), 16, slack=4096)
        for name in ("fftn", "ifftn", "irfftn")
    },
    "rfftn": Case(transformed_along_several("real numeric"), in_floats(np.fft.rfftn), 16, slack=4096),
    "fftfreq": Case(_SAMPLES, frequencies(np.fft.fftfreq), 2),
    "rfftfreq": Case(_SAMPLES, frequencies(np.fft.rfftfreq), 2),
    "fftshift": Case(shifted(), np.fft.fftshift),
    "ifftshift": Case(shifted(), np.fft.ifftshift),
}

CASES = {
    **{f"linalg.{name}": (getattr(xp.linalg, name), case) for name, case in LINALG.items()},
    **{f"fft.{name}": (getattr(xp.fft, name), case) for name, case in FFT.items()},
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20)
@given(data=st.data())
def test_like_numpy(name, data):
    function, case = CASES[name]
    case.compare(function, data.draw(case.arguments))


def test_no_function_is_missing():
    assert set(LINALG) == set(xp.linalg.__all__)
    assert set(FFT) == set(xp.fft.__all__)
    assert all(getattr(xp.linalg, name) is getattr(xp, name) for name in PRODUCTS)
