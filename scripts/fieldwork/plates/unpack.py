"""Unpack the archive of a plate; nothing in it leaves the folder."""

import errno
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import PureWindowsPath

from fieldwork import NO_ROOM, InputError
from fieldwork.parallel import progress_bar

# Errors of the disk, not of the archive.
DISK_ERRORS = NO_ROOM | {errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE}


def unpack(path: str | os.PathLike, folder: str | os.PathLike, *, is_zip: bool, progress: str) -> None:
    """Unpack an archive of plain files into one folder.

    Files get the current time as their modification time: Snakemake must not take new images for old ones.

    Parameters
    ----------
    path : path-like
        A ZIP file, or a TAR file in any compression that Python's tarfile reads.
    folder : path-like
        An empty folder.
    is_zip : bool
    progress : str
        Label of the progress bar.

    Raises
    ------
    InputError
        Names the member that lies outside, is a link, a device or encrypted, or occurs twice; or the archive is
        broken.
    OSError
        An error of the disk; ENOSPC: the files need more space than is free.
    """
    try:
        (_unpack_zip if is_zip else _unpack_tar)(path, folder, progress)
    except InputError:
        raise
    except Exception as error:  # the errors of zipfile, tarfile and the decompressors have no common class
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        with open(path, "rb") as stream:
            start = stream.read(16)
        raise InputError(
            f"found an archive that is broken, or none ({type(error).__name__}: {error}; its first bytes are {start!r})"
        ) from error
    if not any(files for _, _, files in os.walk(folder)):
        raise InputError("found an archive without any file")


def _unpack_zip(path, folder, progress):
    """Check all members of a ZIP file, then unpack them."""
    with zipfile.ZipFile(path) as archive:
        members, names = archive.infolist(), set()
        for member in members:
            _check_name(member.filename, names)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(f"member {member.filename!r} is a link or a device; expected files and folders")
            if member.flag_bits & 1:
                raise InputError(f"member {member.filename!r} is encrypted; expected an archive without a password")
        check_space(folder, sum(member.file_size for member in members), "the archive's files")
        for member in progress_bar(members, total=len(members), progress=progress, unit="file"):
            archive.extract(member, folder)


def _unpack_tar(path, folder, progress):
    """Check and unpack a TAR file member by member: it has no table of contents."""
    names = set()
    with tarfile.open(path, "r:*", tarinfo=_Header) as archive:
        # Checked again; Pythons before 3.11.4 cannot. Alone it is not enough: it lets links within the folder pass,
        # which may form circles, and silently takes /a for a.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in progress_bar(archive, total=None, progress=progress, unit="file"):
            _check_name(member.name + "/" * member.isdir(), names)
            if not (member.isreg() or member.isdir()):
                raise InputError(f"member {member.name!r} is a link or a device; expected files and folders")
            check_space(folder, member.size, f"member {member.name!r}")
            if member.isdir():  # tarfile's own would be of mode 0700 where Python has no data filter
                os.makedirs(os.path.join(folder, member.name), exist_ok=True)
            else:
                archive.extract(member, folder, set_attrs=False)
        while archive.fileobj.read(2**14):  # to the end, where the checksum of the compression is
            pass


class _Header(tarfile.TarInfo):
    """A header of a TAR file. A damaged or truncated one is an error; tarfile takes it for the archive's end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # a block of zeros: the real end
            raise tarfile.ReadError(str(error)) from None


def _check_name(name, names):
    """Raise an error if a member's name leads out of the folder, here or on Windows, or is one of `names`; add it."""
    path = PureWindowsPath(name)  # zipfile would silently drop a root and '..'
    if path.drive or path.root or ".." in path.parts:
        raise InputError(f"member {name!r} lies outside of the archive's folder; expected names without '..' and root")
    if not name.endswith("/"):
        if str(path) in names:
            raise InputError(f"member {name!r} is there twice, and one would be lost; expected names that differ")
        names.add(str(path))


def check_space(folder: str | os.PathLike, needed: int, what: str) -> None:
    """Raise OSError (ENOSPC) if the disk of a folder has fewer than `needed` bytes free for `what`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{what} needs {needed} bytes, found {free} free")
