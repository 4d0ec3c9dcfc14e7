"""The peers: how each takes a row's operands, runs its function and says that the result is there.

A peer is a function of the row, its operands as NumPy arrays, NumPy's result and the device, and gives a
`Contender`. What it makes first is not timed: converting operands, and compiling where the first call does
that. `worker.py` runs one peer in a process of its own, where nothing of the others is imported.
"""

import functools
import importlib
import os
import shutil
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from rows import Row


def as_tuple(result: Any) -> tuple[Any, ...]:
    """A row's result, which may be one array or a tuple of them, as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def nothing_to_wait_for(result: Any) -> None:
    """For what has its result when the call returns."""


class Contender(NamedTuple):
    """One row with one peer.

    Attributes
    ----------
    call : callable
        Takes the number of steps, gives the result; on a GPU it may be on its way still.
    wait : callable
        Takes a result, and returns when it is there.
    host : callable
        Takes one array of a result, gives NumPy's.
    """

    call: Callable[[int], Any]
    wait: Callable[[Any], None] = nothing_to_wait_for
    host: Callable[[Any], np.ndarray] = np.asarray


def repeated(function: Callable[..., Any], operands: Sequence[Any]) -> Callable[[int], Any]:
    """Calls the function as often as asked, each time on what it gave before."""

    def call(steps: int) -> Any:
        result = function(*operands)
        for _ in range(steps - 1):
            result = function(result)
        return result

    return call


def toonygrad(row: Row, operands: Sequence[np.ndarray], expected: Any, device: str) -> Contender:
    import toonygrad as xp

    on_cpu = device == "cpu"
    recorded = repeated(functools.partial(row.function, xp), [xp.asarray(x, device=device) for x in operands])

    def call(steps: int) -> Any:
        result = recorded(steps)
        xp.realize(*as_tuple(result))
        return result

    call(row.steps)
    before = xp.counters()
    call(row.steps)
    # What a call returned has been dropped by then, so the next can't answer with it.
    if xp.counters().plans_reused == before.plans_reused:
        raise RuntimeError(f"{row.name}: the second call computed nothing, so there is nothing to time")

    def wait(result: Any) -> None:
        for array in as_tuple(result):
            array.block_until_ready()

    return Contender(call, nothing_to_wait_for if on_cpu else wait)


def numpy(row: Row, operands: Sequence[np.ndarray], expected: Any, device: str) -> Contender:
    return Contender(repeated(functools.partial(row.function, np), operands))


def jax(row: Row, operands: Sequence[np.ndarray], expected: Any, device: str) -> Contender:
    import jax

    # What its users set: 64 bits where the operands have them, and else its own default.
    jax.config.update("jax_enable_x64", any(x.dtype.itemsize == 8 for x in operands))
    jax.config.update("jax_default_matmul_precision", "highest")  # float32 is to mean float32
    where = jax.devices("cpu" if device == "cpu" else "gpu")[0]
    arrays = [jax.device_put(x, where) for x in operands]
    call = repeated(jax.jit(functools.partial(row.function, jax.numpy)), arrays)
    if device == "cpu":
        return Contender(lambda steps: jax.block_until_ready(call(steps)))
    return Contender(call, jax.block_until_ready)


def torch(row: Row, operands: Sequence[np.ndarray], expected: Any, device: str) -> Contender:
    import array_api_compat.torch
    import torch

    # array_api_compat makes a tensor of a scalar where torch.compile can't follow; torch's users write clamp.
    xp = types.SimpleNamespace(**vars(array_api_compat.torch))
    xp.maximum = lambda x, y: torch.maximum(x, y) if torch.is_tensor(y) else torch.clamp(x, min=y)
    xp.minimum = lambda x, y: torch.minimum(x, y) if torch.is_tensor(y) else torch.clamp(x, max=y)

    torch.compiler.reset()
    tensors = [torch.tensor(x, device=device) for x in operands]
    # Where each step has another shape, one compilation has to do for all.
    function = functools.partial(row.function, xp)
    compiled = torch.compile(function, fullgraph=True, dynamic=None if row.steps > 1 else False)
    inner = repeated(compiled, tensors)

    def call(steps: int) -> Any:
        with torch.inference_mode():
            return inner(steps)

    if device == "cpu":
        return Contender(call)
    return Contender(call, lambda result: torch.cuda.synchronize(), lambda array: array.cpu().numpy())


def cupy(row: Row, operands: Sequence[np.ndarray], expected: Any, device: str) -> Contender:
    import array_api_compat.cupy
    import cupy

    cupy.cuda.Device(gpu_number(device)).use()
    call = repeated(
        functools.partial(row.function, array_api_compat.cupy), [cupy.asarray(x) for x in operands]
    )
    stream = cupy.cuda.get_current_stream()
    return Contender(call, lambda result: stream.synchronize(), cupy.asnumpy)


def loop(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray], device: str) -> Contender:
    """The row's hand-written loop, into outputs it keeps: what no peer that allocates can beat by much."""
    assert row.loop is not None
    function = getattr(importlib.import_module("loops"), row.loop)
    kept = tuple(np.empty_like(x) for x in expected)

    def call(steps: int) -> Any:
        function(*kept, *operands)
        return kept

    return Contender(call)


def copy(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray], device: str) -> Contender:
    """The driver's copy of as many bytes as the row moves at least: operands read, results written.

    Its result is NumPy's: it computes nothing that could be wrong.
    """
    from cuda.bindings import driver

    def checked(error: Any, *values: Any) -> Any:
        if error != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"the driver's copy: {error.name}")
        return values

    checked(*driver.cuInit(0))
    (context,) = checked(*driver.cuDevicePrimaryCtxRetain(gpu_number(device)))
    checked(*driver.cuCtxSetCurrent(context))
    half = sum(x.nbytes for x in [*operands, *expected]) // 2
    (source,), (target,) = (checked(*driver.cuMemAlloc(half)) for _ in range(2))
    checked(*driver.cuMemsetD8(source, 1, half))

    def call(steps: int) -> Any:
        for _ in range(steps):
            checked(*driver.cuMemcpyDtoDAsync(target, source, half, 0))
        return tuple(expected)

    return Contender(call, lambda result: checked(*driver.cuCtxSynchronize()))


def gpu_number(device: str) -> int:
    """0 for ``cuda`` and ``cuda:0``."""
    return int(device.partition(":")[2] or 0)


Peer = Callable[[Row, Sequence[np.ndarray], Sequence[np.ndarray], str], Contender]

CPU_PEERS: Mapping[str, Peer] = {
    "toonygrad": toonygrad,
    "numpy": numpy,
    "jax": jax,
    "torch": torch,
    "loop": loop,
}
GPU_PEERS: Mapping[str, Peer] = {
    "toonygrad": toonygrad,
    "jax": jax,
    "torch": torch,
    "cupy": cupy,
    "copy": copy,
}

_PACKAGES = {
    "toonygrad": ("toonygrad",),
    "numpy": ("numpy",),
    "jax": ("jax",),
    "torch": ("torch",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "loop": ("numba",),
    "copy": ("cuda-bindings",),
}
_MODULES = {"loop": "numba", "copy": "cuda"}


_COMPILERS = ("g++", "clang++")


def peers_of(device: str) -> Mapping[str, Peer]:
    """Those that compute on this device."""
    return CPU_PEERS if device == "cpu" else GPU_PEERS


def why_missing(peer: str) -> str | None:
    """What keeps this peer from running here, or None."""
    if not find_spec(_MODULES.get(peer, peer)):
        return "not installed"
    if peer == "torch" and not any(shutil.which(os.environ.get("CXX", name)) for name in _COMPILERS):
        return "torch.compile needs a C++ compiler"
    return None


def package_version(peer: str) -> str:
    for package in _PACKAGES[peer]:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return f"{peer} of a checkout"
