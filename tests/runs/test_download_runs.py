"""Plates from archives through the whole workflow: the same tables, failures of one plate, kills."""

import hashlib
import json
import os
import shutil
import threading

import numpy as np
import psutil
import pytest

from archive_server import below, pack
from fieldwork.planning.plates import SCREEN, TABLES
from workspace import Workspace, wait_for


@pytest.fixture
def by_hand(tmp_path):
    """A workspace whose plate lies there, and its images, as they would be in an archive."""
    workspace = Workspace(tmp_path / "by hand")
    workspace.path.mkdir()
    files = workspace.plant("P1", wells=("B02", "C03"), shape=(256, 256))
    return workspace, {path.name: path.read_bytes() for path in files}


def sheet(workspace, *rows):
    path = workspace.path / "config/plates.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in (("plate", "images", "url", "checksum"), *rows)))


def test_download_and_then_the_same_tables_as_by_hand(workspace, by_hand, tmp_path, serve):
    other, files = by_hand
    other.run("tables")
    content = pack(tmp_path / "packed.zip", files)
    server = serve(content)
    sheet(workspace, ("P1", "images/P1", server.url("P1.zip"), f"md5:{hashlib.md5(content).hexdigest()}"))
    for target in ("all", "results/plates/P1/units/all.parquet"):
        output = workspace.run("--", target, status=1)
        assert "Error: no images yet of plate(s) 'P1': run `snakemake --cores N download` first" in output
        assert "Select jobs" not in output and "Job stats" not in output
    assert not server.asked and workspace.planned("download") == {"download_plate": 1, "download": 1, "total": 2}
    assert "the images of 1 of 1 plates with a url are there" in workspace.run("download")
    made = json.loads((workspace.path / "results/plates/P1/download.json").read_text())
    assert made["sha256"] == hashlib.sha256(content).hexdigest() and made["files"] == len(files) == 4
    assert (made["plate"], made["folder"], made["bytes"]) == ("P1", "images/P1", len(content))
    assert below(workspace.path / "images/P1") == files
    assert "Nothing to be done" in workspace.run("download") and len(server.asked) == 1
    workspace.run("tables")
    assert workspace.tables() == other.tables() and len(workspace.tables()) == len([*TABLES, *SCREEN])

    (workspace.path / "results/plates/P1/download.json").unlink()
    workspace.run("download")
    assert len(server.asked) == 1
    assert json.loads((workspace.path / "results/plates/P1/download.json").read_text()) == made
    shutil.rmtree(workspace.path / "images/P1")
    assert "run `snakemake --cores N download` first" in workspace.run("tables", status=1)
    workspace.run("download")
    assert len(server.asked) == 2 and below(workspace.path / "images/P1") == files

    sheet(workspace, ("P1", "images/P1", server.url("new.zip"), ""))
    for target in ("download", "tables"):
        output = workspace.run(target, status=1)
        assert "Delete that folder and run `snakemake --cores N download`" in output
    assert below(workspace.path / "images/P1") == files and len(server.asked) == 2


def test_one_plate_that_fails_costs_the_others_nothing(workspace, by_hand, tmp_path, serve):
    _, files = by_hand
    good, bad, odd = serve(pack(tmp_path / "good.tgz", files)), serve(b""), serve(pack(tmp_path / "odd.zip"))
    bad.status = [404]
    workspace.plant("mine")
    sheet(
        workspace,
        ("bad", "images/bad", bad.url("bad.zip"), ""),
        ("good", "images/good", good.url("good.tgz"), ""),
        ("odd", "images/odd", odd.url("odd.zip"), ""),  # no layout fits
        ("mine", "images/mine", good.url("mine.tgz"), ""),
        ("own", "images/mine", "", ""),
    )
    output = workspace.run("download", "--keep-going", status=1)
    assert f"plate 'bad': {bad.url('bad.zip')}: found HTTP status 404 (Not Found)" in output
    assert "'images/mine' is there already, and was not downloaded" in output
    assert sorted(os.listdir(workspace.path / "images")) == ["good", "mine", "odd"]
    workspace.run("--", "results/plates/good/wells.csv", "results/plates/mine/wells.csv")
    bad.content = good.content
    sheet(workspace, ("bad", "images/bad", bad.url("bad.tgz"), ""), ("odd", "images/odd", odd.url("odd.zip"), ""))
    workspace.run("download")  # which takes no offence at the names of images
    output = workspace.run("tables", status=1)
    assert "plate 'odd': 'images/odd': found 2 image files" in output and "Select jobs" not in output


def download_of(process):
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "download_plate.py" in " ".join(child.cmdline()):
                return child
        except psutil.Error:  # it may end while it is looked at
            pass
    return None


def test_a_run_killed_in_mid_download_goes_on_where_it_was(workspace, by_hand, tmp_path, serve):
    _, files = by_hand
    content = pack(tmp_path / "packed.zip", {**files, "noise": np.random.default_rng(5).bytes(2_000_000)})
    server = serve(content)
    server.gate = threading.Event()
    sheet(workspace, ("P1", "images/P1", server.url("P1.zip"), ""))
    process = workspace.start("download")
    part = workspace.path / "images/.P1.download/archive"
    wait_for(lambda: server.held.is_set() and part.exists() and part.stat().st_size > 0.4 * len(content), process)
    job = download_of(process)
    process.kill()
    process.communicate()
    job.wait(timeout=10)
    there, sent = part.stat().st_size, server.sent
    server.gate.set()
    assert not (workspace.path / "images/P1").exists()
    workspace.run("download")
    assert server.asked[-1]["Range"] == f"bytes={there}-" and server.asked[-1]["If-Range"] == '"first"'
    assert below(workspace.path / "images/P1").keys() == {*files, "noise"}
    assert os.listdir(workspace.path / "images") == ["P1"]
    assert len(server.asked) == 2 and sent + len(content) - there < 1.2 * len(content)
    assert there > 0.4 * len(content)
