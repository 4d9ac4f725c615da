"""What Snakemake does not do as it should, and how it is made to."""

import signal
import threading


def take_sigterm_in_a_thread():
    """Let Snakemake end in good order on SIGTERM, as it means to; to be called when it has set its handler.

    That handler waits for a lock, and for ever where the thread that it interrupted holds it.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and threading.current_thread() is threading.main_thread():  # only that one may set another
        signal.signal(signal.SIGTERM, lambda *received: threading.Thread(target=handler, args=received).start())


def end_timers():
    """Let Snakemake exit at once; to be called when all jobs are done.

    The timer of its ``--max-jobs-per-timespan`` looks for jobs to start a second after the last one was started, and
    is waited for even if the run is over. (A shorter time span is not to be had: 300ms is taken for 300 minutes.)
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
