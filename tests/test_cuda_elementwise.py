"""Elementwise CUDA kernels: in the simulator against the interpreter, and every operation compiled to PTX."""

import ctypes
import inspect
import re
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from cuda_steps import both, sources
from llvmlite import ir
from numpy.testing import assert_allclose, assert_array_equal

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array_api import elementwise
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.cuda_functions import square_root, write_remainder
from toonygrad.errors import CompileError
from toonygrad.runtime.cuda_compile import compile_ptx

SHAPES = [
    (),
    (1,),
    (3,),
    (300,),
    (5, 7),
    (7, 5, 3),
    (3, 300),
    (2, 3, 4, 5),
    (1, 600),
    (600, 1),
    (2, 2, 3, 2, 2),
]


def numbers(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(-8, 9, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2 + 1,
        lambda x: xp.flip(x) - x,
        lambda x: xp.permute_dims(x, tuple(reversed(range(x.ndim)))) * 3,
        lambda x: xp.where(x > 0, x, -x),
        lambda x: (x * 1j + 1) * x,
        lambda x: (xp.astype(x, xp.int8) // 3, x % 3, xp.astype(x, xp.bool)),
    ],
    ids=["chain", "flip", "transpose", "where", "complex", "several"],
)
def test_elements_in_the_simulator(function: Callable[..., Any], shape: tuple[int, ...]) -> None:
    for found, meant in zip(*both(function, numbers(shape))):
        assert_array_equal(found, meant)


def test_broadcast_operands() -> None:
    found, meant = both(lambda x, y: x[:, None] + y * y[::-1], numbers((40,)), numbers((70,)))
    assert_array_equal(found[0], meant[0])


def test_a_guard_that_fails_takes_the_slow_form() -> None:
    values = np.array([0.5, 1e6, -3e37, np.inf, np.nan, 2.0], np.float32)
    found, meant = both(lambda x: xp.sin(x) * 2, values)
    assert_allclose(found[0], meant[0], rtol=4e-7)


def test_gathers_note_an_index_out_of_bounds() -> None:
    places = np.array([2, 0, -1, 4], np.int64)

    def taken(x: Any, k: Any) -> Any:
        return xp.take(x, k, axis=1) + 1

    found, meant = both(taken, numbers((3, 5)), places)
    assert_array_equal(found[0], meant[0])
    with pytest.raises(IndexError, match="take: an index is out of bounds for axis 1 with size 5"):
        both(taken, numbers((3, 5)), np.array([1, 5], np.int64))


def test_gathers_have_several_elements_a_thread() -> None:
    x, k = numbers((5000,)), np.random.default_rng(3).integers(-5000, 5000, 5000)
    for function in (lambda x, k: xp.take(x, k % 5000) * 2, lambda x, k: x[k] + x):
        found, meant = both(function, x, k)
        assert_array_equal(found[0], meant[0])
    (source,) = sources(lambda x, k: x[k], x, k)
    assert source.grid == (3, 1, 1)
    with pytest.raises(IndexError, match="out of bounds"):
        both(lambda x, k: xp.take(x, k), x, k + 7)


def test_sizes_and_numbers_are_arguments() -> None:
    """One text for all rows that are whole vectors, and one for all others."""

    def texts(*shapes: tuple[int, ...]) -> set[str]:
        return {
            source.text
            for shape in shapes
            for number in (2.0, 3.0)
            for source in sources(lambda x, y, n=number: (x + y) * n, *given(shape))
        }

    def given(shape: tuple[int, ...]) -> list[np.ndarray]:
        return [np.zeros(shape, np.float32), np.zeros(shape[-1:], np.float32)]

    assert len(texts((30, 52), (500, 7000), (100_000, 40))) == 1
    assert len(texts((30, 51), (500, 7003), (100_000, 43))) == 1


def test_the_grid_covers_long_sides() -> None:
    def grid(*shape: int) -> tuple[Any, Any]:
        padded = np.broadcast_to(np.zeros(1, np.float32), (*shape[:-1], shape[-1] + 1))
        (source,) = sources(lambda x: x[..., 1:] + x[..., :-1], padded)
        return source.launch

    # Of four columns a thread, and of four rows where they are short.
    assert grid(3000) == ((3, 1, 1), (256, 1, 1))
    assert grid(10, 3000) == ((3, 10, 1), (256, 1, 1))
    assert grid(1000, 3) == ((1, 4, 1), (4, 64, 1))
    for shape, each in (((9_000_000, 2), 4), ((70_000, 300), 1), ((70_000, 2, 300), 1)):
        (across, down, deep), (wide, high, _) = grid(*shape)
        assert down <= 65535 and deep <= 65535
        assert across * wide * 4 >= shape[-1] and down * deep * high * each >= np.prod(shape[:-1])


# -- patches of elements -------------------------------------------------------------------------------------


def around(u: Any) -> Any:
    return u[1:-1, 1:-1] * -4 + u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]


def written(u: Any) -> Any:
    v = u + 1
    v[1:-1, 1:-1] = around(u)
    return v


@pytest.mark.parametrize(
    "function",
    [
        around,
        written,
        lambda u: sum(u[i : -3 + i, j : -3 + j] * (i + 5 * j) for i in range(3) for j in range(3)),
        lambda u: xp.roll(u, 1, axis=0) - xp.roll(u, -1, axis=1) + xp.roll(u, 2, axis=1) * u,
        lambda u: xp.roll(u, (3, 20), axis=(0, 1)) + u,
        lambda u: u[:, 1:] + u[:, :-1] * u[:1, 1:] - u[:, :1],
        lambda u: u[::-1, ::-1] + u[:, ::-1],
        lambda u: u[:, ::2] * 2 + 1,
        lambda u: (u > 1, xp.astype(u, xp.int8), xp.astype(u, xp.float64) / 3),
        lambda u: u[:, 3:] * (1 + 2j) - u[:, :-3],
        lambda u: xp.take(u, (xp.arange(u.shape[0]) * 7) % u.shape[0], axis=0) + 1,
        lambda u: xp.sin(xp.where(u > 7, 1e6, u)),
        lambda u: xp.reshape(u, (2, u.shape[0] // 2, -1))[:, 1:, 1:] + u[0, 0],
        lambda u: xp.concat([u[:, 2:], u + 1, u[:, :3]], axis=1),
    ],
    ids=[
        "around",
        "written",
        "square",
        "roll",
        "rolled far",
        "row",
        "flip",
        "strided",
        "types",
        "complex",
        "rows",
    ]
    + ["guards", "three", "concatenated"],
)
@pytest.mark.parametrize("shape", [(6, 64), (8, 67), (4, 130), (40, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_patches(function: Callable[..., Any], shape: tuple[int, ...], dtype: str) -> None:
    for vectors in (True, False):
        for found, meant in zip(*both(function, numbers(shape, dtype), vectors=vectors)):
            assert_allclose(found, meant, rtol=1e-6)


@pytest.mark.parametrize("length", [16, 63, 64, 1029, 5000])
def test_patches_of_one_row(length: int) -> None:
    def function(x: Any) -> Any:
        return x[:-2] + x[1:-1] * 2 + x[2:], x[1:] > x[:-1], xp.exp(x), x[::-1] * 3

    for found, meant in zip(*both(function, numbers((length,)))):
        assert_allclose(found, meant, rtol=1e-6)


def test_a_stencil_reads_what_it_shares_once() -> None:
    def loads(function: Callable[..., Any], *arrays: np.ndarray) -> tuple[int, ...]:
        source = max(sources(function, *arrays), key=lambda source: len(source.text))
        assert ".local" not in compile_ptx(source.text, source.name, source.parameters)
        together = source.text[source.text.index("if whole") : source.text.index("(not whole)")]
        return tuple(len(re.findall(word, together)) for word in (r"load_vector\(", r"\] = in\d", r"store_v"))

    u = np.zeros((64, 128), np.float32)
    # Two rows of four: four rows of vectors, an element before and one behind the two in the middle.
    assert loads(written, u) == (4, 4, 2)
    # Where the result's rows are a multiple of two only, some vectors have as many.
    assert loads(around, u) == (6, 4, 4)
    assert loads(lambda u: xp.roll(u, 1, axis=0) + xp.roll(u, -1, axis=0) + xp.roll(u, 1, axis=1), u) == (
        4,
        2,
        2,
    )
    assert loads(lambda u, v: u + v, u, u[0]) == (2, 0, 1)
    assert loads(lambda u, v: u + v, u[:, :127], u[0, :127]) == (1, 4, 1)
    assert loads(lambda u: u[1:] + u[:-1], u[0]) == (1, 1, 1)
    assert loads(lambda u: u * 2, u.astype(np.int8)) == (1, 0, 1)
    assert loads(lambda u: u > 2, u) == (1, 0, 1)
    assert loads(lambda u: u * 2, u.astype(np.complex64)) == (1, 0, 1)


# -- PTX -----------------------------------------------------------------------------------------------------


# Of each kind one, and of floats both.
@pytest.mark.parametrize(
    "dtype",
    [
        dtypes.bool_,
        *(np.dtype(name) for name in ("int8", "uint32", "int64", "float32", "float64", "complex128")),
    ],
    ids=str,
)
def test_every_function_compiles(dtype: np.dtype) -> None:
    compiled = []
    for name in elementwise.__all__:
        function = getattr(xp, name)
        array = np.ones(5, dtype)
        operands = [array] * min(2, len(inspect.signature(function).parameters))
        try:
            made = sources(function, *operands)
        except TypeError:  # not of this data type
            continue
        for source in made:
            assert source is not None
            ptx = compile_ptx(source.text, source.name, source.parameters)
            assert f".entry {source.name}" in ptx
            assert ".local" not in ptx, "an array that has no register"
            for line in re.findall(r"^\s+(?:add|sub|mul|div|sqrt|fma)\.\S*f(?:32|64) .*", ptx, re.M):
                assert ".rn" in line, "arithmetic that may be contracted or rounded otherwise"
            compiled.append(name)
    assert {"equal", "logical_and" if dtype == dtypes.bool_ else "add"} <= set(compiled)


@pytest.mark.parametrize("source", dtypes.ALL, ids=str)
def test_every_conversion_compiles(source: np.dtype) -> None:
    targets = [target for target in dtypes.ALL if target.kind == "c" or source.kind != "c"]
    made = sources(lambda x: tuple(xp.astype(x, target) for target in targets), np.ones(5, source))
    for one in made:
        assert one is not None
        assert ".entry" in compile_ptx(one.text, one.name, one.parameters)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32"])
def test_no_part_of_a_float_is_stored(dtype: str) -> None:
    """Of which ptxas 13.0 stores the value, converted, and not the bits."""
    (source,) = sources(lambda x, y: x % y, np.ones(5, dtype), np.ones(5, dtype))
    ptx = compile_ptx(source.text, source.name, source.parameters)
    floats = set(re.findall(r"^\s+\w+\.\S*f(?:32|64)\s+(%\w+), .*", ptx, re.M))
    stored = set(re.findall(r"^\s+st\.\S*b(?:8|16|32)\s+\[.*\], (%\w+);", ptx, re.M))
    assert floats and stored and not floats & stored


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_product_is_contracted_with_a_sum(dtype: str) -> None:
    (source,) = sources(lambda x: x * 3.5 + 1.25, np.ones(5, dtype))
    ptx = compile_ptx(source.text, source.name, source.parameters)
    assert "mul.rn" in ptx and "add.rn" in ptx and "fma" not in ptx


def test_memory_that_is_only_read_takes_the_read_only_way() -> None:
    (source,) = sources(lambda x, y: x + y, np.ones(5), np.ones(5))
    ptx = compile_ptx(source.text, source.name, source.parameters)
    assert ptx.count("ld.global.nc.") == ptx.count("ld.global.") > 1 and "st.global.b64" in ptx


def test_what_is_not_of_the_dialect_is_refused() -> None:
    pointer = [Parameter("out0", "pointer", np.dtype("float32"))]
    with pytest.raises(CompileError, match="kernel k does not compile"):
        compile_ptx("def k(out0):\n    out0[0] = unknown(1)\n", "k", pointer)
    with pytest.raises(CompileError, match="the parameters are"):
        compile_ptx("def k(out1):\n    out1[0] = float32(1.0)\n", "k", pointer)


def engine_of(module: ir.Module) -> Any:
    """The module compiled for this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    return engine


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_square_roots_are_rounded(off: int) -> None:
    """Its LLVM code here on this processor, from reciprocal roots that are off by a bit."""
    module = ir.Module("root")
    module.triple = llvm.get_process_triple()
    single, word = ir.FloatType(), ir.IntType(32)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [single.as_pointer()]), "root")
    builder = ir.IRBuilder(function.append_basic_block())

    def reciprocal(x: Any) -> Any:
        sqrt = module.declare_intrinsic("llvm.sqrt", [single], ir.FunctionType(single, [single]))
        bits = builder.bitcast(builder.fdiv(single(1.0), builder.call(sqrt, [x])), word)
        return builder.bitcast(builder.add(bits, word(off)), single)

    (place,) = function.args
    builder.store(square_root(builder, builder.load(place), reciprocal), place)
    builder.ret_void()
    engine = engine_of(module)
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address("root"))
    generator = np.random.default_rng(4)
    bits = generator.integers(0, 0x7F800000, 50_000, np.uint32)
    squares = np.square(generator.integers(1 << 11, 1 << 12, 2000).astype(np.float32))
    limits = np.finfo(np.float32)
    special = [
        0.0,
        -0.0,
        1.0,
        np.inf,
        -np.inf,
        np.nan,
        -1.0,
        limits.max,
        limits.tiny,
        limits.smallest_subnormal,
    ]
    near = np.float32(2.0**-100) * np.float32([1 - 2.0**-24, 1, 1 + 2.0**-23])
    values = np.concatenate([bits.view(np.float32), squares, np.float32(special), near])
    found = values.copy()
    for k in range(found.size):
        native(found.ctypes.data + 4 * k)
    with np.errstate(invalid="ignore"):
        assert_array_equal(found, np.sqrt(values))
    assert np.signbit(found[values == 0]).tolist() == np.signbit(values[values == 0]).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_remainder_of_floats_is_exact(dtype: str) -> None:
    """Its LLVM code is the same on any processor: here on this one."""
    module = ir.Module("remainder")
    module.triple = llvm.get_process_triple()
    double = ir.DoubleType()
    function = ir.Function(module, ir.FunctionType(double, [double, double]), "remainder")
    write_remainder(function)
    engine = engine_of(module)
    kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)
    native = kind(engine.get_function_address("remainder"))
    limits = np.finfo(dtype)
    generator = np.random.default_rng(3)
    wide = np.exp2(generator.uniform(np.log2(limits.tiny), np.log2(limits.max) - 1, 400))
    special = [
        0.0,
        -0.0,
        1.0,
        3.0,
        limits.max,
        limits.tiny,
        limits.smallest_subnormal,
        np.inf,
        -np.inf,
        np.nan,
    ]
    values = np.concatenate([wide, -wide[:9], special, limits.smallest_subnormal * np.arange(1, 9)])
    values = values.astype(dtype).astype(np.float64)
    for a, b in zip(generator.choice(values, 20_000), generator.choice(values, 20_000)):
        found = native(a, b)
        with np.errstate(invalid="ignore"):
            meant = np.fmod(a, b)
        assert found == meant or (np.isnan(found) and np.isnan(meant)), (a, b)
        assert np.signbit(found) == np.signbit(meant) or np.isnan(meant)
