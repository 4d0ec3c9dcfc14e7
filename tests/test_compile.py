"""The compiler: the native entry's arguments, what vectorises, what stays IEEE, errors, and freeing."""

import ctypes
import gc
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from toonygrad.errors import CompileError
from toonygrad.runtime.compile import (
    NativeKernel,
    Parameter,
    compile_kernel,
    kernel_llvm,
    load_kernel,
    scalar_bits,
)

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def pointers(**dtypes: str) -> list[Parameter]:
    return [Parameter(name, "pointer", np.dtype(dtype)) for name, dtype in dtypes.items()]


def integers(*names: str) -> list[Parameter]:
    return [Parameter(name, "integer", np.dtype("int64")) for name in names]


def kernel_source(name: str, parameters: list[Parameter], body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"def {name}({', '.join(p.name for p in parameters)}, lo, hi):\n{lines}"


def launch(kernel: NativeKernel, arrays: list[np.ndarray], numbers: list[int], lo: int, hi: int) -> None:
    addresses = np.array([array.ctypes.data for array in arrays], np.int64)
    packed = np.array(numbers, np.int64)
    ENTRY(kernel.address)(addresses.ctypes.data, packed.ctypes.data, lo, hi)


def compiled(name: str, parameters: list[Parameter], body: str) -> NativeKernel:
    return load_kernel(compile_kernel(kernel_source(name, parameters, body), name, parameters), name)


def llvm_text(name: str, parameters: list[Parameter], body: str) -> str:
    return kernel_llvm(kernel_source(name, parameters, body), name, parameters)


def test_entry_unpacks_pointers_integers_and_the_range() -> None:
    parameters = [*pointers(out0="f8", in0="f8"), *integers("n1", "s0")]
    body = """
for i0 in range(lo, hi):
    for i1 in range(n1):
        out0[i0 * n1 + i1] = in0[i0 * s0 + i1] + 0.5
"""
    source = np.arange(40.0)
    out = np.full(12, -1.0)
    launch(compiled("unpacks", parameters, body), [out, source], [3, 10], 1, 3)
    expected = np.full((4, 3), -1.0)
    expected[1:3] = source.reshape(4, 10)[1:3, :3] + 0.5
    np.testing.assert_array_equal(out.reshape(4, 3), expected)


SCALARS = {
    "bool": True, "int8": -7, "int16": -300, "int32": -(2**31), "int64": -(2**63), "uint8": 250,
    "uint16": 65535, "uint32": 2**32 - 1, "uint64": 2**64 - 1, "float32": -1.1, "float64": 1e-310,
}  # fmt: skip


def test_scalars_of_every_type_arrive_as_their_bits() -> None:
    outs = [Parameter(f"out_{t}", "pointer", np.dtype(t)) for t in SCALARS]
    scalars = [Parameter(f"x_{t}", "scalar", np.dtype(t)) for t in SCALARS]
    stored = {t: f"uint8(x_{t})" if t == "bool" else f"x_{t}" for t in SCALARS}
    body = "\n".join(f"out_{t}[lo] = {value}" for t, value in stored.items())
    arrays = [np.zeros(1, t) for t in SCALARS]
    bits = [scalar_bits(np.dtype(t), value) for t, value in SCALARS.items()]
    launch(compiled("scalars", [*outs, *scalars], body), arrays, bits, 0, 1)
    assert [a[0] for a in arrays] == [np.dtype(t).type(value) for t, value in SCALARS.items()]


LOOP = "for i in range(lo, hi):\n    "
ROW = "for i in range(lo, hi):\n    {start}\n    for j in range(n):\n        {step}\n    o[i] = s"

VECTORISED = {
    "float_add": (dict(o="f8", a="f8", b="f8"), LOOP + "o[i] = a[i] + b[i]", r"fadd <\d+ x double>"),
    "float_divide": (dict(o="f4", a="f4", b="f4"), LOOP + "o[i] = a[i] / b[i]", r"fdiv <\d+ x float>"),
    "int32_add": (dict(o="i4", a="i4", b="i4"), LOOP + "o[i] = int32(a[i] + b[i])", r"add <\d+ x i32>"),
    "int8_multiply": (dict(o="i1", a="i1", b="i1"), LOOP + "o[i] = int8(a[i] * b[i])", r"mul <\d+ x i8>"),
    "fused": (dict(o="f8", a="f8", b="f8"), LOOP + "o[i] = fma(a[i], b[i], a[i])", r"llvm\.fma\.v\d+f64"),
    "maximum": (dict(o="f8", a="f8", b="f8"), LOOP + "o[i] = maximum(a[i], b[i])", r"llvm\.maximum\.v\d+f64"),
    "round": (dict(o="f4", a="f4"), LOOP + "o[i] = rint(a[i])", r"llvm\.rint\.v\d+f32"),
    "select": (dict(o="f8", a="f8"), LOOP + "o[i] = where(a[i] < 0.0, -a[i], a[i])", r"fcmp olt <\d+ x "),
    "compare": (dict(o="u1", a="f8"), LOOP + "o[i] = uint8((a[i] < 1.0) & (a[i] > 0.0))", r"fcmp olt <\d+ "),
    "float_to_int": (dict(o="i4", a="f8"), LOOP + "o[i] = int32(a[i])", r"fptosi <\d+ x double>"),
    "bits": (dict(o="i8", a="f8"), LOOP + "o[i] = bits_of_float64(a[i]) ^ 1", r"xor <\d+ x i64>"),
    "rows": (
        dict(o="f8", a="f8"),
        "for i in range(lo, hi):\n    for j in range(n):\n        o[i * n + j] = a[j] * 2.0",
        r"<\d+ x double>",
    ),
    "sum": (
        dict(o="f4", a="f4"),
        ROW.format(start="s = float32(0.0)", step="s = reassociating_add(s, a[i * n + j])"),
        r"fadd reassoc <\d+ x float>",
    ),
    "product": (
        dict(o="f8", a="f8"),
        ROW.format(start="s = 1.0", step="s = reassociating_multiply(s, a[i * n + j])"),
        r"fmul reassoc <\d+ x double>",
    ),
    "largest": (
        dict(o="f8", a="f8"),
        ROW.format(start="s = a[i * n]", step="s = maximum(s, a[i * n + j])"),
        r"llvm\.maximum\.v\d+f64",
    ),
    "count": (
        dict(o="i8", a="f8"),
        ROW.format(start="s = 0", step="s = s + int64(a[i * n + j] > 0.0)"),
        r"add <\d+ x i64>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORISED)
def test_vectorises(name: str) -> None:
    dtypes, body, vector_operation = VECTORISED[name]
    text = llvm_text(f"vector_{name}", [*pointers(**dtypes), *integers("n")], body)
    assert re.search(vector_operation, text)
    assert "memcheck" not in text


def test_many_operands_need_no_alias_checks_at_run_time() -> None:
    outs, ins = [f"out{k}" for k in range(3)], [f"in{k}" for k in range(8)]
    parameters = pointers(**{name: "f8" for name in (*outs, *ins)})
    total = " + ".join(f"{name}[i]" for name in ins)
    body = LOOP + "\n    ".join(f"{out}[i] = ({total}) * {k}.5" for k, out in enumerate(outs))
    text = llvm_text("many_operands", parameters, body)
    assert re.search(r"fadd <\d+ x double>", text)
    assert "memcheck" not in text


def test_nothing_is_contracted_or_reassociated_unasked() -> None:
    parameters = pointers(o="f8", a="f8", b="f8", c="f8")
    body = LOOP + "o[i] = a[i] * b[i] + c[i]"
    text = llvm_text("exact", parameters, body)
    assert not re.search(r"\b(fast|contract|reassoc|nnan|ninf|nsz|arcp|afn)\b", text.split("attributes")[0])
    arrays = [np.zeros(9), np.full(9, 1 + 2.0**-30), np.full(9, 1 - 2.0**-30), np.full(9, -1.0)]
    launch(compiled("exact", parameters, body), arrays, [], 0, 9)
    np.testing.assert_array_equal(arrays[0], 0.0)  # fused it would be -2**-60


def test_the_same_source_gives_the_same_object_code() -> None:
    parameters = pointers(o="f8", a="f8")
    source = kernel_source("twice", parameters, LOOP + "o[i] = a[i] * 2.0")
    assert compile_kernel(source, "twice", parameters) == compile_kernel(source, "twice", parameters)


def test_signatures_are_remembered_by_type_and_not_by_value() -> None:
    # Not above: other tests load kernels in processes that import this file, and look that Numba isn't there.
    from toonygrad.runtime import frontend

    def shift(amount: int) -> None:
        compiled(f"shifts_by_{amount}", pointers(o="i8"), LOOP + f"o[i] = shift_left(i, {amount})")

    shift(1)
    remembered = len(frontend._typing._signatures)
    shift(2)
    shift(3)
    assert 0 < len(frontend._typing._signatures) == remembered


def test_compiling_sets_up_nothing_for_arrays() -> None:
    """Numba's common contexts do, for 0.15 s of every process that compiles."""
    script = "import sys; from toonygrad.runtime import frontend; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {"numba", "numba.cpython.rangeobj"} <= modules
    assert not {"numba.np.linalg", "numba.np.npyimpl", "numba.typed.dictimpl"} & modules


REFUSED = {
    "no_python": "o[i] = = 1",
    "unknown_word": "o[i] = exp(a[i])",
    "mixed_types": "o[i] = maximum(a[i], 1)",
    "raising": "raise ValueError",
    "calling_out": "o[i] = a[i] ** 2",  # a loop of Numba's own, which a process without Numba lacks
    "closing_over": "o[i] = len([a[i]])",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_compile_names_the_kernel(name: str) -> None:
    with pytest.raises(CompileError, match=f"kernel refused_{name} "):
        compiled(f"refused_{name}", pointers(o="f8", a="f8"), LOOP + REFUSED[name])


def test_parameters_must_be_those_of_the_source() -> None:
    source = kernel_source("other", pointers(o="f8"), "o[lo] = 1.0")
    with pytest.raises(CompileError, match="other"):
        compile_kernel(source, "other", pointers(out="f8"))
    with pytest.raises(CompileError, match="defines no function another"):
        compile_kernel(source, "another", pointers(o="f8"))


def test_object_code_of_another_kernel_is_refused() -> None:
    source = kernel_source("one", pointers(o="f8"), "o[lo] = 1.0")
    with pytest.raises(CompileError, match="holds no kernel two"):
        load_kernel(compile_kernel(source, "one", pointers(o="f8")), "two")


def executable_mappings() -> int:
    return sum(" r-xp " in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_code_is_freed_with_its_kernel() -> None:
    source = kernel_source("freed", pointers(o="f8"), "o[lo] = 1.0")
    code = compile_kernel(source, "freed", pointers(o="f8"))
    gc.collect()
    before = executable_mappings()
    kernels = [load_kernel(code, "freed") for _ in range(20)]
    assert len({kernel.address for kernel in kernels}) == 20
    watched = weakref.ref(kernels[0])
    del kernels
    gc.collect()
    assert watched() is None
    assert executable_mappings() <= before + 1


def test_threads_compile_at_once() -> None:
    results = np.zeros(8)

    def work(k: int) -> None:
        kernel = compiled(f"thread_{k}", pointers(o="f8"), LOOP + f"o[i] = float64(i) + {k}.0")
        launch(kernel, [results], [], k, k + 1)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results, 2.0 * np.arange(8))
