"""Where Snakemake does not do what Fieldwork needs, and how it is brought to do it."""

import atexit
import functools
import gc
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from typing import Any

from fieldwork import InputError
from fieldwork.planning.benchmarks import BenchmarkPlan
from fieldwork.planning.measurements import MeasurePlan
from fieldwork.planning.roads import Road


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
