"""Speed and accuracy of reductions over all axes, the first and the last, beside NumPy.

Claim: sums at least as accurate as NumPy's. Errors are relative, against the same reduction in a wider float.
"""

import argparse

import numpy as np
from side_by_side import alternate, table, verdict

import toonygrad as xp

FUNCTIONS = ("sum", "mean", "var", "max")
AXES = (None, 0, 1)
ROUNDS = 7


def largest_error(result: object, exact: np.ndarray) -> float:
    difference = np.abs(np.asarray(result).astype(exact.dtype) - exact)
    return float(np.max(difference / np.abs(exact)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=5000)
    options = parser.parse_args()

    rows = []
    ratio_of_errors = 0.0
    for dtype in (np.float32, np.float64):
        # All positive, so that the relative error says how well the sum is kept and not how much cancels.
        theirs = np.random.default_rng(0).random((options.rows, options.columns)).astype(dtype)
        ours = xp.asarray(theirs)
        # On machines whose longdouble is float64 the float64 rows compare roundings with roundings.
        wide = theirs.astype(np.float64 if dtype == np.float32 else np.longdouble)
        for name in FUNCTIONS:
            for axis in AXES:

                def with_toonygrad(name=name, axis=axis, x=ours):
                    return getattr(xp, name)(x, axis=axis).block_until_ready()

                def with_numpy(name=name, axis=axis, x=theirs):
                    return getattr(np, name)(x, axis=axis)

                measured = alternate({"toonygrad": with_toonygrad, "NumPy": with_numpy}, ROUNDS)
                exact = getattr(np, name)(wide, axis=axis)
                our_error = largest_error(with_toonygrad(), exact)
                their_error = largest_error(with_numpy(), exact)
                if name == "sum":
                    # Errors below one unit in the last place are luck on either side.
                    least = float(np.finfo(dtype).eps)
                    ratio_of_errors = max(ratio_of_errors, max(our_error, least) / max(their_error, least))
                times = [f"{measured.median(each) * 1e3:.2f}" for each in ("toonygrad", "NumPy")]
                label = f"{name} {np.dtype(dtype)} axis={axis}"
                ratio = f"{measured.ratio('NumPy', 'toonygrad'):.1f}"
                rows.append((label, *times, ratio, f"{our_error:.1e}", f"{their_error:.1e}"))
    shape = f"{options.rows} x {options.columns}"
    print(table((shape, "ms", "NumPy ms", "times faster", "error", "NumPy's error"), rows), end="\n\n")
    print(verdict("largest error of a sum, beside NumPy's", ratio_of_errors, "times", most=1))


if __name__ == "__main__":
    main()
