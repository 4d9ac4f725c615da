"""Where Snakemake does not do what Fieldwork needs, and how it is brought to do it."""

import atexit
import functools
import gc
import inspect
import itertools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager
from typing import Any

from fieldwork import InputError
from fieldwork.planning.benchmarks import BenchmarkPlan
from fieldwork.planning.measurements import MeasurePlan
from fieldwork.planning.roads import Road

MOST_SUBJECTS = 5  # plates, slides and stacks that a line names


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an InputError of the block, and Ctrl-C, into the end of the process, with one line on stderr.

    A WorkflowError would come with lines of the rules, which are not at fault.

    Raises
    ------
    SystemExit
    """
    try:
        yield
    except InputError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Error: ended by Ctrl-C before any job")


class ForRules:
    """The plan, or a part of it, as rules see it.

    Methods become plain functions with a signature at hand. Snakemake reads the signatures of its input functions again
    and again; those of bound methods take three times as long. An InputError ends the process with one line.

    Parameters
    ----------
    part : object
        Of the plan.
    """

    def __init__(self, part: object) -> None:
        self.part = part

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the part; a method as a function, a road as rules see it."""
        with one_line_errors():
            value = getattr(self.part, name)
        if inspect.ismethod(value):
            value = vars(self)[name] = _plain_function(value)
        elif isinstance(value, Road | BenchmarkPlan | MeasurePlan):
            value = vars(self)[name] = ForRules(value)
        return value


def _plain_function(method):
    @functools.wraps(method)
    def answer(*arguments, **named):
        try:  # not `one_line_errors`, which takes three times as long: a large plan asks 100,000 times
            return method(*arguments, **named)
        except InputError as error:
            sys.exit(f"Error: {error}")

    answer.__signature__ = inspect.signature(method)
    return answer


def hand_library_to_jobs(folder: str | os.PathLike) -> None:
    """Put the folder of the library first on the PYTHONPATH of jobs, which inherit it.

    Snakemake puts a script's folder last on `sys.path`, where another package or another clone's library of the same
    name would come before it.

    Parameters
    ----------
    folder : path-like
        Of the scripts, in which the library is.
    """
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.environ.get("PYTHONPATH") else []
    folders = dict.fromkeys([os.path.abspath(folder), *others])
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)


def collect_garbage_seldom() -> None:
    """Look for garbage seldom: a plan is millions of objects that stay, and the search takes a tenth of planning."""
    gc.set_threshold(200_000, 10, 10)


def keep_warnings_harmless() -> None:
    """Take no warning for an error, as PYTHONWARNINGS=error asks for, here and in jobs.

    Snakemake itself would end with a traceback of how it tidies up, and harmless warnings of libraries would be failed
    images.
    """
    if "error" in os.environ.pop("PYTHONWARNINGS", ""):
        warnings.simplefilter("default")
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)  # as Python does by itself


def show_any_path() -> None:
    """Show paths whose bytes are no text: on the terminal as they are, in Snakemake's log by their numbers."""
    sys.stdout.reconfigure(errors="surrogateescape")
    for handler in logging.getLogger("snakemake.logging").handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream:
            handler.stream.reconfigure(errors="backslashreplace")


def hide_noise(workflow: Any, *, noise: Iterable) -> None:
    """Hide some messages of Snakemake where its command or profile has no ``--quiet``.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    noise : iterable of snakemake.settings.enums.Quietness
    """
    if workflow.output_settings.quiet is None:
        for handler in logging.getLogger("snakemake.logging").handlers:
            for messages in [part for part in handler.filters if hasattr(part, "quiet")]:
                messages.quiet = frozenset(noise)
                # Snakemake shows them as Python's objects, Resource("mem_mb", 2881). What bounds a job says so itself.
                handler.addFilter(lambda record: not hasattr(record, "provided_resources"))


def settle(workflow: Any, *, is_main: bool) -> None:
    """Bring Snakemake to plan as Fieldwork needs it, whatever the profile, and refuse what cannot work.

    Profiles are the wrong place: another one replaces them, and older versions fail on options that they do not know.
    What the user asks for differently is left alone.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        Snakemake knows its settings when the Snakefile is read, before it plans.
    is_main : bool
        False where another workflow uses this one as a module: its settings are its own.
    """
    prepare = workflow._prepare_dag
    if workflow.storage_settings.default_storage_provider is not None:  # already known, and sheets may not be found
        with one_line_errors():
            refuse_separate_disks(workflow.storage_settings)

    @functools.wraps(prepare)
    def prepared(**named):
        with one_line_errors():
            refuse_separate_disks(workflow.storage_settings)
        if is_main:
            named |= _settled(workflow)
        return prepare(**named)

    workflow._prepare_dag = prepared


def _settled(workflow):
    """Change the settings of a workflow, and return what `_prepare_dag` is to be called with."""
    dag, scheduling = workflow.dag_settings, workflow.scheduling_settings
    defaults = type(dag)()
    # `code` compares modification times of scripts, which a fresh clone changes. Instead, every rule's params have a
    # digest of its script and of the library modules behind it.
    if dag.rerun_triggers == defaults.rerun_triggers:
        dag.rerun_triggers = frozenset(trigger for trigger in dag.rerun_triggers if trigger.name != "CODE")
    # Small files whose checksum is the same count as unchanged, although they are newer.
    if dag.max_checksum_file_size == defaults.max_checksum_file_size:
        dag.max_checksum_file_size = 0
    # A killed run leaves a lock behind and marks its outputs incomplete. Fieldwork holds a lock that dies with its
    # process (`runs.hold_folder`), and its outputs appear whole or not at all, so the same command resumes the run.
    dag.force_incomplete = True
    # Whenever a job ends, and once per timespan, Snakemake checks the size of every input of every job that is ready.
    # With thousands of waiting images, that takes longer than the jobs. So it checks seldom, and only a few jobs.
    if scheduling is not None:
        scheduling.subsample = scheduling.subsample or 8
        if scheduling.max_jobs_per_timespan is None:
            scheduling.max_jobs_per_timespan = type(scheduling)(max_jobs_per_second=1000).max_jobs_per_timespan
            scheduling.max_jobs_per_timespan.timespan = 5
    return {"nolock": True}


def report_what_is_drawn(workflow: Any) -> None:
    """Bring Snakemake to report the pictures that are there; it would stop at the first that no run has drawn yet.

    What is missing, and what to run, is printed, and is `missing_pictures` in the configuration that the report sees.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    """
    create, build = workflow.create_report, workflow._build_dag

    def built():
        build()
        missing = {}
        for job in workflow.dag.jobs:
            for path in (*job.output, *job.input):
                if "report" in getattr(path, "flags", ()) and not os.path.exists(path):
                    del path.flags["report"]
                    missing.setdefault(" ".join(itertools.chain(*job.wildcards_dict.items())), set()).add(path)
        if missing:
            text = missing_in_words({subject: len(paths) for subject, paths in missing.items()})
            print(text, file=sys.stderr)
            workflow.globals["config"] = {**workflow.config, "missing_pictures": text}

    @functools.wraps(create)
    def created(*arguments, **named):
        workflow._build_dag = built
        return create(*arguments, **named)

    workflow.create_report = created


def missing_in_words(numbers: dict[str, int]) -> str:
    """Return which pictures a report is without, and what to run for them.

    Parameters
    ----------
    numbers : dict of str to int
        What pictures are of, such as ``plate P1`` -> how many are missing; an empty text is the run.
    """
    ordered = sorted(numbers.items(), key=lambda item: (not item[0], item))  # the run comes last
    subjects = [f"{subject or 'the run'} ({number:,})" for subject, number in ordered]
    further = f" and {len(subjects) - MOST_SUBJECTS:,} more" * (len(subjects) > MOST_SUBJECTS)
    return (
        f"Pictures that no run has drawn yet: {', '.join(subjects[:MOST_SUBJECTS])}{further}. To draw them, run the "
        "same command with --cores all in place of --report; then run this one again."
    )


def refuse_separate_disks(storage: Any) -> None:
    """Refuse a run whose jobs do not all see the same files.

    Parameters
    ----------
    storage : snakemake.settings.types.StorageSettings

    Raises
    ------
    InputError
        Outputs would go to a storage provider, or jobs would not find inputs.
    """
    reason = "Fieldwork's jobs read images of the sheets and write stores and pictures that Snakemake does not know of"
    if storage.default_storage_provider is not None:
        raise InputError(
            f"--default-storage-provider {storage.default_storage_provider}: {reason}, and these would be lost; "
            "expected one file system that all jobs see, and no default provider; sheets may name images by their URLs"
        )
    if "INPUT_OUTPUT" not in {usage.name for usage in storage.shared_fs_usage}:
        raise InputError(
            f"--shared-fs-usage without input-output: {reason}; expected one file system that all jobs see, and "
            "--shared-fs-usage with input-output, or not at all"
        )


def take_sigterm_in_a_thread(*, stop: Callable[[], None]) -> None:
    """Bring Snakemake to end in good order on SIGTERM, as it means to. Call it when Snakemake has set its handler.

    That handler waits for a lock, and for ever where the thread that it interrupted holds it.

    Parameters
    ----------
    stop : callable
        Ends what Snakemake waits for before it looks whether it is to end.
    """
    handler = signal.getsignal(signal.SIGTERM)

    def end(*received):
        stop()
        threading.Thread(target=handler, args=received).start()

    if callable(handler) and threading.current_thread() is threading.main_thread():  # only that one may set another
        signal.signal(signal.SIGTERM, end)


def end_timers() -> None:
    """End the timers that would keep Snakemake from exiting. Call it when all jobs are done.

    The timer of its ``--max-jobs-per-timespan`` looks for jobs to start a second after the last one was started, and
    Snakemake waits for it even if the run is over. (300ms is no way out: Snakemake takes it for 300 minutes.)
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def shown_in_the_end(workflow: Any, summary: Callable[..., str], nothing_came: Callable[[], str]) -> Callable[[], None]:
    """Return a function that prints the summary of a run, for ``onsuccess``, and fails a run that has no result.

    Where there is nothing to be done, Snakemake calls no ``onsuccess``: then it is printed when the process ends. A run
    that failed while it was planned has no scheduler.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    summary : callable
        Takes `preview`, True where that is a target; returns the text.
    nothing_came : callable
        Returns why the run, although all its jobs ended well, is to end with exit code 1; or an empty text.
    """

    def show():
        preview = "preview" in workflow.dag_settings.targets
        print(summary(preview=preview))
        if not preview and (reason := nothing_came()):
            sys.exit(f"Error: {reason}")

    def show_if_idle(folder):
        # No scheduler: nothing was to run, as where planning failed or a graph is printed.
        if workflow._scheduler is not None and not len(workflow._dag) and not workflow.dryrun:
            with chdir(folder):  # Snakemake has left its working directory
                try:
                    show()
                except SystemExit as end:
                    print(end, file=sys.stderr)
                    logging.shutdown()
                    sys.stdout.flush()
                    os._exit(1)  # the exit code is decided already, and nothing else changes it

    atexit.register(show_if_idle, os.getcwd())
    return show
