"""The container: what it copies is enough for a run."""

import json
import shutil

from workspace import REPOSITORY


def test_the_container_has_all_that_a_run_reads_and_starts_it(workspace):
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    dockerfile = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    copied = {name for word, rest in dockerfile if word == "COPY" for name in rest.split()[:-1]}
    (workspace.path / "fieldwork").mkdir()
    for name in copied:
        source = REPOSITORY / name
        target = workspace.path / "fieldwork" / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    workspace.plant()
    (entry,) = [json.loads(rest) for word, rest in dockerfile if word == "ENTRYPOINT"]
    assert entry == ["snakemake", "--snakefile", "/fieldwork/Snakefile"]
    snakefile = str(workspace.path / "fieldwork/Snakefile")
    output = workspace.run("--snakefile", snakefile, "--", "tables")
    assert "Plates: 1 of 1 done. Fields: 6, of which 0 failed" in output
