"""From a kernel's Python source to object code, and from object code to a callable address.

Numba is the front end only (`frontend.py`): it types the function and writes LLVM IR; the optimising, the
object code and the loading are done here through llvmlite, so that code can be kept on disk, loaded without
Numba and freed. `cache.py` calls both halves. May import codegen's dialect and errors; the front end, and
Numba with it, is imported by the first compile, never by loading.

The native function is ``void NAME_entry(int64 *pointers, int64 *integers, int64 lo, int64 hi)``: it reads the
addresses in the order of the pointer parameters, then integers and scalars in theirs (see `scalar_bits`), and
holds the kernel inlined. ``NAME_stream`` is the same with results that pass the caches (`streaming.py`).
"""

from __future__ import annotations

import functools
import platform
import struct
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite.binding.ffi import ObjectRef

from toonygrad.codegen.cpu import Parameter, kernel_namespace
from toonygrad.errors import CompileError
from toonygrad.runtime.streaming import with_streaming

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


# -- compiling -----------------------------------------------------------------------------------------------


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


def _compiled(
    source: str, name: str, parameters: Sequence[Parameter], machine: llvm.TargetMachine
) -> llvm.ModuleRef:
    # Imported here for the 0.2 s that Numba takes.
    from toonygrad.runtime import frontend

    try:
        text = frontend.kernel_ir(_kernel_function(source, name, parameters), parameters)
        module = llvm.parse_assembly(text)
        optimise(module, machine)
        _check_symbols(module)
    # What a source outside the dialect ends in: from Python's parser, Numba, our lowering or LLVM's parser.
    except (frontend.NumbaError, NotImplementedError, RuntimeError, SyntaxError, ValueError) as error:
        raise CompileError(f"kernel {name} does not compile: {error}") from error
    return module


def optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine, for_threads: bool = False) -> None:
    """Run LLVM's passes on a module; `for_threads` of a GPU, which are no vectors and have few registers."""
    options = llvm.PipelineTuningOptions(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = not for_threads
    options.loop_unrolling = not for_threads  # but for loops that say so
    builder = llvm.PassBuilder(machine, options)
    passes = builder.getModulePassManager()
    try:
        passes.run(module, builder)
    finally:
        _dispose(passes)


def _dispose(passes: llvm.ModulePassManager) -> None:
    """Free a pass manager: llvmlite 0.50 inherits the method for it behind one that does nothing, and loses
    85 kB with each.
    """
    for base in type(passes).__mro__:
        if base is not ObjectRef and (free := vars(base).get("_dispose")):
            free(passes)
            break
    passes.detach()  # a version that frees it must not do so again


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
    module = _compiled(source, name, parameters, machine)
    if platform.machine().lower() in ("x86_64", "amd64"):
        module = _with_streaming(module, source, name, machine)
    return bytes(machine.emit_object(module))


def _with_streaming(
    module: llvm.ModuleRef, source: str, name: str, machine: llvm.TargetMachine
) -> llvm.ModuleRef:
    text = with_streaming(str(module), source, f"{name}_entry", f"{name}_stream")
    if text is None:
        return module
    module = llvm.parse_assembly(text)
    passes = llvm.create_new_module_pass_manager()
    try:
        passes.add_always_inliner_pass()
        passes.run(module, llvm.PassBuilder(machine, llvm.PipelineTuningOptions(speed_level=0)))
    finally:
        _dispose(passes)
    return module


def kernel_llvm(source: str, name: str, parameters: Sequence[Parameter]) -> str:
    """The optimised LLVM IR behind the code that `compile_kernel` gives, for people and tests."""
    return str(_compiled(source, name, parameters, _target_machine()))


# -- loading and calling -------------------------------------------------------------------------------------


class NativeKernel:
    """A kernel in executable memory; the memory is freed with this object, so who calls the address holds it.

    Attributes
    ----------
    name : str
        The kernel's name.
    address : int
        Of ``void entry(int64 *pointers, int64 *integers, int64 lo, int64 hi)``.
    streaming_address : int
        Of the same for results larger than the caches; `address` where there is no such form.
    """

    __slots__ = ("__weakref__", "_engine", "address", "name", "streaming_address")

    def __init__(self, name: str, address: int, streaming_address: int, engine: llvm.ExecutionEngine) -> None:
        self.name = name
        self.address = address
        self.streaming_address = streaming_address
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
    return NativeKernel(name, address, engine.get_function_address(f"{name}_stream") or address, engine)


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
    if dtype.kind == "f":
        pack, unpack = _FLOAT_BITS[dtype.itemsize]
        return unpack(pack(value))[0]
    integer = int(value)
    return integer if integer < 1 << 63 else integer - (1 << 64)


# np.asarray and its views take fifteen times as long, for each number of each launch.
_FLOAT_BITS = {
    size: (struct.Struct(f"<{number}").pack, struct.Struct(f"<{integer}").unpack)
    for size, number, integer in ((2, "e", "h"), (4, "f", "i"), (8, "d", "q"))
}
