"""A configuration gets its defaults; a wrong one is refused in a line: where, what was found, what is expected."""

import copy
import os
import re
import shutil
import subprocess

import pytest
import yaml

from fieldwork import InputError
from fieldwork.inputs import config
from fieldwork.inputs.names.patterns import config_layouts
from workspace import REPOSITORY as ROOT

DEFAULTS = {
    "plates": "config/plates.tsv",
    "slides": "config/slides.tsv",
    "stacks": "config/stacks.tsv",
    "results": "results",
    "fan_out": "plate",
    "layouts": {},
    "nuclei": {
        "channel": "auto",
        "method": "auto",
        "diameter": "auto",
        "contrast": "auto",
        "model": "built-in",
        "sigma": 4,
        "min_distance": 6,
        "threshold": 1000,
        "arguments": {},
        "z": "all",
        "border": "keep",
        "keep_labels": True,
    },
    "channels": {},
    "measure": {"channels": "all", "groups": []},
    "illumination": "none",
    "background": "none",
    "positive": {},
    "cells": "none",
    "controls": {},
    "profiles": {"aggregate": "median", "normalize": "negative controls"},
    "screen": {
        "readouts": [
            "Count_Nuclei",
            "Nuclei_AreaShape_Area",
            "Nuclei_Intensity_IntegratedIntensity_{nuclei channel}",
            "Nuclei_Intensity_MeanIntensity_*",
            "Share_Positive_*",
        ],
        "min_nuclei": 20,
        "exclude_flags": ["OutOfFocus", "Saturated"],
        "hit": {"q": 0.05, "z": 3, "change": 0.2},
    },
    "flags": {
        **{"out_of_focus": 0.8, "saturated": 0.02, "background": 0.15, "debris": 4, "deviations": 4, "least_fields": 8}
    },
    "pool": {"engine": "pool", "mode": "paths", "dask": "processes"},
    "device": "auto",
    "ome_zarr_plate": False,
    "quality": True,
    "pages_are": "",
    "on_bad_image": "record",
    "max_failed_fields": 0.05,
    "stack": {"function": "nuclei", "arguments": {}, "channel": "auto", "z": 0, "images": "zarr"},
    "filters": {"chain": [], "metrics": ["var", "mean"], "save": "tiff"},
    "slide": {
        "reader": "auto",
        "ome_zarr": "0.5",
        "chunk": 512,
        "shard": 2048,
        "codec": "zstd",
        "level": 1,
        "keep_associated": True,
        "keep_properties": True,
        "tile": 1024,
        "nuclei": {
            "sigma_um": 1.5,
            "min_distance_um": 2.5,
            "sigma": 3,
            "min_distance": 5,
            "haematoxylin": "auto",
            "fluorescence": "auto",
        },
        "ring_um": 2,
        "positive": 0.2,
    },
}  # DESIGN.md, section 4


def write(folder, text, name="c.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def test_an_empty_configuration_gets_the_defaults_of_the_contract():
    assert config.check_config({}, source="c.yaml") == DEFAULTS


def test_the_repositorys_configuration_is_the_defaults_written_out():
    # As committed: users edit the file itself.
    if shutil.which("git") is None:
        pytest.skip("no git")
    shown = subprocess.run(["git", "show", "HEAD:./config/config.yaml"], cwd=ROOT, capture_output=True)
    if shown.returncode:
        pytest.skip(f"no checkout: {shown.stderr.decode().strip()}")
    values = yaml.safe_load(shown.stdout)
    assert config.check_config(values, source="c.yaml") == DEFAULTS
    assert DEFAULTS.keys() == values.keys()
    assert DEFAULTS["nuclei"].keys() - values["nuclei"].keys() == {"sigma", "min_distance", "threshold"}


def test_what_is_set_stays_beside_defaults_and_the_argument_is_not_changed():
    given = {"nuclei": {"sigma": 2.5, "threshold": -10}, "layouts": {"mine": "(?P<well>.)"}, "fan_out": "well"}
    before = copy.deepcopy(given)
    filled = config.check_config(given, source="c.yaml")
    assert given == before
    assert filled == DEFAULTS | {**before, "nuclei": DEFAULTS["nuclei"] | before["nuclei"] | {"method": "peaks"}}
    filled["nuclei"]["sigma"] = filled["layouts"]["other"] = "changed"
    assert given == before and config.check_config({}, source="c.yaml") == DEFAULTS


def test_numbers_and_booleans_that_snakemakes_command_line_left_as_text_are_taken():
    keys = {"diameter": "30", "keep_labels": "false"}
    filled = config.check_config({"nuclei": keys}, source="--config")["nuclei"]
    assert (filled["diameter"], filled["keep_labels"], filled["method"]) == (30, False, "auto")
    given = {"quality": "false", "max_failed_fields": "0.5", "nuclei": {"sigma": "2.5", "min_distance": "3"}}
    filled = config.check_config(given, source="--config")
    assert filled["quality"] is False and filled["max_failed_fields"] == 0.5
    assert filled["nuclei"] == DEFAULTS["nuclei"] | {"sigma": 2.5, "min_distance": 3, "method": "peaks"}
    assert config.check_config({"nuclei": {"channel": "1"}}, source="c.yaml")["nuclei"]["channel"] == "1"


@pytest.mark.parametrize("value", [4, 4.0, "4", "4.0"])
def test_a_number_is_the_same_parameter_however_it_is_written(value):
    nuclei = config.check_config({"nuclei": {"sigma": value, "threshold": value}}, source="c.yaml")["nuclei"]
    assert repr(nuclei["sigma"]) == repr(nuclei["threshold"]) == "4.0"
    assert repr(nuclei["min_distance"]) == "6"  # a whole number stays one
    assert repr(config.check_config({}, source="c.yaml")["nuclei"]["threshold"]) == "1000.0"  # a default, too


WRONG = [
    ("plates", 7, "path"),
    ("results", "", "path"),
    ("results", "out/{plate}", "without any of"),
    ("fan_out", "wel", "plate, well or field"),
    ("fan_out", None, "plate, well or field"),
    ("layouts", ["a"], "regular expression"),
    ("layouts.mine", 7, "regular expression"),
    ("nuclei", None, "sigma"),
    ("nuclei", 4, "sigma"),
    ("nuclei.channel", [1], "name in quotes"),
    ("pages_are", "zt", "z, c, t, or nothing"),
    ("stack.channel", -1, "a whole number from 0"),
    ("nuclei.sigma", "4 px", "a number above 0"),
    ("nuclei.sigma", True, "a number above 0"),
    ("nuclei.sigma", 0.0, "a number above 0"),
    ("nuclei.sigma", 1001.0, "up to 1000"),
    ("nuclei.sigma", float("nan"), "a number above 0"),
    ("nuclei.min_distance", 2.5, "whole number from 1"),
    ("nuclei.min_distance", 0, "whole number from 1"),
    ("nuclei.min_distance", False, "whole number from 1"),
    ("nuclei.min_distance", 6.0, "whole number from 1"),  # range(6.0) fails in every job
    ("nuclei.threshold", "otsu", "a number"),
    ("nuclei.threshold", float("nan"), "a number"),  # which no pixel is above
    (
        "nuclei.method",
        "peak",
        "auto, classical, network, peaks, or a function's import path such as",
    ),
    ("nuclei.method", None, "auto, classical, network, peaks, or a function's import path"),
    ("nuclei.diameter", 2.0, "a number from 3 to 10000 (px), or auto"),
    ("nuclei.diameter", "20 px", "a number from 3 to 10000 (px), or auto"),
    ("nuclei.diameter", True, "a number from 3 to 10000 (px), or auto"),
    ("nuclei.contrast", 0.0, "a number above 0 (intensity), or auto"),
    ("nuclei.contrast", float("nan"), "a number above 0 (intensity), or auto"),
    ("nuclei.arguments", 7, "keyword arguments"),
    ("nuclei.border", "cut", "keep or drop"),
    ("nuclei.keep_labels", "yes", "true or false"),
    ("channels", ["w1"], "tokens of channels such as w1, each with a name"),
    ("channels.w1", 405, "a name in quotes"),
    ("channels.w1", "", "a name in quotes"),
    ("measure.channels", "w2", "all, none, or a list of channels' names or tokens"),
    ("measure.channels", None, "all, none, or a list of channels' names or tokens"),
    ("measure.channels", [], "all, none, or a list of channels' names or tokens"),
    ("measure.channels", ["w2", "w2"], "all, none, or a list of channels' names or tokens, each once"),
    ("pool.engine", "threads", "serial, pool or dask"),
    ("pool.mode", "auto", "paths or fork"),
    ("pool.engine", "auto", "serial, pool or dask (auto is gone: pool is as fast)"),
    ("pool.dask", "node1:8786", "the address of a scheduler by tcp, tls, ws or wss, such as tcp://node1:8786"),
    ("pool.dask", "ucx://node1:8786", "the address of a scheduler by tcp, tls, ws or wss, such as tcp://node1:8786"),
    ("pool.mode", "spawn", "paths or fork"),
    ("quality", "yes", "true or false"),
    ("quality", 1, "true or false"),
    ("on_bad_image", "skip", "record or stop"),
    ("max_failed_fields", 5.0, "0 to 1"),
    ("max_failed_fields", -0.1, "0 to 1"),
    ("max_failed_fields", True, "0 to 1"),
    ("max_failed_fields", float("nan"), "0 to 1"),  # which no share of failed fields is above
    ("slide.ome_zarr", 0.5, "in quotes"),
]


@pytest.mark.parametrize(("key", "value", "expected"), WRONG)
def test_a_wrong_value_is_named_with_its_key_and_what_is_expected(key, value, expected):
    with pytest.raises(InputError) as caught:
        config.check_config(nested(key, value), source="c.yaml")
    message = str(caught.value)
    found = "empty" if value is None else repr(value)
    assert message.startswith(f"c.yaml: '{key}' is {found}; expected ") and expected in message
    assert len(message.splitlines()) == 1


def test_a_wrong_name_in_a_list_is_named_with_those_that_are_legal():
    with pytest.raises(InputError) as caught:
        config.check_config({"screen": {"exclude_flags": ["Saturated", "Blurred"]}}, source="c.yaml")
    expected = "OutOfFocus, Saturated, UnlikePlate, Background, Debris"
    assert str(caught.value) == f"c.yaml: 'screen.exclude_flags.1' is 'Blurred'; expected one of {expected}"


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({"threshold": 300}, "nuclei={threshold: 300}"),
        ({"nuclei.threshold": 300}, "nuclei={threshold: 300}"),
        ({"nuclei": {"threshold:300": ""}}, "nuclei={threshold: 300}"),
        ({"nuclei": {"threshold=300": None}}, "nuclei={threshold: 300}"),
        ({"engine": "dask"}, "pool={engine: dask}"),
        ({"slide": {"positive_above": 1}}, None),
        ({"dask_workers": 2}, None),
        ({"nuclei": 300}, "nuclei={KEY: VALUE}"),
        ({"nuclei": "threshold:300"}, "nuclei={KEY: VALUE}"),
    ],
)
def test_a_key_of_a_section_is_shown_as_it_is_written_there(given, form):
    with pytest.raises(InputError) as caught:
        config.check_config(given, source="--config")
    message = str(caught.value)
    assert message.startswith("--config: ") and "\n" not in message
    assert ("in config.yaml, or --config" in message) == bool(form)
    if form:
        key, _, value = form.partition("=")
        assert f"{key}: {value} in config.yaml, or --config '{form}' in a command" in message


def test_keys_that_a_wrong_one_is_like_are_asked_for_in_one_question():
    with pytest.raises(InputError, match="unknown key 'nucleii'. Did you mean 'nuclei' or 'slide.nuclei'\\? Known"):
        config.check_config({"nucleii": {}}, source="--config")


def test_a_key_of_several_sections_is_shown_in_each():
    with pytest.raises(
        InputError, match="It is a key of nuclei and stack: .*'nuclei={channel: w2}'.*'stack={channel: w2}'"
    ):
        config.check_config({"channel": "w2"}, source="--config")


@pytest.mark.parametrize(
    ("key", "hint"),
    [("fanout", "'fan_out'"), ("nuclei.sigm", "'sigma'"), ("pool.workers", "engine, mode"), ("qwxz", "plates, slides")],
)
def test_an_unknown_key_is_named_with_its_path_and_the_known_ones(key, hint):
    with pytest.raises(InputError, match=f"^c.yaml: unknown key '{re.escape(key)}'") as caught:
        config.check_config(nested(key, 1), source="c.yaml")
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["nuclei: {diameter: 24,5}", "nuclei: {contrast: 3,5e2}"])
def test_a_decimal_comma_within_braces_is_named(tmp_path, text):
    with pytest.raises(InputError, match=r"^c.yaml: unknown key 'nuclei.5(e2)?'; expected a dot in a number"):
        config.check_config(config.read_config(write(tmp_path, f"{text}\n")), source="c.yaml")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# nothing but a comment\n", {}),
        ("nuclei:\n  sigma: 2\nresults: ä b\n", {"nuclei": {"sigma": 2}, "results": "ä b"}),
        ("\ufeffresults: out\r\n", {"results": "out"}),
    ],
)
def test_a_configuration_file_is_read_as_it_is(tmp_path, text, values):
    assert config.read_config(write(tmp_path, text)) == values


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("results: out\nnuclei: {sigma: 4\nquality: true\n", 3, "not valid YAML"),
        ("results: out\nplates: a: b\n", 2, "not valid YAML"),
        ("results: out\nnuclei:\n\tsigma: 4\n", 3, "not valid YAML"),
        ('layouts:\n  mine: "(?P<well>\\d)"\n', 2, "not valid YAML"),
        ("results: {x}: y\n", 1, "not valid YAML"),
        ("results: !!python/name:os.system\n", 1, "not valid YAML"),
        ("results: out\n---\nresults: b\n", 2, "not valid YAML"),
        (b"results: out\nplates: Pl\xe4tte.tsv\n", None, "cannot be read: 'utf-8' codec can't decode byte 0xe4"),
        ("results: a\0b\n", None, "cannot be read"),
        ("- results\n", None, "found ['results']; expected lines of the form 'key: value'"),
        ("results\n", None, "found 'results'; expected"),
        ("7\n", None, "found 7; expected"),
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_named_with_its_line(tmp_path, text, line, said):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        config.read_config(path)
    assert str(caught.value).startswith(f"{path}, line {line}: {said}" if line else f"{path}: {said}")


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_configuration_file_that_cannot_be_opened_is_named(tmp_path, name):
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / name))}: cannot be read"):
        config.read_config(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nuclei:\n  channel: w2\nresults: r\nnuclei:\n  method: auto\n", "line 4: the key 'nuclei' stands in line 1"),
        ("nuclei: {channel: w2, channel: w1}\n", "line 1: the key 'channel' stands in line 1"),
        ("measure:\n  channels: all\n  channels: [w1]\n", "line 3: the key 'channels' stands in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, said):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}, {said} already; expected it once"):
        config.read_config(path)


def test_keys_of_the_same_name_in_several_sections_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &shared {channel: 1}\nb: {channel: 2}\nc: *shared\nd: [{channel: 3}, {channel: 4}]\n")
    assert config.read_config(path)["d"] == [{"channel": 3}, {"channel": 4}]
    for text in ("", "# nothing\n"):
        path.write_text(text)
        assert config.read_config(path) == {}


def tangle(levels, *, start="[x, x, x, x, x, x, x, x, x, x]"):
    """Return a section of YAML in which each key holds the one before it ten times."""
    parts = [f"a0: &a0 {start}", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels))]
    return f"{{{', '.join(parts)}}}"


LONG = "9" * 5000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"nuclei: {{threshold: {'9' * 400}}}", ": 'nuclei.threshold' is a number of 400 digits; expected at most 300"),
        (f"nuclei: {{threshold: {LONG}}}", ": 'nuclei.threshold' is a number of 5,000 digits"),
        (f"nuclei: {{threshold: '{LONG}'}}", ": 'nuclei.threshold' is a number of 5,000 digits"),
        (f"nuclei: {{threshold: 0x{LONG}}}", ": 'nuclei.threshold' is a number of more than 300 digits"),
        (f"stack: {{arguments: {{sigma: '{LONG}'}}}}", ": 'stack.arguments.sigma' is a number of 5,000 digits"),
        (f"fan_out: {'x' * 5000}", ": 'fan_out' is 'xxx"),
        ("nuclei: {threshold: 1e999}", ": 'nuclei.threshold' is inf"),
        ("stack: {arguments: &x {a: *x}}", ": 'stack.arguments.a' holds itself"),
        ("controls: {negative: &x [*x]}", ": 'controls.negative.0' holds itself"),
        (f"stack: {{arguments: {tangle(9)}}}", ": 'stack.arguments.a4' holds 1.11e+05 values"),
        (f"channels: {tangle(9)}", ": 'channels.a4' holds 1.11e+05 values"),
        ("a: " + tangle(9, start="{x: 1, y: 2}").replace("[*", "{<<: [*").replace("]", "]}"), ": 'a.a"),
        ("results: " + "[" * 3000 + "]" * 3000, ", line 1: 'results' has more than 50 brackets"),
        ("results: r\nnuclei: " + "{a: " * 60, ", line 2: 'nuclei' has more than 50 brackets"),
        ("results: r #" + "x" * 10**6, ": has more than 1,000,000 bytes"),
        ("nuclei: {threshold: !!int ''}", ", line 1: not valid YAML: found '', which is no value of the type int"),
        ("results: !!timestamp x", ", line 1: not valid YAML: found 'x', which is no"),
        ("stack: {arguments: {a: 2020-01-01}}", ": 'stack.arguments.a' is a date"),
        ("stack: {arguments: {a: !!set {b}}}", ": 'stack.arguments.a' is a set"),
        ('results: "a\\0b"', ": 'results' has '\\x00' in it"),
        ('results: "a\\nb"', ": 'results' is 'a\\nb'; expected"),
        ('layouts: {a: "' + "(" * 3000 + '"}', ""),
    ],
    ids=lambda text: text[:40],
)
def test_values_that_would_end_their_reader_are_refused_in_a_line(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        config_layouts(config.check_config(config.read_config(path), source=str(path))["layouts"])
    message = str(caught.value)
    assert message.startswith(f"{path}{said}" if said else "layouts.a: ")
    assert "\n" not in message and len(message) < 2200


def test_what_the_command_line_holds_is_checked_before_it_is_merged():
    circle, deep = {}, "x"
    circle["a"] = circle
    for _ in range(3000):
        deep = [deep]
    for values, said in (
        (circle, "'a' holds itself"),
        ({"a": deep}, "is below"),
        ({"a": "\udcff"}, "'a' has '.udcff'"),
    ):
        with pytest.raises(InputError, match=f"^--config: .*{said}"):
            config.check_values(values, source="--config")


def test_a_pipe_in_place_of_the_configuration_is_no_wait(tmp_path):
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(InputError, match="cannot be read: .* a pipe, socket or device; expected a file"):
        config.read_config(tmp_path / "c.yaml")
