"""The report: one page with every picture."""

import json
import re

import numpy as np
import tifffile

from fieldwork import synthetic


def test_the_report_holds_every_picture_under_its_labels(workspace):
    workspace.plant("P1")
    workspace.plant("Week1_22123", wells=("B02",))
    rng = np.random.default_rng(0)
    film = np.stack([synthetic.plant_field(rng, shape=(96, 128), count=3)[0] for _ in range(3)])
    tifffile.imwrite(workspace.path / "film.tif", film, photometric="minisblack")
    (workspace.path / "config" / "stacks.tsv").write_text("stack\tpath\nfilm\tfilm.tif\n")
    workspace.run()
    report = workspace.path / "results" / "report.html"
    workspace.run("--report", str(report))
    page = report.read_text()
    results = json.loads(re.search(r"^ *var results = (\{.*\});$", page, re.MULTILINE)[1])
    drawn = {tuple(each["labels"].values()) for each in results.values()}
    pictures = ["nuclei per well", "nuclei per field by treatment", "edge effect", "random fields"]
    assert {(plate, picture) for plate in ("P1", "Week1_22123") for picture in pictures} <= drawn
    assert ("film", "frame by frame") in drawn
    assert ("time and memory of every job",) in drawn
    assert all(each["data_uri"].startswith("data:image/png;") for each in results.values())
    assert report.stat().st_size < 25e6
    assert not re.search(r'(src|href)="https?://', page)
