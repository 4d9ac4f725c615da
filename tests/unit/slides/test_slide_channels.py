"""The channel of the nuclei is certain, or the slide is refused with the names of its channels."""

import pytest

from fieldwork.slides import SlideError
from fieldwork.slides.channels import Channels
from fieldwork.slides.inside.channels import Channel, are_rgb, named, nuclei_channel, perkin_elmer


@pytest.mark.parametrize(
    ("names", "wanted", "channel", "warned"),
    [
        (["CD3", "DAPI"], None, "DAPI", False),
        (["CD3", "DAPI"], "cd3", "CD3", False),
        (["DAPI 1", "CD3", "DAPI 2"], None, "DAPI 1", True),
        (["CD3"], None, "CD3", True),
    ],
)
def test_the_nuclei_channel_is_the_named_one_a_dna_stain_or_the_only_one(names, wanted, channel, warned):
    chosen, warning = nuclei_channel(names, wanted)
    assert (chosen, bool(warning)) == (channel, warned)


def test_no_nuclei_channel_is_guessed():
    with pytest.raises(SlideError, match="its channels are '1', '2'.*column nuclei_channel"):
        nuclei_channel(["1", "2"], None)
    with pytest.raises(SlideError, match="no channel 'DAPI', which column nuclei_channel.*'1', '2'"):
        nuclei_channel(["1", "2"], "DAPI")


def test_names_decide_whether_three_channels_are_rgb():
    def of(*names):
        return are_rgb([Channel(name) for name in names])

    assert of("R", "g", "Blue") is True
    assert of("", "", "") is None and of("Channel 0", "Channel 1", "C2") is None
    assert of("G", "R", "B") is False and of("DAPI", "FITC", "") is False and of("R", "G") is False


def test_the_channel_of_stained_nuclei_is_named_as_it_is():
    assert Channels("he").detected == "density, 1 red +0.15 green -0.6 blue"
    assert Channels("hdab").detected == "density, 1 red +0.15 green -0.2 blue"
    assert Channels("hdab", brown=0.65).detected == Channels("he").detected
    assert Channels("brightfield").detected == "mean density"


def test_channels_have_names_that_differ_and_colours():
    channels = named([Channel("A", "123456"), Channel("a"), Channel("")], 4)
    assert [channel.name for channel in channels] == ["A", "a (2)", "3", "4"]
    assert channels[0].colour == "123456" and all(len(channel.colour) == 6 for channel in channels)


@pytest.mark.parametrize(
    ("stated", "names"),
    [
        (["a", "a (3)", "a"], ["a", "a (3)", "a (4)"]),
        (["a", "A", "a (2)"], ["a", "A (3)", "a (2)"]),
        (["", "1", "1", "1 (3)"], ["1 (1)", "1", "1 (4)", "1 (3)"]),
    ],
)
def test_made_up_names_are_never_those_of_other_channels(stated, names):
    assert [channel.name for channel in named([Channel(name) for name in stated], len(stated))] == names


def test_perkin_elmers_markers_tell_channels_of_one_stain_apart():
    xml = "<ImageType>FullResolution</ImageType><Name>Opal 520</Name><Biomarker>CD8</Biomarker><Color>0,300,9</Color>"
    assert perkin_elmer(f"<A>{xml}</A>") == ("FullResolution", Channel("Opal 520 CD8", "00FF09"))
    assert perkin_elmer("no XML") == ("", Channel(""))
