"""Files that could not be read for reasons that lie outside them: which errors these are, and how they are read again.

A drive that is away, rights, a full disk, too many open files or too little memory say nothing about a file's bytes. It
is read again a few times. Then what it stands for is a failed row, and the next run tries again (`surroundings.tries`).
"""

import errno
import functools
import gc
import math
import os
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fieldwork
from fieldwork import NOT_READ, FrameError, NotReadError, processes
from fieldwork.surroundings import memory

# What the system says of a disk, a network, rights or limits; of an odd position in a file, say, it says EINVAL.
ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOENT", "ENOTDIR", "EACCES", "EPERM", "EROFS", "EIO", "EREMOTEIO", "ESTALE", "ENODEV", "ENXIO"),
        *("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "ENOSPC", "EDQUOT", "EFBIG", "EBUSY", "ETIMEDOUT", "ENOLINK"),
        *("ENOTCONN", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
    )
    if hasattr(errno, name)
)
# Libraries of C and C++ have no errno to say it with: OpenCV, libjpeg, zlib, Zstandard, the linker, OpenSlide.
MEMORY_WORDS = re.compile(
    r"(out of|not enough|insufficient|cannot allocate|unable to allocate|failed to allocate) memory|bad_alloc"
    r"|Z_MEM_ERROR|allocation error|failed to map segment",
    re.IGNORECASE,
)
OTHER_WORDS = re.compile(
    r"too many open files|no space left on device|permission denied|input/output error|stale file handle"
    r"|can't start new thread",
    re.IGNORECASE,
)
ERRNO_WORDS = re.compile(r"\[Errno (\d+)\]")  # in the text of an error that came from another process
NEEDED_MEMORY = re.compile(r"needs ([\d,]+) MB of memory")
WAITS_S = (0.1, 0.5, 2)  # before the second, third and fourth time that a file is read
UNASKED_BYTES = 2**26  # every worker has these; it takes a millisecond to ask how much is left
MOST_WAITING_S = 10  # of a process whose files cannot be read one after another, as a drive is away

Result = TypeVar("Result")
_waited_s = 0.0  # by this process, since it could read a file


def cause_of(error: BaseException) -> str | None:
    """Return which reason outside a file an error has, in words; None where it has none.

    Parameters
    ----------
    error : BaseException
        What a library raised, maybe because of another error.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, NotReadError):
            return str(error).removeprefix(NOT_READ)
        if isinstance(error, MemoryError):
            return os.strerror(errno.ENOMEM)
        if isinstance(error, OSError) and error.errno in ERRNOS:
            return os.strerror(error.errno)
        if not isinstance(error, OSError | FrameError) and (cause := _cause_in(_text_of(error))):
            return cause
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _text_of(error):
    """Return the text of an error, empty where it cannot be made."""
    try:
        return str(error)
    except Exception:  # an error of the user's own kind may raise anything
        return ""


def _cause_in(text):
    """Return which reason outside a file a library's text states; None where it states none."""
    if words := MEMORY_WORDS.search(text) or OTHER_WORDS.search(text):
        return words[0]
    number = next((int(number) for number in ERRNO_WORDS.findall(text) if int(number) in ERRNOS), None)
    return None if number is None else os.strerror(number)


def failure_of(error: BaseException) -> str:
    """Return the message of an error in one line; of one whose cause is outside the file, that cause."""
    return f"{NOT_READ}{cause}" if (cause := cause_of(error)) else fieldwork.reason_of(error)


def patient(read: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that reads a file, and reads it again, up to 3 times, where it raises `NotReadError`."""

    @functools.wraps(read)
    def reading(*arguments: Any, **options: Any) -> Result:
        global _waited_s
        for wait_s in (*WAITS_S, None):
            try:
                result = read(*arguments, **options)
            except NotReadError as error:
                if wait_s is None:
                    raise
                lacking_memory = is_of_memory(str(error))
            else:
                _waited_s = 0.0
                return result
            if lacking_memory:  # only here: the error holds what was read no more
                gc.collect()
                processes.release_memory()
            wait_s = max(0.0, min(wait_s, MOST_WAITING_S - _waited_s))
            _waited_s += wait_s
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    return reading


def about_file(name: str, error: FrameError, more: str = "") -> FrameError:
    """Return a reason with the name of its file, behind the words by which those of a `NotReadError` begin."""
    kind, start = (NotReadError, NOT_READ) if isinstance(error, NotReadError) else (FrameError, "")
    return kind(f"{start}{name}: {str(error).removeprefix(start)}{more}")


def lacks_memory(error: BaseException) -> bool:
    """Return True if an error says that there is too little memory."""
    return isinstance(error, MemoryError) or MEMORY_WORDS.search(_text_of(error)) is not None


def is_of_memory(reason: str) -> bool:
    """Return True if a reason is that there is too little memory."""
    return reason.startswith(NOT_READ) and ("of memory" in reason or os.strerror(errno.ENOMEM) in reason)


def needed_mb(reason: str) -> int | None:
    """Return the memory that an image needs, in MB, by the reason of `refuse_beyond_memory`; None of other reasons."""
    needed = NEEDED_MEMORY.search(reason)
    return int(needed[1].replace(",", "")) if needed else None


def refuse_beyond_memory(needed: float, share: float = math.inf) -> None:
    """Raise NotReadError if an image needs more memory than is left to this process.

    Parameters
    ----------
    needed : float
        Bytes.
    share : float
        Bytes that this process may take at most: other ones work beside it.
    """
    if needed > UNASKED_BYTES:
        left = min(memory.left_to_process().bytes, share)
        if needed > left:
            raise NotReadError(
                f"{NOT_READ}it needs {needed / 1e6:,.0f} MB of memory, and {left / 1e6:,.0f} MB are there for it"
            )
