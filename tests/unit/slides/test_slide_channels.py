"""The channel of the nuclei is certain, or the slide is refused with the names of its channels."""

import numpy as np
import pytest

from fieldwork.slides import SlideError
from fieldwork.slides.channels import Channels
from fieldwork.slides.inside.channels import Channel, are_rgb, named, nuclei_channel, perkin_elmer
from fieldwork.slides.readers import open_slide
from stained import grid, outline, plant, seen
from workspace import DATA


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


SHAPE = (900, 1000)
CENTRES = grid(SHAPE, 60, start=130)


def glowing(*, red=0, green=0, blue=0, haze=0):
    """Draw round nuclei in some colours, and a haze of uneven light, the cytoplasm's, in another: green."""
    rng = np.random.default_rng(0)
    nuclei = np.zeros(SHAPE, np.float32)
    rows, columns = np.mgrid[-12:13, -12:13]
    for row, column in CENTRES:
        nuclei[row - 12 : row + 13, column - 12 : column + 13] = np.clip(8.5 - np.hypot(rows, columns), 0, 1)
    light = nuclei[..., None] * np.array([red, green, blue], np.float32)
    blotches = np.kron(rng.random((SHAPE[0] // 20, SHAPE[1] // 20)), np.ones((20, 20)))
    light[100:-100, 100:-100] += 8
    light[100:-100, 100:-100, 1] += haze * blotches[100:-100, 100:-100]
    return np.clip(light + rng.normal(3, 1, light.shape), 0, 255).astype(np.uint8)


def test_nuclei_of_a_fluorescence_picture_in_several_colours_are_those_of_blue_and_a_warning_says_so():
    image = glowing(blue=120, haze=90)
    facts = seen(image, mpp=0.5, fluorescence=True)[1]
    assert (facts["modality"], facts["nuclei_channel"]) == ("fluorescence", "Blue")
    (warning,) = facts["warnings"]
    assert "green and blue show signals of their own: nuclei are taken from Blue" in warning
    assert "column nuclei_channel" in warning
    assert outline(image, mpp=0.5, fluorescence=True)[0].max() == len(CENTRES)


def test_the_sheet_names_the_colour_of_the_nuclei_and_without_blue_it_has_to():
    image = glowing(red=120, haze=90)
    facts = seen(image, mpp=0.5, fluorescence=True, nuclei_channel="red")[1]
    assert (facts["nuclei_channel"], facts["warnings"]) == ("Red", [])
    with pytest.raises(SlideError, match="red and green show signals of their own.*column nuclei_channel"):
        seen(image, mpp=0.5, fluorescence=True)
    with pytest.raises(SlideError, match="no channel 'DAPI', which column nuclei_channel.*'Red', 'Green', 'Blue'"):
        seen(image, mpp=0.5, fluorescence=True, nuclei_channel="DAPI")


def test_faint_nuclei_in_blue_are_not_taken_for_what_leaks_from_bright_cytoplasm():
    image = glowing(blue=24, haze=180)
    facts = seen(image, mpp=0.5, fluorescence=True)[1]
    assert facts["nuclei_channel"] == "Blue" and len(facts["warnings"]) == 1
    assert outline(image, mpp=0.5, fluorescence=True)[0].max() == len(CENTRES)


@pytest.mark.parametrize(
    "light",
    [{"blue": 120}, {"red": 120}, {"red": 120, "green": 60}, {"green": 99, "blue": 99}, {"red": 20}, {"green": 15}],
)
def test_one_channel_in_any_colour_needs_no_name(light):
    facts = seen(glowing(**light), mpp=0.5, fluorescence=True)[1]
    assert (facts["nuclei_channel"], facts["warnings"]) == (None, [])


@pytest.mark.skipif(not (DATA / "slides").is_dir(), reason="the real slides are not here")
@pytest.mark.parametrize("name", ["test3-DAPI-2-(387).ndpi", "test3-TRITC 2 (560).ndpi"])
def test_a_slide_of_one_filter_shows_one_colour(name):
    slide = open_slide(DATA / "slides" / name, "openslide")
    image = slide.read(0, 0, 0, *slide.shapes[0])
    assert seen(image, mpp=0.65, fluorescence=True)[1]["nuclei_channel"] is None


def test_a_colour_for_the_nuclei_of_a_brightfield_slide_has_no_effect():
    facts = seen(plant(SHAPE, CENTRES), mpp=0.5, nuclei_channel="Blue")[1]
    assert facts["nuclei_channel"] is None
    assert facts["warnings"] == ["nuclei_channel 'Blue' has no effect: the slide is in colour"]


@pytest.mark.parametrize(("level", "fluorescence"), [(240, False), (2, True)])
def test_a_slide_without_tissue_says_so(level, fluorescence):
    facts = seen(np.full((*SHAPE, 3), level, np.uint8), mpp=0.5, fluorescence=fluorescence)[1]
    assert (facts["tissue_area_px"], facts["warnings"]) == (0, ["no tissue is seen on it"])
