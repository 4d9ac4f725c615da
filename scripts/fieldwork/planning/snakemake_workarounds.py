"""Where Snakemake does not do what Fieldwork needs, and how it is brought to do it."""

import gc
import inspect
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fieldwork import InputError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an InputError of the block into the end of the process, with its message on stderr.

    A WorkflowError would come with lines of the rules, which are not at fault.

    Raises
    ------
    SystemExit
    """
    try:
        yield
    except InputError as error:
        sys.exit(f"Error: {error}")


def with_one_line_errors(cls: type) -> type:
    """Turn an InputError of a public method or property into `one_line_errors`, where Snakemake would show its rules.

    Parameters
    ----------
    cls : type
        A class whose methods rules take as input functions, parameters and resources.

    Returns
    -------
    type
        The same class.
    """
    for name, method in list(vars(cls).items()):
        if name.startswith("_"):
            continue
        if inspect.isfunction(method):
            setattr(cls, name, one_line_errors()(method))
        elif isinstance(method, property):
            setattr(cls, name, property(one_line_errors()(method.fget), doc=method.__doc__))
    return cls


def collect_garbage_seldom() -> None:
    """Look for garbage seldom: a plan is millions of objects that stay, and the search takes a tenth of planning."""
    gc.set_threshold(200_000, 10, 10)


def take_sigterm_in_a_thread() -> None:
    """Bring Snakemake to end in good order on SIGTERM, as it means to. Call it when Snakemake has set its handler.

    That handler waits for a lock, and for ever where the thread that it interrupted holds it.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and threading.current_thread() is threading.main_thread():  # only that one may set another
        signal.signal(signal.SIGTERM, lambda *received: threading.Thread(target=handler, args=received).start())


def end_timers() -> None:
    """End the timers that would keep Snakemake from exiting. Call it when all jobs are done.

    The timer of its ``--max-jobs-per-timespan`` looks for jobs to start a second after the last one was started, and
    Snakemake waits for it even if the run is over. (300ms is no way out: Snakemake takes it for 300 minutes.)
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
