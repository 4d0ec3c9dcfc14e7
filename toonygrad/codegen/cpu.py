"""The CPU dialect: the words a kernel's source may use beyond Python's own, each with a plain-Python and a
native meaning.

`python_source.py` writes kernels in these words, `runtime/compile.py` compiles them, `standalone.py` copies
them out. Imports NumPy only; Numba and llvmlite come in with `register`, because a process whose kernels are
all on disk never needs Numba.

The table `PRIMITIVES` holds one row a word. Operands are never promoted: all operands of a word have one
type, and the result's type is exact (float32 stays float32). As in Numba, a Python int is int64 (uint64 from
2**63), a Python float float64. Plain-Python runs belong inside ``np.errstate(all="ignore")``: NumPy warns
where the hardware only overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np

__all__ = ["PRIMITIVES", "Parameter", "Primitive", "kernel_namespace", "register"]


class Parameter(NamedTuple):
    """One argument of a kernel before ``lo`` and ``hi``, which every kernel has and no list of parameters
    names.

    Attributes
    ----------
    name : str
        The argument's name in the source.
    kind : {"pointer", "integer", "scalar"}
        A pointer to elements of `dtype`, an int64 size or stride, or one value of `dtype`.
    dtype : numpy.dtype
        Booleans are uint8 behind a pointer and bool as a scalar.
    """

    name: str
    kind: Literal["pointer", "integer", "scalar"]
    dtype: np.dtype[Any]


# -- plain Python --------------------------------------------------------------------------------------------


def scalar(value: Any) -> Any:
    """`value` as a NumPy scalar of the type Numba gives it."""
    if isinstance(value, np.generic):
        return value
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value) if value < 2**63 else np.uint64(value)
    return np.float64(value)


def uniform(kinds: str, *values: Any) -> Sequence[Any]:
    """The operands as NumPy scalars; TypeError unless all have one type, of one of the NumPy `kinds`."""
    first = values[0]
    if isinstance(first, np.generic) and first.dtype.kind in kinds:
        for value in values:
            if type(value) is not type(first):
                break
        else:
            return values
    operands = [scalar(value) for value in values]
    if len({operand.dtype for operand in operands}) != 1 or operands[0].dtype.kind not in kinds:
        raise TypeError(f"operands of type {', '.join(str(operand.dtype) for operand in operands)}")
    return operands


def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""
    a, b, c = uniform("f", a, b, c)
    dtype = a.dtype.type
    x, y, z = float(a), float(b), float(c)
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        return dtype(z if math.isfinite(x) and math.isfinite(y) else x * y + z)
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if not exact:
        return dtype(x * y + z)  # a fraction has no negative zero
    try:
        rounded = exact.numerator / exact.denominator
    except OverflowError:
        return dtype(math.inf if exact > 0 else -math.inf)
    if dtype is np.float32 and rounded != exact and int(np.float64(rounded).view(np.int64)) % 2 == 0:
        # Rounding twice is right only if the first rounding is to odd.
        rounded = math.nextafter(rounded, math.inf if exact > rounded else -math.inf)
    return dtype(rounded)


def sqrt(x: Any) -> Any:
    """The square root, correctly rounded; NaN below zero."""
    return np.sqrt(*uniform("f", x))


def floor(x: Any) -> Any:
    """The largest integral value not above `x`."""
    return np.floor(*uniform("f", x))


def ceil(x: Any) -> Any:
    """The smallest integral value not below `x`."""
    return np.ceil(*uniform("f", x))


def trunc(x: Any) -> Any:
    """The integral value next to `x` towards zero."""
    return np.trunc(*uniform("f", x))


def rint(x: Any) -> Any:
    """The nearest integral value, the even one of two."""
    return np.rint(*uniform("f", x))


def absolute(x: Any) -> Any:
    """The magnitude; the least value of a signed integer type stays as it is."""
    return np.absolute(*uniform("fi", x))


def copysign(magnitude: Any, sign: Any) -> Any:
    """`magnitude` with the sign bit of `sign`."""
    return np.copysign(*uniform("f", magnitude, sign))


def maximum(a: Any, b: Any) -> Any:
    """The larger; NaN if either is, and +0 above -0 (IEEE 754-2019 maximum)."""
    a, b = uniform("fiu", a, b)
    if a != a or b != b:
        return a + b
    if a == b:
        return b if np.signbit(a) else a
    return a if a > b else b


def minimum(a: Any, b: Any) -> Any:
    """The smaller; NaN if either is, and -0 below +0 (IEEE 754-2019 minimum)."""
    a, b = uniform("fiu", a, b)
    if a != a or b != b:
        return a + b
    if a == b:
        return a if np.signbit(a) else b
    return a if a < b else b


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the boolean `condition` holds, else `b`; both are evaluated."""
    (condition,) = uniform("b", condition)
    a, b = uniform("fiub", a, b)
    return a if condition else b


def quotient(a: Any, b: Any) -> Any:
    """Integer ``a / b`` towards zero. `b` is not 0, nor -1 under the least `a`."""
    a, b = uniform("iu", a, b)
    magnitude = abs(int(a)) // abs(int(b))
    return a.dtype.type(magnitude if (a < 0) == (b < 0) else -magnitude)


def remainder(a: Any, b: Any) -> Any:
    """``a - quotient(a, b) * b``, of the sign of `a`. The same integers are excluded; of floats C's fmod."""
    a, b = uniform("iuf", a, b)
    if a.dtype.kind == "f":
        return np.fmod(a, b)
    magnitude = abs(int(a)) % abs(int(b))
    return a.dtype.type(-magnitude if a < 0 else magnitude)


def integer_power(base: Any, exponent: Any) -> Any:
    """``base ** exponent`` of integers, wrapping; a negative exponent gives 0, but for the bases 1 and -1."""
    base, exponent = uniform("iu", base, exponent)
    if exponent < 0:
        odd = int(exponent) & 1
        return base.dtype.type({1: 1, -1: -1 if odd else 1}.get(int(base), 0))
    bits = 8 * base.dtype.itemsize
    return np.array(pow(int(base), int(exponent), 1 << bits), np.uint64).astype(base.dtype)[()]


def shift_left(a: Any, amount: Any) -> Any:
    """``a << amount`` in the type of `a`; 0 <= amount < its width."""
    a, amount = uniform("iu", a, amount)
    return a << amount


def shift_right(a: Any, amount: Any) -> Any:
    """``a >> amount``, arithmetic for signed types; 0 <= amount < the width."""
    a, amount = uniform("iu", a, amount)
    return a >> amount


def reassociating_add(a: Any, b: Any) -> Any:
    """``a + b``; a chain of these may be summed in any order."""
    a, b = uniform("f", a, b)
    return a + b


def reassociating_multiply(a: Any, b: Any) -> Any:
    """``a * b``; a chain of these may be multiplied in any order."""
    a, b = uniform("f", a, b)
    return a * b


def conversion(target: str) -> Callable[[Any], Any]:
    """Conversion to `target`: integers wrap, a float becomes an integer towards zero and saturating, NaN
    becomes 0.
    """
    dtype = np.dtype("bool" if target == "boolean" else target)
    own = dtype.type

    def convert(value: Any) -> Any:
        if type(value) is own:
            return value
        value = scalar(value)
        if value.dtype.kind == "f" and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            return dtype.type(0 if value != value else int(min(max(float(value), limits.min), limits.max)))
        return value.astype(dtype)

    return convert


def reinterpretation(source: str, target: str) -> Callable[[Any], Any]:
    """The same bits as another type."""

    def reinterpret(value: Any) -> Any:
        value = scalar(value)
        if value.dtype != source:
            raise TypeError(f"operand of type {value.dtype} where {source} is wanted")
        return value.view(target)

    return reinterpret


def two_over_pi(word: Any) -> Any:
    """64 bits of the binary fraction of 2 / pi, from bit ``64 * word`` on; zeros before the first.

    The words from -17 to 18 are all that the exponent of a float64 can ask for.
    """
    fraction = int(
        "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424d"
        "d2e006492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639"
        "835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f46"
        "3f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6bab",
        16,
    )
    return np.uint64(fraction >> (1216 - 64 * (int(word) + 1)) & 0xFFFFFFFFFFFFFFFF)


def scratch(element: str) -> Callable[[int], Any]:
    """A small array on the kernel's stack, of a literal length, its contents undefined."""

    def allocate(length: int) -> Any:
        return np.empty(length, element)

    return allocate


def transpose(target: Any, width: Any, source: Any, start: Any, stride: Any, rows: Any, columns: Any) -> None:
    """Fill `target`, whose rows lie `width` apart: row r, column c with element ``start + r + c * stride`` of
    `source`.
    """
    for row in range(rows):
        for column in range(columns):
            target[row * width + column] = source[start + row + column * stride]


# -- the table -----------------------------------------------------------------------------------------------


class Primitive(NamedTuple):
    """One word of the dialect.

    Attributes
    ----------
    function : callable
        Its plain-Python meaning. Numba's typing and lowering are registered on this very object.
    rule : {"uniform", "power", "select", "convert", "reinterpret", "table", "scratch", "transpose"}
        How it is typed and lowered, see `result_type` and `lowering`.
    operations : mapping
        For "uniform": LLVM's intrinsic, or instruction and flags, for each kind of operand ("f", "i" signed,
        "u" unsigned).
    source, target : str
        The types of operand and result where the word fixes them.
    """

    function: Callable[..., Any]
    rule: Literal["uniform", "power", "select", "convert", "reinterpret", "table", "scratch", "transpose"]
    operations: Mapping[str, str] = {}
    source: str = ""
    target: str = ""


_SIGNED = ("int8", "int16", "int32", "int64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float32", "float64")

PRIMITIVES: Mapping[str, Primitive] = {
    "fma": Primitive(fma, "uniform", {"f": "llvm.fma"}),
    "sqrt": Primitive(sqrt, "uniform", {"f": "llvm.sqrt"}),
    "floor": Primitive(floor, "uniform", {"f": "llvm.floor"}),
    "ceil": Primitive(ceil, "uniform", {"f": "llvm.ceil"}),
    "trunc": Primitive(trunc, "uniform", {"f": "llvm.trunc"}),
    "rint": Primitive(rint, "uniform", {"f": "llvm.rint"}),
    "absolute": Primitive(absolute, "uniform", {"f": "llvm.fabs", "i": "llvm.abs"}),
    "copysign": Primitive(copysign, "uniform", {"f": "llvm.copysign"}),
    "maximum": Primitive(maximum, "uniform", {"f": "llvm.maximum", "i": "llvm.smax", "u": "llvm.umax"}),
    "minimum": Primitive(minimum, "uniform", {"f": "llvm.minimum", "i": "llvm.smin", "u": "llvm.umin"}),
    "quotient": Primitive(quotient, "uniform", {"i": "sdiv", "u": "udiv"}),
    "remainder": Primitive(remainder, "uniform", {"i": "srem", "u": "urem", "f": "frem"}),
    "integer_power": Primitive(integer_power, "power", {"i": "", "u": ""}),
    "shift_left": Primitive(shift_left, "uniform", {"i": "shl", "u": "shl"}),
    "shift_right": Primitive(shift_right, "uniform", {"i": "ashr", "u": "lshr"}),
    "reassociating_add": Primitive(reassociating_add, "uniform", {"f": "fadd reassoc"}),
    "reassociating_multiply": Primitive(reassociating_multiply, "uniform", {"f": "fmul reassoc"}),
    "where": Primitive(where, "select"),
    "two_over_pi": Primitive(two_over_pi, "table", source="int64", target="uint64"),
    "transpose": Primitive(transpose, "transpose"),
    **{
        name: Primitive(conversion(name), "convert", target=name)
        for name in ("boolean", *_SIGNED, *_UNSIGNED, *_FLOATS)
    },
    **{
        name: Primitive(reinterpretation(source, target), "reinterpret", source=source, target=target)
        for name, source, target in (
            ("bits_of_float32", "float32", "int32"),
            ("bits_of_float64", "float64", "int64"),
            ("float32_of_bits", "int32", "float32"),
            ("float64_of_bits", "int64", "float64"),
        )
    },
    **{
        f"{name}_scratch": Primitive(scratch(name), "scratch", target=name)
        for name in (*_SIGNED, *_UNSIGNED, *_FLOATS)
    },
}


def kernel_namespace() -> dict[str, Any]:
    """A fresh global namespace to execute a kernel's source in: the dialect and ``range``, nothing else."""
    return {"__builtins__": {"range": range}, **{name: word.function for name, word in PRIMITIVES.items()}}


# -- Numba ---------------------------------------------------------------------------------------------------


def numba_kind(numba_type: Any) -> str:
    """NumPy's letter for the kind of a Numba type; empty for what is no number."""
    from numba import types

    if isinstance(numba_type, types.Integer):
        return "i" if numba_type.signed else "u"
    if isinstance(numba_type, types.Float):
        return "f"
    return "b" if isinstance(numba_type, types.Boolean) else ""


def result_type(word: Primitive, operands: Sequence[Any]) -> Any:
    """The Numba type of `word` on operands of these types; None where it has no meaning."""
    from numba import types

    if word.rule == "select":
        return operands[1] if operands[0] == types.boolean and operands[1] == operands[2] else None
    first = operands[0]
    if word.rule in ("uniform", "power"):
        allowed = numba_kind(first) in word.operations and all(other == first for other in operands)
        return first if allowed else None
    if word.rule == "transpose":
        same = isinstance(first, types.CPointer) and first.dtype == getattr(operands[2], "dtype", None)
        return types.none if same else None
    target = getattr(types, word.target)
    if word.rule == "convert":
        return target if numba_kind(first) else None
    if word.rule in ("reinterpret", "table"):
        return target if first == getattr(types, word.source) else None
    return types.CPointer(target) if isinstance(first, types.IntegerLiteral) else None


def lower_uniform(word: Primitive, builder: Any, operands: Sequence[Any], signature: Any) -> Any:
    """The intrinsic or instruction that the table names."""
    from llvmlite import ir

    operation, *flags = word.operations[numba_kind(signature.return_type)].split()
    if not operation.startswith("llvm."):
        return getattr(builder, operation)(*operands, flags=flags)
    if operation == "llvm.abs":  # its second operand: the least integer is no poison
        operands = [*operands, ir.Constant(ir.IntType(1), 0)]
    result = operands[0].type
    function_type = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(builder.module.declare_intrinsic(operation, [result], function_type), operands)


def lower_power(builder: Any, base: Any, exponent: Any, signed: bool) -> Any:
    """Squaring and multiplying in a loop over the exponent's bits: written out it would be 64 steps."""
    from llvmlite import ir

    bit = ir.IntType(1)
    zero, one, minus_one = (base.type(value) for value in (0, 1, -1))
    negative = builder.icmp_signed("<", exponent, zero) if signed else None
    magnitude = exponent if negative is None else builder.select(negative, zero, exponent)
    entry = builder.block
    loop, done = builder.append_basic_block("power"), builder.append_basic_block("power.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    result, square, rest = (builder.phi(base.type) for _ in range(3))
    odd = builder.trunc(rest, bit)
    grown = builder.select(odd, builder.mul(result, square), result)
    squared, shorter = builder.mul(square, square), builder.lshr(rest, one)
    for phi, first, again in ((result, one, grown), (square, base, squared), (rest, magnitude, shorter)):
        phi.add_incoming(first, entry)
        phi.add_incoming(again, loop)
    builder.cbranch(builder.icmp_unsigned("==", shorter, zero), done, loop)
    builder.position_at_end(done)
    if negative is None:
        return grown
    alternating = builder.select(builder.trunc(exponent, bit), minus_one, one)
    inverse = builder.select(builder.icmp_signed("==", base, minus_one), alternating, zero)
    inverse = builder.select(builder.icmp_signed("==", base, one), one, inverse)
    return builder.select(negative, inverse, grown)


def lower_conversion(builder: Any, value: Any, result: Any, signature: Any) -> Any:
    """The cast from the operand's kind to the result's; `result` is an LLVM type."""
    before, after = numba_kind(signature.args[0]), numba_kind(signature.return_type)
    if after == "b":
        compare = builder.fcmp_unordered if before == "f" else builder.icmp_signed
        return compare("!=", value, value.type(0))
    if before == "f" and after == "f":
        narrower = signature.return_type.bitwidth < signature.args[0].bitwidth
        return (builder.fptrunc if narrower else builder.fpext)(value, result)
    if before == "f":
        return lower_saturating(builder, value, result, after == "i")
    if after == "f":
        return (builder.sitofp if before == "i" else builder.uitofp)(value, result)
    if result.width < value.type.width:
        return builder.trunc(value, result)
    return (builder.sext if before == "i" else builder.zext)(value, result)


def lower_saturating(builder: Any, value: Any, result: Any, signed: bool) -> Any:
    """Float to integer by a plain cast, its undefined results replaced: LLVM splits llvm.fptosi.sat into
    single elements, which takes four to seven times as long.
    """
    least, most = (-(2 ** (result.width - 1)), 2 ** (result.width - 1)) if signed else (0, 2**result.width)
    # An unselected poison does no harm; both limits are powers of two, exact in every float type.
    above = builder.fcmp_ordered(">=", value, value.type(float(most)))
    below = builder.fcmp_ordered("<=", value, value.type(float(least)))
    integer = (builder.fptosi if signed else builder.fptoui)(value, result)
    integer = builder.select(above, result(most - 1), integer)
    integer = builder.select(below, result(least), integer)
    return builder.select(builder.fcmp_unordered("uno", value, value), result(0), integer)


def lower_table(word: Primitive, builder: Any, position: Any) -> Any:
    """A load from a constant array that holds every value of `two_over_pi`, once in a module."""
    from llvmlite import ir

    values = [int(word.function(k)) for k in range(-17, 19)]
    kind = ir.ArrayType(ir.IntType(64), len(values))
    table = builder.module.globals.get("two_over_pi")
    if table is None:
        table = ir.GlobalVariable(builder.module, kind, "two_over_pi")
        table.initializer, table.global_constant, table.linkage = kind(values), True, "internal"
    integer = ir.IntType(64)
    return builder.load(builder.gep(table, [integer(0), builder.add(position, integer(17))], inbounds=True))


def lower_scratch(builder: Any, element: Any, signature: Any) -> Any:
    """An array in the kernel's frame, aligned to a cache line, which is also the widest vector."""
    from llvmlite import ir

    with builder.goto_entry_block():
        array = builder.alloca(element, ir.Constant(ir.IntType(64), signature.args[0].literal_value))
    array.align = 64
    return array


def lower_transpose(builder: Any, target: Any, source: Any, sizes: Sequence[Any]) -> None:
    """A call of a function, of which a module has one for each type of element; `sizes` are the word's
    integers.

    Optimised for size it compiles in a third of the time that unrolling its loops takes, and is as fast.
    """
    from llvmlite import ir

    element = target.type.pointee
    name = f"transpose.{element.intrinsic_name}"
    function = builder.module.globals.get(name)
    if function is None:
        width, pointer = ir.IntType(64), element.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, width, pointer, *[width] * 4])
        function = ir.Function(builder.module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("optsize")
        inside = ir.IRBuilder(function.append_basic_block())
        write_transpose(inside, *function.args)
        inside.ret_void()
    builder.call(function, [target, sizes[0], source, *sizes[1:]])


def write_transpose(
    builder: Any, target: Any, width: Any, source: Any, start: Any, stride: Any, rows: Any, columns: Any
) -> None:
    """Blocks of eight by eight, each eight loads, a network of shuffles and eight stores: LLVM would move
    single elements.

    The last blocks overlap those before. What has fewer than eight rows or columns moves by single elements.
    """
    from llvmlite import ir
    from numba.core import cgutils

    integer, eight = ir.IntType(64), ir.IntType(64)(8)
    vector = ir.VectorType(target.type.pointee, 8).as_pointer()
    lanes = ir.VectorType(ir.IntType(32), 8)
    halves = [lanes([k for lane in half for k in (lane, lane + 8)]) for half in (range(4), range(4, 8))]

    def place(first: Any, number: Any, apart: Any) -> Any:
        return builder.add(first, builder.mul(number, apart))

    def lines(array: Any, first: Any, apart: Any) -> list[Any]:
        places = [place(first, integer(k), apart) for k in range(8)]
        return [builder.bitcast(builder.gep(array, [at]), vector) for at in places]

    def block(number: Any, extent: Any) -> Any:
        first, last = builder.mul(number, eight), builder.sub(extent, eight)
        return builder.select(builder.icmp_signed("<", first, last), first, last)

    blocks = [builder.sdiv(builder.add(extent, integer(7)), eight) for extent in (columns, rows)]
    fits = [builder.icmp_signed(">=", extent, eight) for extent in (columns, rows)]
    with builder.if_else(builder.and_(*fits)) as (in_blocks, singly):
        with in_blocks, cgutils.loop_nest(builder, blocks, integer) as numbers:
            column, row = block(numbers[0], columns), block(numbers[1], rows)
            read = lines(source, place(builder.add(start, row), column, stride), stride)
            tile = [builder.load(pointer, align=1) for pointer in read]
            for _ in range(3):
                pairs = zip(tile[:4], tile[4:])
                tile = [builder.shuffle_vector(*pair, half) for pair in pairs for half in halves]
            for value, pointer in zip(tile, lines(target, place(column, row, width), width)):
                builder.store(value, pointer, align=1)
        with singly, cgutils.loop_nest(builder, (rows, columns), integer) as (row, column):
            value = builder.load(builder.gep(source, [place(builder.add(start, row), column, stride)]))
            builder.store(value, builder.gep(target, [place(column, row, width)]))


def lowering(word: Primitive) -> Callable[..., Any]:
    """The function by which Numba writes `word` as LLVM instructions."""

    def implementation(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
        from numba import types

        if word.rule == "uniform":
            return lower_uniform(word, builder, operands, signature)
        if word.rule == "select":
            return builder.select(*operands)
        if word.rule == "power":
            base, exponent = operands
            return lower_power(builder, base, exponent, numba_kind(signature.return_type) == "i")
        if word.rule == "table":
            return lower_table(word, builder, operands[0])
        if word.rule == "scratch":
            return lower_scratch(builder, context.get_value_type(signature.return_type.dtype), signature)
        if word.rule == "transpose":
            target, width, source, *places = operands
            if isinstance(signature.args[2], types.Array):  # a kernel that runs alone
                source = context.make_array(signature.args[2])(context, builder, source).data
            lower_transpose(builder, target, source, (width, *places))
            return context.get_dummy_value()
        result = context.get_value_type(signature.return_type)
        if word.rule == "reinterpret":
            return builder.bitcast(operands[0], result)
        if signature.args[0] == signature.return_type:
            return operands[0]
        return lower_conversion(builder, operands[0], result, signature)

    return implementation


def register(words: Sequence[Primitive]) -> None:
    """Teach Numba these words, once a process.

    Low-level templates, not `numba.extending.overload`: each use of an overload compiles a function of its
    own, more than 10 ms; each use of a word costs 0.8 ms, LLVM's share included.
    """
    from numba import types
    from numba.core.typing.templates import AbstractTemplate, infer_global, signature
    from numba.extending import lower_builtin

    for word in words:

        def generic(self: Any, operands: Sequence[Any], keywords: Any, word: Primitive = word) -> Any:
            result = None if keywords else result_type(word, operands)
            return None if result is None else signature(result, *operands)

        template = type("DialectTemplate", (AbstractTemplate,), {"key": word.function, "generic": generic})
        infer_global(word.function, types.Function(template))
        lower_builtin(word.function, types.VarArg(types.Any))(lowering(word))
