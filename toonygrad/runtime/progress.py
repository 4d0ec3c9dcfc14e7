"""A line on the terminal while the main thread waits long for kernels to compile.

`cache.py` waits through it. May import config only.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TextIO, TypeVar

from toonygrad.config import counters, settings

__all__ = ["result_of"]

# Seconds of waiting that need no word.
SILENT = 1.0

# A kernel asked for within so many seconds after the one before belongs to the same wait: an expression asks
# for its kernels one by one, with launches in between.
PAUSE = 0.25

# Seconds between two looks at the clock.
TICK = 0.25

Result = TypeVar("Result")


def result_of(kernel: Future[Result]) -> Result:
    """What `kernel` comes to, waited for by the main thread: it alone may call this, so nothing is locked.

    However this ends, by Ctrl-C or by an error, the line is gone by then, and the cursor where it was. What
    is no terminal gets nothing, and one that can't be written to is left alone.
    """
    if not settings.progress or not _is_terminal(sys.stderr):
        return kernel.result()
    _wait.begin()
    line = _Line(sys.stderr)
    try:
        line.show(_wait.text())
        while not wait((kernel,), TICK).done:
            line.show(_wait.text())
        return kernel.result()
    finally:
        line.show("")
        _wait.end()


class _Wait:
    """Kernels that are waited for with hardly anything in between."""

    def __init__(self) -> None:
        self._start = self._end = time.monotonic() - PAUSE
        self._compiled_before = 0

    def begin(self) -> None:
        now = time.monotonic()
        if now - self._end >= PAUSE:
            self._start, self._compiled_before = now, counters.kernels_compiled

    def end(self) -> None:
        self._end = time.monotonic()

    def text(self) -> str:
        seconds = time.monotonic() - self._start
        number = counters.kernels_compiled - self._compiled_before + 1
        return "" if seconds < SILENT else f"toonygrad: compiling kernel {number}, {seconds:.0f} s"


_wait = _Wait()


class _Line:
    """Text from where the cursor stands, so that what a program wrote before it on that line stays."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._shown = ""

    def show(self, text: str) -> None:
        """Put `text` in place of what was shown before, or take that away."""
        if text == self._shown or (text and not self._fits(text)):
            return
        before, self._shown = len(self._shown), text  # first: an interrupted write has to be taken away too
        surplus = max(before - len(text), 0)
        with suppress(OSError, ValueError):  # hung up, or closed in the meantime
            self._terminal.write("\b" * before + text + " " * surplus + "\b" * surplus)
            self._terminal.flush()

    def _fits(self, text: str) -> bool:
        """Whether `text` takes one line: more can't be taken away again."""
        with suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._terminal.fileno()).columns
            return not 0 < columns <= len(text)  # 0: the terminal doesn't tell
        return False


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # a replacement that doesn't say, or closed
        return False
