"""Temporary folders are gone with their process, however it ends."""

import os
import subprocess
import sys
import tempfile

from fieldwork.surroundings import temporary
from workspace import SCRIPTS

KEEPER = """
from fieldwork.surroundings.temporary import temporary_folder
with temporary_folder() as folder:
    open(f"{folder}/answer", "w").close()
    print(folder, flush=True)
    input()
"""


def test_the_folder_of_a_killed_process_is_deleted_by_the_next_one_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "fieldwork-tmp-file").write_text("of somebody")
    (tmp_path / "fieldwork-mine").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", KEEPER], **pipes) as killed:
        left = killed.stdout.readline().strip()
        with subprocess.Popen([sys.executable, "-c", KEEPER], **pipes) as other:
            kept = other.stdout.readline().strip()
            killed.kill()
            killed.wait()
            assert os.listdir(left) == os.listdir(kept) == ["answer"]
            with temporary.temporary_folder() as folder:
                assert os.path.isdir(folder) and os.listdir(kept) == ["answer"] and not os.path.exists(left)
            other.communicate("\n")
    assert sorted(os.listdir(tmp_path)) == ["fieldwork-mine", "fieldwork-tmp-file"]


def test_no_folder_for_temporary_files_is_no_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "away"))
    temporary.delete_leftovers()
