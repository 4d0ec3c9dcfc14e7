"""Every operation of the graph: the grammar on one page.

A UOp is (op, src, arg). For each op this page says how many sources it takes, its group, what it means, what
its arg holds, and which data types arithmetic takes. Three parts stand below one another: what a recorded
array program is made of, scalar arithmetic (shared by recorded graphs and kernels), and what a loop nest is
made of. Every other room reads this page; it imports nothing.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Op:
    """One operation. Compared and hashed by identity, which keeps interning a node cheap.

    Attributes
    ----------
    name : as the class Ops has it
    arity : how many sources; None for any number
    group, meaning : what it is, what it does
    arg : what the arg of its nodes holds; empty for nothing
    takes : for arithmetic, the category (dtypes.CATEGORIES) of the data types it is recorded for
    length : as how many operations of a chain it counts
    """

    name: str = field(init=False)
    arity: int | None
    group: str
    meaning: str
    arg: str = field(default="", kw_only=True)
    takes: str = field(default="any", kw_only=True)
    length: int = field(default=1, init=False)

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name)

    def __repr__(self) -> str:
        return self.name


class Ops:
    """The operations, by name. `Ops.all()` lists them."""

    # -- leaves of a recorded graph --------------------------------------------------------------------------
    BUFFER = Op(0, "leaf", "memory that exists; its array gives shape, strides and dtype", arg="Buffer")
    SCALAR = Op(0, "leaf", "a number of the user's: an argument, never part of kernel source", arg="value")
    # In a plan: what stands for a BUFFER, or (strides None) for one use of a SCALAR.
    ARGUMENT = Op(0, "leaf", "whatever a plan is run with", arg="(slot, dtype, shape, strides)")
    CONST = Op(0, "leaf", "a number of the engine's own: part of a kernel's source", arg="value")
    IOTA = Op(0, "leaf", "each element's own position along an axis, int64", arg="(shape, axis)")

    # -- movement: index functions, never a kernel of their own ----------------------------------------------
    RESHAPE = Op(1, "movement", "the same elements in row-major order under another shape", arg="shape")
    PERMUTE = Op(1, "movement", "axis k of the result is axis axes[k] of the source", arg="axes")
    EXPAND = Op(1, "movement", "axes of size one (or missing in front) repeated to a shape", arg="shape")
    SLICE = Op(1, "movement", "along each axis size elements from start on", arg="((start, step, size), ...)")

    # -- over axes -------------------------------------------------------------------------------------------
    # In a kernel the arg is the combining op alone, and src[1:] are the ranges.
    REDUCE = Op(None, "reduction", "combine along axes, which vanish", arg="(op, axes)")
    SCAN = Op(None, "reduction", "running combination along an axis, inclusive", arg="(op, axis)")
    # The common shape of the indices stands at position; call is the user's, for errors.
    GATHER = Op(None, "gather", "src[0] at integers src[1:] along axes", arg="(axes, position, call)")
    CONCAT = Op(None, "concat", "sources one behind the other along an axis", arg="axis")
    # As recorded: a plan has a CONCAT of it and what surrounds it.
    REPLACE = Op(2, "concat", "src[0] with a block of it replaced by src[1]", arg="first element, by axis")
    # runtime/external.py has the routines.
    EXTERNAL = Op(None, "external", "a library's routine, opaque", arg="(name, parameters, dtype, shape)")

    # -- arithmetic, elementwise on the recorded graph, scalar in a kernel -----------------------------------
    # Floats to integers truncate and saturate, NaN gives 0; integers wrap.
    CAST = Op(1, "unary", "the value as another type", arg="dtype")
    BITCAST = Op(1, "unary", "the same bits as another type of the same size", arg="dtype")
    NEG = Op(1, "unary", "-x", takes="numeric")
    ABS = Op(1, "unary", "|x|, for complex numbers the modulus", takes="numeric")
    NOT = Op(1, "unary", "bitwise not; for booleans the logical one", takes="integer or boolean")
    SQRT = Op(1, "unary", "square root, correctly rounded for reals", takes="floating")
    FLOOR = Op(1, "unary", "largest integral value not above x", takes="real numeric")
    CEIL = Op(1, "unary", "smallest integral value not below x", takes="real numeric")
    TRUNC = Op(1, "unary", "integral value next to x towards zero", takes="real numeric")
    ROUND = Op(1, "unary", "nearest integral value, halves to even", takes="numeric")
    REAL = Op(1, "unary", "real part", takes="numeric")
    IMAG = Op(1, "unary", "imaginary part", takes="numeric")
    CONJ = Op(1, "unary", "complex conjugate", takes="numeric")

    ADD = Op(2, "binary", "x + y", takes="numeric")
    SUB = Op(2, "binary", "x - y", takes="numeric")
    MUL = Op(2, "binary", "x * y", takes="numeric")
    DIV = Op(2, "binary", "x / y of floats", takes="floating")
    # Of integers: by zero they give 0, and INT_MIN // -1 wraps.
    FLOORDIV = Op(2, "binary", "floor(x / y)", takes="real numeric")
    REMAINDER = Op(2, "binary", "x - y * floor(x / y), of the sign of y", takes="real numeric")
    MAXIMUM = Op(2, "binary", "the larger; NaN if either is", takes="real numeric")
    MINIMUM = Op(2, "binary", "the smaller; NaN if either is", takes="real numeric")
    AND = Op(2, "binary", "bitwise and; for booleans the logical one", takes="integer or boolean")
    OR = Op(2, "binary", "bitwise or; for booleans the logical one", takes="integer or boolean")
    XOR = Op(2, "binary", "bitwise exclusive or; for booleans the logical one", takes="integer or boolean")
    # Amounts that are negative or past the width shift everything out: 0, or SHR's fill.
    SHL = Op(2, "binary", "x << y", takes="integral")
    SHR = Op(2, "binary", "x >> y, filling with the sign of signed integers", takes="integral")
    COPYSIGN = Op(2, "binary", "|x| with the sign of y", takes="real floating")
    NEXTAFTER = Op(2, "binary", "the next float from x towards y", takes="real floating")
    COMPLEX = Op(2, "binary", "x + iy", takes="real floating")
    LT = Op(2, "comparison", "x < y", takes="real numeric")
    LE = Op(2, "comparison", "x <= y", takes="real numeric")
    EQ = Op(2, "comparison", "x == y")
    NE = Op(2, "comparison", "x != y")
    WHERE = Op(3, "ternary", "y where x is true, else z")
    FMA = Op(3, "ternary", "x * y + z, rounded once", takes="real numeric")

    # -- transcendentals: recorded as they are, decomposed by codegen/transcendental.py ----------------------
    EXP = Op(1, "transcendental", "e ** x", takes="floating")
    EXPM1 = Op(1, "transcendental", "e ** x - 1", takes="floating")
    LOG = Op(1, "transcendental", "natural logarithm", takes="floating")
    LOG1P = Op(1, "transcendental", "log(1 + x)", takes="floating")
    LOG2 = Op(1, "transcendental", "logarithm to base 2", takes="floating")
    LOG10 = Op(1, "transcendental", "logarithm to base 10", takes="floating")
    SIN = Op(1, "transcendental", "sine of radians", takes="floating")
    COS = Op(1, "transcendental", "cosine of radians", takes="floating")
    TAN = Op(1, "transcendental", "tangent of radians", takes="floating")
    ASIN = Op(1, "transcendental", "inverse sine, radians", takes="floating")
    ACOS = Op(1, "transcendental", "inverse cosine, radians", takes="floating")
    ATAN = Op(1, "transcendental", "inverse tangent, radians", takes="floating")
    SINH = Op(1, "transcendental", "hyperbolic sine", takes="floating")
    COSH = Op(1, "transcendental", "hyperbolic cosine", takes="floating")
    TANH = Op(1, "transcendental", "hyperbolic tangent", takes="floating")
    ASINH = Op(1, "transcendental", "inverse hyperbolic sine", takes="floating")
    ACOSH = Op(1, "transcendental", "inverse hyperbolic cosine", takes="floating")
    ATANH = Op(1, "transcendental", "inverse hyperbolic tangent", takes="floating")
    ATAN2 = Op(2, "transcendental", "angle of the point (src[1], src[0]), radians", takes="real floating")
    # Integers with a negative exponent give 0, but for bases 1 and -1.
    POW = Op(2, "transcendental", "x ** y", takes="numeric")
    HYPOT = Op(2, "transcendental", "sqrt(x * x + y * y) without overflow", takes="real floating")
    LOGADDEXP = Op(2, "transcendental", "log(exp(x) + exp(y)) without overflow", takes="real floating")

    # -- kernels: what a loop nest adds ----------------------------------------------------------------------
    POINTER = Op(0, "kernel", "an array argument", arg="(name, dtype)")
    SIZE = Op(0, "kernel", "an int64 argument: an extent, a stride; before, ('size', number)", arg="name")
    NUMBER = Op(0, "kernel", "a scalar argument", arg="(position, dtype)")
    RANGE = Op(0, "kernel", "a loop's variable, int64; in a nest the name is text", arg="name")
    QUOTIENT = Op(2, "kernel", "x / y truncated; y is known to be safe")
    MODULO = Op(2, "kernel", "x - y * QUOTIENT(x, y); y is known to be safe")
    SHIFT_LEFT = Op(2, "kernel", "x << y; y is known to lie inside the width")
    SHIFT_RIGHT = Op(2, "kernel", "x >> y; y is known to lie inside the width")
    REASSOCIATING_ADD = Op(2, "kernel", "x + y of a reduction's own step, which may be reordered")
    REASSOCIATING_MUL = Op(2, "kernel", "x * y of a reduction's own step, which may be reordered")
    GUARDED = Op(3, "kernel", "src[0] (fast) where src[2] holds, else src[1] (slow, good for every argument)")
    TWO_OVER_PI = Op(1, "kernel", "64 bits of 2/pi's binary fraction from bit 64 * x on, as uint64")
    # ACCESS and AFFINE stand for numbers: offset + the sum of coefficient * source.
    # Once lowered, a part of a complex array is the array (number, 0 or 1).
    ACCESS = Op(None, "kernel", "element of an array", arg="(array, dtype, coefficients, offset)")
    AFFINE = Op(None, "kernel", "an index, int64", arg="(coefficients, offset)")
    # After the index come n cuts, rising, and n + 1 shifts.
    PIECEWISE = Op(None, "kernel", "the shift whose number is how many cuts are at most the index src[0]")
    LOAD = Op(2, "kernel", "element src[1] of POINTER or SCRATCH src[0]")
    # The status array notes at place where src[1] says that the index was out of bounds.
    CHECKED = Op(2, "kernel", "index src[0], clamped", arg="place")
    VARIABLE = Op(0, "kernel", "a local that statements assign", arg="(name, dtype)")
    SCRATCH = Op(0, "kernel", "a small array of the kernel's own", arg="(name, dtype, length)")
    # CUDA: SCRATCH is each thread's own.
    THREAD = Op(0, "kernel", "which thread this is, or how many there are, int64", arg="the dialect's word")
    SHARED = Op(0, "kernel", "a small array that the threads of a block share", arg="(name, dtype, length)")

    # -- statements of a loop nest ---------------------------------------------------------------------------
    # The arg is None, or "unrolled" for a few passes written one after the other: CUDA's registers have
    # no indices.
    LOOP = Op(None, "statement", "for src[0] (a RANGE) in [src[1], src[2]): the statements src[3:]")
    ASSIGN = Op(2, "statement", "VARIABLE src[0] becomes src[1]")
    STORE = Op(3, "statement", "element src[1] of POINTER or SCRATCH src[0] becomes src[2]")
    # After src[0], elements from row to row there; after src[2], the first element, elements from column to
    # column (rows follow each other), how many rows, how many columns.
    TRANSPOSE = Op(7, "statement", "SCRATCH src[0] becomes a tile of src[2], rows and columns changed")
    IF = Op(None, "statement", "where src[0] holds: the statements src[1:]")
    # CUDA: all threads of a warp, or of a block, come here together.
    SHUFFLE = Op(2, "statement", "VARIABLE src[0] becomes the src[1] of another lane", arg="(word, lanes)")
    BARRIER = Op(0, "statement", "the block's threads wait for one another")
    # Sixteen bytes, or `arg` elements, at an address that is a multiple of that.
    LOAD_VECTOR = Op(
        4,
        "statement",
        "SCRATCH src[0] from element src[1] on becomes POINTER src[2] from src[3] on",
        arg="None or elements",
    )
    STORE_VECTOR = Op(
        4,
        "statement",
        "POINTER src[0] from element src[1] on becomes SCRATCH src[2] from src[3] on",
        arg="None or elements",
    )
    # Between the blocks of a grid, through words of uint64 that were zero before.
    PUBLISH = Op(3, "statement", "src[2] can be awaited as element src[1] of POINTER src[0]")
    AWAIT = Op(
        3, "statement", "VARIABLE src[0] becomes what is published as element src[2] of POINTER src[1]"
    )
    SINK = Op(None, "statement", "statements in order: a kernel's body", arg="None, or CUDA: blocks at once")

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
# What REDUCE and SCAN combine with; AND and OR of booleans alone.
REDUCING = frozenset({Ops.ADD, Ops.MUL, Ops.MAXIMUM, Ops.MINIMUM, Ops.AND, Ops.OR})

# What mostly ends a kernel counts as this many operations of a chain: a loop whose steps are kernels is
# computed after some of them, and a GPU works meanwhile. One kernel may be long.
END_OF_KERNEL = 8
for _op in (Ops.SLICE, *_group("reduction", "gather", "concat", "external")):
    object.__setattr__(_op, "length", END_OF_KERNEL)
