"""Archives from a real server that is slow, forgetful or lying; broken and evil archives; kills; the tables."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from archive_server import FILES, below, pack
from fieldwork import InputError
from fieldwork.inputs import archives, sheets
from fieldwork.messages.secrets import without_secrets
from fieldwork.plates import download, unpack

ENDINGS = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Try again at once; runs of the whole workflow pause as usual."""
    monkeypatch.setattr(download, "PAUSES_S", (0,) * 4)


@pytest.fixture
def zipped(tmp_path):
    return pack(tmp_path / "packed.zip")


def fetch(tmp_path, server, name="P1.zip", **known):
    return download.make_folder(archives.Archive("P1", server.url(name), str(tmp_path / "images/P1"), **known))


def refused(tmp_path, server, *parts, name="P1.zip", kept=(), **known):
    """Check that a download fails with a message, and leaves nothing; return the message."""
    with pytest.raises(InputError) as caught:
        fetch(tmp_path, server, name, **known)
    message = str(caught.value)
    for part in ("plate 'P1': ", server.url(name), *parts):
        assert str(part) in message
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(kept)
    return message


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_of_every_kind_becomes_the_folder_and_is_gone(tmp_path, serve, ending, caplog):
    caplog.set_level(logging.INFO)
    content = pack(tmp_path / f"packed.{ending}")
    server = serve(content)
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    name = f"some%20where/P1.{ending}?download=1"
    facts = fetch(tmp_path, server, name, size=len(content), checksum=f"sha256:{sha256}")
    assert facts == {"url": server.url(name), "bytes": len(content), "sha256": sha256, "md5": md5, "files": 3}
    folder = tmp_path / "images/P1"
    assert below(folder) == FILES
    assert os.listdir(tmp_path / "images") == ["P1"]
    assert json.loads((folder / archives.RECORD).read_text()) == facts
    assert (folder / "P1/a.tif").stat().st_mtime < 3e9  # of now, and not what the archive says
    assert f"the checksum is sha256:{sha256}, as in the sheet" in caplog.text
    assert server.sent == len(content) and len(server.asked) == 1
    assert fetch(tmp_path, server, name) == facts and len(server.asked) == 1


def test_secrets_of_a_url_are_used_and_stand_in_no_file(tmp_path, serve, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve(pack(tmp_path / "packed.zip"))
    server.drop_after, server.ranges = len(server.content) // 2, False
    url = server.url("P1.zip?download=1&sig=T0KEN").replace("//", "//me:S3CRET@")
    archive = archives.Archive("P1", url, str(tmp_path / "images/P1"))
    with pytest.raises(InputError) as broken:
        download.make_folder(archive)
    part = Path(tmp_path, "images/.P1.download/state.json").read_text()
    server.drop_after = None
    facts = download.make_folder(archive)
    assert server.asked[0]["path"].endswith("sig=T0KEN") and server.asked[0]["Authorization"].startswith("Basic ")
    assert below(tmp_path / "images/P1") == FILES
    assert download.make_folder(archive) == facts  # nothing new
    with pytest.raises(InputError, match="from another archive") as other:
        download.make_folder(archive._replace(url=url.replace("T0KEN", "T0KEN2")))
    texts = [part, (tmp_path / "images/P1" / archives.RECORD).read_text(), str(facts), str(archive)]
    texts += [str(broken.value), str(other.value), *map(without_secrets, caplog.messages)]  # as `job_log.logged` does
    assert part and facts["url"] == server.url("P1.zip?download=1&sig=...").replace("//", "//...@")
    assert not any(secret in text for secret in ("S3CRET", "T0KEN") for text in texts)


def test_the_folder_of_an_archive_whose_note_has_all_of_its_url_still_counts(tmp_path, serve, zipped):
    server = serve(zipped)
    url = server.url("P1.zip?key=long")
    archive = archives.Archive("P1", url, str(tmp_path / "images/P1"))
    note = {**download.make_folder(archive), "url": url}  # as older versions wrote it
    del note["url_sha256"]
    (tmp_path / "images/P1" / archives.RECORD).write_text(json.dumps(note))
    assert archives.check_folder(archive) == note


def test_an_archive_on_this_machine_is_unpacked_and_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my archives").mkdir()
    pack(tmp_path / "my archives/P1.tgz")
    for number, url in enumerate(["file:my%20archives/P1.tgz", (tmp_path / "my archives/P1.tgz").as_uri()]):
        facts = download.make_folder(archives.Archive("P1", url, f"images/{number}"))
        assert facts["files"] == 3 and below(Path("images", str(number))) == FILES
    assert sorted(os.listdir("images")) == ["0", "1"]
    with pytest.raises(InputError, match=r"found no file '.*P2.zip', expected the archive"):
        download.make_folder(archives.Archive("P2", "file:my%20archives/P2.zip", "images/2"))
    assert os.listdir("my archives") == ["P1.tgz"] and not Path("images/2").exists()


def test_a_connection_that_is_lost_again_and_again_costs_no_byte_twice_but_those_of_a_block(tmp_path, serve, zipped):
    server = serve(zipped)
    server.drop_after = len(zipped) // 4
    fetch(tmp_path, server)
    assert below(tmp_path / "images/P1") == FILES
    assert [request["If-Range"] for request in server.asked[1:]] == ['"first"'] * (len(server.asked) - 1)
    begins = [int(request["Range"][6:-1]) for request in server.asked[1:]]
    assert begins == sorted(begins) and len(begins) >= 4
    assert server.sent <= len(zipped) + len(begins) * download.BLOCK_BYTES


def test_last_modified_will_do_where_there_is_no_strong_etag(tmp_path, serve, zipped):
    server = serve(zipped)
    server.headers["ETag"] = 'W/"weak"'
    server.drop_after = len(zipped) // 2
    fetch(tmp_path, server)
    assert {request.get("If-Range") for request in server.asked} == {None, "Mon, 02 Nov 2015 10:00:00 GMT"}
    assert below(tmp_path / "images/P1") == FILES


@pytest.mark.parametrize("habit", ["no ranges", "nothing to know it by"])
def test_a_new_start_is_made_where_nothing_can_be_gone_on_from(tmp_path, serve, zipped, habit):
    server = serve(zipped)
    server.drop_after = len(zipped) // 2
    server.ranges = habit != "no ranges"
    if server.ranges:
        server.headers = {}
    message = refused(tmp_path, server, "The same command goes on from there", kept=[".P1.download"])
    assert re.search(r"tried 5 times without getting further than \d+ bytes", message)
    assert len(server.asked) == 5
    server.drop_after = None
    fetch(tmp_path, server)
    assert below(tmp_path / "images/P1") == FILES and os.listdir(tmp_path / "images") == ["P1"]


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range", "no If-Range"])
def test_an_archive_that_changes_meanwhile_is_not_put_together_from_two(tmp_path, serve, zipped, if_range):
    other = {"P1/a.tif": np.random.default_rng(3).bytes(len(zipped))}
    server = serve(zipped)
    server.if_range, server.drop_after = if_range, len(zipped) // 2
    answer = server.answer

    def changed(handler):
        if len(server.asked) == 2:
            server.content, server.drop_after = pack(tmp_path / "other.zip", other), None
            server.headers = {"ETag": '"second"', "Last-Modified": "Tue, 03 Nov 2015 10:00:00 GMT"}
        answer(handler)

    server.answer = changed
    fetch(tmp_path, server)
    assert below(tmp_path / "images/P1") == other
    assert server.asked[1]["If-Range"] == '"first"' and len(server.asked) == 3 - if_range


def test_what_was_fetched_of_another_url_is_not_gone_on_with(tmp_path, serve, zipped):
    server = serve(zipped)
    server.ranges, server.drop_after = False, len(zipped) // 2
    refused(tmp_path, server, kept=[".P1.download"])
    server.ranges, server.drop_after = True, None
    fetch(tmp_path, server, "moved/P1.zip")
    assert "Range" not in server.asked[-1] and below(tmp_path / "images/P1") == FILES


def test_a_server_that_is_busy_is_asked_again_and_one_that_has_nothing_is_not(tmp_path, serve, zipped):
    server = serve(zipped)
    server.status = [404]
    refused(tmp_path, server, "found HTTP status 404 (Not Found), expected the archive; correct the url")
    assert len(server.asked) == 1
    server.status = [503, 429, 500]
    fetch(tmp_path, server)
    assert len(server.asked) == 5


def test_where_there_is_no_server_it_says_so(tmp_path, serve, zipped):
    server = serve(zipped)
    server.close()
    server.close = lambda: None
    refused(tmp_path, server, "tried 5 times", "Connection refused", "Is there a network?")


def test_another_size_is_refused_before_a_byte_is_fetched(tmp_path, serve, zipped):
    server = serve(zipped)
    refused(tmp_path, server, f"found {len(zipped)} bytes on the server, expected 1000", size=1000)
    assert len(server.asked) == 1


def test_another_checksum_is_refused_and_nothing_kept(tmp_path, serve, zipped):
    server = serve(zipped)
    for kind, digits in (("md5", 32), ("sha256", 64)):
        actual = hashlib.new(kind, zipped).hexdigest()
        wrong = f"{kind}:{'0' * digits}"
        refused(tmp_path, server, f"found {kind}:{actual}, expected {wrong}", "correct the sheet", checksum=wrong)
    fetch(tmp_path, server, checksum=f"md5:{hashlib.md5(zipped).hexdigest()}")
    assert below(tmp_path / "images/P1") == FILES


def test_a_server_that_says_wrong_sizes_gives_no_folder(tmp_path, serve, zipped):
    server = serve(zipped)
    server.length = len(zipped) + 1000
    refused(tmp_path, server, "tried 5 times", kept=[".P1.download"])
    server.length = len(zipped) - 1000
    refused(tmp_path, server, "found an archive that is broken")


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_no_whole_archive_is_refused_wherever_it_was_cut_off(tmp_path, serve, ending):
    noise = np.random.default_rng(6)
    content = pack(tmp_path / f"packed.{ending}", {f"{number}.tif": noise.bytes(700) + b"end" for number in range(5)})
    size = len(content)
    if (
        ending == "tar"
    ):  # ends in blocks of zeros, of which the first will do; the last file fills its block with zeros, too
        size = -(-len(content.rstrip(b"\0")) // 512) * 512 + 512
    server = serve(b"")
    for end in sorted({0, 1, 100, 512, *range(600, size, max(1, size // 25)), size - 1}):
        server.content = content[:end]
        refused(tmp_path, server, "found an archive that is broken, or none", "Nothing was kept", name=f"P1.{ending}")
    server.content = b"<!DOCTYPE html><html>Please log in" + b" " * 1000
    refused(tmp_path, server, "its first bytes are b'<!DOCTYPE html><'", name=f"P1.{ending}")
    server.content = pack(tmp_path / f"nothing.{ending}", {})
    refused(tmp_path, server, "without any file", name=f"P1.{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_wrong_byte_ends_in_a_message_or_in_files_and_never_outside(tmp_path, ending):
    packed = tmp_path / f"packed.{ending}"
    content = pack(packed, {"a/b.tif": b"abc" * 500, "c.tif": bytes(range(256))})
    rng = np.random.default_rng(4)
    refusals = 0  # a plain TAR has checksums of its headers only
    for number in range(200):
        spoilt = bytearray(content)
        spoilt[rng.integers(len(content))] ^= 1 << rng.integers(8)
        packed.write_bytes(spoilt)
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            unpack.unpack(packed, folder, is_zip=ending == "zip", progress="P1")
        except InputError:
            refusals += 1
        except OSError as error:  # a size that no disk has room for
            assert error.errno == errno.ENOSPC
            refusals += 1
    assert refusals > 20
    assert sorted(os.listdir(tmp_path)) == sorted([packed.name, *map(str, range(200))])


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


EVIL = {
    "../out": [special("../out", tarfile.REGTYPE)],
    "a/../../out": [special("a/../../out", tarfile.REGTYPE)],
    "/out": [special("{tmp_path}/out", tarfile.REGTYPE)],
    "drive": [special("C:\\out", tarfile.REGTYPE)],
    "backslashes": [special("..\\out", tarfile.REGTYPE)],
    "link out": [special("link", tarfile.SYMTYPE, "../../.."), special("link/out", tarfile.REGTYPE)],
    "link within": [special("link", tarfile.SYMTYPE, "good.tif")],
    "hard link out": [special("link", tarfile.LNKTYPE, "../../../precious")],
    "hard link within": [special("link", tarfile.LNKTYPE, "good.tif")],
    "device": [special("null", tarfile.CHRTYPE)],
    "disk": [special("disk", tarfile.BLKTYPE)],
    "pipe": [special("pipe", tarfile.FIFOTYPE)],
    "twice": [special("good.tif", tarfile.REGTYPE)],
    "twice, otherwise written": [special("./good.tif", tarfile.REGTYPE)],
}


@pytest.mark.parametrize("case", EVIL)
@pytest.mark.parametrize("ending", ["tar", "tgz"])
def test_members_of_a_tar_that_are_not_files_in_the_folder_are_refused(tmp_path, serve, ending, case):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o640)
    with tarfile.open(tmp_path / "evil", "w:gz" if ending == "tgz" else "w") as archive:
        archive.addfile(special("good.tif", tarfile.REGTYPE))
        for member in EVIL[case]:
            name, target = (text.format(tmp_path=tmp_path) for text in (member.name, member.linkname))
            archive.addfile(special(name, member.type, target))
    server = serve((tmp_path / "evil").read_bytes())
    message = refused(tmp_path, server, "Nothing was kept", "unpack it by hand", name=f"P1.{ending}")
    names = [member.name.format(tmp_path=tmp_path) for member in EVIL[case]]
    assert any(f"member {name!r} " in message for name in names) and "broken" not in message
    assert sorted(os.listdir(tmp_path)) == ["evil", "images", "precious"]
    assert precious.read_text() == "precious" and precious.stat().st_mode & 0o777 == 0o640


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name", ["../out", "/out", "a/../../out", "C:/out", "..\\out", "link", "pipe", "secret", "good.tif", "./good.tif"]
)
def test_members_of_a_zip_that_are_not_files_in_the_folder_are_refused(tmp_path, serve, name):
    with zipfile.ZipFile(tmp_path / "evil", "w") as archive:
        archive.writestr("good.tif", "good")
        member = zipfile.ZipInfo(name)
        member.external_attr = {"link": 0o120777, "pipe": 0o010777}.get(name, 0o100644) << 16
        archive.writestr(member, "..")
        if name == "secret":
            member.flag_bits |= 1
    message = refused(tmp_path, serve((tmp_path / "evil").read_bytes()), f"member {name!r} ", "Nothing was kept")
    assert "broken" not in message and sorted(os.listdir(tmp_path)) == ["evil", "images"]


@pytest.mark.parametrize("ending", ["zip", "tgz"])
def test_more_than_the_disk_has_free_is_not_unpacked(tmp_path, serve, ending):
    path = tmp_path / f"bomb.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("first.tif", "first")
            archive.writestr("huge.tif", "huge")
            archive.filelist[-1].file_size = 2**60
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(special("first.tif", tarfile.REGTYPE))
            member = special("huge.tif", tarfile.REGTYPE)
            member.size = 2**60
            archive.addfile(member)
    server = serve(path.read_bytes())
    message = refused(tmp_path, server, "no room on the disk", "Make room", name=f"P1.{ending}", kept=[".P1.download"])
    assert re.search(rf"needs {2**60}\d* bytes|needs {2**60 + 5} bytes", message)
    assert not (tmp_path / "images/.P1.download/unpacked").exists()


def test_a_full_disk_keeps_what_was_fetched(tmp_path, serve, zipped):
    server = serve(zipped)
    work = tmp_path / "images/.P1.download"
    work.mkdir(parents=True)
    (work / "archive").symlink_to("/dev/full")  # the kernel's own full disk
    (work / "state.json").write_text(json.dumps({"url": server.url("P1.zip")}))
    with pytest.raises(InputError, match=r"no room on the disk of '.*images': No space left on device. Make room"):
        fetch(tmp_path, server)
    assert len(server.asked) == 1 and os.listdir(tmp_path / "images") in ([], [".P1.download"])
    fetch(tmp_path, server)
    assert below(tmp_path / "images/P1") == FILES


def test_a_folder_of_the_users_own_is_not_touched(tmp_path, serve, zipped, caplog):
    server = serve(zipped)
    folder = tmp_path / "images/P1"
    folder.mkdir(parents=True)
    (folder / "mine.tif").write_text("mine")
    assert fetch(tmp_path, server) == {"url": server.url("P1.zip")}
    assert not server.asked and below(folder) == {"mine.tif": b"mine"} and not (folder / archives.RECORD).exists()
    assert "is there already, and was not downloaded" in caplog.text
    (folder / archives.RECORD).write_text("{broken")
    assert fetch(tmp_path, server) == {"url": server.url("P1.zip")}


def test_a_folder_of_another_archive_than_the_sheets_is_said_and_stays(tmp_path, serve, zipped):
    server = serve(zipped)
    facts = fetch(tmp_path, server)
    sha256 = f"sha256:{facts['sha256']}"
    assert fetch(tmp_path, server, "mirror.zip", size=len(zipped), checksum=sha256) == facts  # the same bytes
    for name, known, message in [
        ("other.zip", {}, f"found {server.url('P1.zip')}, expected {server.url('other.zip')}"),
        ("P1.zip", {"size": 7}, f"found {len(zipped)} bytes, expected 7"),
        ("P1.zip", {"checksum": f"md5:{'0' * 32}"}, f"found md5:{facts['md5']}, expected md5:000"),
    ]:
        with pytest.raises(InputError) as caught:
            fetch(tmp_path, server, name, **known)
        assert message in str(caught.value) and "Delete that folder and run `snakemake" in str(caught.value)
    assert below(tmp_path / "images/P1") == FILES and len(server.asked) == 1


def test_two_at_once_do_not_write_into_one_archive(tmp_path, serve, zipped):
    work = tmp_path / "images/.P1.download"
    work.mkdir(parents=True)
    with open(work / "lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        refused(tmp_path, serve(zipped), "another process downloads into", kept=[".P1.download"])
    fetch(tmp_path, serve(zipped))


def test_what_a_job_leaves_that_is_killed_at_its_very_end_is_cleared_up(tmp_path, serve, zipped):
    server = serve(zipped)
    facts = fetch(tmp_path, server)
    work = tmp_path / "images/.P1.download"
    (work / "unpacked").mkdir(parents=True)  # before the rename
    (work / "unpacked/half.tif").write_text("half")
    (work / "archive").write_bytes(zipped)
    (work / "state.json").write_text(json.dumps({"url": server.url("P1.zip"), "total": len(zipped)}))
    shutil.move(tmp_path / "images/P1", tmp_path / "aside")
    assert fetch(tmp_path, server) == facts and len(server.asked) == 1
    assert below(tmp_path / "images/P1") == FILES
    work.mkdir()  # after the rename
    (work / "archive").write_bytes(zipped)
    assert fetch(tmp_path, server) == facts
    assert os.listdir(tmp_path / "images") == ["P1"]


def rows(*rows):
    columns = ("plate", "images", "url", "size", "checksum")
    return [
        {None: f"s.tsv, line {line}", **{name: cell for name, cell in zip(columns, row, strict=False) if cell}}
        for line, row in enumerate(rows, 2)
    ]


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ([("a", "x", "", "7")], "line 2: plate 'a' has a size, but no url"),
        ([("a", "x", "", "", "md5:0")], "line 2: plate 'a' has a checksum, but no url"),
        ([("a", "x", "u"), ("b", "./x/", "v")], "line 3: plate 'b' has the folder 'x' of s.tsv, line 2: plate 'a';"),
        ([("a", "x/y/z", "u"), ("b", "x", "v")], "line 2: plate 'a' has a folder in that of s.tsv, line 3: plate 'b'"),
        ([("a", "results/a", "u")], "results/a', in the folder of the results"),
        ([("a", "https://x.org/list.csv", "u")], "line 2: plate 'a' has a url, and images at 'https://x.org/list.csv'"),
    ],
)
def test_sheets_whose_archives_have_no_place_are_refused(tmp_path, monkeypatch, sheet, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        archives.of_sheet(rows(*sheet), results="results")
    assert message in str(caught.value)


def test_a_sheets_rows_become_archives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sheet = rows(("a", "x", "u", "7", "MD5:AB".lower()), ("b", "x/"), ("c", "y/", "v"))
    assert archives.of_sheet(sheet, results="results") == {
        "a": archives.Archive("a", "u", "x", 7, "md5:ab"),
        "c": archives.Archive("c", "v", "y", None, None),
    }


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("ftp://x.org/P1.zip\t\t", "'url' is 'ftp://x.org/P1.zip'; expected the URL of an archive of the images"),
        ("https://x.org/P1.rar\t\t", "'url' is 'https://x.org/P1.rar'; expected the URL of an archive"),
        ("https:P1.zip\t\t", "'url' is 'https:P1.zip'; expected the URL of an archive"),
        ("https://x.org/?P1.zip\t\t", "'url' is 'https://x.org/?...'; expected the URL of an archive"),
        (
            "https://x.org/P1.zip\t1.5 GB\t",
            "'size' is '1.5 GB'; expected the size of the archive",
        ),
        ("https://x.org/P1.zip\t0\t", "'size' is '0'; expected"),
        ("https://x.org/P1.zip\t\tmd5:12", "'checksum' is 'md5:12'; expected the checksum"),
        (f"https://x.org/P1.zip\t\t{'a' * 32}", "; expected the checksum of the archive at url: md5: and 32"),
        (f"https://x.org/P1.zip\t\tsha256:{'g' * 64}", "; expected the checksum"),
    ],
)
def test_wrong_columns_are_one_message(tmp_path, cells, message):
    (tmp_path / "s.tsv").write_text(f"plate\timages\turl\tsize\tchecksum\nP1\tx\t{cells}\n")
    with pytest.raises(InputError) as caught:
        sheets.read_sheet("plates", tmp_path / "s.tsv")
    assert "s.tsv, line 2: '" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://data.broadinstitute.org/bbbc/BBBC021/BBBC021_v1_images_Week1_22123.zip",
        "http://127.0.0.1:8000/P1.TAR.GZ",
        "https://zenodo.org/records/1/files/P1.tar.xz?download=1",
        "https://x.org/P1.tgz#part",
        "file:///data/my archives/P1.tar",
        "file:archives/P1.tar.bz2",
    ],
)
def test_addresses_as_they_come_are_taken(tmp_path, url):
    checksum = f"sha256:{'0aF' * 21}0"
    (tmp_path / "s.tsv").write_text(f"plate\timages\turl\tsize\tchecksum\nP1\tx\t{url}\t12\t{checksum}\n")
    (row,) = sheets.read_sheet("plates", tmp_path / "s.tsv")
    assert archives.of_sheet([row], results="results")["P1"] == ("P1", url, "x", 12, checksum.lower())
