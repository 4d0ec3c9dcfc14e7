"""Functions of each element or pair of elements (the standard's chapter "Element-wise functions").

Most are a row: a name, the operation it records and a sentence. What a type doesn't support, what promotes to
what and what an error says are record.py's. The rest, below the rows, is put together from few operations.
Re-exported by toonygrad.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toonygrad import dtypes, products, record
from toonygrad.array import Array, array_node, binary_recorder, from_node, operand
from toonygrad.array_api.constants import inf
from toonygrad.errors import dtype_error
from toonygrad.placement import on_device, place_of
from toonygrad.uop.ops import Op, Ops

__all__ = [
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
    "bitwise_invert",
    "bitwise_left_shift",
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
    "log10",
    "log1p",
    "log2",
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
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "trunc",
]

Scalar = bool | int | float | complex
Unary = Callable[[Array], Array]
Binary = Callable[[Array | Scalar, Array | Scalar], Array]

_COMPLEX = frozenset(dtypes.COMPLEX_FLOATING)
_REAL_FLOATING = frozenset(dtypes.REAL_FLOATING)
_FLOATING = frozenset(dtypes.FLOATING)
_NUMERIC = frozenset(dtypes.NUMERIC)


# -- how a row becomes a function ------------------------------------------------------------------

_UNARY_PAGE = """{meaning}

    Parameters
    ----------
    x : Array
        Any shape, of a {takes} data type.

    Returns
    -------
    Array
        Of the shape of `x`.

    Raises
    ------
    TypeError
        `x` is of another data type, or no Array.

    Notes
    -----
    The standard's "Element-wise functions", `{name}`.
    """

_BINARY_PAGE = """{meaning}

    Parameters
    ----------
    x1, x2 : Array or Python scalar
        Of {takes} data types, of shapes that broadcast; at least one is an Array.

    Returns
    -------
    Array
        Of the broadcast shape.

    Raises
    ------
    TypeError
        The data types are others or have no common one.
    ValueError
        The shapes don't broadcast.
    OverflowError
        A Python integer doesn't fit the type of the Array beside it.

    Notes
    -----
    The standard's "Element-wise functions", `{name}`.
    """


def _named(function: Any, name: str, page: str, meaning: str, takes: str) -> Any:
    """`function` with the name and the documentation of a row."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = page.format(meaning=meaning, takes=takes, name=name)
    return function


def _unary(name: str, op: Op, meaning: str) -> Unary:
    """The function that records `op` of one array."""

    def function(x: Array, /) -> Array:
        return from_node(record.elementwise(name, op, array_node(name, x)))

    return _named(function, name, _UNARY_PAGE, meaning, record.takes(op))


def _binary(name: str, op: Op, meaning: str, mirrored: bool = False) -> Binary:
    """The function that records `op` of two operands, of the second one first where `mirrored`."""
    recorder = binary_recorder(name, op, mirrored=mirrored)

    def function(x1: Array | Scalar, x2: Array | Scalar, /) -> Array:
        if type(x1) is Array and (type(x2) is Array or isinstance(x2, Scalar)):
            return recorder(x1, x2)
        left, right = operand(name, x1), operand(name, x2)
        return from_node(record.elementwise(name, op, left, right, mirrored=mirrored))

    return _named(function, name, _BINARY_PAGE, meaning, record.takes(op))


def _logical(name: str, op: Op, meaning: str) -> Binary:
    """As `_binary` of truth values: what isn't zero counts as true."""
    recorder = binary_recorder(name, op)

    def function(x1: Array | Scalar, x2: Array | Scalar, /) -> Array:
        if type(x1) is Array and type(x2) is Array and x1.dtype == x2.dtype == dtypes.bool_:
            return recorder(x1, x2)
        given = operand(name, x1), operand(name, x2)
        truths = [bool(x) if isinstance(x, Scalar) else record.cast(x, dtypes.bool_) for x in given]
        return from_node(record.elementwise(name, op, *truths))

    return _named(function, name, _BINARY_PAGE, meaning, "any")


# -- the rows --------------------------------------------------------------------------------------

abs = _unary("abs", Ops.ABS, "Absolute values; of complex numbers their moduli, in the type of their parts.")
acos = _unary("acos", Ops.ACOS, "Inverse cosines, in radians.")
acosh = _unary("acosh", Ops.ACOSH, "Inverse hyperbolic cosines.")
asin = _unary("asin", Ops.ASIN, "Inverse sines, in radians.")
asinh = _unary("asinh", Ops.ASINH, "Inverse hyperbolic sines.")
atan = _unary("atan", Ops.ATAN, "Inverse tangents, in radians.")
atanh = _unary("atanh", Ops.ATANH, "Inverse hyperbolic tangents.")
bitwise_invert = _unary("bitwise_invert", Ops.NOT, "All bits inverted; of truth values their negations.")
ceil = _unary("ceil", Ops.CEIL, "The smallest whole numbers that aren't less.")
conj = _unary("conj", Ops.CONJ, "Complex conjugates; real numbers as they are.")
cos = _unary("cos", Ops.COS, "Cosines of angles in radians.")
cosh = _unary("cosh", Ops.COSH, "Hyperbolic cosines.")
exp = _unary("exp", Ops.EXP, "Powers of e.")
expm1 = _unary("expm1", Ops.EXPM1, "Powers of e less one, exact near zero too.")
floor = _unary("floor", Ops.FLOOR, "The largest whole numbers that aren't greater.")
imag = _unary("imag", Ops.IMAG, "Imaginary parts, in the type of the parts; of real numbers zeros.")
log = _unary("log", Ops.LOG, "Natural logarithms.")
log10 = _unary("log10", Ops.LOG10, "Logarithms to base 10.")
log1p = _unary("log1p", Ops.LOG1P, "Natural logarithms of one more, exact near zero too.")
log2 = _unary("log2", Ops.LOG2, "Logarithms to base 2.")
negative = _unary("negative", Ops.NEG, "The elements with their signs changed; unsigned integers wrap.")
real = _unary("real", Ops.REAL, "Real parts, in the type of the parts; real numbers as they are.")
round = _unary("round", Ops.ROUND, "The nearest whole numbers, of two equally near ones the even one.")
sin = _unary("sin", Ops.SIN, "Sines of angles in radians.")
sinh = _unary("sinh", Ops.SINH, "Hyperbolic sines.")
sqrt = _unary("sqrt", Ops.SQRT, "Principal square roots.")
tan = _unary("tan", Ops.TAN, "Tangents of angles in radians.")
tanh = _unary("tanh", Ops.TANH, "Hyperbolic tangents.")
trunc = _unary("trunc", Ops.TRUNC, "The whole numbers next to the elements on the side of zero.")

add = _binary("add", Ops.ADD, "Sums.")
atan2 = _binary("atan2", Ops.ATAN2, "Angles of the points (x2, x1) from the positive x axis, in radians.")
bitwise_and = _binary("bitwise_and", Ops.AND, "Bitwise and; of truth values the logical one.")
bitwise_left_shift = _binary(
    "bitwise_left_shift",
    Ops.SHL,
    "The bits of `x1` moved up by `x2`; 0 where `x2` is negative or too large.",
)
bitwise_or = _binary("bitwise_or", Ops.OR, "Bitwise or; of truth values the logical one.")
bitwise_right_shift = _binary(
    "bitwise_right_shift",
    Ops.SHR,
    "The bits of `x1` moved down by `x2`, the sign moving in; all sign where `x2` is negative or too large.",
)
bitwise_xor = _binary("bitwise_xor", Ops.XOR, "Bitwise exclusive or; of truth values the logical one.")
copysign = _binary("copysign", Ops.COPYSIGN, "Magnitudes of `x1` with the signs of `x2`.")
divide = _binary("divide", Ops.DIV, "Quotients; integers are divided as float64.")
equal = _binary("equal", Ops.EQ, "Whether elements are equal; NaN equals nothing.")
floor_divide = _binary(
    "floor_divide", Ops.FLOORDIV, "Quotients rounded down; an integer divided by zero gives 0."
)
greater = _binary("greater", Ops.LT, "Whether elements of `x1` are greater.", mirrored=True)
greater_equal = _binary(
    "greater_equal", Ops.LE, "Whether elements of `x1` are greater or equal.", mirrored=True
)
hypot = _binary("hypot", Ops.HYPOT, "Square roots of the sums of squares, without overflow on the way.")
less = _binary("less", Ops.LT, "Whether elements of `x1` are less.")
less_equal = _binary("less_equal", Ops.LE, "Whether elements of `x1` are less or equal.")
logaddexp = _binary(
    "logaddexp", Ops.LOGADDEXP, "Logarithms of the sums of powers of e, without overflow on the way."
)
logical_and = _logical("logical_and", Ops.AND, "Whether both elements are true.")
logical_or = _logical("logical_or", Ops.OR, "Whether at least one of two elements is true.")
logical_xor = _logical("logical_xor", Ops.XOR, "Whether exactly one of two elements is true.")
maximum = _binary("maximum", Ops.MAXIMUM, "The greater of two elements; NaN if either is.")
minimum = _binary("minimum", Ops.MINIMUM, "The lesser of two elements; NaN if either is.")
multiply = _binary("multiply", Ops.MUL, "Products.")
nextafter = _binary("nextafter", Ops.NEXTAFTER, "The next numbers of the type after `x1` towards `x2`.")
not_equal = _binary("not_equal", Ops.NE, "Whether elements differ; NaN differs from everything.")
remainder = _binary(
    "remainder",
    Ops.REMAINDER,
    "What division leaves, with the sign of `x2`; an integer divided by zero leaves 0.",
)
subtract = _binary("subtract", Ops.SUB, "Differences.")
_power = _binary("pow", Ops.POW, "")
_product = _binary("pow", Ops.MUL, "")


# -- put together from few operations --------------------------------------------------------------


def _composed(takes: str) -> Callable[[Callable[[record.Node], record.Node]], Unary]:
    """The public function of one that builds on a node: data type checked, documentation completed."""
    allowed = frozenset(dtypes.CATEGORIES[takes])

    def decorate(build: Callable[[record.Node], record.Node]) -> Unary:
        name = build.__name__
        assert build.__doc__

        def function(x: Array, /) -> Array:
            node = array_node(name, x)
            if node.dtype not in allowed:
                raise dtype_error(name, takes, node.dtype)
            return from_node(build(node))

        return _named(function, name, _UNARY_PAGE, build.__doc__, takes)

    return decorate


@_composed("numeric")
def isfinite(x: record.Node) -> record.Node:
    """Whether elements are neither infinite nor NaN; a complex number is finite if both parts are."""
    if x.dtype in _COMPLEX:
        real_part, imaginary = record.parts(x)
        return _is_finite(real_part) & _is_finite(imaginary)
    return _is_finite(x) if x.dtype in _REAL_FLOATING else _everywhere(x, True)


@_composed("numeric")
def isinf(x: record.Node) -> record.Node:
    """Whether elements are infinite; a complex number is if either part is."""
    if x.dtype in _COMPLEX:
        real_part, imaginary = record.parts(x)
        return _is_infinite(real_part) | _is_infinite(imaginary)
    return _is_infinite(x) if x.dtype in _REAL_FLOATING else _everywhere(x, False)


@_composed("numeric")
def isnan(x: record.Node) -> record.Node:
    """Whether elements are NaN; a complex number is if either part is."""
    return x.ne(x) if x.dtype in _FLOATING else _everywhere(x, False)


@_composed("any")
def logical_not(x: record.Node) -> record.Node:
    """Whether elements are false, which is to say zero."""
    return ~record.cast(x, dtypes.bool_)


@_composed("numeric")
def positive(x: record.Node) -> record.Node:
    """The elements as they are."""
    return x


@_composed("numeric")
def reciprocal(x: record.Node) -> record.Node:
    """One divided by the elements; integers are divided as float64."""
    x = record.as_floating(x)
    return record.constant(1, x.dtype) / x


@_composed("numeric")
def sign(x: record.Node) -> record.Node:
    """-1, 0 or 1 by the sign, NaN for NaN; of complex numbers those of modulus 1 in their direction, or 0."""
    if x.dtype in _COMPLEX:
        modulus = record.apply(Ops.ABS, x)
        real_part, imaginary = (part / modulus for part in record.parts(x))
        return x.eq(0).where(record.constant(0, x.dtype), record.apply(Ops.COMPLEX, real_part, imaginary))
    positive_or_zero = record.cast(x > 0, x.dtype)
    if x.dtype in dtypes.UNSIGNED:
        return positive_or_zero
    by_comparison = positive_or_zero - record.cast(x < 0, x.dtype)
    return x.ne(x).where(x, by_comparison) if x.dtype in _REAL_FLOATING else by_comparison


@_composed("real floating")
def signbit(x: record.Node) -> record.Node:
    """Whether the sign bit is set: of negative numbers, of -0.0 and of some NaN."""
    return record.apply(Ops.COPYSIGN, record.constant(1, x.dtype), x) < 0


@_composed("numeric")
def square(x: record.Node) -> record.Node:
    """The elements times themselves."""
    return x * x


def clip(
    x: Array, /, min: Array | int | float | None = None, max: Array | int | float | None = None
) -> Array:
    """Elements brought into the range [min, max].

    Parameters
    ----------
    x : Array
        Any shape, of a real numeric data type.
    min, max : Array or Python scalar, optional
        The bounds, of shapes that broadcast with that of `x`; None: no bound. Where `min` exceeds `max`, the
        result is `min`.

    Returns
    -------
    Array
        Of the broadcast shape and the common data type; NaN where an operand is.

    Raises
    ------
    TypeError
        A data type isn't real, or there is no common one.
    ValueError
        The shapes don't broadcast.
    OverflowError
        A Python integer doesn't fit the type of `x`.

    Notes
    -----
    The standard's "Element-wise functions", `clip`.
    """
    node = array_node("clip", x)
    record.check_takes("clip", Ops.MAXIMUM, node)
    if max is not None:
        node = record.elementwise("clip", Ops.MINIMUM, node, operand("clip", max))
    if min is not None:
        node = record.elementwise("clip", Ops.MAXIMUM, node, operand("clip", min))
    return from_node(node)


def pow(x1: Array | Scalar, x2: Array | Scalar, /) -> Array:
    """Powers; integers with negative exponents give 0, but for the bases 1 and -1.

    Parameters
    ----------
    x1, x2 : Array or Python scalar
        Bases and exponents, of numeric data types and of shapes that broadcast; at least one is an Array.

    Returns
    -------
    Array
        Of the broadcast shape.

    Raises
    ------
    TypeError
        The data types are others or have no common one.
    ValueError
        The shapes don't broadcast.
    OverflowError
        A Python integer doesn't fit the type of the Array beside it.

    Notes
    -----
    The standard's "Element-wise functions", `pow`.
    """
    few = products.few_factors(x2, x1.dtype) if isinstance(x1, Array) else 0
    if few == 2:
        return _product(x1, x1)
    return from_node(products.cube("pow", array_node("pow", x1))) if few else _power(x1, x2)


def _everywhere(x: record.Node, truth: bool) -> record.Node:
    return on_device(record.filled(x.shape, record.constant(truth, dtypes.bool_)), place_of(x))


def _is_finite(x: record.Node) -> record.Node:
    return record.apply(Ops.ABS, x) < inf


def _is_infinite(x: record.Node) -> record.Node:
    return record.apply(Ops.ABS, x).eq(inf)
