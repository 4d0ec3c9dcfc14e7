"""Compiled kernels, kept in the process and on disk, so that one source compiles once a machine.

The runtime asks `obtain_kernel` and never compiles by itself. May import config, errors, `compile.py` and
`progress.py`, but never Numba: a process whose kernels are all on disk starts without it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

import llvmlite

from toonygrad.codegen import cpu
from toonygrad.config import counters, settings
from toonygrad.errors import CacheWarning
from toonygrad.runtime import compile as compiling
from toonygrad.runtime.compile import NativeKernel, Parameter, compile_kernel, host_target, load_kernel
from toonygrad.runtime.progress import result_of

__all__ = ["DiskCache", "kernel_key", "obtain_kernel"]

# A loaded kernel takes 60 kB, and one dropped here comes back from disk in 1.5 ms. Plans hold the kernels
# they need themselves.
_MOST_KERNELS_HELD = 1024


# -- keys ----------------------------------------------------------------------------------------------------


def numba_version() -> str:
    """What Numba's own file says of its version: importing Numba takes 0.2 s, importlib.metadata 20 ms."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        return "none"
    try:
        return Path(spec.origin).with_name("_version.py").read_text(encoding="utf-8")
    except FileNotFoundError:
        return "unknown"


@functools.cache
def _environment() -> bytes:
    """Everything but the kernel that decides its object code.

    The dialect and the compiler count by their text, which a version number forgotten in a change can't get
    wrong.
    """
    files = [Path(str(module.__file__)) for module in (cpu, compiling)]
    # Importing the front end would import Numba.
    files += [files[-1].with_name(name) for name in ("frontend.py", "streaming.py")]
    machinery = b"".join(file.read_bytes() for file in files)
    versions = (llvmlite.__version__, numba_version(), sys.implementation.cache_tag)
    return hashlib.sha256(repr((host_target(), versions)).encode() + machinery).digest()


def kernel_key(source: str, name: str, parameters: Sequence[Parameter]) -> str:
    """The name under which a kernel's object code is kept on disk.

    Returns
    -------
    str
        64 hexadecimal digits, of the source, its parameters, toonygrad's code generator, the versions of
        Numba, llvmlite and Python, and the CPU with its features.
    """
    types = [(parameter.name, parameter.kind, parameter.dtype.str) for parameter in parameters]
    return hashlib.sha256(_environment() + repr((name, types, source)).encode()).hexdigest()


# -- disk ----------------------------------------------------------------------------------------------------


class DiskCache:
    """Object code in the files of one private directory.

    A file is written aside and renamed, so readers and other writers see all of it or none; its checksum
    covers the key, so what is cut short, damaged or misplaced counts as absent and is replaced by the next
    `put`. Code read here is executed: a directory or a file that other users may write is not used.

    Parameters
    ----------
    directory : str
        Created, readable by its owner only, where absent.

    Warns
    -----
    CacheWarning
        Once for each object: when the directory is refused, or can't be read or written. Kernels are then
        compiled in memory.
    """

    _HEADER = b"toonygrad kernel 1\n"

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._warned = False
        self._usable = False
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._usable = self._private(os.stat(directory))
        except OSError as error:
            self._warn(str(error))
        else:
            if not self._usable:
                self._warn("other users own it or may write to it")

    @staticmethod
    def _private(status: os.stat_result) -> bool:
        return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            text = f"kernels are not kept in {self.directory!r} but compiled in each process: {reason}"
            warnings.warn(text, CacheWarning, stacklevel=3)

    def _path(self, key: str) -> str:
        return os.path.join(self.directory, f"{key}.kernel")

    def _checksum(self, key: str, content: bytes) -> bytes:
        return hashlib.sha256(key.encode() + content).digest()

    def get(self, key: str) -> bytes | None:
        """The content put under `key`, or None if there is none that can be trusted."""
        if not self._usable:
            return None
        try:
            with open(self._path(key), "rb") as file:
                trusted = self._private(os.fstat(file.fileno()))
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(str(error))
            return None
        start = len(self._HEADER) + hashlib.sha256().digest_size
        content = data[start:]
        return content if trusted and data[:start] == self._HEADER + self._checksum(key, content) else None

    def put(self, key: str, content: bytes) -> None:
        """Keep `content` under `key`, replacing what is there."""
        if not self._usable:
            return
        try:
            # Made again here, for the user may clear the cache under a running process.
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(self._HEADER + self._checksum(key, content) + content)
                os.replace(aside, self._path(key))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(aside)
                raise
        except OSError as error:
            self._warn(str(error))


@functools.cache
def disk_cache(directory: str) -> DiskCache:
    """The cache in a directory, one for the process."""
    return DiskCache(directory)


# -- the front -----------------------------------------------------------------------------------------------

_kernels: dict[tuple[str, str, tuple[Parameter, ...]], NativeKernel] = {}

# One lock for all kernels: LLVM and Numba have global locks of their own, so a finer one would win nothing. A
# fork waits for it, so that a child never inherits those locks from a thread in the middle of a compile.
lock = threading.RLock()
os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def obtain_kernel(source: str, name: str, parameters: Sequence[Parameter]) -> NativeKernel:
    """The native form of a kernel: of this process, else from disk, else compiled.

    Safe from any thread; a kernel that two threads ask for is made once. Counts in
    ``counters.kernels_loaded`` and ``counters.kernels_compiled``.

    Parameters
    ----------
    source, name, parameters
        As for `compile_kernel`.

    Returns
    -------
    NativeKernel
        To be held as long as its address is used.

    Raises
    ------
    CompileError
        If the source is not valid in the dialect.
    """
    request = (source, name, tuple(parameters))
    if (kernel := _kernels.get(request)) is not None:
        return kernel
    return out_of_reach(_made, request)


_Result = TypeVar("_Result")


def out_of_reach(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call `function` where Ctrl-C can't stop it half-way.

    An interrupt in the middle of Numba's import or of a compile leaves Numba unusable for the rest of the
    process. Python delivers interrupts to the main thread alone, so there another thread works and the main
    one waits; an interrupted wait leaves the kernel to be found by the next call.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    made: Future[_Result] = Future()
    context = copy_context()  # the settings of the caller

    def work() -> None:
        try:
            made.set_result(context.run(function, *arguments))
        except BaseException as error:  # raised in the caller, by result()
            made.set_exception(error)

    threading.Thread(target=work, name="toonygrad-compile").start()
    return result_of(made)


def _made(request: tuple[str, str, tuple[Parameter, ...]]) -> NativeKernel:
    with lock:
        if (kernel := _kernels.get(request)) is not None:
            return kernel
        kernel = _load_or_compile(*request)
        if len(_kernels) >= _MOST_KERNELS_HELD:
            del _kernels[next(iter(_kernels))]
        _kernels[request] = kernel
        return kernel


def _load_or_compile(source: str, name: str, parameters: Sequence[Parameter]) -> NativeKernel:
    directory = settings.cache_dir
    disk = None if directory is None else disk_cache(directory)
    key = "" if disk is None else kernel_key(source, name, parameters)
    if disk is not None and (object_code := disk.get(key)) is not None:
        kernel = load_kernel(object_code, name)
        counters.kernels_loaded += 1
        return kernel
    object_code = compile_kernel(source, name, parameters)
    kernel = load_kernel(object_code, name)
    counters.kernels_compiled += 1
    if disk is not None:
        disk.put(key, object_code)
    return kernel
