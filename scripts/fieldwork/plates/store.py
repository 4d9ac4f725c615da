"""Write a plate as an OME-Zarr store: all channels and the nuclei, field by field in worker processes."""

import csv
import functools
import itertools
import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from fieldwork import InputError, frames, label_images, outputs, parallel
from fieldwork.frames import FrameError
from fieldwork.inputs import layouts
from fieldwork.omezarr import metadata, plates
from fieldwork.pixel_sizes import pixel_sizes
from fieldwork.plates import images as plate_images
from fieldwork.plates import label_store
from fieldwork.plates.rows import without_channel
from fieldwork.stains import colours_of

SAMPLED_IMAGES = 8  # of each channel, evenly spread over the plate: they decide the channel's contrast
SAMPLED_PIXELS = 2**14  # of each of these images
WINDOW_PERCENTILES = (1, 99.9)  # a little of the background is black, hardly any of the signal is cut off


class StoredField(NamedTuple):
    """A field of the plate: its images of all channels, and its rows of the plate's tables."""

    path: str  # in the store
    well: str
    site: int
    images: list[layouts.Image]
    shape: tuple[int, int] | None  # None: no image of the plate was good
    failed: dict[layouts.Image, str]  # image -> reason
    nuclei: np.ndarray  # (n, 5) int64: time point and z plane (-1: none), ObjectNumber, y, x; of a plate without labels
    labels: list[tuple[int, int, int]]  # time point and z plane (-1: none), row of the plate's labels, if it has some

    def __str__(self):
        return f"the field of well {self.well}, site {self.site}"


class StoreFormat(NamedTuple):
    """What all fields of a store have in common; every worker gets it."""

    store: str  # path, under its temporary name
    channels: list[metadata.Channel]
    nuclei: str  # the name of the nuclei's channel
    timepoints: set[int | None]  # of all fields, so that their axes are the same
    z_planes: set[int | None]
    dtype: str
    labels: str | None  # path of the plate's labels.zarr
    radius: int  # px: of a nucleus's disc, where there are no labels
    settings: dict[str, str | int]  # version, chunk, codec, level


def write(
    images: Sequence[layouts.Image],
    store: str | os.PathLike,
    *,
    plate: str,
    channel: str,
    nuclei: str | os.PathLike,
    fields: str | os.PathLike,
    labels: str | os.PathLike | None,
    sigma: float | None,
    settings: dict[str, str | int],
    on_bad_image: str,
    workers: int,
    progress: bool | str = False,
) -> dict:
    """Write a plate as OME-Zarr.

    The fields of well B02 are ``B/2/0``, ``B/2/1``, .. in the order of their sites. A field is an image
    (t, c, z, y, x) and its label image ``nuclei`` (t, z, y, x): outlines, or a disc for each nucleus. A value is the
    nucleus's ObjectNumber. Its attribute 'fieldwork' names the site, the time points and z planes along the axes, and
    the images that are 0 because they failed or are missing.

    Parameters
    ----------
    images : list of layouts.Image
        Of all channels, in the order of a `layouts.Scan`; at least one.
    store : path-like
        It appears when it is complete, in place of an older one.
    plate : str
        The plate's name.
    channel : str
        The nuclei channel.
    nuclei, fields : path-like
        The plate's tables. An image that failed there fails here; the other images of its field need its shape.
    labels : path-like, optional
        The plate's labels.zarr. Without it, nuclei are discs.
    sigma : float or None
        Of the detection, in pixels; rounded, the radius of a nucleus's disc. None: nuclei have areas, which say it.
    settings : dict
        version, chunk, codec, level, as for `omezarr.plates.write_field`; the codec ``keep``, for slides, is ``zstd``
        here.
    on_bad_image : {'record', 'stop'}
        A bad image is 0 and listed, or ends the job.
    workers : int
        Number of processes; each holds one field.
    progress : bool or str
        As for `parallel.map_frames`.

    Returns
    -------
    dict
        The summary beside the store: channels, fields, failed images, missing images.

    Raises
    ------
    InputError
        ``stop``, and an image is bad; names it.
    """
    with open(fields, encoding="utf-8", newline="") as stream:
        rows = [{without_channel(column): text for column, text in row.items()} for row in csv.DictReader(stream)]
    nuclei_by_field, radius = {}, sigma
    if not labels:
        nuclei_by_field, radius = parallel.call_in_process(os.fspath(nuclei), _nuclei_of, nuclei, sigma)
    todo = _fields_of(images, rows, nuclei_by_field, channel)
    channels, dtype = _channels(images, channel, [image for field in todo for image in field.failed], workers)
    settings = settings | ({"codec": "zstd"} if settings["codec"] == "keep" else {})
    failed, missing = [], []
    with outputs.atomic_folder(store) as part:
        counts = Counter(field.well for field in todo)
        parallel.call_in_process(os.fspath(store), _lay_out, part, counts, settings["version"], plate)
        store_format = StoreFormat(
            store=os.fspath(part),
            channels=channels,
            nuclei=channel,
            timepoints={image.timepoint for image in images} | _numbers(rows, "Metadata_Timepoint"),
            z_planes={image.z for image in images} | _numbers(rows, "Metadata_ZPlane"),
            dtype=dtype,
            labels=os.fspath(labels) if labels else None,
            radius=max(1, round(radius or 0)),
            settings=settings,
        )
        for field, state in zip(todo, _write_fields(todo, store_format, workers, progress), strict=True):
            names = {"field": field.path, "well": field.well, "site": field.site}
            failed += [names | entry for entry in state["failed"]]
            missing += [names | entry for entry in state["missing"]]
        if failed and on_bad_image == "stop":
            raise InputError(
                f"plate {plate}: {failed[0]['path']} failed: {failed[0]['error']}. The run stops at a bad image "
                "because of on_bad_image: stop."
            )
    return {
        "plate": plate,
        **settings,
        "channels": [entry._asdict() for entry in channels],
        "fields": [{"path": field.path, "well": field.well, "site": field.site} for field in todo],
        "failed": failed,
        "missing": missing,
    }


def _nuclei_of(path, sigma):
    """Read a table of nuclei: (well, site) -> `StoredField.nuclei`, and the radius of discs, in px."""
    import pyarrow.parquet as pq  # it starts a thread, and forks follow in the calling process

    names, area = ["Metadata_Timepoint", "Metadata_ZPlane", "ObjectNumber"], "Nuclei_AreaShape_Area"
    wanted = {"Metadata_Well", "Metadata_Site", *names, area, *(f"Nuclei_Location_Center_{axis}" for axis in "YX")}
    table = pq.read_table(path, columns=[name for name in pq.read_schema(path).names if name in wanted])
    columns = [
        table[name].fill_null(-1).to_numpy() if name in table.column_names else np.full(len(table), -1)
        for name in names
    ]
    columns += [np.rint(table[f"Nuclei_Location_Center_{axis}"].to_numpy()) for axis in "YX"]
    values = np.column_stack(columns).astype(np.int64)
    keys = list(zip(table["Metadata_Well"].to_pylist(), table["Metadata_Site"].to_pylist(), strict=True))
    by_field, start = {}, 0
    for key, group in itertools.groupby(keys):
        end = start + len(list(group))
        by_field.setdefault(key, []).append(values[start:end])
        start = end
    radius = label_images.usual_radius(table[area].to_numpy()) if sigma is None else sigma
    return {key: np.concatenate(parts) for key, parts in by_field.items()}, radius


def _fields_of(images, rows, nuclei, channel):
    """Collect the images, the shape and the nuclei of each field; `rows` are of the plate's fields.csv."""
    shapes = {}  # well, site -> shape of the good images
    reasons = {}  # well, site, folder, file -> why the image failed
    labels = {}  # well, site -> `StoredField.labels`
    for number, row in enumerate(rows):
        well_and_site = row["Metadata_Well"], int(row["Metadata_Site"])
        if row["Image_Status"] == "ok":
            shape = int(row["Image_Height"]), int(row["Image_Width"])
            if shapes.setdefault(well_and_site, shape) == shape:
                timepoint, z = (int(row.get(name) or -1) for name in ("Metadata_Timepoint", "Metadata_ZPlane"))
                labels.setdefault(well_and_site, []).append((timepoint, z, number))
        else:
            reasons[*well_and_site, row["PathName_DNA"], row["FileName_DNA"]] = row["Image_Error"]
    [(usual, _)] = Counter(shapes.values()).most_common(1) or [(None, 0)]
    fields, number = [], Counter()
    for (well, site), group in itertools.groupby(images, key=lambda image: (image.well, image.site)):
        group = list(group)
        keys = {image: (well, site, *os.path.split(image.path)) for image in group if image.channel == channel}
        fields.append(
            StoredField(
                path=f"{plates.well_path(well)}/{number[well]}",
                well=well,
                site=site,
                images=group,
                shape=shapes.get((well, site), usual),
                failed={image: reasons[key] for image, key in keys.items() if key in reasons},
                nuclei=nuclei.get((well, site), np.empty((0, 5), np.int64)),
                labels=labels.get((well, site), []),
            )
        )
        number[well] += 1
    return fields


def _numbers(rows, column):
    """Return the numbers in a column, which may be absent or partly empty."""
    return {int(row[column]) for row in rows if row.get(column)}


def _channels(images, nuclei, failed, workers):
    """Choose a colour and a contrast for each channel; return the channels, and the dtype of the plate's images."""
    by_channel, left_out = {}, set(failed)
    for image in images:
        by_channel.setdefault(image.channel, []).append(image)
    names = sorted(by_channel, key=layouts.natural)
    chosen = []
    for name in names:
        good = [image for image in by_channel[name] if image not in left_out]
        chosen += good[:: math.ceil(len(good) / SAMPLED_IMAGES) or 1]
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
    """Return some pixels of an image, evenly spread, as a 1-D array; None if the image is bad."""
    try:
        pixels = _planes_in(image, nuclei)[0].image
    except FrameError:
        return None
    step = math.isqrt(pixels.size // SAMPLED_PIXELS) or 1
    return pixels[::step, ::step].ravel()


def _window(pixels):
    """Return the range of a channel's values, and the range that viewers show (see `omezarr.metadata.Channel`)."""
    if pixels.dtype.kind == "f":
        lowest, highest = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 1.0)
        start, end = np.percentile(pixels, WINDOW_PERCENTILES).tolist() if pixels.size else (lowest, highest)
        step = max(1, abs(start))
    else:
        lowest, highest = np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max
        start, end = (
            map(round, np.percentile(pixels, WINDOW_PERCENTILES).tolist()) if pixels.size else (lowest, highest)
        )
        start, step = min(start, int(highest) - 1), 1
    return {"min": lowest, "max": highest, "start": start, "end": end if end > start else start + step}


def _lay_out(store, wells, version, name):
    """Create the store of a plate, without pixels."""
    plates.create_plate(store, wells=wells, version=version, name=name)


def _write_fields(fields, store_format, workers, progress):
    """Write all fields; return their states, in order."""
    write_field = functools.partial(_write_field, store_format=store_format)
    states = list(
        parallel.map_frames(write_field, fields, workers=workers, progress=progress, on_crash=lambda *_: None)
    )
    for number, field in enumerate(fields):
        if states[number] is None:
            # A worker crashed. Reading each image in a process of its own finds the images to leave out.
            try_to_read = functools.partial(_crash_if_unreadable, nuclei=store_format.nuclei)
            crashes = parallel.map_frames(try_to_read, field.images, on_crash=_crashed)
            failed = {image: reason for image, reason in zip(field.images, crashes, strict=True) if reason}
            field = field._replace(failed=failed | field.failed)
            [states[number]] = parallel.map_frames(write_field, [field])
    return states


def _crashed(image, reason):
    """Return the reason of an image that crashed its reader."""
    return f"crashed the reader ({reason})"


def _crash_if_unreadable(image, nuclei):
    """Read an image and drop it: this process ends if the image crashes the reader; other faults are ignored."""
    with suppress(FrameError):
        _planes_of(image, nuclei)


def _planes_in(image, nuclei):
    """Read an image's planes. A file that names only other channels is used for the nuclei channel alone."""
    if image.fault:
        raise FrameError(image.fault)
    source = (image.copy or image.path, *image.inside)
    return plate_images.read_file(source, channel=image.channel, exact=image.channel != nuclei)


def _planes_of(image, nuclei):
    """Read an image's planes: time point, z plane, pixels; a time point or z plane in the file's name counts first."""
    planes = frames.with_position(_planes_in(image, nuclei), timepoint=image.timepoint, z=image.z)
    return [(plane.timepoint, plane.z, plane.image) for plane in planes]


def _read(field, nuclei):
    """Read a field: its planes (image, time point, z plane, pixels), image -> why it failed, (rows, columns)."""
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
            actual, usual = (f"{height} x {width} px" for height, width in (pixels.shape, shape))
            failed[image] = f"wrong shape: found {actual}, the field's images are {usual}"
    return [plane for plane in read if plane[0] not in failed], failed, shape


def _write_field(field, *, store_format):
    """Write one field; return its failed and its missing images."""
    read, failed, shape = _read(field, store_format.nuclei)
    timepoints = _axis(store_format.timepoints.union(timepoint for _, timepoint, _, _ in read))
    z_planes = _axis(store_format.z_planes.union(z for _, _, z, _ in read))
    axes = timepoints, [channel.label for channel in store_format.channels], z_planes
    dtype = np.result_type(store_format.dtype, *(pixels.dtype for *_, pixels in read))
    field_pixels = np.zeros((*map(len, axes), *shape), dtype)
    missing = dict.fromkeys(itertools.product(*axes))
    while read:  # `pop`: a plane's memory is freed once it is copied
        image, timepoint, z, pixels = read.pop(0)
        plane = timepoints[0] if timepoint is None else timepoint, image.channel, z_planes[0] if z is None else z
        if plane in missing:
            del missing[plane]
            field_pixels[tuple(axis.index(value) for axis, value in zip(axes, plane, strict=True))] = pixels
        else:
            failed[image] = "another image of the channel has the same time point and z plane"
    for image in failed:
        named = image.timepoint, image.channel, image.z
        for plane in list(missing):
            if all(name in (None, value) for name, value in zip(named, plane, strict=True)):
                del missing[plane]
    state = {
        "failed": [_described(image) | {"error": failed[image]} for image in field.images if image in failed],
        "missing": [dict(zip(("timepoint", "channel", "z"), plane, strict=True)) for plane in missing],
    }
    plates.write_field(
        f"{store_format.store}/{field.path}",
        field_pixels,
        labels={"nuclei": _labels_of(field, store_format, timepoints, z_planes, shape)},
        sizes=next((pixel_sizes(image.copy or image.path) for image in field.images if image not in failed), {}),
        name=f"{field.well}, site {field.site}",
        channels=store_format.channels,
        attributes={
            "well": field.well,
            "site": field.site,
            "timepoints": [timepoint for timepoint in timepoints if timepoint is not None],
            "z_planes": [z for z in z_planes if z is not None],
            **state,
        },
        **store_format.settings,
    )
    return state


def _described(image):
    """Return an image's record without the path of its local copy, which only this machine has."""
    return {name: value for name, value in image._asdict().items() if name not in ("copy", "inside")}


def _axis(values):
    """Return the sorted values along an axis, without None: an image without a value goes to the first."""
    return sorted(value for value in values if value is not None) or [None]


def _labels_of(field, store_format, timepoints, z_planes, shape):
    """Return the label image of a field, (t, z, y, x) uint32; `timepoints` and `z_planes` are its axes."""

    def index(axis, values):
        return 0 if axis == [None] else np.searchsorted(axis, values)

    shape = len(timepoints), len(z_planes), *shape
    if store_format.labels is None:
        nuclei = field.nuclei.copy()
        nuclei[:, 0], nuclei[:, 1] = index(timepoints, nuclei[:, 0]), index(z_planes, nuclei[:, 1])
        return discs(nuclei, shape, radius=store_format.radius)
    array, labels = label_store.open_labels(store_format.labels), np.zeros(shape, np.uint32)
    for timepoint, z, row in field.labels:
        labels[index(timepoints, timepoint), index(z_planes, z)] = array[row, : shape[2], : shape[3]]
    return labels


def discs(nuclei: np.ndarray, shape: tuple[int, int, int, int], *, radius: int) -> np.ndarray:
    """Draw nuclei as discs; where discs overlap, a pixel belongs to the nearest nucleus.

    Parameters
    ----------
    nuclei : (n, 5) integer array
        t, z, value, y and x of each nucleus.
    shape : (int, int, int, int)
        t, z, y, x.
    radius : int
        In pixels.

    Returns
    -------
    (t, z, y, x) uint32 array
        0 where there is no nucleus.
    """
    image = np.zeros(shape, np.uint32)
    t, z, value, *centre = nuclei.T
    around = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1).T
    distance = np.hypot(*around.T)
    for index in np.argsort(-distance, kind="stable"):  # from the rim to the centre: what is nearer is drawn later
        y, x = centre + around[index, :, None]
        inside = (distance[index] <= radius) & (y >= 0) & (y < shape[2]) & (x >= 0) & (x < shape[3])
        image[t[inside], z[inside], y[inside], x[inside]] = value[inside]
    return image
