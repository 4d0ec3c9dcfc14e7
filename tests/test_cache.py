"""Kernels kept in the process and on disk: keys, damage, refusal, failing disks, threads, processes,
forks."""

import errno
import os
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from test_compile import kernel_source, launch, pointers

from toonygrad.config import counters_snapshot, settings
from toonygrad.errors import CacheWarning, CompileError
from toonygrad.runtime import cache
from toonygrad.runtime.cache import DiskCache, kernel_key, obtain_kernel

KEY = "ab" * 32
PARAMETERS = pointers(o="f8")


def source_of(name: str) -> str:
    return kernel_source(name, PARAMETERS, "for i in range(lo, hi):\n    o[i] = float64(i) * 2.0")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty disk cache in force, and no kernel in this process."""
    path = tmp_path / "kernels"
    monkeypatch.setattr(settings, "cache_dir", str(path))
    monkeypatch.setattr(cache, "_kernels", {})
    return path


def forget_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_kernels", {})


def counted(work: Callable[[], object]) -> tuple[int, int]:
    """Kernels compiled and kernels loaded by `work`."""
    before = counters_snapshot()
    work()
    done = counters_snapshot() - before
    return done.kernels_compiled, done.kernels_loaded


def double(name: str) -> None:
    out = np.zeros(4)
    launch(obtain_kernel(source_of(name), name, PARAMETERS), [out], [], 0, 4)
    np.testing.assert_array_equal(out, [0.0, 2.0, 4.0, 6.0])


# -- the front ---------------------------------------------------------------------------------------------


def test_process_then_disk_then_compile(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(lambda: double("front")) == (1, 0)
    assert counted(lambda: double("front")) == (0, 0)
    forget_kernels(monkeypatch)
    assert counted(lambda: double("front")) == (0, 1)


def test_no_directory_means_no_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cache_dir", None)
    assert counted(lambda: double("memory")) == (1, 0)
    forget_kernels(monkeypatch)
    assert counted(lambda: double("memory")) == (1, 0)
    assert not directory.exists()


def test_a_damaged_file_is_compiled_again_and_replaced(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    double("damaged")
    (file,) = directory.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    forget_kernels(monkeypatch)
    assert counted(lambda: double("damaged")) == (1, 0)
    forget_kernels(monkeypatch)
    assert counted(lambda: double("damaged")) == (0, 1)


def test_a_kernel_that_does_not_compile_is_not_kept(directory: Path) -> None:
    for _ in range(2):
        with pytest.raises(CompileError):
            obtain_kernel(kernel_source("bad", PARAMETERS, "o[lo] = exp(1.0)"), "bad", PARAMETERS)
    assert list(directory.iterdir()) == []


def test_the_oldest_kernel_gives_way(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST_KERNELS_HELD", 2)
    for name in ("first", "second", "third"):
        double(name)
    assert counted(lambda: double("third")) == (0, 0)
    assert counted(lambda: double("first")) == (0, 1)


def test_threads_asking_for_one_kernel_compile_it_once(directory: Path) -> None:
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        double("wanted_by_all")

    def all_threads() -> None:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert counted(all_threads) == (1, 0)


# -- keys --------------------------------------------------------------------------------------------------


def test_the_key_covers_the_kernel() -> None:
    keys = {
        kernel_key(source, name, parameters)
        for source in ("a", "b")
        for name in ("k", "l")
        for parameters in (pointers(o="f8"), pointers(o="f4"), pointers(p="f8"), pointers(o="f8", p="f8"))
    }
    assert len(keys) == 16
    assert kernel_key("a", "k", PARAMETERS) == kernel_key("a", "k", tuple(PARAMETERS))


@pytest.mark.parametrize("part", ("host_target", "numba_version"))
def test_the_key_covers_the_machine_and_versions(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernel_key("a", "k", PARAMETERS)
    monkeypatch.setattr(cache, part, lambda: "another")
    cache._environment.cache_clear()
    changed = kernel_key("a", "k", PARAMETERS)
    monkeypatch.undo()
    cache._environment.cache_clear()
    assert changed != before == kernel_key("a", "k", PARAMETERS)


def test_the_key_knows_the_installed_numba() -> None:
    assert version("numba") in cache.numba_version()


# -- files -------------------------------------------------------------------------------------------------


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    DiskCache(str(directory)).put(KEY, b"code")
    (file,) = directory.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_cut_short_or_foreign_counts_as_absent(tmp_path: Path) -> None:
    disk = DiskCache(str(tmp_path / "kernels"))
    disk.put(KEY, b"code" * 10)
    (file,) = Path(disk.directory).iterdir()
    whole = file.read_bytes()
    assert disk.get(KEY) == b"code" * 10
    flipped = bytes([*whole[:-1], whole[-1] ^ 1])
    for damaged in (*(whole[:n] for n in range(len(whole))), flipped, whole + b"x", b"\x7fELF" + whole):
        file.write_bytes(damaged)
        assert disk.get(KEY) is None
    other = "cd" * 32
    file.with_name(f"{other}.kernel").write_bytes(whole)
    assert disk.get(other) is None  # the right content under another kernel's name
    disk.put(KEY, b"new")
    assert disk.get(KEY) == b"new"


def test_a_file_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    disk = DiskCache(str(tmp_path / "kernels"))
    disk.put(KEY, b"code")
    (file,) = Path(disk.directory).iterdir()
    file.chmod(0o620)
    assert disk.get(KEY) is None


def test_a_cache_cleared_under_a_running_process_is_made_again(tmp_path: Path) -> None:
    disk = DiskCache(str(tmp_path / "kernels"))
    Path(disk.directory).rmdir()
    assert disk.get(KEY) is None
    disk.put(KEY, b"code")
    assert disk.get(KEY) == b"code"


# -- refusal and failing disks: one warning, and all goes on -----------------------------------------------


def warnings_of(work: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    assert all(w.category is CacheWarning and issubclass(w.category, RuntimeWarning) for w in caught)
    return [str(w.message) for w in caught]


def compile_two_kernels_twice() -> None:
    for name in ("one", "two") * 2:
        double(name)


def open_to_the_group(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    directory.chmod(0o770)


def owned_by_another(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)


def a_file_in_its_place(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.write_text("mine")


def a_full_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)


def a_read_only_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    directory.mkdir(0o700)
    monkeypatch.setattr("tempfile.mkstemp", read_only)


@pytest.mark.parametrize(
    "misfortune", (open_to_the_group, owned_by_another, a_file_in_its_place, a_full_disk, a_read_only_disk)
)
def test_one_warning_and_compiled_in_memory(
    misfortune: Callable[[Path, pytest.MonkeyPatch], None], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misfortune(directory, monkeypatch)
    messages: list[str] = []
    assert counted(lambda: messages.extend(warnings_of(compile_two_kernels_twice))) == (2, 0)
    assert len(messages) == 1
    assert str(directory) in messages[0]
    assert directory.is_file() or list(directory.iterdir()) == []


def test_a_read_only_cache_is_still_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double("kept")
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: (_ for _ in ()).throw(OSError(errno.EROFS, "")))
    forget_kernels(monkeypatch)
    assert counted(lambda: double("kept")) == (0, 1)


# -- processes ---------------------------------------------------------------------------------------------

# A fill among the kernels: LLVM makes it a call of memset, which must be found without Numba too.
PROCESS = """
import os, sys, threading
import numpy as np
from test_compile import kernel_source, launch, pointers
from toonygrad.config import counters_snapshot
from toonygrad.runtime.cache import obtain_kernel

PARAMETERS = pointers(o="f8")

def fill(k):
    name = f"fill_{k}"
    out = np.full(2000, 9.0)
    body = f"for i in range(lo, hi):\\n    o[i] = 0.0\\no[lo] = {k}.0"
    launch(obtain_kernel(kernel_source(name, PARAMETERS, body), name, PARAMETERS), [out], [], 0, 2000)
    assert out[0] == k and not out[1:].any()
"""

ALL = (
    PROCESS
    + """
for k in range(5):
    fill(k)
done = counters_snapshot()
print(done.kernels_compiled, done.kernels_loaded, "numba" in sys.modules)
"""
)

FORKED = (
    PROCESS
    + """
compiling = threading.Thread(target=lambda: [fill(k) for k in range(20)])
compiling.start()
for k in range(100, 110):
    child = os.fork()
    if child == 0:
        fill(k)
        fill(0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
compiling.join()
"""
)


def start(script: str, directory: Path) -> "subprocess.Popen[str]":
    python_path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = {**os.environ, "TOONYGRAD_CACHE_DIR": str(directory), "PYTHONPATH": python_path}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-W", "error::RuntimeWarning", "-c", script],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


def test_two_processes_write_at_once_and_a_third_needs_no_numba(tmp_path: Path) -> None:
    directory = tmp_path / "kernels"
    for process in [start(ALL, directory) for _ in range(2)]:
        finish(process)
    assert len(list(directory.iterdir())) == 5
    assert finish(start(ALL, directory)) == "0 5 False"


def test_a_fork_in_the_middle_of_a_compile(tmp_path: Path) -> None:
    finish(start(FORKED, tmp_path / "kernels"))
