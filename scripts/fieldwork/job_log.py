"""The log file of a job, and its message when it fails."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from fieldwork import NO_ROOM, DeviceFailed, InputError, WorkerDied, reason_of
from fieldwork.messages.secrets import without_secrets

log = logging.getLogger(__name__)


class _WithoutPandas:
    """An import hook that hides pandas, which Arrow imports only to check whether its input is pandas's.

    It saves 0.25 s of every detection job (processor time of 6 fields, median of 10 interleaved pairs: 0.82 s, 1.09 s
    without it).
    """

    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError("a job that needs pandas imports it before `logged`, or sets with_pandas")


class _Formatter(logging.Formatter):
    """Formats records without the secrets of URLs, those of other libraries and tracebacks, too."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _LogFile(logging.FileHandler):
    """Writes a log as long as it can be written: no job ends for its log."""

    def __init__(self, path: str | os.PathLike):
        super().__init__(path, mode="w", encoding="utf-8", errors="backslashreplace", delay=True)
        self._fails = False
        try:
            self.stream = self._open()
        except OSError:
            self.handleError(None)

    def emit(self, record: logging.LogRecord) -> None:
        if not self._fails:
            super().emit(record)

    def handleError(self, record: logging.LogRecord | None) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a message that cannot be made, as of a function of the user's
            super().handleError(record)
            return
        self._fails = True
        reason = reason_of(error)
        print(f"WARNING {self.baseFilename}: the log cannot be written ({reason}); the job goes on", file=sys.stderr)


@contextmanager
def logged(path: str | os.PathLike, *, with_pandas: bool = False) -> Iterator[None]:
    """Write everything that a job logs, and the traceback of what ends it, to its log file.

    Warnings and the message of an error also go to stderr, where the user reads one line; the log has the rest.

    Parameters
    ----------
    path : path-like
        The rule's log file.
    with_pandas : bool
        The job calls functions of the user, which may import pandas.

    Raises
    ------
    SystemExit
        With status 1, in place of any exception of the block.
    """
    if not with_pandas and "pandas" not in sys.modules:
        sys.meta_path.insert(0, _WithoutPandas())
    to_file = _LogFile(path)
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setLevel(logging.WARNING)
    for handler in (to_file, to_stderr):
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_stderr.addFilter(lambda record: not record.exc_info)
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_stderr], force=True)
    logging.captureWarnings(True)
    try:
        yield
    except Exception as error:
        expected = isinstance(error, InputError | WorkerDied | DeviceFailed)
        reason = str(error) if expected else reason_of(error)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            reason = (
                f"no room on the disk of the results, or of {tempfile.gettempdir()}: make room, and run the same "
                f"command, which goes on from here: {reason}"
            )
        print(reason if expected else f"{reason} (traceback in {path})", file=sys.stderr)
        log.critical("%s", reason, exc_info=True)
        sys.exit(1)
