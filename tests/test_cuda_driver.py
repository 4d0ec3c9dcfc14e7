"""The driver of NVIDIA's GPUs on functions that only pretend: what it asks for, and in what order.

What a real one answers is seen where there is a GPU.
"""

import ctypes
import enum
import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toonygrad import placement
from toonygrad.codegen.cpu import Parameter
from toonygrad.config import counters_snapshot
from toonygrad.runtime import device as devices
from toonygrad.runtime.driver import DeviceMemoryError, DeviceUnavailable


class Result(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


class Flag(enum.Enum):
    CU_STREAM_NON_BLOCKING = 1
    CU_EVENT_DISABLE_TIMING = 2
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76
    CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9
    CU_MEM_LOCATION_TYPE_DEVICE = 1
    CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3


class Pretending(ModuleType):
    """cuda.bindings.driver with memory on the host; copies happen when somebody waits for them."""

    CUresult = Result
    CUmemLocationType = CUmemAccess_flags = Flag
    CUstream_flags = CUevent_flags = CUdevice_attribute = CUpointer_attribute = Flag
    CU_MEMHOSTALLOC_PORTABLE = 1
    CUstream = int

    def __init__(self) -> None:
        super().__init__("cuda.bindings.driver")
        self.calls: list[tuple[str, tuple]] = []
        self.memory: dict[int, Any] = {}
        self.status = Result.CUDA_SUCCESS
        self.init, self.version = Result.CUDA_SUCCESS, 13000
        self.reachable = 1
        self.pending: list[tuple[int, int, int]] = []
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple:
            self.calls.append((name, arguments))
            answers = {
                "cuDriverGetVersion": (self.version,),
                "cuDeviceGetCount": (1,),
                "cuDeviceGet": arguments[:1],
                "cuDevicePrimaryCtxRetain": (f"context {arguments[:1]}",),
                "cuDeviceCanAccessPeer": (self.reachable,),
                "cuDeviceGetDefaultMemPool": (f"pool {arguments[:1]}",),
                "cuStreamCreate": (4711,),
                "cuEventCreate": (len(self.calls),),
                "cuMemGetInfo": (1000, 2000),
                "cuModuleLoadData": ("module",),
                "cuModuleGetFunction": ("function",),
                "cuPointerGetAttribute": (0,),
                "cuGetErrorString": (b"words",),
            }
            return (self.status, *answers.get(name, ())) if name != "cuGetErrorString" else (0, b"words")

        return call

    def CUmemAccessDesc(self) -> SimpleNamespace:
        return SimpleNamespace(location=SimpleNamespace())

    def cuInit(self, flags: int) -> tuple:
        return (self.init,)

    def cuDeviceGetAttribute(self, which: Flag, device: int) -> tuple:
        return (0, 9 if which is Flag.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR else 0)

    def _allocated(self, nbytes: int) -> tuple:
        if self.status:
            return (self.status, 0)
        memory = ctypes.create_string_buffer(nbytes)
        self.memory[ctypes.addressof(memory)] = memory
        return (0, ctypes.addressof(memory))

    def cuMemAllocAsync(self, nbytes: int, stream: int) -> tuple:
        return self._allocated(nbytes)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> tuple:
        self.calls.append(("cuMemHostAlloc", (nbytes,)))
        return self._allocated(nbytes)

    def cuMemcpyHtoDAsync(self, target: int, source: int, nbytes: int, stream: int) -> tuple:
        self.calls.append(("cuMemcpyHtoDAsync", (nbytes,)))
        self.pending.append((target, source, nbytes))
        return (0,)

    def cuMemcpyDtoHAsync(self, target: int, source: int, nbytes: int, stream: int) -> tuple:
        self.calls.append(("cuMemcpyDtoHAsync", (nbytes,)))
        self.pending.append((target, source, nbytes))
        return (0,)

    def cuEventSynchronize(self, event: int) -> tuple:
        with self.lock:
            for target, source, nbytes in self.pending:
                ctypes.memmove(target, source, nbytes)
            self.pending.clear()
        return (self.status,)

    cuStreamSynchronize = cuEventSynchronize

    def named(self, name: str) -> list[tuple]:
        return [arguments for called, arguments in self.calls if called == name]


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretending]:
    driver = Pretending()
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    bindings.driver = driver  # type: ignore[attr-defined]  # a module as any
    for module in (package, bindings, driver):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    ours = ("cuda", "cuda_transfers")
    for name in ours:
        monkeypatch.delitem(sys.modules, f"toonygrad.runtime.{name}", raising=False)
    yield driver
    for name in ours:
        sys.modules.pop(f"toonygrad.runtime.{name}", None)
        vars(sys.modules["toonygrad.runtime"]).pop(name, None)


@pytest.fixture
def cuda(pretending: Pretending) -> Any:
    return importlib.import_module("toonygrad.runtime.cuda")


def test_what_is_missing_is_said(pretending, cuda):
    pretending.init = Result.CUDA_ERROR_NO_DEVICE
    with pytest.raises(
        DeviceUnavailable, match=r"^NVIDIA's driver has no GPU to use: CUDA_ERROR_NO_DEVICE: words"
    ):
        cuda.CudaDriver()
    pretending.init, pretending.version = Result.CUDA_SUCCESS, 11080
    with pytest.raises(DeviceUnavailable, match=r"too old: it is for CUDA 11\.8, and 12\.0 is needed"):
        cuda.CudaDriver()


def test_a_call_says_what_is_missing(pretending, cuda):
    pretending.init = Result.CUDA_ERROR_NO_DEVICE
    assert devices.installed() is None
    with pytest.raises(
        ValueError, match=r"^zeros: no device 'cuda'; there is 'cpu'; NVIDIA's driver has no GPU"
    ):
        placement.chosen("zeros", "cuda")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.delitem(sys.modules, "toonygrad.runtime.cuda", raising=False)
    with pytest.raises(ValueError, match=r"cuda-bindings is missing .*pip install 'toonygrad\[cuda\]'"):
        placement.chosen("zeros", "cuda")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("nbytes", [1, 1 << 16, (1 << 16) + 1, 4 << 20, (9 << 20) + 3, 16 << 20])
def test_copies_go_in_pieces_and_arrive(pretending, cuda, monkeypatch, nbytes, threads):
    transfers = importlib.import_module("toonygrad.runtime.cuda_transfers")
    for name, value in (("HALF", 1 << 20), ("SHORT", 1 << 19), ("MOST_THREADS", threads)):
        monkeypatch.setattr(transfers, name, value)
    monkeypatch.setattr(transfers, "_cores", lambda: 8)
    driver = cuda.CudaDriver()
    sent = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    address = driver.allocate(0, nbytes)
    driver.upload(0, address, sent)
    if nbytes > transfers.KEPT_BY_DRIVER:
        sent = sent.copy()
        size = 1 << 20 if nbytes >= 4 * threads << 20 else 1 << 19
        pieces = [length for (length,) in pretending.named("cuMemcpyHtoDAsync")]
        assert len(pieces) == -(-nbytes // size) and sum(pieces) == nbytes and max(pieces) <= size
    received = np.zeros(nbytes, np.uint8)
    driver.download(0, received, address)
    assert np.array_equal(received, sent)
    many = min(threads, max(1, nbytes // transfers.WORTH_A_THREAD))
    assert len(pretending.named("cuMemHostAlloc")) == (many if nbytes > transfers.KEPT_BY_DRIVER else 0)


def test_little_page_locked_memory_is_enough(pretending, cuda, monkeypatch):
    transfers = importlib.import_module("toonygrad.runtime.cuda_transfers")
    monkeypatch.setattr(transfers, "_cores", lambda: 8)
    locked = pretending.cuMemHostAlloc
    left = [2]

    def little(nbytes: int, flags: int) -> tuple:
        left[0] -= 1
        return locked(nbytes, flags) if left[0] >= 0 else (Result.CUDA_ERROR_OUT_OF_MEMORY, 0)

    monkeypatch.setattr(pretending, "cuMemHostAlloc", little)
    driver = cuda.CudaDriver()
    sent = np.random.default_rng(0).integers(0, 256, 33 << 20, np.uint8)
    address = driver.allocate(0, sent.nbytes)
    driver.upload(0, address, sent)
    received = np.zeros_like(sent)
    driver.download(0, received, address)
    assert np.array_equal(received, sent)
    with pytest.raises(MemoryError, match=r"^cannot lock 8,388,608 bytes of the host's memory"):
        cuda.CudaDriver().upload(0, address, sent)


def test_an_error_in_a_thread_is_raised(pretending, cuda, monkeypatch):
    transfers = importlib.import_module("toonygrad.runtime.cuda_transfers")
    monkeypatch.setattr(transfers, "_cores", lambda: 4)
    driver = cuda.CudaDriver()
    host = np.zeros(32 << 20, np.uint8)
    address = driver.allocate(0, host.nbytes)
    driver.upload(0, address, host)
    pretending.status = Result.CUDA_ERROR_ILLEGAL_ADDRESS
    for copy in (lambda: driver.upload(0, address, host), lambda: driver.download(0, host, address)):
        with pytest.raises(RuntimeError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
            copy()


def test_errors(pretending, cuda):
    driver = cuda.CudaDriver()
    driver.use(0)
    pretending.status = Result.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(DeviceMemoryError):
        driver.allocate(0, 1 << 40)
    pretending.status = Result.CUDA_ERROR_ILLEGAL_ADDRESS
    with pytest.raises(RuntimeError, match=r"^CUDA: CUDA_ERROR_ILLEGAL_ADDRESS: words$"):
        driver.synchronize(0)
    with pytest.raises(RuntimeError, match=r"^CUDA: CUDA_ERROR_ILLEGAL_ADDRESS"):
        driver.launch(0, "function", (1, 1, 1), (32, 1, 1), 0)


def test_streams_wait_for_one_another(pretending, cuda):
    driver = cuda.CudaDriver()
    assert driver.stream(0) == 4711
    driver.let_wait(0, 1)
    driver.wait_for(0, 99)
    recorded = [stream for _, stream in pretending.named("cuEventRecord")]
    waiting = [stream for stream, _, _ in pretending.named("cuStreamWaitEvent")]
    assert (recorded, waiting) == ([4711, 99], [1, 4711])


@pytest.mark.parametrize("reachable", [0, 1])
def test_copies_between_gpus(pretending, cuda, reachable):
    pretending.reachable = reachable
    driver = cuda.CudaDriver()
    for _ in range(2):
        driver.copy_from(1, 100, 0, 200, 64)
    copied = (100, "context (1,)", 200, "context (0,)", 64, 4711)
    assert pretending.named("cuMemcpyPeerAsync") == [copied, copied]
    opened = pretending.named("cuMemPoolSetAccess")
    assert len(opened) == reachable  # once
    for pool, (access,), count in opened:
        assert (pool, access.location.id, count) == ("pool (0,)", 1, 1)


def test_kernels_are_compiled_once_a_machine(pretending, cuda):
    text = "def kernel(out0, n):\n    if int64(thread_x()) < n:\n        out0[int64(thread_x())] = 1.0\n"
    parameters = (
        Parameter("out0", "pointer", np.dtype(np.float64)),
        Parameter("n", "integer", np.dtype(np.int64)),
    )
    driver = cuda.CudaDriver()
    before = counters_snapshot()
    assert driver.kernel(0, text, "kernel", parameters) == "function"
    driver.kernel(0, text, "kernel", parameters)
    (first,), (second,) = pretending.named("cuModuleLoadData")
    done = counters_snapshot() - before
    assert (done.kernels_compiled, done.kernels_loaded) == (1, 1)
    assert first == second and b"kernel" in first and first.endswith(b"\0")
    assert pretending.named("cuModuleGetFunction")[0] == ("module", b"kernel")


def test_what_a_program_answers_is_raised(pretending, cuda):
    driver = cuda.CudaDriver()
    with pytest.raises(DeviceMemoryError):
        driver.refuse(int(Result.CUDA_ERROR_OUT_OF_MEMORY))
    with pytest.raises(RuntimeError, match=r"^CUDA: CUDA_ERROR_ILLEGAL_ADDRESS: words$"):
        driver.refuse(int(Result.CUDA_ERROR_ILLEGAL_ADDRESS))
    with pytest.raises(AssertionError, match="doesn't take: -2"):
        driver.refuse(-2)
