"""A plate into an OME-Zarr store: field by field in worker processes, with all channels and the nuclei found."""

import csv
import functools
import itertools
import math
import os
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from fieldwork import InputError, frames, outputs, parallel
from fieldwork.frames import FrameError
from fieldwork.inputs import layouts
from fieldwork.omezarr import metadata, plates
from fieldwork.pixel_sizes import pixel_sizes
from fieldwork.stains import colours_of

SAMPLED = 8  # images of each channel, evenly spread over the plate, of which the contrast is taken
SAMPLED_PIXELS = 2**14  # of each of them
SHOWN = (1, 99.9)  # percentiles: of the background a little is black, of the signal hardly anything is cut off


class Field(NamedTuple):
    """One field of a plate: its images of all channels, and what the plate's tables say of it."""

    path: str  # in the store
    well: str
    site: int
    images: list[layouts.Image]
    shape: tuple[int, int] | None
    failed: dict[layouts.Image, str]
    nuclei: np.ndarray  # (n, 5) integers: time point and z plane (-1: none), ObjectNumber, y, x

    def __str__(self):
        return f"the field of well {self.well}, site {self.site}"


class Plan(NamedTuple):
    """What every worker needs to know."""

    store: str  # under its temporary name
    channels: list[metadata.Channel]
    nuclei: str  # the name of their channel
    timepoints: set[int | None]  # of the whole plate, for axes that are the same in all fields
    z_planes: set[int | None]
    dtype: str
    radius: int  # px: of a nucleus's disc
    settings: dict[str, str | int]  # of the store: version, chunk, codec, level


def write(images, store, *, plate, channel, nuclei, fields, sigma, settings, on_bad_image, workers, progress=False):
    """Write a plate as OME-Zarr.

    Fields are ``B/2/0``, ``B/2/1``, .. of well B02, in the order of their sites: an image (t, c, z, y, x) and its label
    image ``nuclei`` (t, z, y, x), a disc around each nucleus, of the value of its ObjectNumber. A field's attribute
    'fieldwork' says which site it is, which time points and z planes there are along its axes, and which of its images
    are 0 as they failed or are missing.

    Parameters
    ----------
    images : list of layouts.Image
        Of all channels, in the order of a `layouts.Scan`; at least one.
    store : path-like
        It appears when it is complete, in place of an older one.
    plate : str
        Its name.
    channel : str
        That of the nuclei.
    nuclei, fields : path-like
        The plate's tables. An image that failed there fails here, and the others of its field are to be of its shape.
    sigma : float
        Of the detection, in pixels; rounded, the radius of a nucleus's disc.
    settings : dict
        version, chunk, codec, level, as for `plates.write_field`; the codec ``keep``, for slides, is ``zstd`` here.
    on_bad_image : {'record', 'stop'}
        A bad image is 0 and listed, or ends the job.
    workers : int
        Processes; each holds one field.
    progress : bool or str
        As for `parallel.map_frames`.

    Returns
    -------
    dict
        What the summary beside the store says: channels, fields, failed images, missing images.

    Raises
    ------
    InputError
        ``stop``, and an image is bad; names it.
    """
    with open(fields, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = parallel.call_in_process(os.fspath(nuclei), _nuclei_by_field, nuclei)
    todo = _fields_of(images, rows, found, channel)
    channels, dtype = _channels(images, channel, [image for field in todo for image in field.failed], workers)
    settings = settings | ({"codec": "zstd"} if settings["codec"] == "keep" else {})
    failed, missing = [], []
    with outputs.atomic_folder(store) as part:
        counts = Counter(field.well for field in todo)
        parallel.call_in_process(os.fspath(store), _lay_out, part, counts, settings["version"], plate)
        plan = Plan(
            store=os.fspath(part),
            channels=channels,
            nuclei=channel,
            timepoints={image.timepoint for image in images} | _numbers(rows, "Metadata_Timepoint"),
            z_planes={image.z for image in images} | _numbers(rows, "Metadata_ZPlane"),
            dtype=dtype,
            radius=max(1, round(sigma)),
            settings=settings,
        )
        for field, state in zip(todo, _write_fields(todo, plan, workers, progress), strict=True):
            place = {"field": field.path, "well": field.well, "site": field.site}
            failed += [place | entry for entry in state["failed"]]
            missing += [place | entry for entry in state["missing"]]
        if failed and on_bad_image == "stop":
            raise InputError(
                f"plate {plate}: {failed[0]['path']} failed: {failed[0]['error']}. The run stops at a bad image "
                "because of on_bad_image: stop."
            )
    return {
        "plate": plate,
        **settings,
        "channels": [each._asdict() for each in channels],
        "fields": [{"path": field.path, "well": field.well, "site": field.site} for field in todo],
        "failed": failed,
        "missing": missing,
    }


def _nuclei_by_field(path):
    """Read a table of nuclei: well and site -> what `Field.nuclei` is. Arrow starts a thread, and forks follow."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    names = ["Metadata_Timepoint", "Metadata_ZPlane", "ObjectNumber"]
    columns = [
        table[name].fill_null(-1).to_numpy() if name in table.column_names else np.full(len(table), -1)
        for name in names
    ]
    columns += [np.rint(table[f"Nuclei_Location_Center_{axis}"].to_numpy()) for axis in "YX"]
    values = np.column_stack(columns).astype(np.int64)
    keys = list(zip(table["Metadata_Well"].to_pylist(), table["Metadata_Site"].to_pylist(), strict=True))
    found, start = {}, 0
    for key, group in itertools.groupby(keys):
        end = start + len(list(group))
        found.setdefault(key, []).append(values[start:end])
        start = end
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _fields_of(images, rows, nuclei, channel):
    """Bring together what belongs to each field; ``rows`` are of the plate's fields.csv."""
    good = {}  # well and site -> shape
    reasons = {}
    for row in rows:
        place = row["Metadata_Well"], int(row["Metadata_Site"])
        if row["Image_Status"] == "ok":
            good.setdefault(place, (int(row["Image_Height"]), int(row["Image_Width"])))
        else:
            reasons[*place, row["PathName_DNA"], row["FileName_DNA"]] = row["Image_Error"]
    [(usual, _)] = Counter(good.values()).most_common(1) or [(None, 0)]
    fields, number = [], Counter()
    for (well, site), group in itertools.groupby(images, key=lambda image: (image.well, image.site)):
        group = list(group)
        keys = {image: (well, site, *os.path.split(image.path)) for image in group if image.channel == channel}
        fields.append(
            Field(
                path=f"{plates.well_path(well)}/{number[well]}",
                well=well,
                site=site,
                images=group,
                shape=good.get((well, site), usual),
                failed={image: reasons[key] for image, key in keys.items() if key in reasons},
                nuclei=nuclei.get((well, site), np.empty((0, 5), np.int64)),
            )
        )
        number[well] += 1
    return fields


def _numbers(rows, column):
    return {int(row[column]) for row in rows if row.get(column)}


def _channels(images, nuclei, failed, workers):
    """Choose how each channel is shown; give the dtype of the plate's images, too."""
    by_channel, left_out = {}, set(failed)
    for image in images:
        by_channel.setdefault(image.channel, []).append(image)
    names = sorted(by_channel, key=layouts.natural)
    chosen = []
    for name in names:
        good = [image for image in by_channel[name] if image not in left_out]
        chosen += good[:: math.ceil(len(good) / SAMPLED) or 1]
    sample = functools.partial(_sample, nuclei=nuclei)
    samples = list(parallel.map_frames(sample, chosen, workers=workers, on_crash=lambda *_: None))
    dtype = np.result_type(*[sample.dtype for sample in samples if sample is not None] or ["uint16"])
    colours = colours_of(names, nuclei)
    channels = []
    for name in names:
        sampled = zip(chosen, samples, strict=True)
        pixels = [sample for image, sample in sampled if image.channel == name and sample is not None]
        pixels = np.concatenate([np.zeros(0, dtype), *pixels])
        channels.append(metadata.Channel(name, colours[name], _window(pixels)))
    return channels, dtype.name


def _sample(image, nuclei):
    """Read some pixels of an image, evenly spread; None of a bad one."""
    try:
        pixels = _planes_in(image, nuclei)[0].image
    except FrameError:
        return None
    step = math.isqrt(pixels.size // SAMPLED_PIXELS) or 1
    return pixels[::step, ::step].ravel()


def _window(pixels):
    """Say which values there can be in a channel, and which are shown (see `omezarr.metadata.Channel`)."""
    if pixels.dtype.kind == "f":
        lowest, highest = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 1.0)
        start, end = np.percentile(pixels, SHOWN).tolist() if pixels.size else (lowest, highest)
        step = max(1, abs(start))
    else:
        lowest, highest = np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max
        start, end = map(round, np.percentile(pixels, SHOWN).tolist()) if pixels.size else (lowest, highest)
        start, step = min(start, int(highest) - 1), 1
    return {"min": lowest, "max": highest, "start": start, "end": end if end > start else start + step}


def _lay_out(store, wells, version, name):
    plates.create_plate(store, wells=wells, version=version, name=name)


def _write_fields(fields, plan, workers, progress):
    """Write all fields; give each one's state, in order."""
    write_field = functools.partial(_write_field, plan=plan)
    states = list(
        parallel.map_frames(write_field, fields, workers=workers, progress=progress, on_crash=lambda *_: None)
    )
    for number, field in enumerate(fields):
        if states[number] is None:
            # Which image did it? Each is read in a process of its own; then the field is written without those.
            try_to_read = functools.partial(_whether_readable, nuclei=plan.nuclei)
            crashes = parallel.map_frames(try_to_read, field.images, on_crash=_crashed)
            failed = {image: reason for image, reason in zip(field.images, crashes, strict=True) if reason}
            field = field._replace(failed=failed | field.failed)
            [states[number]] = parallel.map_frames(write_field, [field])
    return states


def _crashed(image, reason):
    return f"crashed the reader ({reason})"


def _whether_readable(image, nuclei):
    """Read an image, or crash; whether it is a good one does not matter here."""
    with suppress(FrameError):
        _planes_of(image, nuclei)


def _planes_in(image, nuclei):
    """Read an image's planes. A file that calls no channel by the image's can be asked for that of the nuclei only."""
    return frames.read(image.copy or image.path, channel=image.channel, exact=image.channel != nuclei)


def _planes_of(image, nuclei):
    """Read an image's planes: time point, z plane, pixels, with the former two from its name where that has them."""
    planes = frames.with_position(_planes_in(image, nuclei), timepoint=image.timepoint, z=image.z)
    return [(plane.timepoint, plane.z, plane.image) for plane in planes]


def _read(field, nuclei):
    """Read a field: its planes (image, time point, z plane, pixels), reasons of failed images, rows and columns."""
    read, failed = [], dict(field.failed)
    for image in field.images:
        if image not in failed:
            try:
                read += [(image, *plane) for plane in _planes_of(image, nuclei)]
            except FrameError as error:
                failed[image] = str(error)
    shapes = Counter(pixels.shape for *_, pixels in read)
    shape = field.shape or max(shapes, key=shapes.get, default=(1, 1))
    for image, *_, pixels in read:
        if pixels.shape != shape:
            found, usual = (f"{height} x {width} px" for height, width in (pixels.shape, shape))
            failed[image] = f"wrong shape: found {found}, the field's images are {usual}"
    return [each for each in read if each[0] not in failed], failed, shape


def _write_field(field, *, plan):
    """Write one field; give which of its images failed and are missing."""
    read, failed, shape = _read(field, plan.nuclei)
    timepoints = _axis(plan.timepoints.union(timepoint for _, timepoint, _, _ in read))
    z_planes = _axis(plan.z_planes.union(z for _, _, z, _ in read))
    axes = timepoints, [channel.label for channel in plan.channels], z_planes
    dtype = np.result_type(plan.dtype, *(pixels.dtype for *_, pixels in read))
    field_pixels = np.zeros((*map(len, axes), *shape), dtype)
    missing = dict.fromkeys(itertools.product(*axes))
    while read:  # each goes when it is copied
        image, timepoint, z, pixels = read.pop(0)
        place = timepoints[0] if timepoint is None else timepoint, image.channel, z_planes[0] if z is None else z
        if place in missing:
            del missing[place]
            field_pixels[tuple(axis.index(value) for axis, value in zip(axes, place, strict=True))] = pixels
        else:
            failed[image] = "another image of the channel has the same time point and z plane"
    for image in failed:
        for place in list(missing):
            if all(
                one in (None, other)
                for one, other in zip((image.timepoint, image.channel, image.z), place, strict=True)
            ):
                del missing[place]
    state = {
        "failed": [_described(image) | {"error": failed[image]} for image in field.images if image in failed],
        "missing": [dict(zip(("timepoint", "channel", "z"), place, strict=True)) for place in missing],
    }
    nuclei = field.nuclei.copy()
    for column, axis in enumerate((timepoints, z_planes)):
        nuclei[:, column] = 0 if axis == [None] else np.searchsorted(axis, nuclei[:, column])
    plates.write_field(
        f"{plan.store}/{field.path}",
        field_pixels,
        labels={"nuclei": discs(nuclei, (len(timepoints), len(z_planes), *shape), radius=plan.radius)},
        sizes=next((pixel_sizes(image.copy or image.path) for image in field.images if image not in failed), {}),
        name=f"{field.well}, site {field.site}",
        channels=plan.channels,
        attributes={
            "well": field.well,
            "site": field.site,
            "timepoints": [timepoint for timepoint in timepoints if timepoint is not None],
            "z_planes": [z for z in z_planes if z is not None],
            **state,
        },
        **plan.settings,
    )
    return state


def _described(image):
    return {name: value for name, value in image._asdict().items() if name != "copy"}


def _axis(values):
    """Put the places along an axis in order; those of images without a place on it are the first."""
    return sorted(value for value in values if value is not None) or [None]


def discs(nuclei, shape, *, radius):
    """Draw nuclei as discs; where they overlap, a pixel is of the nearest one.

    Parameters
    ----------
    nuclei : (n, 5) integer array
        t, z, value, y and x of each.
    shape : (int, int, int, int)
        t, z, y, x.
    radius : int

    Returns
    -------
    (t, z, y, x) uint32 array
        0 where there is no nucleus.
    """
    image = np.zeros(shape, np.uint32)
    t, z, value, *centre = nuclei.T
    around = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1).T
    distance = np.hypot(*around.T)
    for index in np.argsort(-distance, kind="stable"):  # from afar to the centre: what is nearer is drawn later
        y, x = centre + around[index, :, None]
        inside = (distance[index] <= radius) & (y >= 0) & (y < shape[2]) & (x >= 0) & (x < shape[3])
        image[t[inside], z[inside], y[inside], x[inside]] = value[inside]
    return image
