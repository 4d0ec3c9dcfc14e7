"""Holds what a user installs: every module in the wheel, array_api under its own name, types, one version."""

import email
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built from a copy so that the checkout stays as it is."""
    source = tmp_path_factory.mktemp("source")
    for folder in ("toonygrad", "array_api"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "--wheel-dir", target, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_holds_every_module(wheel):
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "toonygrad").rglob("*.py")}
    expected |= {f"toonygrad/array_api/{path.name}" for path in (ROOT / "array_api").glob("*.py")}
    shipped = {name for name in wheel.namelist() if name.endswith(".py")}
    assert "toonygrad/array_api/__init__.py" in shipped
    assert shipped == expected


def test_wheel_is_typed_and_licensed(wheel):
    names = wheel.namelist()
    assert "toonygrad/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_says_what_pyproject_says(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra")) == {
        *("test", "conformance", "examples", "bench", "dev"),
        *("cuda", "cuda-fft", "cuda-linalg", "cuda-sort"),
    }


def test_one_version_everywhere():
    import toonygrad

    assert toonygrad.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_installed_metadata_is_current():
    """An editable install made before the version moved would answer with the old one."""
    installed = [found.version for found in importlib.metadata.distributions(name="toonygrad")]
    assert set(installed) <= {PROJECT["version"]}


def test_array_api_is_imported_from_its_own_folder():
    import toonygrad.array_api

    assert Path(toonygrad.array_api.__file__).resolve() == ROOT / "array_api" / "__init__.py"
