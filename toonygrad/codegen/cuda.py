"""The CUDA dialect: the words of the CPU's, and those by which threads of a GPU tell and help one another.

`runtime/cuda_compile.py` compiles kernels written in them. A kernel's text is what one thread does. In plain
Python the words here have a meaning only among threads, which tests/simulator.py gives them; each function
says what it is. Imports NumPy only; Numba and llvmlite come in with `register`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from toonygrad.codegen import cpu
from toonygrad.codegen.cpu import PRIMITIVES, numba_kind
from toonygrad.codegen.cuda_functions import square_root, write_remainder

__all__ = ["DEVICE_WORDS", "VECTOR_BYTES", "Word", "device_namespace", "register"]

# What one load or store moves at most, and the multiple that its address must be.
VECTOR_BYTES = 16
# Lanes of a warp, and the most threads of a block that any kernel is launched with: each may then have 128
# registers.
WARP, MOST_THREADS = 32, 512
# The threads of a block whose kernel says how many such blocks are to fit a multiprocessor.
RESIDENT_THREADS = 256

_SIMULATED = "threads of a GPU exist in tests/simulator.py only"


class Word(NamedTuple):
    """One word that the CPU has not.

    Attributes
    ----------
    function : callable
        Numba's typing and lowering are registered on this very object.
    result : callable
        From the Numba types of the operands to that of the result; None where the word has no meaning.
    lower : callable
        ``(context, builder, signature, operands)`` to the LLVM value.
    """

    function: Callable[..., Any]
    result: Callable[[Sequence[Any]], Any]
    lower: Callable[..., Any]


def _word(name: str, meaning: str) -> Callable[..., Any]:
    def function(*operands: Any) -> Any:
        raise RuntimeError(f"{name}: {_SIMULATED}")

    function.__name__, function.__doc__ = name, meaning
    return function


# -- which thread this is ------------------------------------------------------------------------------------

_PLACES = {
    "thread_x": ("tid.x", "the thread's place in its block"),
    "thread_y": ("tid.y", "the same along the block's second side"),
    "block_x": ("ctaid.x", "the block's place in the grid"),
    "block_y": ("ctaid.y", "the same along the grid's second side"),
    "block_z": ("ctaid.z", "the same along the grid's third side"),
    "threads_x": ("ntid.x", "how many threads a block has along its first side"),
    "threads_y": ("ntid.y", "how many along its second"),
    "blocks_y": ("nctaid.y", "how many blocks the grid has along its second side"),
}


def _place_type(operands: Sequence[Any]) -> Any:
    from numba import types

    return None if operands else types.int64


def _lower_place(register_name: str) -> Callable[..., Any]:
    def lower(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
        from llvmlite import ir

        read = _intrinsic(builder, f"llvm.nvvm.read.ptx.sreg.{register_name}", ir.IntType(32), [])
        return builder.zext(builder.call(read, []), ir.IntType(64))

    return lower


def _intrinsic(builder: Any, name: str, result: Any, operands: Sequence[Any]) -> Any:
    from llvmlite import ir

    found = builder.module.globals.get(name)
    if found is None:
        found = ir.Function(builder.module, ir.FunctionType(result, operands), name)
    return found


# -- among threads -------------------------------------------------------------------------------------------


def _barrier_type(operands: Sequence[Any]) -> Any:
    from numba import types

    return None if operands else types.none


def _lower_barrier(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    from llvmlite import ir

    integer = ir.IntType(32)
    wait = _intrinsic(builder, "llvm.nvvm.barrier.cta.sync.aligned.all", ir.VoidType(), [integer])
    builder.call(wait, [integer(0)])
    return context.get_dummy_value()


def _shuffle_type(operands: Sequence[Any]) -> Any:
    from numba import types

    value, lanes = operands
    return value if numba_kind(value) and isinstance(lanes, types.IntegerLiteral) else None


def _lower_shuffle(mode: str) -> Callable[..., Any]:
    """A shuffle of all 32 lanes, in pieces of 32 bits."""

    def lower(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
        from llvmlite import ir

        integer = ir.IntType(32)
        shuffle = _intrinsic(builder, f"llvm.nvvm.shfl.sync.{mode}.i32", integer, [integer] * 4)
        lanes, last = integer(signature.args[1].literal_value), integer(0 if mode == "up" else 31)

        def moved(piece: Any) -> Any:
            return builder.call(shuffle, [integer(-1), piece, lanes, last])

        value = operands[0]
        kind = value.type
        width = kind.width if isinstance(kind, ir.IntType) else 8 * signature.return_type.bitwidth // 8
        bits = ir.IntType(width)
        word = value if kind == bits else builder.bitcast(value, bits)
        if width <= 32:
            word = moved(word if width == 32 else builder.zext(word, integer))
            word = word if width == 32 else builder.trunc(word, bits)
        else:
            low = moved(builder.trunc(word, integer))
            high = moved(builder.trunc(builder.lshr(word, bits(32)), integer))
            word = builder.or_(builder.zext(low, bits), builder.shl(builder.zext(high, bits), bits(32)))
        return word if kind == bits else builder.bitcast(word, kind)

    return lower


def _publish_type(operands: Sequence[Any]) -> Any:
    from numba import types

    words, place, value = operands
    return types.none if _are_words(words, place) and numba_kind(value) else None


def _awaited_type(element: str) -> Callable[[Sequence[Any]], Any]:
    def result(operands: Sequence[Any]) -> Any:
        from numba import types

        return getattr(types, element) if _are_words(*operands) else None

    return result


def _are_words(words: Any, place: Any) -> bool:
    from numba import types

    is_pointer = isinstance(words, types.CPointer) and words.dtype == types.uint64
    return is_pointer and isinstance(place, types.Integer)


def _lower_publish(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    """The value's bits in words of 64: half of one says that it is there, so that no fence is needed."""
    from llvmlite import ir

    words, place, value = operands
    half, whole = ir.IntType(32), ir.IntType(64)
    width = signature.args[2].bitwidth
    bits = value if isinstance(value.type, ir.IntType) else builder.bitcast(value, ir.IntType(width))
    first = builder.mul(place, whole(width // 32)) if width == 64 else place
    for k in range(max(1, width // 32)):
        piece = builder.trunc(builder.lshr(bits, bits.type(32 * k)), half) if width == 64 else bits
        piece = builder.zext(piece, whole) if piece.type != whole else piece
        word = builder.or_(piece, whole(1 << 32))
        builder.store_atomic(word, builder.gep(words, [builder.add(first, whole(k))]), "monotonic", 8)
    return context.get_dummy_value()


def _lower_awaited(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    from llvmlite import ir

    words, place = operands
    whole, result = ir.IntType(64), signature.return_type
    count = max(1, result.bitwidth // 32)
    first = builder.mul(place, whole(count))
    again, done = builder.append_basic_block("await"), builder.append_basic_block("there")
    builder.branch(again)
    builder.position_at_end(again)
    found = [
        builder.load_atomic(builder.gep(words, [builder.add(first, whole(k))]), "monotonic", 8)
        for k in range(count)
    ]
    both = found[0] if count == 1 else builder.and_(*found)
    builder.cbranch(builder.icmp_unsigned("!=", builder.lshr(both, whole(32)), whole(0)), done, again)
    builder.position_at_end(done)
    bits = builder.and_(found[0], whole((1 << 32) - 1))
    if count == 2:
        bits = builder.or_(bits, builder.shl(found[1], whole(32)))
    integer, kind = ir.IntType(result.bitwidth), context.get_value_type(result)
    bits = builder.trunc(bits, integer) if result.bitwidth < 64 else bits
    return bits if kind == integer else builder.bitcast(bits, kind)


def _shared_type(element: str) -> Callable[[Sequence[Any]], Any]:
    def result(operands: Sequence[Any]) -> Any:
        from numba import types

        is_length = len(operands) == 1 and isinstance(operands[0], types.IntegerLiteral)
        return types.CPointer(getattr(types, element)) if is_length else None

    return result


def _lower_shared(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    """An array of the module in the address space of a block's memory."""
    from llvmlite import ir

    element = context.get_value_type(signature.return_type.dtype)
    kind = ir.ArrayType(element, signature.args[0].literal_value)
    name = builder.module.get_unique_name("shared")
    array = ir.GlobalVariable(builder.module, kind, name, addrspace=3)
    array.linkage, array.initializer, array.align = "internal", ir.Constant(kind, ir.Undefined), VECTOR_BYTES
    first = builder.gep(array, [ir.IntType(32)(0)] * 2)
    return builder.addrspacecast(first, element.as_pointer())


# -- sixteen bytes at once -----------------------------------------------------------------------------------


def _vector_type(operands: Sequence[Any]) -> Any:
    from numba import types

    target, place, source, start, *length = operands
    pointers = isinstance(target, types.CPointer) and isinstance(source, types.CPointer)
    same = pointers and target.dtype == source.dtype and numba_kind(target.dtype)
    places = isinstance(place, types.Integer) and isinstance(start, types.Integer)
    known = all(isinstance(each, types.IntegerLiteral) for each in length) and len(length) <= 1
    return types.none if same and places and known else None


def _lower_vector(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    from llvmlite import ir

    target, place, source, start = operands[:4]
    element = context.get_value_type(signature.args[0].dtype)
    width = signature.args[0].dtype.bitwidth // 8
    given = signature.args[4:]
    nbytes = width * given[0].literal_value if given else VECTOR_BYTES
    vector = ir.VectorType(element, nbytes // width).as_pointer()
    value = builder.load(builder.bitcast(builder.gep(source, [start]), vector), align=nbytes)
    builder.store(value, builder.bitcast(builder.gep(target, [place]), vector), align=nbytes)
    return context.get_dummy_value()


# -- memory that threads share -------------------------------------------------------------------------------


def _atomic_type(operands: Sequence[Any]) -> Any:
    from numba import types

    target, place, value = operands
    whole = isinstance(target, types.CPointer) and isinstance(target.dtype, types.Integer)
    same = whole and target.dtype == value and target.dtype.signed
    return value if same and isinstance(place, types.Integer) else None


def _lower_atomic(operation: str) -> Callable[..., Any]:
    def lower(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
        target, place, value = operands
        return builder.atomic_rmw(operation, builder.gep(target, [place]), value, "monotonic")

    return lower


# -- loops ---------------------------------------------------------------------------------------------------

UNROLLED = "toonygrad.unrolled"


RESIDENT = "toonygrad.resident"


def _resident_type(operands: Sequence[Any]) -> Any:
    from numba import types

    return types.none if isinstance(operands[0], types.IntegerLiteral) else None


def _lower_resident(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    """A mark that the front end turns into an attribute of the kernel's entry."""
    from llvmlite import ir

    integer = ir.IntType(32)
    blocks = integer(signature.args[0].literal_value)
    builder.call(_intrinsic(builder, RESIDENT, ir.VoidType(), [integer]), [blocks])
    return context.get_dummy_value()


def _lower_unrolled(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    """A mark that the front end turns into metadata of the loop it stands in."""
    from llvmlite import ir

    builder.call(_intrinsic(builder, UNROLLED, ir.VoidType(), []), [])
    return context.get_dummy_value()


# -- the exact remainder of floats ---------------------------------------------------------------------------


def remainder(a: Any, b: Any) -> Any:
    """As the CPU's word; there is no C library here to have it of floats."""
    return cpu.remainder(a, b)


def _remainder_type(operands: Sequence[Any]) -> Any:
    same = len(operands) == 2 and operands[0] == operands[1]
    return operands[0] if same and numba_kind(operands[0]) in PRIMITIVES["remainder"].operations else None


def _lower_remainder(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    from llvmlite import ir

    if numba_kind(signature.return_type) != "f":
        return cpu.lower_uniform(PRIMITIVES["remainder"], builder, operands, signature)
    double = ir.DoubleType()
    function = builder.module.globals.get("remainder")
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(double, [double, double]), "remainder")
        function.linkage = "internal"
        write_remainder(function)
    if signature.return_type.bitwidth == 64:
        return builder.call(function, operands)
    wide = [builder.fpext(operand, double) for operand in operands]
    return builder.fptrunc(builder.call(function, wide), operands[0].type)  # exact: it has no more digits


# -- roots ---------------------------------------------------------------------------------------------------


def sqrt(x: Any) -> Any:
    """As the CPU's word; of float32 without a branch."""
    return cpu.sqrt(x)


def _sqrt_type(operands: Sequence[Any]) -> Any:
    return operands[0] if len(operands) == 1 and numba_kind(operands[0]) == "f" else None


def _lower_sqrt(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
    from llvmlite import ir

    if signature.return_type.bitwidth != 32:
        return cpu.lower_uniform(PRIMITIVES["sqrt"], builder, operands, signature)
    single = ir.FloatType()
    approximation = _intrinsic(builder, "llvm.nvvm.rsqrt.approx.ftz.f", single, [single])
    return square_root(builder, operands[0], lambda x: builder.call(approximation, [x]))


# -- the bits of floats --------------------------------------------------------------------------------------


def _bits_word(name: str, move: str, constraint: str) -> Word:
    """A word of the CPU's, with an instruction that PTX does without, since registers there have no type.

    Where part of such a register is stored, ptxas 13.0 takes that for a conversion: of a sum in float32 whose
    lowest byte is meant, st.b8 stores the sum rounded and clipped to 255.
    """
    primitive = PRIMITIVES[name]

    def bits(x: Any) -> Any:
        return primitive.function(x)

    bits.__name__ = bits.__qualname__ = name
    bits.__doc__ = primitive.function.__doc__

    def result(operands: Sequence[Any]) -> Any:
        from numba import types

        return getattr(types, primitive.target) if operands == (getattr(types, primitive.source),) else None

    def lower(context: Any, builder: Any, signature: Any, operands: Sequence[Any]) -> Any:
        from llvmlite import ir

        integer = context.get_value_type(signature.return_type)
        kind = ir.FunctionType(integer, [operands[0].type])
        return builder.call(ir.InlineAsm(kind, f"{move} $0, $1;", constraint), operands)

    return Word(bits, result, lower)


# -- the table -----------------------------------------------------------------------------------------------

_ELEMENTS = [word.target for word in PRIMITIVES.values() if word.rule == "scratch"]

DEVICE_WORDS: Mapping[str, Word] = {
    **{
        name: Word(_word(name, meaning), _place_type, _lower_place(place))
        for name, (place, meaning) in _PLACES.items()
    },
    "barrier": Word(
        _word("barrier", "the block's threads wait for one another"), _barrier_type, _lower_barrier
    ),
    "shuffle_xor": Word(
        _word("shuffle_xor", "the value of the lane whose number differs in these bits"),
        _shuffle_type,
        _lower_shuffle("bfly"),
    ),
    "shuffle_up": Word(
        _word("shuffle_up", "the value of the lane so many before; the own in the first ones"),
        _shuffle_type,
        _lower_shuffle("up"),
    ),
    "shuffle_from": Word(
        _word("shuffle_from", "the value of the lane of this number"), _shuffle_type, _lower_shuffle("idx")
    ),
    "publish": Word(
        _word("publish", "a value is there for other blocks, in words that were zero"),
        _publish_type,
        _lower_publish,
    ),
    **{
        f"awaited_{name}": Word(
            _word(f"awaited_{name}", "the value that another block publishes, once it is there"),
            _awaited_type(name),
            _lower_awaited,
        )
        for name in _ELEMENTS
    },
    **{
        f"{name}_shared": Word(
            _word(f"{name}_shared", "a small array that a block's threads share"),
            _shared_type(name),
            _lower_shared,
        )
        for name in _ELEMENTS
    },
    "load_vector": Word(
        _word("load_vector", "sixteen bytes, or so many elements, of memory into scratch"),
        _vector_type,
        _lower_vector,
    ),
    "store_vector": Word(
        _word("store_vector", "sixteen bytes, or so many elements, of scratch into memory"),
        _vector_type,
        _lower_vector,
    ),
    "atomic_maximum": Word(
        _word("atomic_maximum", "an element of memory becomes no less than a value; what it was before"),
        _atomic_type,
        _lower_atomic("max"),
    ),
    "atomic_or": Word(
        _word("atomic_or", "an element of memory gets the bits of a value; what it was before"),
        _atomic_type,
        _lower_atomic("or"),
    ),
    "resident": Word(
        _word("resident", "so many blocks of 256 threads are to fit a multiprocessor at once"),
        _resident_type,
        _lower_resident,
    ),
    "unrolled": Word(_word("unrolled", "the loop around is written out"), _barrier_type, _lower_unrolled),
    "sqrt": Word(sqrt, _sqrt_type, _lower_sqrt),
    "remainder": Word(remainder, _remainder_type, _lower_remainder),
    "bits_of_float32": _bits_word("bits_of_float32", "mov.b32", "=r,f"),
    "bits_of_float64": _bits_word("bits_of_float64", "mov.b64", "=l,d"),
}


def device_namespace() -> dict[str, Any]:
    """A fresh global namespace to execute a kernel's source in: the CPU's words, and these."""
    return {**cpu.kernel_namespace(), **{name: word.function for name, word in DEVICE_WORDS.items()}}


def register() -> None:
    """Teach Numba these words, once a process; as the CPU's `register`."""
    from numba import types
    from numba.core.typing.templates import AbstractTemplate, infer_global, signature
    from numba.extending import lower_builtin

    for word in DEVICE_WORDS.values():

        def generic(self: Any, operands: Sequence[Any], keywords: Any, word: Word = word) -> Any:
            result = None if keywords else word.result(operands)
            return None if result is None else signature(result, *operands)

        template = type("DeviceTemplate", (AbstractTemplate,), {"key": word.function, "generic": generic})
        infer_global(word.function, types.Function(template))
        lower_builtin(word.function, types.VarArg(types.Any))(word.lower)
