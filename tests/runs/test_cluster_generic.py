"""Schedulers other than Slurm: Snakemake's executor for any command that submits jobs."""

STUB = """#!/bin/sh
# Submits a job: notes what it asks for, and runs it at once.
echo "$1 $2 $3 $4" >> "$(dirname "$0")/submitted"
sh "$5" > /dev/null 2>&1
echo $$
"""
STATUS = "#!/bin/sh\necho success\n"


def test_jobs_sent_by_any_command_make_the_tables_of_a_local_run(workspace):
    workspace.plant(wells=["B02", "B03"], sites=2)
    local = workspace.run("--config", "results=local") and workspace.tables("local")
    for name, text in (("submit", STUB), ("status", STATUS)):
        (workspace.path / name).write_text(text)
        (workspace.path / name).chmod(0o755)
    workspace.run(
        *("--executor", "cluster-generic", "--jobs", "4", "--set-threads", "detect_nuclei=3"),
        *("--cluster-generic-status-cmd", f"{workspace.path}/status"),
        *("--seconds-between-status-checks", "1"),
        "--cluster-generic-submit-cmd",
        f"{workspace.path}/submit {{rule}} {{threads}} {{resources.mem_mb}} {{resources.runtime}}",
        cores=8,  # of which jobs have at most as many
    )
    tables = workspace.tables()
    assert local and tables == local
    submitted = {line.split()[0]: line.split()[1:] for line in (workspace.path / "submitted").read_text().splitlines()}
    assert {"calibrate_plate", "detect_nuclei", "plot_plate"} <= submitted.keys() and "merge_units" not in submitted
    assert submitted["detect_nuclei"][0] == "3"
    for asked in submitted.values():
        assert all(int(number) > 0 for number in asked), submitted


def test_memory_by_threads_is_refused_before_any_job(workspace):
    workspace.plant(wells=["B02"], sites=1)
    output = workspace.run("--dry-run", "--default-resources", "mem_mb_per_cpu=2000", status=1)
    [line] = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: --default-resources mem_mb_per_cpu: Slurm would be asked for this")
