"""What Snakemake is brought to do: one line for an error, an end in good order."""

import inspect
import logging
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from snakemake.logging import DefaultFilter
from snakemake.settings import types
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake_interface_executor_plugins.settings import SharedFSUsage
from snakemake_interface_logger_plugins.common import LogEvent

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


class Workflow(SimpleNamespace):
    """Snakemake's workflow before it plans: settings, and the method that does."""

    def __init__(self, *, quiet=None, dag=None, scheduling=None, **storage):
        super().__init__(
            output_settings=SimpleNamespace(quiet=quiet),
            dag_settings=types.DAGSettings(**dag or {}),
            scheduling_settings=types.SchedulingSettings(**scheduling or {}),
            storage_settings=types.StorageSettings(**storage),
            _prepare_dag=lambda **named: named,
        )


def test_the_settings_of_a_run_hold_with_any_profile():
    workflow = Workflow()
    snakemake_workarounds.settle(workflow, is_main=True)
    assert workflow._prepare_dag(nolock=False, forceall=True) == {"nolock": True, "forceall": True}
    dag, scheduling = workflow.dag_settings, workflow.scheduling_settings
    assert dag.force_incomplete and dag.max_checksum_file_size == 0
    assert dag.rerun_triggers == RerunTrigger.all() - {RerunTrigger.CODE}
    limit = scheduling.max_jobs_per_timespan
    assert (scheduling.subsample, limit.max_jobs, limit.timespan) == (8, 1000, 5)


def test_what_the_user_asks_of_snakemake_and_a_modules_workflow_are_left_alone():
    limit = types.MaxJobsPerTimespan(5, "1s")
    asked = {
        "dag": {"rerun_triggers": frozenset({RerunTrigger.MTIME}), "max_checksum_file_size": 7},
        "scheduling": {"subsample": 99, "max_jobs_per_timespan": limit},
    }
    workflow = Workflow(**asked)
    snakemake_workarounds.settle(workflow, is_main=True)
    workflow._prepare_dag()
    dag, scheduling = workflow.dag_settings, workflow.scheduling_settings
    assert (dag.rerun_triggers, dag.max_checksum_file_size) == ({RerunTrigger.MTIME}, 7)
    assert (scheduling.subsample, scheduling.max_jobs_per_timespan) == (99, limit)
    workflow = Workflow()
    snakemake_workarounds.settle(workflow, is_main=False)
    assert workflow._prepare_dag() == {} and workflow.dag_settings == types.DAGSettings()


@pytest.mark.parametrize("is_main", [True, False])
def test_a_run_without_one_file_system_for_all_jobs_is_refused_in_one_line(is_main):
    with pytest.raises(SystemExit, match="^Error: --default-storage-provider s3: .* would be lost; expected [^\n]*$"):
        snakemake_workarounds.settle(Workflow(default_storage_provider="s3"), is_main=is_main)
    workflow = Workflow(shared_fs_usage=SharedFSUsage.all() - {SharedFSUsage.INPUT_OUTPUT})
    snakemake_workarounds.settle(workflow, is_main=is_main)
    workflow.storage_settings.shared_fs_usage, separate = SharedFSUsage.all(), workflow.storage_settings.shared_fs_usage
    workflow._prepare_dag()  # as Snakemake sets it where no job leaves this machine
    workflow.storage_settings.shared_fs_usage = separate
    with pytest.raises(SystemExit, match="^Error: --shared-fs-usage without input-output: [^\n]*$"):
        workflow._prepare_dag()


@pytest.mark.parametrize("quiet", [None, {Quietness.HOST}])
def test_messages_about_rules_are_hidden_unless_the_user_says_what_is(monkeypatch, quiet):
    messages = DefaultFilter(quiet, debug_dag=False, verbose=False, dryrun=False, printshellcmds=True)
    handler = logging.NullHandler()
    handler.addFilter(messages)
    monkeypatch.setattr(logging.getLogger("snakemake.logging"), "handlers", [handler])
    snakemake_workarounds.hide_noise(Workflow(quiet=quiet), noise=[Quietness.RULES, Quietness.HOST])

    def passes(**extra):
        return handler.filter(logging.makeLogRecord({"levelno": logging.INFO, **extra}))

    assert bool(passes(event=LogEvent.JOB_INFO)) is (quiet is not None)
    assert bool(passes(event=LogEvent.RESOURCES_INFO, provided_resources={})) is (quiet is not None)
    assert not passes(quietness=Quietness.HOST)
    assert passes(event=LogEvent.PROGRESS) and passes(levelno=logging.ERROR)


def test_warnings_that_the_user_has_as_errors_are_warnings():
    program = (
        "import os, warnings\n"
        "from fieldwork.planning import snakemake_workarounds\n"
        "snakemake_workarounds.keep_warnings_harmless()\n"
        "for category in (UserWarning, DeprecationWarning, ResourceWarning): warnings.warn('odd', category)\n"
        "print('PYTHONWARNINGS' in os.environ)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert "UserWarning: odd" in done.stderr and "ResourceWarning" not in done.stderr
