"""The native function that hands programs to a driver, on a driver of Python functions: what it asks for."""

import ctypes
import os
import threading
from collections.abc import Callable

import pytest

from toonygrad.runtime import cuda_graph
from toonygrad.runtime.cuda_launch import CALLS_BEFORE_GRAPH, FUNCTIONS, Program, native_runner
from toonygrad.runtime.driver import FORKED, REPEATED, UNALIGNED, Call

Word, Short = ctypes.c_int64, ctypes.c_uint32


def _read(address: int, kind: type, place: int) -> int:
    """The integer so many bytes behind an address."""
    return kind.from_address(address + place).value  # type: ignore[attr-defined]  # every ctypes type has it


class Recorder:
    """A driver's functions, which note what they are called with.

    Attributes
    ----------
    calls : name and arguments of each
    fails : kernels that can't be launched, and names of functions that fail
    counts : how many arguments each kernel takes
    nodes : of the graph, what each is to do
    launched : for each launch of a graph what its nodes were to do
    """

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.fails: set[int | str] = set()
        self.counts: dict[int, int] = {}
        self.nodes: dict[int, tuple] = {}
        self.launched: list[list[tuple]] = []
        self.waits = lambda: None
        signatures = {
            "cuCtxSetCurrent": (self._set, [Word]),
            "cuLaunchKernel": (self._launch, [Word, *[Short] * 7, Word, Word, Word]),
            "cuMemsetD8Async": (self._clear, [Word, ctypes.c_uint8, Word, Word]),
            "cuGraphExecKernelNodeSetParams_v2": (self._tell_kernel, [Word, Word, Word]),
            "cuGraphExecMemsetNodeSetParams": (self._tell_memset, [Word, Word, Word, Word]),
            "cuGraphLaunch": (self._launch_graph, [Word, Word]),
            "cuGraphCreate": (self._create, [Word, Short]),
            "cuGraphAddKernelNode_v2": (self._add_kernel, [Word, Word, Word, Word, Word]),
            "cuGraphAddMemsetNode": (self._add_memset, [Word, Word, Word, Word, Word, Word]),
            "cuGraphInstantiateWithFlags": (self._instantiate, [Word, Word, ctypes.c_uint64]),
            "cuGraphExecDestroy": (self._destroy_exec, [Word]),
            "cuGraphDestroy": (self._destroy, [Word]),
        }
        assert tuple(signatures) == FUNCTIONS
        self._held = [
            ctypes.CFUNCTYPE(ctypes.c_int, *types)(self._named(name, function))
            for name, (function, types) in signatures.items()
        ]
        addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in self._held]
        self.functions = dict(zip(FUNCTIONS, addresses, strict=True))
        self.runner = native_runner(self.functions)

    def _named(self, name: str, function: Callable[..., None]) -> Callable[..., int]:
        def called(*arguments: int) -> int:
            if name in self.fails:
                return 700
            function(*arguments)
            return 2 if arguments[0] in self.fails else 0

        return called

    def _arguments(self, kernel: int, places: int) -> list[int]:
        return [_read(_read(places, Word, 8 * k), Word, 0) for k in range(self.counts[kernel])]

    def _set(self, context: int) -> None:
        self.calls.append(("use", context))

    def _launch(self, kernel: int, *rest: int) -> None:
        *sides, shared, stream, places, extra = rest
        assert not shared and not extra
        self.calls.append((kernel, tuple(sides), stream, self._arguments(kernel, places)))

    def _clear(self, address: int, byte: int, nbytes: int, stream: int) -> None:
        self.calls.append(("clear", address, byte, nbytes, stream))

    def _kernel(self, node: int, parameters: int) -> None:
        sides = tuple(_read(parameters, Short, 8 + 4 * k) for k in range(6))
        shared, extra, kernel, context = (
            _read(parameters, kind, at) for kind, at in ((Short, 32), (Word, 48), (Word, 56), (Word, 64))
        )
        assert not (shared or extra or kernel or context)
        kernel = _read(parameters, Word, 0)
        self.nodes[node] = kernel, sides, self._arguments(kernel, _read(parameters, Word, 40))

    def _memset(self, node: int, parameters: int, context: int) -> None:
        address, width, height = (_read(parameters, Word, at) for at in (0, 24, 32))
        assert (_read(parameters, Short, 16), _read(parameters, Short, 20), height, context) == (0, 1, 1, 77)
        self.nodes[node] = "clear", address, width

    def _tell_kernel(self, graph: int, node: int, parameters: int) -> None:
        self.calls.append(("tell", node))
        self._kernel(node, parameters)

    def _tell_memset(self, graph: int, node: int, parameters: int, context: int) -> None:
        self.calls.append(("tell", node))
        self._memset(node, parameters, context)

    def _launch_graph(self, graph: int, stream: int) -> None:
        assert (graph, stream) == (500, 88)
        self.launched.append(list(self.nodes.values()))
        self.waits()

    def _create(self, graph: int, flags: int) -> None:
        Word.from_address(graph).value = 400

    def _placed(self, node: int, graph: int, before: int, count: int) -> int:
        number = 600 + len(self.nodes)
        assert graph == 400 and count == (number > 600)
        assert not count or _read(before, Word, 0) == number - 1
        Word.from_address(node).value = number
        return number

    def _add_kernel(self, node: int, graph: int, before: int, count: int, parameters: int) -> None:
        self._kernel(self._placed(node, graph, before, count), parameters)

    def _add_memset(
        self, node: int, graph: int, before: int, count: int, parameters: int, context: int
    ) -> None:
        self._memset(self._placed(node, graph, before, count), parameters, context)

    def _instantiate(self, exec_: int, graph: int, flags: int) -> None:
        Word.from_address(exec_).value = 500

    def _destroy_exec(self, graph: int) -> None:
        self.calls.append(("destroy", graph))

    def _destroy(self, graph: int) -> None:
        self.calls.append(("destroy", graph))

    def program(self, values: int, calls: list[Call], alignments: dict[int, bool] | None = None) -> Program:
        self.counts |= {call.kernel: len(call.arguments) for call in calls if call.kernel}
        return Program(self.functions, self.runner, 77, 88, values, calls, alignments or {})


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
            assert program.run(first + 1000 * k) in (0, REPEATED)

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    launched = sorted(call[3][0] for call in recorder.calls if call[0] == 11)
    assert launched == sorted(
        100 * number + 1000 * k + added for number in range(4) for k in range(50) for added in range(20)
    )


def test_in_a_forked_child_nothing_is_launched(recorder):
    program = recorder.program(1, [Call(11, (1, 1, 1), (1, 1, 1), ((1, 0),))])
    child = os.fork()
    if not child:
        os._exit(0 if program.run(1) == FORKED and not recorder.calls else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert program.run(1) == 0


# -- graphs --------------------------------------------------------------------------------------------------

CALLS = [
    Call(11, (4, 2, 1), (32, 8, 1), ((1, 0), (2, 16), (0, -5))),
    Call(None, (24, 1, 1), (1, 1, 1), ((2, 8),)),
    Call(12, (1, 1, 1), (64, 1, 1), ((3, 0),)),
]


def repeated(recorder: Recorder) -> Program:
    """CALLS after so many runs that they are a graph."""
    program = recorder.program(3, CALLS)
    for left in reversed(range(-(-CALLS_BEFORE_GRAPH // len(CALLS)))):
        status = program.run(1, 2, 3)
        assert status == (0 if left else REPEATED)
    program.repeat(1, 2, 3)
    recorder.calls.clear()
    return program


def test_what_is_repeated_is_launched_as_a_graph(recorder):
    program = repeated(recorder)
    assert program.run(1, 2, 3) == 0
    same = [(11, (4, 2, 1, 32, 8, 1), [1, 18, -5]), ("clear", 10, 24), (12, (1, 1, 1, 64, 1, 1), [3])]
    assert recorder.launched == [same]
    assert recorder.calls == [("use", 77)]


def test_nodes_are_told_what_has_changed(recorder):
    program = repeated(recorder)
    assert program.run(1, 2, 9) == program.run(1, 7, 9) == program.run(1, 7, 9) == 0
    told = [(11, (4, 2, 1, 32, 8, 1), [1, 23, -5]), ("clear", 15, 24), (12, (1, 1, 1, 64, 1, 1), [9])]
    assert recorder.launched[1:] == [told, told]
    use = ("use", 77)
    assert recorder.calls == [use, ("tell", 602), use, ("tell", 600), ("tell", 601), use]


def test_a_second_thread_launches_kernel_by_kernel_meanwhile(recorder):
    program = repeated(recorder)
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        leave.wait(10)

    recorder.waits = wait
    first = threading.Thread(target=lambda: program.run(1, 2, 3))
    first.start()
    assert inside.wait(10)
    assert program.run(4, 5, 6) == 0
    leave.set()
    first.join()
    assert len(recorder.launched) == 1
    assert [call[0] for call in recorder.calls] == ["use", "use", 11, "clear", 12]
    assert program.run(1, 2, 3) == 0
    assert len(recorder.launched) == 2


@pytest.mark.parametrize("name", ["cuGraphExecKernelNodeSetParams_v2", "cuGraphExecMemsetNodeSetParams"])
def test_a_graph_that_can_not_be_told_is_given_up(recorder, name):
    program = repeated(recorder)
    recorder.fails.add(name)
    for _ in range(2):
        recorder.calls.clear()
        assert program.run(1, 7, 3) == 0
        assert [call[0] for call in recorder.calls if call[0] != "tell"] == ["use", 11, "clear", 12]
    assert not recorder.launched


def test_without_a_graph_it_goes_on_kernel_by_kernel(recorder):
    for name in ("cuGraphCreate", "cuGraphAddKernelNode_v2", "cuGraphAddMemsetNode"):
        recorder.nodes.clear()
        recorder.fails = {name}
        program = repeated(recorder)
        assert program.run(1, 2, 3) == 0
        assert [call[0] for call in recorder.calls if call[0] != "destroy"] == ["use", 11, "clear", 12]
    assert not recorder.launched


def test_there_are_only_so_many_graphs(recorder, monkeypatch):
    first = repeated(recorder)
    recorder.nodes.clear()
    monkeypatch.setattr(cuda_graph, "MOST_GRAPHS", len(cuda_graph._alive))
    second = repeated(recorder)
    assert not recorder.nodes and second.run(1, 2, 3) == 0
    assert [call[0] for call in recorder.calls] == ["use", 11, "clear", 12]
    del first
    repeated(recorder)
    assert len(recorder.nodes) == len(CALLS)


def test_a_graph_that_fails_says_so(recorder):
    program = repeated(recorder)
    recorder.fails.add("cuGraphLaunch")
    assert program.run(1, 2, 3) == program.run(1, 2, 3) == 700


def test_a_graph_goes_with_its_program(recorder):
    program = repeated(recorder)
    del program
    assert recorder.calls == [("destroy", 500), ("destroy", 400)]
