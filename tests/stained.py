"""Stained tissue whose nuclei are known, and slides of it, converted and detected as jobs do."""

import functools
import json

import numpy as np
import pyarrow.parquet as pq

import calibrate_slide
import convert_slide
import detect_slide_nuclei
import plot_slide_calibration
from fieldwork import optical_densities, outputs
from fieldwork.segmentation import sampling
from fieldwork.slides import calibration, channels, ground, overview
from fieldwork.tissue.samples import sample_of
from slide_files import write_slide
from training import evaluation, fields

AUTO = {"nuclei": {"haematoxylin": "auto", "fluorescence": "auto", "sigma_um": 1.5, "min_distance_um": 2.5}} | {
    "ring_um": 2,
    "positive": 0.2,
}
AUTO["nuclei"] |= {"sigma": 3, "min_distance": 5}
CONVERSION = {"reader": "tifffile", "version": "0.5", "chunk": 256, "shard": 512, "codec": "zstd", "level": 1}
CONVERSION |= {"keep_associated": True, "keep_properties": True}
RADIUS_PX = 8  # of planted nuclei, at 0.5 um
HAEMATOXYLIN, EOSIN, DAB = 0.55, 0.12, 0.5  # optical densities
SERIAL = {"engine": "serial", "mode": "paths", "dask": "processes"}


def plant(shape, centres, *, brown=(), brown_stains=(HAEMATOXYLIN, DAB), stroma=(0, EOSIN), glass=(245, 245, 245)):
    """Draw round nuclei of haematoxylin in pale stroma, some of them brown; a frame of 60 px is glass.

    `brown_stains` are haematoxylin and DAB of these, `stroma` haematoxylin and eosin around.
    """
    rng = np.random.default_rng(0)
    density = np.zeros((*shape, 3), np.float32)
    density[60:-60, 60:-60, :2] = stroma
    rows, columns = np.mgrid[-12:13, -12:13]
    cover = np.clip(RADIUS_PX + 0.5 - np.hypot(rows, columns), 0, 1)
    for number, (row, column) in enumerate(centres):
        part = density[row - 12 : row + 13, column - 12 : column + 13]
        haematoxylin, dab = brown_stains if number in brown else (HAEMATOXYLIN, 0)
        part[..., 0] = np.maximum(part[..., 0], haematoxylin * cover)
        part[..., 2] = np.maximum(part[..., 2], dab * cover)
    density *= 1 + 0.05 * rng.standard_normal((*shape, 1), np.float32)
    stains = np.array(list(optical_densities.STAINS.values()), np.float32)
    return np.rint(glass * 10 ** -(density @ stains)).clip(0, 255).astype(np.uint8)


def grid(shape, period, *, start=90):
    """Return rows and columns of centres, (n, 2), a period apart: borders run through nuclei at many offsets."""
    rows = np.arange(start, shape[0] - start, period)
    columns = np.arange(start, shape[1] - start, period)
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    centres[..., 1] += (np.arange(len(rows)) * 5 % 12)[:, None]
    return centres.reshape(-1, 2)


def convert(folder, image, **changes):
    """Convert a picture, or the slide of a path, to a store; return what slide.json says."""
    path = write_slide(folder / "slide.tif", image) if isinstance(image, np.ndarray) else image
    settings = CONVERSION | changes
    convert_slide.main(
        slide="S",
        path=str(path),
        copy=str(path),
        store=str(folder / "S.ome.zarr"),
        facts_file=folder / "slide.json",
        on_bad_image="record",
        max_failed=0.05,
        workers=1,
        made_by="test",
        **settings,
    )
    return outputs.read_json(folder / "slide.json")


def calibrate(folder, *, settings=AUTO, picture=False):
    """Calibrate a converted slide as the rule does; return its record."""
    common = {
        "slide": "S",
        "facts": folder / "slide.json",
        "store": folder / "S.ome.zarr",
        "pool": SERIAL,
        "workers": 1,
    }
    calibrate_slide.main(settings=settings["nuclei"], outcome=folder / "calibration.json", **common)
    if picture:
        plot_slide_calibration.main(record=folder / "calibration.json", picture=folder / "calibration.png", **common)
    return json.loads((folder / "calibration.json").read_text())


def detect(folder, *, settings=AUTO, tile=512, pool=SERIAL, workers=1, annotations=None):
    """Detect the nuclei of a calibrated slide as the rule does; return the tables of nuclei and of tiles."""
    detect_slide_nuclei.main(
        slide="S",
        facts=folder / "slide.json",
        record=folder / "calibration.json",
        store=folder / "S.ome.zarr",
        nuclei_table=folder / "nuclei.parquet",
        tiles_table=folder / "tiles.parquet",
        tile=tile,
        settings=settings,
        made_of={"digest": "test"},
        device="cpu",
        pool=pool,
        workers=workers,
        annotations=annotations,
    )
    return pq.read_table(folder / "nuclei.parquet"), pq.read_table(folder / "tiles.parquet")


def seen(image, *, mpp=None, fluorescence=False, modality=None, nuclei_channel=None):
    """Return the tissue of a picture in memory, and what a conversion decides about it."""
    sizes = mpp and (mpp, mpp)
    picture = overview.Overview(image.shape[:2], factor=overview.factor_of(sizes))
    picture.add(0, 0, *image.shape[:2], overview.packed_sums(image, 0, 0, factor=picture.factor))
    facts = {"mpp": sizes, "failed_tiles": [], "fluorescence": fluorescence, "fluorescence_stated": False}
    facts["nuclei_channel"] = None  # in colour
    mask, found = ground.describe(picture, facts, modality, functools.partial(fields.part_of, image), nuclei_channel)
    return mask, facts | found


def outline(image, *, mpp=None, method="auto", **stated):
    """Outline the nuclei of a picture in memory as a slide's are, without a setting.

    Parameters
    ----------
    image : (rows, columns, 3) uint8 array
    mpp : float, optional
    method : str
        Of `outlining.METHODS`.
    **stated
        As for `seen`.

    Returns
    -------
    (rows, columns) int32 array
        The nuclei in tissue.
    facts : dict
        What was decided: modality, tissue ...
    """
    mask, facts = seen(image, mpp=mpp, **stated)
    shape, read = image.shape[:2], functools.partial(fields.part_of, image)
    facts |= {"height": shape[0], "width": shape[1]}
    slide = channels.channels_of(facts)
    tiles = sample_of(shape, mask, facts["tissue_factor"])
    readings = (calibration.measure_tile(tile, read(*tile), channels=slide, mpp=mpp) for tile in tiles)
    sampled = sampling.take(readings, usual_form=calibration.usual_form)
    typical, used = calibration.calibrate(sampled, mpp), [reading.source for reading in sampled.used]
    levels = calibration.levels_of(used, typical, read=lambda tile: read(*tile), channels=slide, **SERIAL)
    record = {**(typical._asdict() if typical else {}), "levels": levels and levels._asdict()}
    record["settings"] = {"detection": {"method": method}}
    if levels is None:
        return np.zeros(shape, np.int32), facts
    detection = calibration.block_detection(record, facts, AUTO)
    return evaluation.labels_of_slide(fields.Slide(image, mask, detection)), facts
