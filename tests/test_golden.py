"""The generated source of named expressions as text: a change of codegen shows in review as a change of text.

`pytest tests/test_golden.py --update-golden` writes the files anew. Each is a script that runs alone, under
plain Python and under Numba.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toonygrad as xp

GOLDEN = Path(__file__).parent / "golden"


def softmax(x: Any) -> Any:
    weights = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return weights / xp.sum(weights, axis=1, keepdims=True)


def layer_norm(x: Any) -> Any:
    centred = x - xp.mean(x, axis=1, keepdims=True)
    return centred / xp.sqrt(xp.var(x, axis=1, keepdims=True) + 1e-5)


# name -> the expression of two arrays; (100, 300) float64 but where the name says otherwise.
EXPRESSIONS: dict[str, Callable[..., Any]] = {
    "chain_float32": lambda x, y: (x + y) * 3.0 - x / 2.0 + y * y,
    "views": lambda x, y: xp.flip(x[::2, 5:], axis=0).T + y[0, :50],
    "row_sum": lambda x, y: xp.sum(x * y, axis=1),
    "long_argmax": lambda x, y: xp.argmax(x, axis=1),
    "column_maximum": lambda x, y: xp.max(x, axis=0),
    "full_sum_float32": lambda x, y: xp.sum(x * y),
    "row_variance": lambda x, y: xp.var(x, axis=1),
    "softmax": lambda x, y: softmax(x),
    "layer_norm_float32": lambda x, y: layer_norm(x),
    "pairwise_distances": lambda x, y: xp.sqrt(xp.sum((x[:, None] - y[None]) ** 2, axis=2)),
    "product_int32": lambda x, y: x @ y.T,
    "sine": lambda x, y: xp.sin(x),
    "floor_division_int32": lambda x, y: x // y,
    "complex_product_complex128": lambda x, y: x * y + 1j,
    "gather": lambda x, y: xp.take(x, xp.astype(y[:, 0], xp.int64), axis=0),
    "scan": lambda x, y: xp.cumulative_sum(x, axis=1),
    "comparison": lambda x, y: (x < y) & (x != 0.0),
}


def array(name: str, seed: int) -> xp.Array:
    ending = name.rpartition("_")[2]
    dtype = ending if ending in ("float32", "int32", "complex128") else "float64"
    shape = {"full": (1000, 300), "long": (10, 3000)}.get(name.partition("_")[0], (100, 300))
    return xp.asarray(np.random.default_rng(seed).integers(1, 90, shape).astype(dtype))


def source(name: str) -> str:
    with xp.config(compile="always"):
        (kernel,) = xp.explain(EXPRESSIONS[name](array(name, 0), array(name, 1))).kernels
    return kernel.source


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_source_is_golden(name: str, update_golden: bool) -> None:
    path, text = GOLDEN / f"{name}.py", source(name)
    if update_golden:
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "see the difference, or renew it by --update-golden"


def test_no_golden_file_without_an_expression() -> None:
    assert {path.stem for path in GOLDEN.glob("*.py")} == set(EXPRESSIONS)


# One process for all files: starting Numba takes longer than running them.
RUN_ALL = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for path in sys.argv[1:]:
    runpy.run_path(path, run_name="__main__")
"""


@pytest.mark.parametrize(
    "absent", [{"toonygrad"}, {"toonygrad", "numba", "llvmlite"}], ids=["Numba", "plain Python"]
)
def test_golden_files_run_alone(absent: set[str]) -> None:
    paths = sorted(map(str, GOLDEN.glob("*.py")))
    script = RUN_ALL.replace("ABSENT", repr(absent))
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = "agrees" if "numba" not in absent else "ran under plain Python"
    assert done.stdout.count(said) == len(EXPRESSIONS)
