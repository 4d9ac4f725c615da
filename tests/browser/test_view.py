"""The results in the browser: what the server sends and refuses."""

import hashlib
import http.client
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from viewed import FAILED, NUCLEI, SHAPE, Site, moving, outlined, ramp, slide_levels

from workspace import REPOSITORY

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
        "stacks": [{"name": "film"}, {"name": "movie"}],
        "screen": {"summary": None, "report": None, "tables": [], "pictures": []},
    }


def test_pictures_and_tables_of_all_plates_are_listed(site, compared):
    screen = {"tables": ["hits.csv"], "pictures": ["hits.png", "plates.png"]}
    screen |= {"summary": "summary.html", "report": None}
    assert site.json("/api/contents")["screen"] == screen
    status, kind, content = site.get("/results/summary.html")
    assert (status, kind) == (200, "text/html; charset=utf-8") and b"What came out" in content


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


def test_cells_have_outlines_beside_those_of_their_nuclei_where_they_are_kept(site, cells):
    answer = site.json("/api/plates/week%202/fields/0/nuclei")
    assert len(answer["cells"]) == 5 and answer["cells"] == answer["outlines"]
    assert "cells" not in site.json("/api/plates/week%201/fields/0/nuclei")


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


def test_a_field_is_sent_with_the_values_of_its_pixels(site):
    for (well, number), centres in NUCLEI.items():
        image = site.pixels(f"{PLATE}/fields/{field_of(well, number)}/pixels/DNA")
        assert (image.shape, image.dtype) == (SHAPE, np.uint16)
        assert sorted((x, y) for y, x in np.argwhere(image == 40000)) == sorted(centres)
        assert (image == 1000).sum() == image.size - len(centres)
    status, _, content = site.get(f"{PLATE}/fields/{field_of('C03', 1)}/pixels/DNA")
    assert (status, json.loads(content)) == (404, {"error": "this field failed: empty file (0 bytes)"})


WEEK_2 = "/api/plates/week%202"


def test_other_channels_are_those_that_the_run_measured(site):
    assert site.json(WEEK_2)["channels"] == [{"name": "DNA", "colour": "0000FF"}, {"name": "Actin", "colour": "FF0000"}]
    np.testing.assert_array_equal(site.pixels(f"{WEEK_2}/fields/0/pixels/Actin"), ramp())
    assert site.get(f"{WEEK_2}/fields/2/pixels/Actin")[0] == 404  # it has no file of this channel
    for name in ("w2", "RNA", "..%2f..%2fsecret", "images%2factin.tif"):
        assert site.get(f"{WEEK_2}/fields/0/pixels/{name}")[0] == 404
    assert [channel["name"] for channel in site.json(PLATE)["channels"]] == ["DNA"]


def test_contrast_is_one_for_all_fields_of_a_plate(site):
    contrast = site.json(f"{WEEK_2}/contrast")
    assert contrast["DNA"] == {"low": 1000, "high": 40000, "least": 1000, "most": 40000}
    low, high = np.percentile(ramp()[::4, ::4], (1, 99.8))
    assert contrast["Actin"] == {"low": low, "high": high, "least": 0, "most": ramp().max()}


def test_a_thumbnail_is_a_field_in_the_contrast_of_its_plate(site):
    first, third = (site.png(f"{WEEK_2}/fields/{number}/thumbnail.png") for number in (0, 2))
    assert first.shape == third.shape == (72, 96)  # of 96 x 128 px
    assert not third.any() and first.max() == 255
    blocks = (next(outlined()) > 0).reshape(24, 4, 32, 4).mean((1, 3))
    np.testing.assert_allclose(first.reshape(24, 3, 32, 3).mean((1, 3)) / 255, blocks, atol=0.01)
    assert site.json(WEEK_2)["thumbnails"] == {"A01": 0} and site.get(f"{WEEK_2}/fields/1/thumbnail.png")[0] == 404


def test_treatments_are_the_platemaps_with_units(site):
    assert site.json(PLATE)["treatments"]["B02"] == {"compound": "<i>DMSO</i>"}
    program = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "scripts")!r})
from fieldwork.viewer.content import treatment_of
row = {{"Metadata_Plate": "P", "Metadata_Well": "B02", "Metadata_concentration_um": "0.3", "Metadata_dose_level": "2"}}
print(treatment_of(row | {{"Metadata_conc_nM": "5 nM", "Metadata_moa": "", "Count_Nuclei": "7"}}))
"""
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout == "{'concentration': '0.3 µM', 'dose_level': '2', 'conc_nM': '5 nM'}\n"


def test_density_counts_nuclei_in_squares(site):
    density = site.json("/api/slides/slide%20five/density")
    assert (density["side"], density["rows"], density["columns"]) == (64, 21, 33)
    squares = np.reshape(density["counts"], (21, 33))
    assert sorted(zip(*np.nonzero(squares), strict=True)) == [(200 // 64, 300 // 64), (700 // 64, 1234 // 64), (20, 32)]


def test_a_pixel_of_a_slide_is_the_stores(site):
    level_0 = next(slide_levels())
    names = site.json("/api/slides/slide%20five/pixels/2099/1299")
    assert list(names.values()) == level_0[1299, 2099].tolist() == [0, 0, 0]
    assert list(site.json("/api/slides/slide%20four/pixels/7/9").values()) == level_0[9, 7].tolist()
    assert site.get("/api/slides/slide%20five/pixels/2100/0")[0] == 404


def test_frames_of_a_stack_are_those_that_the_run_read(site):
    assert site.json("/api/stacks/movie")["frames"]
    for number, labels in enumerate(list(moving())[:-1]):
        np.testing.assert_array_equal(site.pixels(f"/api/stacks/movie/frames/{number}/pixels"), 100 + 900 * labels)
        answer = site.json(f"/api/stacks/movie/frames/{number}/nuclei")
        x = 10 + 10 * number
        assert answer["Nuclei_Location_Center_X"] == [x + 4]
        assert list(map(corners_of, answer["outlines"])) == [{(x, 40), (x + 8, 40), (x + 8, 48), (x, 48)}]
    status, _, content = site.get("/api/stacks/movie/frames/3/pixels")
    assert (status, json.loads(content)) == (404, {"error": "this frame failed: torn"})
    for number in ("4", "-1", "x", "..%2f0"):
        assert site.get(f"/api/stacks/movie/frames/{number}/pixels")[0] == 404
    assert site.json("/api/stacks/movie/contrast")["most"] == 1000


def test_large_images_are_reduced_and_others_sent_as_they_are():
    program = f"""
import io, sys; sys.path.insert(0, {str(REPOSITORY / "scripts")!r})
import numpy as np
from fieldwork.viewer import fields
fields.MOST_PIXELS = 100
whole = np.arange(100, dtype=">i2").reshape(10, 10)
read = np.load(io.BytesIO(fields.as_npy(whole)))
assert read.dtype == "<i2" and (read == whole).all()
reduced = np.load(io.BytesIO(fields.as_npy(np.arange(400, dtype=np.uint16).reshape(20, 20))))
assert reduced.dtype == "<f4" and reduced.shape == (10, 10) and reduced[0, 0] == (0 + 1 + 20 + 21) / 4
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_report_has_an_origin_of_its_own_and_all_else_the_strict_policy(site):
    def policy_of(path):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        connection.request("GET", path)
        policy = connection.getresponse().headers["Content-Security-Policy"]
        connection.close()
        return policy

    report = site.path / "results" / "report.html"
    report.write_text("<!doctype html><script>1</script>")
    try:
        assert site.json("/api/contents")["screen"]["report"] == "report.html"
        assert policy_of("/results/report.html").startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
        for path in ("/", "/api/contents", "/results/plates/report.html", "/results/x%2freport.html"):
            assert policy_of(path).startswith("default-src 'self'; style-src")
    finally:
        report.unlink()


def test_planes_of_one_file_are_fields_in_the_channel_of_the_nuclei(site):
    for number in (0, 1):
        x, y = 10 * (number + 1), 5 * (number + 1)
        answer = site.json(f"/api/plates/planes/fields/{number}/nuclei")
        assert (answer["Nuclei_Location_Center_X"], answer["Nuclei_Location_Center_Y"]) == ([x], [y])
        image = site.pixels(f"/api/plates/planes/fields/{number}/pixels/DNA")
        assert np.argwhere(image == 40000).tolist() == [[y, x]]


@pytest.mark.parametrize("number", ["6", "-1", "x", "1e0", "%D9%A1", "9" * 5000, "..%2f0"])
def test_only_fields_of_the_table_are_shown(site, number):
    for kind in ("pixels/DNA", "thumbnail.png", "nuclei", "tuning?method=auto&diameter=auto&contrast=auto"):
        assert site.get(f"{PLATE}/fields/{number}/{kind}")[0] == 404


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
        query = f"left={left}&top={top}&right={right}&bottom={bottom}&scale=1"
        answer = site.json(f"/api/slides/slide%20five/nuclei?{query}")
        assert answer["count"] == len(answer["Nuclei_Location_Center_X"])
        return list(zip(answer["Nuclei_Location_Center_X"], answer["Nuclei_Location_Center_Y"], strict=True))

    assert within(-1e9, -1e9, 1e9, 1e9) == [(300, 200), (1234, 700), (2099, 1299)]
    assert within(300, 200, 1234, 1300) == [(300, 200)]
    assert within(301, 0, 2099, 700) == []
    everywhere = site.json("/api/slides/slide%20five/nuclei?left=0&top=0&right=9999&bottom=9999&scale=0")
    assert everywhere == {"count": 3, "Nuclei_Location_Center_X": [], "Nuclei_Location_Center_Y": []}
    assert site.get("/api/slides/slide%20five/nuclei?left=nan&top=0&right=1&bottom=1&scale=1")[0] == 404
    assert site.get("/api/slides/slide%20five/nuclei")[0] == 404


def test_too_many_nuclei_are_counted_only(site):
    program = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "scripts")!r})
from pathlib import Path
from fieldwork.viewer import slides
from fieldwork.viewer.results import Results
slides.MOST_NUCLEI = 2
results = Results(Path({str(site.path / "results")!r}), Path())
print(slides.nuclei(results, "slide five", 0, 0, 1e4, 1e4, 1))
"""
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    expected = {"count": 3, "Nuclei_Location_Center_X": [], "Nuclei_Location_Center_Y": []}
    assert answer.stdout == f"{expected}\n"


def test_a_failed_slide_says_why(site):
    assert site.json("/api/slides/torn") == {"slide": "torn", "status": "failed", "error": "not a slide"}


def test_a_stack_is_its_table(site):
    columns = ["Metadata_Stack", "Metadata_Frame", "Image_Status", "level"]
    rows = [["film", "0", "ok", "0.0"], ["film", "1", "ok", "0.5"], ["film", "2", "ok", "1.0"]]
    answer = site.json("/api/stacks/film")
    assert (answer["columns"], answer["rows"], answer["frames"]) == (columns, rows, False)
    assert answer["tables"] == ["frames.csv"]


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
    assert site.json("/api/contents")["stacks"] == [{"name": "movie"}]
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


def test_pages_of_other_sites_set_nothing_going(site):
    tuning = "/api/plates/week%201/fields/0/tuning?method=auto&diameter=auto&contrast=auto"
    for wanted in ("image", "empty", "iframe"):
        assert site.get(tuning, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": wanted})[0] == 403
    assert site.get("/", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"})[0] == 200
    assert site.get("/api/contents", **{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"})[0] == 200


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
