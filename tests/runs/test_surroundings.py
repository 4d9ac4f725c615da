"""What a run finds around it, and must not be led astray by: other libraries, random numbers, tables' texts."""

import os
import shutil

from workspace import REPOSITORY, SCRIPTS, wait_for


def test_another_clone_on_pythonpath_has_no_part_in_the_tables(workspace, monkeypatch):
    workspace.plant(wells=["B02"], sites=2)
    arguments = ("tables", "--config", "nuclei={method: peaks}")
    workspace.run(*arguments)
    before = workspace.tables()
    shutil.rmtree(workspace.path / "results")
    other = workspace.path / "other/scripts"
    shutil.copytree(SCRIPTS, other, ignore=shutil.ignore_patterns("__pycache__"))
    module = other / "fieldwork/nuclei.py"
    module.write_text("raise ImportError('of another clone')\n" + module.read_text())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(other), os.environ.get("PYTHONPATH", "")]))
    workspace.run(*arguments)
    assert before and workspace.tables() == before


def test_two_clones_in_one_workflow_are_refused(workspace):
    workspace.plant(wells=["B02"], sites=1)
    other = workspace.path / "other"
    for name in ("scripts", "rules", "config", "envs"):
        shutil.copytree(REPOSITORY / name, other / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "Snakefile", other)
    (workspace.path / "Snakefile").write_text(
        "".join(
            f"module {name}:\n    snakefile: '{folder}/Snakefile'\n    config: dict(results='{name}')\n\n"
            f"use rule * from {name} as {name}_*\n\n"
            for name, folder in (("first", REPOSITORY), ("second", other))
        )
    )
    output = workspace.run("--snakefile", str(workspace.path / "Snakefile"), "--dry-run", status=1)
    [line] = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert line.endswith("a workflow can use one clone only") and str(SCRIPTS) in line and str(other) in line


def test_more_cores_than_there_are_change_no_table_and_one_line_each_says_what_bounds_the_workers(
    workspace, monkeypatch
):
    workspace.plant(wells=["B02", "B03"], sites=2)
    workspace.run("tables", "--config", "results=plain", cores=1)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    output = workspace.run("tables", "--resources", "mem_mb=1100", "--set-threads", "calibrate_plate=64", cores=64)
    warnings = [line for line in output.splitlines() if "WARNING" in line]
    assert len([line for line in warnings if "of --cores 64 the run uses" in line]) == 1
    assert "WARNING there is memory for 1 of the 2 workers of a job: the run was given 1,100 MB of memory" in warnings
    assert workspace.tables() == workspace.tables("plain") != {}


def test_what_one_profile_made_is_not_made_again_with_another_nor_by_a_fresh_clone(workspace, tmp_path_factory):
    workspace.plant(wells=["B02"], sites=1)
    workspace.run("tables")
    clone = tmp_path_factory.mktemp("clone")
    for name in ("Snakefile", "config", "envs", "profiles", "rules", "scripts"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, clone / name)
    for path in (clone / "scripts").rglob("*.py"):
        path.touch()  # as a clone does
    for profile in ("none", str(clone / "profiles/slurm")):
        arguments = ("--snakefile", str(clone / "Snakefile"), "--workflow-profile", profile)
        assert workspace.planned(*arguments, "--", "tables") == {}
    image = next((workspace.path / "images").rglob("*.tif"))
    image.touch()
    assert "detect_nuclei" in workspace.planned("--workflow-profile", str(clone / "profiles/slurm"), "--", "tables")


def test_a_lock_and_outputs_of_a_killed_run_stop_no_run_with_any_profile(workspace):
    workspace.plant(wells=["B02"], sites=1)
    profile = ("--workflow-profile", str(REPOSITORY / "profiles/slurm"), "--executor", "local")
    run = workspace.start(*profile, "--", "tables")
    wait_for(lambda: list((workspace.path / ".snakemake/incomplete").glob("*")), run)
    run.kill()
    run.communicate()
    workspace.run(*profile, "--", "tables")
    assert workspace.tables()


def test_no_profile_is_read_that_the_user_does_not_name():
    # An older Snakemake would fail on an option that it does not know, before it reads which version is needed.
    assert not (REPOSITORY / "profiles/default").exists()
