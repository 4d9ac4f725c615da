"""What Snakemake is brought to do: one line for an error, an end in good order."""

import inspect
import os
import subprocess
import sys
import threading

import pytest

from fieldwork import InputError
from fieldwork.planning import snakemake_workarounds
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
snakemake_workarounds.take_sigterm_in_a_thread()
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


def test_public_methods_keep_their_parameters_for_snakemake():
    @snakemake_workarounds.with_one_line_errors
    class Answers:
        def memory(self, wildcards, threads, attempt):
            raise InputError("what was found")

        @property
        def store(self):
            raise InputError("what was found")

        def _private(self):
            raise InputError("stays")

    assert list(inspect.signature(Answers().memory).parameters) == ["wildcards", "threads", "attempt"]
    with pytest.raises(SystemExit, match="^Error: what was found$"):
        Answers().memory(None, 1, 1)
    with pytest.raises(SystemExit, match="^Error: what was found$"):
        _ = Answers().store
    with pytest.raises(InputError):
        Answers()._private()
