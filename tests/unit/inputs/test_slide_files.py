"""All files of a slide are listed, and those that are missing."""

import struct

import numpy as np
import pytest
import tifffile

from fieldwork.inputs.inside.slide_files import files_of, missing_files
from fieldwork.slides import SlideError, readers

NAMESPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
SET_UUID = "urn:uuid:99999999-0000-0000-0000-000000000000"


def names(files):
    return [file.rpartition("/")[2] for file in files]


def write_set(folder, image, *, companion=False):
    """Write a set of OME-TIFF files, one for each channel of a (c, y, x) array; return the path of the first."""
    uuids = [f"urn:uuid:{number:08d}-0000-0000-0000-000000000000" for number in range(len(image))]
    parts = "".join(
        f'<TiffData FirstC="{n}" IFD="0" PlaneCount="1"><UUID FileName="f{n}.ome.tif">{uuid}</UUID></TiffData>'
        for n, uuid in enumerate(uuids)
    )
    channels = "".join(f'<Channel ID="Channel:0:{n}" Name="stain {n}"/>' for n in range(len(image)))
    pixels = (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{image.shape[2]}" '
        f'SizeY="{image.shape[1]}" SizeC="{len(image)}" SizeZ="1" SizeT="1" PhysicalSizeX="0.25" PhysicalSizeY="0.25">'
        f"{channels}{parts}</Pixels></Image>"
    )
    inside = f'<BinaryOnly MetadataFile="set.companion.ome" UUID="{SET_UUID}"/>' if companion else pixels
    for n, uuid in enumerate(uuids):
        xml = f'<OME {NAMESPACE} UUID="{uuid}">{inside}</OME>'
        options = {"photometric": "minisblack", "metadata": None, "description": xml}
        tifffile.imwrite(folder / f"f{n}.ome.tif", image[n], **options)
    if companion:
        (folder / "set.companion.ome").write_text(f'<OME {NAMESPACE} UUID="{SET_UUID}">{pixels}</OME>')
    return folder / "f0.ome.tif"


@pytest.mark.parametrize("companion", [False, True])
def test_a_set_of_ome_tiff_files_is_one_slide_and_a_missing_file_is_named(tmp_path, companion):
    image = np.random.default_rng(0).integers(0, 60000, (3, 120, 90), dtype=np.uint16)
    path = write_set(tmp_path, image, companion=companion)
    expected = ["f0.ome.tif", "f1.ome.tif", "f2.ome.tif", *["set.companion.ome"] * companion]
    assert names(files_of(path)) == expected
    slide = readers.open_slide(path, "tifffile")
    np.testing.assert_array_equal(slide.read(0, 0, 0, 120, 90), image.transpose(1, 2, 0))
    assert slide.mpp == (0.25, 0.25)
    assert [channel.name for channel in slide.channels] == ["stain 0", "stain 1", "stain 2"]
    slide.close()
    slide = readers.open_slide(tmp_path / "f1.ome.tif", "tifffile")  # whichever of them the sheet names
    np.testing.assert_array_equal(slide.read(0, 0, 0, 120, 90), image.transpose(1, 2, 0))
    slide.close()
    for gone in expected[1:]:
        (tmp_path / gone).rename(tmp_path / "elsewhere")
        with pytest.raises(SlideError, match=gone):
            readers.open_slide(path, "tifffile")
        (tmp_path / "elsewhere").rename(tmp_path / gone)


def test_one_file_alone_is_alone_also_under_another_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((2, 40, 30), np.uint16), metadata={"axes": "CYX"})
    (tmp_path / "a.ome.tif").rename(tmp_path / "b.ome.tif")
    (tmp_path / "c.svs").write_text("no slide")
    for name in ("b.ome.tif", "c.svs", "absent.svs"):
        assert names(files_of(tmp_path / name)) == [name]
        assert missing_files(tmp_path / name) == []


def test_the_folder_of_a_mirax_slide_and_what_its_list_names(tmp_path):
    (tmp_path / "a.mrxs").write_bytes(b"")
    assert names(missing_files(tmp_path / "a.mrxs")) == ["a", "Slidedat.ini"]
    (tmp_path / "a").mkdir()
    text = "[HIERARCHICAL]\nINDEXFILE = Index.dat\n[DATAFILE]\nFILE_COUNT = 2\nFILE_0 = D0.dat\nFILE_1 = D1.dat\n"
    (tmp_path / "a/Slidedat.ini").write_text("\ufeff" + text, encoding="utf-8")
    for name in ("Index.dat", "D0.dat"):
        (tmp_path / "a" / name).touch()
    assert names(files_of(tmp_path / "a.mrxs")) == ["a.mrxs", "D0.dat", "D1.dat", "Index.dat", "Slidedat.ini"]
    assert names(missing_files(tmp_path / "a.mrxs")) == ["D1.dat"]


@pytest.mark.parametrize("suffix", ["vms", "vmu"])
def test_the_files_that_hamamatsus_lists_name(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    lines = ["[Virtual Microscope Specimen]", "NoLayers=1", "ImageFile=a.jpg", "ImageFile(1,0)=a(1,0).jpg"]
    path.write_text("\n".join([*lines, "MapFile=map.jpg", "OptimisationFile=a.opt", "MacroImage=macro.jpg"]))
    listed = ["a(1,0).jpg", "a.jpg", "a.opt", "macro.jpg", "map.jpg"]
    assert names(files_of(path)) == [path.name, *listed]
    for name in listed[1:]:
        (tmp_path / name).touch()
    assert names(missing_files(path)) == ["a(1,0).jpg"]


def test_dicom_files_of_a_folder_belong_together(tmp_path):
    for name in ("b.dcm", "a.dcm", "c"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM and more")
    (tmp_path / "notes.txt").write_text("D" * 200)
    (tmp_path / "unreadable").symlink_to("/proc/self/mem")  # for root, too
    assert names(files_of(tmp_path / "b.dcm")) == ["b.dcm", "a.dcm", "c"]


def element(group, number, kind, value, length=None):
    """Return an element of a DICOM file, with explicit type."""
    length = len(value) if length is None else length
    size = struct.pack("<HI", 0, length) if kind in (b"OB", b"SQ") else struct.pack("<H", length)
    return struct.pack("<HH", group, number) + kind + size + value


def dicom(series, *, undefined=False):
    """Return the bytes of a DICOM file of a series, whose sequence before it names another series, and holds one."""
    item, end = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    close = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    inner = element(0x0020, 0x000E, b"UI", b"9.9\0") + element(0x0040, 0xA170, b"SQ", item + end + close, 0xFFFFFFFF)
    items = item + inner + end + close if undefined else struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    content = element(0x0002, 0x0001, b"OB", b"\0\1") + element(0x0008, 0x0060, b"CS", b"SM")
    content += element(0x0008, 0x1115, b"SQ", items, 0xFFFFFFFF if undefined else None)
    return bytes(128) + b"DICM" + content + element(0x0020, 0x000E, b"UI", series)


@pytest.mark.parametrize("undefined", [False, True])
def test_dicom_files_of_another_series_are_another_slides(tmp_path, undefined):
    for name, series in (("a", b"1.2\0"), ("b", b"1.2 "), ("c", b"1.23"), ("d", b"9.9\0")):
        (tmp_path / name).write_bytes(dicom(series, undefined=undefined))
    (tmp_path / "unknown").write_bytes(bytes(128) + b"DICM")
    assert names(files_of(tmp_path / "b")) == ["b", "a", "unknown"]
    assert names(files_of(tmp_path / "c")) == ["c", "unknown"]
    (tmp_path / "a").write_bytes(dicom(b"1.23", undefined=undefined))
    assert names(files_of(tmp_path / "c")) == ["c", "a", "unknown"]
