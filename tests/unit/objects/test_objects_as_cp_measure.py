"""All columns equal those of cp-measure, the community's re-implementation of CellProfiler's measurements."""

import numpy as np
import pytest
from label_cases import LABELS, TYPES, image_of

from fieldwork.objects import columns_of, measure_arrays

REASON = "cp-measure is not installed: its parts have no wheels for this Python or machine"
sizeshape = pytest.importorskip("cp_measure.core.measureobjectsizeshape", reason=REASON)
intensity = pytest.importorskip("cp_measure.core.measureobjectintensity", reason=REASON)


def cp_measure(labels, images):
    """Measure with cp-measure, which takes labels without gaps and images as CellProfiler scales them."""
    values, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape).astype(np.int32) + int(values[0] != 0)
    shape = sizeshape.get_sizeshape(compact, None, calculate_advanced=False, new_features=False)
    columns = {f"Nuclei_AreaShape_{name}": values for name, values in shape.items()}
    columns |= {f"Nuclei_AreaShape_{name}": values for name, values in sizeshape.get_feret(compact, None).items()}
    for channel, image in images.items():
        scaled = image / np.iinfo(image.dtype).max if image.dtype.kind in "iu" else image.astype(np.float64)
        measured = intensity.get_intensity(compact, scaled, legacy=True)
        columns |= {f"Nuclei_{name}_{channel}": values for name, values in measured.items() if name[-2:] != "_Z"}
    return {name: np.where(np.isinf(values), np.nan, values) for name, values in columns.items()}


def assert_equal(labels, images):
    measured, expected = measure_arrays(labels, images), cp_measure(labels, images)
    assert sorted(expected) == sorted(columns_of(list(images)))
    for name, values in expected.items():
        actual = measured[name].astype(np.float64)
        if name.endswith("Orientation"):
            # Which end of an axis is up, and where a circle's points, hangs on cp-measure's last digits.
            actual = np.where(expected["Nuclei_AreaShape_Eccentricity"] < 1e-6, values, actual)
            actual = np.where(np.abs(actual - values) > 179, -actual, actual)
        if name.endswith("MinorAxisLength"):
            # cp-measure takes the root of a difference: of pixels in a line, the root of its last digit.
            values = np.where((actual == 0) & (values < 1e-6), 0, values)
        np.testing.assert_allclose(actual, values, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", [name for name in LABELS if name != "none"])
def test_every_kind_of_object_is_measured_as_by_cp_measure(case):
    labels = LABELS[case]
    assert_equal(labels, {"DNA": image_of(labels.shape, "uint16"), "ER": image_of(labels.shape, "float64", seed=1)})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_image_is_measured_as_by_cp_measure(dtype):
    labels = LABELS["a crowd"]
    assert_equal(labels, {"DNA": image_of(labels.shape, dtype)})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_image_without_light_is_measured_as_by_cp_measure():
    labels = LABELS["a crowd"]
    assert_equal(labels, {"DNA": np.zeros(labels.shape, "uint16"), "ER": np.zeros(labels.shape)})
