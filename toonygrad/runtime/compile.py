"""From a kernel's Python source to object code, and from object code to a callable address.

Numba is the front end only: it types the function and writes LLVM IR; the optimising, the object code and the
loading are done here through llvmlite, so that code can be kept on disk, loaded without Numba and freed.
`cache.py` calls both halves. May import codegen's dialect and errors; Numba is imported by the first compile,
never by loading.

The native function is ``void NAME_entry(int64 *pointers, int64 *integers, int64 lo, int64 hi)``: it reads the
addresses in the order of the pointer parameters, then integers and scalars in theirs (see `scalar_bits`), and
holds the kernel inlined.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from toonygrad.codegen.cpu import PRIMITIVES, Parameter, kernel_namespace, register
from toonygrad.errors import CompileError

__all__ = [
    "NativeKernel",
    "Parameter",
    "compile_kernel",
    "host_target",
    "kernel_llvm",
    "load_kernel",
    "scalar_bits",
]

# What LLVM itself may call: for a loop that fills or copies, and for the exact remainder of floats, whose
# loop over exponents C's library has. Every other outside symbol is refused at compile time, because loading
# code with a symbol that the process lacks ends the process.
_RUNTIME_SYMBOLS = frozenset({"memcpy", "memmove", "memset", "memset_pattern16", "fmod", "fmodf"})

_INT64 = ir.IntType(64)
_ENTRY_TYPE = ir.FunctionType(ir.VoidType(), [_INT64.as_pointer(), _INT64.as_pointer(), _INT64, _INT64])


# -- the machine ---------------------------------------------------------------------------------------------


@functools.cache
def host_target() -> tuple[str, str, str]:
    """Triple, CPU name and feature list that kernels are compiled for; part of the key of a kernel on
    disk.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    if "+avx512f" in features:
        # LLVM takes 256-bit vectors on most CPUs with AVX-512. Measured on a Zen 4: a polynomial of degree 13
        # takes 1.37 times as long with them (0.90 against 0.66 ms a million), a memory-bound kernel the same.
        features += ",-prefer-256-bit"
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), features


def _target_machine() -> llvm.TargetMachine:
    triple, cpu, features = host_target()
    return llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


# -- Numba as front end --------------------------------------------------------------------------------------


@functools.cache
def _numba_frontend() -> Callable[[FunctionType, Sequence[Parameter]], ir.Module]:
    """Imports Numba, teaches it the dialect, and gives the function that makes a kernel into a module with
    its entry.

    The classes stand inside because their bases come with Numba, 0.2 s of importing that only a compile may
    cost.
    """
    from numba import types
    from numba.core import compiler, typed_passes, untyped_passes
    from numba.core.codegen import CodeLibrary
    from numba.core.compiler_machinery import PassManager
    from numba.core.registry import cpu_target

    register(list(PRIMITIVES.values()))

    class ModuleKeeper(CodeLibrary):  # type: ignore[misc]
        """Takes the one module that lowering makes; nothing goes to Numba's engine, which would keep the code
        for ever.
        """

        module: ir.Module

        def add_ir_module(self, ir_module: ir.Module) -> None:
            self.module = ir_module

        def add_linking_library(self, library: CodeLibrary) -> None:
            """Numba offers its reference-counting runtime; a kernel that called it would be refused in
            `_check_symbols`.
            """

        def finalize(self) -> None:
            raise NotImplementedError

        def get_function(self, name: str) -> Any:
            raise NotImplementedError

        def get_llvm_str(self) -> str:
            raise NotImplementedError

        def get_asm_str(self) -> str:
            raise NotImplementedError

    class KernelCompiler(compiler.CompilerBase):  # type: ignore[misc]
        """The passes a kernel needs of Numba's 26: no closures, no overloads, no array expressions, a
        quarter of the time less.
        """

        def define_pipelines(self) -> list[PassManager]:
            manager = PassManager("kernel")
            for kernel_pass in (
                untyped_passes.TranslateByteCode,
                untyped_passes.FixupArgs,
                untyped_passes.IRProcessing,
                untyped_passes.ReconstructSSA,
                typed_passes.NopythonTypeInference,
                typed_passes.PreLowerStripPhis,
                typed_passes.IRLegalization,
                typed_passes.NativeLowering,
                typed_passes.NoPythonBackend,
            ):
                manager.add_pass(kernel_pass, kernel_pass.__name__)
            manager.finalize()
            return [manager]

    flags = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.noalias = flags.forceinline = True

    def element(parameter: Parameter) -> Any:
        return getattr(types, "boolean" if parameter.dtype == np.bool_ else parameter.dtype.name)

    def numba_type(parameter: Parameter) -> Any:
        if parameter.kind == "integer":
            return types.int64
        if parameter.kind == "scalar":
            return element(parameter)
        return types.CPointer(types.uint8 if parameter.dtype == np.bool_ else element(parameter))

    def build(function: FunctionType, parameters: Sequence[Parameter]) -> ir.Module:
        argument_types = (*map(numba_type, parameters), types.int64, types.int64)
        context = cpu_target.target_context
        library = ModuleKeeper(context.codegen(), function.__name__)
        result = compiler.compile_extra(
            cpu_target.typing_context,
            context,
            function,
            argument_types,
            types.none,
            flags,
            {},
            library,
            KernelCompiler,
        )
        module = library.module
        kernel = module.get_global(result.fndesc.llvm_func_name)
        # Internal, so that only the entry is left after inlining: Numba's names differ from run to run.
        kernel.linkage = module.get_global(result.environment.env_name).linkage = "internal"
        entry = ir.Function(module, _ENTRY_TYPE, f"{function.__name__}_entry")
        builder = ir.IRBuilder(entry.append_basic_block())
        arguments = _unpacked(
            builder, parameters, entry.args, [context.get_value_type(t) for t in argument_types]
        )
        context.call_conv.call_function(builder, kernel, types.none, argument_types, arguments)
        builder.ret_void()
        return module

    return build


def _unpacked(
    builder: ir.IRBuilder,
    parameters: Sequence[Parameter],
    entry: Sequence[ir.Argument],
    types: Sequence[ir.Type],
) -> list[ir.Value]:
    """The kernel's arguments, read from the two arrays of the entry; `types` are the LLVM types of all, lo
    and hi included.
    """
    pointers, integers, lo, hi = entry
    slots = {"pointer": 0, "integer": 0}
    arguments = []
    for parameter, wanted in zip(parameters, types):
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


def scalar_bits(dtype: np.dtype[Any], value: Any) -> int:
    """`value` as it travels in the array of integers: sign-extended integer, or the bit pattern of a float.

    Parameters
    ----------
    dtype : numpy.dtype
        The scalar parameter's type.
    value : scalar
        Anything that `dtype` can hold.

    Returns
    -------
    int
        Within int64.
    """
    held = np.asarray(value, dtype)
    if held.dtype.kind == "f":
        held = held.view(f"i{held.dtype.itemsize}")
    return int(held.astype(np.int64))


# -- compiling -----------------------------------------------------------------------------------------------


# Two threads must not register at once; Numba's own lock exists only once Numba is imported.
_FRONTEND_LOCK = threading.Lock()


def _kernel_function(source: str, name: str, parameters: Sequence[Parameter]) -> FunctionType:
    namespace = kernel_namespace()
    exec(compile(source, f"<{name}>", "exec"), namespace)
    function = namespace.get(name)
    expected = (*(parameter.name for parameter in parameters), "lo", "hi")
    if not isinstance(function, FunctionType):
        raise ValueError(f"the source defines no function {name}")
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    if arguments != expected:
        raise ValueError(f"the source takes {arguments}, the parameters are {expected}")
    return function


def _optimised(
    source: str, name: str, parameters: Sequence[Parameter], machine: llvm.TargetMachine
) -> llvm.ModuleRef:
    with _FRONTEND_LOCK:
        build = _numba_frontend()
    # Imported here for the reason that _numba_frontend gives.
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.errors import NumbaError

    try:
        with global_compiler_lock:
            text = str(build(_kernel_function(source, name, parameters), parameters))
        module = llvm.parse_assembly(text)
        options = llvm.PipelineTuningOptions(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = True
        passes = llvm.PassBuilder(machine, options)
        passes.getModulePassManager().run(module, passes)
        _check_symbols(module)
    except (NumbaError, NotImplementedError, RuntimeError, SyntaxError, ValueError) as error:
        raise CompileError(f"kernel {name} does not compile: {error}") from error
    return module


def _check_symbols(module: llvm.ModuleRef) -> None:
    outside = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    outside |= {g.name for g in module.global_variables if g.is_declaration}
    if unknown := outside - _RUNTIME_SYMBOLS:
        raise ValueError(f"it calls {', '.join(sorted(unknown))} outside")


def compile_kernel(source: str, name: str, parameters: Sequence[Parameter]) -> bytes:
    """Compile a kernel's source for this machine.

    Parameters
    ----------
    source : str
        The text of one function ``def NAME(<parameters>, lo, hi)`` in the words of the dialect.
    name : str
        NAME, unique to the source: the symbol is ``NAME_entry``.
    parameters : sequence of Parameter
        The arguments in order, without lo and hi. No output may overlap another pointer's memory: all
        pointers are noalias.

    Returns
    -------
    bytes
        Object code, for `load_kernel`.

    Raises
    ------
    CompileError
        If the source is not valid in the dialect.
    """
    machine = _target_machine()
    return bytes(machine.emit_object(_optimised(source, name, parameters, machine)))


def kernel_llvm(source: str, name: str, parameters: Sequence[Parameter]) -> str:
    """The optimised LLVM IR behind the code that `compile_kernel` gives, for people and tests."""
    return str(_optimised(source, name, parameters, _target_machine()))


# -- loading -------------------------------------------------------------------------------------------------


class NativeKernel:
    """A kernel in executable memory; the memory is freed with this object, so who calls the address holds it.

    Attributes
    ----------
    name : str
        The kernel's name.
    address : int
        Of ``void entry(int64 *pointers, int64 *integers, int64 lo, int64 hi)``.
    """

    __slots__ = ("__weakref__", "_engine", "address", "name")

    def __init__(self, name: str, address: int, engine: llvm.ExecutionEngine) -> None:
        self.name = name
        self.address = address
        self._engine = engine

    def __repr__(self) -> str:
        return f"<NativeKernel {self.name} at {self.address:#x}>"


def load_kernel(object_code: bytes, name: str) -> NativeKernel:
    """Make object code executable, through llvmlite alone.

    Parameters
    ----------
    object_code : bytes
        From `compile_kernel` on a machine with the same `host_target`.
    name : str
        The name it was compiled under.

    Raises
    ------
    CompileError
        If the code does not hold that kernel.
    """
    # An engine owns its target machine, and an engine for each kernel is what lets a single one be freed: 1.2
    # ms, 60 kB.
    machine = _target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
    engine.finalize_object()
    address = engine.get_function_address(f"{name}_entry")
    if not address:
        raise CompileError(f"the object code holds no kernel {name}")
    return NativeKernel(name, address, engine)
