"""The front end of CUDA: the CPU's (`frontend.py`) with the words of codegen/cuda.py, and an entry that the
driver can launch.

`cuda_compile.py` imports this room when it meets the first kernel to compile, for Numba takes 0.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core.compiler_lock import global_compiler_lock

from toonygrad.codegen import cuda
from toonygrad.codegen.cpu import PRIMITIVES, Parameter
from toonygrad.runtime.frontend import KernelTarget, KernelTyping, NumbaError, lowered, numba_type

__all__ = ["NumbaError", "device_ir"]

cuda.register()
_typing = KernelTyping(
    {word.function for words in (PRIMITIVES, cuda.DEVICE_WORDS) for word in words.values()}
)
_target = KernelTarget(_typing)
_NOTHING = ir.FunctionType(ir.VoidType(), [])


def device_ir(function: FunctionType, parameters: Sequence[Parameter], triple: str, data_layout: str) -> str:
    """A module in LLVM's text form with the kernel and its entry, which has the kernel's name.

    The entry takes an address for each pointer, an int64 for each integer, and each scalar in its own type,
    a boolean as one byte.

    Raises
    ------
    NumbaError
        And others of Python's own: what the function holds is not of the dialect.
    """
    argument_types = tuple(map(numba_type, parameters))
    with global_compiler_lock:
        module, kernel = lowered(_typing, _target, function, argument_types)
        module.triple, module.data_layout = triple, data_layout
        native = [_target.get_value_type(argument) for argument in argument_types]
        taken = [
            ir.IntType(8) if argument == types.boolean else kind
            for argument, kind in zip(argument_types, native)
        ]
        entry = ir.Function(module, ir.FunctionType(ir.VoidType(), taken), function.__name__)
        entry.calling_convention = "ptx_kernel"
        # How many registers a thread may have. llvmlite's set of attributes doesn't know this one.
        threads, resident = cuda.MOST_THREADS, _resident(kernel)
        if resident is not None:
            threads = cuda.RESIDENT_THREADS
            set.add(entry.attributes, f'"nvvm.minctasm"="{resident}"')
        set.add(entry.attributes, f'"nvvm.maxntid"="{threads}"')
        builder = ir.IRBuilder(entry.append_basic_block())
        arguments = []
        for value, kind in zip(entry.args, native):
            if isinstance(kind, ir.PointerType):
                value.add_attribute("noalias")  # loads of what isn't written then take the read-only way
            arguments.append(value if value.type == kind else builder.trunc(value, kind))
        _target.call_conv.call_function(builder, kernel, types.none, argument_types, arguments)
        builder.ret_void()
        _unroll(kernel)
        return str(module)


# -- loops to write out --------------------------------------------------------------------------------------


def _unroll(kernel: ir.Function) -> None:
    """Turn the marks of the word `unrolled` into metadata of the loops they stand in."""
    loops = _loops(kernel)
    for body in kernel.blocks:
        marks = [instruction for instruction in body.instructions if _calls(instruction, cuda.UNROLLED)]
        for mark in marks:
            body.instructions.remove(mark)
            around = [loop for loop in loops if body.name in loop.inside]
            innermost = min(around, key=lambda loop: len(loop.inside))
            wish = kernel.module.add_metadata(["llvm.loop.unroll.full"])
            identity = kernel.module.add_metadata([wish, innermost.header])
            # A loop's metadata names itself first, so that no two loops share it.
            identity.operands = (identity, wish)
            for block in innermost.ends:
                # LLVM folds a block that holds nothing else into those before, and loses its metadata.
                builder = ir.IRBuilder(block)
                builder.position_before(block.terminator)
                builder.call(kernel.module.declare_intrinsic("llvm.sideeffect", (), _NOTHING), [])
                block.terminator.set_metadata("llvm.loop", identity)


def _resident(kernel: ir.Function) -> int | None:
    """Take the mark of the word `resident` out; how many blocks it asks for."""
    found = None
    for body in kernel.blocks:
        for instruction in list(body.instructions):
            if _calls(instruction, cuda.RESIDENT):
                body.instructions.remove(instruction)
                found = instruction.args[0].constant
    return found


def _calls(instruction: ir.Instruction, name: str) -> bool:
    called = instruction.callee if isinstance(instruction, ir.CallInstr) else None
    return isinstance(called, ir.Function) and called.name == name


class _Loop(NamedTuple):
    """A loop: the name of its first block, the blocks that go back there, and the names of all its blocks."""

    header: str
    ends: list[ir.Block]
    inside: set[str]


def _loops(function: ir.Function) -> list[_Loop]:
    before: dict[str, list[ir.Block]] = {block.name: [] for block in function.blocks}
    for block in function.blocks:
        for following in _following(block):
            before[following.name].append(block)
    ends: dict[str, list[ir.Block]] = {}
    for end, header in _ways_back(function.entry_basic_block):
        ends.setdefault(header.name, []).append(end)
    loops = []
    for name, last in ends.items():
        inside, waiting = {name}, list(last)
        while waiting:
            block = waiting.pop()
            if block.name not in inside:
                inside.add(block.name)
                waiting += before[block.name]
        loops.append(_Loop(name, last, inside))
    return loops


def _ways_back(entry: ir.Block) -> Iterator[tuple[ir.Block, ir.Block]]:
    """From each end of a loop to its first block: depth first, what leads to a block on the way here."""
    done, way = {entry.name}, {entry.name: (entry, _following(entry))}
    while way:
        block, rest = next(reversed(way.values()))
        following = next(rest, None)
        if following is None:
            del way[block.name]
        elif following.name in way:
            yield block, following
        elif following.name not in done:
            done.add(following.name)
            way[following.name] = (following, _following(following))


def _following(block: ir.Block) -> Iterator[ir.Block]:
    return (operand for operand in block.terminator.operands if isinstance(operand, ir.Block))
