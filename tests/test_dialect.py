"""The CPU dialect: every word under plain Python against the same word compiled, on the values where they
could differ."""

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_compile import compiled, kernel_source, launch

from toonygrad.codegen.cpu import PRIMITIVES, Parameter, fma, kernel_namespace
from toonygrad.codegen.standalone import standalone_source
from toonygrad.errors import CompileError

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
UNARY = ("sqrt", "floor", "ceil", "trunc", "rint", "absolute")
TESTED_BY_PAIRS = ("copysign", "maximum", "minimum", "reassociating_add", "reassociating_multiply")


def edge_values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([False, True])
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        near = [limits.min, limits.min + 1, 0, 1, 2, 7, 100, limits.max - 1, limits.max]
        return np.array(near + ([-1, -2, -7] if limits.min else []), dtype)
    info = np.finfo(dtype)
    ordinary = [0.0, 0.5, 1.0, 1.5, 2.5, 3e4, np.inf]
    extreme = [info.smallest_subnormal, info.tiny, 1 + info.eps, info.max]
    magnitudes = np.array([*ordinary, *extreme], dtype)
    return np.concatenate([magnitudes, -magnitudes, np.array([np.nan], dtype)])


def casting_values(dtype: str) -> np.ndarray:
    """Edge values and, for floats, the neighbours of every integer type's limits."""
    values = edge_values(dtype)
    if dtype not in FLOATS:
        return values
    limits = np.array([s * 2.0**e for e in (7, 8, 15, 16, 31, 32, 63, 64) for s in (1, -1)], dtype)
    ends = [np.nextafter(limits, np.array(to, dtype)) for to in (-np.inf, np.inf)]
    return np.concatenate([values, limits, *ends, limits - 1, limits + 1])


def run_both(name: str, arrays: dict[str, np.ndarray], stores: list[str], length: int) -> None:
    """Run ``stores`` for each i under plain Python and compiled, and ask for the same bits in all arrays (any
    NaN is like any other)."""
    parameters = [Parameter(n, "pointer", a.dtype) for n, a in arrays.items()]
    body = "for i in range(lo, hi):\n    " + "\n    ".join(stores)
    plain = [array.copy() for array in arrays.values()]
    native = [array.copy() for array in arrays.values()]
    namespace = kernel_namespace()
    exec(kernel_source(name, parameters, body), namespace)
    with np.errstate(all="ignore"):
        namespace[name](*plain, 0, length)
    launch(compiled(name, parameters, body), native, [], 0, length)
    for parameter, expected, found in zip(parameters, plain, native):
        np.testing.assert_array_equal(found, expected, err_msg=parameter.name)
        if expected.dtype.kind == "f":
            signed = ~np.isnan(expected)
            signs = np.signbit(found[signed]), np.signbit(expected[signed])
            np.testing.assert_array_equal(*signs, err_msg=f"sign in {parameter.name}")


def outputs(words: list[str], dtype: str, length: int) -> dict[str, np.ndarray]:
    return {f"out_{word}": np.zeros(length, dtype) for word in words}


def test_the_table_holds_the_dialect() -> None:
    conversions = {"boolean", *INTEGERS, *FLOATS}
    bits = {"bits_of_float64", "float64_of_bits", "bits_of_float32", "float32_of_bits"}
    integer_words = {"quotient", "remainder", "integer_power", "shift_left", "shift_right"}
    scratch = {f"{name}_scratch" for name in (*INTEGERS, *FLOATS)}
    arithmetic = {"fma", "where", "two_over_pi", "transpose", *UNARY, *TESTED_BY_PAIRS, *integer_words}
    assert set(PRIMITIVES) == conversions | bits | scratch | arithmetic


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_words(dtype: str) -> None:
    a, b = (np.array(v, dtype) for v in zip(*itertools.product(edge_values(dtype), repeat=2)))
    words = [*UNARY, *TESTED_BY_PAIRS]
    stores = [f"out_{word}[i] = {word}(a[i])" for word in UNARY]
    stores += [f"out_{word}[i] = {word}(a[i], b[i])" for word in TESTED_BY_PAIRS]
    stores.append("chosen[i] = where(a[i] < b[i], a[i], b[i])")
    arrays = {**outputs(words, dtype, a.size), "chosen": np.zeros_like(a), "a": a, "b": b}
    run_both(f"floats_{dtype}", arrays, stores, a.size)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_words(dtype: str) -> None:
    limits, signed = np.iinfo(dtype), dtype.startswith("int")
    pairs = itertools.product(edge_values(dtype), repeat=2)
    safe = [(a, b) for a, b in pairs if b != 0 and not (signed and a == limits.min and b == -1)]
    a, b = (np.array(v, dtype) for v in zip(*safe))
    amount = (np.arange(a.size) % limits.bits).astype(dtype)
    words = ["maximum", "minimum", "quotient", "remainder"]
    stores = [f"out_{word}[i] = {word}(a[i], b[i])" for word in words]
    stores += [f"out_{word}[i] = {word}(a[i], amount[i])" for word in ("shift_left", "shift_right")]
    stores.append("chosen[i] = where(a[i] < b[i], a[i], b[i])")
    if signed:
        stores.append("out_absolute[i] = absolute(a[i])")
        words = [*words, "absolute"]
    arrays = outputs([*words, "shift_left", "shift_right"], dtype, a.size)
    run_both(
        f"integers_{dtype}",
        {**arrays, "chosen": np.zeros_like(a), "a": a, "b": b, "amount": amount},
        stores,
        a.size,
    )


@pytest.mark.parametrize("dtype", ("bool", *INTEGERS, *FLOATS))
def test_conversions(dtype: str) -> None:
    a = casting_values(dtype)
    memory = a.view("uint8") if dtype == "bool" else a
    value = "boolean(a[i])" if dtype == "bool" else "a[i]"
    arrays = {f"out_{target}": np.zeros(a.size, target) for target in (*INTEGERS, *FLOATS)}
    stores = [f"{out}[i] = {out.removeprefix('out_')}({value})" for out in arrays]
    stores.append(f"truth[i] = uint8(boolean({value}))")
    run_both(f"from_{dtype}", {**arrays, "truth": np.zeros(a.size, "uint8"), "a": memory}, stores, a.size)


def test_conversion_saturates_wraps_and_rounds_once() -> None:
    words = kernel_namespace()
    assert words["int8"](1e300) == 127
    assert words["int8"](-np.inf) == -128
    assert words["uint64"](2.0**64) == 2**64 - 1
    assert words["uint32"](-0.9) == 0
    assert words["int64"](np.nan) == 0
    assert words["int8"](np.int64(300)) == 44
    # Through float64 this would be a tie, and rounded down.
    assert words["float32"](np.int64(2**54 + 2**30 + 1)) == np.float32(2**54 + 2**31)


@pytest.mark.parametrize("bits", (32, 64))
def test_bits(bits: int) -> None:
    a = edge_values(f"float{bits}")
    stores = [f"out[i] = bits_of_float{bits}(a[i])", f"back[i] = float{bits}_of_bits(out[i])"]
    arrays = {"out": np.zeros(a.size, f"int{bits}"), "back": np.zeros_like(a), "a": a}
    run_both(f"bits_{bits}", arrays, stores, a.size)


@pytest.mark.parametrize("dtype", FLOATS)
def test_fma_is_rounded_once(dtype: str) -> None:
    random = np.random.default_rng(1)
    edges = np.array(list(itertools.product(edge_values(dtype)[::2], repeat=3)), dtype).T
    a, b = random.normal(size=(2, 2000)).astype(dtype)
    cancelling = -(a * b) * random.choice([1.0, 1.0 + float(np.finfo(dtype).eps), 2.0**-20], 2000).astype(
        dtype
    )
    a, b, c = np.concatenate([edges, [a, b, cancelling]], axis=1)
    run_both(
        f"fma_{dtype}",
        {"out": np.zeros_like(a), "a": a, "b": b, "c": c},
        ["out[i] = fma(a[i], b[i], c[i])"],
        a.size,
    )


def test_fma_float32_does_not_round_through_float64() -> None:
    # a * b is a tie between two float32 numbers, which c breaks far below float64's last bit.
    a, b = np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12)
    c = np.float32(2.0**-80)
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    found = fma(a, b, c)
    neighbours = [Fraction(float(np.nextafter(found, np.float32(to)))) for to in (0, 9)]
    assert type(found) is np.float32
    assert all(abs(Fraction(float(found)) - exact) < abs(n - exact) for n in neighbours)


MIXED = {
    "maximum": "maximum(a[i], b[i])",
    "fma": "fma(a[i], b[i], a[i])",
    "where": "where(a[i] > float32(0.0), a[i], b[i])",
    "condition": "where(1, a[i], a[i])",
    "kind": "quotient(a[i], a[i])",
    "bits": "float32_of_bits(bits_of_float64(a[i]))",
}


@pytest.mark.parametrize("name", MIXED)
def test_operands_are_never_promoted(name: str) -> None:
    parameters = [Parameter(n, "pointer", np.dtype(t)) for n, t in (("a", "float32"), ("b", "float64"))]
    body = f"for i in range(lo, hi):\n    a[i] = {MIXED[name]}"
    namespace = kernel_namespace()
    exec(kernel_source("mixed", parameters, body), namespace)
    with pytest.raises(TypeError, match="type"):
        namespace["mixed"](np.ones(1, "float32"), np.ones(1), 0, 1)
    with pytest.raises(CompileError, match="mixed"):
        compiled("mixed", parameters, body)


def test_scratch_of_every_type() -> None:
    types = (*INTEGERS, *FLOATS)
    stores = [f"row_{t} = {t}_scratch(8)" for t in types]
    stores += [f"row_{t}[i] = {t}(a[i])" for t in types]
    stores += [f"out_{t}[i] = row_{t}[i]" for t in types]
    arrays = {f"out_{t}": np.zeros(8, t) for t in types}
    run_both("scratch", {**arrays, "a": np.arange(8.0) * 40}, stores, 8)


ROW_SUMS = '''
def row_sums(out0, in0, in1, flags, n1, s0, x0, lo, hi):
    """Sums of rows."""
    for i0 in range(lo, hi):
        total = float32(0.0)
        for i1 in range(n1):
            total = reassociating_add(total, fma(in0[i0 * s0 + i1], x0, float32(in1[i1])))
        out0[i0] = where(boolean(flags[i0]), -total, total)
'''
ROW_SUMS_PARAMETERS = [
    Parameter("out0", "pointer", np.dtype("float32")),
    Parameter("in0", "pointer", np.dtype("float32")),
    Parameter("in1", "pointer", np.dtype("int8")),
    Parameter("flags", "pointer", np.dtype("bool")),
    Parameter("n1", "integer", np.dtype("int64")),
    Parameter("s0", "integer", np.dtype("int64")),
    Parameter("x0", "scalar", np.dtype("float32")),
]
ROW_SUMS_EXAMPLE = {
    "out0": 5,
    "in0": 50,
    "in1": 10,
    "flags": 5,
    "n1": 10,
    "s0": 10,
    "x0": np.float32(1.5),
    "hi": 5,
}

WORDLESS = "def wordless(out0, x0, lo, hi):\n    for i in range(lo, hi):\n        out0[i] = x0\n"
WORDLESS_PARAMETERS = [
    Parameter("out0", "pointer", np.dtype("float64")),
    Parameter("x0", "scalar", np.dtype("float64")),
]

EVERYTHING = "def everything(out0, in0, lo, hi):\n    row = float64_scratch(4)\n    for i in range(lo, hi):\n"
EVERYTHING += "".join(f"        row[{k}] = float64({word}(in0[i]))\n" for k, word in enumerate(UNARY[1:4]))
EVERYTHING += "        row[3] = copysign(float64_of_bits(bits_of_float64(in0[i])), minimum(row[0], row[1]))\n"
EVERYTHING += "        out0[i] = row[2] + row[3] + float64(quotient(int64(in0[i]), 3))\n"
EVERYTHING_PARAMETERS = [Parameter(n, "pointer", np.dtype("float64")) for n in ("out0", "in0")]

STANDALONE: dict[str, tuple[str, list[Parameter], dict[str, Any]]] = {
    "row_sums": (ROW_SUMS, ROW_SUMS_PARAMETERS, ROW_SUMS_EXAMPLE),
    "wordless": (WORDLESS, WORDLESS_PARAMETERS, {"out0": 4, "x0": np.float64(np.nan), "lo": 1, "hi": 4}),
    "everything": (EVERYTHING, EVERYTHING_PARAMETERS, {"out0": 9, "in0": 9, "hi": 9}),
}

WITHOUT_NUMBA = (
    "import runpy, sys; sys.modules['numba'] = sys.modules['llvmlite'] = None; "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


@pytest.mark.parametrize("name", STANDALONE)
def test_standalone_file_runs_alone(name: str, tmp_path: Path) -> None:
    source, parameters, example = STANDALONE[name]
    text = standalone_source(source, name, parameters, example)
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    assert not any(line.startswith(("import toonygrad", "from toonygrad")) for line in text.splitlines())
    # -I: neither this directory nor PYTHONPATH may help.
    python = [sys.executable, "-I", "-W", "error::RuntimeWarning"]
    with_numba = subprocess.run([*python, str(file)], capture_output=True, text=True, check=True)
    assert f"{name} under Numba agrees" in with_numba.stdout
    alone = subprocess.run(
        [*python, "-c", WITHOUT_NUMBA, str(file)], capture_output=True, text=True, check=True
    )
    assert "Numba is not installed" in alone.stdout


def test_standalone_file_defines_only_what_the_kernel_uses() -> None:
    text = standalone_source(ROW_SUMS, "row_sums", ROW_SUMS_PARAMETERS, ROW_SUMS_EXAMPLE)
    assert text.index("def row_sums") < text.index("def fma")
    assert "def sqrt" not in text
    assert "scratch(" not in text.split("# The same words for Numba.")[0]
    wordless = standalone_source(WORDLESS, "wordless", *STANDALONE["wordless"][1:])
    assert "register" not in wordless


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_power(dtype: str) -> None:
    base, exponent = (np.array(v, dtype) for v in zip(*itertools.product(edge_values(dtype), repeat=2)))
    arrays = {"out": np.zeros_like(base), "base": base, "exponent": exponent}
    run_both(f"power_{dtype}", arrays, ["out[i] = integer_power(base[i], exponent[i])"], base.size)
