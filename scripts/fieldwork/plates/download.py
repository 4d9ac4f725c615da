"""Download the archive of a plate, check it, and unpack it into the plate's folder."""

import fcntl
import hashlib
import logging
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from fieldwork import NO_ROOM, InputError, outputs
from fieldwork.inputs.archives import RECORD, Archive, check_folder, difference, read_facts
from fieldwork.inputs.paths import path_of_url
from fieldwork.parallel import progress_bar
from fieldwork.plates.unpack import check_space, unpack

BLOCK_BYTES = 2**14  # a lost connection costs no more
PAUSES_S = (1, 2, 4, 8, 16, 32)  # before each retry; they start over after a try that got further than all before
HTTP_TIMEOUT_S = (30, 60)  # for a connection, and for the next bytes

log = logging.getLogger(__name__)


class _Lost(Exception):
    """The server did not send all that was requested; the next try may succeed."""


def make_folder(archive: Archive) -> dict:
    """Download an archive and unpack it into its folder, which appears complete or not at all.

    A download whose connection was lost, or whose job was killed, resumes.

    Parameters
    ----------
    archive : Archive

    Returns
    -------
    dict
        Facts about the archive, as from `check_folder`. A folder of the user's own is never touched: its facts are the
        `url` alone.

    Raises
    ------
    InputError
        Names the plate and the URL, what was found and expected, and what to do.
    """
    folder = Path(archive.folder)
    work = folder.with_name(f".{folder.name}.download")
    if os.path.lexists(folder):
        facts = check_folder(archive)
        if facts:
            shutil.rmtree(work, ignore_errors=True)  # of a job that was killed at its very end
            return facts
        log.warning("%s: nothing is fetched: '%s' is there already, and was not downloaded", archive, folder)
        return archive.address
    try:
        with _locked(work, archive):
            return _fetch_and_unpack(archive, folder, work)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise InputError(
                f"{archive}: no room on the disk of '{folder.parent}': {error.strerror}. Make room and run the same "
                "command: what was fetched is kept"
            ) from None
        raise InputError(
            f"{archive}: {error}; see to it that '{folder.parent}' can be written, and run the same command"
        ) from None


def _fetch_and_unpack(archive, folder, work):
    """Fetch, check and unpack an archive in the folder `work`, then rename what was unpacked to `folder`."""
    is_web = not archive.url.lower().startswith("file:")
    path = work / "archive" if is_web else Path(path_of_url(archive.url, str(archive)))
    if is_web:
        _fetch(archive, path, work / "state.json")
    elif not path.is_file():
        raise InputError(f"{archive}: found no file '{path}', expected the archive; correct the url in the sheet")
    facts = {**archive.address, **_digest(path)}
    log.info("%s: %d bytes, sha256:%s, md5:%s", archive, facts["bytes"], facts["sha256"], facts["md5"])
    if different := difference(archive, facts):
        if is_web:
            path.unlink()
        raise InputError(
            f"{archive}: {different}. Nothing was kept: correct the sheet, or run the same command to fetch it again"
        )
    for name, expected in (("size", archive.size), ("checksum", archive.checksum)):
        log.info("%s: %s", archive, f"the {name} is {expected}, as in the sheet" if expected else f"no {name} to check")
    unpacked = work / "unpacked"
    unpacked.mkdir()
    try:
        is_zip = urlsplit(archive.url).path.lower().endswith(".zip")
        unpack(path, unpacked, is_zip=is_zip, progress=f"{archive.plate}, unpacking")
    except InputError as error:
        if is_web:
            path.unlink()
        raise InputError(
            f"{archive}: {error}. Nothing was kept: run the same command to fetch it again; if that does not help, "
            f"unpack it by hand into '{folder}'"
        ) from error
    facts["files"] = sum(len(files) for _, _, files in os.walk(unpacked))
    outputs.write_json(facts, unpacked / RECORD)
    if os.path.lexists(folder):
        raise InputError(f"{archive}: '{folder}' appeared while the archive was fetched; it was left as it is")
    os.rename(unpacked, folder)
    if is_web:
        path.unlink()
    log.info("%s: %d files in '%s'", archive, facts["files"], folder)
    return facts


@contextmanager
def _locked(work, archive):
    """Lock the folder `work` against other runs; delete it at the end unless it holds a part that can be resumed."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{archive}: another process downloads into '{archive.folder}'; wait for it to end, or stop it"
            ) from None
        except OSError as error:
            log.info("%s: no lock on this file system (%s)", work, error)
        shutil.rmtree(work / "unpacked", ignore_errors=True)  # of a job that was killed
        try:
            yield
        finally:
            shutil.rmtree(work / "unpacked", ignore_errors=True)
            if not _size(work / "archive"):
                shutil.rmtree(work, ignore_errors=True)


def _fetch(archive, path, state):
    """Fetch an archive over HTTP into the file `path`, which may hold a part of it; `state` names that archive."""
    if not archive.is_at(read_facts(state)):
        path.unlink(missing_ok=True)
    tries, farthest = 0, _size(path)
    with requests.Session() as session:
        while not (farthest and read_facts(state).get("total") == _size(path)):
            try:
                _fetch_more(session, archive, path, state)
                return
            except requests.exceptions.SSLError as error:
                raise InputError(
                    f"{archive}: no safe connection: {_cause(error)}; correct the url, or this machine's certificates"
                ) from None
            except (
                _Lost,
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ) as error:
                lost = str(_cause(error)) or type(error).__name__
            except requests.RequestException as error:
                raise InputError(f"{archive}: cannot be fetched: {error}; correct the url in the sheet") from None
            fetched = _size(path)
            tries, farthest = 0 if fetched > farthest else tries, max(fetched, farthest)
            if tries == len(PAUSES_S):
                raise InputError(
                    f"{archive}: tried {tries + 1} times without getting further than {farthest} bytes: {lost}. "
                    "Is there a network? The same command goes on from there"
                )
            log.warning("%s: lost after %d bytes: %s; once more in %d s", archive, fetched, lost, PAUSES_S[tries])
            time.sleep(PAUSES_S[tries])
            tries += 1


def _fetch_more(session, archive, path, state):
    """Request the rest of an archive once and append it; begin anew if the server sends all of it."""
    start = _size(path)
    known = read_facts(state) if start else {}
    version = known.get("etag") or known.get("last_modified")
    # identity: any other encoding would be decoded on the way, and no Range could state the end of the first part.
    headers = {"Accept-Encoding": "identity"}
    if version:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    with session.get(archive.url, headers=headers, stream=True, timeout=HTTP_TIMEOUT_S) as answer:
        fields, status = answer.headers, answer.status_code
        new = {**archive.address, "etag": fields.get("ETag"), "last_modified": fields.get("Last-Modified")}
        if str(new["etag"]).startswith("W/"):
            new["etag"] = None  # weak: equal tags do not mean equal bytes, which resuming needs (RFC 9110, 13.1.5)
        if status == 200:
            start, total = 0, int(fields["Content-Length"]) if fields.get("Content-Length", "").isdecimal() else None
        elif status == 206:
            total = known.get("total")
            # Some servers ignore If-Range.
            changed = [key for key in ("etag", "last_modified") if new[key] and known.get(key) not in (None, new[key])]
            if changed or fields.get("Content-Range") != f"bytes {start}-{(total or 0) - 1}/{total}":
                path.unlink(missing_ok=True)
                raise _Lost(f"the archive has changed since its first {start} bytes, it is fetched anew")
        elif status == 416:
            path.unlink(missing_ok=True)
            raise _Lost(f"the server has no more than {start} bytes and announced more before, it is fetched anew")
        elif status in (408, 425, 429) or status >= 500:
            raise _Lost(f"HTTP status {status} ({answer.reason})")
        else:
            raise InputError(
                f"{archive}: found HTTP status {status} ({answer.reason}), expected the archive; "
                "correct the url in the sheet"
            )
        if archive.size and total not in (None, archive.size):
            raise InputError(
                f"{archive}: found {total} bytes on the server, expected {archive.size}; "
                "correct the url or the size in the sheet"
            )
        # Raw bytes: some servers call a .tar.gz's own compression an encoding of the transfer.
        answer.raw.headers.pop("Content-Encoding", None)
        with open(path, "ab" if start else "wb") as stream:
            if not start:  # only now: the older bytes are deleted
                outputs.write_json({**new, "total": total}, state)
            check_space(path.parent, (total or 0) - start, "the rest of the archive")
            with progress_bar(
                total=total, initial=start, progress=archive.plate, unit="B", unit_scale=True, unit_divisor=1000
            ) as bar:
                for block in answer.iter_content(BLOCK_BYTES):
                    stream.write(block)
                    bar.update(len(block))
                    if archive.size and stream.tell() > archive.size:
                        break  # it may have no end; the size is checked later
    outputs.write_json({**read_facts(state), "total": _size(path)}, state)


def _digest(path):
    """Return a file's size and both its digests: a sheet may name either, now or later."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            sha256.update(block)
            md5.update(block)
            size += len(block)
    return {"bytes": size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def _cause(error):
    """Return the innermost cause of an error, below the layers of HTTP: its message is the shortest."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return error


def _size(path):
    """Return a file's size in bytes, 0 without a file."""
    return path.stat().st_size if path.exists() else 0
