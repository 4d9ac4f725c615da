"""The functions that docs/segmenters.md shows can be pasted: the one that reads labels reads what it should."""

import ast

import cv2
import numpy as np
import pytest
import tifffile

from fieldwork import user_functions
from fieldwork.detection.outlines import FailedDetectionError, outline_nuclei
from outlined import squares
from segmenters_page import module_of, yaml_blocks

LABELS = squares(12)
CELLPROFILER = "{folder}/outlines/{well}_s{site}.tiff"  # beside the images, a folder with a file for each field


@pytest.fixture
def read(tmp_path):
    """Return a function that outlines a field as jobs do, by the page's module."""
    (tmp_path / "masks.py").write_text(module_of("masks.py"))
    image = tmp_path / "P1_B02_s3.w1.tif"
    tifffile.imwrite(image, np.zeros(LABELS.shape, np.uint16))

    def outlined(**arguments):
        detection = {"method": "masks.read", "function": "masks.read", "arguments": arguments}
        place = {"path": str(image), "well": "B02", "site": 3, "channel": "w1"}
        options = {"calibration": None, "calibrated": "plate", "folders": [str(tmp_path)]}
        return outline_nuclei(tifffile.imread(image), detection, **options, **place)

    return outlined


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_beside_an_image_are_read_under_the_name_that_cellpose_gives_them(read, tmp_path, dtype):
    cv2.imwrite(str(tmp_path / "P1_B02_s3.w1_cp_masks.png"), LABELS.astype(dtype)[::-1])
    outlined = read()
    assert outlined.areas.tolist() == [25] * 12
    rows, columns = np.nonzero(LABELS[::-1] == 1)
    assert [rows.mean(), columns.mean()] in outlined.coordinates.tolist()


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_label_tiffs_are_read_under_the_names_of_their_fields(read, tmp_path, compression):
    (tmp_path / "outlines").mkdir()
    file = tmp_path / "outlines" / "B02_s3.tiff"
    tifffile.imwrite(file, (LABELS * 5000).astype(np.uint16), compression=compression)
    assert read(file=CELLPROFILER).areas.tolist() == [25] * 12


def test_a_missing_file_is_named(read, tmp_path):
    with pytest.raises(FailedDetectionError, match=rf"no file {tmp_path}/P1_B02_s3.w1_cp_masks.png: outline this"):
        read()
    with pytest.raises(FailedDetectionError, match=rf"no file {tmp_path}/outlines/B02_s3.tiff: outline this"):
        read(file=CELLPROFILER)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ((LABELS > 0) * np.uint8(255), "holds one number for all nuclei; expected one for each"),
        (LABELS[:-1].astype(np.uint8), "expected labels: integers from 0, of shape"),
        (np.stack([LABELS] * 3, axis=-1).astype(np.uint8), "expected labels: integers from 0, of shape"),
    ],
    ids=["a mask of two values", "another shape", "colours"],
)
def test_what_are_no_labels_fails_the_field(read, tmp_path, labels, reason):
    cv2.imwrite(str(tmp_path / "P1_B02_s3.w1_cp_masks.png"), labels)
    with pytest.raises(FailedDetectionError, match=reason):
        read()


@pytest.mark.parametrize("labels", [LABELS == 13, LABELS == 1], ids=["none", "one"])
def test_fields_of_no_nucleus_and_of_one_are_counted(read, tmp_path, labels):
    cv2.imwrite(str(tmp_path / "P1_B02_s3.w1_cp_masks.png"), labels.astype(np.uint8))
    assert read().areas.tolist() == [25] * np.count_nonzero(labels[4, 4])


def test_the_first_function_of_the_page_labels_bright_pieces(tmp_path):
    (tmp_path / "bright.py").write_text(module_of("bright.py"))
    image = np.where(LABELS > 0, 700 + LABELS, 100).astype(np.uint16)
    for least, count in ((500, 12), (705, 7)):  # pieces of 701 to 712 are above
        detection = {"method": "bright.segment", "function": "bright.segment", "arguments": {"least": least}}
        options = {
            "path": tmp_path / "bright.py",
            "calibration": None,
            "calibrated": "plate",
            "folders": [str(tmp_path)],
        }
        assert outline_nuclei(image, detection, **options).areas.tolist() == [25] * count


def test_the_page_shows_what_a_configuration_may_name(tmp_path):
    (tmp_path / "masks.py").write_text(module_of("masks.py"))
    arguments = {"file": CELLPROFILER}
    assert user_functions.check("masks.read", arguments, folders=[tmp_path], segments=True) == ["path", "well", "site"]


def test_the_learned_model_of_the_page_is_python_with_the_parameters_that_its_configuration_sets():
    functions = [node for node in ast.parse(module_of("star.py")).body if isinstance(node, ast.FunctionDef)]
    parameters = {node.name: [item.arg for item in node.args.args] for node in functions}
    assert parameters == {"loaded": ["weights"], "segment": ["image", "calibration", "files"]}
    (arguments,) = [
        block["nuclei"]["arguments"] for block in yaml_blocks() if block["nuclei"]["method"] == "star.segment"
    ]
    assert list(arguments) == ["files"] and arguments["files"][0].endswith(".h5")
