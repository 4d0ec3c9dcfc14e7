"""What `explain` tells: computing and compiling nothing, bytes that are right, sources that run alone."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toonygrad as xp

SHAPE = (200, 300)
BYTES = 200 * 300 * 8


def arrays() -> tuple[xp.Array, xp.Array]:
    generator = np.random.default_rng(0)
    return xp.asarray(generator.normal(size=SHAPE)), xp.asarray(generator.normal(size=SHAPE))


@pytest.fixture(autouse=True)
def compiled():
    with xp.config(compile="always"):
        yield


def test_explaining_computes_and_compiles_nothing() -> None:
    x, y = arrays()
    pending = xp.exp(x + y) * 17.25
    total = xp.sum(pending, axis=1)
    before = xp.counters()
    first = xp.explain(total, pending)
    assert xp.counters() == before
    # Nor does it count as asking: nothing gets stored for it.
    second = xp.explain(total, pending)
    assert first == second
    del pending
    np.asarray(total)
    assert (xp.counters() - before).bytes_allocated == 200 * 8


def test_attributes() -> None:
    x, y = arrays()
    (kernel,) = xp.explain((x + y) * 2).kernels
    assert kernel.name.startswith("kernel_")
    assert kernel.operations == ("ADD", "MUL")
    assert kernel.outputs == ((SHAPE, np.dtype("float64")),)
    assert (kernel.reason, kernel.how) == ("asked for", "compiled")
    assert (kernel.bytes_moved, kernel.bytes_least) == (3 * BYTES, 3 * BYTES)
    assert f"def {kernel.name}(" in kernel.function
    assert kernel.function in kernel.source
    with pytest.raises(dataclasses.FrozenInstanceError):
        kernel.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "expression, moved, least",
    [
        (lambda x, y: x + y, 3 * BYTES, 3 * BYTES),
        (lambda x, y: x + x.T[:200, :200].T[0, 0], 2 * BYTES, 2 * BYTES),
        (lambda x, y: x[::2] + 1, BYTES, BYTES),
        (lambda x, y: x + y[0, :], 2 * BYTES + 300 * 8, 2 * BYTES + 300 * 8),
        (lambda x, y: xp.sum(x, axis=1), BYTES + 200 * 8, BYTES + 200 * 8),
        (lambda x, y: xp.concat([x, y], axis=0), 4 * BYTES, 4 * BYTES),
        (lambda x, y: xp.reshape((x * 2).T, SHAPE) + 1, 4 * BYTES, 2 * BYTES),
        (lambda x, y: x < y, 2 * BYTES + BYTES // 8, 2 * BYTES + BYTES // 8),
        # A number of its own: an equal constant that another test still holds would be computed already.
        (lambda x, y: xp.full(SHAPE, 7.8125), BYTES, BYTES),
    ],
)
def test_bytes(expression: Any, moved: int, least: int) -> None:
    explained = xp.explain(expression(*arrays()))
    # A number read once for all rows is a few bytes more.
    assert moved <= explained.bytes_moved <= moved + 8
    assert least <= explained.bytes_least <= least + 8


def test_table() -> None:
    x, y = arrays()
    text = str(xp.explain(xp.reshape((x * 2).T, SHAPE) + y))
    assert repr(xp.explain(x)) == "nothing to compute"
    lines = text.splitlines()
    assert lines[0].split() == ["kernel", "runs", "UOps", "outputs", "moved", "least", "stored", "because"]
    assert len(lines) == 5
    assert "it would need a division for each element" in lines[2]
    assert "float64[200, 300]" in lines[3] and lines[3].endswith("asked for")
    assert lines[4].startswith("2 kernels, 2.4 MB moved, 1.67 of the least possible, 960 kB of results")


def test_how_it_runs() -> None:
    x, y = arrays()
    small = xp.asarray(np.ones(10))

    def how(*asked: xp.Array) -> set[str]:
        return {kernel.how for kernel in xp.explain(*asked).kernels}

    assert how(x + y) == how(xp.concat([x, y])) == how(small + 1) == {"compiled"}
    assert how(x @ y.T) == {"library"}
    (product,) = xp.explain(x @ y.T).kernels
    assert (product.name, product.source, product.operations) == ("matmul", "", ("EXTERNAL",))
    with xp.config(compile="never"):
        assert how(x + y) == how(xp.concat([x, y])) == {"interpreted"}
    with xp.config(compile="auto"):
        assert how(x + y) == {"compiled"}
        assert how(small + 1) == how(xp.concat([small, small])) == {"interpreted"}


@pytest.mark.parametrize("mode", ["always", "never", "auto"])
def test_what_has_no_elements_or_is_no_graph(mode: Any) -> None:
    with xp.config(compile=mode):
        empty = xp.asarray(np.ones((3, 1))) + xp.asarray(np.ones((1, 0)))
        assert len(xp.explain(empty).kernels) == 1
        assert xp.explain(empty).bytes_moved <= 24
        assert xp.explain().kernels == ()
        assert xp.explain(xp.asarray([1.0])).kernels == ()
        with pytest.raises(TypeError, match="explain: takes Arrays, not ndarray"):
            xp.explain(np.ones(3))  # type: ignore[arg-type]


def test_computed_arrays_need_no_kernel() -> None:
    x, y = arrays()
    product = xp.exp(x) * y
    assert len(xp.explain(product).kernels) == 1
    product.block_until_ready()
    assert str(xp.explain(product)) == "nothing to compute"
    assert xp.explain(product + 1).kernels[0].operations == ("ADD",)


def many_kernels() -> list[Any]:
    """Kernels of every shape: elementwise, rows, columns, chunks, scans, gathers, guards, complex numbers."""
    x, y = arrays()
    wide = xp.asarray(np.ones((3, 200_000), np.float32))
    whole = xp.astype(x * 10, xp.int32)
    z = x + 1j * y
    asked = [
        *(x.T * 2 + y[::-1].T, xp.tan(x), xp.sum(x * y, axis=1), xp.max(x, axis=0), xp.mean(wide, axis=1)),
        *(xp.sum(wide, axis=0), xp.cumulative_sum(x, axis=0), xp.take(x, whole[0, :5] % 200, axis=0)),
        *(xp.exp(z), xp.sum(z), whole // 3, whole**3 << 2, xp.argmin(x, axis=1), xp.remainder(x, y)),
        *(xp.var(x, axis=1), xp.tril(x), xp.concat([x > 0, y > 0]), xp.astype(x, xp.uint8)),
        *(xp.roll(x, 3, axis=1) + xp.roll(x, -2, axis=0), xp.sum(xp.roll(x, 1) * x)),
    ]
    return [kernel for one in asked for kernel in xp.explain(one).kernels]


# Numba and toonygrad can't be had here.
ALONE = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"toonygrad", "numba", "llvmlite"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for path in sys.argv[1:]:
    runpy.run_path(path, run_name="__main__")
"""


def test_sources_run_alone(tmp_path: Path) -> None:
    kernels = many_kernels()
    paths = []
    for kernel in kernels:
        assert kernel.how == "compiled"
        path = tmp_path / f"{kernel.name}.py"
        path.write_text(kernel.source, encoding="utf-8")
        paths.append(str(path))
    paths = list(dict.fromkeys(paths))
    done = subprocess.run([sys.executable, "-c", ALONE, *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ran under plain Python") == len(paths)
    # And under Numba, which is there but for toonygrad: a few, for each takes a second.
    script = ALONE.replace(', "numba", "llvmlite"', "")
    done = subprocess.run(
        [sys.executable, "-c", script, *paths[::3]], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("agrees") == len(paths[::3])


def test_nothing_of_the_users_reaches_a_source() -> None:
    """Not even a number: it could be a string in disguise, and another one would compile again."""
    x, y = arrays()
    secret = 86_413.5
    for kernel in xp.explain(x * secret + y, xp.take(x, xp.asarray([3]), axis=0)).kernels:
        assert "86413" not in kernel.source
        names = {node.id for node in ast.walk(ast.parse(kernel.function)) if isinstance(node, ast.Name)}
        assert all(name.isidentifier() and len(name) < 40 for name in names)
