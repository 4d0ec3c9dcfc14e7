"""The peers: how each takes a row's operands, runs its function and says that the result is there.

A peer is a function of the row, its operands as NumPy arrays and NumPy's result, and gives a call without
arguments. What it makes first is not timed: converting operands, and compiling where the first call does
that. `worker.py` runs one peer in a process of its own, where nothing of the others is imported.
"""

import functools
import importlib
import os
import shutil
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from rows import Row

Call = Callable[[], Any]


def as_tuple(result: Any) -> tuple[Any, ...]:
    """A row's result, which may be one array or a tuple of them, as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def toonygrad(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Call:
    import toonygrad as xp

    arrays = [xp.asarray(x) for x in operands]

    def call() -> Any:
        result = row.function(xp, *arrays)
        xp.realize(*as_tuple(result))
        return result

    call()
    before = xp.counters()
    call()
    # What a call returned has been dropped by then, so the next can't answer with it.
    if xp.counters().plans_reused == before.plans_reused:
        raise RuntimeError(f"{row.name}: the second call computed nothing, so there is nothing to time")
    return call


def numpy(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Call:
    return functools.partial(row.function, np, *operands)


def jax(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Call:
    import jax

    # What its users set: 64 bits where the operands have them, and else its own default.
    jax.config.update("jax_enable_x64", any(x.dtype.itemsize == 8 for x in operands))
    arrays = [jax.numpy.array(x) for x in operands]
    compiled = jax.jit(functools.partial(row.function, jax.numpy))
    return lambda: jax.block_until_ready(compiled(*arrays))


def torch(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Call:
    import array_api_compat.torch
    import torch

    # array_api_compat makes a tensor of a scalar where torch.compile can't follow; torch's users write clamp.
    xp = types.SimpleNamespace(**vars(array_api_compat.torch))
    xp.maximum = lambda x, y: torch.maximum(x, y) if torch.is_tensor(y) else torch.clamp(x, min=y)
    xp.minimum = lambda x, y: torch.minimum(x, y) if torch.is_tensor(y) else torch.clamp(x, max=y)

    torch.compiler.reset()
    tensors = [torch.tensor(x) for x in operands]
    compiled = torch.compile(functools.partial(row.function, xp), fullgraph=True, dynamic=False)

    def call() -> Any:
        with torch.inference_mode():
            return compiled(*tensors)

    return call


def loop(row: Row, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Call:
    """The row's hand-written loop, into outputs it keeps: what no peer that allocates can beat by much."""
    assert row.loop is not None
    function = getattr(importlib.import_module("loops"), row.loop)
    kept = tuple(np.empty_like(x) for x in expected)

    def call() -> Any:
        function(*kept, *operands)
        return kept

    return call


PEERS: Mapping[str, Callable[[Row, Sequence[np.ndarray], Sequence[np.ndarray]], Call]] = {
    "toonygrad": toonygrad,
    "numpy": numpy,
    "jax": jax,
    "torch": torch,
    "loop": loop,
}

_PACKAGES = {"toonygrad": "toonygrad", "numpy": "numpy", "jax": "jax", "torch": "torch", "loop": "numba"}


_COMPILERS = ("g++", "clang++")


def why_missing(peer: str) -> str | None:
    """What keeps this peer from running here, or None."""
    if not find_spec(_PACKAGES[peer]):
        return "not installed"
    if peer == "torch" and not any(shutil.which(os.environ.get("CXX", name)) for name in _COMPILERS):
        return "torch.compile needs a C++ compiler"
    return None


def package_version(peer: str) -> str:
    return f"{_PACKAGES[peer]} {version(_PACKAGES[peer])}"
