"""Speed and accuracy of the transcendental functions, beside NumPy.

Claim: at most 1 ULP in float32 and float64. Errors are measured against mpmath on a sample over each
function's range; the time is of a million elements, on as many threads as are set (NumPy uses one).
"""

import argparse
import functools

import mpmath
import numpy as np
from side_by_side import alternate, table, verdict

import toonygrad as xp

ELEMENTS, ROUNDS = 1_000_000, 7

# name -> mpmath's function and the range to draw arguments from
FUNCTIONS = {
    "exp": (mpmath.exp, -80, 80),
    "expm1": (mpmath.expm1, -10, 80),
    "log": (mpmath.log, 1e-30, 1e30),
    "log1p": (mpmath.log1p, -0.99, 1e10),
    "log2": (lambda x: mpmath.log(x, 2), 1e-30, 1e30),
    "log10": (mpmath.log10, 1e-30, 1e30),
    "sin": (mpmath.sin, -1000, 1000),
    "cos": (mpmath.cos, -1000, 1000),
    "tan": (mpmath.tan, -1000, 1000),
    "asin": (mpmath.asin, -1, 1),
    "acos": (mpmath.acos, -1, 1),
    "atan": (mpmath.atan, -100, 100),
    "sinh": (mpmath.sinh, -80, 80),
    "cosh": (mpmath.cosh, -80, 80),
    "tanh": (mpmath.tanh, -20, 20),
    "asinh": (mpmath.asinh, -1e10, 1e10),
    "acosh": (mpmath.acosh, 1, 1e10),
    "atanh": (mpmath.atanh, -1, 1),
    "atan2": (mpmath.atan2, -100, 100),
    "hypot": (mpmath.hypot, -100, 100),
    "pow": (mpmath.power, 0.01, 30),
}
BINARY = {"atan2", "hypot", "pow"}


def arguments_of(name: str, dtype: str, count: int) -> list[np.ndarray]:
    """Half drawn evenly from the range and half evenly by magnitude, so that small arguments are met too."""
    _, low, high = FUNCTIONS[name]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(2 if name in BINARY else 1):
        even = random.uniform(low, high, count // 2)
        magnitude = 10 ** random.uniform(-6, np.log10(high), count - count // 2)
        by_magnitude = magnitude * (np.sign(random.uniform(low, high, magnitude.size)) if low < 0 else 1)
        together = np.clip(np.concatenate([even, by_magnitude]), low, high)
        drawn.append(random.permutation(together).astype(dtype))
    return drawn


def largest_error(name: str, result: np.ndarray, operands: list[np.ndarray]) -> float:
    """In units in the last place of the exact result, rounded to the result's type."""
    exact_function = FUNCTIONS[name][0]
    worst = 0.0
    with mpmath.workprec(120):
        for value, *point in zip(result.tolist(), *(x.tolist() for x in operands), strict=True):
            exact = exact_function(*point)
            if not mpmath.isfinite(exact) or isinstance(exact, mpmath.mpc):
                continue
            unit = np.spacing(np.abs(result.dtype.type(float(exact))))
            if np.isfinite(unit):
                worst = max(worst, abs(float((mpmath.mpf(value) - exact) / mpmath.mpf(float(unit)))))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sample", type=int, default=2000, help="points compared with mpmath")
    parser.add_argument("functions", nargs="*", default=list(FUNCTIONS), metavar="FUNCTION")
    options = parser.parse_args()

    rows, worst = [], 0.0
    for name in options.functions:
        ours, theirs = getattr(xp, name), getattr(np, name)
        for dtype in ("float32", "float64"):
            operands = arguments_of(name, dtype, ELEMENTS)
            recorded = [xp.asarray(x) for x in operands]
            sample = [x[: options.sample] for x in operands]

            def with_toonygrad(function=ours, arguments=recorded):
                return function(*arguments).block_until_ready()

            with xp.config(compile="always"), np.errstate(all="ignore"):
                measured = alternate(
                    {"toonygrad": with_toonygrad, "NumPy": functools.partial(theirs, *operands)}, ROUNDS
                )
                our_error = largest_error(name, np.asarray(with_toonygrad())[: options.sample], sample)
                their_error = largest_error(name, theirs(*sample), sample)
            worst = max(worst, our_error)
            times = [f"{measured.median(each) / ELEMENTS * 1e9:.2f}" for each in ("toonygrad", "NumPy")]
            ratio = f"{measured.ratio('NumPy', 'toonygrad'):.1f}"
            rows.append((f"{name} {dtype}", *times, ratio, f"{our_error:.2f}", f"{their_error:.2f}"))
    print(table(("", "ns", "NumPy ns", "times faster", "ULP", "NumPy ULP"), rows), end="\n\n")
    print(verdict("largest error", worst, "ULP", most=1))


if __name__ == "__main__":
    main()
