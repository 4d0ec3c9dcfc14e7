"""What every test shares: Hypothesis' profiles, a cache directory, the flag that renews golden files.

pytest imports this before any test. It may import nothing of toonygrad, whose settings are read from the
environment at import.
"""

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# No deadline: the first call of an expression compiles. In CI the examples are the same on every run, so that
# a failure there is of the change and not of the dice; locally each run tries new ones.
hypothesis.settings.register_profile("developer", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "developer")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_configure(config: pytest.Config) -> None:
    session = tempfile.TemporaryDirectory(prefix="toonygrad-tests-")
    config.add_cleanup(session.cleanup)
    # Kernels of an earlier run or of the user's own work must not make a test of compiling pass.
    os.environ["TOONYGRAD_CACHE_DIR"] = os.path.join(session.name, "cache")
    # Every graph that any test makes is checked against the specification of its stage (uop/spec.py).
    os.environ.setdefault("TOONYGRAD_DEBUG", "1")
    if not is_installed():
        layout = lay_out_checkout(Path(session.name))
        sys.path.insert(0, layout)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [layout, os.environ.get("PYTHONPATH")]))
        os.environ["PYTHONSAFEPATH"] = "1"  # else the folder pytest was called in goes before PYTHONPATH


def is_installed() -> bool:
    """Whether an editable install tells Python that toonygrad.array_api lies outside toonygrad/."""
    return any(finder.find_spec("toonygrad.array_api", [str(ROOT / "toonygrad")]) for finder in sys.meta_path)


def lay_out_checkout(folder: Path) -> str:
    """Link a plain checkout into the installed layout, for this process and those the tests start."""
    package = folder / "layout" / "toonygrad"
    package.mkdir(parents=True)
    for entry in [*(ROOT / "toonygrad").iterdir(), ROOT / "array_api"]:
        (package / entry.name).symlink_to(entry)
    return str(package.parent)


def has_gpu() -> bool:
    """Whether a GPU, its driver and what toonygrad needs to use it are here; asked in a process of its own,
    since one that has used a GPU can't fork."""
    question = "import toonygrad as xp; print(xp.__array_namespace_info__().devices())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    return "cuda" in answer.stdout


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none: a simulator runs the same kernels everywhere."""
    needing = [item for item in items if item.get_closest_marker("cuda")]
    if needing and not has_gpu():
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if not item.get_closest_marker("cuda")]


@pytest.fixture(scope="module", autouse=True)
def what_is_there_stays() -> Iterator[None]:
    """Tests that collect garbage, which are many, needn't look through what was there before them."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))
