"""Which way to choose on this machine: a sentence for each chart, with the key of the configuration that chooses it."""

from collections.abc import Callable, Iterable

from fieldwork.benchmarks.engines import ENGINES, SERIAL
from fieldwork.benchmarks.methods import DETECTORS
from fieldwork.figures import counted

# Of the time. Runs of one way differ by a tenth; by more where something else was at work, which one run can't tell.
NOISE, NOISE_OF_ONE_RUN = 0.1, 1 / 3
POOLS = {  # keys of the configuration: way -> what chooses it
    "paths": "pool: {engine: pool, mode: paths}, the default",
    "fork": "pool: {engine: pool, mode: fork}",
    "serial": "pool: {engine: serial}",
}
ENGINE_KEYS = {
    "pool": "pool.engine: pool, the default",
    "serial": "pool.engine: serial",
    "Dask, processes": "pool: {engine: dask, dask: processes}",
    "Dask, threads": "pool: {engine: dask, dask: threads}",
}


def chosen(rows: Iterable[dict], default: Callable[[dict], bool]) -> dict:
    """Return the row of the default, or of the fastest way if that is faster beyond doubt.

    Parameters
    ----------
    rows : iterable of dict
        With ``Seconds``, ``Seconds_Min`` and ``Seconds_Max`` of the same work.
    default : callable
        Returns True for the default's row, if there is one.

    Returns
    -------
    dict
        A way is faster beyond doubt where its slowest run is faster than the other's fastest one, and its median is by
        more than `NOISE`, or `NOISE_OF_ONE_RUN` where there is one run of each.
    """
    rows = list(rows)
    fastest = min(rows, key=lambda row: row["Seconds"])
    usual = next(filter(default, rows), fastest)
    once = all(row["Seconds_Min"] == row["Seconds_Max"] for row in (fastest, usual))
    enough = fastest["Seconds"] < (1 - (NOISE_OF_ONE_RUN if once else NOISE)) * usual["Seconds"]
    return fastest if enough and fastest["Seconds_Max"] < usual["Seconds_Min"] else usual


def methods(rows: list[dict]) -> str:
    """Return which way to find nuclei to choose.

    Parameters
    ----------
    rows : list of dict
        From `methods.compare`.

    Returns
    -------
    str
        Empty where Fieldwork's own ways were not measured.
    """
    ours = [row for row in rows if row["Method"].startswith("map_frames, ") and row["Detector"] == "Fieldwork"]
    tutorial, _ = DETECTORS
    others = [row for row in rows if not row["Method"].startswith("map_frames") and row["Detector"] == tutorial]
    if not ours or not others:
        return ""
    best = chosen(ours, lambda row: row["Method"] == "map_frames, paths")
    rate, other = best["Images_per_Second"], max(others, key=lambda row: row["Images_per_Second"])
    return (
        f"Choose {POOLS[best['Method'].removeprefix('map_frames, ')]}: {rate:.0f} images/s, "
        f"{rate / other['Images_per_Second']:.1f} times the best of {tutorial}'s ({other['Method']})."
    )


def scaling(rows: list[dict]) -> str:
    """Return how many cores to use: the fewest that are as fast as any number.

    Parameters
    ----------
    rows : list of dict
        From `methods.compare`, one method with several numbers of workers.
    """
    fastest = min(rows, key=lambda row: row["Seconds"])
    best = min(
        (row for row in rows if row["Seconds"] <= (1 + NOISE) * fastest["Seconds"]), key=lambda row: row["Workers"]
    )
    first, last = rows[0], rows[-1]
    text = f"Choose --cores {best['Workers']}: "
    if best["Workers"] < last["Workers"]:
        return f"{text}{best['Images_per_Second']:.0f} images/s, and hardly more with up to {last['Workers']}."
    return f"{text}{first['Seconds'] / best['Seconds']:.1f} times as fast as {counted(first['Workers'], 'core')}."


def fan_out(rows: list[dict]) -> str:
    """Return which fan-out to choose.

    Parameters
    ----------
    rows : list of dict
        Of fan_out.csv.
    """
    columns = ("Seconds", "Seconds_Min", "Seconds_Max")  # there is one run of each
    once = [row | dict.fromkeys(columns, row["Seconds_per_Field"]) for row in rows]
    best = chosen(once, lambda row: row["Fan_Out"] == "plate")
    usual = ", the default" * (best["Fan_Out"] == "plate")
    others = ", ".join(f"{row['Fan_Out']} {row['Seconds']:.2f} s" for row in once if row is not best)
    return (
        f"Choose fan_out: {best['Fan_Out']}{usual}: {best['Seconds']:.2f} s per field"
        + f" ({others})" * bool(others)
        + "."
    )


def loading(rows: list[dict]) -> str:
    """Return which reader of slides to choose for conversions.

    Parameters
    ----------
    rows : list of dict
        From `slide_loading.measure`. ``Seconds`` is None where a way failed.

    Returns
    -------
    str
        Empty where no reader could be measured as conversions use it.
    """
    ways = [row for row in rows if (row["Task"], row["Shape"]) == ("zarr", "blocks") and row["Seconds"] is not None]
    if not ways:
        return ""
    most = max(row["Workers"] for row in ways)
    ways = [row for row in ways if row["Workers"] == most]
    best = chosen(ways, lambda row: row["Reader"] == "tifffile")
    speed = f"{best['Megapixels_Per_Second']:.0f} megapixels/s into Zarr by {counted(most, 'process')}"[:-1]
    speed += "es" if most > 1 else "s"
    if best["Reader"] == "tifffile":
        return f"Keep slide.reader: auto, which tries tifffile first: {speed}."
    return f"Choose slide.reader: {best['Reader']} for slides like this one: {speed}."


def filters(rows: list[dict]) -> str:
    """Return which engine to choose for batches of images.

    Parameters
    ----------
    rows : list of dict
        From `engines.measure_filters`.
    """
    batches = {}
    for row in rows:
        if row["Engine"] in ENGINES:
            batches.setdefault((row["Images"], row["Height"], row["Width"]), []).append(row)
    best = {batch: chosen(ways, lambda row: row["Engine"] == "pool") for batch, ways in batches.items()}
    engines = {}
    for batch, row in best.items():
        engines.setdefault(row["Engine"], []).append((batch, row["Speedup"]))
    parts = []
    for engine, members in sorted(engines.items(), key=lambda item: (-len(item[1]), item[0])):
        speeds = sorted(speed for _, speed in members)
        times = f"{speeds[0]:.1f} to {speeds[-1]:.1f}" if len(speeds) > 1 else f"{speeds[0]:.1f}"
        names = ", ".join(f"{height} x {width}" for (_, height, width), _ in members)
        which = "all batches" if len(engines) == 1 else f"images of {names} px"
        loop = "" if engine == SERIAL else f" ({times} times as fast as a loop)"
        parts.append(f"{ENGINE_KEYS[engine]}, for {which}{loop}")
    return f"Choose {'; '.join(parts)}."


def stack(rows: list[dict]) -> str:
    """Return which way through a stack to choose.

    Parameters
    ----------
    rows : list of dict
        From `engines.measure_stack`.

    Returns
    -------
    str
        Empty where Fieldwork's own ways were not measured.
    """
    ways = [row for row in rows if row["Engine"] in ("pool, paths", "pool, fork", SERIAL)]
    if not ways:
        return ""
    best = chosen(ways, lambda row: row["Engine"] == "pool, paths")
    return f"Choose {POOLS[best['Engine'].removeprefix('pool, ')]}: {best['Speedup']:.1f} times as fast as a loop."


def devices(rows: list[dict]) -> str:
    """Return whether to choose a GPU, for fields and for tiles.

    Parameters
    ----------
    rows : list of dict
        From `gpu.compare_devices`.
    """
    parts = []
    for kind in dict.fromkeys(row["Kind"] for row in rows):
        best = max(
            (row for row in rows if row["Kind"] == kind and row["Way"] == "GPU"), key=lambda row: row["Times_One_Core"]
        )
        times, cores = best["Times_One_Core"], best["Workers"]
        device = "gpu" if times > (1 + NOISE) * cores else "cpu"
        parts.append(
            f"device: {device} for {kind}: the GPU does the work of {times:.3g} cores, and has {cores} to feed it"
        )
    return f"Choose {'; '.join(parts)}."
