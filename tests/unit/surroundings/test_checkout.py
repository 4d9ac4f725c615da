"""The commit of a checkout, against what git itself says of repositories made for the purpose."""

import subprocess

import pytest

from fieldwork.surroundings.checkout import commit_of


def git(folder, *arguments):
    """Run git as a user with a name, and return what it writes."""
    named = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    for name in ("scripts/job.py", "config/plates.tsv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_the_commit_is_that_of_git_whatever_a_hook_sets(clone, tmp_path, monkeypatch):
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "clone", "other")
    git(other, "commit", "--quiet", "--allow-empty", "--message", "second")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert commit_of(clone) != git(other, "rev-parse", "HEAD")
    monkeypatch.delenv("GIT_DIR")
    assert commit_of(clone) == git(clone, "rev-parse", "HEAD") != commit_of(other)


def test_changed_code_shows_and_changed_sheets_do_not(clone):
    commit = git(clone, "rev-parse", "HEAD")
    (clone / "config/plates.tsv").write_text("2\n")
    (clone / "scripts/new.txt").write_text("not in the commit\n")
    assert commit_of(clone) == commit
    (clone / "scripts/job.py").write_text("2\n")
    assert commit_of(clone) == f"{commit}-dirty"


def test_what_is_no_checkout_has_no_commit(clone, tmp_path, monkeypatch):
    (tmp_path / "copy").mkdir()
    assert commit_of(tmp_path / "copy") is None  # no repository
    assert commit_of(clone / "scripts") is None  # a folder of another one
    git(tmp_path / "copy", "init", "--quiet")
    assert commit_of(tmp_path / "copy") is None  # no commit yet
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(clone) is None  # no git
