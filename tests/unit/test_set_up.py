"""The set-up says its size before it begins, shows how far it is, and fails as pip does."""

import importlib.metadata
import re
import subprocess
import sys

from workspace import REPOSITORY

SCRIPT = REPOSITORY / "envs/show_progress.py"
# What pip prints of 62 packages, of which one is for another system.
PIP = """
import sys
print("Looking in indexes: somewhere")
print("Ignoring cupy: markers 'sys_platform == x' don't match your environment")
for number in range(60):
    if number == 24:
        print("Processing /a (b) c/package_24-1.0-py3-none-any.whl (from -r envs/requirements.lock (line 24))")
    else:
        print(f"Collecting package-{number}==1.0 (from -r envs/requirements.lock (line {number}))")
print("Processing /somewhere/wheels/last-1.0-py3-none-any.whl (from -r envs/requirements.lock (line 61))")
print("Installing collected packages: package-0")
sys.exit("no space left" if len(sys.argv) > 1 else 0)
"""


def run(tmp_path, *arguments):
    lock = tmp_path / "lock"
    lock.write_text(
        "".join(f"package-{number}==1.0 \\\n    --hash=sha256:0\n" for number in range(60)) + "last==1\ncupy==1\n"
    )
    command = [sys.executable, SCRIPT, lock, sys.executable, "-c", PIP, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_size_comes_first_and_then_the_number_of_packages(tmp_path):
    ended = run(tmp_path)
    first, *lines = ended.stdout.splitlines()
    assert ended.returncode == 0 and ended.stderr == ""
    assert re.fullmatch(r"Setting up: 61 packages, about \d+ MB to download, \d\.\d GB on disk; .*", first)
    assert lines[:3] == [
        "  25 of 61: package_24-1.0-py3-none-any.whl",
        "  50 of 61: package-49",
        "  61 packages are here; unpacking them takes about a minute",
    ]
    assert re.fullmatch("  61 packages installed in [0-9]+ s", lines[3]) and len(lines) == 4


def test_where_pip_fails_its_last_words_are_shown(tmp_path):
    ended = run(tmp_path, "fail")
    assert ended.returncode == 1 and "no space left" in ended.stdout and " installed in " not in ended.stdout


def test_the_size_that_is_said_is_that_of_the_lock():
    lock = dict(
        re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (REPOSITORY / "envs/requirements.lock").read_text(), re.MULTILINE)
    )
    total, known = 0, 0
    for distribution in importlib.metadata.distributions():
        if lock.get(re.sub("[._]", "-", distribution.name).lower()) == distribution.version:
            known += 1
            paths = [distribution.locate_file(name) for name in distribution.files or []]
            total += sum(path.stat().st_size for path in paths if path.exists())
    said = int(re.search(r"DISK_MB = \d+, (\d+)", SCRIPT.read_text())[1])
    for page in ("README.md", "docs/getting_started.md"):
        assert f"{said / 1000:.1f} GB of disk" in (REPOSITORY / page).read_text()
    assert known > 150 and 0.8 * said < total / 1e6 < 1.2 * said
