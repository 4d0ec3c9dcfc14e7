"""What the library itself costs: microseconds on arrays of 100 elements, beside NumPy and JAX.

    python benchmarks/overhead.py

Recording, realizing a known structure, reading a value, setting a slice. In one process, in turns: nothing
here is long enough for its neighbours' threads to matter. Claims: recording one operation takes at most 2.5
us; realizing a known expression of five at most 15 us beyond its recording; ten operations at most 35 us in
all.
"""

import argparse
import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import machine
import numpy as np
import peers
from side_by_side import alternate, table, verdict

import toonygrad as xp

ELEMENTS, REPEAT = 100, 200
LENGTHS = (1, 5, 10, 20)
OURS, COMPILED = "toonygrad", "compile=always"

Calls = Mapping[str, Callable[[], object]]


def operations(a: Any, b: Any, count: int) -> Any:
    """As many operations, each on what the one before it gave."""
    x = a
    for step in range(count):
        x = x * b if step % 2 else x + a
    return x


def toonygrad() -> Calls:
    """Results are dropped at once, so that each call records anew and finds nothing computed already."""
    a, b = xp.asarray(np.linspace(1, 2, ELEMENTS)), xp.asarray(np.linspace(1, 3, ELEMENTS))
    u = xp.asarray(np.linspace(1, 2, ELEMENTS + 2))
    number = xp.sum(a).block_until_ready()

    def set_slice() -> object:
        u[1:-1] = a
        return u.block_until_ready()

    def recorded(count: int) -> Callable[[], object]:
        return lambda: operations(a, b, count)

    def realized(count: int) -> Callable[[], object]:
        return lambda: operations(a, b, count).block_until_ready()

    return {
        **{f"record {count}": recorded(count) for count in LENGTHS},
        **{f"a result of {count}": realized(count) for count in LENGTHS},
        "read a 0-d value": lambda: float(number),
        "sum and read": lambda: float(xp.sum(a)),
        "set a slice": set_slice,
    }


def numpy() -> Calls:
    a, b = np.linspace(1, 2, ELEMENTS), np.linspace(1, 3, ELEMENTS)
    u, number = np.linspace(1, 2, ELEMENTS + 2), np.array(1.5)

    def set_slice() -> None:
        u[1:-1] = a

    def computed(count: int) -> Callable[[], object]:
        return lambda: operations(a, b, count)

    return {
        **{f"a result of {count}": computed(count) for count in LENGTHS},
        "read a 0-d value": lambda: float(number),
        "sum and read": lambda: float(np.sum(a)),
        "set a slice": set_slice,
    }


def jax() -> Calls:
    """Every expression compiled by jit, as its users have it."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    a, b = jnp.asarray(np.linspace(1, 2, ELEMENTS)), jnp.asarray(np.linspace(1, 3, ELEMENTS))
    u, number = jnp.asarray(np.linspace(1, 2, ELEMENTS + 2)), jnp.sum(a)
    total, with_slice = jax.jit(jnp.sum), jax.jit(lambda u, a: u.at[1:-1].set(a))

    def computed(count: int) -> Callable[[], object]:
        compiled = jax.jit(lambda a, b: operations(a, b, count))
        return lambda: compiled(a, b).block_until_ready()

    return {
        **{f"a result of {count}": computed(count) for count in LENGTHS},
        "read a 0-d value": lambda: float(number),
        "sum and read": lambda: float(total(a)),
        "set a slice": lambda: with_slice(u, a).block_until_ready(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50, help="turns of each (50)")
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    print(machine.description(len(machine.cores())))
    calls = {OURS: toonygrad(), "NumPy": numpy()}
    why = peers.why_missing("jax")
    if why:
        print(f"jax: {why}")
    else:
        calls["JAX, jit"] = jax()
    print()

    microseconds: dict[str, dict[str, float]] = {}
    for name in calls[OURS]:
        contenders = {peer: of_peer[name] for peer, of_peer in calls.items() if name in of_peer}
        measured = alternate(contenders, options.rounds, REPEAT)
        microseconds[name] = {peer: measured.median(peer) * 1e6 for peer in contenders}
        with xp.config(compile="always"):
            compiled = alternate({COMPILED: contenders[OURS]}, options.rounds, REPEAT)
        microseconds[name][COMPILED] = compiled.median(COMPILED) * 1e6

    heads = (OURS, COMPILED, *list(calls)[1:])
    rows = [
        (name, *(f"{of_row[peer]:.2f}" if peer in of_row else "-" for peer in heads))
        for name, of_row in microseconds.items()
    ]
    print(table((f"us, {ELEMENTS} float64", *heads), rows), end="\n\n")
    ours = {name: of_row[OURS] for name, of_row in microseconds.items()}
    print(verdict("recording one operation", ours["record 1"], "us", most=2.5))
    beyond = ours["a result of 5"] - ours["record 5"]
    print(verdict("realizing a known expression of five", beyond, "us", most=15))
    print(verdict("a result of ten", ours["a result of 10"], "us", most=35))
    if options.report:
        options.report.write_text(json.dumps(microseconds, indent=1))


if __name__ == "__main__":
    gc.disable()  # its pauses belong to nobody's turn
    main()
