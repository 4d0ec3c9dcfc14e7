"""Slope, aspect and hillshade of a real elevation model: one function, run by toonygrad and by NumPy.

The elevations are a radar survey (SRTM) of the Jacksboro fault in Tennessee, which ships with matplotlib.
They are tiled to the size of a small map, because 344 x 403 cells are too few to be worth any machine's time.

    python examples/hillshade.py
    python examples/hillshade.py --size 8000x6000 --no-plot
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import cbook
from matplotlib.figure import Figure

import toonygrad as xp

Array = Any  # of any namespace that keeps the array API standard

TILE_ROWS, TILE_COLUMNS = 344, 403
RUNS = 5  # of which the median is shown
METRES_PER_DEGREE = 111_200.0  # of latitude; a degree of longitude shrinks with its cosine


class Terrain(NamedTuple):
    """What `terrain` computes: three maps, and three numbers for each row of the slope map."""

    slope: Array  # degrees, 0 is level
    aspect: Array  # degrees clockwise from north: the way the slope faces
    hillshade: Array  # 0 (in shadow) to 1 (facing the sun)
    mean_slope: Array
    steepest_slope: Array
    slope_deviation: Array


def terrain(
    xp: Any,
    elevation: Array,
    cell_width: float,
    cell_height: float,
    azimuth: float = 315.0,
    altitude: float = 45.0,
) -> Terrain:
    """Describe a surface by its central differences, in functions of the array API standard alone.

    Parameters
    ----------
    xp : namespace
        The array namespace to compute with: NumPy, toonygrad, or any other that keeps the standard.
    elevation : array of shape (rows, columns)
        Metres; the first row lies in the north, the first column in the west.
    cell_width, cell_height : float
        Metres from one column, and from one row, to the next.
    azimuth, altitude : float
        Where the sun stands: degrees clockwise from north, and degrees above the horizon.

    Returns
    -------
    Terrain
        Maps of shape (rows - 2, columns - 2), since border cells lack a neighbour; statistics of (rows - 2,).
    """
    eastward = (elevation[1:-1, 2:] - elevation[1:-1, :-2]) / (2 * cell_width)
    northward = (elevation[:-2, 1:-1] - elevation[2:, 1:-1]) / (2 * cell_height)

    slope = xp.atan(xp.hypot(eastward, northward))
    downhill = xp.atan2(-eastward, -northward)  # clockwise from north, -pi to pi

    sun_height, sun_direction = math.radians(altitude), math.radians(azimuth)
    facing_the_sun = xp.cos(downhill - sun_direction)
    hillshade = math.sin(sun_height) * xp.cos(slope) + math.cos(sun_height) * xp.sin(slope) * facing_the_sun

    degrees = slope * (180 / xp.pi)
    return Terrain(
        slope=degrees,
        aspect=xp.where(downhill < 0, downhill + 2 * xp.pi, downhill) * (180 / xp.pi),
        hillshade=xp.clip(hillshade, 0, 1),
        mean_slope=xp.mean(degrees, axis=1),
        steepest_slope=xp.max(degrees, axis=1),
        slope_deviation=xp.std(degrees, axis=1),
    )


def read_elevation(rows: int, columns: int) -> tuple[np.ndarray, float, float]:
    """The elevations in metres, mirrored at the edges until they fill rows x columns, and the cell's size."""
    with np.load(cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as file:
        tile, latitude = file["elevation"].astype(np.float32), file["ymin"]
        cell_height = METRES_PER_DEGREE * float(file["dy"])
        cell_width = METRES_PER_DEGREE * float(file["dx"]) * math.cos(math.radians(latitude))
    # Mirrored rather than repeated, so that no cliff stands where two tiles meet.
    missing = [(0, max(0, wanted - have)) for wanted, have in zip((rows, columns), tile.shape, strict=True)]
    return np.pad(tile, missing, mode="symmetric")[:rows, :columns], cell_width, cell_height


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def largest_differences(ours: Terrain, theirs: Terrain) -> dict[str, float]:
    """By how much two results differ at most; aspects by the smaller angle, as 359.9 is near 0.1 degrees."""
    differences = {}
    for name, a, b in zip(Terrain._fields, ours, theirs, strict=True):
        difference = np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
        if name == "aspect":
            difference = np.minimum(difference, 360 - difference)
        differences[name] = float(np.max(difference))
    return differences


def plot(result: Terrain, path: Path) -> None:
    """Draw the first tile: the others are its mirror images."""
    rows, columns = np.asarray(result.slope)[:TILE_ROWS, :TILE_COLUMNS].shape
    figure = Figure(figsize=(13, 9), layout="constrained")
    maps = (("hillshade", "gray", 0, 1), ("slope", "viridis", 0, None), ("aspect", "twilight", 0, 360))
    *map_axes, row_axis = figure.subplots(2, 2).flat
    for axis, (name, colours, low, high) in zip(map_axes, maps, strict=True):
        first_tile = np.asarray(getattr(result, name))[:rows, :columns]
        image = axis.imshow(first_tile, cmap=colours, vmin=low, vmax=high)
        figure.colorbar(image, ax=axis, label="" if name == "hillshade" else "degrees", shrink=0.8)
        axis.set(title=name, xticks=[], yticks=[])
    mean, deviation = np.asarray(result.mean_slope)[:rows], np.asarray(result.slope_deviation)[:rows]
    row = np.arange(rows)
    row_axis.plot(row, np.asarray(result.steepest_slope)[:rows], color="tab:red", label="steepest")
    row_axis.plot(row, mean, color="black", label="mean")
    row_axis.fill_between(row, mean - deviation, mean + deviation, alpha=0.3, label="one standard deviation")
    row_axis.set(title="slope in each row", xlabel="row, from north", ylabel="degrees", ylim=(0, None))
    row_axis.legend()
    figure.savefig(path, dpi=120)


def rows_and_columns(text: str) -> tuple[int, int]:
    rows, columns = (int(part) for part in text.split("x"))
    if rows < 3 or columns < 3:
        raise argparse.ArgumentTypeError("central differences need at least 3x3 cells")
    return rows, columns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=rows_and_columns, default=(4000, 3400), metavar="ROWSxCOLUMNS")
    parser.add_argument("--output", type=Path, default=Path("hillshade.png"), help="default: hillshade.png")
    parser.add_argument("--no-plot", action="store_true", help="write no picture")
    arguments = parser.parse_args()

    elevation, *cell = read_elevation(*arguments.size)
    rows, columns = elevation.shape
    print(f"{rows} x {columns} cells of {cell[0]:.1f} m x {cell[1]:.1f} m, {elevation.dtype}\n")
    recorded_elevation = xp.asarray(elevation)

    def with_toonygrad() -> Terrain:
        result = terrain(xp, recorded_elevation, *cell)
        xp.realize(*result)
        return result

    def with_numpy() -> Terrain:
        return terrain(np, elevation, *cell)

    before = xp.counters()
    first = seconds(with_toonygrad)
    after = xp.counters()
    later = statistics.median(seconds(with_toonygrad) for _ in range(RUNS))
    numpy = statistics.median(seconds(with_numpy) for _ in range(RUNS))

    print("The kernels that toonygrad made of it:\n")
    print(xp.explain(*terrain(xp, recorded_elevation, *cell)), end="\n\n")

    compiled = after.kernels_compiled - before.kernels_compiled
    loaded = after.kernels_loaded - before.kernels_loaded
    print(f"first run   {first * 1e3:8.1f} ms   ({compiled} kernels compiled, {loaded} loaded from disk)")
    print(f"later runs  {later * 1e3:8.1f} ms   (median of {RUNS})")
    print(f"NumPy       {numpy * 1e3:8.1f} ms   (the same function; {numpy / later:.1f} times as long)\n")

    result = with_toonygrad()
    differences = largest_differences(result, with_numpy())
    print("largest difference from NumPy:")
    print("  " + ", ".join(f"{name} {size:.1e}" for name, size in differences.items()))
    # Neighbouring float32 numbers near 360 are 3e-5 apart, and NumPy's own sums in float32 are off by more.
    if not all(size < 1e-3 for size in differences.values()):
        print("The results differ: please report this.", file=sys.stderr)
        return 1

    if not arguments.no_plot:
        plot(result, arguments.output)
        print(f"picture: {arguments.output.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
