"""One run in a folder, jobs that die with it, the last lines of a run."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fieldwork import InputError, outputs
from fieldwork.planning import runs
from fieldwork.planning.plate_reports import PlateReport
from workspace import REPOSITORY, SCRIPTS

HOLDER = """
import subprocess, sys, time
from fieldwork.planning import runs
runs.own_jobs()
held = runs.hold_folder(sys.argv[1])
job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
print(job.pid, flush=True)
time.sleep(60)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
NODE = os.uname().nodename
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PR_SET_PDEATHSIG and /proc")


@pytest.fixture(autouse=True)
def unheld(monkeypatch):
    """Undo the variable that `own_jobs` sets."""
    monkeypatch.setenv("FIELDWORK_RUN", "")


def test_a_folder_is_held_against_others_until_its_holder_is_killed(tmp_path):
    lock = tmp_path / "new" / "run.lock"  # its folder is made
    command = [sys.executable, "-c", HOLDER, lock]
    holder = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    job = None
    try:
        job = int(holder.stdout.readline())
        for _ in range(2):  # a refused run does not loosen the lock, nor overwrite whose it is
            with pytest.raises(InputError) as caught:
                runs.hold_folder(lock)
            assert f"another run (process {holder.pid}) is at work in {lock.parent};" in str(caught.value)
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=30)
        with runs.hold_folder(lock):  # although a job of the killed run is still there
            os.kill(job, 0)
            assert lock.read_text().split() == [str(os.getpid())]
    finally:
        holder.kill()
        holder.communicate()
        if job:
            os.kill(job, signal.SIGKILL)


RUN = """
import os, subprocess, sys
variable, lock, job = sys.argv[1:]
os.environ["FIELDWORK_RUN"] = variable.format(os.getpid())
if lock:
    from fieldwork.planning import runs
    held = runs.hold_folder(lock)
    runs.own_jobs()
subprocess.run([sys.executable, "-c", job])
"""
JOB = "from fieldwork import processes; processes.prepare(); print('at work', flush=True); print(f'told to {input()}')"


def job_of_a_killed_run(variable, lock):
    """Kill a run whose job waits for a line, send that line, and return the job's answer."""
    command = [sys.executable, "-c", RUN, variable, lock, JOB]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as run:
        try:
            assert run.stdout.readline() == "at work\n"
        finally:
            run.kill()
            run.wait(timeout=30)
        try:
            run.stdin.write("go on\n")
            run.stdin.close()
        except BrokenPipeError:  # no job holds the other end
            run.stdin = None
        return run.stdout.read()  # up to the job's end, which closes the pipe


@LINUX
def test_a_job_dies_with_the_run_that_was_killed(tmp_path):
    assert job_of_a_killed_run("", tmp_path / "run.lock") == ""


@LINUX
@pytest.mark.parametrize("variable", ["{}@" + NODE + ".elsewhere", "", "{here}@" + NODE])
def test_a_job_of_another_nodes_run_of_none_or_of_no_child_of_it_lives_on(variable):
    assert job_of_a_killed_run(variable.replace("{here}", str(os.getpid())), "") == "told to go on\n"


def start_job(variable):
    command = [sys.executable, "-c", "from fieldwork import processes; processes.prepare(); print('on')"]
    environment = {**ENVIRONMENT, "FIELDWORK_RUN": variable}
    if variable is None:
        del environment["FIELDWORK_RUN"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@LINUX
def test_a_job_whose_run_is_gone_does_not_start():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    assert start_job(f"{gone.pid}@{NODE}") == (1, "", "the run that started this job is gone\n")
    for variable in (None, "", f"{gone.pid}@{NODE}.elsewhere", f"{gone.pid}@", str(gone.pid), f"{os.getpid()}@{NODE}"):
        assert start_job(variable) == (0, "on\n", ""), variable


def test_what_killed_jobs_were_writing_is_deleted_and_nothing_else(tmp_path):
    results = tmp_path / "out"
    runs.clear_leftovers(results)  # no results yet
    (results / "plates/P 1/units").mkdir(parents=True)
    with outputs.atomic_file(results / "plates/P 1/nuclei.parquet") as part:
        part.write_text("whole")
    parts = [results / "plates/P 1" / part.name, results / "plates/P 1/units/.all.parquet.999999.part"]
    others = [
        "out/.x.1.part",
        "out/slides/.x.1.part",
        "plates/.x.1.part",
        "out/plates/P 1/x.part",
        "out/plates/.hidden",
    ]
    others += ["out/plates/P 1/.part.csv", "out/plates/P 1/units/all.parquet"]
    for path in [*parts, *(tmp_path / other for other in others)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    runs.clear_leftovers(results)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*others, "out/plates/P 1/nuclei.parquet"}


def test_a_folder_given_back_can_be_held_again(tmp_path):
    for _ in range(2):
        with runs.hold_folder(tmp_path / "run.lock"), pytest.raises(InputError):
            runs.hold_folder(tmp_path / "run.lock")


def test_jobs_keep_to_the_plan_of_their_run(monkeypatch):
    monkeypatch.setenv("FIELDWORK_PLAN_", "")
    runs.keep_to_plan([{"sigma": 4.0}], plans=True)
    runs.keep_to_plan([{"sigma": 4.0}], plans=False)
    with pytest.raises(InputError, match="changed while the run was at work"):
        runs.keep_to_plan([{"sigma": 5.0}], plans=False)
    runs.keep_to_plan([{"sigma": 5.0}], plans=False, module="other")  # without a plan: not a job of such a run


def test_the_summary_adds_up_the_plates_that_are_done(tmp_path):
    header = "Metadata_Plate,Metadata_Well,Fields_Total,Fields_Failed,Count_Nuclei,Mean_Count_Nuclei\n"
    for plate, body in {
        "a": "a,B02,4,1,1200,400.0\na,B03,4,4,,\n",
        "b": "b,B02,1000,0,34,0.034\n",
        "c, empty": "",
        "not in the sheet": "x,B02,9,9,9,9\n",
    }.items():
        (tmp_path / "out" / "plates" / plate).mkdir(parents=True)
        (tmp_path / "out" / "plates" / plate / "wells.csv").write_text(header + body)
    said = runs.summary(iter(["a", "b", "c, empty", "to come"]), [], [], tmp_path / "out", "logs")
    assert "Plates: 3 of 4 done. Fields: 1,008, of which 5 failed. Nuclei: 1,234." in said
    assert str(tmp_path / "out" / "plates") in said and len(said.splitlines()) <= 4


def test_the_summary_counts_slides_as_their_records_do_and_a_sheet_of_failures_is_one(tmp_path):
    def record(slide, status):
        (tmp_path / "slides" / slide / f"{slide}.ome.zarr").mkdir(parents=True, exist_ok=True)  # it says nothing
        (tmp_path / "slides" / slide / "slide.json").write_text(f'{{"status": "{status}"}}')

    assert runs.no_slide([], tmp_path) == runs.no_slide(["a"], tmp_path) == ""
    record("a", "failed")
    record("b", "failed")
    assert "Slides: 0 of 3 converted, 2 failed, 1 not yet done." in runs.summary([], ["a", "b", "c"], [], tmp_path, "")
    assert runs.no_slide(["a", "b", "c"], tmp_path) == ""
    assert "all 2 failed; the reasons are in the column Slide_Error of" in runs.no_slide(["a", "b"], tmp_path)
    record("c", "ok")
    assert "Slides: 1 of 3 converted, 2 failed.\n" in runs.summary([], ["a", "b", "c"], [], tmp_path, "")
    assert runs.no_slide(["a", "b", "c"], tmp_path) == ""


def test_damaged_records_and_tables_are_named_and_not_counted(tmp_path, capsys):
    header = "Metadata_Well,Fields_Total,Fields_Failed,Count_Nuclei\n"
    for plate, body in {"good": "B02,4,0,30\n", "cut": "B02,4,0,3", "zeros": "\0\0\n"}.items():
        (tmp_path / "plates" / plate).mkdir(parents=True)
        (tmp_path / "plates" / plate / "wells.csv").write_text(header + body)
    (tmp_path / "slides/S").mkdir(parents=True)
    (tmp_path / "slides/S/slide.json").write_text('{"status"')
    lines = runs.summary(["good", "cut", "zeros"], ["S"], [], tmp_path, "logs").splitlines()
    assert lines[0] == "Plates: 1 of 3 done. Fields: 4, of which 0 failed. Nuclei: 30."
    assert "Slides: 0 of 1 converted, 1 with a damaged slide.json (delete it, and run the same command again)." in lines
    named = capsys.readouterr().err
    assert all(
        f"WARNING {tmp_path}/plates/{plate}/wells.csv is damaged; delete it" in named for plate in ("cut", "zeros")
    )


def test_the_last_lines_count_excluded_wells_hits_and_ec50s(tmp_path):
    plate, screen = tmp_path / "plates" / "a", tmp_path / "screen"
    plate.mkdir(parents=True)
    screen.mkdir()
    header = "Metadata_Well,Fields_Total,Fields_Failed,Count_Nuclei,Excluded\n"
    (plate / "wells.csv").write_text(header + "A01,1,0,5,True\nA02,1,0,5,False\n")
    said = runs.summary(["a"], [], [], tmp_path, "logs")
    assert "Wells left out of comparisons (Excluded): 1 of 2." in said.splitlines() and "Screen" not in said
    (screen / "hits.csv").write_text("Treatment,Hit\nx,True\ny,False\nz,\n")
    (screen / "doses.csv").write_text("Treatment,EC50\nx,0.5\ny,\n")
    said = runs.summary(["a"], [], [], tmp_path, "logs")
    assert f"Screen: 1 hits in 3 treatments, doses and readouts, 1 EC50s. Tables: {screen}/hits.csv, " in said


def summary_of_plates(folder, **plates):
    """Return the last lines of a run of plates: name -> fields, failed ones, nuclei, and the number by flag."""
    header = "Metadata_Well,Fields_Total,Fields_Failed,Count_Nuclei\n"
    for name, (fields, failed, nuclei, flagged) in plates.items():
        (folder / "plates" / name).mkdir(parents=True, exist_ok=True)
        (folder / "plates" / name / "wells.csv").write_text(f"{header}A01,{fields},{failed},{nuclei}\n")
        (folder / "plates" / name / "summary.json").write_text(json.dumps({"flagged": flagged}))
    reports = [PlateReport(folder, name, None) for name in plates]
    return runs.summary(plates, [], [], folder, "logs", reports=reports).splitlines()


def test_the_last_lines_name_the_plate_to_look_at_first(tmp_path):
    good = (100, 0, 1000, {"debris": 0})
    lines = summary_of_plates(tmp_path, a=good, b=(100, 1, 990, {"debris": 2, "out_of_focus": 3}), c=(100, 4, 900, {}))
    assert "Look first at plate b: 1 failed, 3 out of focus, 2 with debris of 100 fields." in lines
    lines = summary_of_plates(tmp_path, a=good, b=good, c=(100, 0, 450, {}), d=(100, 0, 0, {}))
    assert "Look first at plate d: 0 nuclei a field, and 7.25 in the plate in the middle." in lines
    for plates in ({"a": good, "b": good}, {"a": (100, 9, 900, {})}, {name: good for name in "abcd"}):
        assert not any(line.startswith("Look") for line in summary_of_plates(tmp_path, **plates))


def test_the_last_lines_name_the_page_and_a_viewer_that_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.summary([], ["a"], [], "results", "logs").endswith("Logs: logs/slides/.")  # nothing to open yet
    lines = summary_of_plates(Path("results"), a=(100, 0, 1000, {}))
    assert not any("summary.html" in line for line in lines)
    Path("results/summary.html").touch()
    *_, page, viewer = summary_of_plates(Path("results"), a=(100, 0, 1000, {}))
    assert page.startswith("Open next: results/summary.html, ") and "with --report results/report.html puts" in page
    *_, elsewhere = summary_of_plates(Path("a b"), a=(100, 0, 1000, {}))
    assert elsewhere.endswith(f"--directory {tmp_path} --results '{tmp_path}/a b'")
    command = shlex.split(viewer.partition("tune: ")[2])
    assert command[2:] == ["--directory", str(tmp_path)]
    with subprocess.Popen([*command, "--port", "0", "--no-browser"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith(f"{tmp_path}/results is shown at http://127.0.0.1:")
        finally:
            process.terminate()


@pytest.mark.skipif(not (REPOSITORY / ".venv").exists(), reason="needs the environment that make sets up")
def test_in_the_clone_the_viewer_is_a_target_of_make(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "executable", str(REPOSITORY / ".venv/bin/python"))
    assert runs._viewer_command(Path("results")) == "make view"
    assert runs._viewer_command(Path("other")).endswith(f"--results {REPOSITORY}/other")


def test_a_slide_whose_store_is_gone_is_forgotten_until_it_is_back(tmp_path):
    folder = tmp_path / "slides/S"
    store, facts = folder / "S.ome.zarr", folder / "slide.json"
    store.mkdir(parents=True)
    facts.write_text('{"status": "ok"}')
    runs.forget_incomplete(tmp_path, slides=["S", "T"])
    assert facts.exists()
    store.rename(folder / "elsewhere")
    runs.forget_incomplete(tmp_path, slides=["S"])
    assert not facts.exists()
    (folder / "elsewhere").rename(store)
    runs.forget_incomplete(tmp_path, slides=["S"])
    assert facts.read_text() == '{"status": "ok"}' and len(list(folder.iterdir())) == 2
    store.rmdir()
    facts.write_text('{"status": "failed"}')
    runs.forget_incomplete(tmp_path, slides=["S"])
    assert facts.exists()


def test_filtered_images_of_which_one_is_gone_are_forgotten_until_it_is_back(tmp_path):
    folder = tmp_path / "plates/P/filtered"
    images, table = [folder / "a.tif", folder / "inner/b.tif"], folder / "filtered.csv"
    images[1].parent.mkdir(parents=True)
    for image in images:
        image.touch()
    text = 'Image_Status,Image_Error,FileName_Filtered\nok,,a.tif\nfailed,"two\nlines",\nok,,inner/b.tif\n'
    table.write_text(text)
    for image in images:
        runs.forget_incomplete(tmp_path, plates=["P", "Q"], filters=True)
        assert table.read_text() == text
        image.rename(tmp_path / "elsewhere")
        runs.forget_incomplete(tmp_path, plates=["P"], filters=True)
        assert not table.exists()
        runs.forget_incomplete(tmp_path, plates=["P"], filters=False)  # they are to be neither filtered nor forgotten
        assert table.read_text() == text
        runs.forget_incomplete(tmp_path, plates=["P"], filters=True)
        (tmp_path / "elsewhere").rename(image)
    runs.forget_incomplete(tmp_path, plates=["P"], filters=True)
    assert table.read_text() == text and {path.name for path in folder.iterdir()} == {"a.tif", "inner", "filtered.csv"}
    table.write_text("Image_Status,Image_Error\nok,\n")  # nothing was to be saved
    images[0].unlink()
    runs.forget_incomplete(tmp_path, plates=["P"], filters=True)
    assert table.exists()


def test_illumination_functions_of_which_one_is_gone_are_forgotten_until_it_is_back(tmp_path):
    folder = tmp_path / "plates/P/illumination"
    folder.mkdir(parents=True)
    record, function = folder / "functions.json", folder / "DNA.npy"
    function.touch()
    text = '{"channels": {"DNA": {"file": "DNA.npy"}, "w2": {"file": null}}}'
    record.write_text(text)
    runs.forget_incomplete(tmp_path, illuminated=["P", "Q"])
    assert record.read_text() == text
    function.rename(tmp_path / "elsewhere")
    runs.forget_incomplete(tmp_path, plates=["P"])  # without illumination, nothing is looked at
    assert record.exists()
    runs.forget_incomplete(tmp_path, illuminated=["P"])
    assert not record.exists()
    (tmp_path / "elsewhere").rename(function)
    runs.forget_incomplete(tmp_path, illuminated=["P"])
    assert record.read_text() == text and len(list(folder.iterdir())) == 2
    record.write_text(text[:30])
    runs.forget_incomplete(tmp_path, illuminated=["P"])
    assert not record.exists()


def test_a_plate_whose_store_is_gone_is_forgotten(tmp_path):
    store, facts = tmp_path / "plates/P/P.ome.zarr", tmp_path / "plates/P/P.ome.zarr.json"
    store.mkdir(parents=True)
    facts.write_text("{}")
    runs.forget_incomplete(tmp_path, stored=["P", "Q"])
    assert facts.exists()
    store.rmdir()
    runs.forget_incomplete(tmp_path, stored=["P", "Q"])
    assert not facts.exists()
