"""Every function of the namespace refuses what it can't take, by its own name: argument by argument.

For each function there is one call that works. Each of its arguments in turn is then replaced by what is
wrong there; what is found only with the elements counts when they are computed.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import toonygrad as xp
from toonygrad import dtypes

# Settings and counters, which have no arguments of the kinds below.
OURS = {"config", "counters", "trim_memory"}

FLOATS = xp.asarray([1.0, 2.0, 3.0])
INTEGERS = xp.asarray([1, 0, 2])
TRUTHS = xp.asarray([True, False, True])
MATRIX = xp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
SQUARE = xp.asarray([[4.0, 1.0], [1.0, 3.0]])


def functions() -> dict[str, Callable[..., Any]]:
    """Every function, by its name below toonygrad."""
    spaces = {"": xp, "linalg.": xp.linalg, "fft.": xp.fft}
    return {
        prefix + name: getattr(space, name)
        for prefix, space in spaces.items()
        for name in space.__all__
        if inspect.isfunction(getattr(space, name)) and name not in OURS
    }


FUNCTIONS = functions()

# -- calls that work -------------------------------------------------------------------------------

# Arguments by their names.
WORKING: dict[str, Any] = {
    "x": MATRIX,
    "x1": FLOATS,
    "x2": FLOATS,
    "append": MATRIX,
    "arrays": [FLOATS, FLOATS],
    "arrays_and_dtypes": [FLOATS, xp.float32],
    "axes": (1, 0),
    "axis": 0,
    "condition": TRUTHS,
    "copy": True,
    "correction": 1,
    "d": 0.5,
    "descending": True,
    "destination": 1,
    "device": "cpu",
    "dtype": xp.float64,
    "endpoint": True,
    "fill_value": 1.5,
    "from_": xp.int8,
    "full_matrices": True,
    "include_initial": True,
    "indexing": "ij",
    "indices": INTEGERS[:2],
    "invert": True,
    "k": 1,
    "keepdims": True,
    "kind": "numeric",
    "max": 2.0,
    "min": 1.0,
    "mode": "complete",
    "n": 2,
    "n_cols": 3,
    "n_rows": 2,
    "norm": "ortho",
    "num": 4,
    "obj": [1.0, 2.0],
    "offset": 1,
    "ord": 2,
    "prepend": MATRIX,
    "repeats": 2,
    "repetitions": (1, 2),
    "rtol": 1e-3,
    "s": (2, 3),
    "shape": (3, 2),
    "shapes": [(2, 1), (3,)],
    "shift": 1,
    "side": "right",
    "sorter": INTEGERS,
    "source": 0,
    "stable": True,
    "start": 0.0,
    "step": 1.0,
    "stop": 5.0,
    "to": xp.int16,
    "type": xp.float32,
    "upper": True,
}

# Of single functions.
_BITS = {"x": INTEGERS, "x1": INTEGERS, "x2": INTEGERS}
_PRODUCT = {"x1": SQUARE, "x2": MATRIX, "axes": 1}
_OF_SQUARES = ("cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matrix_power", "slogdet")
SPECIAL: dict[str, dict[str, Any]] = {
    **{name: _BITS for name in FUNCTIONS if name.startswith("bitwise_")},
    **{f"linalg.{name}": {"x": SQUARE} for name in _OF_SQUARES},
    **dict.fromkeys(("matmul", "tensordot", "linalg.matmul", "linalg.tensordot"), _PRODUCT),
    **{name: {"axis": -1} for name in ("linalg.cross", "linalg.vecdot", "vecdot")},
    "broadcast_to": {"shape": (4, 2, 3)},
    "from_dlpack": {"x": np.ones(3)},
    "iinfo": {"type": xp.int8},
    "linalg.solve": {"x1": SQUARE, "x2": SQUARE},
    "squeeze": {"x": xp.ones((1, 3))},
    "take_along_axis": {"indices": xp.asarray([[0, 1, 1]])},
}


@dataclass(frozen=True)
class Call:
    """A function and its arguments by the parameters' names."""

    name: str
    arguments: dict[str, Any]

    def __call__(self, **more: Any) -> Any:
        """The function's answer, computed; `more` are keywords it may not have."""
        parameters = inspect.signature(FUNCTIONS[self.name]).parameters.values()
        positional: list[Any] = []
        for parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(self.arguments[parameter.name])
            elif parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append(self.arguments[parameter.name])
        keywords = {p.name: self.arguments[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
        return computed(FUNCTIONS[self.name](*positional, **keywords, **more))

    def having(self, parameter: str, value: Any) -> "Call":
        return replace(self, arguments={**self.arguments, parameter: value})

    @property
    def words(self) -> str:
        """What an error of this function begins with."""
        return self.name.rpartition(".")[2] + ": "


def working(name: str) -> Call:
    given = {**WORKING, **SPECIAL.get(name, {})}
    return Call(name, {parameter: given[parameter] for parameter in parameters_of(name)})


def parameters_of(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(FUNCTIONS[name]).parameters)


def computed(answer: Any) -> Any:
    for array in answer if isinstance(answer, tuple) else (answer,):
        if isinstance(array, xp.Array):
            array.block_until_ready()
    return answer


# -- what is wrong ---------------------------------------------------------------------------------

_NO_NUMBERS = ("text", None, object(), [1.0], 1j)
_NO_INTEGERS = (*_NO_NUMBERS, 1.5, b"1")
_NO_FLAGS = ("yes", None, 1.5, [], object())
_NO_ARRAYS = ("text", None, object(), [1.0, 2.0], np.ones(3), b"bytes", len, {})
_NO_DTYPES = ("nonsense", object, "O", 3.5, len, "datetime64[s]", np.dtype("longdouble"), [("a", int)], {})
_NO_AXES = (99, -99, 10**30, "text", 1.5, object(), (0, 99), (0, 0), None)
_NO_POSITIONS = (FLOATS, xp.asarray([99, -99, 0]), xp.asarray([[99, 0, 0]]))
_NO_CHOICES = ("nonsense", 1, object(), [])

WRONG: dict[str, tuple[Any, ...]] = {
    "x": (*_NO_ARRAYS, 1.5),
    "x1": _NO_ARRAYS,
    "x2": _NO_ARRAYS,
    "append": ("text", 1.5, [1.0], FLOATS, TRUTHS),
    "arrays": ([None], ["text"], [1.0], [np.ones(3)], [MATRIX, "text"]),
    "arrays_and_dtypes": (["nonsense"], [None], [object()], [[]], [{}], [xp.bool, xp.int8]),
    "axes": ("text", (0, 0), (0, 99), (0.5, 1), (None, 0)),
    "axis": _NO_AXES,
    "condition": (*_NO_ARRAYS, 1.5, True, FLOATS, TRUTHS[:2]),
    "copy": ("yes", 1.5, [], object()),
    "correction": _NO_NUMBERS,
    "d": (*_NO_NUMBERS, 0, 0.0),
    "descending": _NO_FLAGS,
    "destination": (99, "text", 1.5, (0, 1), None, (0, 99)),
    "device": ("tpu", 1, object(), b"cpu", []),
    "dtype": _NO_DTYPES,
    "endpoint": _NO_FLAGS,
    "fill_value": ("text", None, object(), [1.0], FLOATS, np.ones(2)),
    "from_": (*_NO_DTYPES, None),
    "full_matrices": _NO_FLAGS,
    "include_initial": _NO_FLAGS,
    "indexing": ("yx", None, 1, []),
    "indices": (*_NO_ARRAYS, 1.5, TRUTHS, *_NO_POSITIONS),
    "invert": _NO_FLAGS,
    "k": _NO_INTEGERS,
    "keepdims": _NO_FLAGS,
    "kind": ("nonsense", object(), 3.5, [], None, ("nonsense", "numeric")),
    "max": ("text", object(), [1.0], np.ones(3), 1j, True, TRUTHS, xp.ones(2)),
    "min": ("text", object(), [1.0], np.ones(3), 1j, True, TRUTHS, xp.ones(2)),
    "mode": ("raw", None, 1, []),
    "n": ("text", 1.5, object(), [1], -1, 0, 10**30),
    "n_cols": ("text", 1.5, object(), [1], -1, 10**30),
    "n_rows": (*_NO_INTEGERS, -1, 10**30),
    "norm": (*_NO_CHOICES, None),
    "num": (*_NO_INTEGERS, -1, 10**30),
    "obj": (None, object(), [[1], [2, 3]], ["text"], [None], {}, {1, 2}),
    "offset": _NO_INTEGERS,
    "ord": ("nonsense", object(), 1j, [2], b"2"),
    "prepend": ("text", 1.5, [1.0], FLOATS, TRUTHS),
    "repeats": (*_NO_INTEGERS, -1, FLOATS, INTEGERS - 5, xp.ones(7, dtype=xp.int64)),
    "repetitions": ("text", None, object(), 1.5, (1.5,), (-1,)),
    "rtol": ("text", 1j, object(), [1e-3], INTEGERS, xp.ones(7)),
    "s": ("text", 3, object(), (1.5, 2), (0, 0), (-2, 2), (1, 2, 3), (2, 10**30)),
    "shape": ("text", None, object(), 2.5, (1.5,), (2, "text"), (2, -7), -7, MATRIX),
    "shapes": (["text"], [None], [(1.5,)], [(-1,)], [2.5], [object()], [(2,), (3,)]),
    "shift": ("text", None, object(), 1.5, (1, 2, 3), [1.5]),
    "side": ("middle", None, 1, []),
    "sorter": ("text", object(), [0, 1, 2], np.arange(3), 1.5, INTEGERS[:2], *_NO_POSITIONS),
    "source": (99, "text", 1.5, (0, 1), None, (0, 99)),
    "stable": _NO_FLAGS,
    "start": (*_NO_NUMBERS, FLOATS),
    "step": (*_NO_NUMBERS, 0, 0.0, xp.nan),
    "stop": ("text", object(), [1.0], 1j, FLOATS),
    "to": (*_NO_DTYPES, None),
    "type": (*_NO_DTYPES, None, bool),
    "upper": _NO_FLAGS,
}

# What single functions take nevertheless; None is right wherever it is the default.
RIGHT: dict[tuple[str, str], tuple[Any, ...]] = {
    ("concat", "axis"): (None,),
    ("diff", "n"): (0, 10**30),
    ("from_dlpack", "x"): (np.ones(3),),
    ("linalg.matrix_power", "n"): (-1, 0, 10**30),
    ("linspace", "start"): (1j,),
    ("linspace", "stop"): (1j,),
    ("roll", "axis"): ((0, 0),),
}

# What they don't take beside that.
MORE_WRONG: dict[tuple[str, str], tuple[Any, ...]] = {
    ("arange", "stop"): (xp.inf, xp.nan, 10**30),
    ("argmax", "axis"): ((0,), [0]),
    ("argmin", "axis"): ((0,), [0]),
    ("argsort", "axis"): ((0,), [0]),
    ("arange", "dtype"): (xp.bool,),
    **{
        (name, "dtype"): (xp.bool, xp.float16)
        for name in ("cumulative_prod", "cumulative_sum", "prod", "sum")
    },
    ("fft.fftfreq", "dtype"): (xp.int64, xp.complex64, xp.float16),
    ("fft.fftshift", "axes"): (99,),
    ("fft.ifftshift", "axes"): (99,),
    ("fft.rfftfreq", "dtype"): (xp.int64, xp.complex64, xp.float16),
    ("finfo", "type"): (xp.int8,),
    ("iinfo", "type"): (xp.float32,),
    **{(f"fft.{name}", "axes"): (99, 1.5, object()) for name in ("fftn", "ifftn", "rfftn", "irfftn")},
    ("broadcast_arrays", "arrays"): ([xp.ones(4), FLOATS],),
    ("concat", "arrays"): (None, 3, object(), [xp.ones((4, 1)), MATRIX], [MATRIX, FLOATS]),
    ("meshgrid", "arrays"): ([MATRIX],),
    ("stack", "arrays"): (
        None,
        3,
        object(),
        [xp.ones(4), FLOATS],
    ),
    ("linalg.matrix_norm", "ord"): (7, 0, 0.5, xp.nan),
    ("linalg.trace", "dtype"): (xp.bool, xp.float16),
    ("linalg.tensordot", "axes"): (99, -1, 1.5, ((0,), (99,)), ((0,), (0, 1)), ((0, 0), (0, 0))),
    ("linalg.vector_norm", "ord"): ("fro", None),
    ("linspace", "dtype"): (xp.bool,),
    ("permute_dims", "axes"): (99, -1, 1.5, None, object(), (0,), (0, 1, 2)),
    ("reshape", "shape"): ((4, 2), (-1, -1), (-1, 4)),
    ("sort", "axis"): ((0,), [0]),
    ("tensordot", "axes"): (99, -1, 1.5, ((0,), (99,)), ((0,), (0, 1)), ((0, 0), (0, 0))),
}


def wrong_calls(call: Call) -> Iterator[tuple[str, Any, Call]]:
    """Each parameter, a value it can't have, and the call with that value."""
    for name, parameter in parameters_of(call.name).items():
        right = [repr(value) for value in RIGHT.get((call.name, name), ())]
        for value in (*WRONG[name], *MORE_WRONG.get((call.name, name), ())):
            is_default = value is None and parameter.default is None
            if not is_default and repr(value) not in right:
                yield name, value, call.having(name, value)


def mentions(message: str, parameter: str, value: Any) -> bool:
    """Whether the parameter is named, or the value: as it is written, by its type, or by something in it."""
    if isinstance(value, (xp.Array, np.ndarray)):
        parts = (type(value).__name__, value.shape, value.dtype, *np.asarray(value).ravel())
        return any(str(part) in message for part in (parameter, *parts))
    if isinstance(value, (tuple, list)) and any(mentions(message, parameter, part) for part in value):
        return True
    return any(part in message for part in (parameter, repr(value), str(value), type(value).__name__))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_arguments(name):
    call = working(name)
    call()
    tried = 0
    for parameter, value, bad in wrong_calls(call):
        with pytest.raises((TypeError, ValueError, IndexError)) as caught:
            bad()
            pytest.fail(f"{name} takes {parameter}={value!r}")
        message = str(caught.value)
        assert message.startswith(call.words), (parameter, value)
        assert mentions(message.removeprefix(call.words), parameter, value), (parameter, value, message)
        tried += 1
    assert tried or not call.arguments


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keywords_and_arguments_there_are_none_of(name):
    call, function = working(name), FUNCTIONS[name]
    refusal = rf"^{re.escape(call.words[:-2])}\(\) "
    with pytest.raises(TypeError, match=refusal + "got an unexpected keyword argument 'colour'"):
        call(colour="red")
    parameters = parameters_of(name).values()
    if any(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters):
        with pytest.raises(TypeError, match=refusal + r"missing \d required positional argument"):
            function()
    if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        with pytest.raises(
            TypeError, match=refusal + r"takes \d positional argument|from \d to \d positional"
        ):
            function(*[FLOATS] * (len(parameters) + 1))


# -- arrays of every data type and shape -----------------------------------------------------------

ARRAY_PARAMETERS = {"x", "x1", "x2", "append", "condition", "indices", "max", "min", "prepend", "repeats"}
ARRAY_PARAMETERS |= {"fill_value", "rtol", "sorter"}
SHAPES = [(), (0,), (1,), (3,), (7,), (0, 0), (0, 3), (1, 1), (2, 2), (2, 3), (3, 0), (2, 2, 2), (2, 3, 4)]


@pytest.mark.parametrize(
    "name",
    [name for name in FUNCTIONS if ARRAY_PARAMETERS & set(parameters_of(name)) and name != "from_dlpack"],
)
def test_arrays_of_every_kind_are_taken_or_refused(name):
    """Whatever there is in the way of arrays, a function computes or says in its own name why not."""
    call = working(name)
    optional = {p for p, parameter in parameters_of(name).items() if parameter.default is None}
    answered = 0
    for parameter in ARRAY_PARAMETERS & set(call.arguments):
        usual = call.arguments[parameter]
        usual = usual if isinstance(usual, xp.Array) else FLOATS
        others = [xp.astype(usual, dtype) for dtype in (*dtypes.ALL, dtypes.float16)]
        others += [xp.ones(shape, dtype=dtype) for shape in SHAPES for dtype in {usual.dtype, dtypes.float64}]
        for array in others:
            changed = call.having(parameter, array)
            for plain in (
                changed,
                replace(changed, arguments=changed.arguments | defaults(optional, parameter)),
            ):
                try:
                    plain()
                    answered += 1
                except (TypeError, ValueError, IndexError) as error:
                    assert str(error).startswith(call.words), (parameter, array.dtype, array.shape)
    assert answered


def defaults(optional: set[str], kept: str) -> dict[str, None]:
    return dict.fromkeys(optional - {kept})


# -- linear algebra that fails ---------------------------------------------------------------------

_DECOMPOSED = ["cholesky", "eig", "eigh", "eigvals", "eigvalsh", "inv", "pinv", "qr", "svd", "svdvals"]
_MATRICES = {
    "singular": [[1.0, 2.0], [2.0, 4.0]],
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "indefinite": [[1.0, 2.0], [2.0, 1.0]],
    "not a number": [[1.0, np.nan], [np.nan, 1.0]],
    "infinite": [[1.0, np.inf], [np.inf, 1.0]],
    "regular": [[2.0, 1.0], [1.0, 2.0]],
}


@pytest.mark.parametrize("matrix", _MATRICES.values(), ids=_MATRICES)
@pytest.mark.parametrize("name", [*_DECOMPOSED, "det", "slogdet", "solve", "matrix_power", "matrix_rank"])
def test_linear_algebra_fails_where_numpys_does(name, matrix):
    given = np.asarray([matrix, np.eye(2)])
    rest = {"solve": (given,), "matrix_power": (-2,)}.get(name, ())
    with np.errstate(all="ignore"):
        try:
            getattr(np.linalg, name)(given, *rest)
            reason = None
        except np.linalg.LinAlgError as error:
            reason = str(error)
    ours = [xp.asarray(one) if isinstance(one, np.ndarray) else one for one in rest]
    if reason is None:
        computed(getattr(xp.linalg, name)(xp.asarray(given), *ours))
    else:
        with pytest.raises(np.linalg.LinAlgError, match=f"^{name}: {re.escape(reason)}"):
            computed(getattr(xp.linalg, name)(xp.asarray(given), *ours))
