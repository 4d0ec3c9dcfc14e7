"""Machine code for GPUs, kept on disk beside the CPU's, so that one source compiles once a machine.

The driver of runtime/cuda.py asks `obtain_code` and loads what it gets. A process whose kernels are all on
disk imports neither Numba nor a linker.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llvmlite

from toonygrad.codegen import cpu
from toonygrad.codegen import cuda as dialect
from toonygrad.codegen.cpu import Parameter
from toonygrad.config import counters, settings
from toonygrad.runtime import cuda_compile
from toonygrad.runtime.cache import disk_cache, lock, numba_version, out_of_reach

# What decides what PTX becomes; an older one of these on the same machine makes other code.
_LINKERS = ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12", "cuda-bindings")


def package_version(package: str) -> str:
    """The version installed of a package, or "none"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@functools.cache
def _environment() -> bytes:
    """Everything but the kernel and the GPU that decides its code: the compiler by its text, and versions."""
    files = [Path(str(module.__file__)) for module in (cpu, dialect, cuda_compile)]
    # Importing these would import Numba.
    files += [files[-1].with_name(name) for name in ("compile.py", "frontend.py", "cuda_frontend.py")]
    machinery = b"".join(file.read_bytes() for file in files)
    versions = (
        llvmlite.__version__,
        numba_version(),
        sys.implementation.cache_tag,
        *map(package_version, _LINKERS),
    )
    return hashlib.sha256(repr(versions).encode() + machinery).digest()


def obtain_code(source: str, name: str, parameters: Sequence[Parameter], architecture: str) -> bytes:
    """The code of a kernel for a GPU: from disk, else compiled and put there.

    Counts in ``counters.kernels_loaded`` and ``counters.kernels_compiled``.

    Raises
    ------
    CompileError
        If the source is not valid in the dialect.
    """
    directory = settings.cache_dir
    disk = None if directory is None else disk_cache(directory)
    types = [(parameter.name, parameter.kind, parameter.dtype.str) for parameter in parameters]
    key = hashlib.sha256(_environment() + repr((architecture, name, types, source)).encode()).hexdigest()
    if disk is not None and (code := disk.get(key)) is not None:
        counters.kernels_loaded += 1
        return code
    code = out_of_reach(_compiled, source, name, parameters, architecture)
    counters.kernels_compiled += 1
    if disk is not None:
        disk.put(key, code)
    return code


def _compiled(source: str, name: str, parameters: Sequence[Parameter], architecture: str) -> bytes:
    with lock:  # of all compiling: Numba isn't safe in two threads
        return cuda_compile.compile_cuda(source, name, parameters, architecture)
