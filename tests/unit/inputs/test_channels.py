"""Names of channels: from the configuration, image lists, file names and OME files; and which are measured."""

import os
import re

import numpy as np
import pytest
import tifffile

from fieldwork import InputError
from fieldwork.inputs import channels, image_lists, layouts
from fieldwork.inputs.channels import Channel
from fieldwork.inputs.inside import headers
from fieldwork.inputs.plates import Plate

PIXELS = np.zeros((8, 9), np.uint16)


def plate_of(tokens, *, nuclei=None, layout="metaxpress", folder="images"):
    images = [layouts.Image(f"{folder}/B02_{token}.tif", "B02", 1, token, None, None) for token in tokens]
    nuclei = nuclei or layouts.nuclei_channel(images)
    return Plate("P1", layouts.Scan(layout, images, [], [], [], []), nuclei, {}, None)


def names_of(plate, given=None):
    return [tuple(channel) for channel in channels.channels_of(plate, given or {})]


def write_ome(path, names, **options):
    pixels = np.stack([PIXELS] * len(names)) if len(names) > 1 else PIXELS
    metadata = {"axes": "CYX" if len(names) > 1 else "YX", "Channel": {"Name": names if len(names) > 1 else names[0]}}
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata, ome=True, **options)


@pytest.mark.parametrize("token", ["w1", "d0", "ch5", "C01", "1", "rc2-ch1", "Channel:0:0", "405", "x2"])
def test_a_token_is_no_name_so_the_nuclei_channel_is_dna_and_others_keep_theirs(token):
    assert names_of(plate_of([token, "w9"], nuclei=token)) == [("DNA", token), ("w9", "w9")]
    (_, other) = channels.channels_of(plate_of(["w9", token], nuclei="w9"), {})
    assert other.name == re.sub("[^A-Za-z0-9]", "_", token) and other.token == token


def test_file_names_and_image_lists_may_have_names_and_odd_characters_become_underscores():
    assert names_of(plate_of(["DAPI - DAPI", "Alexa 488", "α-Tubulin"])) == [
        ("DAPI___DAPI", "DAPI - DAPI"),
        ("Alexa_488", "Alexa 488"),
        ("__Tubulin", "α-Tubulin"),
    ]
    listed = plate_of(["Actin", "DAPI", "w4"], layout=image_lists.LAYOUT_NAME)
    assert names_of(listed) == [("DAPI", "DAPI"), ("Actin", "Actin"), ("w4", "w4")]


def test_the_configuration_comes_before_all_others_in_any_case(tmp_path):
    given = {"W1": "Hoechst", "w2": "Tubulin", "actin": "F-actin"}
    assert names_of(plate_of(["w1", "w2", "Actin", "w4"], nuclei="w1"), given) == [
        ("Hoechst", "w1"),
        ("F_actin", "Actin"),
        ("Tubulin", "w2"),
        ("w4", "w4"),
    ]
    write_ome(tmp_path / "B02_w1.tif", ["DAPI"])
    assert names_of(plate_of(["w1"], folder=tmp_path), {"w1": "DNA"}) == [("DNA", "w1")]


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_a_file_of_one_channel_names_the_token_in_its_name(tmp_path, options):
    write_ome(tmp_path / "B02_w1.tif", ["DAPI"], **options)
    write_ome(tmp_path / "B02_w2.tif", ["β-tubulin"], **options)
    write_ome(tmp_path / "B02_w3.tif", ["Channel 3"], **options)
    tifffile.imwrite(tmp_path / "B02_w4.tif", PIXELS, **options)
    assert names_of(plate_of(["w1", "w2", "w3", "w4"], folder=tmp_path)) == [
        ("DAPI", "w1"),
        ("__tubulin", "w2"),
        ("w3", "w3"),
        ("w4", "w4"),
    ]


def test_a_file_of_several_channels_is_as_many_channels_and_its_only_dna_stain_is_the_nuclei(tmp_path):
    write_ome(tmp_path / "B02_w1.tif", ["GFP", "Hoechst", "mCherry"])
    assert names_of(plate_of(["w1"], folder=tmp_path)) == [
        ("Hoechst", "Hoechst"),
        ("GFP", "GFP"),
        ("mCherry", "mCherry"),
    ]
    assert names_of(plate_of(["w1"], folder=tmp_path), {"gfp": "Tubulin"})[1] == ("Tubulin", "GFP")


@pytest.mark.parametrize("names", [["GFP", "RFP"], ["DAPI", "Hoechst"], ["DAPI", "DAPI"], ["DAPI", " "]])
def test_where_the_nuclei_cannot_be_told_no_channel_inside_counts(tmp_path, names):
    write_ome(tmp_path / "B02_w1.tif", names)
    assert names_of(plate_of(["w1"], folder=tmp_path)) == [("DNA", "w1")]


def test_a_bad_first_image_hides_no_names_and_bad_ones_alone_are_no_error(tmp_path):
    (tmp_path / "B02_w1.tif").write_bytes(b"II*\0\xff\xff")
    write_ome(tmp_path / "B03_w1.tif", ["DAPI"])
    plate = plate_of(["w1"], folder=tmp_path)
    assert names_of(plate) == [("DNA", "w1")]
    second = plate.scan.images[0]._replace(path=str(tmp_path / "B03_w1.tif"), well="B03")
    plate.scan.images.append(second)
    assert names_of(plate) == [("DAPI", "w1")]


def test_metadata_of_a_set_of_files_names_no_channel_of_one(tmp_path):
    write_ome(tmp_path / "a.tif", ["DAPI", "GFP"])
    xml = tifffile.TiffFile(tmp_path / "a.tif").ome_metadata
    assert headers.ome_channels(tmp_path / "a.tif") == ["DAPI", "GFP"]
    block = '<TiffData FirstC="1"><UUID FileName="b.tif">urn:uuid:1</UUID></TiffData>'
    of_set = re.sub(r"<TiffData[^>]*/>|<TiffData.*?</TiffData>", block, xml)
    assert of_set != xml
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, description=of_set, metadata=None)
    assert headers.ome_channels(tmp_path / "a.tif") == []


CHANNELS = [Channel("DNA", "w1"), Channel("Tubulin", "w2"), Channel("w10", "w10"), Channel("Actin", "w4")]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("all", ["Actin", "DNA", "Tubulin", "w10"]),
        ("none", []),
        (["w10", "tubulin"], ["Tubulin", "w10"]),
        (["W1", "DNA"], ["DNA"]),
    ],
)
def test_names_and_tokens_choose_what_is_measured(wanted, names):
    assert [channel.name for channel in channels.measured_of(CHANNELS, wanted, where="plate")] == names
    assert channels.measured_of([], wanted, where="an empty plate") == []


def test_an_unknown_channel_and_two_of_one_name_are_refused_in_a_line():
    with pytest.raises(InputError) as caught:
        channels.measured_of(CHANNELS, ["DNA", "Actn"], where="plates.tsv, line 2: plate 'P1'")
    assert str(caught.value) == (
        "plates.tsv, line 2: plate 'P1': measure.channels names 'Actn', but the channels are Actin (w4), DNA (w1), "
        "Tubulin (w2), w10. Expected their names or tokens"
    )
    twice = [Channel("DNA", "w1"), Channel("DNA", "DNA")]
    with pytest.raises(
        InputError, match="^plate 'P1': the channels 'w1' and 'DNA' are both called DNA in tables. [^\n]*$"
    ):
        channels.measured_of(twice, "none", where="plate 'P1'")
    by_case = [Channel("dna", "dna"), Channel("Actin", "Actin"), Channel("DNA", "DNA")]
    with pytest.raises(InputError, match="^plate 'P1': the channels 'DNA' and 'dna' are both called DNA and dna in "):
        channels.measured_of(by_case, "all", where="plate 'P1'")


def test_a_stack_is_of_the_channel_that_ome_names_or_of_dna(tmp_path):
    one, several, unnamed = (str(tmp_path / f"{name}.ome.tif") for name in ("one", "several", "unnamed"))
    write_ome(tmp_path / "one.ome.tif", ["H2B-GFP"])
    write_ome(tmp_path / "several.ome.tif", ["DAPI", "Alexa 488", "Channel:0:2"])
    write_ome(tmp_path / "unnamed.ome.tif", ["w1"])
    assert channels.channel_of_stack([one], 0) == channels.channel_of_stack([one], 3) == "H2B_GFP"
    assert [channels.channel_of_stack([several], number) for number in range(4)] == ["DAPI", "Alexa_488", "DNA", "DNA"]
    assert channels.channel_of_stack([several], None) == channels.channel_of_stack([unnamed], 0) == "DNA"
    tifffile.imwrite(tmp_path / "plain.tif", PIXELS)
    (tmp_path / "bad.tif").write_bytes(b"II")
    plain, bad = str(tmp_path / "plain.tif"), str(tmp_path / "bad.tif")
    assert channels.channel_of_stack([plain], 0) == channels.channel_of_stack([bad], 0) == "DNA"
    assert channels.channel_of_stack([bad, one, several], None) == "H2B_GFP"  # a folder, whose first image is bad
    os.mkfifo(tmp_path / "pipe.tif")
    others = [str(tmp_path / "pipe.tif"), str(tmp_path / "film.npy"), "https://example.org/film.ome.tif"]
    assert channels.channel_of_stack(others, 0) == "DNA"
