"""Further groups of measurements are cp-measure's numbers under CellProfiler's names."""

import re
import subprocess
import sys

import numpy as np
import pytest
from label_cases import LABELS, crowd, image_of
from skimage.morphology import disk
from threadpoolctl import threadpool_limits

from fieldwork import InputError
from fieldwork.inputs.schemas import read_schema
from fieldwork.objects import groups
from fieldwork.planning import resources
from workspace import SCRIPTS

REASON = "cp-measure is not installed: its parts have no wheels for this Python or machine"
ALL = list(groups.NAMES)
CHANNELS = ["Actin", "DNA", "ER_2"]
CROWD = 7 * crowd(1, shape=(90, 110), count=18)  # with gaps between the labels


@pytest.fixture(autouse=True)
def one_thread():
    """Keep BLAS to one thread, as jobs do: a plugin of pytest's imports NumPy before it can be told so."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def bulk():
    """Return cp-measure's own front door, which measures with its defaults."""
    return pytest.importorskip("cp_measure.bulk", reason=REASON)


@pytest.fixture
def measure():
    """Return what measures all groups in nuclei."""
    pytest.importorskip("cp_measure", reason=REASON)
    return lambda labels, images, wanted=ALL: groups.measure_groups(labels, images, wanted)


def images_of(labels, names=CHANNELS):
    """Draw images of noise that have something in common, of three types."""
    common = image_of(labels.shape, "uint8").astype(np.float64) / 255
    drawn = [(common + image_of(labels.shape, "uint8", seed) / 255) / 2 for seed in range(1, len(names) + 1)]
    types = (lambda x: (65535 * x).astype(np.uint16), lambda x: (255 * x).astype(np.uint8), np.float32)
    return {name: kind(image) for name, image, kind in zip(names, drawn, types, strict=False)}


def plain(image):
    return image / np.iinfo(image.dtype).max if image.dtype.kind == "u" else image.astype(np.float64)


def test_columns_have_the_names_of_cellprofiler():
    of_channel = groups.columns_of(ALL, ["DNA"])
    assert len(of_channel) == len(set(of_channel)) == 52 + 16 + 30 + 72
    assert {
        *("Nuclei_Texture_Contrast_DNA_3_00_256", "Nuclei_Texture_InfoMeas2_DNA_3_03_256", "Nuclei_Granularity_16_DNA"),
        *("Nuclei_AreaShape_Zernike_0_0", "Nuclei_AreaShape_Zernike_9_9", "Nuclei_RadialDistribution_FracAtD_DNA_1of4"),
        *("Nuclei_RadialDistribution_RadialCV_DNA_4of4", "Nuclei_RadialDistribution_ZernikeMagnitude_DNA_5_3"),
        "Nuclei_RadialDistribution_ZernikePhase_DNA_1_1",
    } <= set(of_channel)
    assert groups.columns_of(["correlation"], ["A", "B"], prefix="Cells") == [
        *("Cells_Correlation_Correlation_A_B", "Cells_Correlation_Overlap_A_B"),
        *(f"Cells_Correlation_{name}_{pair}" for name in ("K", "Manders", "RWC", "Costes") for pair in ("A_B", "B_A")),
    ]
    assert len(groups.columns_of(["correlation"], list("ABCD"))) == 6 * 10
    assert groups.columns_of(["correlation"], ["A"]) == groups.columns_of([], ["A", "B"]) == []


def test_the_schema_and_the_plan_know_the_same_groups():
    legal = read_schema("config")["properties"]["measure"]["properties"]["groups"]["items"]["enum"]
    assert set(legal) == set(resources.GROUPS) == set(ALL)
    for name, group in resources.GROUPS.items():
        assert (group.channels, group.columns) == (groups.CHANNELS_AT_ONCE[name], len(groups.NAMES[name]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_are_those_of_cp_measure(bulk, measure):
    labels = CROWD
    images = images_of(labels)
    core, pairwise = bulk.get_core_measurements(), bulk.get_correlation_measurements()
    expected = {f"Nuclei_AreaShape_{name}": values for name, values in core["zernike"](labels, None).items()}
    for channel, image in images.items():
        for function in ("texture", "granularity", "radial_distribution", "radial_zernikes"):
            for name, values in core[function](labels, plain(image)).items():
                kind, *parts = (["Texture"] if function == "texture" else []) + name.split("_")
                number = 0 if function == "granularity" else 1
                place = len(parts) if function == "granularity" else number
                column = "_".join(["Nuclei", kind, *parts[:place], channel, *parts[place:]])
                expected[column] = values
    for first, second in (("Actin", "DNA"), ("Actin", "ER_2"), ("DNA", "ER_2")):
        arguments = plain(images[first]), plain(images[second]), labels
        for function in pairwise:
            # As CellProfiler: the finest integers of both.
            steps = 65535 if first == "Actin" else 255
            options = {"scale_max": steps} if function == "costes" else {}
            for name, values in pairwise[function](*arguments, **options).items():
                kind = name.split("_")[1]
                if kind == "Slope":  # CellProfiler has it for images alone
                    continue
                pair = f"{second}_{first}" if name.endswith("_2") else f"{first}_{second}"
                expected[f"Nuclei_Correlation_{kind.replace('Pearson', 'Correlation')}_{pair}"] = values
    measured = measure(labels, images)
    assert list(measured) == groups.columns_of(ALL, list(images))
    others = {name for name in measured if re.search("_(Overlap|K)_", name)}  # that front door has none
    assert measured.keys() - others == expected.keys() and len(others) == 9
    several = np.bincount(labels.ravel())[np.unique(labels)[1:]] > 1
    for name, values in expected.items():
        finite = np.where(np.isfinite(values), values, np.nan)
        if "Correlation_Correlation" in name:
            finite = np.where(several, finite, np.nan)
        np.testing.assert_array_equal(measured[name], finite, err_msg=name)
        assert measured[name].dtype == np.float64 and np.isfinite(measured[name]).any()


def test_a_disc_has_the_zernike_moments_and_the_rings_of_a_disc(measure):
    labels = np.pad(disk(60), 5).astype(np.int32)
    measured = measure(labels, {"DNA": np.full(labels.shape, 0.5)}, ["zernike", "radial"])
    moments = {name.partition("Zernike_")[2]: values[0] for name, values in measured.items() if "AreaShape" in name}
    # A disc of intensity 1 is the polynomial of degree 0, and orthogonal to all others.
    assert moments.pop("0_0") == pytest.approx(1, abs=0.02)
    assert len(moments) == 29 and max(moments.values()) < 0.02
    rings = range(1, 5)
    fractions = [measured[f"Nuclei_RadialDistribution_FracAtD_DNA_{ring}of4"][0] for ring in rings]
    assert sum(fractions) == pytest.approx(1)
    np.testing.assert_allclose(fractions, np.array([1, 3, 5, 7]) / 16, atol=0.02)
    for ring in rings:
        assert measured[f"Nuclei_RadialDistribution_MeanFrac_DNA_{ring}of4"][0] == pytest.approx(1)
        assert measured[f"Nuclei_RadialDistribution_RadialCV_DNA_{ring}of4"][0] == pytest.approx(0, abs=1e-9)


def test_an_object_of_one_intensity_has_no_texture_but_its_grey(measure):
    labels = np.pad(np.ones((12, 12), np.int32), 3)
    measured = measure(labels, {"DNA": np.full(labels.shape, 51, np.uint8)}, ["texture"])
    expected = {"AngularSecondMoment": 1, "InverseDifferenceMoment": 1, "Contrast": 0, "Entropy": 0, "SumAverage": 102}
    for name, value in expected.items():
        for direction in range(4):
            assert measured[f"Nuclei_Texture_{name}_DNA_3_{direction:02d}_256"][0] == pytest.approx(value, abs=1e-9)


def test_stripes_have_contrast_across_and_none_along(measure):
    labels = np.pad(np.ones((24, 24), np.int32), 3)
    stripes = np.tile(np.where(np.arange(30) // 3 % 2, 100, 110).astype(np.uint8), (30, 1))
    measured = measure(labels, {"DNA": stripes}, ["texture"])
    across, along = (measured[f"Nuclei_Texture_Contrast_DNA_3_{direction}_256"][0] for direction in ("00", "02"))
    assert across == pytest.approx(100) and along == pytest.approx(0, abs=1e-9)


def test_spots_of_a_size_are_lost_at_their_step_of_the_granularity(measure):
    labels = np.ones((400, 400), np.int32)
    spots = np.zeros((400, 400), np.uint16)
    for row in range(40, 400, 80):
        spots[row - 12 : row + 12, 40:400:80] = 1  # seeds of squares of 24 px
        for column in range(40, 400, 80):
            spots[row - 12 : row + 12, column - 12 : column + 12] = 40000
    measured = measure(labels, {"DNA": spots}, ["granularity"])
    spectrum = np.array([measured[f"Nuclei_Granularity_{step}_DNA"][0] for step in range(1, 17)])
    assert spectrum[:5].sum() > 80 and spectrum[5:].max() < 5  # 24 px are 6 at a quarter of the size


def test_correlations_of_a_channel_with_itself_its_inverse_and_a_flat_one(measure):
    labels = LABELS["two fill the image"]
    image = image_of(labels.shape, "uint16")
    flat = np.full(labels.shape, 1000, np.uint16)  # 1000 / 65535 has no exact mean: Pearson would be rounding
    images = {"A": image, "B": image.copy(), "C": (65535 - image).astype(np.uint16), "D": flat, "E": 3 * flat + 1}
    measured = {
        name.partition("_Correlation_")[2]: values for name, values in measure(labels, images, ["correlation"]).items()
    }
    np.testing.assert_allclose(measured["Correlation_A_B"], 1)
    np.testing.assert_allclose(measured["Correlation_A_C"], -1)
    for name in ("Overlap", "K", "Manders", "RWC"):
        np.testing.assert_allclose(measured[f"{name}_A_B"], 1)
    for pair in ("A_D", "D_E"):
        assert np.isnan(measured[f"Correlation_{pair}"]).all() and np.isnan(measured[f"Costes_{pair}"]).all()
    np.testing.assert_allclose(measured["Overlap_D_E"], 1)


@pytest.mark.parametrize("light", [0, 1e-200, -0.5])
def test_without_light_there_are_no_ratios_and_no_errors(measure, light):
    labels = np.repeat([[1, 2, 0, 3]], 12, axis=0).repeat(9, axis=1).astype(np.int32)
    image = np.random.default_rng(0).uniform(0.1, 0.9, labels.shape)
    images = {"A": np.where(labels == 2, light, image), "B": image, "C": np.full(labels.shape, light)}
    measured = measure(labels, images)
    for name, defined in {
        **dict.fromkeys(("Overlap_A_B", "K_A_B", "K_B_A", "Correlation_A_B"), [True, False, True]),
        **dict.fromkeys(("Overlap_A_C", "K_A_C", "K_C_A", "Correlation_A_C", "Costes_C_A"), [False] * 3),
    }.items():
        assert np.isfinite(measured[f"Nuclei_Correlation_{name}"]).tolist() == defined, name
    alone = measure((labels == 3).astype(np.int32), {"A": image, "B": image})
    for name in ("Overlap_A_B", "Correlation_A_B"):
        assert alone[f"Nuclei_Correlation_{name}"][0] == pytest.approx(measured[f"Nuclei_Correlation_{name}"][2])


@pytest.mark.parametrize("case", [name for name, labels in LABELS.items() if labels.size < 10**4])
def test_every_kind_of_object_has_all_columns_and_no_infinity_nor_a_warning(measure, case, recwarn):
    labels = LABELS[case]
    measured = measure(labels, images_of(labels, ["A", "B"]))
    assert list(measured) == groups.columns_of(ALL, ["A", "B"])
    count = len(np.unique(labels[labels > 0]))
    assert all(values.shape == (count,) and values.dtype == np.float64 for values in measured.values())
    assert not any(np.isinf(values).any() for values in measured.values())
    assert [str(warning.message) for warning in recwarn if warning.category is RuntimeWarning] == []


def test_an_object_has_the_values_that_it_has_alone(measure):
    labels = CROWD
    images = images_of(labels, ["A", "B"])
    wanted = ["texture", "zernike", "correlation"]
    everything = measure(labels, images, wanted)
    number = np.unique(labels)[5]
    alone = measure(np.where(labels == number, number, 0), images, wanted)
    for name, values in alone.items():
        np.testing.assert_allclose(values, everything[name][4:5], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("low", "high"), [(-0.25, 0.5), (0, 4095)])
def test_floats_beyond_0_to_1_have_no_texture_and_no_costes_and_it_is_said(measure, low, high):
    labels = LABELS["two fill the image"]
    images = images_of(labels, ["A", "B"])
    images["C"] = np.random.default_rng(0).uniform(low, high, labels.shape)
    images["C"].flat[:2] = low, high
    measured = measure(labels, images)
    empty = {name for name, values in measured.items() if np.isnan(values).all()}
    assert empty == {name for name in measured if re.search("_Texture_.*_C_3_|_Costes_(._C|C_.)$", name)} and empty
    reason = f"found pixels from {low:g} to {high:g}; expected 0 to 1"
    assert groups.unmeasured_of(images, ALL) == {"texture of C": reason, "Costes of C": reason}
    assert groups.unmeasured_of(images, ["radial", "zernike"]) == {}
    assert groups.unmeasured_of({"C": images["C"]}, ["correlation"]) == {}


def test_images_stay_as_they_are(measure):
    labels = CROWD
    images = images_of(labels)
    before = {name: image.copy() for name, image in images.items()}
    measure(labels, images)
    assert all(np.array_equal(images[name], before[name]) for name in images)


def test_a_job_without_the_package_ends_with_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cp_measure", None)
    monkeypatch.setitem(sys.modules, "cp_measure.core", None)
    with pytest.raises(InputError, match=r"measure.groups: the package cp-measure, .*install it, or delete measure"):
        groups.measure_groups(np.ones((3, 3), np.int32), {}, ["zernike"])


def test_nothing_imports_the_package_without_groups():
    code = """
import sys
import numpy as np
import detect_nuclei, merge_units
from fieldwork.detection import cells
from fieldwork.objects import groups, measure_arrays
from fieldwork.plates import fields, nuclei_table
labels = np.ones((5, 5), np.int32)
image = {"A": np.ones((5, 5))}
measure_arrays(labels, image)
cells.measure_cells(labels, labels, image)
groups.measure_groups(labels, image, [])
nuclei_table.nuclei_schema(outlined=True, peaks=False, channels=["A"], groups=list(groups.NAMES))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=SCRIPTS, text=True).split()
    assert "numpy" in loaded and not {"cp_measure", "centrosome", "mahotas"} & set(loaded)
