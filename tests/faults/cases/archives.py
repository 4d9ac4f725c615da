"""Cases of archives of plates: broken ones, and those whose files would lie elsewhere."""

import io
import tarfile
import zipfile
from collections.abc import Iterator

from faults import pictures
from faults.catalogue import DAMAGED, ArchiveCase, NoTables, Unpacked, random_numbers

FILES = {
    f"X_B02_s{site}_w1.tif": pictures.tiff()(pictures.picture("u16", random_numbers("archives", site)))
    for site in (1, 2)
}
BROKEN = rf"archive that is broken|no archive|{DAMAGED}"
OUTSIDE = r"outside|too long"


def cases() -> Iterator[ArchiveCase]:
    """Yield every case of an archive."""
    good = {".zip": _zip(FILES), ".tar": _tar(FILES), ".tar.gz": _tar(FILES, "gz"), ".tar.xz": _tar(FILES, "xz")}
    for suffix, data in good.items():
        yield _case(f"{suffix}, as it is", suffix, data, Unpacked(FILES))
        yield _case(f"{suffix}, cut in the middle", suffix, data[: len(data) // 2], NoTables(BROKEN))
        yield _case(f"{suffix}, empty", suffix, b"", NoTables(rf"{BROKEN}|empty|0 bytes"))
        yield _case(f"{suffix}, text", suffix, b"404 Not Found\n" * 100, NoTables(BROKEN))
        yield _case(f"{suffix}, another checksum", suffix, data, NoTables(r"md5"), checksum="md5:" + "0" * 32)
        yield _case(f"{suffix}, another size", suffix, data, NoTables(r"bytes"), size="17")
    for name, path in {
        "upwards": "../gone.tif", "far upwards": "../../../../../../../../tmp/gone.tif", "absolute": "/tmp/gone.tif",
        "upwards and down": "a/../../gone.tif", "of 300 letters": "x" * 300 + ".tif",
        "with the signs of Windows": "..\\gone.tif", "on a drive": "C:\\gone.tif",
    }.items():  # fmt: skip
        yield _case(f".zip, a path {name}", ".zip", _zip({**FILES, path: b"x"}), NoTables(OUTSIDE))
        yield _case(f".tar, a path {name}", ".tar", _tar({**FILES, path: b"x"}), NoTables(OUTSIDE))
    odd = {"a link": tarfile.SYMTYPE, "a hard link": tarfile.LNKTYPE}
    odd |= {"a device": tarfile.CHRTYPE, "a pipe": tarfile.FIFOTYPE}
    for name, kind in odd.items():
        yield _case(f".tar, {name}", ".tar", _tar(FILES, special=kind), NoTables(r"a link or a device"))
    yield _case(".zip, a link", ".zip", _zip(FILES, mode=0o120777), NoTables(r"a link or a device"))
    yield _case(".zip, a file twice", ".zip", _zip_twice(), NoTables(r"twice"))
    data = _zip(FILES)
    place = data.index(FILES["X_B02_s1_w1.tif"][:40])
    changed = data[: place + 500] + bytes([data[place + 500] ^ 1]) + data[place + 501 :]
    yield _case(".zip, a changed byte", ".zip", changed, NoTables(rf"{BROKEN}|CRC"))
    yield _case(".zip, without its list", ".zip", data[: data.index(b"PK\x01\x02")], NoTables(BROKEN))


def _case(name, suffix, data, must, **further):
    return ArchiveCase("Archives", name, suffix, data, must, further)


def _zip(files, *, mode=0o100644):
    """Return an archive whose files are not packed; the last has this mode."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, (name, content) in enumerate(files.items(), 1):
            member = zipfile.ZipInfo(name)
            member.external_attr = (mode if number == len(files) else 0o100644) << 16
            archive.writestr(member, content)
    return stream.getvalue()


def _zip_twice():
    """Return an archive that has a file twice."""
    first, second = FILES
    names = _zip({**FILES, "X_B02_s3_w1.tif": b"x"})
    return names.replace(b"X_B02_s3_w1.tif", second.encode())


def _tar(files, packed="", *, special=None):
    """Return an archive, with something that is no file at its end."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{packed}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if special:
            member = tarfile.TarInfo("X_B02_s3_w1.tif")
            member.type, member.linkname = special, "../../../../../../../../etc/hostname"
            archive.addfile(member)
    return stream.getvalue()
