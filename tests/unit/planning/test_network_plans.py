"""The network's model is checked before any job, and counts for what it makes alone."""

import json
import os
import re
import shutil

import onnx
import pytest

from fieldwork import InputError
from fieldwork.inputs import outlining
from fieldwork.planning import function_checks, provenance
from plans import PlateFolder, Wildcards, plan_in, write_sheets
from workspace import SCRIPTS

BUILT_IN = SCRIPTS / "fieldwork/segmentation/network.onnx"
P1, P2 = Wildcards(plate="P1"), Wildcards(plate="P2")


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path, monkeypatch):
    """Work in the plan's folder, as Snakemake does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIELDWORK_PLAN_", "")  # what `keep_to_plan` sets is undone
    monkeypatch.delenv("FIELDWORK_PLAN_")


def write_model(path, *, producer="", layers=None):
    """Write the built-in model, with another producer or only some of its layers."""
    model = onnx.load_model(BUILT_IN)
    model.producer_name = producer
    del model.graph.node[layers or len(model.graph.node) :]
    if layers:
        model.graph.output[0].name = model.graph.node[-1].output[0]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())


def refused(*arguments, **options):
    with pytest.raises(InputError) as caught:
        plan_in(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models/networks.onnx", "which does not exist.*Nearest name there: 'models/network.onnx'"),
        ("models", "a folder; expected the path of an ONNX file"),
        ("https://example.org/network.onnx", "a URL; expected the path"),
        ("models/text.onnx", "no ONNX model: .*; expected the path"),
        ("models/empty.onnx", "; expected the path"),
        ("models/cut.onnx", "; expected the path"),
        ("models/large.onnx", "which has 6,442,450,944 bytes; expected .* less than 16,777,216"),
        ("models/pipe", "a pipe, socket or device"),
        ("models/few_layers.onnx", "its layers are not those of the built-in model.*; expected the path"),
    ],
)
def test_a_file_that_is_no_model_of_the_network_is_refused_before_any_job(tmp_path, model, message):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    write_model(tmp_path / "models/network.onnx")
    write_model(tmp_path / "models/few_layers.onnx", layers=3)
    (tmp_path / "models/text.onnx").write_text("weights\n")
    (tmp_path / "models/empty.onnx").touch()
    with (tmp_path / "models/large.onnx").open("wb") as stream:
        stream.truncate(6 * 2**30)
    os.mkfifo(tmp_path / "models/pipe")
    (tmp_path / "models/cut.onnx").write_bytes(BUILT_IN.read_bytes()[:100_000])
    found = refused(tmp_path, nuclei={"model": model})
    assert found.startswith(f"--config: nuclei.model is '{model}'") and "Traceback" not in found
    assert re.search(message, found, re.DOTALL) and found.count("\n") <= 1


def test_a_model_of_the_form_is_taken_and_is_not_read_again(tmp_path, monkeypatch):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    write_model(tmp_path / "own.onnx", producer="own")
    assert plan_in(tmp_path, nuclei={"model": "own.onnx"}).plates.detection(P1) == {
        "method": "network",
        **{"diameter": None, "contrast": None, "model": "own.onnx"},
    }
    monkeypatch.setattr(function_checks, "_in_process", None)
    plan_in(tmp_path, nuclei={"model": "own.onnx"})


def test_without_its_runtime_the_network_is_refused_and_other_methods_are_not(tmp_path, monkeypatch):
    write_sheets(tmp_path, plates=[PlateFolder("P1")], slides=[("S", "B")], stacks=["T"])
    monkeypatch.setattr(function_checks, "RUNTIME", "no_such_package")
    plan_in(tmp_path, nuclei={"method": "classical"})
    plan_in(tmp_path, nuclei={"method": "peaks"}, slide={"nuclei": {"haematoxylin": 0.03, "fluorescence": 100}})
    for method in ("network", "auto", "peaks"):  # with peaks, slides are outlined by auto
        assert refused(tmp_path, nuclei={"method": method}) == (
            "--config: nuclei are to be found by the network, but the package no_such_package, which runs it, is not "
            "installed: install it as envs/requirements.lock has it, or set nuclei.method: classical"
        )


def codes_of(plan):
    """Return what of the network counts for two plates, slides and stacks."""
    return [plan.detection_code(P1), plan.detection_code(P2), plan.slide_code, plan.stack_code]


def test_another_model_and_another_runtime_count_for_what_the_network_finds_alone(tmp_path, monkeypatch):
    write_sheets(tmp_path, plates=[PlateFolder("P1"), PlateFolder("P2")], slides=[("S", "B")], stacks=["T"])
    sheet = tmp_path / "config/plates.tsv"
    head, *rows = sheet.read_text().splitlines()
    methods = ("classical", "")
    lines = [f"{row}\t{method}" for row, method in zip(rows, methods, strict=True)]
    sheet.write_text("\n".join([f"{head}\tmethod", *lines, ""]))
    write_model(tmp_path / "own.onnx")
    nuclei = {"method": "network", "model": "own.onnx"}
    first = codes_of(plan_in(tmp_path, nuclei=nuclei))
    assert first[0] == "" and len({*first[1:]}) == 1 and first[1]
    moved = tmp_path / "moved.onnx"
    shutil.copy(tmp_path / "own.onnx", moved)
    assert codes_of(plan_in(tmp_path, nuclei=nuclei | {"model": str(moved)})) == first  # the same bytes elsewhere
    status = os.stat(tmp_path / "own.onnx")
    write_model(tmp_path / "own.onnx", producer="other")
    os.utime(tmp_path / "own.onnx", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = codes_of(plan_in(tmp_path, nuclei=nuclei))
    assert second[0] == "" and {*second[1:]}.isdisjoint(first)
    assert codes_of(plan_in(tmp_path, nuclei={"method": "classical"})) == [""] * 4
    monkeypatch.setattr(provenance, "_version", lambda name: "0.0")
    third = codes_of(plan_in(tmp_path, nuclei=nuclei))
    assert third[0] == "" and {*third[1:]}.isdisjoint([*first, *second])


def test_slides_and_stacks_follow_the_methods_that_outline_and_no_others(tmp_path):
    write_sheets(tmp_path, slides=[("S", "B")], stacks=["T"])
    by_network = plan_in(tmp_path, nuclei={"method": "network"})
    assert by_network.slides.nuclei | {"method": "network", "model": None} == by_network.slides.nuclei
    assert by_network.stacks.frame_work["detection"]["method"] == "network" and by_network.stacks.takes_calibration
    assert plan_in(tmp_path, nuclei={"method": "classical"}).slides.nuclei["method"] == "classical"
    assert plan_in(tmp_path, nuclei={"method": "peaks"}).slides.nuclei["method"] == "auto"
    thresholds = {"nuclei": {"haematoxylin": 0.03, "fluorescence": 100}}
    by_thresholds = plan_in(tmp_path, nuclei={"method": "network"}, slide=thresholds)
    assert "method" not in by_thresholds.slides.nuclei and by_thresholds.slide_code == ""


def test_tables_say_which_network_and_which_runtime_made_them(tmp_path):
    write_sheets(tmp_path, plates=[PlateFolder("P1")], slides=[("S", "B")])
    write_model(tmp_path / "folder/own.onnx", producer="own")
    own = plan_in(tmp_path, nuclei={"method": "network", "model": str(tmp_path / "folder/own.onnx")})
    built_in = plan_in(tmp_path, nuclei={"method": "network"})
    classical = plan_in(tmp_path, nuclei={"method": "classical"})
    facts = [plan.made_of(P1)["settings"]["nuclei"] for plan in (own, built_in, classical)]
    assert [fact.get("model") for fact in facts] == ["own.onnx", "built-in", None]
    assert [fact["detector"] for fact in facts] == ["network", "network", "classical"]
    assert facts[0]["model_digest"] != facts[1]["model_digest"] and "model_digest" not in facts[2]
    assert str(tmp_path) not in json.dumps(facts)
    for plan, uses in ((own, True), (built_in, True), (classical, False)):
        for made_of in (plan.made_of(P1), plan.slides.made_of(Wildcards(slide="S"))):
            assert ("onnxruntime" in made_of["libraries"]) is uses
            assert made_of["settings"]["nuclei"]["detector"] == ("network" if uses else "classical")


def test_what_auto_is_decides_one_constant(tmp_path, monkeypatch):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    for detector in ("classical", "network"):
        monkeypatch.setattr(outlining, "AUTO", detector)
        plan = plan_in(tmp_path)
        assert plan.made_of(P1)["settings"]["nuclei"]["detector"] == detector
        assert bool(plan.detection_code(P1)) is (detector == "network")
        assert plan.plates.detection(P1)["method"] == "auto"
