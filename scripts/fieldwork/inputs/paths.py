"""Paths and URLs that the user wrote: whether Snakemake can take them, and whether something is there."""

import difflib
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from fieldwork import InputError


def is_url(path):
    """Whether a path is that of an object on S3, or of a file on a web server."""
    return path.lower().startswith(("s3://", "http://", "https://"))


def check_path(path, place):
    """Refuse a path or URL that Snakemake cannot take as an input; `place` says where it is named, for the message."""
    if re.search("[{}<>\udc80-\udcff]", path):  # the last are how Python writes bytes that are no UTF-8
        raise InputError(
            f"{place}: {path!r} has one of {{ }} < > or bytes that are no UTF-8 text in it, which Snakemake cannot "
            "read; rename it"
        )
    scheme, separator, rest = path.partition("://")
    if separator and re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme) and not is_url(path):
        raise InputError(f"{place}: '{path}' begins with {scheme}://; expected s3://, http://, https:// or a path")
    odd = r"^/|[?#\\\x00-\x1f]|^[^/]*@|//|(^|/)\.{1,2}(/|$)" + ("" if scheme.lower() == "s3" else "|;")
    if is_url(path) and re.search(odd, rest):
        shown = re.sub("^[^/]*@", "...@", rest).partition("?")[0]  # there may be secrets in the rest
        raise InputError(
            f"{place}: '{scheme}://{shown}' has one of ? # \\ // /../ or a user's name or password in it, or, on a web "
            "server, a ; and Snakemake's storage plugins would take another object for it"
        )


def normal_path(path):
    """Normalize a path of a sheet; a URL stays as it is."""
    return path if "://" in path else os.path.normpath(path)


def refuse_results(path, results, *, place):
    """Refuse a path in the folder of the results: a job would delete what it is to read; `place` is for the message."""
    path, results = os.path.realpath(path), os.path.realpath(results)
    if os.path.commonpath([path, results]) == results:
        raise InputError(
            f"{place} has the path '{path}', in the folder of the results ({results}), which jobs delete and write; "
            "copy it elsewhere"
        )


def existing(path, *, place, what):
    """Check that a file or folder is there.

    Parameters
    ----------
    path : str
        Relative to the working directory, or absolute.
    place, what : str
        Where it is named and as what, for the message.

    Raises
    ------
    InputError
        Names the nearest existing name.
    """
    if os.path.exists(path):
        return
    folder = Path(path).parent
    names = []
    with suppress(OSError):
        names = os.listdir(folder)
    broken = f" (a link to '{os.readlink(path)}')" if os.path.islink(path) else ""
    near = difflib.get_close_matches(Path(path).name, names, n=1) if not broken else []
    nearest = f" Nearest name there: '{folder / near[0]}'." if near else ""
    raise InputError(
        f"{place}: {what} '{path}'{broken}, which does not exist.\n"
        f"  Relative paths are taken from the working directory ({os.getcwd()}).{nearest}"
    )


def path_of_url(url, where):
    """The path that a file: URL stands for; another URL, or a path, as it is."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", url)  # two letters or more: C: is a drive
    if not scheme or (is_url(url) and re.match(r"\w+://[^/]+/.", url)):
        return url
    if scheme[0].lower() != "file:":
        raise InputError(f"{where}: found {url!r}, expected a path, or a file's URL (file:, s3:, http:, https:).")
    return unquote(re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", url, flags=re.IGNORECASE))
