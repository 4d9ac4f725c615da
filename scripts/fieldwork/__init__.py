"""Fieldwork's library: from image files to tables. Imports nothing from Snakemake."""

import errno
import re

from fieldwork.messages.secrets import without_secrets

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})  # what the system says of a full disk, or of a quota
MOST_CHARACTERS = 1000  # of a message, which may quote what a file holds
# Control signs, ends of lines (but for lists, which are indented) and halves of surrogate pairs.
_NO_TEXT = re.compile("\n(?!  )|[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _WithoutSecretsError(Exception):
    """An error whose message goes into logs and tables."""

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class InputError(_WithoutSecretsError, ValueError):
    """The user's input cannot be used; the message says where, what was found and what is expected.

    It is one line that any terminal shows, whatever it quotes: a long one is shortened in its middle.
    """

    def __str__(self) -> str:
        """Return the message."""
        text = _NO_TEXT.sub(lambda match: ascii(match[0])[1:-1], super().__str__())
        half = MOST_CHARACTERS // 2
        return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


class FrameError(_WithoutSecretsError, ValueError):
    """The file is not a readable image; the message is the reason."""


NOT_READ = "not read: "  # begins the message of a `NotReadError`


class NotReadError(FrameError):
    """The file cannot be read for a reason outside it: it says nothing about the file's bytes, and may be gone soon."""


class WorkerDied(_WithoutSecretsError, RuntimeError):
    """A worker process ended before it returned its frame's result; the message names the frame."""


class DeviceFailed(RuntimeError):
    """A GPU was asked for, and there is none or it failed; the message says what to do."""


def reason_of(error: BaseException, *, own: type | tuple[type, ...] = ()) -> str:
    """Return the message of an error in one line, with its type before it unless it is one of `own`; never empty.

    Code of the user's may raise anything: an error whose text cannot be made, or has characters that no file holds.
    """
    name = type(error).__name__
    try:
        text = without_secrets(" ".join(str(error).split()))[:300]
    except BaseException as failure:
        text = f"its text cannot be made ({type(failure).__name__})"
    text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return text if text and isinstance(error, own) else f"{name}: {text}" if text else name
