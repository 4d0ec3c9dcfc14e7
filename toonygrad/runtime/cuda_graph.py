"""Calls as a graph of the driver's: made node by node, launched and told new arguments by cuda_launch.py."""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toonygrad.runtime.driver import Call

# The driver keeps up to 113 kB of a GPU's memory for each (H100, driver 580).
MOST_GRAPHS = 512

_alive: set[int] = set()


class _KernelNode(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS_v2."""

    _fields_ = (
        ("function", ctypes.c_void_p),
        ("sides", ctypes.c_uint * 6),
        ("shared", ctypes.c_uint),
        ("arguments", ctypes.c_void_p),
        ("extra", ctypes.c_void_p),
        ("kernel", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    )


class _MemsetNode(ctypes.Structure):
    """CUDA_MEMSET_NODE_PARAMS."""

    _fields_ = (
        ("target", ctypes.c_uint64),
        ("pitch", ctypes.c_size_t),
        ("value", ctypes.c_uint),
        ("element", ctypes.c_uint),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    )


class Graph:
    """Calls one after another, each with the arguments it has for the values `given`.

    Attributes
    ----------
    address : int
        Of what cuda_launch.py knows of it; 0 where it can't be had.
    """

    def __init__(
        self, functions: Mapping[str, int], context: int, calls: Sequence[Call], given: Sequence[int]
    ) -> None:
        self._functions, self._process = functions, os.getpid()
        self._graph, self._exec = ctypes.c_void_p(), ctypes.c_void_p()
        self.address = 0
        self._words = array("q")
        if len(_alive) >= MOST_GRAPHS:
            return
        if self._call("cuGraphCreate", ctypes.byref(self._graph), ctypes.c_uint(0)):
            return
        every = (0, *given)
        words = [0, 0]
        before = (ctypes.c_void_p * 1)()
        for number, call in enumerate(calls):
            values = array("q", [every[which] + added for which, added in call.arguments])
            node = ctypes.c_void_p()
            place = ctypes.byref(node), self._graph, before, ctypes.c_size_t(1 if number else 0)
            if call.kernel is None:
                zeros = _MemsetNode(values[0], 0, 0, 1, call.grid[0], 1)
                failed = self._call(
                    "cuGraphAddMemsetNode", *place, ctypes.byref(zeros), ctypes.c_void_p(context)
                )
            else:
                first = values.buffer_info()[0]
                places = array("q", [first + 8 * k for k in range(len(values))])
                sides = (ctypes.c_uint * 6)(*call.grid, *call.block)
                launch = _KernelNode(int(call.kernel), sides, 0, places.buffer_info()[0], None, None, None)
                failed = self._call("cuGraphAddKernelNode_v2", *place, ctypes.byref(launch))
            if failed:
                return
            before[0] = node
            words += [node.value or 0, *values]
        if self._call(
            "cuGraphInstantiateWithFlags", ctypes.byref(self._exec), self._graph, ctypes.c_ulonglong(0)
        ):
            return
        words[1] = self._exec.value or 0
        _alive.add(words[1])
        self._words = array("q", words)
        self.address = self._words.buffer_info()[0]

    def _call(self, name: str, *arguments: Any) -> int:
        return ctypes.CFUNCTYPE(ctypes.c_int)(self._functions[name])(*arguments)

    # Bound here, for an interpreter that ends has taken the modules apart before the last object dies.
    def __del__(
        self,
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
        process: Callable[[], int] = os.getpid,
    ) -> None:
        # What is still running of it is freed when it's done. CUDA doesn't work in a forked child.
        if is_finalizing() or self._process != process():
            return
        if self._exec.value:
            _alive.discard(self._exec.value)
            self._call("cuGraphExecDestroy", self._exec)
        if self._graph.value:
            self._call("cuGraphDestroy", self._graph)
