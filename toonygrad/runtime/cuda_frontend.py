"""The front end of CUDA: the CPU's (`frontend.py`) with the words of codegen/cuda.py, and an entry that the
driver can launch.

`cuda_compile.py` imports this room when it meets the first kernel to compile, for Numba takes 0.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FunctionType

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
        set.add(entry.attributes, f'"nvvm.maxntid"="{cuda.MOST_THREADS}"')
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
    """Turn the marks of the word `unrolled` into metadata of the loops they begin."""
    marked = [(block, i) for block in kernel.blocks for i in block.instructions if _is_mark(i)]
    before: dict[str, list[ir.Block]] = {}
    for block in kernel.blocks:
        for following in _following(block):
            before.setdefault(following.name, []).append(block)
    for body, mark in marked:
        body.instructions.remove(mark)
        (header,) = before[body.name]
        inside = _reached(body, header)
        identity = kernel.module.add_metadata(
            [kernel.module.add_metadata(["llvm.loop.unroll.full"]), header.name]
        )
        # A loop's metadata names itself first, so that no two loops share it.
        identity.operands = (identity, identity.operands[0])
        for block in before[header.name]:
            if block.name in inside:
                block.terminator.set_metadata("llvm.loop", identity)


def _is_mark(instruction: ir.Instruction) -> bool:
    return isinstance(instruction, ir.CallInstr) and instruction.callee.name == cuda.UNROLLED


def _following(block: ir.Block) -> Iterator[ir.Block]:
    return (operand for operand in block.terminator.operands if isinstance(operand, ir.Block))


def _reached(start: ir.Block, end: ir.Block) -> set[str]:
    """The blocks on the ways from `start`, none of which goes on beyond `end`."""
    found, waiting = {start.name}, [start]
    while waiting:
        for block in _following(waiting.pop()):
            if block.name not in found and block is not end:
                found.add(block.name)
                waiting.append(block)
    return found
