"""The native function that hands programs to a driver, on a driver of Python functions: what it asks for."""

import ctypes
import threading

import pytest

from toonygrad.runtime.cuda_launch import FUNCTIONS, Program, native_runner
from toonygrad.runtime.driver import UNALIGNED, Call

_SET_CURRENT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64)
_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int64,
    *[ctypes.c_uint32] * 7,
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)
_CLEAR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_uint8, ctypes.c_int64, ctypes.c_int64)


class Recorder:
    """A driver's functions, which note what they are called with.

    Attributes
    ----------
    calls : name and arguments of each
    fails : kernels that can't be launched
    counts : how many arguments each kernel takes
    """

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.fails: set[int] = set()
        self.counts: dict[int, int] = {}
        self._functions = (_SET_CURRENT(self._set), _LAUNCH(self._launch), _CLEAR(self._clear))
        addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in self._functions]
        self.runner = native_runner(dict(zip(FUNCTIONS, addresses, strict=True)))

    def _set(self, context: int) -> int:
        self.calls.append(("use", context))
        return 0

    def _launch(self, kernel: int, *rest: int) -> int:
        *sides, shared, stream, places, extra = rest
        assert not shared and not extra
        values = [ctypes.c_int64.from_address(places[k]).value for k in range(self.counts[kernel])]
        self.calls.append((kernel, tuple(sides), stream, values))
        return 2 if kernel in self.fails else 0

    def _clear(self, address: int, byte: int, nbytes: int, stream: int) -> int:
        self.calls.append(("clear", address, byte, nbytes, stream))
        return 0

    def program(self, values: int, calls: list[Call], alignments: dict[int, bool] | None = None) -> Program:
        self.counts |= {call.kernel: len(call.arguments) for call in calls if call.kernel}
        return Program(self.runner, 77, 88, values, calls, alignments or {})


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_arguments_are_values_given_and_constants(recorder):
    program = recorder.program(
        3,
        [
            Call(11, (4, 2, 1), (32, 8, 1), ((1, 0), (3, 16), (0, -5), (0, 1 << 40))),
            Call(None, (24, 1, 1), (1, 1, 1), ((2, 8),)),
            Call(12, (1, 1, 1), (1, 1, 1), ()),
        ],
    )
    assert program.run(1000, 2000, 1 << 46) == 0
    assert recorder.calls == [
        ("use", 77),
        (11, (4, 2, 1, 32, 8, 1), 88, [1000, (1 << 46) + 16, -5, 1 << 40]),
        ("clear", 2008, 0, 24, 88),
        (12, (1, 1, 1, 1, 1, 1), 88, []),
    ]


def test_nothing_is_launched_on_memory_aligned_in_another_way(recorder):
    calls = [Call(11, (1, 1, 1), (32, 1, 1), ((1, 0), (2, 0)))]
    aligned, unaligned = (
        recorder.program(2, calls, {1: False}),
        recorder.program(2, calls, {1: True, 2: False}),
    )
    assert aligned.run(1008, 3) == 1008 % 16 == 0
    assert unaligned.run(1004, 16) == 0
    before = list(recorder.calls)
    assert aligned.run(1004, 3) == unaligned.run(1008, 16) == unaligned.run(1004, 4) == UNALIGNED
    assert recorder.calls == before


def test_after_an_error_nothing_more_is_launched(recorder):
    recorder.fails.add(12)
    program = recorder.program(0, [Call(kernel, (1, 1, 1), (1, 1, 1), ()) for kernel in (11, 12, 13)])
    assert program.run() == 2
    assert [call[0] for call in recorder.calls] == ["use", 11, 12]


def test_another_number_of_values_launches_nothing(recorder):
    program = recorder.program(2, [Call(11, (1, 1, 1), (1, 1, 1), ((1, 0),))])
    assert program.run(1) == program.run(1, 2, 3) == -2
    with pytest.raises(TypeError):
        program.run(1, "two")
    with pytest.raises(OverflowError):
        program.run(1, 1 << 63)
    assert not recorder.calls


def test_threads_run_one_program_at_once(recorder):
    program = recorder.program(1, [Call(11, (1, 1, 1), (1, 1, 1), ((1, k),)) for k in range(20)])

    def work(first: int) -> None:
        for k in range(50):
            assert program.run(first + 1000 * k) == 0

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    launched = sorted(call[3][0] for call in recorder.calls if call[0] == 11)
    assert launched == sorted(
        100 * number + 1000 * k + added for number in range(4) for k in range(50) for added in range(20)
    )
