"""Holds docs/add-an-op.md: its places exist and are all there are, and no operation is missing in one."""

import re
from pathlib import Path

import numpy as np
import pytest

import toonygrad as xp
from toonygrad import dtypes, record
from toonygrad.array import from_node, node_of
from toonygrad.codegen.transcendental import DECOMPOSITIONS
from toonygrad.realize import realize_nodes
from toonygrad.runtime.interpreter import interprets
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import ELEMENTWISE, MOVEMENT, TRANSCENDENTAL, Ops

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "add-an-op.md").read_text(encoding="utf-8")
PLACES = re.findall(r"\| `([\w/.]+)` \| `(\w+)` \|", PAGE)
FILES = {path for path, _ in PLACES}

# Recorded by the engine itself, by functions of their own: no row in the table of what users' calls take.
OURS = {Ops.CAST, Ops.BITCAST, Ops.WHERE, Ops.FMA, Ops.COMPLEX}
# Operations that nothing but their own rows should know: other rooms speak of kinds of operations.
ORDINARY = ("CEIL", "LOGADDEXP", "ATAN2", "LOG2", "COSH", "NEXTAFTER", "SINH")


def by_name(op):
    return op.name


def sources():
    """Every file of the package, and what it says without comments."""
    for folder in ("toonygrad", "array_api"):
        for path in (ROOT / folder).rglob("*.py"):
            text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
            yield path.relative_to(ROOT).as_posix(), text


@pytest.mark.parametrize(("path", "table"), PLACES)
def test_listed_places_exist(path, table):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(class |def )?{table}\b", text, re.MULTILINE), f"{path} has no {table}"


@pytest.mark.parametrize("name", ORDINARY)
def test_the_list_is_complete(name):
    knowing = {path for path, text in sources() if re.search(rf"\bOps\.{name}\b", text)}
    mathematics = {path for path in knowing if path.startswith("toonygrad/codegen/transcendental_")}
    assert knowing - mathematics <= FILES
    assert knowing, "the search finds nothing"


@pytest.mark.parametrize("op", sorted(ELEMENTWISE, key=by_name), ids=by_name)
def test_every_operation_has_its_rows(op):
    assert interprets(op)
    assert op.takes in dtypes.CATEGORIES
    if op in TRANSCENDENTAL:
        assert op in DECOMPOSITIONS
    recorded = [path for path, text in sources() if re.search(rf"\bOps\.{op.name}\b", text)]
    if op not in OURS:
        assert any(path.startswith("array_api/") or path == "toonygrad/array.py" for path in recorded)


@pytest.mark.parametrize(
    "op",
    [*sorted(MOVEMENT, key=by_name), Ops.REDUCE, Ops.SCAN, Ops.GATHER, Ops.CONCAT, Ops.IOTA],
    ids=by_name,
)
def test_every_other_recorded_operation_is_interpreted(op):
    assert interprets(op)


def operands(op, dtype):
    """One operation of arrays of a type, as recorded."""
    sources = [node_of(xp.asarray(np.ones(3, dtype) + k)) for k in range(op.arity)]
    if op is Ops.WHERE:
        sources[0] = record.cast(sources[0], dtypes.bool_)
    argument = {Ops.CAST: dtypes.float32, Ops.BITCAST: dtypes.uint64}.get(op)
    return UOp.new(op, tuple(sources), argument)


def types_of(op):
    if op is Ops.BITCAST:
        return (dtypes.float64,)
    if op is Ops.COMPLEX:
        return dtypes.REAL_FLOATING
    if op is Ops.FMA:
        return dtypes.REAL_NUMERIC
    return sorted(record.allowed(op), key=str) if op not in OURS else dtypes.ALL


@pytest.mark.parametrize("op", sorted(ELEMENTWISE, key=by_name), ids=by_name)
def test_every_operation_computes_and_has_a_kernel_for_each_type_it_takes(op):
    for dtype in types_of(op):
        if op is Ops.CAST and dtype.kind == "c":
            continue  # not to a real type: record.converted refuses
        node = operands(op, dtype)
        with xp.config(compile="always"):
            (kernel,) = xp.explain(from_node(node)).kernels
            assert kernel.function.startswith("def kernel_")
        with xp.config(compile="never"):
            (result,) = realize_nodes([node])
        assert (result.dtype, result.shape) == (node.dtype, node.shape)
