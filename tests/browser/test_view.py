"""The results in the browser: what the server sends and refuses, and the page in Chromium if it is installed."""

import asyncio
import hashlib
import http.client
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
import pytest
import tifffile
from scipy import ndimage

from browser import Browser, chromium
from workspace import REPOSITORY

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
import test_view
test_view.write_tables({folder!r}, outputs, tables, nuclei_table, pa)
test_view.write_slides({folder!r}, omezarr, outputs, pa)
test_view.write_outlines({folder!r}, outputs, pa)
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
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
    with served(folder) as site:
        yield site


PLATE = "/api/plates/week%201"


def field_of(well, number):
    """Return the number of a field's row in fields.csv."""
    return sorted([*NUCLEI, *FAILED]).index((well, number))


def test_the_list_has_every_plate_slide_and_stack(site):
    assert site.json("/api/contents") == {
        "folder": str(site.path / "results"),
        "plates": [
            {"name": "planes", "wells": 1, "nuclei": 2, "fields": 2, "failed": 0},
            {"name": "week 1", "wells": 4, "nuclei": 6, "fields": 6, "failed": 2},
            {"name": "week 2", "wells": 1, "nuclei": 5, "fields": 3, "failed": 1},
        ],
        "slides": [
            {"name": "slide five", "status": "ok"},
            {"name": "slide four", "status": "ok"},
            {"name": "torn", "status": "failed"},
        ],
        "stacks": [{"name": "film"}],
        "screen": {"summary": None, "tables": [], "pictures": []},
    }


@pytest.fixture
def compared(site):
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


def test_pictures_and_tables_of_all_plates_are_listed(site, compared):
    screen = {"summary": "summary.html", "tables": ["hits.csv"], "pictures": ["hits.png", "plates.png"]}
    assert site.json("/api/contents")["screen"] == screen
    status, kind, content = site.get("/results/summary.html")
    assert (status, kind) == (200, "text/html; charset=utf-8") and b"What came out" in content


def test_what_came_out_is_an_entry_of_the_list_with_its_pictures(browse, compared):
    async def steps(browser, site):
        await browser.click("#contents a[href='#/screen/what%20came%20out']")
        await browser.until("document.querySelectorAll('main img.picture').length === 2")
        await browser.until("[...document.querySelectorAll('main img')].every((image) => image.naturalWidth === 60)")
        links = "[...document.querySelectorAll('main p a')].map((link) => link.getAttribute('href'))"
        assert await browser.value(links) == ["results/summary.html", "results/screen/hits.csv"]

    browse(steps)


def test_wells_and_fields_are_the_tables_rows(site):
    wells = {row["Metadata_Well"]: row for row in site.json(PLATE)["wells"]}
    assert {well: row["Count_Nuclei"] for well, row in wells.items()} == {"B02": "5", "B03": "1", "C02": "0", "C03": ""}
    assert {well: row["Fields_Failed"] for well, row in wells.items()} == {
        "B02": "0",
        "B03": "1",
        "C02": "0",
        "C03": "1",
    }
    fields = site.json(f"{PLATE}/wells/B03")["fields"]
    answer = [(row["field"], row["Metadata_Site"], row["Image_Status"], row["Image_Error"]) for row in fields]
    assert answer == [(2, "1", "ok", ""), (3, "2", "failed", "empty file (0 bytes)")]
    assert site.get(f"{PLATE}/wells/H12")[0] == 404


def test_nuclei_are_the_tables(site):
    for (well, number), centres in NUCLEI.items():
        assert site.json(f"{PLATE}/fields/{field_of(well, number)}/nuclei") == {
            "ObjectNumber": list(range(1, len(centres) + 1)),
            "Nuclei_Location_Center_X": [x for x, _ in centres],
            "Nuclei_Location_Center_Y": [y for _, y in centres],
        }


def corners_of(outline):
    return set(zip(outline[::2], outline[1::2], strict=True))


def test_outlines_are_those_of_the_label_images(site):
    answer = site.json("/api/plates/week%202/fields/0/nuclei")
    assert answer["ObjectNumber"] == [1, 2, 3, 4, 5] and answer["Nuclei_Location_Center_X"][:3] == [6, 36, 49]
    square, left, right, hook, corner = map(corners_of, answer["outlines"])
    assert square == {(0, 0), (12, 0), (12, 12), (0, 12)} and corner == {(127, 95)}
    assert left == {(30, 20), (42, 20), (42, 32), (30, 32)} and right == {(x + 13, y) for x, y in left}
    assert {(96, 60), (102, 60), (102, 72), (90, 72), (90, 66)} <= hook
    assert site.json("/api/plates/week%202/fields/2/nuclei")["outlines"] == []
    for number in (1, 9):
        assert "outlines" not in json.loads(site.get(f"/api/plates/week%202/fields/{number}/nuclei")[2])


@pytest.fixture
def cells(site):
    """Cells of the plate with label images, as large as its nuclei."""
    store = site.path / "results" / "plates" / "week 2" / "cells.zarr"
    shutil.copytree(store.with_name("labels.zarr"), store)
    yield
    shutil.rmtree(store)


def test_cells_have_outlines_beside_those_of_their_nuclei_where_they_are_kept(site, cells):
    answer = site.json("/api/plates/week%202/fields/0/nuclei")
    assert len(answer["cells"]) == 5 and answer["cells"] == answer["outlines"]
    assert "cells" not in site.json("/api/plates/week%201/fields/0/nuclei")


def test_a_field_shows_its_cells_around_its_nuclei(browse, cells):
    async def steps(browser, site):
        await browser.click(".wells a[data-well=A01]")
        await browser.until("document.querySelectorAll('.nuclei path').length === 10")
        colours = "[...document.querySelectorAll('.nuclei path.{}')].map((path) => getComputedStyle(path).stroke)"
        of_cells, of_nuclei = [await browser.value(colours.format(kind)) for kind in ("cell", "nucleus")]
        assert len(of_cells) == len(of_nuclei) == 5 and not {*of_cells} & {*of_nuclei}

    browse(steps, "#/plates/week%202")


@pytest.mark.parametrize("change", [(",5,ok", ",4,ok"), ("week 2,A01,", "week 2,B01,")], ids=["a count", "a well"])
def test_outlines_that_do_not_fit_the_table_are_not_shown(site, change):
    table = site.path / "results" / "plates" / "week 2" / "fields.csv"
    before = table.read_text()
    table.write_text(before.replace(*change))
    assert table.read_text() != before
    try:
        assert "outlines" not in site.json("/api/plates/week%202/fields/0/nuclei")
    finally:
        table.write_text(before)
    assert len(site.json("/api/plates/week%202/fields/0/nuclei")["outlines"]) == 5


def test_a_field_is_a_picture_of_its_size_with_its_pixels_in_their_places(site):
    for (well, number), centres in NUCLEI.items():
        image = site.png(f"{PLATE}/fields/{field_of(well, number)}/image.png")
        assert (image.shape, image.dtype) == (SHAPE, np.uint8)
        assert sorted((x, y) for y, x in np.argwhere(image == 255)) == sorted(centres)
    status, _, content = site.get(f"{PLATE}/fields/{field_of('C03', 1)}/image.png")
    assert (status, json.loads(content)) == (404, {"error": "this field failed: empty file (0 bytes)"})


def test_planes_of_one_file_are_fields_in_the_channel_of_the_nuclei(site):
    for number in (0, 1):
        x, y = 10 * (number + 1), 5 * (number + 1)
        answer = site.json(f"/api/plates/planes/fields/{number}/nuclei")
        assert (answer["Nuclei_Location_Center_X"], answer["Nuclei_Location_Center_Y"]) == ([x], [y])
        image = site.png(f"/api/plates/planes/fields/{number}/image.png")
        assert np.argwhere(image == 255).tolist() == [[y, x]]


@pytest.mark.parametrize("number", ["6", "-1", "x", "1e0", "%D9%A1", "9" * 5000, "..%2f0"])
def test_only_fields_of_the_table_are_shown(site, number):
    assert site.get(f"{PLATE}/fields/{number}/image.png")[0] == 404


@pytest.mark.parametrize("name", ["slide%20five", "slide%20four"])
def test_tiles_are_the_stores_pixels(site, name):
    facts = site.json(f"/api/slides/{name}")
    assert facts["levels"] == [[2100, 1300], [1050, 650], [525, 325], [263, 163], [132, 82]]
    tile = facts["tile"]
    for level, pixels in zip(range(5), slide_levels(), strict=False):
        height, width = pixels.shape[:2]
        for row, column in itertools.product(range(-(-height // tile)), range(-(-width // tile))):
            expected = pixels[row * tile :, column * tile :][:tile, :tile]
            answer = site.png(f"/api/slides/{name}/tiles/{level}/{column}/{row}")
            np.testing.assert_array_equal(answer, expected)
        assert site.get(f"/api/slides/{name}/tiles/{level}/0/{row + 1}")[0] == 404
        assert site.get(f"/api/slides/{name}/tiles/{level}/{column + 1}/0")[0] == 404
    assert site.get(f"/api/slides/{name}/tiles/5/0/0")[0] == 404
    assert site.get(f"/api/slides/{name}/tiles/-1/0/0")[0] == 404


def test_nuclei_of_a_part_of_a_slide(site):
    def within(left, top, right, bottom):
        query = f"left={left}&top={top}&right={right}&bottom={bottom}"
        answer = site.json(f"/api/slides/slide%20five/nuclei?{query}")
        assert answer["count"] == len(answer["Nuclei_Location_Center_X"])
        return list(zip(answer["Nuclei_Location_Center_X"], answer["Nuclei_Location_Center_Y"], strict=True))

    assert within(-1e9, -1e9, 1e9, 1e9) == [(300, 200), (1234, 700), (2099, 1299)]
    assert within(300, 200, 1234, 1300) == [(300, 200)]
    assert within(301, 0, 2099, 700) == []
    assert site.get("/api/slides/slide%20five/nuclei?left=nan&top=0&right=1&bottom=1")[0] == 404
    assert site.get("/api/slides/slide%20five/nuclei")[0] == 404


def test_too_many_nuclei_are_counted_only(site):
    program = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "scripts")!r})
from pathlib import Path
from fieldwork.viewer import content as shown
shown.MAX_NUCLEI = 2
results = shown.Results(Path({str(site.path / "results")!r}), Path())
print(shown.slide_nuclei(results, "slide five", 0, 0, 1e4, 1e4))
"""
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    expected = {"count": 3, "Nuclei_Location_Center_X": [], "Nuclei_Location_Center_Y": []}
    assert answer.stdout == f"{expected}\n"


def test_a_failed_slide_says_why(site):
    assert site.json("/api/slides/torn") == {"slide": "torn", "status": "failed", "error": "not a slide"}


def test_a_stack_is_its_table(site):
    columns = ["Metadata_Stack", "Metadata_Frame", "Image_Status", "level"]
    rows = [["film", "0", "ok", "0.0"], ["film", "1", "ok", "0.5"], ["film", "2", "ok", "1.0"]]
    assert site.json("/api/stacks/film") == {"columns": columns, "rows": rows}


def test_a_table_that_is_replaced_is_read_again(site):
    table = site.path / "results" / "stacks" / "film" / "frames.csv"
    before = table.read_text()
    assert len(site.json("/api/stacks/film")["rows"]) == 3
    part = table.with_name(".part")
    part.write_text("".join(before.splitlines(keepends=True)[:2]))
    part.replace(table)
    assert len(site.json("/api/stacks/film")["rows"]) == 1
    table.unlink()
    assert site.get("/api/stacks/film")[0] == 404
    assert site.json("/api/contents")["stacks"] == []
    table.write_text(before)


@pytest.fixture(scope="module")
def secrets(site):
    """Create files that must not be served, outside the results and behind links in them."""
    results = site.path / "results"
    (site.path / "secret.csv").write_text("secret")
    (site.path / "outside").mkdir()
    for name in ("wells.csv", "fields.csv", "frames.csv"):
        shutil.copy(results / "plates" / "week 1" / "wells.csv", site.path / "outside" / name)
    (results / ".hidden.csv").write_text("secret")
    links = {"link.csv": "../secret.csv", "plates/away": "../../outside", "round.csv": "round.csv", "etc": "/etc"}
    for name, target in links.items():
        (results / name).symlink_to(target)
    yield
    for name in (*links, ".hidden.csv"):
        (results / name).unlink()


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/results/../secret.csv",
        "/results/%2e%2e/secret.csv",
        "/results/%2E%2E%2Fsecret.csv",
        "/results/..%5csecret.csv",
        "/results/plates/../../secret.csv",
        "/results/plates%2f..%2f..%2fsecret.csv",
        "/results//etc/passwd.csv",
        "/results/%2fetc%2fhosts.csv",
        "/results/link.csv",
        "/results/round.csv",
        "/results/etc/passwd",
        "/results/.hidden.csv",
        "/results/plates/away/wells.csv",
        "/results/plates/week%201",
        "/results/plates/week%201/wells.csv%00.csv",
        "/results/x%00.csv",
        "/results/" + "x" * 5000 + ".csv",
        "/results/slides/slide%20five/slide%20five.ome.zarr/.csv",
        "/results/",
        "/results",
        "/page/",
        "/page/../server.py",
        "/page/%2e%2e%2fserver.py",
        "/page/..%2fserver.py",
        "//etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1/etc/passwd",
        "/api/plates/away",
        "/api/plates/%2e%2e",
        "/api/plates/..%2fplates%2fweek%201",
        "/api/plates/.",
        "/api/plates/",
        "/api/slides/..%2f..%2foutside",
        "/api/stacks/..%2f..%2foutside",
        "/api/stacks/%2e%2e%2f%2e%2e%2foutside",
        "/nothing",
    ],
)
def test_nothing_else_is_served(site, secrets, path):
    status, kind, content = site.get(path)
    assert (status, kind, list(json.loads(content))) == (404, "application/json", ["error"])
    assert "away" not in [plate["name"] for plate in site.json("/api/contents")["plates"]]


def test_files_of_the_results_are_served(site):
    expected = (site.path / "results" / "plates" / "week 1" / "wells.csv").read_bytes()
    assert site.get("/results/plates/week%201/wells.csv") == (200, "text/csv; charset=utf-8", expected)
    assert site.get("/results/plates/week%201/nuclei.parquet")[2].startswith(b"PAR1")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1]", "0.0.0.0"]
)
def test_other_hosts_names_are_refused(site, host):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.putrequest("GET", "/api/contents", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 403
    assert b"week 1" not in response.read()
    connection.close()


def test_localhost_is_served_also_through_a_tunnel(site):
    assert site.get("/api/contents", Host="localhost:9999")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_only_get_is_served(site, method):
    assert site.get("/api/contents", method=method)[0] == 405


def test_a_broken_table_is_a_short_message_and_the_server_goes_on(tmp_path):
    plate = tmp_path / "results" / "plates" / "P1"
    plate.mkdir(parents=True)
    (plate / "wells.csv").write_text("Metadata_Well,Count_Nuclei,Fields_Total,Fields_Failed\nB02,1,1,0\n")
    (plate / "fields.csv").write_text("no,columns\n1,2\n")
    command = [sys.executable, str(REPOSITORY / "scripts" / "view.py"), "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--results", str(tmp_path / "results")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    site = Site(tmp_path, int(re.search(r":(\d+)/", process.stdout.readline())[1]), process)
    status, kind, content = site.get("/api/plates/P1/wells/B02")
    assert (status, kind) == (500, "application/json")
    assert b"Traceback" not in content and b"KeyError" not in content
    assert len(site.json("/api/contents")["plates"]) == 1
    process.send_signal(signal.SIGINT)
    assert "KeyError" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_wrong_use_is_one_line(tmp_path, site):
    command = [sys.executable, str(REPOSITORY / "scripts" / "view.py"), "--no-browser"]
    here = ["--results", str(tmp_path), "--port"]
    for options in (["--results", str(tmp_path / "no")], [*here, str(site.port)], [*here, "99999"], [*here, "-1"]):
        run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)


def test_openseadragon_is_npms():
    folder = REPOSITORY / "scripts" / "fieldwork" / "viewer" / "page"
    digest = hashlib.sha256((folder / "openseadragon.min.js").read_bytes()).hexdigest()
    assert digest == "14d587cd3ee7c4861f1a41077ce642029364a21029956ba635bd8fb1202cf9ad"
    assert "Redistribution and use in source and binary forms" in (folder / "openseadragon.LICENSE.txt").read_text()


# --- in the browser


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
        position = f"openImage.world.getItemAt(0).imageToViewportCoordinates({position})"
        await self.value(f"void openImage.viewport.panTo({position})")

    async def settled(self):
        """Wait until the image has come to rest with all its tiles."""
        await self.until(
            "typeof openImage !== 'undefined' && openImage?.world.getItemAt(0)?.getFullyLoaded()"
            "&& document.querySelector('[role=status]').textContent"
        )
        position = None
        while position != (
            position := await self.value("document.querySelector('.nuclei g').getAttribute('transform')")
        ):
            await asyncio.sleep(0.3)


@pytest.fixture
def browse(site, tmp_path):
    """Open the page and call an async function of a Viewer and a Site on it."""

    def act(steps, hash=""):
        async def with_site(page):
            await steps(page, site)

        page = open_page(f"http://127.0.0.1:{site.port}/{hash}", with_site)
        assert page.complaints == []
        assert page.addresses
        for address in page.addresses:
            assert address.startswith((f"http://127.0.0.1:{site.port}/", "data:", "blob:")), address

    with chromium(tmp_path / "profile", page=Viewer) as open_page:
        yield act


def spots(picture, box, *, dark=False):
    """Return the centres (x, y) of bright (or dark) squares in a part (left, top, width, height) of a picture."""
    left, top, width, height = (round(side) for side in box)
    grey = picture[top : top + height, left : left + width].max(axis=2)
    labels, number = ndimage.label(grey < 60 if dark else grey > 200)
    centres = np.array(ndimage.center_of_mass(labels, labels, range(1, number + 1))).reshape(-1, 2)
    return centres[:, ::-1] + (left + 0.5, top + 0.5)  # of pixels' middles, as the browser counts from their corners


BOX = (
    "(() => { const {left, top, width, height} = document.querySelector('.image').getBoundingClientRect();"
    "return [left, top, width, height]; })()"
)
SCALE = "openImage.world.getItemAt(0).viewportToImageZoom(openImage.viewport.getZoom(true))"


async def check_rings(browser, *, most):
    """Compare the rings with the spots of the image on the screen, which are at most `most`."""
    await browser.settled()
    await browser.click(".tools input")  # the rings exist but are hidden
    await asyncio.sleep(0.3)
    rings, scale, box = np.array(await browser.rings()), await browser.value(SCALE), await browser.value(BOX)
    centres = spots(await browser.screenshot(), box)
    await browser.click(".tools input")
    assert 0 < len(centres) <= most
    for spot in centres:
        assert np.hypot(*(rings - spot).T).min() < scale, (spot, rings, scale)  # one pixel of the image
    return scale


def test_a_click_on_a_well_shows_its_fields_with_rings_around_their_nuclei(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.wells a').length === 1")
        assert await browser.value("document.querySelectorAll('.wells .missing').length") == 1536 - 1
        await browser.click("nav li:nth-child(2) a")
        await browser.until("document.querySelectorAll('.wells a').length === 4")
        marks = await browser.value(
            "[...document.querySelectorAll('.wells a')].map((one) => [one.textContent, one.className])"
        )
        assert marks == [["2.5", ""], ["1", "partly"], ["0", ""], ["✕", "failed"]]
        assert await browser.value("document.querySelectorAll('.wells .missing').length") == 96 - 4
        await browser.click(".wells a[data-well=B02]")
        await browser.until("document.querySelectorAll('.fields a').length === 2")
        await browser.until("document.querySelectorAll('.nuclei circle').length === 3")
        scales = [await check_rings(browser, most=3)]
        await browser.go_to(*NUCLEI["B02", 1][1])
        for _ in range(2):
            await browser.click("button[title='Zoom in']")
            scales.append(await check_rings(browser, most=3))
        assert scales[2] > 3 * scales[0] > 3
        await browser.click(".fields li:nth-child(2) a")  # nuclei in the corners of the image
        await browser.until("document.querySelectorAll('.nuclei circle').length === 2")
        await check_rings(browser, most=2)
        size = {"width": 1000, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        await browser.send("Emulation.setDeviceMetricsOverride", **size)  # fields are then below the wells
        await check_rings(browser, most=2)
        await browser.click(".wells a[data-well=C03]")
        await browser.until("document.querySelector('.error')?.textContent.includes('empty file (0 bytes)')")

    browse(steps)


OUTLINES = (
    "[...document.querySelectorAll('.nuclei path')].map((path) => path.getBoundingClientRect())"
    ".map(({left, top, width, height}) => [left, top, left + width, top + height])"
)


def test_a_click_on_a_well_with_label_images_shows_the_outlines_of_its_nuclei(browse):
    async def steps(browser, site):
        await browser.click(".wells a[data-well=A01]")
        await browser.until("document.querySelectorAll('.nuclei path').length === 5")
        await browser.settled()
        assert await browser.value("document.querySelectorAll('.nuclei circle').length") == 0
        assert await browser.value("document.querySelector('[role=status]').textContent") == "5 nuclei"
        shown = await browser.screenshot()
        await browser.click(".tools input")  # the outlines exist but are hidden
        await asyncio.sleep(0.3)
        boxes, scale, box = [np.array(await browser.value(value)) for value in (OUTLINES, SCALE, BOX)]
        plain = await browser.screenshot()
        assert (shown != plain).any(axis=2).sum() > 5 * 20 * scale
        left, top, width, height = box.round().astype(int)
        bright, _ = ndimage.label(plain[top : top + height, left : left + width].max(axis=2) > 200)
        spots = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(bright)]
        spots = [np.add(spot, (left, top) * 2) for spot in spots if min(spot) > 0 and spot[3] - spot[1] > 10 * scale]
        drawn = [np.concatenate([boxes[1, :2], boxes[2, 2:]]), boxes[3]]  # two that touch, and the hook
        assert len(spots) == 2  # not the square that touches the image's border
        for spot, outline in zip(spots, drawn, strict=True):
            inset = np.array([1, 1, -1, -1]) * scale / 2  # outlines run through the middles of pixels
            np.testing.assert_allclose(outline, spot + inset, atol=2)
        await browser.click(".fields li:nth-child(3) a")
        await browser.until("document.querySelector('[role=status]')?.textContent === '0 nuclei'")
        assert await browser.value("document.querySelectorAll('.nuclei path').length") == 0

    browse(steps, "#/plates/week%202")


def test_wells_follow_tables_that_a_run_made_anew(browse, site):
    table = site.path / "results" / "plates" / "week 1" / "wells.csv"
    before = table.read_text()

    async def steps(browser, site):
        await browser.until("document.querySelector('.wells a')?.textContent === '2.5'")
        assert "B02,<i>DMSO</i>,2,0,5,2.5," in before
        table.write_text(before.replace(",5,2.5,", ",23,11.5,"))
        await browser.click(".wells a[data-well=C02]")
        await browser.until("document.querySelector('.wells a').textContent === '11.5'")

    try:
        browse(steps, "#/plates/week%201")
    finally:
        table.write_text(before)


def test_wells_are_reached_by_keys(browse):
    async def steps(browser, site):
        await browser.until("document.querySelectorAll('.wells a').length === 4")
        assert await browser.value("document.querySelectorAll('.wells a[tabindex=\"0\"]').length") == 1
        await browser.value("document.querySelector('.wells a').focus()")
        right = [("ArrowRight", well) for well in ("B03", "C02", "C03", "C03")]  # row by row, to the last
        up = [("ArrowUp", well) for well in ("B03", "C02", "B02", "B02")]  # column by column, to the first
        for key, well in [*right, *up, ("ArrowDown", "C02"), ("ArrowLeft", "B03"), ("ArrowLeft", "B02")]:
            await browser.press(key)
            assert await browser.value("document.activeElement.dataset.well") == well
        title = "B02: 2.5 nuclei per field, 5 in all, compound <i>DMSO</i>"
        assert await browser.value("document.activeElement.title") == title

    browse(steps, "#/plates/week%201")


def test_a_slide_zooms_from_overview_to_level_0(browse):
    async def steps(browser, site):
        await browser.settled()
        rings = await browser.rings()
        assert len(rings) == 3
        tiles = f"http://127.0.0.1:{site.port}/api/slides/slide%20five/tiles/"
        assert not [address for address in browser.addresses if address.startswith(f"{tiles}0/")]
        await browser.value("document.querySelector('.openseadragon-canvas').focus()")
        await browser.go_to(1234, 700)
        for _ in range(3):
            await browser.click("button[title='Zoom in']")
        await browser.settled()
        levels = [
            int(address[len(tiles) :].split("/")[0]) for address in browser.addresses if address.startswith(tiles)
        ]
        assert levels[0] > 1 and 0 in levels
        # The dark pixel of the nucleus, on level 0's colour, inside its ring
        scale = await browser.value(SCALE)
        assert scale > 2
        (ring,) = await browser.rings()
        await browser.click(".tools input")
        await asyncio.sleep(0.3)
        picture = await browser.screenshot()
        x, y = (round(value) for value in ring)
        around = picture[y - 40 : y + 40, x - 40 : x + 40]
        np.testing.assert_allclose(np.median(around, axis=(0, 1)), COLOURS[0], atol=6)
        (spot,) = spots(picture, (x - 40, y - 40, 80, 80), dark=True)
        assert np.hypot(*(spot - ring)) / scale < 1

    browse(steps, "#/slides/slide%20five")


def test_a_stack_is_a_table_and_a_failed_slide_says_why(browse):
    async def steps(browser, site):
        assert await browser.until("document.querySelectorAll('.rows tbody tr').length") == 3
        await browser.click("a[href='#/slides/torn']")
        await browser.until("document.querySelector('.error')?.textContent === 'This slide failed: not a slide'")

    browse(steps, "#/stacks/film")
