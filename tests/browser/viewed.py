"""A folder of results as a run writes it, and a server that shows it."""

import asyncio
import http.client
import io
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile

from browser import Browser
from workspace import REPOSITORY

VIEWER = "document.querySelector('.image')?.picture.viewer"  # OpenSeadragon's, on the page
SHAPE = 96, 128  # px, of a field
NUCLEI = {  # well, site -> column and row of each nucleus: a bright pixel of the field, alone
    ("B02", 1): [(20, 30), (100, 70), (64, 10)],
    ("B02", 2): [(0, 0), (127, 95)],
    ("B03", 1): [(50, 50)],
    ("C02", 1): [],
}
FAILED = [("B03", 2), ("C03", 1)]
SLIDE = 1300, 2100  # px: not a multiple of anything
COLOURS = [(250, 240, 200), (200, 250, 240), (240, 200, 250)]  # of a slide's levels: a picture reveals its level
SLIDE_NUCLEI = [(300, 200), (2099, 1299), (1234, 700)]

# Runs in an interpreter of its own: zarr and pyarrow start threads, after which no other test could fork.
PROGRAM = """
import json, sys
import numpy as np, pyarrow as pa
from fieldwork import outputs
from fieldwork.omezarr import slides as omezarr
from fieldwork.plates import nuclei_table, tables
import viewed
viewed.write_tables({folder!r}, outputs, tables, nuclei_table, pa)
viewed.write_slides({folder!r}, omezarr, outputs, pa)
viewed.write_outlines({folder!r}, outputs, pa)
viewed.write_channels({folder!r}, outputs, tables, pa)
viewed.write_movie({folder!r}, outputs, pa)
"""


def write_tables(folder, outputs, tables, nuclei_table, pa):
    """Write a plate with failed fields, and a stack, as merge_units and measure_frames do."""
    plate = Path(folder, "results", "plates", "week 1")
    plate.mkdir(parents=True)
    rows, nuclei = [], []
    for well, site in sorted([*NUCLEI, *FAILED]):
        good = (well, site) in NUCLEI
        row = dict.fromkeys(tables.FIELDS.names) | {
            "Metadata_Plate": "week 1",
            "Metadata_Well": well,
            "Metadata_Site": site,
            "FileName_DNA": f"{well}_s{site}.tif",
            "PathName_DNA": "images",
            "Image_Count_Nuclei": len(NUCLEI[well, site]) if good else None,
            "Image_Status": "ok" if good else "failed",
            "Image_Error": None if good else "empty file (0 bytes)",
        }
        rows.append(row)
        for number, (x, y) in enumerate(NUCLEI.get((well, site), []), 1):
            position = {"Nuclei_Location_Center_X": x, "Nuclei_Location_Center_Y": y, "Nuclei_Intensity_Peak": 9.0}
            nuclei.append({**row, "ObjectNumber": number, **position})
    wells, columns = tables.wells_of(rows, {"B02": {"Metadata_compound": "<i>DMSO</i>"}})
    outputs.write_csv(rows, [name for name in tables.FIELDS.names if name not in tables.OPTIONAL], plate / "fields.csv")
    outputs.write_csv(wells, columns, plate / "wells.csv")
    # With time point and plane, which fields.csv does not have: as in a run of several plates.
    table = pa.Table.from_pylist(nuclei, nuclei_table.nuclei_schema(outlined=False, peaks=True))
    outputs.write_parquet(table, plate / "nuclei.parquet")
    write_planes(folder, outputs, pa)
    stack = Path(folder, "results", "stacks", "film")
    stack.mkdir(parents=True)
    frames = [{"Metadata_Stack": "film", "Metadata_Frame": n, "Image_Status": "ok", "level": n / 2} for n in range(3)]
    outputs.write_csv(frames, list(frames[0]), stack / "frames.csv")


def write_planes(folder, outputs, pa):
    """Write a plate of one file of two channels and two z planes, each with a nucleus of its own in the second one."""
    plate = Path(folder, "results", "plates", "planes")
    plate.mkdir()
    position = {"Metadata_Plate": "planes", "Metadata_Well": "AA01", "Metadata_Site": 1}
    fields = [
        {
            **position,
            "Metadata_ZPlane": z,
            "FileName_DNA": "planes.ome.tif",
            "PathName_DNA": str(Path(folder, "images")),
        }
        | {"Image_Count_Nuclei": 1, "Image_Status": "ok"}
        for z in (1, 2)
    ]
    nuclei = [
        {**position, "Metadata_ZPlane": z, "ObjectNumber": 1}
        | {"Nuclei_Location_Center_X": 10.0 * z, "Nuclei_Location_Center_Y": 5.0 * z}
        for z in (1, 2)
    ]
    outputs.write_csv(fields, list(fields[0]), plate / "fields.csv")
    well = {**position, "Fields_Total": 2, "Fields_Failed": 0, "Count_Nuclei": 2, "Mean_Count_Nuclei": 1.0}
    outputs.write_csv([well], [name for name in well if name != "Metadata_Site"], plate / "wells.csv")
    table = pa.Table.from_pylist(nuclei).replace_schema_metadata({"channel": "Actin"})
    outputs.write_parquet(table, plate / "nuclei.parquet")


def outlined():
    """Yield the labels of the fields of the plate "week 2"; the second failed, the third has no nuclei."""
    labels = np.zeros((3, *SHAPE), np.uint32)
    for number, (y, x) in enumerate([(0, 0), (20, 30), (20, 43), (60, 90), (95, 127)], 1):
        labels[0, y : y + 13, x : x + 13] = number
    labels[0, 60:66, 90:96] = 0  # an L
    yield from labels


def write_outlines(folder, outputs, pa):
    """Write a plate with label images, as join_labels does, larger than the fields; its images are bright inside."""
    import zarr

    plate = Path(folder, "results", "plates", "week 2")
    plate.mkdir()
    rows, nuclei, labels = [], [], np.stack(list(outlined()))
    for number, of_field in enumerate(labels):
        position = {"Metadata_Plate": "week 2", "Metadata_Well": "A01", "Metadata_Site": number + 1}
        count = int(of_field.max())
        size = {"Image_Height": SHAPE[0], "Image_Width": SHAPE[1]}
        state = {**size, "Image_Count_Nuclei": count, "Image_Status": "ok", "Image_Error": None}
        if number == 1:
            state = dict.fromkeys(state) | {"Image_Status": "failed", "Image_Error": "empty file"}
        rows.append({**position, "FileName_DNA": f"outlined{number}.tif", "PathName_DNA": "images", **state})
        for value in range(1, count + 1):
            y, x = (float(axis.mean()) for axis in np.nonzero(of_field == value))
            centre = {"Nuclei_Location_Center_X": x, "Nuclei_Location_Center_Y": y}
            nuclei.append({**position, "ObjectNumber": value, **centre})
        image = np.where(of_field, 40000, 1000).astype(np.uint16)
        tifffile.imwrite(Path(folder, "images", f"outlined{number}.tif"), image)
    outputs.write_csv(rows, list(rows[0]), plate / "fields.csv")
    well = {"Metadata_Plate": "week 2", "Metadata_Well": "A01", "Fields_Total": 3, "Fields_Failed": 1}
    outputs.write_csv(
        [well | {"Count_Nuclei": 5, "Mean_Count_Nuclei": 2.5}],
        [*well, "Count_Nuclei", "Mean_Count_Nuclei"],
        plate / "wells.csv",
    )
    outputs.write_parquet(pa.Table.from_pylist(nuclei), plate / "nuclei.parquet")
    padded = np.pad(labels, ((0, 0), (0, 10), (0, 3)))
    array = zarr.create_array(
        plate / "labels.zarr",
        shape=padded.shape,
        dtype="uint32",
        chunks=(1, *padded.shape[1:]),
        shards=padded.shape,
        attributes={"well": ["A01"] * 3, "site": [1, 2, 3], "timepoint": [None] * 3, "z": [None] * 3},
    )
    array[:] = padded


def write_channels(folder, outputs, tables, pa):
    """Write what merge_units and detect_nuclei say of the channels of the plate "week 2": its second one is a ramp."""
    plate = Path(folder, "results", "plates", "week 2")
    measured = {"Actin": "w2", "DNA": "w1"}
    nuclei = {"channel": "w1", "method": "auto", "diameter": "auto", "contrast": "auto", "border": "keep"}
    settings = {"nuclei": nuclei, "measure": {"channels": measured}, "illumination": "none", "background": "none"}
    outputs.write_json({"settings": settings}, plate / "settings.json")
    tifffile.imwrite(Path(folder, "images", "actin.tif"), ramp())
    rows = [
        {"Metadata_Well": "A01", "Metadata_Site": number + 1, "PathName_DNA": "images"}
        | {"FileName_DNA": f"outlined{number}.tif", "Metadata_Plate": "week 2"}
        | {tables.SOURCES: json.dumps(["images/actin.tif" if number == 0 else None, f"images/outlined{number}.tif"])}
        for number in (0, 2)
    ]
    (plate / "units").mkdir()
    outputs.write_parquet(pa.Table.from_pylist(rows, tables.UNIT_FIELDS), plate / "units" / "all.fields.parquet")


def ramp():
    """Return an image whose every pixel has a value of its own."""
    return np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)


def write_movie(folder, outputs, pa):
    """Write a stack of frames with a square nucleus that moves, as measure_frames does; the last frame failed."""
    import zarr

    stack = Path(folder, "results", "stacks", "movie")
    stack.mkdir(parents=True)
    labels = np.stack(list(moving()))
    tifffile.imwrite(
        Path(folder, "images", "movie.tif"), 100 + 900 * labels.astype(np.uint16), photometric="minisblack"
    )
    rows = [
        {"Metadata_Stack": "movie", "Metadata_Frame": number, "Image_Width": SHAPE[1], "Image_Height": SHAPE[0]}
        | {"Image_Count_Nuclei": 1, "Image_Status": "ok", "Image_Error": None, "ImageQuality_MeanIntensity_DNA": 1 / 3}
        for number in range(len(labels))
    ]
    rows[-1] |= {"Image_Count_Nuclei": None, "Image_Status": "failed", "Image_Error": "torn"}
    outputs.write_csv(rows, list(rows[0]), stack / "frames.csv")
    nuclei = [
        {"Metadata_Stack": "movie", "Metadata_Frame": number, "ObjectNumber": 1}
        | {"Nuclei_Location_Center_X": 14.0 + 10 * number, "Nuclei_Location_Center_Y": 44.0}
        for number in range(len(labels) - 1)
    ]
    outputs.write_parquet(pa.Table.from_pylist(nuclei), stack / "nuclei.parquet")
    outputs.write_json({"path": "images/movie.tif", "selection": {"channel": "auto", "z": 0}}, stack / "stack.json")
    zarr.create_array(stack / "labels.zarr", data=labels)


def moving():
    """Yield the labels of the frames of the stack "movie"."""
    for number in range(4):
        labels = np.zeros(SHAPE, np.uint32)
        labels[40:49, 10 + 10 * number : 19 + 10 * number] = 1
        yield labels


def write_slides(folder, omezarr, outputs, pa):
    """Write a slide of each version, with a dark pixel at each nucleus on level 0; and a failed one."""
    for version, name in {"0.5": "slide five", "0.4": "slide four"}.items():
        slide = Path(folder, "results", "slides", name)
        slide.mkdir(parents=True)
        store = slide / f"{name}.ome.zarr"
        layout = {"version": version, "chunk": 256, "shard": 512, "codec": "zstd", "level": 1}
        omezarr.create_slide(store, shape=SLIDE, mpp=(0.5, 0.5), name=name, **layout)
        for array, pixels in zip(omezarr.open_levels(store), slide_levels(), strict=False):
            omezarr.write_block(array, pixels, 0, 0)
        x, y = np.array(sorted(SLIDE_NUCLEI, key=lambda position: position[::-1]), float).T
        columns = {"ObjectNumber": np.arange(1, 4), "Nuclei_Location_Center_X": x, "Nuclei_Location_Center_Y": y}
        outputs.write_parquet(pa.table(columns), slide / "nuclei.parquet")
        facts = {"slide": name, "status": "ok", "error": None, "mpp": [0.5, 0.5]}
        (slide / "slide.json").write_text(json.dumps(facts))
    failed = Path(folder, "results", "slides", "torn")
    failed.mkdir()
    (failed / "slide.json").write_text(json.dumps({"slide": "torn", "status": "failed", "error": "not a slide"}))


def slide_levels():
    """Yield the pixels of a slide's levels: noise, so that a tile in a wrong position is noticed."""
    rng = np.random.default_rng(0)
    height, width = SLIDE
    for number in itertools.count():
        noise = rng.integers(-5, 6, (height, width, 3))
        pixels = (np.array(COLOURS[number % 3]) + noise).astype(np.uint8)
        if number == 0:
            for x, y in SLIDE_NUCLEI:
                pixels[y, x] = 0
        yield pixels
        height, width = (height + 1) // 2, (width + 1) // 2


class Site(NamedTuple):
    """A folder with images and results, and the server's process and port."""

    path: Path
    port: int
    process: subprocess.Popen

    def get(self, path, *, method="GET", **headers):
        """Request a path exactly as written; return status, type and content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={name: value for name, value in headers.items() if value})
            response = connection.getresponse()
            return response.status, response.headers["Content-Type"], response.read()
        finally:
            connection.close()

    def json(self, path):
        status, kind, content = self.get(path)
        assert (status, kind) == (200, "application/json"), content
        return json.loads(content)

    def pixels(self, path):
        """Return the image of a file of NumPy."""
        status, kind, content = self.get(path)
        assert (status, kind) == (200, "application/octet-stream"), content
        return np.load(io.BytesIO(content), allow_pickle=False)

    def png(self, path):
        status, kind, content = self.get(path)
        assert (status, kind) == (200, "image/png"), content
        return imagecodecs.png_decode(content)


@contextmanager
def served(folder, *options):
    """Serve a folder's results until the block ends, as Ctrl-C ends it."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "view.py"), "--no-browser", "--port", "0", *options]
    process = subprocess.Popen(
        [*command, "--results", str(folder / "results")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert port, line + process.stderr.read()
        yield Site(folder, int(port[1]), process)
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def write_site(folder):
    """Write a folder of images and results."""
    (folder / "images").mkdir()
    for (well, number), centres in NUCLEI.items():
        image = np.full(SHAPE, 1000, np.uint16)
        for x, y in centres:
            image[y, x] = 40000
        tifffile.imwrite(folder / "images" / f"{well}_s{number}.tif", image)
    planes = np.full((2, 2, *SHAPE), 1000, np.uint16)
    planes[1, [0, 1], [5, 10], [10, 20]] = 40000
    names = {"axes": "CZYX", "Channel": {"Name": ["DNA", "Actin"]}}
    tifffile.imwrite(folder / "images" / "planes.ome.tif", planes, photometric="minisblack", metadata=names)
    for well, number in FAILED:
        (folder / "images" / f"{well}_s{number}.tif").touch()
    path = [str(REPOSITORY / "scripts"), str(REPOSITORY / "tests"), str(Path(__file__).parent)]
    program = f"import sys; sys.path[:0] = {path!r}\n" + PROGRAM.format(folder=str(folder))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@contextmanager
def with_screen(site):
    """The page and pictures of all plates together, while a test runs."""
    folder = site.path / "results" / "screen"
    (folder / "plots").mkdir(parents=True)
    (folder / "hits.csv").write_text("Treatment\ntaxol\n")
    for name in ("hits", "plates"):
        imagecodecs.imwrite(folder / "plots" / f"{name}.png", np.zeros((40, 60, 3), np.uint8))
    page = site.path / "results" / "summary.html"
    page.write_text("<!doctype html><p>What came out</p>")
    yield
    shutil.rmtree(folder)
    page.unlink()


@contextmanager
def with_cells(site):
    """Cells of the plate with label images, as large as its nuclei."""
    store = site.path / "results" / "plates" / "week 2" / "cells.zarr"
    shutil.copytree(store.with_name("labels.zarr"), store)
    yield
    shutil.rmtree(store)


class Viewer(Browser):
    """The viewer's page."""

    async def rings(self):
        """Return the middle of every ring on the screen, in px of the window, as (x, y)."""
        return await self.value(
            "[...document.querySelectorAll('.nuclei circle')].map((ring) => ring.getBoundingClientRect())"
            ".map(({left, top, width, height}) => [left + width / 2, top + height / 2])"
        )

    async def go_to(self, x, y):
        """Move a pixel of the image to the middle of the screen."""
        position = f"new OpenSeadragon.Point({x + 0.5}, {y + 0.5})"
        await self.value(
            f"void {VIEWER}.viewport.panTo({VIEWER}.world.getItemAt(0).imageToViewportCoordinates({position}))"
        )

    async def settled(self):
        """Wait until the image has come to rest with all its tiles."""
        await self.until(
            f"{VIEWER}?.world.getItemAt(0)?.getFullyLoaded()"
            "&& document.querySelector('.tools [role=status]').textContent"
        )
        position = None
        while position != (
            position := await self.value("document.querySelector('.nuclei g').getAttribute('transform')")
        ):
            await asyncio.sleep(0.3)
