"""Stacks through the whole workflow: any kind of file, any engine, any function."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
import zarr
from skimage.feature import peak_local_max
from skimage.filters import gaussian, sobel

from fieldwork import segmentation, synthetic
from workspace import SCRIPTS, wait_for

N_FRAMES = 7
ENGINES = {
    "serial": {"engine": "serial"},
    "paths": {"engine": "pool"},
    "fork": {"engine": "pool", "mode": "fork"},
    "dask threads": {"engine": "dask", "dask": "threads"},
    "dask processes": {"engine": "dask", "dask": "processes"},
}
OWN = """
import numpy as np
import pandas  # what jobs keep out elsewhere

import beside


def measure(image, *, power=1):
    if image[0, 0] == 13:
        raise ValueError("unlucky\\nframe")
    return {"total": np.sum(image, dtype=float) ** power * beside.FACTOR, "first": image[0, 0]}
"""


@pytest.fixture
def film():
    rng = np.random.default_rng(0)
    return np.stack([synthetic.plant_field(rng, shape=(96, 128), count=3 + number)[0] for number in range(N_FRAMES)])


def write(workspace, film, kind):
    """Write the film as the stack `film`, and put it into the sheet in place of another one."""
    path = workspace.path / f"film.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, film)
    elif kind == "npy":
        np.save(path, film)
    elif kind == "zarr":
        zarr.create_array(path, data=film, chunks=(1, *film.shape[1:]))
    else:
        path.mkdir()
        for number, frame in enumerate(film):
            tifffile.imwrite(path / f"frame{number}.tif", frame)
    (workspace.path / "config").mkdir(exist_ok=True)
    (workspace.path / "config" / "plates.tsv").write_text("plate\timages\n")
    (workspace.path / "config" / "stacks.tsv").write_text(f"stack\tpath\nfilm\t{path.name}\n")
    return path


def configure(workspace, **config):
    (workspace.path / "config" / "config.yaml").write_text(yaml.safe_dump(config))


def outputs(workspace):
    """Return the bytes of all outputs of the stack but its pictures, and the names of a folder's files."""
    folder = workspace.path / "results" / "stacks" / "film"
    left_out = {"stack.json"}  # it names the stack's file
    paths = [
        path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png" and path.name not in left_out
    ]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    lines = [line.split(b",") for line in contents.get("frames.csv", b"").split(b"\n")]
    if b"FileName" in lines[0]:
        assert lines[0].index(b"FileName") == 2
        contents["frames.csv"] = b"\n".join(b",".join(line[:2] + line[3:]) for line in lines)
    return contents


def frames_of(workspace):
    return pd.read_csv(workspace.path / "results" / "stacks" / "film" / "frames.csv")


def test_peaks_of_every_frame_are_scikit_images_whatever_the_file(workspace, film):
    made = []
    for kind in ("tif", "npy", "zarr", "folder"):
        write(workspace, film, kind)
        configure(workspace, nuclei={"method": "peaks"})
        printed = workspace.run("tables")
        assert f"Stacks: 1 of 1 done. Frames: {N_FRAMES}, of which 0 failed. Nuclei: " in printed
        made.append(outputs(workspace))
    assert set(made[0]) == {"frames.csv", "nuclei.parquet"}
    assert all(each == made[0] for each in made)
    nuclei = pd.read_parquet(workspace.path / "results" / "stacks" / "film" / "nuclei.parquet")
    frames = frames_of(workspace)
    assert frames["Metadata_Frame"].tolist() == list(range(N_FRAMES))
    assert frames["ImageQuality_MeanIntensity_DNA"].tolist() == pytest.approx(film.mean(axis=(1, 2)).tolist())
    for number, frame in enumerate(film):
        expected = peak_local_max(gaussian(frame, 4, preserve_range=True), min_distance=6, threshold_abs=1000)
        found = nuclei[nuclei["Metadata_Frame"] == number]
        assert len(expected) > 2
        assert frames["Image_Count_Nuclei"][number] == len(expected)
        assert found["ObjectNumber"].tolist() == list(range(1, len(expected) + 1))
        places = found[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()
        np.testing.assert_array_equal(places, expected)


def test_outlines_are_those_of_one_calibration_whatever_the_file_and_the_engine(workspace, film):
    made = {}
    for kind, name in (("tif", "serial"), ("npy", "paths"), ("zarr", "fork"), ("folder", "dask processes")):
        write(workspace, film, kind)
        configure(workspace, pool=ENGINES[name])
        printed = workspace.run("tables")
        assert f"Stacks: 1 of 1 done. Frames: {N_FRAMES}, of which 0 failed. Nuclei: 42." in printed
        made[kind] = outputs(workspace)
        record = json.loads(made[kind].pop("calibration.json"))
        calibration = segmentation.Calibration(*(record[name] for name in segmentation.Calibration._fields))
        assert calibration == segmentation.calibrate(film)
    assert {"frames.csv", "nuclei.parquet", "labels.zarr/zarr.json"} < set(made["tif"])
    assert all(files == made["tif"] for files in made.values())
    stored = zarr.open_array(workspace.path / "results" / "stacks" / "film" / "labels.zarr", mode="r")[:]
    np.testing.assert_array_equal(stored, [segmentation.segment_nuclei(frame, calibration) for frame in film])
    assert frames_of(workspace)["Image_Count_Nuclei"].tolist() == [3 + number for number in range(N_FRAMES)]


def test_a_preview_calibrates_a_stack_and_its_method_decides_what_is_there(workspace, film):
    write(workspace, film, "tif")
    configure(workspace)
    printed = workspace.run("preview")
    assert f"stack film: median 6 nuclei a frame (3 to 9 in {N_FRAMES} frames of its sample), typically " in printed
    folder = workspace.path / "results" / "stacks" / "film"
    assert {path.name for path in folder.iterdir()} == {"calibration.json", "calibration.png"}
    workspace.run()
    assert workspace.planned() == workspace.planned("preview") == {}
    (folder / "labels.zarr" / "zarr.json").unlink()
    assert workspace.planned("tables")["measure_frames"] == 1
    workspace.run()
    configure(workspace, pool={"engine": "serial"})
    assert workspace.planned("tables") == {}
    configure(workspace, measure={"channels": "none"})
    assert workspace.planned("tables") == {"measure_frames": 1, "tables": 1, "total": 2}
    configure(workspace, nuclei={"keep_labels": False})
    workspace.run()
    assert {path.name for path in folder.iterdir()} == {
        *("calibration.json", "calibration.png", "frames.csv", "frames.png", "nuclei.parquet", "stack.json")
    }
    configure(workspace, nuclei={"method": "peaks"})
    assert workspace.planned("tables") == {"measure_frames": 1, "tables": 1, "total": 2}
    assert "marks in results/stacks/film/calibration.png are wrong, set threshold" in workspace.run("preview")
    write(workspace, film, "npy")
    np.save(workspace.path / "film.npy", np.random.default_rng(0).normal(300, 20, film.shape).astype("uint16"))
    configure(workspace)
    assert "WARNING stack film: no nucleus stands out from the noise" in workspace.run("tables")


@pytest.mark.parametrize(("images", "engines"), [("zarr", list(ENGINES)), ("tiff", ["serial", "paths"])])
def test_images_of_a_function_are_equal_from_every_engine(workspace, film, images, engines):
    film[2] = 0
    write(workspace, film, "tif")
    made = {}
    for name in engines:
        pool = ENGINES[name]
        configure(workspace, stack={"function": "skimage.filters.sobel", "images": images}, pool=pool)
        workspace.run("tables", "--forceall")
        made[name] = outputs(workspace)
    assert all(each == made["serial"] for each in made.values()), {name: sorted(each) for name, each in made.items()}
    folder = workspace.path / "results" / "stacks" / "film"
    stored = zarr.open_array(folder / "frames.zarr")[:] if images == "zarr" else tifffile.imread(folder / "frames.tif")
    np.testing.assert_array_equal(stored, np.stack([sobel(frame) for frame in film]))
    assert not (folder / "nuclei.parquet").exists()


def test_a_function_beside_the_configuration_gives_columns_and_a_failed_row(workspace, film):
    film[3, 0, 0] = 13
    write(workspace, film, "npy")
    configure(workspace, stack={"function": "own.measure", "arguments": {"power": 2}})
    (workspace.path / "config" / "own.py").write_text(OWN)
    (workspace.path / "config" / "beside.py").write_text("FACTOR = 1\n")
    printed = workspace.run("tables")
    assert "stack film: 1 of 7 frames failed, first film.npy (frame 3): own.measure failed" in printed
    assert "Frames: 7, of which 1 failed.\n" in printed  # and no nuclei, as none were looked for
    frames = frames_of(workspace)
    assert frames["Image_Status"].tolist() == ["ok"] * 3 + ["failed"] + ["ok"] * 3
    assert frames["Image_Error"][3] == "own.measure failed: ValueError: unlucky frame"
    expected = film.sum(axis=(1, 2), dtype=float) ** 2
    expected[3] = np.nan
    np.testing.assert_allclose(frames["total"], expected)
    assert workspace.planned("tables") == {}
    (workspace.path / "config" / "beside.py").write_text("FACTOR = 2\n")
    workspace.run("tables")
    np.testing.assert_allclose(frames_of(workspace)["total"], 2 * expected)


def test_another_function_leaves_nothing_of_the_one_before(workspace, film):
    write(workspace, film, "tif")
    for function, expected in [
        ("skimage.filters.sobel", {"frames.csv", "frames.zarr"}),
        ("nuclei", {"frames.csv", "nuclei.parquet", "labels.zarr", "calibration.json"}),
        ("numpy.mean", {"frames.csv", "calibration.json"}),
    ]:
        configure(workspace, stack={"function": function})
        workspace.run("tables")
        assert {name.partition("/")[0] for name in outputs(workspace)} == expected
    np.testing.assert_allclose(frames_of(workspace)["mean"], film.mean(axis=(1, 2)))


def test_a_wrong_function_is_one_message_before_any_job(workspace, film):
    write(workspace, film, "tif")
    configure(workspace, stack={"function": "skimage.filters.sobbel"})
    printed = workspace.run(status=1)
    assert re.search(r"^Error: config/config.yaml: .*stack\.function.*did you mean 'sobel'", printed, re.MULTILINE)
    assert not (workspace.path / "results" / "stacks").exists()


def test_a_truncated_stack_keeps_its_good_frames_and_one_without_any_fails(workspace, film):
    path = write(workspace, film, "npy")
    path.write_bytes(path.read_bytes()[: -film[0].nbytes - 10])
    workspace.run("tables")
    frames = frames_of(workspace)
    assert frames["Image_Status"].tolist() == ["ok"] * 5 + ["failed"] * 2
    assert frames["Image_Error"].str.contains("truncated").sum() == 2
    path.write_bytes(b"nothing of the kind")
    assert "stack film: film.npy: begins with" in workspace.run(status=1)
    configure(workspace, nuclei={"method": "peaks"})
    assert "stack film: film.npy: begins with" in workspace.run("tables", status=1)
    assert outputs(workspace) == {}


def test_a_stack_that_is_stopped_at_its_first_bad_frame_names_it(workspace, film):
    path = write(workspace, film, "npy")
    path.write_bytes(path.read_bytes()[:-10])
    configure(workspace, on_bad_image="stop")
    assert f"film.npy (frame {N_FRAMES - 1}) failed: truncated" in workspace.run(status=1)


def test_only_what_changed_is_measured_again(workspace, film):
    path = write(workspace, film, "folder")
    workspace.run("tables")
    assert workspace.planned("tables") == {}
    (path / "frame3.tif").touch()
    assert workspace.planned("tables")["measure_frames"] == 1
    workspace.run("tables")
    (path / "frame7.tif").write_bytes((path / "frame3.tif").read_bytes())
    assert workspace.planned("tables")["measure_frames"] == 1
    workspace.run("tables")
    assert len(frames_of(workspace)) == N_FRAMES + 1


MIXED = """
def often_an_image(image):
    return float(image[0, 0]) if image[0, 0] == 13 else image


def often_gone(image):
    if image[0, 0] == 13:
        raise SystemExit("enough")
    return 1
"""


@pytest.mark.parametrize(
    ("function", "odd", "reason"),
    [
        ("often_an_image", 0, "gave an image; it gave numbers for the first good frame"),
        ("often_an_image", 4, "gave numbers; it gave an image for the first good frame"),
        ("often_gone", 4, "failed: SystemExit: enough"),
    ],
)
def test_what_a_function_gives_for_the_first_good_frame_it_must_give_for_all(workspace, film, function, odd, reason):
    film[odd, 0, 0] = 13
    write(workspace, film, "npy")
    configure(workspace, stack={"function": f"mixed.{function}"})
    (workspace.path / "config" / "mixed.py").write_text(MIXED)
    workspace.run("tables")
    frames = frames_of(workspace)
    failed = [odd] if odd else list(range(1, N_FRAMES))
    assert frames.index[frames["Image_Status"] == "failed"].tolist() == failed
    assert frames["Image_Error"][failed].str.contains(reason, regex=False).all()
    folder = workspace.path / "results" / "stacks" / "film"
    if function == "often_an_image" and odd:
        film[odd] = 0
        np.testing.assert_array_equal(zarr.open_array(folder / "frames.zarr")[:], film)
    else:
        assert not (folder / "frames.zarr").exists()


def test_tables_do_not_depend_on_how_the_configuration_is_named_and_what_is_not_used(workspace, film):
    write(workspace, film, "tif")
    configure(workspace, stack={"function": "numpy.mean"})
    workspace.run("tables")
    again = workspace.path / "elsewhere" / "config.yaml"
    again.parent.mkdir()
    again.write_bytes((workspace.path / "config" / "config.yaml").read_bytes())
    assert workspace.planned("tables", "--configfile", str(again)) == {}
    assert workspace.planned("tables", "--config", "quality=false") == {}
    assert workspace.planned("tables", "--config", "stack={images: tiff}")["measure_frames"] == 1


def test_a_stack_in_the_results_is_refused(workspace, film):
    write(workspace, film, "tif")
    (workspace.path / "results").mkdir()
    (workspace.path / "config" / "stacks.tsv").write_text("stack\tpath\nfilm\tresults/film.tif\n")
    (workspace.path / "film.tif").rename(workspace.path / "results" / "film.tif")
    assert "line 2: stack 'film' has the path" in workspace.run(status=1)


def test_numbers_in_arguments_can_be_given_on_the_command_line(workspace, film):
    write(workspace, film, "tif")
    workspace.run("tables", "--config", "stack={function: numpy.quantile, arguments: {q: 0.5, keepdims: false}}")
    np.testing.assert_allclose(frames_of(workspace)["quantile"], np.median(film, axis=(1, 2)))


class Cluster:
    """A scheduler and two workers with this copy of the library, started as a user does."""

    def __init__(self, folder):
        self.folder = folder
        self.workers = []
        local = ["--host", "127.0.0.1", "--port", "0"]
        self.scheduler = self._start("scheduler", *local)
        record = folder / "scheduler.json"
        self.address = wait_for(lambda: record.exists() and json.loads(record.read_text())["address"], self.scheduler)

    def _start(self, name, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--scheduler-file", "scheduler.json", *options]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*command, "--no-dashboard"], cwd=self.folder, env=environment, **silent)

    def start_workers(self):
        """Start the workers; stop those that run."""
        self.stop(self.workers)
        self.workers = [self._start("worker", "--nthreads", "1", "--no-nanny") for _ in range(2)]

    def stop(self, processes):
        """Kill processes."""
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_workers()
        yield cluster
    finally:
        cluster.stop([*cluster.workers, cluster.scheduler])


def test_workers_of_a_scheduler_refuse_an_edited_module_until_a_restart_and_a_killed_one_costs_no_frame(
    workspace, film, cluster
):
    write(workspace, film, "tif")
    pool = {"engine": "dask", "dask": cluster.address}
    configure(workspace, stack={"function": "own.measure"}, pool=pool)
    own = workspace.path / "config" / "own.py"
    highest = film.max(axis=(1, 2)).astype(int)
    own.write_text(OWN_FACTOR.format(1))
    workspace.run("tables")
    assert frames_of(workspace)["measure"].tolist() == highest.tolist()
    own.write_text(OWN_FACTOR.format(1000))
    printed = workspace.run("tables", status=1)
    worker = r"the Dask worker at tcp://127.0.0.1:\d+"
    refused = rf"{own} has changed since {worker} imported it; stop the worker and start it again$"
    assert re.search(refused, printed, re.MULTILINE), printed
    cluster.start_workers()
    workspace.run("tables")
    assert frames_of(workspace)["measure"].tolist() == (1000 * highest).tolist()
    # The same store as float64, as uint16, and while a worker is killed.
    (workspace.path / "config" / "inverted.py").write_text(NEGATIVE)
    for function in ("skimage.filters.sobel", "inverted.negative"):
        configure(workspace, stack={"function": function}, pool=pool)
        run = workspace.start()
        if function == "inverted.negative":
            wait_for((workspace.path / "begun").exists, run)
            cluster.workers[1].kill()
        printed, _ = run.communicate(timeout=300)
        assert run.returncode == 0, printed
        stored = zarr.open_array(workspace.path / "results" / "stacks" / "film" / "frames.zarr")[:]
        expected = np.stack([sobel(frame) for frame in film]) if function != "inverted.negative" else 65535 - film
        np.testing.assert_array_equal(stored, expected)
    assert {path.name for path in (workspace.path / "results" / "stacks" / "film").iterdir()} == {
        "frames.csv",
        "frames.png",
        "frames.zarr",
        "stack.json",
    }


OWN_FACTOR = """
def measure(image):
    return {} * int(image.max())
"""
NEGATIVE = """
import pathlib
import time


def negative(image):
    pathlib.Path("begun").touch()
    time.sleep(0.3)
    return 65535 - image
"""
