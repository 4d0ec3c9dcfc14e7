"""Every operation of the graph: the grammar on one page.

A UOp is (op, src, arg). This table gives, for each op, how many sources it takes, what its arg holds and what it means. Three groups stand
below one another: what a recorded array program is made of, what scalar arithmetic is made of (shared by the recorded graph and the
kernels), and what a loop nest is made of. Every other room reads this table; it imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Op:
    """One operation. Compared and hashed by identity, which keeps interning a node cheap."""

    name: str
    arity: int | None  # None: any number of sources
    group: str
    arg: str
    meaning: str

    def __repr__(self) -> str:
        return self.name


class Ops:
    """The operations, by name. `Ops.all()` lists them."""

    # -- leaves of a recorded graph ------------------------------------------------------------------------------------------------------
    BUFFER = Op("BUFFER", 0, "leaf", "Buffer", "memory that exists; the Buffer's array gives shape, strides and dtype")
    SCALAR = Op("SCALAR", 0, "leaf", "(bits, value)", "a number the user gave: an argument of the kernel, never part of its source")
    ARGUMENT = Op("ARGUMENT", 0, "leaf", "(slot, dtype, shape, strides)", "what stands for a BUFFER, or for one use of a SCALAR (strides None), in a plan")
    CONST = Op("CONST", 0, "leaf", "(bits, value)", "a number of the engine's own: part of a kernel's source")
    IOTA = Op("IOTA", 0, "leaf", "(shape, axis)", "each element's own position along an axis, int64")

    # -- movement: index functions, never a kernel of their own --------------------------------------------------------------------------
    RESHAPE = Op("RESHAPE", 1, "movement", "shape", "the same elements in row-major order under another shape")
    PERMUTE = Op("PERMUTE", 1, "movement", "axes", "axis k of the result is axis axes[k] of the source")
    EXPAND = Op("EXPAND", 1, "movement", "shape", "axes of size one (or missing in front) repeated to a shape")
    SLICE = Op("SLICE", 1, "movement", "((start, step, size), ...)", "for each axis size elements from start by step, step != 0")

    # -- over axes -----------------------------------------------------------------------------------------------------------------------
    REDUCE = Op("REDUCE", None, "reduction", "(op, axes) | op", "combine along axes, which vanish; in a kernel over the ranges src[1:]")
    SCAN = Op("SCAN", 1, "reduction", "(op, axis)", "running combination along an axis, inclusive")
    GATHER = Op("GATHER", None, "gather", "(axes, position, call)", "src[0] at integer arrays src[1:] for axes; their shape stands at position")
    CONCAT = Op("CONCAT", None, "concat", "axis", "sources one behind the other along an axis")
    EXTERNAL = Op("EXTERNAL", None, "external", "(name, parameters, dtype, shape)", "a library's routine, opaque to fusion: runtime/external.py has it")

    # -- arithmetic, elementwise on the recorded graph, scalar in a kernel ---------------------------------------------------------------
    CAST = Op("CAST", 1, "unary", "dtype", "convert; floats to integers truncate and saturate, NaN gives 0; integers wrap")
    BITCAST = Op("BITCAST", 1, "unary", "dtype", "the same bits as another type of the same size")
    NEG = Op("NEG", 1, "unary", "", "-x")
    ABS = Op("ABS", 1, "unary", "", "|x|, for complex numbers the modulus")
    NOT = Op("NOT", 1, "unary", "", "bitwise not; for booleans the logical one")
    SQRT = Op("SQRT", 1, "unary", "", "square root, correctly rounded for reals")
    FLOOR = Op("FLOOR", 1, "unary", "", "largest integral value not above x")
    CEIL = Op("CEIL", 1, "unary", "", "smallest integral value not below x")
    TRUNC = Op("TRUNC", 1, "unary", "", "integral value next to x towards zero")
    ROUND = Op("ROUND", 1, "unary", "", "nearest integral value, halves to even")
    REAL = Op("REAL", 1, "unary", "", "real part")
    IMAG = Op("IMAG", 1, "unary", "", "imaginary part")
    CONJ = Op("CONJ", 1, "unary", "", "complex conjugate")

    ADD = Op("ADD", 2, "binary", "", "x + y")
    SUB = Op("SUB", 2, "binary", "", "x - y")
    MUL = Op("MUL", 2, "binary", "", "x * y")
    DIV = Op("DIV", 2, "binary", "", "x / y of floats")
    FLOORDIV = Op("FLOORDIV", 2, "binary", "", "floor(x / y); integers by zero give 0, INT_MIN // -1 wraps")
    REMAINDER = Op("REMAINDER", 2, "binary", "", "x - y * floor(x / y), the sign of y; integers by zero give 0")
    MAXIMUM = Op("MAXIMUM", 2, "binary", "", "the larger; NaN if either is")
    MINIMUM = Op("MINIMUM", 2, "binary", "", "the smaller; NaN if either is")
    AND = Op("AND", 2, "binary", "", "bitwise and; for booleans the logical one")
    OR = Op("OR", 2, "binary", "", "bitwise or; for booleans the logical one")
    XOR = Op("XOR", 2, "binary", "", "bitwise exclusive or; for booleans the logical one")
    SHL = Op("SHL", 2, "binary", "", "x << y; 0 where y is negative or past the width")
    SHR = Op("SHR", 2, "binary", "", "x >> y, arithmetic for signed; the sign's fill where y is negative or past the width")
    COPYSIGN = Op("COPYSIGN", 2, "binary", "", "|x| with the sign of y")
    NEXTAFTER = Op("NEXTAFTER", 2, "binary", "", "the next float from x towards y")
    COMPLEX = Op("COMPLEX", 2, "binary", "", "x + iy")
    LT = Op("LT", 2, "comparison", "", "x < y")
    LE = Op("LE", 2, "comparison", "", "x <= y")
    EQ = Op("EQ", 2, "comparison", "", "x == y")
    NE = Op("NE", 2, "comparison", "", "x != y")
    WHERE = Op("WHERE", 3, "ternary", "", "y where x is true, else z")
    FMA = Op("FMA", 3, "ternary", "", "x * y + z, rounded once")

    # -- transcendentals: recorded as they are, decomposed by codegen/transcendental.py ---------------------------------------------------
    EXP = Op("EXP", 1, "transcendental", "", "e ** x")
    EXPM1 = Op("EXPM1", 1, "transcendental", "", "e ** x - 1")
    LOG = Op("LOG", 1, "transcendental", "", "natural logarithm")
    LOG1P = Op("LOG1P", 1, "transcendental", "", "log(1 + x)")
    LOG2 = Op("LOG2", 1, "transcendental", "", "logarithm to base 2")
    LOG10 = Op("LOG10", 1, "transcendental", "", "logarithm to base 10")
    SIN = Op("SIN", 1, "transcendental", "", "sine of radians")
    COS = Op("COS", 1, "transcendental", "", "cosine of radians")
    TAN = Op("TAN", 1, "transcendental", "", "tangent of radians")
    ASIN = Op("ASIN", 1, "transcendental", "", "inverse sine, radians")
    ACOS = Op("ACOS", 1, "transcendental", "", "inverse cosine, radians")
    ATAN = Op("ATAN", 1, "transcendental", "", "inverse tangent, radians")
    SINH = Op("SINH", 1, "transcendental", "", "hyperbolic sine")
    COSH = Op("COSH", 1, "transcendental", "", "hyperbolic cosine")
    TANH = Op("TANH", 1, "transcendental", "", "hyperbolic tangent")
    ASINH = Op("ASINH", 1, "transcendental", "", "inverse hyperbolic sine")
    ACOSH = Op("ACOSH", 1, "transcendental", "", "inverse hyperbolic cosine")
    ATANH = Op("ATANH", 1, "transcendental", "", "inverse hyperbolic tangent")
    ATAN2 = Op("ATAN2", 2, "transcendental", "", "angle of the point (y, x) = (src[1], src[0]), radians")
    POW = Op("POW", 2, "transcendental", "", "x ** y; integers with a negative exponent give 0, but for bases 1 and -1")
    HYPOT = Op("HYPOT", 2, "transcendental", "", "sqrt(x * x + y * y) without overflow")
    LOGADDEXP = Op("LOGADDEXP", 2, "transcendental", "", "log(exp(x) + exp(y)) without overflow")

    # -- kernels: what a loop nest adds --------------------------------------------------------------------------------------------------
    POINTER = Op("POINTER", 0, "kernel", "(slot, dtype)", "an array argument")
    SIZE = Op("SIZE", 0, "kernel", "name", "an int64 argument: an extent, a stride, an offset")
    NUMBER = Op("NUMBER", 0, "kernel", "(slot, dtype)", "a scalar argument")
    RANGE = Op("RANGE", 0, "kernel", "(kind, position)", "a loop's variable, int64; kinds: outer, inner, split")
    QUOTIENT = Op("QUOTIENT", 2, "kernel", "", "x / y truncated; y is known to be safe")
    MODULO = Op("MODULO", 2, "kernel", "", "x - y * QUOTIENT(x, y); y is known to be safe")
    SHIFT_LEFT = Op("SHIFT_LEFT", 2, "kernel", "", "x << y; y is known to lie inside the width")
    SHIFT_RIGHT = Op("SHIFT_RIGHT", 2, "kernel", "", "x >> y; y is known to lie inside the width")
    REASSOCIATING_ADD = Op("REASSOCIATING_ADD", 2, "kernel", "", "x + y of a reduction's own step, which may be reordered")
    REASSOCIATING_MUL = Op("REASSOCIATING_MUL", 2, "kernel", "", "x * y of a reduction's own step, which may be reordered")
    GUARDED = Op("GUARDED", 3, "kernel", "", "src[0] (fast) where src[2] holds, else src[1] (slow, good for every argument)")
    TWO_OVER_PI = Op("TWO_OVER_PI", 1, "kernel", "", "64 bits of 2/pi's binary fraction from bit 64 * x on, as uint64")
    ACCESS = Op("ACCESS", None, "kernel", "(array, dtype, coefficients, offset)", "element of a kernel's array at offset + the sum of coefficient * src")
    AFFINE = Op("AFFINE", None, "kernel", "(coefficients, offset)", "the int64 number offset + the sum of coefficient * src")
    LOAD = Op("LOAD", 2, "kernel", "", "the element of POINTER src[0] at index src[1]")
    CHECKED = Op("CHECKED", 2, "kernel", "slot", "index src[0], clamped; the status array notes where src[1] says it was out of bounds")
    VARIABLE = Op("VARIABLE", 0, "kernel", "(name, dtype)", "a local that statements assign")
    SCRATCH = Op("SCRATCH", 0, "kernel", "(name, dtype, length)", "a small array of the kernel's own")

    # -- statements of a loop nest -------------------------------------------------------------------------------------------------------
    LOOP = Op("LOOP", None, "statement", "", "for src[0] (a RANGE) in [src[1], src[2]): the statements src[3:]")
    ASSIGN = Op("ASSIGN", 2, "statement", "", "VARIABLE src[0] becomes src[1]")
    STORE = Op("STORE", 3, "statement", "", "element src[1] of POINTER or SCRATCH src[0] becomes src[2]")
    IF = Op("IF", None, "statement", "", "where src[0] holds: the statements src[1:]")
    SINK = Op("SINK", None, "statement", "", "statements in order: a kernel's body")

    @classmethod
    def all(cls) -> tuple[Op, ...]:
        """Every operation, in the order of the page."""
        return tuple(op for op in vars(cls).values() if isinstance(op, Op))


def _group(*names: str) -> frozenset[Op]:
    return frozenset(op for op in Ops.all() if op.group in names)


LEAVES = _group("leaf")
MOVEMENT = _group("movement")
COMPARISONS = _group("comparison")
TRANSCENDENTAL = _group("transcendental")
ELEMENTWISE = _group("unary", "binary", "comparison", "ternary", "transcendental")
STATEMENTS = _group("statement")
COMMUTATIVE = frozenset({Ops.ADD, Ops.MUL, Ops.MAXIMUM, Ops.MINIMUM, Ops.AND, Ops.OR, Ops.XOR, Ops.EQ, Ops.NE})
REDUCING = frozenset({Ops.ADD, Ops.MUL, Ops.MAXIMUM, Ops.MINIMUM, Ops.AND, Ops.OR})
