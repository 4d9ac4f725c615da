"""Limits that are too low for a run are one line that names them."""

import resource
import subprocess
import sys

import pytest

from fieldwork.surroundings import limits
from workspace import SCRIPTS

CHECK = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from fieldwork.surroundings import limits
start, left = threading.Thread.start, iter(range(5 if sys.argv[2] == "threads" else 99))
def start_some(thread):
    if next(left, None) is None:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = start_some
try:
    limits.check(workers=2)
except ValueError as error:
    print(error, threading.active_count())
"""


@pytest.mark.parametrize(
    ("what", "files", "expected"),
    [
        ("files", 31, "ulimit -n is 31, so that no more files are open at once; expected 32 or more 1"),
        ("files", 32, ""),
        (
            "threads",
            64,
            "only 5 further processes may be started (ulimit -u, or a limit of the container); expected "
            "room for 14: raise the limit, end other programs, or use fewer --cores 1",
        ),
    ],
)
def test_limits_that_are_too_low_are_named(what, files, expected):
    done = subprocess.run(
        [sys.executable, "-c", CHECK, SCRIPTS, what],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, expected)


def test_usual_limits_are_enough():
    limits.check(workers=4)
