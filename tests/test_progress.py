"""The line on the terminal while kernels compile: when it shows, and that nothing of it is left."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from toonygrad.runtime import progress

# Kernels that take long, but compile at once: what is tested is the waiting.
SLOW = """
import sys, time
from test_compile import kernel_source, pointers
from toonygrad.runtime import cache, progress

progress.SILENT, progress.PAUSE, progress.TICK = 30, 0.1, 0.05
compile_at_once = cache.compile_kernel

def compile_slowly(*kernel):
    time.sleep(seconds)
    return compile_at_once(*kernel)

def obtain(name):
    parameters = pointers(o="f8")
    return cache.obtain_kernel(kernel_source(name, parameters, "o[lo] = 1.0"), name, parameters)

seconds = 0
obtain("first")  # imports Numba, which may take a while
progress.SILENT = 0.3
time.sleep(0.1)
cache.compile_kernel = compile_slowly
"""
ONE = SLOW + "seconds = 0.8; obtain('second')"
SEVERAL = SLOW + "progress.PAUSE = 30; seconds = 0.2\nfor k in range(5): obtain(f'kernel_{k}')"
QUICK = SLOW + "progress.SILENT = 30; seconds = 0.2; obtain('second')"


class Session:
    """A script whose stderr is a terminal."""

    def __init__(self, script: str, folder: Path, columns: int = 80, **variables: str) -> None:
        self.master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        python_path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
        variables |= {"TOONYGRAD_CACHE_DIR": str(folder / "kernels"), "PYTHONPATH": python_path}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
        )
        os.close(terminal)
        self.written = ""

    def read_until(self, enough: Callable[[str], bool]) -> None:
        while not enough(self.written):
            try:
                more = os.read(self.master, 4096)
            except OSError:  # Linux's word for a terminal that nobody has open any more
                more = b""
            if not more:
                return
            self.written += more.decode()

    def finish(self) -> str:
        """What the script wrote to its terminal."""
        self.read_until(lambda written: False)
        os.close(self.master)
        self.process.communicate(timeout=60)
        return self.written


def screen(written: str) -> list[str]:
    """The lines that are left to see."""
    lines, column = [""], 0
    for sign in written:
        if sign == "\b":
            column = max(column - 1, 0)
        elif sign == "\r":
            column = 0
        elif sign == "\n":
            lines.append("")
        else:
            lines[-1] = lines[-1][:column].ljust(column) + sign + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_a_long_wait_shows_and_leaves_nothing(tmp_path: Path) -> None:
    written = Session(ONE, tmp_path).finish()
    assert "toonygrad: compiling kernel 1, 0 s" in written
    assert screen(written) == [""]


def test_kernels_of_one_wait_are_counted(tmp_path: Path) -> None:
    written = Session(SEVERAL, tmp_path).finish()
    assert "compiling kernel 5, " in written and "compiling kernel 6, " in written  # with the first
    assert screen(written) == [""]


def test_what_the_program_wrote_before_on_that_line_stays(tmp_path: Path) -> None:
    begun = "sys.stderr.write('computing: '); sys.stderr.flush(); "
    written = Session(SLOW + begun + ONE.removeprefix(SLOW) + "; sys.stderr.write('done')", tmp_path).finish()
    assert "compiling kernel 1" in written
    assert screen(written) == ["computing: done"]


def test_short_waits_show_nothing(tmp_path: Path) -> None:
    assert Session(QUICK, tmp_path).finish() == ""


def test_kernels_some_time_apart_are_waits_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    wait = progress._Wait()
    for between, said in ((0.0, ""), (0.2, "kernel 1, 2 s"), (0.3, ""), (0.1, "kernel 1, 2 s")):
        now += between
        wait.begin()
        now += 0.8
        assert wait.text().endswith(said) and bool(wait.text()) == bool(said)
        wait.end()


@pytest.mark.parametrize("off", ["variable", "setting"])
def test_switched_off(off: str, tmp_path: Path) -> None:
    if off == "variable":
        assert Session(ONE, tmp_path, TOONYGRAD_PROGRESS="0").finish() == ""
    else:
        setting = "from toonygrad.config import settings; settings.progress = False\n"
        assert Session(setting + ONE, tmp_path).finish() == ""


def test_a_terminal_too_narrow_gets_nothing(tmp_path: Path) -> None:
    assert Session(ONE, tmp_path, columns=20).finish() == ""


def test_other_threads_say_nothing(tmp_path: Path) -> None:
    in_thread = "import threading; seconds = 0.8; t = threading.Thread(target=obtain, args=('second',))"
    assert Session(SLOW + in_thread + "; t.start(); t.join()", tmp_path).finish() == ""


def test_what_is_no_terminal_gets_nothing(tmp_path: Path) -> None:
    python_path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = {**os.environ, "TOONYGRAD_CACHE_DIR": str(tmp_path), "PYTHONPATH": python_path}
    for script in (ONE, "import sys; sys.stderr.close()\n" + ONE, "import sys; sys.stderr = None\n" + ONE):
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_interrupt_takes_the_line_away(tmp_path: Path) -> None:
    script = (
        SLOW
        + """
seconds = 2
try:
    obtain("second")
except KeyboardInterrupt:
    sys.stderr.write("interrupted")
    start = time.monotonic()
obtain("second")
print("waited on" if time.monotonic() - start > 0.1 else "was there")
"""
    )
    session = Session(script, tmp_path)
    session.read_until(lambda written: "compiling" in written)
    session.process.send_signal(signal.SIGINT)
    session.read_until(lambda written: "interrupted" in written)
    # A slow reader has seen more by now: the next wait for the same kernel may show.
    until, word, _ = session.written.partition("interrupted")
    assert screen(until + word) == ["interrupted"]
    assert screen(session.finish()) == ["interrupted"]
    assert session.process.returncode == 0


def test_errors_come_through_and_take_the_line_away(tmp_path: Path) -> None:
    failing = """
def compile_slowly(*kernel):
    time.sleep(0.8)
    raise TimeoutError("of its own")
cache.compile_kernel = compile_slowly
try:
    obtain("second")
except TimeoutError as error:
    sys.stderr.write(str(error))
"""
    written = Session(SLOW + failing, tmp_path).finish()
    assert "compiling" in written
    assert screen(written) == ["of its own"]


def test_a_terminal_that_hangs_up_disturbs_nothing(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + SLOW
    script += "seconds = 1; obtain('second'); print('alive'); sys.stderr = None"
    session = Session(script, tmp_path)
    session.read_until(lambda written: "compiling" in written)
    os.close(session.master)
    assert session.process.communicate(timeout=60)[0] == "alive\n"
