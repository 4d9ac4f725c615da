"""What Snakemake is brought to do: one line for an error, an end in good order."""

import inspect
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from fieldwork import InputError
from fieldwork.planning import snakemake_workarounds
from fieldwork.planning.roads import Road
from workspace import SCRIPTS

INTERRUPTED = """
import os, signal, sys, threading, time
from fieldwork.planning import snakemake_workarounds
lock = threading.Lock()
def handler(*received):
    with lock:
        print("ended in good order", flush=True)
        os._exit(0)
signal.signal(signal.SIGTERM, handler)
snakemake_workarounds.take_sigterm_in_a_thread(stop=lambda: None)
with lock:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
time.sleep(60)
"""


def test_sigterm_while_the_main_thread_holds_the_handlers_lock_does_not_wait_for_ever():
    command = [sys.executable, "-c", INTERRUPTED]
    process = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True, timeout=30
    )
    assert process.stdout == "ended in good order\n"


def test_timers_that_would_keep_snakemake_waiting_are_ended():
    rung = threading.Event()
    timer = threading.Timer(60, rung.set)
    timer.start()
    snakemake_workarounds.end_timers()
    timer.join(timeout=30)
    assert not timer.is_alive() and not rung.is_set()


class Answers(Road):
    """A road whose methods raise."""

    def __init__(self):
        pass

    def memory(self, wildcards, threads, attempt):
        raise InputError("no such plate")

    @property
    def store(self):
        raise InputError("no such plate")


def test_rules_see_methods_with_their_parameters_and_one_line_for_an_error(tmp_path):
    road = Answers()
    plan = snakemake_workarounds.ForRules(SimpleNamespace(plates=road, has_gpu=True))
    assert plan.has_gpu is True and plan.plates.part is road and plan.plates is plan.plates
    assert plan.plates.memory is plan.plates.memory and inspect.isfunction(plan.plates.memory)
    assert list(inspect.signature(plan.plates.memory).parameters) == ["wildcards", "threads", "attempt"]
    for ask in (lambda: plan.plates.memory(None, 1, attempt=1), lambda: plan.plates.store):
        with pytest.raises(SystemExit, match="^Error: no such plate$"):
            ask()
    with pytest.raises(AttributeError):
        _ = plan.plates.absent


def test_processes_that_inherit_the_environment_import_this_library_before_any_other(tmp_path, monkeypatch):
    (tmp_path / "fieldwork").mkdir()
    (tmp_path / "fieldwork/__init__.py").write_text("raise ImportError('another package')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    snakemake_workarounds.hand_library_to_jobs(SCRIPTS)
    snakemake_workarounds.hand_library_to_jobs(SCRIPTS)  # as in a job that is a run of Snakemake itself
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(SCRIPTS), str(tmp_path)]
    command = [sys.executable, "-c", "import fieldwork; print(fieldwork.__file__)"]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == str(SCRIPTS / "fieldwork" / "__init__.py")
