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
    (tmp_path / f"{temporary.PREFIX}file").write_text("of somebody")
    os.mkfifo(tmp_path / f"{temporary.PREFIX}pipe")  # opening it would wait
    others = ["fieldwork-mine", "fieldwork-tmp-other-machine-1"]
    for name in others:
        (tmp_path / name).mkdir()
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
    assert sorted(os.listdir(tmp_path)) == sorted([*others, f"{temporary.PREFIX}file", f"{temporary.PREFIX}pipe"])


def test_a_folder_that_another_process_deletes_before_it_is_locked_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make, names = tempfile.mkdtemp, []

    def make_and_lose_the_first(**options):
        names.append(make(**options))
        if len(names) == 1:
            os.rmdir(names[0])
        return names[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose_the_first)
    with temporary.temporary_folder() as folder:
        assert os.path.isdir(folder) and folder == names[1]
    assert os.listdir(tmp_path) == []


def test_no_folder_for_temporary_files_is_no_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "away"))
    temporary.delete_leftovers()
