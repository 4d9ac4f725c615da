"""Another workflow uses this one as a module: its own configuration, folders and rules, and the same tables."""

import fcntl
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
import tifffile

from fieldwork import synthetic
from slide_files import picture, write_slide
from workspace import REPOSITORY

SNAKEFILE = str(REPOSITORY / "Snakefile")
# They say when something was made, how long it took, or who runs.
TIMED = ("slide.json", "slides.csv", "settings.json", "summary.html", "jobs.png", "fieldwork.lock")
MINE = {
    "plates": "sheets/plates.tsv",
    "slides": "sheets/slides.tsv",
    "stacks": "sheets/stacks.tsv",
    "nuclei": {"threshold": 900},
    "ome_zarr_plate": True,
    "filters": {"chain": [{"function": "median"}]},
    "stack": {"function": "skimage.filters.sobel"},
}

PLATES = {"plates": "config/plates.tsv", "ome_zarr_plate": True}


def module(name, config, *lines):
    """Return the lines of a Snakefile that use all rules of Fieldwork under a name."""
    statements = [f"snakefile: {SNAKEFILE!r}", f"config: {config}", *lines]
    return "\n    ".join([f"module {name}:", *statements]) + f"\nuse rule * from {name} as {name}_*\n"


def run(workspace, snakefile, *arguments, status=0):
    """Write another workflow's Snakefile and run it."""
    (workspace.path / "Snakefile").write_text(snakefile)
    start = ("--snakefile", str(workspace.path / "Snakefile"), "--workflow-profile", "none")  # it has not ours
    return workspace.run(*start, *arguments, status=status)


def files(folder):
    """Return the bytes of every file below a folder that does not differ from run to run."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in TIMED]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def images(workspace):
    """A plate with a platemap, a slide and a stack; their sheets lie in a folder of the other workflow's choice."""
    workspace.plant()
    rng = np.random.default_rng(1)
    film = [synthetic.plant_field(rng, shape=(96, 128), count=5)[0] for _ in range(3)]
    tifffile.imwrite(workspace.path / "film.tif", np.stack(film), photometric="minisblack")
    write_slide(workspace.path / "slide.tif", picture(300, 400))
    for name, text in {
        "plates.tsv": "plate\timages\tplatemap\nP1\timages/P1\tsheets/map.csv\n",
        "map.csv": "well,compound\nB02,DMSO\nB03,taxol\nC02,taxol\n",
        "slides.tsv": "slide\tpath\tregions\nS1\tslide.tif\tsheets/regions.geojson\n",
        "regions.geojson": '{"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [400, 300], [0, 0]]]}',
        "stacks.tsv": "stack\tpath\nF1\tfilm.tif\n",
    }.items():
        (workspace.path / "sheets").mkdir(exist_ok=True)
        (workspace.path / "sheets" / name).write_text(text)
    return workspace


def test_a_module_with_a_prefix_makes_the_files_of_a_run_below_it_and_nothing_elsewhere(images):
    mine = images.path / "mine.json"
    mine.write_text(json.dumps(MINE))
    images.run("--configfile", str(mine), "--", "tables", "results/plates/P1/P1.ome.zarr.json")
    (images.path / "results").rename(images.path / "direct")
    before = files(images.path / "direct")
    assert {"plates/P1/wells.csv", "plates/P1/filtered/filtered.csv", "stacks/F1/frames.csv"} < before.keys()
    assert {"slides/S1/regions.csv", "slides/S1/nuclei.geojson"} < before.keys()
    for part in ("/P1.ome.zarr/", "/S1.ome.zarr/labels/nuclei/", "/frames.zarr/", "filtered/Week1_150607_B02_s1"):
        assert any(part in path for path in before), part

    (images.path / "config/config.yaml").write_text(f"samples: [a, b]\nfieldwork: {json.dumps(MINE)}\n")
    others = sorted(path.name for path in images.path.iterdir() if path.name not in ("logs", "benchmarks"))
    for left in ("logs", "benchmarks"):
        (images.path / left).rename(images.path / f"direct_{left}")
    workflow = (
        'configfile: "config/config.yaml"\n'
        'rule all:\n    input: "counts.txt"\n'
        + module("fieldwork", 'config["fieldwork"]', 'prefix: "plates_run"')
        + "rule count:\n"
        '    input:\n        rules.fieldwork_tables.input,\n        "plates_run/results/plates/P1/P1.ome.zarr.json",\n'
        '        wells=expand(rules.fieldwork_merge_units.output.wells, plate="P1"),\n'
        '    output: "counts.txt"\n    shell: "cp {input.wells} {output}"\n'
        "onsuccess:\n    fieldwork.onsuccess()\n"
    )
    output = run(images, workflow)
    assert "plates_run/results/plates/*/nuclei.parquet, fields.csv, wells.csv. Logs: plates_run/logs/plates/." in output
    after = files(images.path / "plates_run/results")
    assert after.keys() == before.keys()
    assert [path for path in after if after[path] != before[path]] == []
    assert (images.path / "counts.txt").read_bytes() == before["plates/P1/wells.csv"]
    assert sorted(path.name for path in (images.path / "plates_run").iterdir()) == ["benchmarks", "logs", "results"]
    made = {path.name for path in images.path.iterdir()} - set(others)
    assert made == {"Snakefile", "counts.txt", "plates_run", "direct_logs", "direct_benchmarks"}
    assert "Nothing to be done" in run(images, workflow, "--dry-run")


def test_two_modules_have_each_its_configuration_folder_and_lock(workspace):
    workspace.plant()
    workflow = (
        "rule touch:\n    input: rules.few_all.input, rules.many_all.input\n"
        '    output: "done.txt"\n    shell: "touch {output}"\n'
        "onstart:\n    few.onstart()\n    many.onstart()\n"
    )
    few = {"fan_out": "well", "nuclei": {"threshold": 60000}, "results": "out"}
    modules = module("few", few, 'prefix: "few"') + module("many", {"quality": False}, 'prefix: "many"')
    run(workspace, modules + workflow, "done.txt")
    results = {"few": workspace.path / "few/out", "many": workspace.path / "many/results"}
    counts = {name: list(pd.read_csv(path / "plates/P1/wells.csv").Count_Nuclei) for name, path in results.items()}
    assert counts == {"few": [0, 0, 0], "many": [10, 10, 10]}
    units = {name: len(list(path.glob("plates/P1/units/*.fields.parquet"))) for name, path in results.items()}
    assert units == {"few": 3, "many": 1}
    plots = {name: {plot.stem for plot in path.glob("plates/P1/plots/*.png")} for name, path in results.items()}
    assert plots["few"] - plots["many"] == {"focus", "quality"}
    with open(results["many"] / "fieldwork.lock") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert f"is at work in {results['many']}; wait for it to end" in run(
            workspace, modules + workflow, "--forcerun", "touch", "--", "done.txt", status=1
        )


def test_pathvars_place_a_module_as_a_prefix_does(workspace):
    workspace.plant()
    places = 'pathvars:\n        results="mine",\n        logs="mine/logs",\n        benchmarks="mine/benchmarks"'
    run(workspace, module("fieldwork", PLATES, places))  # of nothing else, so that its first rule is the default
    made = {path.name for path in (workspace.path / "mine").iterdir()}
    assert made == {"plates", "screen", "logs", "benchmarks", "jobs.png", "summary.html"}
    assert not (workspace.path / "results").exists() and not (workspace.path / "logs").exists()
    assert (workspace.path / "mine/plates/P1/P1.ome.zarr/zarr.json").exists()


@pytest.mark.parametrize(
    ("config", "line", "said"),
    [
        (["well"], "", "config of module fieldwork: found ['well']; expected keys and values"),
        ({"filters": {"chain": [{"function": "medium"}]}}, "", "config of module fieldwork: filters.chain.0: medium"),
        ({"results": "/out"}, 'prefix: "a"', "the folder '/out' cannot stand behind the module's prefix"),
        ({}, 'replace_prefix: {"results/": "a/"}', "the folder 'results' cannot stand behind the module's prefix"),
    ],
)
def test_what_is_wrong_with_a_modules_configuration_is_one_line(workspace, config, line, said):
    workspace.plant()
    (workspace.path / "map.csv").write_text("well,compound\nB02,DMSO\n")
    output = run(workspace, module("fieldwork", config, line), "--dry-run", status=1)
    assert output.startswith(("Error: ", "plate P1")) and len(output.splitlines()) <= 2, output
    assert said in output


def test_a_module_that_is_no_clone_is_refused(workspace):
    handler = partial(SimpleHTTPRequestHandler, directory=REPOSITORY)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/Snakefile"
            output = run(workspace, module("fieldwork", {}).replace(SNAKEFILE, url), "--dry-run", status=1)
        finally:
            server.shutdown()
            thread.join()
    assert "Error: Fieldwork runs from a clone, not from 'http://127.0.0.1:" in output
