"""Kernels give their memory back: evicted with their plans, loaded and dropped, compiled again and again."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from test_compile import kernel_source, pointers

import toonygrad as xp
from toonygrad.runtime import cache
from toonygrad.runtime.compile import NativeKernel, compile_kernel, load_kernel

realize = sys.modules["toonygrad.realize"]  # the namespace has a function of that name

PARAMETERS = pointers(o="f8")


def source_of(name: str) -> str:
    return kernel_source(name, PARAMETERS, "for i in range(lo, hi):\n    o[i] = float64(i) * 2.0")


def resident_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_evicted_plans_free_their_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realize, "MOST_PLANS", 4)
    monkeypatch.setattr(realize, "_plans", {})
    monkeypatch.setattr(cache, "_MOST_KERNELS_HELD", 3)
    monkeypatch.setattr(cache, "_kernels", {})
    loaded: list[weakref.ref[NativeKernel]] = []

    def load_and_watch(object_code: bytes, name: str) -> NativeKernel:
        kernel = load_kernel(object_code, name)
        loaded.append(weakref.ref(kernel))
        return kernel

    monkeypatch.setattr(cache, "load_kernel", load_and_watch)
    x = xp.asarray(np.arange(10.0))
    with xp.config(compile="always"):
        for number in range(12):
            y = x
            for bit in range(4):
                y = y * x if number >> bit & 1 else y - x
            y.block_until_ready()
    alive = [number for number, kernel in enumerate(loaded) if kernel() is not None]
    assert len(loaded) == 12
    assert alive == [8, 9, 10, 11]


def test_a_plan_keeps_its_kernels_that_the_cache_has_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST_KERNELS_HELD", 1)
    monkeypatch.setattr(cache, "_kernels", {})
    x = xp.asarray(np.arange(10.0))
    with xp.config(compile="always"):
        for k in (2.0, 3.0):
            np.testing.assert_array_equal(np.asarray(x * k + x), np.arange(10.0) * (k + 1))
            np.testing.assert_array_equal(np.asarray(x * k - x), np.arange(10.0) * (k - 1))


def test_loading_and_dropping_leaves_nothing() -> None:
    name = "loaded_often"
    object_code = compile_kernel(source_of(name), name, PARAMETERS)

    def load(times: int) -> None:
        for _ in range(times):
            load_kernel(object_code, name)

    load(200)
    before = resident_bytes()
    load(2000)
    assert resident_bytes() - before < 1 << 20  # 0.5 kB each; one held is 54 kB


def test_compiling_leaves_little() -> None:
    def compile_some(first: int, number: int) -> None:
        for k in range(first, first + number):
            compile_kernel(source_of(f"compiled_{k}"), f"compiled_{k}", PARAMETERS)

    compile_some(0, 40)
    before = resident_bytes()
    compile_some(40, 100)
    assert resident_bytes() - before < 100 * 40_000  # a pass manager that is not freed is 85 kB
