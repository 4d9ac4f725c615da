"""What a job says: its log file, and its message when it fails."""

import logging
import sys
from contextlib import contextmanager

from fieldwork import DeviceFailed, InputError, WorkerDied

log = logging.getLogger(__name__)


class _WithoutPandas:
    """Keep Arrow from importing pandas only to see whether it was given pandas's: 0.25 s of every job."""

    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError("a job that needs pandas imports it before job_log, or says so")


def note_failure(what, reason, *, on_bad_image):
    """Log a frame that failed; raise InputError where the run is to stop at a bad image."""
    log.info("failed: %s: %s", what, reason)
    if on_bad_image == "stop":
        raise InputError(f"{what} failed: {reason}. The run stops at a bad image because of on_bad_image: stop.")


def report(what, done, failed, *, of):
    """Log how much of a job failed, and refuse one of which nothing is good.

    Parameters
    ----------
    what, done : str
        As in "plate P1" and "images filtered".
    failed : list of str
        Places and reasons.
    of : int
        Frames, failed ones too.

    Raises
    ------
    InputError
        All of them failed.
    """
    log.info("%s: %d %s, %d failed", what, of, done, len(failed))
    if failed and len(failed) == of:
        raise InputError(f"{what}: not one good frame of {of}; first {failed[0]}")
    if failed:
        log.warning("%s: %d of %d failed, first %s", what, len(failed), of, failed[0])


@contextmanager
def job_log(path, *, with_pandas=False):
    """Write everything that a job logs, and the traceback of what ends it, to its log file.

    Warnings, and the message of an error, also go to stderr: what a user sees is one line, the log has the rest.

    Parameters
    ----------
    path : path-like
        The rule's log file.
    with_pandas : bool
        Functions of the user's are called, which may import pandas.

    Raises
    ------
    SystemExit
        With status 1, in place of any exception of the block.
    """
    if not with_pandas and "pandas" not in sys.modules:
        sys.meta_path.insert(0, _WithoutPandas())
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace")
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setLevel(logging.WARNING)
    for handler in (to_file, to_stderr):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_stderr.addFilter(lambda record: not record.exc_info)
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_stderr], force=True)
    logging.captureWarnings(True)
    try:
        yield
    except Exception as error:
        expected = isinstance(error, InputError | WorkerDied | DeviceFailed)
        print(error if expected else f"{type(error).__name__}: {error} (traceback in {path})", file=sys.stderr)
        log.critical("%s", error, exc_info=True)
        sys.exit(1)
