"""Images filtered, measured and saved, against scikit-image and NumPy called directly."""

import csv
import functools
import itertools
import os
import signal
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.filters
import skimage.restoration
import tifffile
import zarr
from PIL import Image

from fieldwork import InputError, job, outputs
from fieldwork.inputs import functions
from fieldwork.planning import provenance
from fieldwork.plates import filters
from fieldwork.plates.images import FieldImage
from workspace import SCRIPTS

OWN = """
import faulthandler, os, signal
import numpy as np

def half(image): return image / 2
def add(image, number): return image + number
def in_place(image):
    image[:] = 0
    return image
def bright(image): return image > 2000
def picky(image):
    if image.max() > 5000:
        raise ValueError("too\\nbright")
    return image
def count(image): return 3
def colours(image): return np.stack([image] * 3, axis=-1)
def rooted(image): return np.sqrt(image - 1000.0)
def flat(image): return np.full((5, 7), 9, "int16")
def crash(image):
    faulthandler.disable()  # pytest's
    os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of a module of the user's, filters_of_mine."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "filters_of_mine.py").write_text(OWN)
    yield tmp_path / "config"
    sys.modules.pop("filters_of_mine", None)
    functions.find_once.cache_clear()


def chain_of(*steps):
    """A chain of names, or (name, arguments); names without a dot are of the user's module."""
    steps = [(step, {}) if isinstance(step, str) else step for step in steps]
    return [
        {"function": name if "." in name else f"filters_of_mine.{name}", "arguments": arguments}
        for name, arguments in steps
    ]


def pixels(seed=0, shape=(60, 80), dtype="uint16"):
    return np.random.default_rng(seed).integers(100, 4000, shape).astype(dtype)


def filtered(path, chain, *, target="a", save="tiff", metrics=("var", "mean"), folder=None, folders=(), **place):
    image = FieldImage("C07", 3, place.get("timepoint"), place.get("z"), str(path))
    folder = folder or path.parent / "filtered"
    options = {"chain": chain, "metrics": list(metrics), "save": save, "folder": folder, "folders": folders}
    return collect([filters.Original(image, target)], **options)


def collect(originals, *, pool=None, **options):
    """Filter images as the script does, in this process or in a pool."""
    return job.collect(
        functools.partial(filters.filter_image, **options),
        originals,
        read=functools.partial(filters.read_planes, channel="auto"),
        failed=filters.failed_image,
        suspects="the reader or a filter",
        label="plate p",
        noun="images",
        all_may_fail=True,
        **pool or {"engine": "serial"},
    )


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_image_goes_through_the_chain_in_its_order(tmp_path, own, dtype):
    image = pixels(dtype="uint8" if dtype == "uint8" else "uint16").astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image)
    chain = [
        {"function": "median"},
        {"function": "skimage.filters.gaussian", "arguments": {"sigma": 2, "preserve_range": True}},
        {"function": "filters_of_mine.half"},
        *chain_of(("add", {"number": 0.25})),
    ]
    (found,) = filtered(tmp_path / "a.tif", chain, metrics=["var", "ptp", "linalg.norm"], folders=[own])
    expected = skimage.filters.gaussian(skimage.filters.median(image), 2, preserve_range=True) / 2 + 0.25
    assert (found.error, found.saved, found.shape) == (None, "a.tif", (60, 80))
    read = iio.imread(tmp_path / "filtered" / "a.tif", plugin="pillow") if expected.dtype == "float32" else None
    read = tifffile.imread(tmp_path / "filtered" / "a.tif") if read is None else read
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)
    for values, of in ((found.before, image), (found.after, expected)):
        of = of.astype(np.float64)
        assert values == {"var": np.var(of), "ptp": np.ptp(of), "linalg.norm": np.linalg.norm(of)}
    assert found.before["var"] != found.after["var"]


def test_the_order_of_the_chain_counts(tmp_path, own):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    one, other = ("half", ("add", {"number": 7})), (("add", {"number": 7}), "half")
    means = [
        filtered(tmp_path / "a.tif", chain_of(*c), save="none", folders=[own])[0].after["mean"] for c in (one, other)
    ]
    assert means == [pixels().mean() / 2 + 7, (pixels().mean() + 7) / 2]


@pytest.mark.parametrize(
    ("dtype", "values", "metric", "expected"),
    [("int8", [-128, 127], "ptp", 255), ("uint8", [255] * 40, "sum", 10200), ("float16", [60000] * 3, "sum", 180000)],
)
def test_metrics_do_not_overflow(tmp_path, dtype, values, metric, expected):
    tifffile.imwrite(tmp_path / "a.tif", np.array([values, values], dtype)[:1])
    (found,) = filtered(tmp_path / "a.tif", [], metrics=[metric])
    assert found.before == found.after == {metric: expected}


def test_truth_values_become_uint8_and_other_sizes_are_kept(tmp_path, own):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    filtered(tmp_path / "a.tif", chain_of("bright"), folders=[own])
    read = np.asarray(Image.open(tmp_path / "filtered" / "a.tif"))
    assert read.dtype == "uint8"
    np.testing.assert_array_equal(read, pixels() > 2000)
    (found,) = filtered(tmp_path / "a.tif", chain_of("flat"), target="b", folders=[own])
    assert found.shape == (60, 80) and tifffile.imread(tmp_path / "filtered" / "b.tif").shape == (5, 7)


def test_a_filter_that_works_in_place_leaves_the_loaded_image_alone(tmp_path, own):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    original = filters.Original(FieldImage("C07", 3, None, None, str(tmp_path / "a.tif")), "a")
    planes = filters.read_planes(original, channel="auto")
    options = {"metrics": ["mean"], "save": "none", "folder": tmp_path, "folders": [own]}
    (found,) = filters.filter_image(original, planes, chain=chain_of("in_place"), **options)
    assert found.before["mean"] == pixels().mean() and found.after["mean"] == 0
    np.testing.assert_array_equal(planes[0].image, pixels())


def test_modes_and_engines_give_the_same_rows_and_a_crash_is_one_of_them(tmp_path, own):
    # Before the tests of Zarr, whose threads would have workers spawned.
    names = ["a", "b", "c"]
    for seed, name in enumerate(names):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels(seed))
    (tmp_path / "bad.tif").touch()
    images = [FieldImage("B02", 1, None, None, str(tmp_path / f"{name}.tif")) for name in (*names, "bad")]
    targets = filters.targets_of(images)
    originals = [filters.Original(image, targets[image.path]) for image in images]
    options = {"metrics": ["var"], "save": "tiff", "folder": tmp_path / "out", "folders": [own]}

    def run(originals, function, **pool):
        return collect(originals, chain=chain_of(function), pool=pool, **options)

    serial = run(originals, "half", engine="serial")
    assert len(serial) == 4 and [bool(image.error) for image in serial] == [False] * 3 + [True]
    assert run(originals, "half", engine="pool", workers=2) == serial
    assert run(originals, "half", engine="pool", mode="fork", workers=2) == serial
    for mode in ("paths", "fork"):
        (crashed,) = run(originals[:1], "crash", mode=mode)
        assert crashed.error == f"crashed the reader or a filter ({signal.SIGSEGV.name})"
        assert crashed.path == images[0].path
    assert str(originals[0]) == str(images[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ["uint16", "float64", "constant", "signed", "uint64"])
def test_png_is_scaled_from_the_lowest_to_the_highest_value(tmp_path, case):
    image = {
        "uint16": pixels(),
        "float64": pixels() / 7 - 100,
        "constant": np.full((60, 80), 700, "uint16"),
        "signed": np.array([[-128, 0, 127]], "int8"),
        "uint64": np.array([[0, 2**63, 2**64 - 1]], "uint64"),
    }[case]
    tifffile.imwrite(tmp_path / "a.tif", image)
    (found,) = filtered(tmp_path / "a.tif", [], save="png")
    read = np.asarray(Image.open(tmp_path / "filtered" / "a.png"))
    assert found.saved == "a.png" and (found.low, found.high) == (image.min(), image.max())
    if case == "constant":
        assert not read.any()
    else:
        share = (image.astype(float) - float(image.min())) / (float(image.max()) - float(image.min()))
        np.testing.assert_array_equal(read, np.round(255 * share))
        assert read.dtype == "uint8" and (read.min(), read.max()) == (0, 255)


@pytest.mark.parametrize("shape", [(60, 80), (1030, 1500)])
def test_zarr_is_a_plain_array_and_replaces_an_older_one(tmp_path, own, shape):
    for seed in (1, 2):
        image = pixels(seed, shape)
        tifffile.imwrite(tmp_path / "a.tif", image)
        (found,) = filtered(tmp_path / "a.tif", chain_of("half"), save="zarr", folders=[own], target="deep/a")
        assert found.saved == "deep/a.zarr"
        array = zarr.open_array(tmp_path / "filtered" / "deep" / "a.zarr", mode="r")
        assert array.metadata.zarr_format == 3 and array.chunks == tuple(min(side, 1024) for side in shape)
        assert [codec["name"] for codec in array.metadata.to_dict()["codecs"]] == ["bytes", "zstd"]
        assert array.dtype == "float64"
        np.testing.assert_array_equal(array[:], image / 2)
    assert os.listdir(tmp_path / "filtered" / "deep") == ["a.zarr"]


@pytest.mark.parametrize("save", ["tiff", "png", "zarr"])
def test_the_bytes_are_the_same_every_time(tmp_path, save):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        filtered(tmp_path / "a.tif", [{"function": "sobel"}], save=save, folder=folder)
        written.append({name: (folder / name).read_bytes() for name in files_below(folder)})
    assert written[0] == written[1] and written[0]


def test_none_saves_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    (found,) = filtered(tmp_path / "a.tif", [{"function": "sobel"}], save="none")
    assert found.error is None and found.saved is None and found.after["var"] > 0
    assert not (tmp_path / "filtered").exists()


@pytest.mark.parametrize(
    ("step", "save", "reason"),
    [
        ("picky", "tiff", "filter filters_of_mine.picky failed: ValueError: too bright"),
        (("add", {"numbr": 3}), "tiff", "filter filters_of_mine.add failed: TypeError"),
        (
            "count",
            "tiff",
            "filter filters_of_mine.count failed: ValueError: gave a value of type int; expected an image",
        ),
        ("colours", "tiff", "gave an array of shape (60, 80, 3) and type uint16; expected an image"),
        ("skimage.filters.rank.otsu", "zarr", "filter skimage.filters.rank.otsu failed: TypeError"),
        ("rooted", "png", "NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_filter_that_fails_is_one_failed_row_and_saves_nothing(tmp_path, own, step, save, reason):
    image = pixels()
    image[0, 0] = 6000
    tifffile.imwrite(tmp_path / "a.tif", image)
    (found,) = filtered(tmp_path / "a.tif", chain_of(step), save=save, folders=[own], z=4)
    assert reason in found.error and "\n" not in found.error
    assert (found.well, found.site, found.timepoint, found.z, found.shape) == ("C07", 3, None, 4, (60, 80))
    assert not found.before and not found.after and found.saved is found.low is None
    assert not (tmp_path / "filtered").exists()
    tifffile.imwrite(tmp_path / "b.tif", pixels())
    assert filtered(tmp_path / "b.tif", chain_of("picky"), folders=[own])[0].error is None  # so it was the image


def test_one_bad_plane_fails_its_file_and_saves_none_of_it(tmp_path, own):
    pages = np.stack([pixels(), pixels(1), pixels(2) + 4000])
    tifffile.imwrite(tmp_path / "a.tif", pages, imagej=True, metadata={"axes": "ZYX"})
    (found,) = filtered(tmp_path / "a.tif", chain_of("picky"), folders=[own])
    assert "too bright" in found.error and not (tmp_path / "filtered").exists()


def test_a_metric_that_fails_on_an_image_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr(filters.user_functions, "metric", lambda name: np.linalg.det)
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    (found,) = filtered(tmp_path / "a.tif", [], metrics=["linalg.det"])
    assert found.error.startswith("metric linalg.det failed: LinAlgError") and not (tmp_path / "filtered").exists()


@pytest.mark.parametrize("name", ["gausian", "filters_of_nobody.f"])
def test_a_filter_that_is_not_found_is_no_bad_image(tmp_path, name):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    with pytest.raises(InputError, match=name):
        filtered(tmp_path / "a.tif", [{"function": name}])


@pytest.mark.parametrize(
    ("kind", "reason"), [("empty", "empty file"), ("absent", "No such file"), ("text", "not a TIFF")]
)
def test_a_bad_image_is_a_failed_row(tmp_path, kind, reason):
    if kind != "absent":
        (tmp_path / "a.tif").write_text("" if kind == "empty" else "text")
    (found,) = filtered(tmp_path / "a.tif", [{"function": "sobel"}])
    assert reason in found.error and found.shape == (None, None) and not (tmp_path / "filtered").exists()


@pytest.mark.parametrize(
    ("axes", "place", "expected"),
    [
        ("TZ", {}, ["a_t1_z1", "a_t1_z2", "a_t2_z1", "a_t2_z2"]),
        ("Z", {}, ["a_z1", "a_z2"]),
        ("T", {}, ["a_t1", "a_t2"]),
        ("Z", {"timepoint": 8}, ["a_z1", "a_z2"]),
        ("Z", {"z": 8}, None),
    ],
)
def test_planes_are_saved_under_what_varies(tmp_path, axes, place, expected):
    pages = np.stack([pixels(seed) for seed in range(2 ** len(axes))])
    tifffile.imwrite(
        tmp_path / "a.tif", pages.reshape(*[2] * len(axes), 60, 80), imagej=True, metadata={"axes": f"{axes}YX"}
    )
    found = filtered(tmp_path / "a.tif", [], **place)
    if expected is None:
        assert "holds 2 planes" in found[0].error and len(found) == 1
        return
    assert [image.saved for image in found] == [f"{name}.tif" for name in expected]
    assert {image.timepoint for image in found} == ({1, 2} if "T" in axes else {place.get("timepoint")})
    for page, name in zip(pages, expected, strict=True):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "filtered" / f"{name}.tif"), page)


def targets(*paths):
    return list(filters.targets_of([FieldImage("B02", 1, None, None, path) for path in paths]).items())


def test_a_change_of_the_gpus_code_filters_no_plate_again():
    counted = provenance.closure(SCRIPTS / "filter_images.py")
    assert {"plates/filters.py", "plates/images.py", "frames/tiff.py"} <= counted.keys()
    others = ("gpu/", "plates/fields.py", "nuclei.py", "quality.py", "tissue.py")
    assert not [name for name in counted if name.startswith(others)]


def test_targets_keep_names_and_sub_folders():
    assert targets("images/p/a.tif", "images/p/x/a.tif", "images/p/y/z/a.ome.tif", "images/p/./w/../b") == [
        ("images/p/a.tif", "a"),
        ("images/p/./w/../b", "b"),
        ("images/p/x/a.tif", "x/a"),
        ("images/p/y/z/a.ome.tif", "y/z/a.ome"),
    ]
    assert targets() == []


def test_targets_of_images_elsewhere_stay_inside():
    found = dict(targets("/data/one/a.tif", "/data/two/a.tif", "/data/two/../two/deep/a.tif"))
    assert list(found.values()) == ["one/a", "two/a", "two/deep/a"]
    assert dict(targets("../elsewhere/a.tif", "images/p/a.tif")) == {
        "../elsewhere/a.tif": "elsewhere/a",
        "images/p/a.tif": f"{os.path.basename(os.getcwd())}/images/p/a",
    }
    assert targets("../../a.tif") == [("../../a.tif", "a")]


def test_targets_are_never_shared():
    names = [
        "a.tif",
        "a.png",
        "A.tif",
        "a.tif.png",
        "a_z1.tif",
        "b_z1.tif",
        "a_t2_z3.tif",
        "a_t2.bmp",
        "A.bmp",
        "a_2.tif",
        "C_z1.tif",
        "c.tif",
    ]
    found = dict(targets(*[f"images/p/{name}" for name in names]))
    assert len({target.casefold() for target in found.values()}) == len(names) == len(found)
    assert found["images/p/b_z1.tif"] == "b_z1"  # there is no b.tif whose plane that could be
    assert found["images/p/a_2.tif"] == "a_2"
    planes = {f"{t}{place}".casefold() for t in found.values() for place in ("_z1", "_t2", "_t2_z3")}
    assert not planes & {target.casefold() for target in found.values()}
    for order in itertools.islice(itertools.permutations(names), 0, 4_000_000, 900_000):
        assert dict(targets(*[f"images/p/{name}" for name in order])) == found


def test_rows_say_what_was_filtered_and_what_failed(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels())
    (tmp_path / "b.tif").touch()
    rows = [each for name in "ab" for each in filtered(tmp_path / f"{name}.tif", [], save="png", target=name, z=2)]
    options = {"metrics": ["var", "linalg.norm"], "save": "png"}
    rows[0] = rows[0]._replace(after={"var": 0.1, "linalg.norm": float("nan")})
    outputs.write_csv(*filters.rows_of("P1", rows, **options), tmp_path / "filtered.csv")
    with open(tmp_path / "filtered.csv", newline="") as stream:
        good, bad = csv.DictReader(stream)
    assert good == {
        "Metadata_Plate": "P1",
        "Metadata_Well": "C07",
        "Metadata_Site": "3",
        "Metadata_ZPlane": "2",
        "FileName_DNA": "a.tif",
        "PathName_DNA": str(tmp_path),
        "Image_Width": "80",
        "Image_Height": "60",
        "Image_Status": "ok",
        "Image_Error": "",
        "Before_var": repr(float(np.var(pixels()))),
        "Before_linalg.norm": "",
        "After_var": "0.1",
        "After_linalg.norm": "nan",
        "FileName_Filtered": "a.png",
        "PNG_Low": str(pixels().min()),
        "PNG_High": str(pixels().max()),
    }
    assert bad["Image_Status"] == "failed" and bad["Image_Error"] == "empty file (0 bytes)"
    assert not any(bad[name] for name in ("Image_Width", "Before_var", "After_var", "FileName_Filtered", "PNG_Low"))
    _, columns = filters.rows_of("P1", [], metrics=["var"], save="tiff")
    assert columns[-3:] == ["Before_var", "After_var", "FileName_Filtered"] and "Metadata_ZPlane" not in columns
