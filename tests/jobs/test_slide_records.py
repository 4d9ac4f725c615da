"""What slide.json says of a slide: failed where too much is lost, JSON, and nothing of a person where it may not be."""

import json
import os
import subprocess
import sys

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

import merge_slides
import plot_slide
import stained
from slide_files import damage_tile, picture, write_slide
from workspace import SCRIPTS

PROGRAM = """
import json, sys
import convert_slide
from fieldwork.job_log import logged
if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    with logged(arguments.pop("log")):
        convert_slide.main(**arguments)
"""
SETTINGS = {
    **{"reader": "auto", "version": "0.5", "chunk": 64, "shard": 256, "codec": "zstd", "level": 1, "workers": 2},
    **{"on_bad_image": "record", "max_failed": 0.05, "made_by": "test", "mpp": None, "magnification": None},
    **{"keep_associated": True, "keep_properties": True},
}
SECRETS = ("Jane Doe", "BARCODE-4711", "1999:12:31", "31/12/99")
LABEL = (1, 251, 77)  # its colour
ICC = bytes(128) + b"Jane Doe's scanner, 1999:12:31"
ARTIST = (315, 2, 23, b"Jane Doe BARCODE-4711 \0", True)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def convert(path, folder, **changes):
    """Convert a slide by the job's script; return what slide.json says, and the job's log with its output."""
    folder.mkdir(exist_ok=True)
    arguments = SETTINGS | {"slide": "S", "path": str(path), "copy": str(path), "log": str(folder / "log.txt")}
    arguments |= {"store": str(folder / "S.ome.zarr"), "facts_file": str(folder / "slide.json")}
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "FIELDWORK_RUN": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments | changes)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((folder / "slide.json").read_text(encoding="utf-8"), parse_constant=refuse)
    return facts, (folder / "log.txt").read_text() + done.stderr


def write_aperio(path, *, power="20", mpp="0.5"):
    """Write an Aperio slide with a label, a user, a barcode and dates, and a tag that cannot be decoded."""
    about = f"AppMag = {power}|MPP = {mpp}|User = Jane Doe|Barcode = BARCODE-4711|Date = 31/12/99"
    options = {"metadata": None, "datetime": "1999:12:31 12:00:00"}
    label = np.broadcast_to(np.array(LABEL, np.uint8), (40, 50, 3)).copy()
    image, comment = np.pad(picture(260, 300), [(0, 60), (0, 20), (0, 0)]), b"\xff\xfe\x00\x0aJane Doe"
    tiles = [
        imagecodecs.jpeg8_encode(np.ascontiguousarray(image[y : y + 64, x : x + 64]), level=90, subsampling="444")
        for y in range(0, 320, 64)
        for x in range(0, 320, 64)
    ]
    artist = b"\xff\xfe Jane Doe BARCODE-4711\0"
    with tifffile.TiffWriter(path) as tif:
        description = f"Aperio Image Library v11.2.1\r\n300x260 [0,0 300x260] (64x64) JPEG/RGB Q=70|{about}"
        tif.write(
            (tile[:2] + comment + tile[2:] for tile in tiles),
            shape=(260, 300, 3),
            dtype=np.uint8,
            tile=(64, 64),
            compression="jpeg",
            subsampling=(1, 1),
            description=description,
            extratags=[(315, 2, len(artist), artist, True)],
            photometric="ycbcr",
            **options,
        )
        tif.write(
            label,
            photometric="rgb",
            description=f"Aperio Image Library v11.2.1\r\nlabel 50x40|{about}",
            rowsperstrip=40,
            **options,
        )
    return path


def everything(folder):
    """Return the bytes of all files below a folder, as text, and their names; of tables also what is compressed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    tables = [pq.read_table(path) for path in files if path.suffix == ".parquet"]
    texts = [f"{table.schema.metadata}\n{table.to_pylist()}" for table in tables]
    return "\n".join([*texts, *(f"{path}\n{path.read_bytes().decode('latin-1')}" for path in files)])


def test_properties_and_label_are_kept_by_default(tmp_path):
    facts, _ = convert(write_aperio(tmp_path / "a.svs"), tmp_path / "out", codec="keep", version="0.4")
    assert (facts["status"], facts["mpp"], facts["mpp_source"]) == ("ok", [0.5, 0.5], "Aperio")
    assert b"Jane Doe" in (tmp_path / "out/S.ome.zarr/0/0/0/0").read_bytes()
    assert facts["properties"]["aperio.User"] == "Jane Doe"
    text = everything(tmp_path / "out")
    assert all(secret in text for secret in SECRETS)
    [(_, label)] = zarr.open_group(tmp_path / "out/S.ome.zarr", mode="r")["associated"].groups()
    assert (label["0"][:] == np.array(LABEL)[:, None, None]).all()


@pytest.mark.parametrize("codec", ["zstd", "keep"])
def test_what_is_not_to_be_kept_is_in_no_file(tmp_path, codec):
    options = {"keep_associated": False, "keep_properties": False, "codec": codec, "version": "0.4"}
    facts, log = convert(write_aperio(tmp_path / "a.svs"), tmp_path / "out", **options)
    assert (facts["status"], facts["codec"], facts["mpp"], facts["objective_power"]) == ("ok", codec, [0.5, 0.5], 20)
    assert facts["properties"] == {}
    text = everything(tmp_path / "out") + log
    assert not [secret for secret in SECRETS if secret in text]
    assert not (tmp_path / "out/S.ome.zarr/associated").exists()


@pytest.mark.parametrize("kept", [True, False])
def test_names_of_pictures_are_properties(tmp_path, kept):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for seed in (0, 1):
            metadata = {"axes": "YXS", "Name": f"Jane Doe {seed}", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
            tif.write(picture(260, 300, seed), photometric="rgb", tile=(64, 64), metadata=metadata)
    facts, log = convert(tmp_path / "a.ome.tif", tmp_path / "out", keep_properties=kept)
    assert facts["status"] == "ok" and len(facts["other_series"]) == 1
    assert ("Jane Doe 1" in facts["other_series"][0]) == kept == ("Jane Doe" in everything(tmp_path / "out") + log)


def write_ome(path):
    """Write an OME-TIFF that names a person wherever it can, but for its channels; a label; a unit that is none."""
    xml = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" Creator="Jane Doe">
        <Experimenter ID="Experimenter:0" FirstName="Jane Doe" Email="BARCODE-4711"/>
        {images}
        <StructuredAnnotations><CommentAnnotation ID="Annotation:0"><Value>Jane Doe</Value></CommentAnnotation>
        </StructuredAnnotations></OME>"""
    image = """<Image ID="Image:{number}" Name="Jane Doe {number}"><AcquisitionDate>1999:12:31</AcquisitionDate>
        <Description>BARCODE-4711</Description>
        <Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint8" SizeX="300"
        SizeY="260" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeXUnit="Jane Doe" PhysicalSizeY="0.5">
        <Channel ID="Channel:{number}:0" SamplesPerPixel="3" Fluor="Jane Doe"/><TiffData IFD="{number}" PlaneCount="1">
        <UUID FileName="Jane Doe.ome.tif">urn:uuid:BARCODE-4711</UUID></TiffData></Pixels></Image>"""
    xml = xml.format(images="".join(image.format(number=number) for number in (0, 1)))
    texts = {"software": "Jane Doe", "datetime": "1999:12:31 12:00:00", "iccprofile": ICC, "extratags": [ARTIST]}
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": None} | texts
    with tifffile.TiffWriter(path) as tif:
        tif.write(picture(260, 300), description=xml.encode(), **options)
        tif.write(picture(260, 300, 1), **options)
        tif.write(picture(40, 50), description="label Jane Doe", **options | {"tile": None})
    return path


def write_imagej(path):
    """Write an ImageJ file with a person in all that it may state, and a unit that is none."""
    metadata = {
        "axes": "YXS",
        "Info": "Jane Doe",
        "unit": "Jane Doe",
        "Labels": ["Jane Doe"],
        "Barcode": "BARCODE-4711",
    }
    options = {"datetime": "1999:12:31 12:00:00", "iccprofile": ICC, "extratags": [ARTIST], "resolution": (2, 2)}
    tifffile.imwrite(path, picture(260, 300), imagej=True, metadata=metadata, **options)
    return path


def write_qptiff(path):
    """Write a QPTIFF in colour with a person in its descriptions, and a label."""
    text = """<?xml version="1.0" encoding="utf-8"?><PerkinElmer-QPI-ImageDescription><Operator>Jane Doe</Operator>
        <SlideID>BARCODE-4711</SlideID><AcquisitionTime>1999:12:31</AcquisitionTime><ImageType>{}</ImageType>
        </PerkinElmer-QPI-ImageDescription>"""
    options = {"photometric": "rgb", "metadata": None, "software": "PerkinElmer-QPI", "iccprofile": ICC}
    with tifffile.TiffWriter(path) as tif:
        image = picture(260, 300)
        tif.write(image, description=text.format("FullResolution"), tile=(64, 64), **options)
        tif.write(image[::4, ::4], description=text.format("Thumbnail"), **options)
        tif.write(image[::2, ::2], description=text.format("ReducedResolution"), tile=(64, 64), **options)
        tif.write(picture(40, 50), description=text.format("Label"), **options)
    return path


def write_named_pages(path):
    """Write several regions, and pages of other kinds, all of which have a person's name."""
    with tifffile.TiffWriter(path) as tif:
        for seed, shape in enumerate([(260, 300), (250, 300), (30, 40), (700, 900)]):
            name = b"Jane Doe, label\0" if shape == (700, 900) else b"Jane Doe BARCODE-4711\0"
            tags = [ARTIST, (285, 2, len(name), name, True)]
            options = {"photometric": "rgb", "metadata": None, "datetime": "1999:12:31 12:00:00", "extratags": tags}
            tif.write(picture(*shape, seed), tile=(64, 64), **options)
    return path


def write_cut(path):
    """Write half of a slide."""
    path.write_bytes(write_ome(path).read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("write", "changes"),
    [
        (write_aperio, {}),
        (write_aperio, {"reader": "openslide"}),
        (write_ome, {}),
        (write_ome, {"reader": "tifffile", "series": 1}),
        (write_imagej, {}),
        (write_qptiff, {}),
        (write_named_pages, {}),
        (write_cut, {}),
    ],
)
def test_no_output_of_any_job_has_what_is_not_to_be_kept(tmp_path, write, changes):
    folder = tmp_path / "out"
    path = write(tmp_path / ("a.svs" if write is write_aperio else "a.tif"))
    assert any(secret.encode() in path.read_bytes() for secret in SECRETS)
    facts, log = convert(path, folder, keep_associated=False, keep_properties=False, codec="none", **changes)
    assert facts["status"] == ("failed" if write is write_cut else "ok")
    if facts["status"] == "ok":
        stained.calibrate(folder, picture=True)
        stained.detect(folder)
        common = {"slide": "S", "facts": folder / "slide.json", "nuclei_table": folder / "nuclei.parquet"}
        plot_slide.main(store=folder / "S.ome.zarr", picture=folder / "slide.png", **common)
        assert not (folder / "S.ome.zarr/associated").exists() and not list(folder.rglob("profile.icc"))
    else:
        stained.detect(folder)
    tables = [[folder / f"{name}.parquet"] for name in ("tiles", "nuclei")]
    options = {"on_bad_image": "record", "max_failed": 0.05, "table": folder / "slides.csv"}
    merge_slides.main(plate="P", slides=[folder / "slide.json"], tiles=tables[0], nuclei=tables[1], **options)
    text = everything(folder) + log
    assert not [secret for secret in SECRETS if secret in text]


def test_properties_go_when_they_are_no_longer_to_be_kept(tmp_path):
    slide = write_aperio(tmp_path / "a.svs")
    convert(slide, tmp_path / "out")
    convert(slide, tmp_path / "out", keep_associated=False, keep_properties=False)
    text = everything(tmp_path / "out")
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("odd", ["nan", "inf", ""])
def test_odd_numbers_of_a_file_are_json_and_unknown(tmp_path, odd):
    facts, log = convert(write_aperio(tmp_path / "a.svs", power=odd, mpp=odd), tmp_path / "out")
    assert (facts["status"], facts["mpp"], facts["objective_power"]) == ("ok", None, None)
    assert facts["mpp_source"] == "unknown" and facts["tissue_area_mm2"] is None
    [warning] = [warning for warning in facts["warnings"] if warning.startswith("pixel size unknown")]
    assert log.count(f"WARNING {tmp_path / 'a.svs'}: {warning}") == 2  # in the log, and once on the terminal


def test_what_the_sheet_states_is_in_record_and_store(tmp_path):
    slide = write_slide(tmp_path / "a.tif", picture(260, 300))
    facts, log = convert(slide, tmp_path / "out", mpp=0.25, magnification=40.0)
    assert (facts["mpp"], facts["mpp_source"], facts["objective_power"]) == ([0.25, 0.25], "sheet", 40)
    assert "the sheet's mpp, 0.25, counts" in log
    image = zarr.open_group(tmp_path / "out/S.ome.zarr", mode="r").attrs["ome"]["multiscales"][0]
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1, 0.25, 0.25]


def test_a_slide_has_failed_where_more_is_lost_than_is_allowed(tmp_path):
    slide = write_slide(tmp_path / "a.tif", picture(256, 256), compression="jpeg")
    damage_tile(slide, "zeros")  # one of 16 tiles
    facts, log = convert(slide, tmp_path / "out", max_failed=0.07)
    assert (facts["status"], facts["failed_share"], len(facts["failed_tiles"])) == ("ok", 1 / 16, 1)
    assert (tmp_path / "out/S.ome.zarr").exists() and "1 tile(s) could not be decoded and are blank" in log
    facts, log = convert(slide, tmp_path / "out", max_failed=0.06)
    assert (facts["status"], facts["failed_share"], facts["width"]) == ("failed", 1 / 16, 256)
    assert facts["error"] == "6.25 % of its pixels cannot be decoded; max_failed_fields allows 6 %"
    assert sorted(os.listdir(tmp_path / "out")) == ["log.txt", "slide.json"]
    assert f"slide S failed: {slide}: 6.25 %" in log
