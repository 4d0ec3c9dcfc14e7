"""The bandwidth of a fused chain: (a + b) * c - a / 2 + b * b on 20 million float32.

Claim: at least 0.85 of the bandwidth of a hand-written Numba loop into a kept buffer. NumPy, and JAX and
torch where they are installed, run the same expression beside it.
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec

import numba
import numpy as np
from side_by_side import alternate, table, verdict

import toonygrad as xp

CLAIMED = "toonygrad"
REFERENCE = "Numba, kept buffer"


def chain(a, b, c):
    return (a + b) * c - a / 2 + b * b


@numba.njit(parallel=True)
def hand_written(out, a, b, c):
    half = np.float32(0.5)  # a / 2 exactly, and float32 as the others compute it
    for i in numba.prange(out.size):
        out[i] = (a[i] + b[i]) * c[i] - a[i] * half + b[i] * b[i]


def contenders(operands: list[np.ndarray]) -> dict[str, Callable[[], object]]:
    """Each computes the chain from operands it holds already, and returns when the result is in memory."""
    kept = np.empty_like(operands[0])
    ours = [xp.asarray(x) for x in operands]

    def numba_loop() -> np.ndarray:
        hand_written(kept, *operands)
        return kept

    found: dict[str, Callable[[], object]] = {
        REFERENCE: numba_loop,
        CLAIMED: lambda: chain(*ours).block_until_ready(),
        "NumPy": lambda: chain(*operands),
    }
    if find_spec("jax"):
        import jax

        compiled = jax.jit(chain)
        theirs = [jax.numpy.asarray(x) for x in operands]
        found["JAX, jit"] = lambda: compiled(*theirs).block_until_ready()
    if find_spec("torch"):
        import torch

        tensors = [torch.from_numpy(x) for x in operands]
        found["torch, eager"] = lambda: chain(*tensors)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    random = np.random.default_rng(0)
    operands = [random.random(arguments.elements, dtype=np.float32) for _ in range(3)]
    runs = contenders(operands)
    expected = chain(*operands)
    for name, run in runs.items():
        # JAX contracts to fused multiply-adds and so differs in the last place.
        np.testing.assert_allclose(np.asarray(run()), expected, rtol=1e-5, err_msg=name)

    measured = alternate(runs, arguments.rounds)
    bytes_moved = 4 * expected.nbytes  # three operands read, one result written
    rows = [
        (
            name,
            f"{measured.median(name) * 1e3:.1f}",
            f"{bytes_moved / measured.median(name) / 1e9:.1f}",
            f"{measured.ratio(REFERENCE, name):.2f}",
        )
        for name in runs
    ]
    print(table((f"{arguments.elements:,} float32", "ms", "GB/s", "of Numba's bandwidth"), rows), end="\n\n")
    share = measured.ratio(REFERENCE, CLAIMED)
    print(verdict("bandwidth, in that of the hand-written loop", share, "times", least=0.85))


if __name__ == "__main__":
    main()
