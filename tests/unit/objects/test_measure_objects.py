"""What `measure_objects` promises: its columns and their order, its types, and what it refuses."""

import os
import subprocess
import sys

import numpy as np
import pytest
from label_cases import LABELS, image_of

from fieldwork import label_images
from fieldwork.objects import columns_of, measure_arrays, measure_objects, properties_of
from workspace import SCRIPTS

INTEGERS = ("ObjectNumber", "Area", "BoundingBoxArea", "ConvexArea", "EulerNumber", "mum_X", "mum_Y")


def images_of(labels):
    return {"DNA": image_of(labels.shape, "uint16"), "Tubulin": image_of(labels.shape, "float32", seed=1)}


@pytest.mark.parametrize("case", LABELS)
def test_a_row_is_an_object_and_columns_have_one_order_and_one_type(case):
    labels = LABELS[case]
    table = measure_objects(labels, images_of(labels), prefix="Cells")
    assert table.columns.tolist() == ["ObjectNumber", *columns_of(["DNA", "Tubulin"], prefix="Cells")]
    assert table["ObjectNumber"].tolist() == sorted(set(labels.ravel().tolist()) - {0})
    for name, column in table.items():
        assert column.dtype == ("int64" if name.endswith(INTEGERS) else "float64"), name


def test_columns_are_23_and_2_of_shape_and_those_of_every_channel():
    columns = columns_of(["DNA", "w2"])
    assert len(set(columns)) == len(columns)
    shape = [name for name in columns if name.startswith("Nuclei_AreaShape_")]
    assert len(shape) == 23 + 2 and columns[: len(shape)] == shape
    for channel in ("DNA", "w2"):
        of_channel = [name for name in columns if name.endswith(f"_{channel}")]
        assert sum(name.startswith("Nuclei_Intensity_") for name in of_channel) == 15
        assert {name for name in of_channel if "_Location_" in name} == {
            f"Nuclei_Location_{name}Intensity_{axis}_{channel}" for name in ("CenterMass", "Max") for axis in "XY"
        }


def test_the_values_of_labels_their_type_and_their_order_in_memory_change_nothing():
    labels = LABELS["a crowd"]
    expected = measure_arrays(labels, images_of(labels))
    for other in (labels.astype(np.uint8), labels.astype(np.uint64), labels.astype(">i2"), np.asfortranarray(labels)):
        for name, values in measure_arrays(other, images_of(labels)).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
    numbers = np.cumsum(np.random.default_rng(0).integers(1, 50000, labels.max() + 1))
    spread = measure_arrays(np.where(labels > 0, numbers[labels], 0), images_of(labels))
    assert spread.pop("ObjectNumber").tolist() == numbers[expected["ObjectNumber"]].tolist()
    for name, values in spread.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.parametrize("case", LABELS)
def test_positions_areas_and_marks_at_the_border_are_those_of_label_images_to_the_last_bit(case):
    labels = label_images.renumber(LABELS[case])
    properties = properties_of(measure_arrays(labels, {}), labels.shape)
    for values, expected in zip(properties, label_images.properties(labels), strict=True):
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)


def test_an_object_is_measured_as_if_it_were_alone():
    labels = LABELS["a crowd"]
    together = measure_arrays(labels, images_of(labels))
    for row, label in enumerate(together["ObjectNumber"]):
        alone = measure_arrays(np.where(labels == label, label, 0), images_of(labels))
        for name, values in alone.items():
            np.testing.assert_array_equal(values, together[name][row : row + 1], err_msg=name)


def test_images_stay_as_they_are():
    labels = LABELS["a crowd"].copy()
    images = images_of(labels)
    before = labels.copy(), {name: image.copy() for name, image in images.items()}
    measure_arrays(labels, images)
    np.testing.assert_array_equal(labels, before[0])
    for name, image in images.items():
        np.testing.assert_array_equal(image, before[1][name])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_pixel_that_is_no_number_is_refused_by_its_channel(value):
    labels = LABELS["a crowd"]
    images = images_of(labels)
    images["Tubulin"][0, 0] = value
    with pytest.raises(ValueError, match="channel Tubulin: pixels that are NaN or infinite"):
        measure_objects(labels, images)


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((180, 220, 3), np.uint8), np.zeros((180, 220), complex)]
)
def test_an_image_of_another_size_or_type_is_refused_by_its_channel(image):
    with pytest.raises(ValueError, match=r"channel ER: an image of shape \(.*\) and type .*; expected"):
        measure_objects(LABELS["a crowd"], {"ER": image})


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(5, int),
        np.zeros((5, 5)),
        np.zeros((2, 5, 5), int),
        np.eye(5, dtype=bool),
        np.zeros((0, 5), int),
        -np.eye(3, dtype=int),
    ],
)
def test_what_is_no_label_image_is_refused(labels):
    with pytest.raises(ValueError, match="labels .*; expected"):
        measure_objects(labels, {})


def test_workers_load_neither_pandas_nor_scipy():
    code = (
        "import sys, numpy as np; from fieldwork.objects import measure_arrays; "
        "measure_arrays(np.eye(5, dtype=int), {'DNA': np.eye(5)}); print(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    loaded = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).split()
    assert not {name.partition(".")[0] for name in loaded} & {"pandas", "scipy", "skimage", "pyarrow"}
