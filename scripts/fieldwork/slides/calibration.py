"""The calibration of a slide: the tiles of its sample, and what is decided by them for the whole slide."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fieldwork import InputError, label_images, nuclei, parallel, segmentation
from fieldwork.detection import calibration as detection_calibration
from fieldwork.frames import FrameError
from fieldwork.segmentation import detector, sampling, stained, thresholds
from fieldwork.segmentation.pixels import rounded
from fieldwork.segmentation.sampling import Reading
from fieldwork.segmentation.working_copies import Extent, Levels
from fieldwork.slides import blocks, tiles
from fieldwork.slides import channels as slide_channels
from fieldwork.slides.channels import Channels
from fieldwork.surroundings.unread import failure_of
from fieldwork.tissue.samples import Block

# Of the pixels of stained tissue, near the threshold. Slides that were looked at and annotated fields have up to 0.14,
# two fields 0.16 and 0.18; texture without nuclei has 0.2, as has a slide in a density that finds a quarter too many.
MOST_NEAR = 0.15
TYPICAL_UM = 8  # diameter of a typical nucleus, which tells the pixel size where the slide states none

DECISIONS = ("diameter", "contrast", "modality", "channel", "steps_per_unit", "levels")  # keys of calibration.json


class MeasuredTile(NamedTuple):
    """The nuclei of a tile of the sample, or why there are none (`error`)."""

    tile: Block
    shape: tuple[int, int] = (0, 0)
    coordinates: np.ndarray = np.empty((0, 2))  # rows and columns in the tile
    areas: np.ndarray = np.empty(0, np.int64)  # px, of outlines
    labels: bytes | None = None  # outlines, from `label_images.encode`
    error: str = ""


def read_tile(tile: Block, *, read: Callable) -> np.ndarray:
    """Read the pixels of a tile, (height, width, channels).

    Raises
    ------
    FrameError
        They cannot be read.
    """
    try:
        return read(*tile)
    except Exception as error:  # damaged bytes make decoders raise anything, as in `frames`
        raise FrameError(failure_of(error)) from None


def measure_tile(tile: Block, pixels: np.ndarray, *, channels: Channels, mpp: float | None) -> Reading:
    """Measure what a tile of the sample tells; `mpp` in micrometres per pixel."""
    image = slide_channels.nuclei_image(pixels, channels)
    if not channels.is_stained:
        return Reading(tile, form="tile", sample=segmentation.measure_sample(image))
    sample = stained.without_texture(
        segmentation.measure_sample(slide_channels.blurred(image)),
        least_contrast=stained.LEAST_DENSITY * slide_channels.STEPS_PER_DENSITY,
        mpp=mpp,
    )
    return Reading(tile, form="tile", sample=sample)


def usual_form(forms: object) -> str | None:
    """Return None: tiles of all sizes count."""
    return None


def levels_of(
    used: Sequence[Block],
    calibration: segmentation.Calibration,
    *,
    read: Callable,
    channels: Channels,
    **pool: Any,
) -> Levels | None:
    """Decide on the floor of a slide, and on its threshold, by the tiles of its sample.

    Parameters
    ----------
    used : list of Block
        The tiles of the sample that count.
    calibration : segmentation.Calibration
    read : callable
        Takes a tile; returns its pixels.
    channels : Channels
    **pool
        ``engine``, ``dask`` and ``workers``, as for `parallel.map_frames`.

    Returns
    -------
    Levels or None
        None without a typical nucleus.
    """
    if calibration is None or calibration.diameter is None or calibration.contrast is None:
        return None
    pool |= {"mode": "paths"}
    measure = functools.partial(_measure_image, read=read, channels=channels)
    darkness = functools.partial(measure, function=functools.partial(detector.darkness_of, calibration=calibration))
    levels = detector.levels_of(list(parallel.map_frames(darkness, used, **pool)), is_stained=channels.is_stained)
    options = {"calibration": calibration, "levels": levels}
    histogram = functools.partial(measure, function=functools.partial(detector.histogram_of, **options))
    counts = sum(parallel.map_frames(histogram, used, **pool))
    threshold = thresholds.threshold_of(counts)
    return levels._replace(threshold=threshold, share_near=rounded(thresholds.share_near(counts, threshold)))


def _measure_image(tile, *, read, channels, function):
    return function(slide_channels.nuclei_image(read(tile), channels))


def find_nuclei(
    tile: Block,
    pixels: np.ndarray,
    *,
    channels: Channels,
    calibration: segmentation.Calibration | None,
    levels: Levels | None,
    **detection: str | None,
) -> MeasuredTile:
    """Outline the nuclei of a tile of the sample; the tile's borders cut some. `detection` is from `detection_of`."""
    image = slide_channels.nuclei_image(pixels, channels)
    labels = np.zeros(image.shape, np.int32)
    if levels is not None:
        extent = Extent((0, 0), image.shape)
        labels = detector.segment_window(image, calibration, levels, extent, **detection)
    found = label_images.properties(labels)
    coordinates = np.stack([found.rows, found.columns], axis=1)
    return MeasuredTile(tile, image.shape, coordinates, found.areas, label_images.encode(labels))


def find_peaks(tile: Block, pixels: np.ndarray, *, channel: Callable, detection: dict) -> MeasuredTile:
    """Find the nuclei of a tile of the sample as peaks, for slides whose configuration has a threshold.

    Parameters
    ----------
    tile : Block
    pixels : (height, width, channels) array
    channel : callable
        Takes the pixels; returns the image in which nuclei are bright.
    detection : dict
        Keyword arguments of `nuclei.detect_nuclei`.
    """
    image = channel(pixels)
    return MeasuredTile(tile, image.shape, nuclei.detect_nuclei(image, **detection))


def failed_tile(tile: Block, reason: str) -> MeasuredTile:
    """Return the failed result of a tile that could not be measured."""
    return MeasuredTile(tile, error=reason)


def warnings_of(
    sampled: sampling.Sampled,
    calibration: segmentation.Calibration | None,
    levels: Levels | None,
    channels: Channels,
    *,
    method: str,
) -> list[str]:
    """Return what is doubtful about a slide's calibration, and so about its nuclei; a line each."""
    if not sampled.used and not sampled.passed_over:
        return ["no tile of it has tissue, so that no nuclei are looked for"]
    warning = sampling.warning_of(sampled, calibration, noun="tiles", method=method)
    warnings = [warning] if warning else []
    if method == "peaks" or not channels.is_stained:
        return warnings
    if levels is not None and levels.share_near > MOST_NEAR:
        warnings.append(
            f"its nuclei hardly differ from what is around them ({levels.share_near:.1%} of its pixels are near the "
            f"threshold, expected at most {MOST_NEAR:.0%}): outlines may be cytoplasm, and nuclei may be missing. Look "
            "at calibration.png (target preview) before using its counts"
        )
    if channels.modality == "hdab" and channels.weights == slide_channels.NUCLEI_WEIGHTS:
        warnings.append(
            f"{channels.brown:.0%} of its tissue is brown: nuclei are looked for by their haematoxylin, so that brown "
            "ones with hardly any are missing from its counts and its share of positive nuclei"
        )
    return warnings


def position_of(tile: Block) -> dict:
    """Return where a tile lies, in level-0 pixels."""
    return dict(tile._asdict())


def tile_of(position: dict) -> Block:
    """Return the tile of a ``calibration.json``."""
    return Block(*(position[name] for name in Block._fields))


def calibrate(sampled: sampling.Sampled, mpp: float | None) -> segmentation.Calibration | None:
    """Calibrate by the tiles of a sample; `mpp`, micrometres per pixel, bounds the diameter."""
    calibration = sampling.calibrate(sampled.used)
    if calibration is None or calibration.diameter is None:
        return calibration
    return calibration._replace(diameter=rounded(stained.bounded(calibration.diameter, mpp)))


def detection_of(settings: dict, channels: Channels, mpp: Sequence[float] | None) -> dict:
    """Return how the nuclei of a slide are found.

    Parameters
    ----------
    settings : dict
        Of the configuration: ``slide.nuclei``, with the keys of `methods.of_slides`.
    channels : Channels
    mpp : (float, float) or None
        Micrometres per pixel, vertically and horizontally.

    Returns
    -------
    dict
        ``method``, and where the network is used ``model``, as from `methods.of_slides`; or method ``peaks`` with the
        keyword arguments of `nuclei.detect_nuclei`.

    Raises
    ------
    InputError
        As by `tiles.detection_px`.
    """
    threshold = settings["haematoxylin" if channels.is_stained else "fluorescence"]
    if threshold == "auto":
        return {"method": "auto", **{key: settings[key] for key in ("method", "model") if key in settings}}
    return {"method": "peaks", **tiles.detection_px({**settings, "threshold": threshold}, mpp)}


def finder_of(
    detection: dict,
    channels: Channels,
    calibration: segmentation.Calibration | None,
    levels: Levels | None,
) -> Callable[[Block, np.ndarray], MeasuredTile]:
    """Return the function that finds the nuclei of a tile of the sample; arguments as from the functions here."""
    if detection["method"] != "peaks":
        return functools.partial(find_nuclei, channels=channels, calibration=calibration, levels=levels, **detection)
    channel = functools.partial(slide_channels.peaks_image, channels=channels)
    arguments = {key: value for key, value in detection.items() if key != "method"}
    return functools.partial(find_peaks, channel=channel, detection=arguments)


def decisions_of(channels: Channels, levels: Levels | None) -> dict:
    """Return what ``calibration.json`` holds beside what those of plates hold."""
    steps = slide_channels.STEPS_PER_DENSITY if channels.is_stained else 1
    return {
        "modality": channels.modality,
        "channel": channels.detected,
        "steps_per_unit": steps,  # of contrast, noise and background
        "levels": levels and levels._asdict(),
    }


def levels_of_record(record: dict) -> Levels | None:
    """Return the levels that a ``calibration.json`` holds."""
    return record["levels"] and Levels(**record["levels"])


def block_detection(record: dict, facts: dict, settings: dict) -> blocks.Detection | None:
    """Return how the nuclei of a slide are outlined and measured.

    Parameters
    ----------
    record : dict
        The content of ``calibration.json``.
    facts : dict
        The content of ``slide.json``.
    settings : dict
        ``ring_um`` and ``positive`` of the configuration's ``slide``.

    Returns
    -------
    blocks.Detection or None
        None where the slide shows no typical nucleus.

    Raises
    ------
    InputError
        By the slide's pixel size, nuclei or rings are so wide that the halo of a block would be wider than
        `tiles.LARGEST_HALO_PX`.
    """
    calibration, levels = detection_calibration.of_record(record), levels_of_record(record)
    if levels is None:
        return None
    channels, mpp = slide_channels.channels_of(facts), slide_channels.mean_mpp(facts["mpp"])
    # Without a pixel size, by the size of nuclei.
    um = mpp or TYPICAL_UM / calibration.diameter
    detection = blocks.Detection(
        shape=(facts["height"], facts["width"]),
        channels=channels,
        calibration=calibration,
        levels=levels,
        ring_px=settings["ring_um"] / um,
        positive=slide_channels.positive_threshold(channels, settings["positive"]),
        tissue_factor=facts["tissue_factor"],
        **record["settings"]["detection"],
    )
    if mpp and (halo := blocks.halo_of(detection)) > tiles.LARGEST_HALO_PX:
        raise InputError(
            f"at {mpp:.3g} \xb5m a pixel, nuclei are {calibration.diameter:.0f} px wide and rings (ring_um) "
            f"{detection.ring_px:.0f} px, and blocks need a margin of {halo} px; expected at most "
            f"{tiles.LARGEST_HALO_PX}. Is the pixel size right? Column mpp of the sheet of slides sets it"
        )
    return detection


def empty_record(settings: dict) -> dict:
    """Return the ``calibration.json`` of a slide that could not be converted."""
    nothing = sampling.Sampled([], [])
    return detection_calibration.record_of(
        nothing, {}, None, noun="tiles", position_of=position_of, warnings=[], settings=settings, levels=None
    )


def title_of(measured: MeasuredTile) -> str:
    """Return the title of a tile in the picture: where it lies, and how many nuclei it has."""
    return f"row {measured.tile.row}, column {measured.tile.column}: {detection_calibration.counted_nuclei(measured)}"


def note_of(record: dict) -> str:
    """Describe the calibration of a slide in words."""
    if record["settings"]["detection"]["method"] == "peaks":
        return f"peaks: {record['settings']['detection']}"
    if record["levels"] is None:
        return "no typical nucleus"
    contrast = record["contrast"] / record["steps_per_unit"]
    return f"typical nucleus: {record['diameter']:g} px, {contrast:.3g} above what is around it, in {record['channel']}"
