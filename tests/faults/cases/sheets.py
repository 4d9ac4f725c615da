"""Cases of sheets, image lists and platemaps that must be refused, with the file and the line."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.catalogue import RefusalCase, Refused

PLATES, SLIDES, STACKS = (rf"config/{kind}\.tsv" for kind in ("plates", "slides", "stacks"))
IMAGES = ("X_B02_s1_w1.tif", "X_B03_s1_w1.tif")
LETTERS = "x" * 300


def cases() -> Iterator[RefusalCase]:
    """Yield every case of a sheet, an image list or a platemap."""
    tables = {
        "Sheets of plates": (_plates, "config/plates.tsv"),
        "Sheets of slides": (_slides, "config/slides.tsv"),
        "Sheets of stacks": (_stacks, "config/stacks.tsv"),
        "Image lists": (_lists, "list.csv"),
        "Platemaps": (_platemaps, "map.csv"),
    }
    for category, (table, file) in tables.items():
        for name, (content, message) in table().items():
            yield RefusalCase(category, name, _writer(file, content), Refused(message))
    for file in ("config/plates.tsv", "config/slides.tsv", "config/stacks.tsv", "list.csv", "map.csv"):
        for name, write in _kinds_of_files().items():
            yield RefusalCase("Sheets that are no files", f"{file}: {name}", _writer(file, write), Refused(file))
        for name, content in _no_tables().items():
            yield RefusalCase("Sheets that are no tables", f"{file}: {name}", _writer(file, content), Refused(file))


def _writer(file, content):
    """Return a function that writes a folder in which one table is the given one, and all else is good."""

    def write(folder: Path) -> None:
        (folder / "images").mkdir()
        for image in IMAGES:
            (folder / "images" / image).write_bytes(b"not opened")
        (folder / "S.tif").write_bytes(b"not opened")
        if file != "config/plates.tsv":
            cells = {"list.csv": "list.csv\t", "map.csv": "images\tmap.csv"}.get(file, "images\t")
            (folder / "config/plates.tsv").write_text(f"plate\timages\tplatemap\nP1\t{cells}\n")
        if callable(content):
            content(folder / file)
        else:
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def _plates():
    """Return name -> text of the sheet of plates, and what the refusal says."""
    line2, line3 = rf"{PLATES}, line 2", rf"{PLATES}, line 3"
    head = "plate\timages\n"
    refused_names = {
        "empty": "",
        "a dot": ".",
        "two dots": "..",
        "a path": "a/b",
        "a path upwards": "../P",
        "an absolute path": "/P",
        "a wildcard": "{plate}",
        "angle brackets": "<P>",
        "a star": "P*",
        "a question mark": "P?",
        "a quote": "P'1",
        "a hidden folder": ".P",
        "a backslash": "P\\1",
        "a colon": "P:1",
        "a pipe": "P|1",
        "a dollar": "$P",
        "a semicolon": "P;1",
        "an ampersand": "P&1",
        "a null byte": "P\0001",
        "101 letters": "x" * 101,
        "255 letters": "x" * 255,
        "300 letters": LETTERS,
        "a percent sign": "%s",
        "a control character": "P\x07",
        "an escape": "P\x1b[31m",
        "a right-to-left mark": "P\u202e1",
        "a zero-width blank": "P\u200b1",
        "an at sign": "@P",
        "an exclamation mark": "!P",
        "a formula": "=1+1",
        "a tilde": "~P",
        "a hash": "#P",
        "a dash": "-P",
    }
    names = {f"a plate's name: {kind}": (f"{head}{name}\timages\n", PLATES) for kind, name in refused_names.items()}
    numbers = {
        f"{column}: {value[:12]}": (f"plate\timages\t{column}\nP1\timages\t{value}\n", line2)
        for column in ("sigma", "threshold", "diameter", "contrast", "min_distance")
        for value in ("many", "1,5", "9" * 400, "9" * 5000, "nan", "inf", "-", "1e999", "0x10", "--1")
        if not (column == "threshold" and value == "9" * 5000)
    }
    return names | numbers | {
        "no column of images": ("plate\nP1\n", rf"{PLATES}, line 1.*images"),
        "no column of plates": ("images\nimages\n", rf"{PLATES}, line 1.*plate"),
        "an unknown column": ("plate\timages\tcolour\nP1\timages\tred\n", rf"{PLATES}, line 1.*colour"),
        "a column twice": ("plate\timages\timages\nP1\timages\timages\n", rf"{PLATES}, line 1"),
        "a column in two spellings": ("plate\timages\tImages\nP1\timages\timages\n", rf"{PLATES}, line 1"),
        "a plate twice": (f"{head}P1\timages\nP1\timages\n", line3),
        "plates that differ in case only": (f"{head}P1\timages\np1\timages\n", line3),
        "more cells than the header": (f"{head}P1\timages\tx\ty\n", line2),
        "no images": (f"{head}P1\t\n", line2),
        "a folder that does not exist": (f"{head}P1\timgaes\n", rf"{line2}.*images"),
        "a folder without images": (f"{head}P1\tconfig\n", r"P1|config"),
        "a folder as Windows writes it": (f"{head}P1\tC:\\data\n", rf"{line2}.*Windows"),
        "a folder with a wildcard": (f"{head}P1\t{{images}}\n", line2),
        "a folder with a name of 300 letters": (f"{head}P1\t{LETTERS}\n", line2),
        "a folder below a file": (f"{head}P1\tS.tif/images\n", line2),
        "a folder below a device": (f"{head}P1\t/dev/null/x\n", line2),
        "a device": (f"{head}P1\t/dev/zero\n", line2),
        "an image": (f"{head}P1\timages/{IMAGES[0]}\n", r"P1|line 2"),
        "results as images": (f"{head}P1\tresults\n", line2),
        "a scheme that nobody knows": (f"{head}P1\tgopher://a/b\n", line2),
        "a secret in a URL": (f"{head}P1\thttp://me:secret@localhost/a.csv\n", rf"^(?!.*secret).*{line2}"),
        "a layout that does not exist": ("plate\timages\tlayout\nP1\timages\tnone\n", r"P1|line 2.*none|none"),
        "a platemap that does not exist": ("plate\timages\tplatemap\nP1\timages\tnone.csv\n", rf"{line2}.*none\.csv"),
        "a method that does not exist": ("plate\timages\tmethod\nP1\timages\tno.where\n", r"line 2|no\.where"),
        "keys of two methods": ("plate\timages\tmethod\tsigma\nP1\timages\tauto\t4\n", line2),
        "calibrated with itself": ("plate\timages\tcalibrate_with\nP1\timages\tP1\n", line2),
        "calibrated with nobody": ("plate\timages\tcalibrate_with\nP1\timages\tP9\n", rf"{line2}.*P9"),
        "calibrated in a circle": ("plate\timages\tcalibrate_with\nP1\timages\tP2\nP2\timages\tP1\n", r"line [23]"),
        "a format that is none": ("plate\timages\tplate_format\nP1\timages\t97\n", rf"{line2}.*97"),
        "an archive that is none": ("plate\timages\turl\nP1\timages\thttp://localhost/a.rar\n", rf"{line2}"),
        "a size that is none": ("plate\timages\tsize\nP1\timages\t-5\n", rf"{line2}"),
        "a checksum that is none": ("plate\timages\tchecksum\nP1\timages\tmd5:1\n", rf"{line2}"),
        "an error of a formula": (f"{head}#N/A\timages\n", line2),
    }  # fmt: skip


def _slides():
    """Return name -> text of the sheet of slides, and what the refusal says."""
    line2 = rf"{SLIDES}, line 2"
    columns = {
        "reader": ("paint", "tifffile2"),
        "mpp": ("0", "0.001", "many", "9" * 400, "1e999"),
        "magnification": ("0", "1000", "x40", "9" * 400),
        "modality": ("pink",),
        "series": ("-1", "12345", "a"),
        "regions": ("none.geojson", "/dev/zero", "images"),
        "plate": ("a/b", "..", "x" * 101),
    }
    return {
        f"{column}: {value[:16]}": (f"slide\tpath\t{column}\nS\tS.tif\t{value}\n", line2)
        for column, values in columns.items()
        for value in values
    } | {
        "no column of paths": ("slide\nS\n", rf"{SLIDES}, line 1.*path"),
        "a path that does not exist": ("slide\tpath\nS\tT.tif\n", rf"{line2}.*T\.tif"),
        "a folder": ("slide\tpath\nS\timages\n", line2),
        "a device": ("slide\tpath\nS\t/dev/zero\n", line2),
        "a slide twice": ("slide\tpath\nS\tS.tif\nS\tS.tif\n", rf"{SLIDES}, line 3"),
        "slides that differ in case only": ("slide\tpath\nS\tS.tif\ns\tS.tif\n", rf"{SLIDES}, line 3"),
        "a name of 300 letters": (f"slide\tpath\n{LETTERS}\tS.tif\n", line2),
        "a path of 300 letters": (f"slide\tpath\nS\t{LETTERS}\n", line2),
        "a path upwards as a name": ("slide\tpath\n../S\tS.tif\n", line2),
        "a wildcard in a path": ("slide\tpath\nS\t{slide}.tif\n", line2),
    }  # fmt: skip


def _stacks():
    """Return name -> text of the sheet of stacks, and what the refusal says."""
    line2 = rf"{STACKS}, line 2"
    return {
        "no column of paths": ("stack\nS\n", rf"{STACKS}, line 1.*path"),
        "an unknown column": ("stack\tpath\tz\nS\tS.tif\t1\n", rf"{STACKS}, line 1.*z"),
        "a path that does not exist": ("stack\tpath\nS\tT.tif\n", rf"{line2}.*T\.tif"),
        "a device": ("stack\tpath\nS\t/dev/zero\n", line2),
        "a path of 300 letters": (f"stack\tpath\nS\t{LETTERS}\n", line2),
        "a path below a file": ("stack\tpath\nS\tS.tif/x\n", line2),
        "a stack twice": ("stack\tpath\nS\tS.tif\nS\tS.tif\n", rf"{STACKS}, line 3"),
        "a name of 300 letters": (f"stack\tpath\n{LETTERS}\tS.tif\n", line2),
        "a path upwards as a name": ("stack\tpath\n../S\tS.tif\n", line2),
        "a wildcard in a path": ("stack\tpath\nS\t<results>.tif\n", line2),
    }


def _lists():
    """Return name -> text of an image list, and what the refusal says."""
    head = "FileName_DNA,PathName_DNA,Metadata_Well,Metadata_Site\n"
    row = f"{IMAGES[0]},images,B02,1\n"
    return {
        "no columns of files": ("Metadata_Well,Metadata_Site\nB02,1\n", r"list\.csv.*FileName_"),
        "no column of wells": (f"FileName_DNA,PathName_DNA\n{IMAGES[0]},images\n", r"list\.csv.*[Ww]ell"),
        "no rows": (head, r"list\.csv"),
        "a well that is none": (head + row.replace("B02", "nowhere"), r"list\.csv, line 2.*nowhere"),
        "a site that is none": (head + row.replace(",1\n", ",one\n"), r"list\.csv, line 2.*one"),
        "a site of 400 digits": (head + row.replace(",1\n", f",{'9' * 400}\n"), r"list\.csv, line 2"),
        "a site of 5,000 digits": (head + row.replace(",1\n", f",{'9' * 5000}\n"), r"list\.csv, line 2"),
        "two files of one field": (head + row + row.replace("B02_s1", "B03_s1"), r"P1.*twice.*X_B03_s1_w1\.tif"),
        "a column twice": (f"{head[:-1]},FileName_DNA\n{row[:-1]},x\n", r"list\.csv, line [12].*FileName_DNA"),
        "more cells than the header": (head + row[:-1] + ",x,y\n", r"list\.csv, line 2"),
        "a series that is none": (f"{head[:-1]},Series_DNA\n{row[:-1]},many\n", r"list\.csv, line 2.*many"),
        "a frame below 0": (f"{head[:-1]},Frame_DNA\n{row[:-1]},-1\n", r"list\.csv, line 2.*-1"),
        "a wildcard in a path": (head + row.replace("images", "{images}"), r"\{images\}/X_B02"),
    }


def _platemaps():
    """Return name -> text of a platemap, and what the refusal says."""
    return {
        "no column of wells": ("drug\nDMSO\n", r"map\.csv.*well"),
        "a well twice": ("well,drug\nB02,a\nB02,b\n", r"map\.csv, line 3.*B02"),
        "a well in two spellings": ("well,drug\nB02,a\nb2,b\n", r"map\.csv, line 3"),
        "a well that is none": ("well,drug\nnowhere,a\n", r"map\.csv, line 2.*nowhere"),
        "a well of 5,000 digits": (f"well,drug\n{'9' * 5000},a\n", r"map\.csv, line 2"),
        "a column twice": ("well,drug,drug\nB02,a,b\n", r"map\.csv, line 1"),
        "more cells than the header": ("well,drug\nB02,a,b\n", r"map\.csv, line 2"),
        "an error of a formula": ("well,drug\nB02,#REF!\n", r"map\.csv, line 2.*#REF!"),
        "other signs between cells": ("well,drug\nB02,a\nB03;b\n", r"map\.csv, line 3"),
        "a quote that does not end": ('well,drug\nB02,"a\nB03,b\n', r"map\.csv"),
    }  # fmt: skip


def _no_tables():
    """Return name -> bytes that are no table."""
    numbers = random.Random(26)
    return {
        "random bytes": bytes(numbers.randrange(256) for _ in range(2000)),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "a workbook that is cut": b"PK\x03\x04" + bytes(range(256)),
        "an old workbook that is cut": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "Latin-1": "well\tdrüg\nB02\tx\n".encode("latin-1"),
        "UTF-16 that is cut": "plate\timages\nP1\timages\n".encode("utf-16")[:-1],
        "zeros": bytes(1000),
        "a page of a web server": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    }


def _kinds_of_files() -> dict[str, Callable[[Path], None]]:
    """Return name -> function that writes something in a table's place."""

    def sparse(path: Path) -> None:
        path.touch()
        os.truncate(path, 2**40)

    return {
        "a folder": Path.mkdir,
        "a pipe": os.mkfifo,
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nothing": lambda path: path.symlink_to("gone.tsv"),
        "a terabyte of nothing": sparse,
    }
