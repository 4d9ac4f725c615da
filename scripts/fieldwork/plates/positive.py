"""Positive nuclei of a plate: above which intensity they are, and their share in every well."""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fieldwork import InputError
from fieldwork.detection import measured_tables
from fieldwork.plates import nuclei_table, tables

log = logging.getLogger(__name__)

CONTROL_PERCENTILE = 99
FEW_NUCLEI = 100  # of controls: below, the percentile is hardly less than the brightest nucleus
# Standard deviations, from the median absolute one, by which the percentile is above the median of nuclei that are all
# negative: 2.3 of a normal distribution, 5 of one whose logarithm has a deviation of 0.5.
MOST_SPREADS = 8
# Of controls that are two groups: the share of nuclei that each has at least, that lies between them at most, and the
# width of the gap, of the distance between their medians. A single group with a tail has gaps of a tenth.
LEAST_OF_LOWER, LEAST_OF_UPPER, MOST_BETWEEN, CLEAR_GAP = 0.1, 0.01, 0.005, 0.3
LEAST_GAP = 0.01  # of its upper end: less is rounding
FEWEST_OF_UPPER = 10  # fewer are a tail of a small group as well


def thresholds_of(
    plate: str,
    positive: Mapping[str, float | str],
    paths: Sequence[str | os.PathLike],
    starts: Sequence[int],
    fields: Sequence[dict],
    *,
    channels: Sequence[str],
    negative: Sequence[str],
) -> tuple[dict[str, float | None], list[tuple[str, str]]]:
    """Return the mean intensity above which nuclei are positive, for each channel of a plate, and the doubts about it.

    Parameters
    ----------
    plate : str
    positive : mapping of str to float or str
        Channel -> value, or ``auto``: the 99th percentile, as NumPy interpolates it, over all nuclei of the plate's
        negative controls.
    paths, starts, fields
        As for `nuclei_table.merge_nuclei`.
    channels : list of str
        As for `tables.merge_fields`.
    negative : list of str
        Wells of negative controls.

    Returns
    -------
    thresholds : dict of str to float or None
        None where no nucleus of the controls was measured: nothing is known of the channel's nuclei, then.
    doubts : list of (str, str)
        Each channel whose threshold by ``auto`` may be wrong, and a line that says why.

    Raises
    ------
    InputError
        No nucleus can be above a value, as it is in another unit than the table.
    """
    thresholds, doubts = {}, []
    controls = _control_intensities(
        [channel for channel, value in positive.items() if value == "auto"], paths, starts, fields, negative
    )
    for channel, value in positive.items():
        if channel not in controls:
            _check_unit(plate, channel, value, fields, channels)
            thresholds[channel] = value
            continue
        intensities = controls[channel]
        log.info(
            "plate %s: positive.%s is auto: percentile %d of %d nuclei of negative controls",
            *(plate, channel, CONTROL_PERCENTILE, len(intensities)),
        )
        thresholds[channel] = float(np.percentile(intensities, CONTROL_PERCENTILE)) if len(intensities) else None
        doubts += [(channel, doubt) for doubt in _doubts_about(channel, intensities, thresholds[channel])]
    return thresholds, doubts


def _doubts_about(channel, intensities, threshold):
    """Yield why the threshold of a channel may be wrong: few nuclei of controls, or positive ones among them."""
    if len(intensities) < FEW_NUCLEI:
        then = "the threshold is uncertain" if len(intensities) else "which nuclei are positive is left empty"
        yield (
            f"positive.{channel} is auto, but only {len(intensities)} nuclei of negative controls are measured: {then}"
        )
        return
    median, gap = np.median(intensities), gap_of(intensities)
    if gap and threshold < gap[1]:  # in it: fewer than 1 % are positive
        gap = None
    is_far = threshold - median > MOST_SPREADS * 1.4826 * np.median(abs(intensities - median))
    if is_far or gap:
        advice = "A number is sure"
        if gap:
            advice = (
                f"Their nuclei are two groups, with a gap from {gap[0]:.4g} to {gap[1]:.4g}: "
                f"try positive.{channel}: {_number_between(*gap)}"
            )
        yield (
            f"positive.{channel} is auto, but the negative controls have bright nuclei themselves: their percentile "
            f"{CONTROL_PERCENTILE} is {threshold:.4g}, their median {median:.4g}; many positive nuclei may be below, "
            f"and Share_Positive_{channel} and all that follows from it are in doubt. {advice}"
        )


def gap_of(intensities: np.ndarray) -> tuple[float, float] | None:
    """Return the ends of the widest gap between two groups of nuclei; None where they are no two groups.

    Parameters
    ----------
    intensities : (n,) array
        Of at least `FEW_NUCLEI` nuclei.
    """
    ordered = np.sort(intensities)
    count = len(ordered)
    step = 1 + int(MOST_BETWEEN * count)
    first, last = int(LEAST_OF_LOWER * count), count - max(FEWEST_OF_UPPER, math.ceil(LEAST_OF_UPPER * count))
    lower = first + int(np.argmax(ordered[first + step : last + 1] - ordered[first : last + 1 - step]))
    low, high = float(ordered[lower]), float(ordered[lower + step])
    between = np.median(ordered[lower + step :]) - np.median(ordered[: lower + 1])
    return (low, high) if high - low > max(CLEAR_GAP * between, LEAST_GAP * abs(high)) else None


def _number_between(low, high):
    """Return the number with the fewest digits near the middle of two; of their logarithms, if both are above 0."""
    middle = math.sqrt(low * high) if low > 0 else (low + high) / 2
    return next(text for digits in range(2, 18) if low < float(text := f"{middle:.{digits}g}") < high)


def _control_intensities(channels, paths, starts, fields, wells):
    """Return, for each channel, the mean intensities of all nuclei of some wells; in memory are no other columns."""
    wells, columns = set(wells), {channel: nuclei_table.MEAN_INTENSITY.format(channel) for channel in channels}
    wanted = {channel: np.zeros(starts[-1], bool) for channel in channels}
    for row in fields:
        if row["Image_Status"] == "ok" and row["Metadata_Well"] in wells:
            missing = (row[tables.MISSING_CHANNELS] or "").split(";")
            for channel in channels:
                wanted[channel][row["Field"]] = channel not in missing
    intensities = {channel: [np.empty(0)] for channel in channels}
    for path, start in zip(paths, starts[:-1], strict=True) if channels else ():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(measured_tables.ROW_GROUP_ROWS, columns=[*columns.values(), "Field"]):
                of_field = batch["Field"].to_numpy() + start
                for channel, column in columns.items():
                    values = np.asarray(batch[column])
                    intensities[channel].append(values[wanted[channel][of_field]])
    return {channel: np.concatenate(parts) for channel, parts in intensities.items()}


def _check_unit(plate, channel, value, fields, channels):
    """Refuse a value that integers, divided by their type's maximum, cannot be above."""
    number = channels.index(channel)
    types = {kind.partition(" ")[0] for kind in tables.types_of(fields, number, channel)}
    integers = [np.iinfo(name) for name in sorted(types) if np.dtype(name).kind in "iu"]
    if value >= 1 and integers and len(integers) == len(types):
        raise InputError(
            f"plate {plate}: positive.{channel} is {value:g}, which no nucleus is above: {integers[0].dtype} images "
            f"are divided by {integers[0].max} before they are measured, so that {value:g} in them is "
            f"{value / integers[0].max:.4g} here"
        )


def count(
    parts: Iterable[pa.Table], channels: Iterable[str], counts: dict[str, np.ndarray], *, fields: int
) -> Iterator[pa.Table]:
    """Yield the parts of a plate's table of nuclei, and count positive ones as they pass.

    Parameters
    ----------
    parts : iterable of pyarrow.Table
        From `nuclei_table.merge_nuclei`.
    channels : iterable of str
    counts : dict
        It is filled: channel -> (2, 1 + fields) array, positive and all measured nuclei by ``Metadata_ImageNumber``.
    fields : int
        Number of the plate's fields.
    """
    counts |= {channel: np.zeros((2, 1 + fields), np.int64) for channel in channels}
    for part in parts:
        numbers = part["Metadata_ImageNumber"].to_numpy()
        for channel, totals in counts.items():
            column = part[nuclei_table.POSITIVE.format(channel)]
            is_known = np.asarray(column.is_valid())
            is_positive = np.asarray(column.fill_null(False))
            totals += [np.bincount(numbers[rows], minlength=1 + fields) for rows in (is_positive, is_known)]
        yield part


def shares_of(fields: Sequence[dict], counts: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
    """Return the share of positive nuclei in every well.

    Parameters
    ----------
    fields : list of dict
        From `tables.merge_fields`.
    counts : mapping
        From `count`.

    Returns
    -------
    dict
        Well -> {``Share_Positive_<channel>``: share, or None where no nucleus is measured}.
    """
    totals = {}
    for row in fields:
        of_well = totals.setdefault(row["Metadata_Well"], dict.fromkeys(counts, 0))
        for channel, of_field in counts.items():
            of_well[channel] = of_well[channel] + of_field[:, row["Metadata_ImageNumber"]]
    return {
        well: {
            tables.SHARE.format(channel): float(few / many) if many else None
            for channel, (few, many) in of_well.items()
        }
        for well, of_well in totals.items()
    }
