"""Open image files, and turn what decoders raise into reasons."""

import logging
import math
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from fieldwork import NOT_READ, FrameError, NotReadError, reason_of
from fieldwork.surroundings import unread

LARGEST_PLANE_VALUES = 2**28  # twice the largest cameras; more is a damaged header
DECODING_COPIES = 3  # of a plane, while it is decoded: its file's bytes, its strips, itself
LARGEST_FILE_VALUES = 2**30  # of all planes, which are in memory together

# tifffile logs every odd tag. This package raises what matters; the rest would fill the log of a plate.
_reading = threading.local()
logging.getLogger("tifffile").addFilter(lambda record: not getattr(_reading, "now", False))


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a file to read bytes; raise FrameError at once if it is empty or not a regular file.

    Raises
    ------
    NotReadError
        It is absent, or may not be read, or the system cannot open it now.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            raise FrameError("a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if not status.st_size:
            raise FrameError("empty file (0 bytes)")
        return open(path, "rb")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and os.path.islink(path):
            raise NotReadError(f"{NOT_READ}broken link to {os.readlink(path)}") from None
        if cause := unread.cause_of(error):
            raise NotReadError(f"{NOT_READ}{cause}") from None
        raise FrameError(f"cannot be opened: {error.strerror}") from None


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever decoders raise in this block into FrameError, and keep tifffile's messages out of the log.

    What has its cause outside the file is a `NotReadError`.
    """
    _reading.now = True
    try:
        yield
    except NotReadError:
        raise
    except Exception as error:  # anything: struct.error, MemoryError, ..
        if cause := unread.cause_of(error):
            raise NotReadError(f"{NOT_READ}{cause}") from error
        if isinstance(error, FrameError):
            raise
        raise FrameError(f"cannot be decoded: {reason_of(error)}") from error
    finally:
        _reading.now = False


def refuse_large(shape: Sequence[int], most: int = LARGEST_PLANE_VALUES, *, value_bytes: int = 0) -> None:
    """Raise FrameError if an array of this shape has no value or more than `most`, or memory cannot hold it.

    Parameters
    ----------
    shape : sequence of int
    most : int
    value_bytes : int
        Of a value, if the array is to be decoded.

    Raises
    ------
    NotReadError
        Decoding it needs more memory than this process can take.
    """
    if not 0 < math.prod(shape) <= most:
        raise FrameError(f"shape {tuple(shape)}; expected at least one value and at most {most}")
    unread.refuse_beyond_memory(DECODING_COPIES * math.prod(shape) * value_bytes)
