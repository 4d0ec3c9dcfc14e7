"""Several launches in one call: a native function that fills in the arguments of kernels and hands them to
the driver, written in LLVM IR and compiled once a process.

The driver (runtime/cuda.py) makes one for its own functions and gives plans what calls it. A launch through
Python takes longer than the driver itself does; here the driver's time is nearly all there is. What is run
again and again becomes a graph of the driver's, which one call launches, once the nodes whose arguments have
changed have been told. What a call needs beside its program lies on its stack, so that any number of threads
may run one at once; only one of them has the graph, and the others launch kernel by kernel.

A program is an array of int64:

    context, stream, values given, alignments, most arguments of a call, calls, its graph, runs before one;
    for each alignment: a given value, 1 where it is no multiple of VECTOR_BYTES and 0 where it is;
    for each call: function, 3 sides of the grid, 3 of a block, arguments;
        for each argument: a given value, and what is added to it.

Value 0 is zero, so constants are what is added to it. A call without a function writes zeros: its grid's
first side is how many bytes, its only argument the address. A graph is another such array:

    1 while a thread has it, the driver's graph;
    for each call: its node, and the arguments that the node has.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import Template

import llvmlite.binding as llvm

from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.runtime.cuda_graph import Graph
from toonygrad.runtime.driver import FORKED, REPEATED, UNALIGNED, Call

# The driver's functions that programs call.
FUNCTIONS = (
    "cuCtxSetCurrent",
    "cuLaunchKernel",
    "cuMemsetD8Async",
    "cuGraphExecKernelNodeSetParams_v2",
    "cuGraphExecMemsetNodeSetParams",
    "cuGraphLaunch",
    "cuGraphCreate",
    "cuGraphAddKernelNode_v2",
    "cuGraphAddMemsetNode",
    "cuGraphInstantiateWithFlags",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
)

# A program is made a graph once it has made this many calls: by then they have cost about what that costs,
# and each call more saves a microsecond or two. (H100: a launch 3.7 us, a graph of any length 2.9 and 1.4 for
# each node whose arguments change, made in 60 and 11 for each node.)
CALLS_BEFORE_GRAPH = 32

_PYTHON_SYMBOLS = (
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
    "PyErr_Occurred",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)

_METH_FASTCALL = 0x0080

_IR = Template(r"""
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyErr_Occurred()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

; ---- the arguments of a call: given values and what is added to them ----
define internal void @fill(ptr %arguments, i64 %count, ptr %given, ptr %values) {
  br label %filling
filling:
  %k = phi i64 [ 0, %0 ], [ %k.next, %fill ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %fill, label %done
fill:
  %twice = mul i64 %k, 2
  %odd = add i64 %twice, 1
  %source = call i64 @at(ptr %arguments, i64 %twice)
  %added = call i64 @at(ptr %arguments, i64 %odd)
  %base = call i64 @at(ptr %given, i64 %source)
  %sum = add i64 %base, %added
  %slot = getelementptr i64, ptr %values, i64 %k
  store i64 %sum, ptr %slot
  %k.next = add i64 %k, 1
  br label %filling
done:
  ret void
}

; ---- whether the arguments of a call aren't those of before, which they become ----
define internal i1 @changed(ptr %before, i64 %count, ptr %values) {
  br label %comparing
comparing:
  %k = phi i64 [ 0, %0 ], [ %k.next, %compare ]
  %so.far = phi i1 [ false, %0 ], [ %other, %compare ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %compare, label %done
compare:
  %new = call i64 @at(ptr %values, i64 %k)
  %place = getelementptr i64, ptr %before, i64 %k
  %old = load i64, ptr %place
  store i64 %new, ptr %place
  %differs = icmp ne i64 %new, %old
  %other = or i1 %so.far, %differs
  %k.next = add i64 %k, 1
  br label %comparing
done:
  ret i1 %so.far
}

; ---- one call, by itself ----
define internal i32 @launch(ptr %head, i64 %stream, ptr %values, ptr %places) {
  %function = call i64 @at(ptr %head, i64 0)
  %gx = call i64 @at(ptr %head, i64 1)
  %clears = icmp eq i64 %function, 0
  br i1 %clears, label %clear, label %kernel
clear:
  %target = load i64, ptr %values
  %cleared = call i32 $cuMemsetD8Async(i64 %target, i8 0, i64 %gx, i64 %stream)
  ret i32 %cleared
kernel:
  %gy = call i64 @at(ptr %head, i64 2)
  %gz = call i64 @at(ptr %head, i64 3)
  %bx = call i64 @at(ptr %head, i64 4)
  %by = call i64 @at(ptr %head, i64 5)
  %bz = call i64 @at(ptr %head, i64 6)
  %gx4 = trunc i64 %gx to i32
  %gy4 = trunc i64 %gy to i32
  %gz4 = trunc i64 %gz to i32
  %bx4 = trunc i64 %bx to i32
  %by4 = trunc i64 %by to i32
  %bz4 = trunc i64 %bz to i32
  %launched = call i32 $cuLaunchKernel(i64 %function, i32 %gx4, i32 %gy4, i32 %gz4,
                                       i32 %bx4, i32 %by4, i32 %bz4,
                                       i32 0, i64 %stream, ptr %places, ptr null)
  ret i32 %launched
}

; ---- tell a node its arguments. %room is for what the driver calls its parameters ----
define internal i32 @tell(ptr %head, i64 %graph, i64 %node, i64 %context,
                          ptr %values, ptr %places, ptr %room) {
  %function = call i64 @at(ptr %head, i64 0)
  %gx = call i64 @at(ptr %head, i64 1)
  %clears = icmp eq i64 %function, 0
  br i1 %clears, label %clear, label %kernel
clear:  ; address, pitch, value and size of an element (4 bytes each), width, height
  %target = load i64, ptr %values
  %m = getelementptr i64, ptr %room, i64 1
  %m2 = getelementptr i64, ptr %room, i64 2
  %m3 = getelementptr i64, ptr %room, i64 3
  %m4 = getelementptr i64, ptr %room, i64 4
  store i64 %target, ptr %room
  store i64 0, ptr %m
  store i64 4294967296, ptr %m2
  store i64 %gx, ptr %m3
  store i64 1, ptr %m4
  %cleared = call i32 $cuGraphExecMemsetNodeSetParams(i64 %graph, i64 %node, ptr %room, i64 %context)
  ret i32 %cleared
kernel:  ; function, seven sides (4 bytes each), arguments, more arguments, kernel, context
  store i64 %function, ptr %room
  br label %siding
siding:
  %k = phi i64 [ 1, %kernel ], [ %k.next, %siding ]
  %side = call i64 @at(ptr %head, i64 %k)
  %short = trunc i64 %side to i32
  %k.place = add i64 %k, 1
  %side.at = getelementptr i32, ptr %room, i64 %k.place
  store i32 %short, ptr %side.at
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, 7
  br i1 %k.more, label %siding, label %rest
rest:
  %shared.at = getelementptr i32, ptr %room, i64 8
  store i64 0, ptr %shared.at
  %arguments.at = getelementptr i64, ptr %room, i64 5
  store ptr %places, ptr %arguments.at
  %extra.at = getelementptr i64, ptr %room, i64 6
  store i64 0, ptr %extra.at
  %kernel.at = getelementptr i64, ptr %room, i64 7
  store i64 0, ptr %kernel.at
  %context.at = getelementptr i64, ptr %room, i64 8
  store i64 0, ptr %context.at
  %told = call i32 $cuGraphExecKernelNodeSetParams_v2(i64 %graph, i64 %node, ptr %room)
  ret i32 %told
}

; ---- run a program on the values given: what the driver says, $UNALIGNED, or $REPEATED ----
define internal i64 @run(ptr %program, ptr %given) {
  %context = call i64 @at(ptr %program, i64 0)
  %stream = call i64 @at(ptr %program, i64 1)
  %alignments = call i64 @at(ptr %program, i64 3)
  %most = call i64 @at(ptr %program, i64 4)
  %calls = call i64 @at(ptr %program, i64 5)
  %values = alloca i64, i64 %most
  %places = alloca ptr, i64 %most
  %room = alloca i64, i64 9
  br label %aligning
aligning:
  %a = phi i64 [ 0, %0 ], [ %a.next, %look ]
  %a.more = icmp slt i64 %a, %alignments
  br i1 %a.more, label %look, label %placing
look:
  %a.twice = mul i64 %a, 2
  %a.which = add i64 %a.twice, $HEAD
  %a.how = add i64 %a.which, 1
  %which = call i64 @at(ptr %program, i64 %a.which)
  %how = call i64 @at(ptr %program, i64 %a.how)
  %address = call i64 @at(ptr %given, i64 %which)
  %rest = and i64 %address, $REST
  %bent = icmp ne i64 %rest, 0
  %is = zext i1 %bent to i64
  %same = icmp eq i64 %is, %how
  %a.next = add i64 %a, 1
  br i1 %same, label %aligning, label %unaligned
unaligned:
  ret i64 $UNALIGNED
placing:
  %p = phi i64 [ 0, %aligning ], [ %p.next, %placing ]
  %place = getelementptr ptr, ptr %places, i64 %p
  %value.at = getelementptr i64, ptr %values, i64 %p
  store ptr %value.at, ptr %place
  %p.next = add i64 %p, 1
  %p.more = icmp slt i64 %p.next, %most
  br i1 %p.more, label %placing, label %enter
enter:
  %set = call i32 $cuCtxSetCurrent(i64 %context)
  %set.failed = icmp ne i32 %set, 0
  %a.words = mul i64 %alignments, 2
  %begin = add i64 %a.words, $HEAD
  br i1 %set.failed, label %failed, label %entered
entered:
  %graph.at = getelementptr i64, ptr %program, i64 6
  %graph = load atomic ptr, ptr %graph.at acquire, align 8
  %has = icmp ne ptr %graph, null
  br i1 %has, label %claim, label %calling
claim:
  %taken = cmpxchg ptr %graph, i64 0, i64 1 acquire monotonic
  %own = extractvalue { i64, i1 } %taken, 1
  br i1 %own, label %begin.graph, label %calling

begin.graph:
  %exec = call i64 @at(ptr %graph, i64 1)
  br label %telling
telling:
  %t = phi i64 [ 0, %begin.graph ], [ %t.next, %told ]
  %t.at = phi i64 [ %begin, %begin.graph ], [ %t.at.next, %told ]
  %n.at = phi i64 [ 2, %begin.graph ], [ %n.at.next, %told ]
  %t.more = icmp slt i64 %t, %calls
  br i1 %t.more, label %hear, label %replay
hear:
  %t.head = getelementptr i64, ptr %program, i64 %t.at
  %t.count = call i64 @at(ptr %t.head, i64 7)
  %t.arguments = getelementptr i64, ptr %t.head, i64 8
  call void @fill(ptr %t.arguments, i64 %t.count, ptr %given, ptr %values)
  %node = call i64 @at(ptr %graph, i64 %n.at)
  %b.at = add i64 %n.at, 1
  %before = getelementptr i64, ptr %graph, i64 %b.at
  %new = call i1 @changed(ptr %before, i64 %t.count, ptr %values)
  br i1 %new, label %tell, label %told
tell:
  %heard = call i32 @tell(ptr %t.head, i64 %exec, i64 %node, i64 %context,
                          ptr %values, ptr %places, ptr %room)
  %deaf = icmp ne i32 %heard, 0
  br i1 %deaf, label %abandon, label %told
told:
  %t.next = add i64 %t, 1
  %t.words = mul i64 %t.count, 2
  %t.length = add i64 %t.words, 8
  %t.at.next = add i64 %t.at, %t.length
  %n.at.next = add i64 %b.at, %t.count
  br label %telling
abandon:  ; nothing has been launched yet: from now on kernel by kernel
  store atomic i64 0, ptr %graph.at release, align 8
  br label %calling
replay:
  %replayed = call i32 $cuGraphLaunch(i64 %exec, i64 %stream)
  store atomic i64 0, ptr %graph release, align 8
  %replayed.long = sext i32 %replayed to i64
  ret i64 %replayed.long

calling:
  %c = phi i64 [ 0, %entered ], [ 0, %claim ], [ 0, %abandon ], [ %c.next, %one ]
  %at = phi i64 [ %begin, %entered ], [ %begin, %claim ], [ %begin, %abandon ], [ %at.next, %one ]
  %wrong = phi i32 [ 0, %entered ], [ 0, %claim ], [ 0, %abandon ], [ %answer, %one ]
  %c.wrong = icmp ne i32 %wrong, 0
  br i1 %c.wrong, label %failed, label %next
next:
  %c.more = icmp slt i64 %c, %calls
  br i1 %c.more, label %one, label %done
one:
  %head = getelementptr i64, ptr %program, i64 %at
  %count = call i64 @at(ptr %head, i64 7)
  %arguments = getelementptr i64, ptr %head, i64 8
  call void @fill(ptr %arguments, i64 %count, ptr %given, ptr %values)
  %answer = call i32 @launch(ptr %head, i64 %stream, ptr %values, ptr %places)
  %c.next = add i64 %c, 1
  %words = mul i64 %count, 2
  %length = add i64 %words, 8
  %at.next = add i64 %at, %length
  br label %calling
failed:
  %status = phi i32 [ %set, %enter ], [ %wrong, %calling ]
  %said = sext i32 %status to i64
  ret i64 %said
done:
  %runs.at = getelementptr i64, ptr %program, i64 7
  %runs = load atomic i64, ptr %runs.at monotonic, align 8
  %fewer = sub i64 %runs, 1
  store atomic i64 %fewer, ptr %runs.at monotonic, align 8
  %often = icmp eq i64 %fewer, 0
  %result = select i1 %often, i64 $REPEATED, i64 0
  ret i64 %result
}

; ---- the same as a Python function: (address of a program, each value given) -> status, all ints ----
; uwtable: before CPython 3.14 a daemon thread that comes back to a finished interpreter has its stack
; unwound.
define ptr @call(ptr %self, ptr %objects, i64 %count) uwtable {
  %given = alloca i64, i64 %count
  br label %converting
converting:
  %k = phi i64 [ 0, %0 ], [ %k.next, %converting ]
  %object.at = getelementptr ptr, ptr %objects, i64 %k
  %object = load ptr, ptr %object.at
  %number = call i64 @PyLong_AsLongLong(ptr %object)
  %given.at = getelementptr i64, ptr %given, i64 %k
  store i64 %number, ptr %given.at
  %k.next = add i64 %k, 1
  %more = icmp slt i64 %k.next, %count
  br i1 %more, label %converting, label %converted
converted:
  %error = call ptr @PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %fail, label %check
check:
  %address = load i64, ptr %given
  store i64 0, ptr %given
  %program = inttoptr i64 %address to ptr
  %expected = call i64 @at(ptr %program, i64 2)
  %there = sub i64 %count, 1
  %right = icmp eq i64 %expected, %there
  br i1 %right, label %look, label %refuse
look:
  %usable = load i64, ptr @usable
  %ours = icmp ne i64 %usable, 0
  br i1 %ours, label %go, label %forked
go:
  %state = call ptr @PyEval_SaveThread()
  %status = call i64 @run(ptr %program, ptr %given)
  call void @PyEval_RestoreThread(ptr %state)
  %result = call ptr @PyLong_FromLongLong(i64 %status)
  ret ptr %result
forked:
  %child = call ptr @PyLong_FromLongLong(i64 $FORKED)
  ret ptr %child
refuse:
  %refused = call ptr @PyLong_FromLongLong(i64 $REFUSED)
  ret ptr %refused
fail:
  ret ptr null
}
@usable = global i64 1  ; 0 in a forked child, where CUDA can't work
@name = internal constant [4 x i8] c"run\00"
@method = global { ptr, ptr, i32, ptr } { ptr @name, ptr @call, i32 $METH_FASTCALL, ptr null }
""")

# Words of a program before its alignments, and which of them has its graph.
_HEAD, _GRAPH_WORD = 8, 6

# A word of an array, which the text above calls @at: written out, as no pass of LLVM is run on it.
_AT = re.compile(r"%(\S+) = call i64 @at\(ptr (\S+), i64 (\S+)\)")
_LOADED = r"%\1.at.place = getelementptr i64, ptr \2, i64 \3\n  %\1 = load i64, ptr %\1.at.place"

# What is answered where a program is given another number of values than it takes.
_REFUSED = -2


def native_runner(functions: Mapping[str, int]) -> Callable[..., int]:
    """A function that takes the address of a program and the values given, and answers the driver's status.

    Parameters
    ----------
    functions : the addresses of the driver's FUNCTIONS
    """
    for name in _PYTHON_SYMBOLS:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = _IR.substitute(
        {name: f"inttoptr (i64 {functions[name]} to ptr)" for name in FUNCTIONS},
        HEAD=_HEAD,
        UNALIGNED=UNALIGNED,
        REPEATED=REPEATED,
        FORKED=FORKED,
        REFUSED=_REFUSED,
        REST=VECTOR_BYTES - 1,
        METH_FASTCALL=_METH_FASTCALL,
    )
    module = llvm.parse_assembly(_AT.sub(_LOADED, text))
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1, jit=True)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    method = engine.get_global_value_address("method")
    usable = ctypes.c_int64.from_address(engine.get_global_value_address("usable"))
    os.register_at_fork(after_in_child=lambda: setattr(usable, "value", 0))
    engine.detach()  # a thread may be in there when the interpreter ends
    new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    return new_function(method, None, None)


class Program:
    """Calls in the words of `native_runner`, ready to be run; what `Driver.program` answers.

    Parameters
    ----------
    functions, runner : the driver's, and what was made of them
    """

    def __init__(
        self,
        functions: Mapping[str, int],
        runner: Callable[..., int],
        context: int,
        stream: int,
        values: int,
        calls: Sequence[Call],
        alignments: Mapping[int, bool],
    ) -> None:
        words = [context, stream, values, len(alignments)]
        words += [max((len(call.arguments) for call in calls), default=1), len(calls)]
        words += [0, -(-CALLS_BEFORE_GRAPH // max(len(calls), 1))]
        for value, bent in alignments.items():
            words += [value, int(bent)]
        for call in calls:
            words += [int(call.kernel or 0), *call.grid, *call.block, len(call.arguments)]
            for value, added in call.arguments:
                words += [value, added]
        self._words = array("q", words)
        self._functions, self._calls = functions, calls
        self._graph: Graph | None = None
        self._making = threading.Lock()
        #: Takes the values given, and answers a status.
        self.run = partial(runner, self._words.buffer_info()[0])

    def repeat(self, *given: int) -> None:
        """Make it a graph, which runs from now on tell what they are given; `given` to the last one.

        Without a graph it goes on as before.
        """
        with self._making:
            if self._graph is None and self._calls:
                self._graph = Graph(self._functions, self._words[0], self._calls, given)
                self._words[_GRAPH_WORD] = self._graph.address
