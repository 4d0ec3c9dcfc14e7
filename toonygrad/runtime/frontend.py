"""Numba as front end: types a kernel's function and writes its LLVM IR, in contexts of Numba's that know the
dialect and nothing else.

`compile.py` imports this room when it meets the first kernel to compile, for importing Numba takes 0.2 s. May
import codegen's dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import compiler, imputils, typed_passes, typing, untyped_passes
from numba.core.codegen import CodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.errors import NumbaError
from numba.core.typing import builtins as typing_rules
from numba.core.typing.templates import Registry, builtin_registry

# Imported for what they teach Numba: how arithmetic, loops and pointers are written in LLVM.
from numba.cpython import builtins, numbers, rangeobj  # noqa: F401

from toonygrad.codegen.cpu import PRIMITIVES, Parameter, register

__all__ = ["KernelTarget", "KernelTyping", "NumbaError", "kernel_ir", "lowered", "numba_type"]

_INT64 = ir.IntType(64)
_ENTRY_TYPE = ir.FunctionType(ir.VoidType(), [_INT64.as_pointer(), _INT64.as_pointer(), _INT64, _INT64])


# -- what Numba knows ----------------------------------------------------------------------------------------


class KernelTyping(typing.Context):  # type: ignore[misc]
    """Numba's own rules for numbers, pointers and ranges, and the dialect's.

    Numba's common context also knows arrays, lists and strings: 0.15 s to set up in each process, and every
    operator of a kernel tries NumPy's rules before its own. Without them typing and lowering take two thirds
    of the time, and the code is the same.
    """

    def __init__(self, words: Collection[Callable[..., Any]]) -> None:
        self._words = words
        super().__init__()

    def init(self) -> None:
        """Called by Numba's constructor."""
        self._signatures: dict[tuple[Any, tuple[Any, ...]], Any] = {}
        words = self._words
        known = Registry()
        known.functions = [rule for rule in builtin_registry.functions if _is_basic(rule)]
        known.globals = [
            (value, kind)
            for value, kind in builtin_registry.globals
            if isinstance(kind, types.Function) and (value in words or all(map(_is_basic, kind.templates)))
        ]
        self.install_registry(known)

    def refresh(self) -> None:
        """Called before each compile; what other packages teach Numba is nothing to a kernel."""

    def resolve_function_type(self, function: Any, operands: Any, keywords: Any) -> Any:
        """The signature of a call, looked up once for each function and types of operands.

        Types that hold a value (shift amounts, lengths) are left out: there is no end of them.
        """
        literal = any(isinstance(operand, types.Literal) for operand in operands)
        if keywords or literal or not isinstance(function, types.Function):
            return super().resolve_function_type(function, operands, keywords)
        key = (function, tuple(operands))
        if (found := self._signatures.get(key)) is None:
            found = self._signatures[key] = super().resolve_function_type(function, operands, keywords)
        return found


def _is_basic(rule: type) -> bool:
    """Whether a typing rule is one of those Numba has for Python's own numbers and loops."""
    return any(base.__module__ == typing_rules.__name__ for base in rule.__mro__)


class KernelTarget(CPUContext):  # type: ignore[misc]
    """How the same is written in LLVM: without Numba's runtime, which kernels never call."""

    def init(self) -> None:
        """Called by Numba's constructor."""
        super().init()
        self.install_registry(imputils.builtin_registry)

    def refresh(self) -> None:
        """As `KernelTyping.refresh`."""

    def post_lowering(self, module: ir.Module, library: CodeLibrary) -> None:
        """Numba's would link its runtime."""


class ModuleKeeper(CodeLibrary):  # type: ignore[misc]
    """Takes the one module that lowering makes; nothing goes to Numba's engine, which would keep the code for
    ever.
    """

    module: ir.Module

    def add_ir_module(self, ir_module: ir.Module) -> None:
        self.module = ir_module

    def add_linking_library(self, library: CodeLibrary) -> None:
        raise NotImplementedError

    def finalize(self) -> None:
        raise NotImplementedError

    def get_function(self, name: str) -> Any:
        raise NotImplementedError

    def get_llvm_str(self) -> str:
        raise NotImplementedError

    def get_asm_str(self) -> str:
        raise NotImplementedError


class KernelCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """The passes a kernel needs of Numba's 26.

    Left out are closures, overloads and array expressions; SSA form, for a kernel's names keep one type each
    and LLVM makes its own; and the statements that end a variable's life, for a kernel counts no references.
    """

    def define_pipelines(self) -> list[PassManager]:
        manager = PassManager("kernel")
        for kernel_pass in (
            untyped_passes.TranslateByteCode,
            untyped_passes.FixupArgs,
            untyped_passes.IRProcessing,
            typed_passes.NopythonTypeInference,
            typed_passes.NativeLowering,
            typed_passes.NoPythonBackend,
        ):
            manager.add_pass(kernel_pass, kernel_pass.__name__)
        manager.finalize()
        return [manager]


register(list(PRIMITIVES.values()))
_typing = KernelTyping({word.function for word in PRIMITIVES.values()})
_target = KernelTarget(_typing)

_flags = compiler.Flags()
_flags.no_compile = _flags.no_cpython_wrapper = _flags.no_cfunc_wrapper = True
_flags.error_model = "numpy"
_flags.noalias = _flags.forceinline = True


# -- a kernel ------------------------------------------------------------------------------------------------


def kernel_ir(function: FunctionType, parameters: Sequence[Parameter]) -> str:
    """A module in LLVM's text form with the kernel and its entry, ``NAME_entry`` (see `compile.py`).

    Raises
    ------
    NumbaError
        And others of Python's own: what the function holds is not of the dialect.
    """
    argument_types = (*map(numba_type, parameters), types.int64, types.int64)
    with global_compiler_lock:
        module, kernel = lowered(_typing, _target, function, argument_types)
        entry = ir.Function(module, _ENTRY_TYPE, f"{function.__name__}_entry")
        builder = ir.IRBuilder(entry.append_basic_block())
        native_types = [_target.get_value_type(argument) for argument in argument_types]
        arguments = _unpacked(builder, parameters, entry.args, native_types)
        _target.call_conv.call_function(builder, kernel, types.none, argument_types, arguments)
        builder.ret_void()
        return str(module)


def lowered(
    typing_context: KernelTyping,
    target: KernelTarget,
    function: FunctionType,
    argument_types: tuple[Any, ...],
) -> tuple[ir.Module, ir.Function]:
    """A module that holds `function` for arguments of these types, and the function in it."""
    library = ModuleKeeper(target.codegen(), function.__name__)
    result = compiler.compile_extra(
        typing_context, target, function, argument_types, types.none, _flags, {}, library, KernelCompiler
    )
    module = library.module
    kernel = module.get_global(result.fndesc.llvm_func_name)
    # Internal, so that only the entry is left after inlining: Numba's names differ from run to run.
    kernel.linkage = module.get_global(result.environment.env_name).linkage = "internal"
    return module, kernel


def numba_type(parameter: Parameter) -> Any:
    """The type by which Numba knows an argument."""
    if parameter.kind == "integer":
        return types.int64
    is_bool = parameter.dtype == np.bool_
    if parameter.kind == "scalar":
        return types.boolean if is_bool else getattr(types, parameter.dtype.name)
    return types.CPointer(types.uint8 if is_bool else getattr(types, parameter.dtype.name))


def _unpacked(
    builder: ir.IRBuilder,
    parameters: Sequence[Parameter],
    entry: Sequence[ir.Argument],
    native_types: Sequence[ir.Type],
) -> list[ir.Value]:
    """The kernel's arguments, read from the two arrays of the entry; the types are those of all, lo and hi
    included.
    """
    pointers, integers, lo, hi = entry
    slots = {"pointer": 0, "integer": 0}
    arguments = []
    for parameter, wanted in zip(parameters, native_types):
        array = "pointer" if parameter.kind == "pointer" else "integer"
        base = pointers if array == "pointer" else integers
        word = builder.load(builder.gep(base, [_INT64(slots[array])]))
        slots[array] += 1
        if parameter.kind == "pointer":
            arguments.append(builder.inttoptr(word, wanted))
        elif isinstance(wanted, ir.IntType):
            arguments.append(word if wanted.width == 64 else builder.trunc(word, wanted))
        else:
            bits = ir.IntType(8 * parameter.dtype.itemsize)
            arguments.append(builder.bitcast(word if bits.width == 64 else builder.trunc(word, bits), wanted))
    return [*arguments, lo, hi]
