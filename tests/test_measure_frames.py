"""Stacks through the whole workflow: any kind of file, any engine, any function."""

import re

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
import zarr
from skimage.feature import peak_local_max
from skimage.filters import gaussian, sobel

from fieldwork import synthetic

N_FRAMES = 7
ENGINES = {
    "serial": {"engine": "serial"},
    "paths": {"engine": "pool"},
    "fork": {"engine": "pool", "mode": "fork"},
    "auto": {"engine": "auto"},
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
    """Give the bytes of all that the run made of the stack."""
    folder = workspace.path / "results" / "stacks" / "film"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def frames_of(workspace):
    return pd.read_csv(workspace.path / "results" / "stacks" / "film" / "frames.csv")


def test_nuclei_of_every_frame_are_scikit_images_whatever_the_file(workspace, film):
    made = []
    for kind in ("tif", "npy", "zarr", "folder"):
        write(workspace, film, kind)
        printed = workspace.run()
        assert f"Stacks: 1 of 1 done. Frames: {N_FRAMES}, of which 0 failed." in printed
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


@pytest.mark.parametrize(("images", "engines"), [("zarr", list(ENGINES)), ("tiff", ["serial", "paths"])])
def test_images_of_a_function_are_equal_from_every_engine(workspace, film, images, engines):
    film[2] = 0
    write(workspace, film, "tif")
    made = {}
    for name in engines:
        pool = ENGINES[name]
        configure(workspace, stack={"function": "skimage.filters.sobel", "images": images}, pool=pool)
        workspace.run("--forceall")
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
    printed = workspace.run()
    assert "1 of 7 frames failed" in printed
    frames = frames_of(workspace)
    assert frames["Image_Status"].tolist() == ["ok"] * 3 + ["failed"] + ["ok"] * 3
    assert frames["Image_Error"][3] == "own.measure failed: ValueError: unlucky frame"
    expected = film.sum(axis=(1, 2), dtype=float) ** 2
    expected[3] = np.nan
    np.testing.assert_allclose(frames["total"], expected)
    assert workspace.planned() == {}
    (workspace.path / "config" / "beside.py").write_text("FACTOR = 2\n")
    workspace.run()
    np.testing.assert_allclose(frames_of(workspace)["total"], 2 * expected)


def test_another_function_leaves_nothing_of_the_one_before(workspace, film):
    write(workspace, film, "tif")
    for function, expected in [
        ("skimage.filters.sobel", {"frames.csv", "frames.zarr"}),
        ("nuclei", {"frames.csv", "nuclei.parquet"}),
        ("numpy.mean", {"frames.csv"}),
    ]:
        configure(workspace, stack={"function": function})
        workspace.run()
        assert {name.partition("/")[0] for name in outputs(workspace)} == expected
    np.testing.assert_allclose(frames_of(workspace)["mean"], film.mean(axis=(1, 2)))


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ({"function": "skimage.filters.sobbel"}, "did you mean 'sobel'"),
        ({"function": "nowhere.at_all"}, "nowhere"),
        ({"function": "skimage.filters.gaussian", "arguments": {"sigm": 2}}, "did you mean 'sigma'"),
        ({"arguments": {"sigm": 2}}, "sigm"),
        ({"arguments": {"threshold": "high"}}, "threshold"),
    ],
)
def test_a_wrong_function_is_one_message_before_any_job(workspace, film, stack, message):
    write(workspace, film, "tif")
    configure(workspace, stack=stack)
    printed = workspace.run(status=1)
    assert re.search(rf"^Error: config/config.yaml: .*stack\.(function|arguments).*{message}", printed, re.MULTILINE)
    assert not (workspace.path / "results" / "stacks").exists()


def test_a_truncated_stack_keeps_its_good_frames_and_one_without_any_fails(workspace, film):
    path = write(workspace, film, "npy")
    path.write_bytes(path.read_bytes()[: -film[0].nbytes - 10])
    workspace.run()
    frames = frames_of(workspace)
    assert frames["Image_Status"].tolist() == ["ok"] * 5 + ["failed"] * 2
    assert frames["Image_Error"].str.contains("truncated").sum() == 2
    path.write_bytes(b"nothing of the kind")
    printed = workspace.run(status=1)
    assert "stack film: film.npy: begins with" in printed
    assert outputs(workspace) == {}


def test_a_stack_that_is_stopped_at_its_first_bad_frame_names_it(workspace, film):
    path = write(workspace, film, "npy")
    path.write_bytes(path.read_bytes()[:-10])
    configure(workspace, on_bad_image="stop")
    assert f"film.npy (frame {N_FRAMES - 1}) failed: truncated" in workspace.run(status=1)


def test_only_what_changed_is_measured_again(workspace, film):
    path = write(workspace, film, "folder")
    workspace.run()
    assert workspace.planned() == {}
    (path / "frame3.tif").touch()
    assert workspace.planned()["measure_frames"] == 1
    workspace.run()
    (path / "frame7.tif").write_bytes((path / "frame3.tif").read_bytes())
    assert workspace.planned()["measure_frames"] == 1
    workspace.run()
    assert len(frames_of(workspace)) == N_FRAMES + 1
