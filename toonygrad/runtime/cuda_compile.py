"""From a kernel's Python source to what a CUDA driver loads, on any machine: no GPU and no CUDA is needed for
PTX, and for a cubin only the library nvJitLink.

Numba is the front end as on the CPU (`cuda_frontend.py`), LLVM's own NVPTX target writes PTX. nvJitLink makes
a cubin of it where it is installed (with the extra `cuda` it is); else the driver compiles the PTX when it
loads it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import FunctionType

import llvmlite.binding as llvm

from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.cuda import RESIDENT, UNROLLED, device_namespace
from toonygrad.errors import CompileError
from toonygrad.runtime.compile import optimise

__all__ = ["compile_cuda", "compile_ptx"]

TRIPLE = "nvptx64-nvidia-cuda"
# The PTX that the drivers of CUDA 12.0 and later take; newer GPUs need newer words.
_PTX_VERSIONS = ((120, "+ptx87"), (100, "+ptx86"), (0, "+ptx80"))


@functools.cache
def _machine(architecture: str) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    number = int("".join(filter(str.isdigit, architecture)))
    version = next(features for least, features in _PTX_VERSIONS if number >= least)
    target = llvm.Target.from_triple(TRIPLE)
    return target.create_target_machine(cpu=architecture, features=version, opt=3)


def compile_ptx(source: str, name: str, parameters: Sequence[Parameter], architecture: str = "sm_90") -> str:
    """Compile a kernel's source to PTX.

    Parameters
    ----------
    source : str
        The text of one function ``def NAME(<parameters>)`` in the words of the CUDA dialect: what one thread
        does.
    name : str
        NAME, which is also the entry's.
    parameters : sequence of Parameter
        The arguments in order. No output may overlap another pointer's memory: all pointers are noalias.
    architecture : str
        The least GPU that is to run it, as ``"sm_90"``.

    Raises
    ------
    CompileError
        If the source is not valid in the dialect.
    """
    # Imported here for the 0.2 s that Numba takes.
    from toonygrad.runtime import cuda_frontend

    machine = _machine(architecture)
    try:
        function = _kernel_function(source, name, parameters)
        text = cuda_frontend.device_ir(function, parameters, TRIPLE, str(machine.target_data))
        module = llvm.parse_assembly(text)
        optimise(module, machine, for_threads=True)
        _check_symbols(module)
        return machine.emit_assembly(module)
    # What a source outside the dialect ends in: from Python's parser, Numba, our lowering or LLVM's parser.
    except (cuda_frontend.NumbaError, NotImplementedError, RuntimeError, SyntaxError, ValueError) as error:
        raise CompileError(f"kernel {name} does not compile: {error}") from error


def _kernel_function(source: str, name: str, parameters: Sequence[Parameter]) -> FunctionType:
    namespace = device_namespace()
    exec(compile(source, f"<{name}>", "exec"), namespace)
    function = namespace[name]
    assert isinstance(function, FunctionType)
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    if arguments != (expected := tuple(parameter.name for parameter in parameters)):
        raise ValueError(f"the source takes {arguments}, the parameters are {expected}")
    return function


def _check_symbols(module: llvm.ModuleRef) -> None:
    outside = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if unknown := outside - {UNROLLED, RESIDENT}:
        raise ValueError(f"it calls {', '.join(sorted(unknown))} outside")


def compile_cuda(source: str, name: str, parameters: Sequence[Parameter], architecture: str) -> bytes:
    """A cubin for `architecture` where nvJitLink is installed, else PTX; as `compile_ptx`.

    Raises
    ------
    CompileError
        If the source is not valid in the dialect, or nvJitLink refuses it.
    """
    ptx = compile_ptx(source, name, parameters, architecture).encode()
    try:
        from cuda.bindings import nvjitlink
    except ImportError:
        return ptx
    try:
        nvjitlink.version()
    except RuntimeError:  # the library itself is not there
        return ptx
    options = [f"-arch={architecture}", "-fma=0"]
    linker = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, ptx, len(ptx), name)
        nvjitlink.complete(linker)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, cubin)
    except nvjitlink.nvJitLinkError as error:
        log = bytearray(nvjitlink.get_error_log_size(linker))
        nvjitlink.get_error_log(linker, log)
        message = log.decode(errors="replace").strip("\0 \n")
        raise CompileError(f"kernel {name} does not link: {error}: {message}") from error
    finally:
        nvjitlink.destroy(linker)
    return bytes(cubin)
