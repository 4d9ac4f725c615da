"""Images, slides and stacks on S3 and on a web server: both run here, on 127.0.0.1."""

import json
import re
import shutil
import signal
import threading
import time
import urllib.request
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import boto3
import numpy as np
import pandas as pd
import pytest
import tifffile
import werkzeug.serving
from moto.server import ThreadedMotoServer

from fieldwork import synthetic
from fieldwork.viewer import fields as viewer_fields
from fieldwork.viewer.results import NotFound, Results
from workspace import wait_for

ODD = "Zürich 7 (100%25)"  # blanks, an umlaut, and what would be % if it were unquoted
EVERYTHING = (  # that reads images
    "--config",
    "fan_out=well",
    "ome_zarr_plate=true",
    "filters={chain: [{function: median}]}",
    "max_failed_fields=0.5",
)


class S3:
    """A server of S3, and the number of requests of each kind."""

    def __init__(self):
        self.asked = Counter()
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        # Moto keeps objects for as long as the process lives, also those of the server before.
        urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"").close()
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.url, **keys)

    def put(self, path, bucket, key):
        self.client.create_bucket(Bucket=bucket)  # or leave it as it is
        self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        self.asked.clear()


@pytest.fixture
def s3(monkeypatch):
    """Start a server, and tell Snakemake of it."""
    server = S3()

    def count(handler, *_):
        server.asked["list" if "list-type=" in handler.path or "prefix=" in handler.path else handler.command] += 1

    monkeypatch.setattr(werkzeug.serving.WSGIRequestHandler, "log_request", count)
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", server.url)
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ACCESS_KEY", "key")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_SECRET_KEY", "secret")
    yield server
    server.client.close()
    server.server.stop()


class Web(SimpleHTTPRequestHandler):
    """Serves a folder, but for what is called forbidden, or busy, and counts."""

    asked = Counter()
    end = threading.Event()  # of a server that stalls

    def log_message(self, *_):
        self.asked[self.command] += 1

    def send_head(self):
        if "forbidden" in self.path:
            return self.send_error(403)
        if "busy" in self.path and self.command == "GET":
            return self.send_error(503)
        if f"stalls-at-{self.command}" in self.path:
            self.asked["stalled"] += 1
            self.end.wait()
            return None
        return super().send_head()


@pytest.fixture
def web(tmp_path_factory):
    """Serve a folder; return it and its URL."""
    folder = tmp_path_factory.mktemp("web")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    Web.asked.clear()
    Web.end.clear()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    Web.end.set()
    server.shutdown()
    server.server_close()
    thread.join()


def sheet(workspace, kind, *rows):
    """Write a sheet of these rows, and no other."""
    column = "images" if kind == "plate" else "path"
    folder = workspace.path / "config"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / f"{kind}s.tsv").write_text("\n".join(["\t".join(row) for row in [(kind, column), *rows]]))


def made(workspace, results, folder):
    """Return the outputs of a plate without the folders of its images: file -> bytes."""
    found = {}
    for path in sorted((workspace.path / results / "plates").rglob("*")):
        if path.is_file():
            text = path.read_bytes().replace(json.dumps(folder)[1:-1].encode(), b"FOLDER")
            found[path.relative_to(workspace.path / results).as_posix()] = text.replace(folder.encode(), b"FOLDER")
    others = ("fields.parquet", "settings.json")  # which has the time
    return {name: text for name, text in found.items() if not name.endswith(others)}


def test_a_plate_on_s3_gives_what_the_same_plate_on_disk_gives(workspace, s3):
    files = workspace.plant()
    files[3].write_bytes(b"broken")
    shutil.copy(files[0], files[0].with_name(files[0].name.replace("_w1", "_w2")))
    files[0].with_name("notes.txt").write_text("no image")
    workspace.run(*EVERYTHING, "results=disk")
    folder = f"s3://screens/{ODD}/P1"
    for path in files[0].parent.iterdir():
        s3.put(path, "screens", f"{ODD}/P1/{path.name}")
    sheet(workspace, "plate", ("P1", f"{folder}/"))
    shutil.rmtree(workspace.path / "images")
    output = workspace.run(*EVERYTHING, "results=remote")
    # All the jobs of three wells and their plate, each in processes of its own: one list, and every image once.
    assert s3.asked == {"list": 1, "GET": 7}
    assert "Retrieving from storage" in output and ODD in output
    on_disk, remote = made(workspace, "disk", "images/P1"), made(workspace, "remote", folder)
    assert {name for name in on_disk if on_disk[name] != remote.get(name)} == set() and on_disk.keys() == remote.keys()
    names = {re.sub(r".*/", "", name) for name in remote}
    assert names >= {"nuclei.parquet", "fields.csv", "wells.csv", "densities.png", "focus.png", "filtered.csv"}
    fields = pd.read_csv(workspace.path / "remote/plates/P1/fields.csv")
    assert list(fields.Image_Status == "failed") == [False, False, False, True, False, False]
    assert set(fields.PathName_DNA) == {folder} and list(fields.FileName_DNA) == [path.name for path in files]
    assert not [path for path in (workspace.path / ".snakemake/storage").rglob("*") if path.is_file()]
    with pytest.raises(NotFound, match=f"{re.escape(folder)}/Week1.*: only images on disk can be shown"):
        viewer_fields.plane(Results(workspace.path / "remote", workspace.path), "P1", "0")
    log = (workspace.path / "logs/plates/P1/images.log").read_text()
    assert "1 files that are no images were not looked at: 1 .txt" in log
    assert workspace.planned(*EVERYTHING, "results=remote") == {}


def test_only_what_a_changed_object_made_is_made_again(workspace, s3):
    files = workspace.plant()
    for number, bucket in enumerate(("one", "two")):  # equal keys
        for path in files[number:]:
            s3.put(path, bucket, f"plate/{path.name}")
    sheet(workspace, "plate", ("P1", "s3://one/plate"), ("P2", "s3://two/plate"))
    # By peaks: calibrations have their own tests.
    arguments = ("tables", "--config", "fan_out=well", "nuclei={method: peaks}")
    workspace.run(*arguments)
    assert s3.asked == {"list": 2, "GET": 11}
    counts = [len(pd.read_csv(workspace.path / f"results/plates/{plate}/fields.csv")) for plate in ("P1", "P2")]
    assert counts == [6, 5]
    assert workspace.planned(*arguments) == {}
    before = workspace.tables()
    time.sleep(1)  # servers tell whole seconds
    s3.put(files[0], "two", f"plate/{files[1].name}")
    of_tables = {"merge_units": 1, "profile_wells": 1, "screen_plates": 1, "tables": 1}
    assert workspace.planned(*arguments) == {"detect_nuclei": 1, **of_tables, "total": 5}
    workspace.run(*arguments)
    changed = {name for name, table in workspace.tables().items() if table != before[name]}
    assert changed == {
        f"plates/P2/{name}" for name in ("nuclei.parquet", "fields.csv", "fields.parquet")
    }  # each field has 5 nuclei
    s3.put(files[0], "two", f"plate/{files[0].name}")
    assert workspace.planned(*arguments)["detect_nuclei"] == 1
    assert workspace.planned(*arguments)["total"] == 5


def test_copies_of_one_plate_at_a_time_are_on_the_disk(workspace, s3):
    for plate in ("one", "two"):
        for path in workspace.plant(plate, wells=("B02", "C02"), sites=1, shape=(48, 64), count=1):
            s3.put(path, plate, path.name)
    sheet(workspace, "plate", ("P1", "s3://one/"), ("P2", "s3://two/"))
    output = workspace.run("tables", "--config", "fan_out=well", cores=1)
    finished = re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", output)
    of_plate = ["calibrate_plate", "detect_nuclei", "detect_nuclei", "join_labels", "merge_units", "profile_wells"]
    by_plate = [*sorted(finished[:6]), *sorted(finished[6:12]), *finished[12:]]
    assert by_plate == [*of_plate, *of_plate, "screen_plates", "tables"]
    assert s3.asked == {"list": 2, "GET": 4}


def test_a_list_on_a_web_server_may_name_what_lies_beside_it_and_elsewhere(workspace, web):
    files, (folder, url) = workspace.plant(), web
    workspace.run("tables", "--config", "results=disk")
    lines = ["FileName_w1,PathName_w1,Metadata_Well,Metadata_Site"]
    (folder / "list").mkdir()
    for number, path in enumerate(files):
        well, site = re.search(r"_([B-H]\d\d)_s(\d)", path.name).groups()
        shutil.copy(path, folder / ("list" if number else "") / path.name.replace("Week1", ODD))
        place = "" if number else url
        lines.append(f"{path.name.replace('Week1', ODD.replace('%', '%25'))},{place},{well},{site}")
    (folder / "list/images.csv").write_text("\n".join(lines))
    sheet(workspace, "plate", ("P1", f"{url}/list/images.csv"))
    # What a killed run has left of an image, newer than the image itself.
    copy = workspace.path / ".snakemake/storage/http" / url.removeprefix("http://") / "list" / lines[-1].split(",")[0]
    copy.parent.mkdir(parents=True)
    copy.write_bytes(files[-1].read_bytes()[:1000])
    workspace.run("tables", "--config", "results=remote")
    assert Web.asked == {"HEAD": 6, "GET": 7}
    fields = pd.read_csv(workspace.path / "remote/plates/P1/fields.csv")
    assert list(fields.PathName_DNA) == [url] + 5 * [f"{url}/list"]
    on_disk = pd.read_csv(workspace.path / "disk/plates/P1/fields.csv")
    other = ["FileName_DNA", "PathName_DNA"]
    pd.testing.assert_frame_equal(fields.drop(columns=other), on_disk.drop(columns=other))
    for table in ("nuclei.parquet", "wells.csv"):
        remote, disk = (workspace.path / results / "plates/P1" / table for results in ("remote", "disk"))
        assert remote.read_bytes() == disk.read_bytes()
    assert workspace.planned("tables", "--config", "results=remote") == {}
    assert workspace.planned("results/benchmarks/methods.csv")["benchmark_methods"] == 1
    time.sleep(1)  # as above
    (folder / "list" / files[-1].name.replace("Week1", ODD)).touch()
    assert workspace.planned("tables", "--config", "results=remote")["detect_nuclei"] == 1


def test_slides_and_stacks_may_be_objects(workspace, s3, web):
    folder, url = web
    rng = np.random.default_rng(0)
    film = workspace.path / "film.tif"
    tifffile.imwrite(film, np.stack([synthetic.plant_field(rng, shape=(96, 128), count=5)[0] for _ in range(5)]))
    slide = workspace.path / "slide.tif"
    tifffile.imwrite(slide, rng.integers(0, 255, (300, 400, 3), np.uint8), tile=(64, 64), photometric="rgb")
    shutil.copy(slide, folder)
    s3.put(film, "films", f"{ODD}/film.tif")
    s3.put(film, "films", f"{ODD}/film.tif.notes/other.tif")
    sheet(workspace, "stack", ("film", "film.tif"))
    (workspace.path / "config/slides.tsv").write_text("slide\tpath\nglass\tslide.tif\n")
    workspace.run("--config", "results=disk")
    sheet(workspace, "stack", ("film", f"s3://films/{ODD}/film.tif"))
    (workspace.path / "config/slides.tsv").write_text(f"slide\tpath\nglass\t{url}/slide.tif\n")
    workspace.run("--config", "results=remote")
    assert s3.asked == {"list": 1, "GET": 1} and Web.asked == {"HEAD": 1, "GET": 1}
    for name in ("stacks/film/frames.csv", "stacks/film/nuclei.parquet", "stacks/film/frames.png"):
        assert (workspace.path / "remote" / name).read_bytes() == (workspace.path / "disk" / name).read_bytes()
    facts = json.loads((workspace.path / "remote/slides/glass/slide.json").read_text())
    assert facts["path"] == f"{url}/slide.tif" and facts["status"] == "ok" and facts["width"] == 400
    store = (workspace.path / "remote/slides/glass/glass.ome.zarr/zarr.json").read_text()
    assert f"{url}/slide.tif" in store and ".snakemake/storage" not in json.dumps(facts) + store
    assert workspace.planned("--config", "results=remote") == {}


def test_what_is_not_there_is_one_line_before_any_job(workspace, s3, web, monkeypatch):
    [path] = workspace.plant(wells=["B02"], sites=1)
    s3.put(path, "screens", "P1/B02_s1_w1.tif")
    folder, url = web

    def refused(kind, where):
        sheet(workspace, kind, ("good", str(path.parent if kind == "plate" else path)), ("bad", where))
        output = workspace.run(status=1)
        assert "Select jobs" not in output and not (workspace.path / "results").exists()
        [line] = [line for line in output.splitlines() if line.startswith("Error: ")]
        assert line.startswith(f"Error: config/{kind}s.tsv, line 3: {kind} 'bad'")
        return line

    line = refused("plate", "s3://screens/P2")
    assert "'s3://screens/P2': there is no object below it" in line
    assert "'s3://nowhere/P2': " in (line := refused("plate", "s3://nowhere/P2")) and "NoSuchBucket" in line
    assert f"'{url}/absent.csv': 404" in refused("plate", f"{url}/absent.csv")
    for image, reason in {
        f"{url}/B02.tif": "404",
        f"{url}/forbidden.tif": "403",
        "s3://screens/P1/B03.tif": "there is no such object",
        "s3://screens/P1": "a folder; expected an object",
    }.items():
        (folder / "images.csv").write_text(f"URL_DNA,Metadata_Well\n{image},B02\n")
        line = refused("plate", f"{url}/images.csv")
        assert f"{url}/images.csv: well B02, site 1 names the image '{image}': {reason}" in line
    assert "has the path 's3://screens/P1': a folder" in refused("slide", "s3://screens/P1")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", url.replace("127.0.0.1", "no-such-host.invalid"))
    line = refused("stack", "s3://screens/P1/film.tif")
    assert "has the path 's3://screens/P1/film.tif': Could not connect to the endpoint URL" in line


def test_a_server_that_is_busy_ends_the_run_and_makes_no_failed_row(workspace, web):
    [path] = workspace.plant(wells=["B02"], sites=1)
    folder, url = web
    shutil.copy(path, folder / "busy.tif")
    (workspace.path / "images.csv").write_text(f"URL_DNA,Metadata_Well\n{url}/busy.tif,B02\n")
    sheet(workspace, "plate", ("P1", "images.csv"))
    output = workspace.run("tables", status=1)
    assert f"Failed to retrieve storage object from {url}/busy.tif" in output and "503" in output
    assert not workspace.tables()


@pytest.mark.parametrize(
    ("method", "number"), [("HEAD", signal.SIGINT), ("GET", signal.SIGINT), ("GET", signal.SIGTERM)]
)
def test_a_run_can_be_ended_while_a_server_stalls(workspace, web, method, number):
    [path] = workspace.plant(wells=["B02"], sites=1)
    folder, url = web
    shutil.copy(path, folder / f"stalls-at-{method}.tif")
    (workspace.path / "images.csv").write_text(f"URL_DNA,Metadata_Well\n{url}/stalls-at-{method}.tif,B02\n")
    sheet(workspace, "plate", ("P1", "images.csv"))
    process = workspace.start("tables")
    wait_for(lambda: Web.asked["stalled"], process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert process.returncode != 0 and not workspace.tables()
    assert "Traceback" not in output, output
