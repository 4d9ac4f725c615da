"""Intensities: planted values, and NumPy and scikit-image on objects of every kind."""

import numpy as np
import pytest
from label_cases import LABELS, drawn_rows, image_of
from skimage.segmentation import find_boundaries

from fieldwork.objects import measure_arrays


def measured_in(labels, image):
    columns = measure_arrays(labels, {"DNA": image})
    return {name.removeprefix("Nuclei_").removesuffix("_DNA"): values for name, values in columns.items()}


def at_share(values, share):
    """Return the value at a share of the number of values, as CellProfiler: at n q, not (n - 1) q."""
    ordered = np.sort(values)
    below = int(len(ordered) * share)
    part = len(ordered) * share - below
    return ordered[below] * (1 - part) + ordered[min(below + 1, len(ordered) - 1)] * part


def expected_of(labels, scaled):
    """Measure object by object, by the definitions."""
    edge = find_boundaries(labels[None], mode="inner")[0]
    rows = []
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        values, at_edge = scaled[mask], scaled[mask & edge]
        median, total = at_share(values, 0.5), values.sum()
        y, x = np.nonzero(mask)
        brightest = int(np.argmax(values))
        row = {"Integrated": total, "Mean": values.mean(), "Std": values.std()} | {
            "Min": values.min(),
            "Max": values.max(),
            "LowerQuartile": at_share(values, 0.25),
            "Median": median,
            "UpperQuartile": at_share(values, 0.75),
            "MAD": at_share(np.abs(values - median), 0.5),
        }
        row = {f"Intensity_{name}Intensity": value for name, value in row.items()}
        for name, of in {"Integrated": np.sum, "Mean": np.mean, "Std": np.std, "Min": np.min, "Max": np.max}.items():
            row[f"Intensity_{name}IntensityEdge"] = of(at_edge) if len(at_edge) else 0
        centre = ((x * values).sum() / total, (y * values).sum() / total) if total else (np.nan, np.nan)
        row["Intensity_MassDisplacement"] = np.hypot(centre[0] - x.mean(), centre[1] - y.mean())
        row |= dict(zip(("Location_CenterMassIntensity_X", "Location_CenterMassIntensity_Y"), centre, strict=True))
        row |= {"Location_MaxIntensity_X": x[brightest], "Location_MaxIntensity_Y": y[brightest]}
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("case", ["a crowd", "scattered", "one pixel", "two fill the image", "corners that touch"])
def test_every_kind_of_object_has_the_values_of_the_definitions(case, dtype):
    labels, image = LABELS[case], image_of(LABELS[case].shape, dtype)
    scaled = image / np.iinfo(dtype).max if image.dtype.kind in "iu" else image.astype(np.float64)
    measured, expected = measured_in(labels, image), expected_of(labels, scaled)
    assert expected.keys() == {name for name in measured if name.startswith(("Intensity", "Location"))}
    for name, values in expected.items():
        np.testing.assert_allclose(measured[name], values, rtol=1e-9, atol=1e-11, err_msg=name)


def test_an_edge_is_where_another_label_begins_and_not_at_the_rim():
    labels = drawn_rows("1112", "1112", "1112")
    image = np.array([[1, 2, 4, 100], [8, 16, 32, 200], [64, 128, 255, 250]], np.uint8)
    measured = measured_in(labels, image)
    assert (measured["Intensity_IntegratedIntensityEdge"] * 255).tolist() == [4 + 32 + 255, 550]
    assert (measured["Intensity_MinIntensityEdge"] * 255).tolist() == [4, 100]


def test_an_object_that_fills_the_image_has_no_edge():
    measured = measured_in(LABELS["fills the image"], image_of((20, 31), "uint16"))
    assert all(values.tolist() == [0] for name, values in measured.items() if name.endswith("Edge"))


def test_quartiles_lie_at_a_share_of_the_number_of_pixels():
    measured = measured_in(np.ones((1, 10), np.int32), np.arange(0, 100, 10, dtype=np.float32)[None])
    quartiles = [measured[f"Intensity_{name}Intensity"].item() for name in ("LowerQuartile", "Median", "UpperQuartile")]
    assert quartiles == [25, 50, 75]  # NumPy's: 22.5, 45, 67.5
    assert measured["Intensity_MADIntensity"] == 30  # of 50 40 30 20 10 0 10 20 30 40, ordered, the one at 5


def test_a_median_between_two_values_is_kept_for_the_deviations():
    measured = measured_in(np.ones((1, 3), np.int32), np.array([[0, 3, 10]], np.uint8))
    assert measured["Intensity_MedianIntensity"] * 255 == 6.5  # at 1.5
    assert measured["Intensity_MADIntensity"] * 255 == (3.5 + 6.5) / 2


@pytest.mark.parametrize("image", [np.zeros((5, 6), np.uint16), np.zeros((5, 6)), np.zeros((5, 6), bool)])
def test_without_light_there_is_no_centre_of_it(image):
    measured = measured_in(np.ones((5, 6), np.int32), image)
    null = {name for name, values in measured.items() if np.isnan(values).any()}
    assert null == {
        "Location_CenterMassIntensity_X",
        "Location_CenterMassIntensity_Y",
        "Intensity_MassDisplacement",
    }


def test_even_light_has_its_centre_in_the_middle_exactly():
    measured = measured_in(LABELS["a crowd"], np.full(LABELS["a crowd"].shape, 4095, np.uint16))
    assert not measured["Intensity_MassDisplacement"].any() and not measured["Intensity_StdIntensity"].any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_sums_of_the_brightest_pixels_stay_exact(dtype):
    labels = np.ones((1500, 1400), np.int32)
    image = np.full(labels.shape, np.iinfo(dtype).max, dtype)
    image[0, 0] -= 1
    measured = measured_in(labels, image)
    missing = 1 / np.iinfo(dtype).max
    assert measured["Intensity_IntegratedIntensity"] == pytest.approx(labels.size - missing, rel=1e-15)
    deviation = missing * np.sqrt(1 / labels.size - 1 / labels.size**2)
    assert measured["Intensity_StdIntensity"] == pytest.approx(deviation, rel=1e-9)


def test_the_centre_of_light_of_a_bright_field_is_exact():
    labels = np.ones((1500, 1400), np.int32)
    image = np.full(labels.shape, 65535, np.uint16)
    image[:, :700] = 0
    measured = measured_in(labels, image)
    assert measured["Location_CenterMassIntensity_X"] == 1049.5 and measured["Location_CenterMassIntensity_Y"] == 749.5
    assert measured["Intensity_MassDisplacement"] == pytest.approx(350, rel=1e-12)


def test_intensities_do_not_change_with_a_type_that_holds_them():
    labels = LABELS["a crowd"]
    image = image_of(labels.shape, "uint8")
    as_float = measured_in(labels, image.astype(np.float64))
    for other in (image.astype(np.float32), np.asfortranarray(image.astype(np.float64)), image.astype(">f8")):
        for name, values in measured_in(labels, other).items():
            np.testing.assert_array_equal(values, as_float[name], err_msg=name)
    for name, values in measured_in(labels, image).items():
        factor = 255 if name.endswith(("Intensity", "IntensityEdge")) else 1
        np.testing.assert_allclose(values * factor, as_float[name], rtol=1e-12, atol=1e-12, err_msg=name)
