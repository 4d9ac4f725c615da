"""Temporary folders, which are deleted although their process is killed: by the next one that starts."""

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Machines that share a folder for temporary files may not see each other's locks.
PREFIX = f"fieldwork-tmp-{platform.node()}-"


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Yield the path of a new folder in TMPDIR, and delete it at the end; delete those that killed processes left."""
    delete_leftovers()
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def delete_leftovers() -> None:
    """Delete the temporary folders of processes that are gone: the kernel lifts a lock when its process ends."""
    with suppress(OSError):  # no folder for temporary files, or none that can be read
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError):  # it is another user's, in use, or no folder
                lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)


def _locked_folder():
    """Return a new folder, and a descriptor that locks it."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another process took it for a leftover, in the moment before it is locked
            continue
        is_taken = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process is about to delete it
            is_taken = True
        except OSError:  # a file system without locks, where nothing is deleted either
            pass
        if not is_taken and os.path.isdir(folder):
            return folder, lock
        os.close(lock)
