"""Bad arguments end in an exception that names the call, the shapes and the data types, and lose nothing."""

import ctypes

import numpy as np
import pytest
from numpy_reference import check

import toonygrad as xp
from toonygrad import dtypes

FLOATS = xp.asarray([1.0, 2.0, 3.0])
MATRIX = xp.asarray(np.arange(6.0).reshape(2, 3))
COMPLEX = xp.asarray([1j, 2.0])
TRUTHS = xp.asarray([True, False, True])
INTEGERS = xp.asarray([1, 2, 3])

BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "pow",
    "floor_divide",
    "remainder",
    "atan2",
    "hypot",
    "logaddexp",
    "copysign",
    "nextafter",
    "maximum",
    "minimum",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "equal",
    "not_equal",
]
BITWISE = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"]
LOGICAL = ["logical_and", "logical_or", "logical_xor"]
UNARY = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "conj",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "negative",
    "positive",
    "real",
    "reciprocal",
    "round",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]
REDUCTIONS = ["all", "any", "count_nonzero", "max", "mean", "min", "prod", "std", "sum", "var"]
OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


# -- shapes that don't broadcast -------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BINARY, *LOGICAL])
def test_functions_of_shapes_that_do_not_broadcast(name):
    with pytest.raises(ValueError, match=rf"^{name}: shapes \(2, 3\) and \(2,\) do not broadcast"):
        getattr(xp, name)(MATRIX, FLOATS[:2])


@pytest.mark.parametrize("name", BITWISE)
def test_bitwise_functions_of_shapes_that_do_not_broadcast(name):
    with pytest.raises(ValueError, match=rf"^{name}: shapes \(3,\) and \(2,\) do not broadcast"):
        getattr(xp, name)(INTEGERS, INTEGERS[:2])


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_shapes_that_do_not_broadcast(name):
    with pytest.raises(ValueError, match=rf"^__{name}__: shapes \(2, 3\) and \(2,\) do not broadcast"):
        getattr(MATRIX, f"__{name}__")(FLOATS[:2])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: xp.where(TRUTHS, FLOATS[:2], 1.0), r"where: shapes \(3,\) and \(2,\)"),
        (lambda: xp.clip(FLOATS, FLOATS[:2]), r"clip: shapes \(3,\) and \(2,\)"),
        (lambda: xp.broadcast_to(FLOATS, (2, 2)), r"broadcast_to: shapes \(3,\) and \(2, 2\)"),
        (lambda: xp.broadcast_to(MATRIX, (3,)), r"broadcast_to: shapes \(2, 3\) and \(3,\)"),
        (lambda: xp.broadcast_arrays(FLOATS, FLOATS[:2]), r"broadcast_arrays: shapes"),
        (lambda: xp.broadcast_shapes((3,), (2,)), r"broadcast_shapes: shapes \(3,\) and \(2,\)"),
        (lambda: xp.matmul(MATRIX, MATRIX), r"matmul: the inner sizes of \(2, 3\) and \(2, 3\)"),
        (lambda: MATRIX @ MATRIX, r"__matmul__: the inner sizes"),
        (
            lambda: xp.zeros((2, 1, 3)) @ xp.zeros((4, 3, 1)),
            r"__matmul__: shapes \(2, 1, 3\) and \(4, 3, 1\)",
        ),
        (lambda: xp.matmul(FLOATS, xp.asarray(1.0)), r"matmul: operands need at least one dimension"),
        (lambda: xp.vecdot(FLOATS, FLOATS[:2]), r"vecdot: \(3,\) and \(2,\) differ in size"),
        (lambda: xp.vecdot(MATRIX, xp.zeros((3, 3))), r"vecdot: shapes \(2, 3\) and \(3, 3\)"),
        (lambda: xp.vecdot(FLOATS, FLOATS, axis=0), r"vecdot: the axis counts from the last"),
        (lambda: xp.tensordot(MATRIX, MATRIX, axes=1), r"tensordot: axes \[1\] of \(2, 3\) and \[0\]"),
        (lambda: xp.tensordot(MATRIX, MATRIX, axes=3), r"tensordot: 3 axes"),
        (lambda: xp.tensordot(MATRIX, MATRIX, axes=([0, 0], [0, 0])), r"tensordot: .*twice"),
        (lambda: xp.tensordot(MATRIX, MATRIX, axes=([0], [])), r"tensordot: 1 axes"),
        (lambda: xp.concat([MATRIX, FLOATS[None]], axis=1), r"concat: shapes \(2, 3\) and \(1, 3\)"),
        (lambda: xp.concat([MATRIX, FLOATS]), r"concat: shapes \(2, 3\) and \(3,\)"),
        (lambda: xp.concat([xp.asarray(1.0)]), r"concat: 0-d"),
        (lambda: xp.concat([]), r"concat: takes at least one"),
        (lambda: xp.stack([]), r"stack: takes at least one"),
        (lambda: xp.stack([FLOATS, MATRIX]), r"stack: shapes \(3,\) and \(2, 3\)"),
        (lambda: xp.take_along_axis(MATRIX, INTEGERS), r"take_along_axis: \(2, 3\) and \(3,\)"),
        (lambda: xp.take_along_axis(MATRIX, xp.zeros((3, 1), dtype=xp.int64)), r"take_along_axis: shapes"),
        (lambda: xp.reshape(MATRIX, (4, 2)), r"reshape: \(2, 3\) has 6 elements, \(4, 2\) has 8"),
        (lambda: xp.reshape(MATRIX, (-1, 4)), r"reshape: \(2, 3\) has no shape \(-1, 4\)"),
        (lambda: xp.reshape(MATRIX, (-1, -1)), r"reshape: one size may be -1"),
        (lambda: xp.reshape(MATRIX, (-2, 3)), r"reshape: .*negative"),
        (lambda: xp.squeeze(MATRIX, 0), r"squeeze: axis 0 of the shape \(2, 3\)"),
        (lambda: xp.repeat(FLOATS, INTEGERS[:2]), r"repeat: repeats of shape \(2,\)"),
        (lambda: xp.repeat(FLOATS, -1), r"repeat: can't repeat -1"),
        (lambda: xp.repeat(FLOATS, xp.asarray([1, -2, 0])), r"repeat: can't repeat -2"),
        (lambda: xp.tile(FLOATS, (-1,)), r"tile: sizes can't be negative"),
        (lambda: xp.roll(MATRIX, (1, 2)), r"roll: 2 shifts need as many axes"),
        (lambda: xp.roll(MATRIX, (1, 2, 3), axis=(0, 1)), r"roll: 3 shifts for 2 axes"),
        (lambda: xp.meshgrid(MATRIX), r"meshgrid: takes one-dimensional"),
        (lambda: xp.meshgrid(FLOATS, indexing="yx"), r"meshgrid: indexing"),
        (lambda: xp.zeros((2, -1)), r"zeros: sizes can't be negative, as in \(2, -1\)"),
        (lambda: xp.tril(FLOATS), r"tril: needs at least two dimensions, not the shape \(3,\)"),
        (lambda: xp.matrix_transpose(FLOATS), r"matrix_transpose: needs at least two"),
        (lambda: FLOATS.mT, r"mT: needs at least two dimensions"),
        (lambda: FLOATS.T, r"T: needs two dimensions"),
        (lambda: xp.cumulative_sum(MATRIX), r"cumulative_sum: an array of shape \(2, 3\) needs an axis"),
        (lambda: xp.cumulative_prod(xp.asarray(1.0)), r"cumulative_prod: an array of shape \(\)"),
        (lambda: xp.take(MATRIX, INTEGERS), r"take: an array of shape \(2, 3\) needs an axis"),
        (lambda: xp.nonzero(xp.asarray(1.0)), r"nonzero: needs at least one dimension"),
        (lambda: xp.diff(xp.asarray(1.0)), r"diff: needs at least one dimension"),
        (lambda: xp.diff(FLOATS, n=-1), r"diff: n can't be negative"),
        (lambda: xp.diff(MATRIX, prepend=FLOATS), r"diff: shapes"),
        (lambda: xp.arange(0, 5, 0), r"arange: the step can't be 0"),
        (lambda: xp.arange(0.0, xp.inf), r"arange: .*no finite length"),
        (lambda: xp.linspace(0, 1, -1), r"linspace: .*negative"),
        (
            lambda: xp.max(xp.zeros((0, 2))),
            r"max: no elements to choose from along axes \(0, 1\) of the shape \(0, 2\)",
        ),
        (lambda: xp.argmin(xp.zeros((2, 0)), axis=1), r"argmin: no elements to choose from"),
        (lambda: xp.asarray([[1], [2, 3]]), r"asarray: .*inhomogeneous"),
        (lambda: xp.zeros(2, device="moon"), r"zeros: no device 'moon'"),
        (lambda: FLOATS.to_device("moon"), r"to_device: no device 'moon'"),
        (lambda: FLOATS.to_device("cpu", stream=1), r"to_device: the CPU has no streams"),
        (
            lambda: FLOATS.__array_namespace__(api_version="1999.01"),
            r"__array_namespace__: version '1999.01'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_value_errors(call, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def test_in_place_results_must_fit():
    x = xp.asarray([1.0])
    with pytest.raises(ValueError, match=r"^__iadd__: shapes \(1,\) and \(3,\)"):
        x += FLOATS
    with pytest.raises(TypeError, match=r"^__iadd__: .*complex128.*float64"):
        x += 1j
    with pytest.raises(TypeError, match=r"^__iand__: integer or boolean"):
        x &= x
    with pytest.raises(TypeError, match="unsupported operand"):
        x += "text"
    check(x, np.array([1.0]))


# -- mixed kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BINARY)
def test_booleans_and_numbers_do_not_mix(name):
    function = getattr(xp, name)
    with pytest.raises(TypeError, match=f"^{name}: no common data type for bool and float64"):
        function(TRUTHS, FLOATS)
    with pytest.raises(TypeError, match=f"^{name}: no common data type for float64 and a Python bool"):
        function(FLOATS, True)
    with pytest.raises(TypeError, match=f"^{name}: no common data type for bool and a Python float"):
        function(1.5, TRUTHS)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_uint64_and_signed_integers(name):
    with pytest.raises(TypeError, match=f"^__{name}__: no common data type for uint64 and int64.*astype"):
        getattr(xp.ones(2, dtype=xp.uint64), f"__{name}__")(INTEGERS[:2])


# -- wrong types -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ceil", "floor", "trunc", "signbit", "max", "min", "argmax", "argmin", "var", "std", "clip"]
)
def test_functions_of_reals_refuse_complex_numbers(name):
    with pytest.raises(TypeError, match=f"^{name}: real .*not complex128"):
        getattr(xp, name)(COMPLEX)


@pytest.mark.parametrize(
    "name",
    [
        "floor_divide",
        "remainder",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "maximum",
        "minimum",
        "atan2",
        "hypot",
        "logaddexp",
        "copysign",
        "nextafter",
    ],
)
def test_pairs_of_reals_refuse_complex_numbers(name):
    with pytest.raises(TypeError, match=f"^{name}: real .*not complex128"):
        getattr(xp, name)(COMPLEX, COMPLEX)
    with pytest.raises(TypeError, match=f"^{name}: real .*not complex128"):
        getattr(xp, name)(FLOATS[:2], 1j)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_numbers_refuse_booleans(name):
    with pytest.raises(TypeError, match=f"^{name}: .*numeric.*not bool|^{name}: .*floating.*not bool"):
        getattr(xp, name)(TRUTHS)


@pytest.mark.parametrize("name", [*BITWISE, "bitwise_invert"])
def test_bitwise_functions_refuse_floats(name):
    arguments = (FLOATS,) if name == "bitwise_invert" else (FLOATS, FLOATS)
    with pytest.raises(TypeError, match=f"^{name}: integ.*not float64"):
        getattr(xp, name)(*arguments)


@pytest.mark.parametrize(
    "name", [*UNARY, *REDUCTIONS, "argmax", "nonzero", "flip", "logical_not", "matrix_transpose", "tril"]
)
def test_what_is_no_array_is_refused(name):
    for stranger in ([1.0, 2.0], np.zeros((2, 2)), 1.0, None, "text"):
        with pytest.raises(
            TypeError, match=f"^{name}: takes an Array, not {type(stranger).__name__}; asarray"
        ):
            getattr(xp, name)(stranger)


@pytest.mark.parametrize("name", [*BINARY, *BITWISE, *LOGICAL])
def test_pairs_with_what_is_no_array_are_refused(name):
    for stranger in ([1.0], "text", None, np.zeros(3)):
        for arguments in ((INTEGERS, stranger), (stranger, INTEGERS)):
            with pytest.raises(TypeError, match=f"^{name}: takes an Array, not {type(stranger).__name__}"):
                getattr(xp, name)(*arguments)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: xp.where(FLOATS, 1.0, FLOATS), "where: boolean data types are allowed, not float64"),
        (lambda: xp.take(FLOATS, FLOATS), "take: integral data types are allowed, not float64"),
        (lambda: xp.take_along_axis(FLOATS, FLOATS), "take_along_axis: integral"),
        (lambda: xp.repeat(FLOATS, FLOATS), "repeat: integral"),
        (lambda: xp.repeat(FLOATS, 1.5), "repeat: repeats must be an integer, not float"),
        (lambda: xp.matmul(TRUTHS, TRUTHS), "matmul: numeric data types are allowed, not bool"),
        (lambda: xp.vecdot(TRUTHS, TRUTHS), "vecdot: numeric"),
        (lambda: xp.tensordot(TRUTHS, TRUTHS, axes=1), "tensordot: numeric"),
        (lambda: xp.tensordot(FLOATS, FLOATS, axes="one"), "tensordot: axes are a number or two sequences"),
        (lambda: xp.diff(TRUTHS), "diff: numeric"),
        (lambda: xp.diff(FLOATS, n=1.5), "diff: n must be an integer"),
        (lambda: xp.var(FLOATS, correction=1j), "var: correction must be real"),
        (lambda: xp.astype(COMPLEX, xp.float64), "astype: complex128 can't be float64; take its real"),
        (lambda: xp.astype(FLOATS, "text"), "astype: 'text' is no data type"),
        (lambda: xp.zeros(2, dtype="S4"), "zeros: 'S4' is none of the standard's"),
        (lambda: xp.zeros(2.5), "zeros: a shape holds integers, not 2.5"),
        (lambda: xp.zeros((1, "two")), "zeros: a shape holds integers"),
        (lambda: xp.reshape(FLOATS, (1.5, 2)), "reshape: a shape holds integers"),
        (lambda: xp.asarray("text"), "asarray: <U4 is none"),
        (lambda: xp.asarray(["text"]), "asarray: takes numbers, not str"),
        (lambda: xp.asarray([None]), "asarray: takes numbers, not NoneType"),
        (lambda: xp.asarray(object()), "asarray: object is none"),
        (lambda: xp.asarray(np.zeros(2, "S4")), r"asarray: \|S4 is none"),
        (lambda: xp.asarray(np.zeros(2, "datetime64[s]")), "asarray: datetime64"),
        (lambda: xp.asarray([1j], dtype=xp.float64), "asarray: "),
        (lambda: xp.full(2, 1j, dtype=xp.float64), "full: a complex number can't be a float64"),
        (lambda: xp.full(2, "text"), "full: takes numbers, not str"),
        (lambda: xp.full(2, FLOATS), r"full: the fill value is one number, not an array of shape \(3,\)"),
        (lambda: xp.arange("a"), "arange: takes numbers, not str"),
        (lambda: xp.arange(1j), "arange: takes real numbers"),
        (lambda: xp.arange(3, dtype=xp.bool), "arange: numeric"),
        (lambda: xp.linspace(0, 1j, 3, dtype=xp.float64), "linspace: complex numbers can't be float64"),
        (lambda: xp.linspace(0, 1, 2.5), "linspace: num must be an integer"),
        (lambda: xp.eye(2.5), "eye: n_rows must be an integer"),
        (lambda: xp.eye(2, k=0.5), "eye: k must be an integer"),
        (lambda: xp.sum(FLOATS, axis=1.0), "sum: axis must be an integer, not float"),
        (lambda: xp.sum(FLOATS, axis="x"), "sum: axis must be an integer, not str"),
        (lambda: xp.isdtype("text", "bool"), "isdtype: 'text' is no data type"),
        (lambda: xp.realize(1.0), "realize: takes an Array, not float"),
        (lambda: FLOATS @ 2.0, "unsupported operand"),
        (lambda: ~FLOATS, "__invert__: integer or boolean data types are allowed, not float64"),
        (lambda: -TRUTHS, "__neg__: numeric"),
        (lambda: COMPLEX < COMPLEX, "__lt__: real numeric data types are allowed, not complex128"),
        (lambda: COMPLEX // 2, "__floordiv__: real numeric"),
        (lambda: TRUTHS + TRUTHS, "__add__: numeric"),
        (lambda: FLOATS << FLOATS, "__lshift__: integral"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_type_errors(call, words):
    with pytest.raises(TypeError, match=f"^{words}"):
        call()


# -- axes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *REDUCTIONS,
        "argmax",
        "argmin",
        "cumulative_sum",
        "cumulative_prod",
        "flip",
        "unstack",
        "diff",
        "squeeze",
        "expand_dims",
    ],
)
def test_axes_out_of_bounds(name):
    for axis in (5, -6):
        with pytest.raises(
            IndexError, match=rf"^{name}: axis {axis} is out of bounds for an array of \d dimension"
        ):
            getattr(xp, name)(MATRIX, axis=axis)


@pytest.mark.parametrize(
    "call",
    [
        lambda: xp.concat([MATRIX], axis=2),
        lambda: xp.stack([MATRIX], axis=3),
        lambda: xp.roll(MATRIX, 1, axis=2),
        lambda: xp.repeat(MATRIX, 2, axis=2),
        lambda: xp.moveaxis(MATRIX, 0, 2),
        lambda: xp.permute_dims(MATRIX, (0, 2)),
        lambda: xp.take(MATRIX, INTEGERS, axis=2),
        lambda: xp.take_along_axis(MATRIX, xp.zeros((2, 1), dtype=xp.int64), axis=2),
        lambda: xp.vecdot(MATRIX, MATRIX, axis=-3),
        lambda: xp.tensordot(MATRIX, MATRIX, axes=([2], [0])),
    ],
)
def test_more_axes_out_of_bounds(call):
    with pytest.raises(IndexError, match=r"axis -?\d is out of bounds for an array of \d dimensions"):
        call()


@pytest.mark.parametrize("name", [*REDUCTIONS, "flip", "squeeze", "expand_dims"])
def test_axes_named_twice(name):
    with pytest.raises(ValueError, match=rf"^{name}: axis \(0, -\d\) names an axis twice"):
        getattr(xp, name)(MATRIX, axis=(0, -4 if name == "expand_dims" else -2))


def test_permutations_name_each_axis_once():
    with pytest.raises(ValueError, match="permute_dims"):
        xp.permute_dims(MATRIX, (0, 0))
    with pytest.raises(ValueError, match="permute_dims"):
        xp.permute_dims(MATRIX, (0,))
    with pytest.raises(ValueError, match="moveaxis"):
        xp.moveaxis(MATRIX, (0, 0), (0, 1))
    with pytest.raises(ValueError, match="moveaxis: 2 axes for 1 places"):
        xp.moveaxis(MATRIX, (0, 1), (0,))


# -- numbers that don't fit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: xp.asarray(2**63),
            "asarray: the Python number 9223372036854775808 is out of bounds for int64",
        ),
        (lambda: xp.asarray([2**63]), "asarray: .*out of bounds for int64"),
        (lambda: xp.asarray([2**70]), "asarray: .*out of bounds for int64"),
        (lambda: xp.asarray([300], dtype=xp.uint8), "asarray: .*300"),
        (lambda: xp.asarray(-1, dtype=xp.uint8), "asarray: the Python number -1 is out of bounds for uint8"),
        (lambda: xp.asarray(10**400, dtype=xp.float64), "asarray: .*out of bounds for float64"),
        (lambda: xp.full(2, 256, dtype=xp.uint8), "full: the Python number 256 is out of bounds for uint8"),
        (lambda: xp.full_like(INTEGERS, 2**63), "full_like: .*out of bounds for int64"),
        (lambda: xp.clip(xp.ones(1, dtype=xp.uint8), 0, 256), "clip: .*256 is out of bounds for uint8"),
        (lambda: FLOATS + 10**400, "__add__: .*out of bounds for float64"),
        (lambda: xp.where(TRUTHS, INTEGERS, 2**63), "where: .*out of bounds for int64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_overflow(call, words):
    with pytest.raises(OverflowError, match=f"^{words}"):
        call()


def test_not_a_number_is_no_integer():
    for call in (lambda: xp.full(2, xp.nan, dtype=xp.int64), lambda: xp.asarray([xp.nan], dtype=xp.int8)):
        with pytest.raises(ValueError, match=r"^(full|asarray): .*"):
            call()
    with pytest.raises(OverflowError, match="asarray"):
        xp.asarray(xp.inf, dtype=xp.int64)


# -- DLPack ----------------------------------------------------------------------------------------

CPU, CUDA = 1, 2


class ManagedTensor(ctypes.Structure):
    """How dlpack.h begins the struct in a capsule: where the memory is, and what lies there."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    )


class Exporter:
    """Three float64 of NumPy's in one capsule, which is handed out as often as it is asked for."""

    def __init__(self, **changes):
        self.device = (changes.get("device_type", CPU), 0)
        self.capsule = np.ones(3).__dlpack__()
        pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
        pointer_of.argtypes, pointer_of.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
        tensor = ManagedTensor.from_address(pointer_of(self.capsule, b"dltensor"))
        for field, value in changes.items():
            setattr(tensor, field, value)

    def __dlpack__(self, **keywords):
        return self.capsule

    def __dlpack_device__(self):
        return self.device


@pytest.mark.parametrize("function", [xp.from_dlpack, xp.asarray])
def test_dlpack_capsules_are_taken_once(function):
    exporter = Exporter()
    first = function(exporter)
    with pytest.raises(BufferError, match=f"^{function.__name__}: Exporter can't be exported"):
        function(exporter)
    check(first + 1, np.array([2.0, 2.0, 2.0]))


@pytest.mark.parametrize(
    "changes",
    [{"device_type": CUDA}, {"lanes": 2}, {"bits": 128}, {"code": 4, "bits": 16}],
    ids=["on a GPU", "vectors", "longdouble", "bfloat16"],
)
@pytest.mark.parametrize("function", [xp.from_dlpack, xp.asarray])
def test_dlpack_capsules_of_foreign_memory_are_refused(function, changes):
    with pytest.raises(
        BufferError, match=f"^{function.__name__}: .*Exporter (is on device|can't be exported)"
    ):
        function(Exporter(**changes))


@pytest.mark.parametrize("function", [xp.from_dlpack, xp.asarray])
def test_dlpack_capsules_that_contradict_their_device_are_refused(function):
    exporter = Exporter(device_type=CUDA)
    exporter.device = (CPU, 0)
    with pytest.raises(BufferError, match=f"^{function.__name__}: Exporter can't be exported"):
        function(exporter)


def test_dlpack_of_what_has_none():
    with pytest.raises(TypeError, match="from_dlpack: list has no __dlpack__"):
        xp.from_dlpack([1.0])


def test_nothing_is_lost():
    """After all of the above, what is there still computes."""
    x = MATRIX * 2
    for bad in (lambda: x + FLOATS[:2], lambda: x[5], lambda: xp.sum(x, axis=7), lambda: x & x):
        with pytest.raises((ValueError, IndexError, TypeError)):
            bad()
    pending = xp.take(x, xp.asarray([9]), axis=0) + 1
    for _ in range(2):
        with pytest.raises(IndexError, match=r"take: .*index.* is out of bounds for axis 0 with size 2"):
            np.asarray(pending)
    check(x, np.arange(6.0).reshape(2, 3) * 2)
    assert dtypes.float64 == x.dtype
