"""Run every benchmark, each in a process of its own, one after the other: they share the machine's cores.

    python benchmarks/run_all.py
    python benchmarks/run_all.py record memory
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ALL = ("record", "fused_chain", "compile_cache", "recompilation", "memory", "transcendental", "reductions")


def main(names: list[str]) -> int:
    """Run these, or all; returns how many did not end well."""
    failed = 0
    for name in names or ALL:
        print(f"\n== {name} ==\n", flush=True)
        failed += subprocess.run([sys.executable, FOLDER / f"{name}.py"]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
