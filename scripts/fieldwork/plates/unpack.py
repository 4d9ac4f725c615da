"""Unpack the archive of a plate into a folder, and let nothing in it leave that folder."""

import errno
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PureWindowsPath

from fieldwork import InputError
from fieldwork.parallel import progress_bar

# What is the disk's fault, and not the archive's.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE}


def unpack(path, folder, *, is_zip, progress):
    """Unpack an archive of files that all stay in one folder.

    Modification times are those of now: Snakemake must not take new images for older ones.

    Parameters
    ----------
    path : path-like
        A ZIP file, or a TAR file with any compression that Python's tarfile reads.
    folder : path-like
        An empty folder.
    is_zip : bool
    progress : str
        Label of the progress bar.

    Raises
    ------
    InputError
        Names the member that is outside, a device, encrypted ...; or the archive is broken.
    OSError
        The disk's fault; ENOSPC: the files need more than it has free.
    """
    try:
        (_unpack_zip if is_zip else _unpack_tar)(path, folder, progress)
    except InputError:
        raise
    except Exception as error:  # what zipfile, tarfile and the decompressors raise of broken bytes has no common class
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        with open(path, "rb") as stream:
            start = stream.read(16)
        raise InputError(
            f"found an archive that is broken, or none ({type(error).__name__}: {error}; its first bytes are {start!r})"
        ) from error
    if not any(files for _, _, files in os.walk(folder)):
        raise InputError("found an archive without any file")


def _unpack_zip(path, folder, progress):
    with zipfile.ZipFile(path) as archive:
        members, seen = archive.infolist(), set()
        for member in members:
            _check_name(member.filename, seen)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(f"member {member.filename!r} is a link or a device; expected files and folders")
            if member.flag_bits & 1:
                raise InputError(f"member {member.filename!r} is encrypted; expected an archive without a password")
        check_space(folder, sum(member.file_size for member in members), "the archive's files")
        for member in progress_bar(members, total=len(members), progress=progress, unit="file"):
            archive.extract(member, folder)


def _unpack_tar(path, folder, progress):
    seen = set()
    with tarfile.open(path, "r:*", tarinfo=_Header) as archive:
        for member in progress_bar(archive, total=None, progress=progress, unit="file"):
            _check_name(member.name + "/" * member.isdir(), seen)
            target = Path(folder, member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                check_space(folder, member.size, f"member {member.name!r}")
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.extractfile(member) as packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file)
            else:
                raise InputError(f"member {member.name!r} is a link or a device; expected files and folders")
        while archive.fileobj.read(2**14):  # to the end, where the checksum of the compression is
            pass


class _Header(tarfile.TarInfo):
    """A header of a TAR file; tarfile itself takes one that is spoilt, or cut off, for the archive's end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end, as it should be
            raise tarfile.ReadError(str(error)) from None


def _check_name(name, seen):
    """Refuse a member whose name leads out of the folder, here or on Windows, or a file of a name that was seen."""
    path = PureWindowsPath(name)
    if path.drive or path.root or ".." in path.parts:
        raise InputError(f"member {name!r} lies outside of the archive's folder; expected names without '..' and root")
    if not name.endswith("/"):
        if str(path) in seen:
            raise InputError(f"member {name!r} is there twice, and one would be lost; expected names that differ")
        seen.add(str(path))


def check_space(folder, needed, what):
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{what} needs {needed} bytes, found {free} free")
