"""How nuclei are found is chosen in a fixed order; keys that fit no one method are refused, with what to delete."""

import inspect
import re

import pytest

from fieldwork import nuclei
from fieldwork.inputs import config, methods, outlining, sheets

SIZES = {"diameter": None, "contrast": None}
CLASSICAL, NETWORK = SIZES | {"method": "classical"}, SIZES | {"method": "network", "model": None}
AUTO = {"classical": CLASSICAL, "network": NETWORK}[outlining.AUTO] | {"method": "auto"}
PEAKS = {"method": "peaks", "sigma": 4, "min_distance": 6, "threshold_abs": 1000}
OWN = {"method": "own.f", "function": "own.f", "arguments": {}}


def checked(section, first=None):
    """Return the section `nuclei` as a plan gets it; `first` comes from the command line, over a file."""
    over = {"nuclei": first} if first is not None else None
    return config.check_config({"nuclei": {**section, **(first or {})}}, source="c.yaml", first=over)["nuclei"]


def of_row(section, row=None, **options):
    """Return how the nuclei of the one plate of a sheet are found."""
    rows = [{None: "p.tsv, line 2", "plate": "P1", **(row or {})}]
    return methods.of_plates(checked(section, **options), rows)["P1"]


def of_sheet(section, *rows):
    """Return how the nuclei of the plates of a sheet are found, which are P1, P2 ..."""
    rows = [{None: f"p.tsv, line {n + 1}", "plate": f"P{n}", **row} for n, row in enumerate(rows, 1)]
    return methods.of_plates(checked(section), rows)


@pytest.mark.parametrize(
    ("section", "row", "expected"),
    [
        ({}, {}, AUTO),
        ({"border": "drop", "keep_labels": False}, {}, AUTO),
        ({"method": "auto"}, {}, AUTO),
        ({"method": "auto", "model": "own.onnx"}, {}, AUTO | {"model": "own.onnx"}),
        ({"method": "peaks"}, {}, PEAKS),
        ({"method": "own.f"}, {}, OWN),
        # The configuration's keys, as written.
        ({"sigma": 3}, {}, PEAKS | {"sigma": 3}),
        ({"threshold": 500, "min_distance": 4}, {}, PEAKS | {"threshold_abs": 500, "min_distance": 4}),
        ({"diameter": 30}, {}, AUTO | {"diameter": 30}),
        ({"contrast": 0.5}, {}, AUTO | {"contrast": 0.5}),
        # Its method comes before its keys, and the row's keys before both.
        ({"method": "peaks", "sigma": 3}, {}, PEAKS | {"sigma": 3}),
        ({"method": "auto"}, {"threshold": "30"}, PEAKS | {"threshold_abs": 30}),
        ({"method": "peaks", "sigma": 3}, {"diameter": "25.5"}, AUTO | {"diameter": 25.5}),
        ({"sigma": 3}, {"contrast": "1e3"}, AUTO | {"contrast": 1000}),
        ({"method": "own.f"}, {"min_distance": "7"}, PEAKS | {"min_distance": 7}),
        # The row's method comes first.
        ({"sigma": 3}, {"method": "auto"}, AUTO),
        ({"diameter": 30}, {"method": "peaks"}, PEAKS),
        ({"diameter": 30}, {"method": "own.f"}, OWN),
        ({"method": "own.g", "arguments": {"x": 1}}, {"method": "own.f"}, OWN | {"arguments": {"x": 1}}),
        ({"arguments": {"x": 1}}, {"method": "own.f"}, OWN | {"arguments": {"x": 1}}),
        ({"method": "own.g", "arguments": {"x": 1}}, {"method": "auto"}, AUTO),
        ({"method": "auto", "border": "drop", "keep_labels": False}, {"method": "peaks"}, PEAKS),
        # Keys of the same method stay, and the row's count.
        ({"sigma": 3, "threshold": 50}, {"threshold": "30"}, PEAKS | {"sigma": 3, "threshold_abs": 30}),
        ({"diameter": 30, "contrast": 9}, {"diameter": "40"}, AUTO | {"diameter": 40, "contrast": 9}),
        ({"diameter": 30}, {"diameter": "auto"}, AUTO),
        # What changes nothing counts as not written.
        ({"sigma": 3, "diameter": "auto", "contrast": "auto", "arguments": {}}, {}, PEAKS | {"sigma": 3}),
        ({"method": "peaks", "border": "keep", "keep_labels": True}, {}, PEAKS),
        ({"method": "peaks", "keep_labels": "true"}, {}, PEAKS),  # as Snakemake's command line leaves it
        ({"method": "peaks"}, {"diameter": "auto"}, PEAKS),
        ({"method": "auto"}, {"sigma": "2", "contrast": "auto"}, PEAKS | {"sigma": 2}),
        # Several methods outline: keys that all of these use choose none of them.
        ({"method": "network"}, {}, NETWORK),
        ({"method": "classical", "diameter": 30}, {}, CLASSICAL | {"diameter": 30}),
        ({"method": "network"}, {"diameter": "30"}, NETWORK | {"diameter": 30}),
        ({"method": "peaks"}, {"method": "network", "contrast": "9"}, NETWORK | {"contrast": 9}),
        ({"method": "network", "model": "a.onnx"}, {"method": "classical"}, CLASSICAL),
        ({"method": "network", "model": "a.onnx"}, {"sigma": "3"}, PEAKS | {"sigma": 3}),
        # A model is one of the network alone.
        ({"model": "a.onnx"}, {}, NETWORK | {"model": "a.onnx"}),
        ({"model": "a.onnx", "diameter": 30}, {}, NETWORK | {"model": "a.onnx", "diameter": 30}),
        ({"model": "built-in", "sigma": 3}, {}, PEAKS | {"sigma": 3}),
        ({"method": "peaks", "model": "built-in"}, {"method": "network"}, NETWORK),
    ],
)
def test_the_rows_method_comes_before_its_keys_and_these_before_the_configurations(section, row, expected):
    assert of_row(section, row) == expected


@pytest.mark.parametrize(
    ("section", "first", "expected"),
    [
        ({"method": "auto"}, {"threshold": 30}, PEAKS | {"threshold_abs": 30}),
        ({"sigma": 3}, {"threshold": 30}, PEAKS | {"sigma": 3, "threshold_abs": 30}),
        ({"sigma": 3}, {"method": "auto"}, AUTO),
        ({"sigma": 3}, {"diameter": 30}, AUTO | {"diameter": 30}),
        ({"method": "peaks"}, {"diameter": 30}, AUTO | {"diameter": 30}),
        ({"method": "own.f", "arguments": {"x": 1}}, {"arguments": {"x": 2}}, OWN | {"arguments": {"x": 2}}),
        ({"method": "own.f", "arguments": {"x": 1}}, {"method": "auto"}, AUTO),
        ({"method": "auto", "diameter": 30}, {"diameter": "auto"}, AUTO),
        ({"method": "network"}, {"diameter": 30}, NETWORK | {"diameter": 30}),
        ({"method": "classical"}, {"model": "a.onnx"}, NETWORK | {"model": "a.onnx"}),
        ({"method": "network", "model": "a.onnx"}, {"method": "classical"}, CLASSICAL),
    ],
)
def test_the_command_line_chooses_before_the_file(section, first, expected):
    assert of_row(section, first=first) == expected


@pytest.mark.parametrize(
    ("section", "row", "message"),
    [
        (
            {"sigma": 3, "diameter": 30},
            {},
            "c.yaml: nuclei.diameter and nuclei.sigma belong to different methods: for auto delete nuclei.sigma; "
            "for peaks delete nuclei.diameter",
        ),
        (
            {"method": "auto", "sigma": 3, "threshold": 1000},
            {},
            "c.yaml: nuclei.method is auto, which does not use nuclei.sigma and nuclei.threshold: "
            "delete nuclei.sigma and nuclei.threshold, or nuclei.method",
        ),
        (
            {"method": "own.f", "contrast": 3},
            {},
            "c.yaml: nuclei.method is own.f, which does not use nuclei.contrast: delete nuclei.contrast, "
            "or nuclei.method",
        ),
        (
            {"method": "peaks", "border": "drop", "keep_labels": False, "arguments": {"x": 1}},
            {},
            "c.yaml: nuclei.method is peaks, which does not use nuclei.arguments, nuclei.border and "
            "nuclei.keep_labels: delete nuclei.arguments, nuclei.border and nuclei.keep_labels, or nuclei.method",
        ),
        (
            {"method": "classical", "model": "a.onnx"},
            {},
            "c.yaml: nuclei.method is classical, which does not use nuclei.model: delete nuclei.model, "
            "or nuclei.method",
        ),
        (
            {"sigma": 3, "model": "a.onnx"},
            {},
            "c.yaml: nuclei.model and nuclei.sigma belong to different methods: for network delete nuclei.sigma; "
            "for peaks delete nuclei.model",
        ),
        (
            {"sigma": 3, "border": "drop"},
            {},
            "c.yaml: nuclei.sigma and nuclei.border belong to different methods: for auto delete nuclei.sigma; "
            "for peaks delete nuclei.border",
        ),
        (
            {"arguments": {"x": 1}},
            {},
            "p.tsv, line 2: plate 'P1': nuclei.arguments are those of a function of your own: name it as "
            "nuclei.method, or delete them",
        ),
        (
            {},
            {"method": "peaks", "diameter": "30", "contrast": "9"},
            "p.tsv, line 2: plate 'P1': method is peaks, which does not use diameter and contrast: "
            "delete diameter and contrast, or method",
        ),
        (
            {"method": "auto"},
            {"threshold": "30", "contrast": "9"},
            "p.tsv, line 2: plate 'P1': contrast and threshold belong to different methods: for auto delete "
            "threshold; for peaks delete contrast",
        ),
        ({}, {"sigma": "2000"}, "p.tsv, line 2: 'sigma' is 2000.0; expected a number above 0 and up to 1000 (px)"),
        (
            {},
            {"min_distance": "2.5"},
            "p.tsv, line 2: 'min_distance' is 2.5; expected a whole number from 1 to 1000 (px)",
        ),
        (
            {},
            {"diameter": "big"},
            "p.tsv, line 2: 'diameter' is 'big'; expected a number from 3 to 10000 (px), or auto",
        ),
    ],
)
def test_keys_that_fit_no_one_method_are_refused_with_what_to_delete(refused, section, row, message):
    assert refused(of_row, section, row) == message


def test_of_the_command_lines_own_keys_none_may_miss_its_method(refused):
    message = refused(checked, {"method": "auto"}, first={"method": "peaks", "diameter": 30})
    assert message.startswith("c.yaml: nuclei.method is peaks, which does not use nuclei.diameter")
    message = refused(checked, {"method": "peaks"}, first={"border": "drop"})
    assert message.startswith("c.yaml: nuclei.method is peaks, which does not use nuclei.border")


def test_keys_of_stacks_choose_for_stacks(refused):
    def of_stacks(section, arguments):
        place = config.check_config({"nuclei": section, "stack": {"arguments": arguments}}, source="c.yaml")
        return methods.detection_of(place["nuclei"], place["stack"]["arguments"], where="stacks.tsv")

    assert of_stacks({"method": "auto"}, {}) == AUTO
    assert of_stacks({"method": "auto"}, {"threshold": "7"}) == PEAKS | {"threshold_abs": 7}
    assert of_stacks({"sigma": 3}, {"diameter": 30}) == AUTO | {"diameter": 30}
    assert of_stacks({"method": "network"}, {"diameter": 30}) == NETWORK | {"diameter": 30}
    assert of_stacks({"method": "own.f"}, {}) == OWN
    assert refused(of_stacks, {}, {"sigma": 3, "diameter": 30}) == (
        "c.yaml: stack.arguments.diameter and stack.arguments.sigma belong to different methods: for auto delete "
        "stack.arguments.sigma; for peaks delete stack.arguments.diameter"
    )
    assert refused(of_stacks, {}, {"method": "auto"}).startswith("c.yaml: stack.arguments: unknown key 'method'")


def test_a_number_that_pandas_wrote_as_real_is_a_whole_one():
    detection = of_row({}, {"min_distance": "7.0"})
    assert repr(detection["min_distance"]) == "7"


def test_the_keys_of_peaks_are_arguments_of_the_function_that_finds_them():
    arguments = of_row({"sigma": 2, "min_distance": 3})
    assert arguments.pop("method") == "peaks"
    inspect.signature(nuclei.detect_nuclei).bind(None, **arguments)
    assert arguments == {"sigma": 2.0, "min_distance": 3, "threshold_abs": 1000.0}


def test_a_plate_that_is_calibrated_with_another_has_its_diameter_and_contrast():
    found = of_sheet({"method": "auto", "contrast": 9}, {"diameter": "30"}, {"calibrate_with": "P1"}, {})
    assert found["P2"] == found["P1"] == AUTO | {"diameter": 30, "contrast": 9}
    assert found["P3"] == AUTO | {"contrast": 9}
    found = of_sheet({"diameter": 30, "method": "network"}, {"contrast": "9"}, {"calibrate_with": "P1"})
    assert found["P2"] == found["P1"] == NETWORK | {"diameter": 30, "contrast": 9}
    found = of_sheet({"diameter": 30}, {"method": "classical"}, {"method": "network", "calibrate_with": "P1"})
    assert found["P2"] == NETWORK | {"diameter": 30} and found["P1"]["method"] == "classical"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"calibrate_with": "P1"}, {}],
            "line 2: plate 'P1' has calibrate_with 'P1', itself; expected another plate's",
        ),
        ([{}, {"calibrate_with": "p1"}], "line 3: .* 'p1', which is no plate of the sheet; did you mean 'P1'?"),
        ([{}, {"calibrate_with": "week"}], "line 3: .* 'week', which is no plate of the sheet$"),
        (
            [{}, {"calibrate_with": "P1"}, {"calibrate_with": "P2"}],
            "line 4: .* 'P2', which has calibrate_with 'P1' itself: write 'P1' here, too",
        ),
        (
            [{"calibrate_with": "P2"}, {"calibrate_with": "P1"}],
            "line 2: .* 'P2', which has calibrate_with 'P1' itself: empty one of the two cells",
        ),
        (
            [{"method": "peaks"}, {"calibrate_with": "P1"}],
            "line 3: .* 'P1', whose method is peaks: only plates of method auto are calibrated",
        ),
        (
            [{}, {"calibrate_with": "P1", "method": "own.f"}],
            "line 3: .* 'P1', but its method is own.f, which needs no calibration: delete calibrate_with",
        ),
        (
            [{}, {"calibrate_with": "P1", "sigma": "3"}],
            "line 3: .*, but its method is peaks, which needs no calibration",
        ),
        (
            [{}, {"calibrate_with": "P1", "contrast": "9"}],
            "line 3: .* 'P1', whose values count as they are: delete contrast, or calibrate_with",
        ),
    ],
)
def test_a_plate_that_cannot_be_calibrated_with_another_is_refused_at_its_line(refused, rows, message):

    assert re.match(f"p.tsv, {message}", refused(of_sheet, {"method": "auto"}, *rows))


def test_the_columns_of_methods_are_read_from_a_sheet(tmp_path, refused):
    sheet = tmp_path / "p.tsv"
    head = "plate\timages\tmethod\tdiameter\tcontrast\tthreshold\tsigma\tmin_distance\tcalibrate_with\n"
    sheet.write_text(head + "P1\ta\tauto\t30\tauto\t\t\t\t\nP2\ta\t\t\t\t-1.5e2\t2.\t7\t\nP3\ta\t\t\t\t\t\t\tP1\n")
    found = methods.of_plates(checked({"method": "auto"}), sheets.read_sheet("plates", sheet))
    assert found["P1"] == found["P3"] == AUTO | {"diameter": 30}
    assert found["P2"] == {"method": "peaks", "sigma": 2, "min_distance": 7, "threshold_abs": -150}
    for cells, message in {
        "peek\t\t\t\t\t\t": "'method' is 'peek'; expected auto, classical, network, peaks, or a",
        "\t30 px\t\t\t\t\t": "'diameter' is '30 px'; expected the diameter of a typical nucleus",
        "\t\thigh\t\t\t\t": "'contrast' is 'high'; expected the intensity of a typical nucleus",
        "\t\t\t1,5\t\t\t": "'threshold' is '1,5'; expected the threshold of method peaks, a number",
        "\t\t\t\tnan\t\t": "'sigma' is 'nan'; expected the sigma of method peaks, a number above 0",
        "\t\t\t\t\t6.5\t": "'min_distance' is '6.5'; expected the min_distance of method peaks, a whole number",
    }.items():
        sheet.write_text(f"{head}P1\ta\t{cells}\n")
        assert refused(sheets.read_sheet, "plates", sheet).startswith(f"{sheet}, line 2: {message}")
