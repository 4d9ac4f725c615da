"""Fieldwork's library: from image files to tables. Imports nothing from Snakemake."""


class InputError(ValueError):
    """The user's input cannot be used; the message says where, what was found and what is expected."""


class FrameError(ValueError):
    """The file is not a readable image; the message is the reason."""


NOT_READ = "not read: "  # begins the message of a `NotReadError`


class NotReadError(FrameError):
    """The file cannot be read for a reason outside it: it says nothing about the file's bytes, and may be gone soon."""


class WorkerDied(RuntimeError):
    """A worker process ended before it returned its frame's result; the message names the frame."""


class DeviceFailed(RuntimeError):
    """A GPU was asked for, and there is none or it failed; the message says what to do."""


def reason_of(error: BaseException, *, own: type | tuple[type, ...] = ()) -> str:
    """Return the message of an error in one line, with its type before it unless it is one of `own`."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, own) else f"{type(error).__name__}: {text}"
