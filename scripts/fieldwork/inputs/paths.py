"""Check the paths and URLs that the user wrote: Snakemake can take them, and the files exist."""

import difflib
import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from fieldwork import InputError

MOST_NAME_BYTES = 255  # of a file or a folder, on every usual file system
MOST_PATH_BYTES = 3000  # of a folder for results, of the 4096 that Linux takes for the path of a file in it


def is_url(path: str) -> bool:
    """Return True for the URL of an object on S3, or of a file on a web server."""
    return path.lower().startswith(("s3://", "http://", "https://"))


def suits_snakemake(path: str) -> bool:
    """Return True for a path that Snakemake takes as an input: braces are wildcards to it, and <> its own variables."""
    return not re.search("[{}<>\n\udc80-\udcff]", path)  # the last range is how Python writes bytes that are not UTF-8


def shown_in_utf_8(path: str) -> str:
    r"""Return a path as text: bytes of it that are not UTF-8 as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_path(path: str, where: str) -> None:
    """Raise InputError for a URL that Snakemake cannot take as an input; `where` names it in the message."""
    if is_url(path) and not suits_snakemake(path):
        raise InputError(
            f"{where}: {path!r} has one of {{ }} < > in it, which Snakemake cannot read; rename the object"
        )
    scheme, separator, rest = path.partition("://")
    if separator and re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme) and not is_url(path):
        raise InputError(f"{where}: '{path}' begins with {scheme}://; expected s3://, http://, https:// or a path")
    odd = r"^/|[?#\\\x00-\x1f]|^[^/]*@|//|(^|/)\.{1,2}(/|$)" + ("" if scheme.lower() == "s3" else "|;")
    if is_url(path) and re.search(odd, rest):
        raise InputError(
            f"{where}: '{path}' has one of ? # \\ // /../ or a user's name or password in it, or, on a web "
            "server, a ; and Snakemake's storage plugins would take another object for it"
        )


def normal_path(path: str) -> str:
    """Normalize a path of a sheet; a URL stays as it is."""
    return path if "://" in path else os.path.normpath(path)


def with_home(path: str) -> str:
    """Return a path below ``~``, or ``~name``, with the home folder in full; any other as it is."""
    return os.path.expanduser(path)


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a file to read bytes; raise OSError for a pipe, a socket or a device, which could wait without end."""

    def opener(name, flags):
        descriptor = os.open(name, flags | os.O_NONBLOCK)
        kind = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "a pipe, socket or device; expected a file")
        return descriptor

    return open(path, "rb", opener=opener)


def exists(path: str | os.PathLike, *, where: str) -> bool:
    """Return True if there is a file or folder, or a link to nowhere.

    Parameters
    ----------
    path : path-like
    where : str
        What names the path; for the message.

    Raises
    ------
    InputError
        Nobody can know: a folder above it cannot be looked into, or a name is too long.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where} '{os.fspath(path)}', which cannot be looked up: {reason}") from None
    return True


def check_writable(folder: str | os.PathLike, *, where: str) -> None:
    """Check that a folder can be written to, or made.

    Parameters
    ----------
    folder : path-like
    where : str
        What names the folder; for the message.

    Raises
    ------
    InputError
        It is a file, or one without the right to write, or its name is too long; or that holds for the folder above,
        where it does not exist.
    """
    absolute, shown = os.path.abspath(folder), f"{where} '{os.fspath(folder)}'"
    names = [len(os.fsencode(name)) for name in absolute.split("/")]
    if max(names) > MOST_NAME_BYTES or sum(names) + len(names) > MOST_PATH_BYTES:
        raise InputError(
            f"{shown}, a path of {sum(names) + len(names):,} bytes with a name of {max(names)}; expected at most "
            f"{MOST_PATH_BYTES:,}, and {MOST_NAME_BYTES} in a name"
        )
    while not exists(absolute, where=where) and absolute != "/":
        absolute = os.path.dirname(absolute)
    if not os.path.isdir(absolute):
        raise InputError(f"{shown}, but '{absolute}' is no folder; expected a folder, which may be there or not")
    if not os.access(absolute, os.R_OK | os.W_OK | os.X_OK):
        raise InputError(f"{shown}, but '{absolute}' cannot be read and written; expected a folder that is yours")


def refuse_results(path: str | os.PathLike, results: str | os.PathLike, *, where: str) -> None:
    """Raise InputError for an input in the results folder, which jobs delete; `where` names it in the message."""
    path, results = os.path.realpath(path), os.path.realpath(results)
    if os.path.commonpath([path, results]) == results:
        raise InputError(
            f"{where} has the path '{path}', in the folder of the results ({results}), which jobs delete and write; "
            "copy it elsewhere"
        )


def refuse_windows_path(path: str, what: str) -> None:
    """Raise InputError for a path as Windows writes it; `what` says in the message where it stands."""
    if match := re.match(r"/?([A-Za-z]):[\\/]|\\\\[^\\]", path):
        near = f"/mnt/{match[1].lower()}/" if match[1] else "/mnt/"
        raise InputError(
            f"{what} '{path}', a path as Windows writes it; expected the path by which this machine reaches the folder "
            f"or file, with / between folders, such as {near}..."
        )


def check_exists(path: str, *, where: str, what: str) -> None:
    """Check that a file or folder exists.

    Parameters
    ----------
    path : str
        Relative to the working directory, or absolute.
    where, what : str
        Which file or line names the path, and as what; for the message.

    Raises
    ------
    InputError
        Names the nearest existing name, or the path is a pipe, a socket or a device.
    """
    is_there = exists(path, where=f"{where}: {what}")
    if os.path.isfile(path) or os.path.isdir(path):
        return
    if is_there and os.path.exists(path):  # reading a pipe waits for a writer
        raise InputError(f"{where}: {what} '{path}', a pipe, socket or device; expected a file or a folder")
    refuse_windows_path(path, f"{where}: {what}")
    folder = Path(path).parent
    names = []
    with suppress(OSError):
        names = os.listdir(folder)
    home = " No user has this name." if path.startswith("~") else ""
    if "\\" in path:
        home += " Write / between folders, not \\."
    broken = f" (a link to '{os.readlink(path)}')" if os.path.islink(path) else ""
    near = difflib.get_close_matches(Path(path).name, names, n=1) if not broken else []
    nearest = f" Nearest name there: '{folder / near[0]}'." if near else ""
    raise InputError(
        f"{where}: {what} '{path}'{broken}, which does not exist. "
        f"Relative paths are taken from the working directory ({os.getcwd()}).{home}{nearest}"
    )


def path_of_url(url: str, where: str) -> str:
    """Convert a ``file:`` URL to a path; return other URLs and paths as they are.

    Raises InputError for a URL that names no file; `where` says in the message which cell holds it.
    """
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", url)  # two letters or more: C: is a drive
    if not scheme or (is_url(url) and re.match(r"\w+://[^/]+/.", url)):
        return url
    if scheme[0].lower() != "file:":
        raise InputError(f"{where}: found {url!r}, expected a path, or a file's URL (file:, s3:, http:, https:).")
    return unquote(re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", url, flags=re.IGNORECASE))
