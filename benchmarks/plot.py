"""The picture of a run: for each row, each peer's time as a multiple of toonygrad's. Called by `run.py`."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

OURS = "toonygrad"
# Colours of Okabe and Ito, which colour-blind people tell apart too; shapes for print without colour.
STYLES = {
    "numpy": ("o", "#0072B2"),
    "jax": ("s", "#E69F00"),
    "torch": ("^", "#D55E00"),
    "loop": ("D", "#009E73"),
}
LABELS = {"numpy": "NumPy", "jax": "JAX jit", "torch": "torch.compile", "loop": "hand-written Numba loop"}


def draw(ratios: Mapping[str, Mapping[str, float]], title: str, path: Path) -> None:
    """Draw one line of marks for each row, those right of 1 slower than toonygrad.

    Parameters
    ----------
    ratios : mapping of row to mapping of peer to float
        The peer's time as a multiple of toonygrad's.
    title : str
    path : Path
        By its ending a PNG, PDF or SVG.
    """
    rows = list(ratios)
    figure = Figure(figsize=(9, 1.8 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(1e-9, 1, color="#f2f2f2", zorder=0)
    axes.axvline(1, color="black", linewidth=1, label=OURS)
    for peer, (marker, colour) in STYLES.items():
        known = [(ratios[row][peer], place) for place, row in enumerate(rows) if peer in ratios[row]]
        if known:
            x, y = zip(*known, strict=True)
            axes.scatter(x, y, marker=marker, color=colour, s=34, label=LABELS[peer], zorder=3)
    found = [ratio for of_row in ratios.values() for ratio in of_row.values()]
    axes.set_xscale("log")
    axes.set_xlim(min([0.5, *found]) / 1.3, max([2, *found]) * 1.3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter("")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("time, as a multiple of toonygrad's (grey: faster than toonygrad)")
    axes.set_title(title, fontsize=9)
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=150)
