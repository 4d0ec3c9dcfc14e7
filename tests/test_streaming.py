"""Results that pass the caches: the same bits, in whichever places, and never what a kernel reads again."""

import platform
import sys

import numpy as np
import pytest

import toonygrad as xp
from toonygrad.runtime import plan
from toonygrad.runtime.cache import obtain_kernel
from toonygrad.runtime.streaming import cache_bytes, with_streaming

realize = sys.modules["toonygrad.realize"]

X86 = platform.machine().lower() in ("x86_64", "amd64")

PROGRAMS = {
    "chain": lambda x, y: (x + y) * x - x / 2 + y * y,
    "truth": lambda x, y: x < y,
    "bytes": lambda x, y: xp.astype(x + y, xp.int8),
    "ones": lambda x, y: xp.where(xp.zeros_like(x) > 0, x, xp.ones_like(x)),
    "several": lambda x, y: (x + y, x - y, x * y > 0),
    "guarded": lambda x, y: xp.sin(x) * xp.exp(y),
    "complex": lambda x, y: xp.astype(x, xp.complex128) * (1 + 2j) + y,
    "inner block": lambda x, y: x[1:-1, 1:-1] * 2 + y[:-2, 2:],
    "transposed": lambda x, y: x + xp.flip(y, axis=1),
    "first elements": lambda x, y: xp.where(xp.arange(x.shape[1]) < 2, x, y),
    "row sums": lambda x, y: xp.sum(x * y, axis=1),
    "softmax": lambda x, y: xp.exp(x) / xp.sum(xp.exp(x), axis=1, keepdims=True),
    "layer norm": lambda x, y: (x - xp.mean(x, axis=1, keepdims=True)) / xp.std(x, axis=1, keepdims=True),
    "rolled": lambda x, y: x - xp.roll(y, 1, axis=1),
}


def computed(program, operands):
    realize._plans.clear()
    results = PROGRAMS[program](*(xp.asarray(operand) for operand in operands))
    results = results if isinstance(results, tuple) else (results,)
    xp.realize(*results)
    return [np.asarray(result) for result in results]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(40, 64), (37, 1003), (5, 5000)], ids=str)
@pytest.mark.parametrize("program", PROGRAMS)
def test_results_are_the_same_to_the_bit(program, shape, dtype, monkeypatch):
    random = np.random.default_rng(0)
    operands = [random.standard_normal(shape).astype(dtype) for _ in range(2)]
    with xp.config(compile="always", num_threads=2):
        through = computed(program, operands)
        monkeypatch.setattr(plan, "cache_bytes", lambda: 0)
        past = computed(program, operands)
    for one, other in zip(through, past, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


@pytest.mark.skipif(not X86, reason="the instructions are those of x86")
def test_a_chain_has_both_forms_and_softmax_one():
    x = xp.asarray(np.linspace(0, 1, 6000).reshape(3, 2000))
    for program, has_both in (("chain", True), ("softmax", False)):
        with xp.config(compile="always"):
            kernel = next(step for step in _compiled_steps(PROGRAMS[program](x, x)))
        native = obtain_kernel(kernel.source.text, kernel.source.name, kernel.source.parameters)
        assert (native.streaming_address != native.address) is has_both


def _compiled_steps(result):
    made = plan.make_plan(realize.canonical(realize.structure_of([result._uop], looking=True)), "always")
    return [step for step in made.steps if isinstance(step, plan.CompiledStep)]


@pytest.mark.skipif(not X86, reason="the instructions are those of x86")
def test_only_what_outgrows_the_caches_passes_them(monkeypatch):
    x = xp.asarray(np.linspace(0, 1, 6000))
    with xp.config(compile="always"):
        monkeypatch.setattr(plan, "cache_bytes", lambda: 2 * x.size * 8)
        assert not _compiled_steps(x + 1.5)[0]._streams
        monkeypatch.setattr(plan, "cache_bytes", lambda: 2 * x.size * 8 - 1)
        assert _compiled_steps(x + 1.5)[0]._streams


def test_text_without_vectors_stays_as_it_is():
    module = "define void @k_entry(ptr %0) {\nentry:\n  ret void\n}\n\n!0 = !{i32 1}\n"
    assert with_streaming(module, "def k(out0, lo, hi):\n    out0[0] = 1.0\n", "k_entry", "k_stream") is None


def test_the_caches_have_a_size():
    assert cache_bytes() >= 1 << 15
