"""Holds the architecture: imports point downward only, modules say what they are, rooms stay rooms.

The rules are read off the syntax trees, so a module is judged even where nothing imports it. Each rule is
also shown a small violation and must find it.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A module belongs to the layer with the longest name that begins its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("toonygrad.dtypes", "toonygrad.errors", "toonygrad.config", "toonygrad.devices"),
    ("toonygrad.uop",),
    ("toonygrad.schedule",),
    ("toonygrad.codegen",),
    ("toonygrad.runtime",),
    ("toonygrad.recognition",),
    ("toonygrad.realize",),
    (
        *("toonygrad.array", "toonygrad.exchange", "toonygrad.indexing", "toonygrad.interchange"),
        *("toonygrad.placement", "toonygrad.products", "toonygrad.record", "toonygrad.views"),
        "toonygrad.writing",
    ),
    ("toonygrad.array_api",),
    ("toonygrad.explain", "toonygrad.fft", "toonygrad.linalg", "toonygrad.viz"),
    ("toonygrad",),
)

# The standard's functions know the Array, not the engine's inside.
ARRAY_API_MAY_IMPORT = (
    "toonygrad.array",
    "toonygrad.array_api",
    "toonygrad.devices",
    "toonygrad.dtypes",
    "toonygrad.errors",
    "toonygrad.exchange",
    "toonygrad.indexing",
    "toonygrad.placement",
    "toonygrad.products",
    "toonygrad.record",
    "toonygrad.uop.ops",
)

# Importing Numba takes 0.25 s and setting it up as much again. A process whose kernels are all on disk must
# not pay that, and one without a GPU must not need CUDA: these packages, and a module of ours that opens with
# one of them, may be imported where they are first used. Nothing else may: no circle hides in a function.
HEAVY = frozenset({"numba", "llvmlite", "cuda", "numba_cuda", "numba_cuda_mlir"})

# What only a process with a GPU needs, and reads when it uses one.
LATE = frozenset(
    f"toonygrad.runtime.{name}"
    for name in (
        "cuda_copies",
        "cuda_fill",
        "cuda_plan",
        "cuda_products",
        "cuda_program",
        "cuda_routines",
        "cuda_scatter",
        "cuda_selection",
    )
)

MOST_LINES = 600


@dataclass(frozen=True)
class Import:
    """One imported module: on which line, and when (always, as a function runs, or for annotations only)."""

    target: str
    line: int
    inside_function: bool
    for_typing: bool
    relative: bool = False


@dataclass
class Module:
    """A module of ours as its text says it is."""

    name: str
    path: Path
    is_package: bool
    text: str = field(repr=False)
    _imports: dict[frozenset[str], list[Import]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    def imports(self, known: frozenset[str]) -> list[Import]:
        """Every import statement, wherever in the file it stands."""
        if known not in self._imports:
            self._imports[known] = list(self._read_imports(known))
        return self._imports[known]

    def _read_imports(self, known: frozenset[str]) -> Iterator[Import]:
        lazily, for_typing = set(), set()
        for block in ast.walk(self.tree):
            match block:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    lazily.update(map(id, ast.walk(block)))
                case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                    for_typing.update(id(node) for statement in block.body for node in ast.walk(statement))
        for statement in ast.walk(self.tree):
            when = (id(statement) in lazily, id(statement) in for_typing)
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    yield Import(alias.name, statement.lineno, *when)
            elif isinstance(statement, ast.ImportFrom):
                source = self._resolved(statement)
                for alias in statement.names:
                    submodule = f"{source}.{alias.name}"
                    target = submodule if submodule in known else source
                    yield Import(target, statement.lineno, *when, relative=statement.level > 0)

    def _resolved(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        package = package[: len(package) - statement.level + 1]
        return ".".join([*package, statement.module] if statement.module else package)


def read_modules(root: Path) -> dict[str, Module]:
    """The modules of a checkout by the name they are imported by."""
    modules = {}
    for folder, package in ((root / "toonygrad", "toonygrad"), (root / "array_api", "toonygrad.array_api")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join([package, *(parts[:-1] if is_package else parts)])
            modules[name] = Module(name, path.relative_to(root), is_package, path.read_text(encoding="utf-8"))
    return modules


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer_of(name: str) -> int | None:
    """The height of the layer a module belongs to; None for one that has no place yet."""
    if name == "toonygrad":
        return len(LAYERS) - 1
    heights = [height for height, layer in enumerate(LAYERS[:-1]) for room in layer if is_within(name, room)]
    return heights[0] if heights else None


# -- the rules: each takes all modules and yields a sentence for each violation -----------------------


def imports_that_point_up(modules: dict[str, Module]) -> Iterator[str]:
    """Imports for annotations included: to know a type is to know its layer."""
    for module in modules.values():
        height = layer_of(module.name)
        if height is None:
            yield f"{module.path}: has no layer; give it one in tests/test_layers.py"
            continue
        for imported in module.imports(frozenset(modules)):
            if not is_within(imported.target, "toonygrad"):
                continue
            target = layer_of(imported.target)
            if target is None or target > height:
                yield f"{module.path}:{imported.line}: imports {imported.target}, which lies above it"


def imports_the_array_api_may_not_make(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if not is_within(module.name, "toonygrad.array_api"):
            continue
        for imported in module.imports(frozenset(modules)):
            if imported.relative:
                yield f"{module.path}:{imported.line}: a relative import; write from toonygrad.array_api..."
            if is_within(imported.target, "toonygrad") and not any(
                imported.target == name if name != "toonygrad.array_api" else is_within(imported.target, name)
                for name in ARRAY_API_MAY_IMPORT
            ):
                yield f"{module.path}:{imported.line}: imports {imported.target}, the inside of the engine"


def imports_inside_functions(modules: dict[str, Module]) -> Iterator[str]:
    known = frozenset(modules)

    def is_heavy(target: str) -> bool:
        return target.partition(".")[0] in HEAVY

    def opens_with_heavy(target: str) -> bool:
        return target in known and any(
            is_heavy(imported.target) and not imported.inside_function
            for imported in modules[target].imports(known)
        )

    for module in modules.values():
        for imported in module.imports(known):
            target = imported.target
            late = is_heavy(target) or opens_with_heavy(target) or target in LATE
            if imported.inside_function and not late:
                yield f"{module.path}:{imported.line}: imports {target} inside a function"


def imports_by_name(modules: dict[str, Module]) -> Iterator[str]:
    """importlib.import_module and __import__, which would escape every other rule."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                    if name in ("import_module", "__import__"):
                        yield f"{module.path}:{node.lineno}: calls {name}; write an import statement"


def circles(modules: dict[str, Module]) -> Iterator[str]:
    """Rooms of one layer may name each other's types in annotations: nothing of that is left at run time."""
    known = frozenset(modules)
    graph = {
        module.name: known & {each.target for each in module.imports(known) if not each.for_typing}
        for module in modules.values()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"a circle of imports: {' -> '.join(reversed(error.args[1]))}"


def rooms_without_a_name(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if {part.strip("_") for part in module.name.split(".")} & {"util", "utils", "helper", "helpers"}:
            yield f"{module.path}: say in the file's name what it holds"


def modules_without_docstring(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if not ast.get_docstring(module.tree):
            yield f"{module.path}: must open by saying what lives here, who calls it and what it may import"


def rooms_too_long(modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        lines = len(module.text.splitlines())
        if lines > MOST_LINES:
            yield f"{module.path}: {lines} lines; is it still one room?"


RULES = (
    imports_that_point_up,
    imports_the_array_api_may_not_make,
    imports_inside_functions,
    imports_by_name,
    circles,
    rooms_without_a_name,
    modules_without_docstring,
    rooms_too_long,
)


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return read_modules(ROOT)


def test_the_whole_package_is_read(modules):
    assert {"toonygrad", "toonygrad.array_api", "toonygrad.uop.ops", "toonygrad.config"} <= set(modules)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule, modules):
    violations = list(rule(modules))
    assert not violations, "\n" + "\n".join(violations)


def test_importing_toonygrad_loads_neither_numba_nor_cuda():
    """The time to a first result depends on it, and one import at the top of a module would undo it."""
    program = "import sys, toonygrad; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # llvmlite may be there: it is what loads a kernel from disk.
    assert not (HEAVY - {"llvmlite"}) & set(done.stdout.split())


# -- the rules can fail -------------------------------------------------------------------------------

SOUND = {
    "toonygrad/__init__.py": "from toonygrad.array import Array; from toonygrad.array_api import linalg",
    "toonygrad/dtypes.py": "import numpy as np",
    "toonygrad/config.py": "from toonygrad import dtypes",
    "toonygrad/uop/__init__.py": "from toonygrad.uop.node import UOp",
    "toonygrad/uop/ops.py": "if TYPE_CHECKING: from toonygrad.uop.node import UOp",
    "toonygrad/uop/node.py": "from .ops import Op; from .. import dtypes",
    "toonygrad/runtime/dialect.py": "import numba",
    "toonygrad/runtime/cpu.py": "def load(): from toonygrad.runtime.dialect import fma; import llvmlite",
    "toonygrad/array.py": "import sys; from toonygrad.uop import UOp",
    "toonygrad/explain.py": "from toonygrad.runtime import cpu",
    "array_api/__init__.py": "from toonygrad.array_api.linalg import matmul",
    "array_api/linalg.py": "from toonygrad.uop.ops import Op; from toonygrad.array import Array",
}


def violations(tree: Path, files: dict[str, str], docstring: str = '"""A room."""') -> dict[str, list[str]]:
    """What each rule finds in a checkout made of these files."""
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{docstring}\n{text}\n", encoding="utf-8")
    modules = read_modules(tree)
    return {rule.__name__: found for rule in RULES if (found := list(rule(modules)))}


def test_sound_tree_has_no_violation(tmp_path):
    assert violations(tmp_path, SOUND) == {}


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        ("imports_that_point_up", "toonygrad/dtypes.py", "from toonygrad.array import Array"),
        ("imports_that_point_up", "toonygrad/uop/node.py", "from ..runtime import cpu"),
        ("imports_that_point_up", "toonygrad/uop/node.py", "if TYPE_CHECKING: import toonygrad.array"),
        ("imports_that_point_up", "toonygrad/array.py", "import toonygrad"),
        ("imports_that_point_up", "toonygrad/dtypes.py", "def f(): import toonygrad.array"),
        ("imports_that_point_up", "toonygrad/somewhere.py", ""),
        ("imports_the_array_api_may_not_make", "array_api/linalg.py", "from toonygrad.runtime import cpu"),
        ("imports_the_array_api_may_not_make", "array_api/linalg.py", "from toonygrad.uop.node import UOp"),
        ("imports_the_array_api_may_not_make", "array_api/fft.py", "from .linalg import matmul"),
        ("imports_inside_functions", "toonygrad/array.py", "def f(): from toonygrad import dtypes"),
        ("imports_inside_functions", "toonygrad/array.py", "class A:\n    def f(self): import json"),
        ("imports_by_name", "toonygrad/dtypes.py", "importlib.import_module('toonygrad.array')"),
        ("circles", "toonygrad/uop/ops.py", "from toonygrad.uop.node import UOp"),
        ("circles", "toonygrad/dtypes.py", "def f(): from toonygrad import config"),
        ("rooms_without_a_name", "toonygrad/runtime/_utils.py", ""),
        ("rooms_without_a_name", "toonygrad/uop/helpers/names.py", ""),
        ("rooms_too_long", "array_api/linalg.py", "x = 1\n" * 600),
    ],
)
def test_rule_finds_violation(tmp_path, rule, file, text):
    found = violations(tmp_path, SOUND | {file: text})
    assert rule in found
    assert rule == "circles" or any(file in sentence for sentence in found[rule])


def test_missing_docstrings_are_found(tmp_path):
    found = violations(tmp_path, SOUND, docstring="")
    assert list(found) == ["modules_without_docstring"]
    assert len(found["modules_without_docstring"]) == len(SOUND)
