"""The official suite and the standard it tests against: which commits, where from, and is a copy at them.

`run.py` calls `obtain` or `check`. Git is run as a program; this file imports only the standard library.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["STANDARD", "SUITE", "Pin", "SuiteError", "check", "missing_packages", "obtain"]


@dataclass(frozen=True)
class Pin:
    """One repository at one commit.

    Attributes
    ----------
    url : str
        Where it is cloned from.
    commit : str
        The full hash of the commit.
    folder : str
        Where it lies, relative to the suite's own folder.
    what : str
        What it is, for messages.
    """

    url: str
    commit: str
    folder: str
    what: str


SUITE = Pin(
    "https://github.com/data-apis/array-api-tests",
    "55fcc60179efa2680ddd6cd926ddf17b83530e2b",
    ".",
    "the suite",
)
# The suite's own link to this submodule is some commits older.
STANDARD = Pin(
    "https://github.com/data-apis/array-api",
    "8884c406ff8a3b81ab836cefcacb08bc4a92ae18",
    "array-api",
    "the standard, the suite's submodule",
)

# The suite reads these without being asked, and this run knows neither skips nor expected failures.
_FILES_OF_EXCUSES = ("skips.txt", "xfails.txt")


class SuiteError(Exception):
    """The suite can't be run: the message says what is missing and what to do."""


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # safe.directory: a copy on a shared disk often belongs to another user, and nothing of it is run by git.
    command = ["git", "-C", str(folder), "-c", "safe.directory=*", "--no-optional-locks", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise SuiteError(
            "git is not installed: it clones the suite and tells which commit a copy is"
        ) from None


def _complaint(root: Path, pin: Pin) -> str | None:
    """What is wrong with this copy of a pinned repository, or None."""
    folder = (root / pin.folder).resolve()
    remedy = f"git -C {folder} fetch {pin.url} && git -C {folder} checkout {pin.commit}"
    top = _git(folder, "rev-parse", "--show-toplevel")
    # Git looks upwards for a repository: an empty submodule would answer with the commit of the suite.
    if top.returncode != 0 or Path(top.stdout.strip()).resolve() != folder:
        state = "holds no git checkout" if folder.is_dir() else "does not exist"
        clone = f"git clone {pin.url} {folder} && git -C {folder} checkout {pin.commit}"
        return f"{pin.what} is missing: {folder} {state}; to have it: {clone}"
    head = _git(folder, "rev-parse", "HEAD").stdout.strip()
    if head != pin.commit:
        return f"{pin.what} in {folder} is at {head[:12]} and not at {pin.commit[:12]}; to move it: {remedy}"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all").stdout
    if changed.strip():
        return f"{pin.what} in {folder} has local changes:\n{changed.rstrip()}"
    return None


def check(root: Path) -> None:
    """Refuse a folder that is not the suite at its pin, with the standard at its own.

    Raises
    ------
    SuiteError
        Naming everything that is missing, at another commit or changed, each with its remedy.
    """
    complaints = [complaint for pin in (SUITE, STANDARD) if (complaint := _complaint(root, pin))]
    complaints += [
        f"{root / name} excuses tests; this run knows no skips and no expected failures: remove it"
        for name in _FILES_OF_EXCUSES
        if (root / name).exists()
    ]
    if complaints:
        raise SuiteError("\n".join(complaints))


def obtain(folder: Path) -> Path:
    """The suite in this folder, cloned there unless it lies there already.

    Raises
    ------
    SuiteError
        When it can't be cloned.
    """
    try:
        check(folder)
    except SuiteError:
        _clone(folder)
        check(folder)
    return folder


def _clone(folder: Path) -> None:
    # Aside, then renamed: a clone that was cut off never looks like a suite.
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    for pin in (SUITE, STANDARD):
        target = aside / pin.folder
        # No blobs but those of the commit; with the tags, from which the suite tells its version.
        clone = ("clone", "--quiet", "--filter=blob:none", "--no-checkout", pin.url, str(target))
        checkout = ("checkout", "--quiet", "--detach", pin.commit)
        for where, arguments in ((aside.parent, clone), (target, checkout)):
            done = _git(where, *arguments)
            if done.returncode != 0:
                raise SuiteError(
                    f"could not clone {pin.url} at {pin.commit[:12]}: {done.stderr.strip()}\n"
                    f"Without a network, bring a copy and give its folder with --suite DIR: the suite at "
                    f"{SUITE.commit[:12]}, in its folder {STANDARD.folder} the standard at "
                    f"{STANDARD.commit[:12]}."
                )
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def missing_packages() -> list[str]:
    """Distributions that the suite imports and this interpreter lacks."""
    needed = {
        "pytest": "pytest",
        "hypothesis": "hypothesis",
        "ndindex": "ndindex",
        "pytest_jsonreport": "pytest-json-report",
    }
    return [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
