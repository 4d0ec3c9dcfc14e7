"""What the benchmarks run on, told with every table, and how a run is kept to some of its cores.

Called by `run.py`, `first_result.py`, `overhead.py` and `gpu_overhead.py`.
"""

import os
import platform
from pathlib import Path

# Above this, others compute beside the benchmark: its ratios are worth something, its times are not.
QUIET = 1.0

# Every library has a variable of its own for the threads it starts.
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TOONYGRAD_NUM_THREADS",
)


def cores() -> list[int]:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def keep_to(threads: int) -> dict[str, str]:
    """Bind this process and those it will start to as many cores; the environment they need for it.

    XLA has no variable for its threads and counts the cores it is bound to, as most libraries do.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])
    return {**os.environ, **dict.fromkeys(_THREADS, str(threads))}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def description(threads: int) -> str:
    """One line: processor, cores, Python, and how busy the machine was in the last minute."""
    load = os.getloadavg()[0]
    busy = "" if load < QUIET else ", BUSY: trust ratios alone"
    return (
        f"{_processor()}, {threads} of {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {load:.2f}{busy}"
    )


def gpu(device: str) -> str:
    """One line: which GPU, and of which driver's version of CUDA."""
    from cuda.bindings import driver

    number = int(device.partition(":")[2] or 0)
    driver.cuInit(0)
    (_, name), (_, version) = driver.cuDeviceGetName(80, number), driver.cuDriverGetVersion()
    text = name.partition(b"\0")[0].decode().strip()
    return f"{text}, CUDA {version // 1000}.{version % 1000 // 10}"
