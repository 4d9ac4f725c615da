"""Modalities of planted and known pictures."""

import numpy as np
import pytest
from skimage import data

from fieldwork.tissue.masks import WHITE
from fieldwork.tissue.modality import hues_of, light_of, stain_of
from stained import grid, plant, seen


def light(image):
    return light_of(image, np.ones(image.shape[:2], bool))[0]


def tissue_on(ground, stroma, nuclei, *, seed=0):
    """Paint a disc with nuclei of 3 x 3 pixels."""
    rows, columns = np.indices((200, 200))
    image = np.full((200, 200, 3), ground, np.uint8)
    disc = np.hypot(rows - 100, columns - 100) < 80
    image[disc] = stroma
    image[np.kron(np.random.default_rng(seed).random((67, 67)) < 0.2, np.ones((3, 3), bool))[:200, :200] & disc] = (
        nuclei
    )
    return image, disc


STAINS = {
    "H&E": ("he", (226, 160, 190), (110, 70, 140)),
    "pale H&E": ("he", (236, 210, 226), (170, 140, 190)),
    "DAB": ("hdab", (222, 226, 232), (120, 80, 50)),
    "DAB in the cytoplasm": ("hdab", (190, 150, 110), (120, 130, 170)),
    "haematoxylin": ("brightfield", (222, 226, 232), (150, 160, 200)),
    "AEC": ("brightfield", (230, 225, 228), (190, 70, 62)),
    "silver": ("brightfield", (200, 200, 198), (60, 60, 62)),
    "grey": ("brightfield", (190, 190, 190), (90, 90, 90)),
}


@pytest.mark.parametrize("stain", STAINS)
def test_stains_are_told_by_their_hue(stain):
    modality, stroma, nuclei = STAINS[stain]
    image, disc = tissue_on(240, stroma, nuclei)
    assert not light(image)
    found, reason = stain_of(hues_of(image.astype(np.float32), disc, (240.0, 240.0, 240.0)))
    assert found == modality, reason


@pytest.mark.parametrize(
    ("haematoxylin", "dab", "every", "modality"),
    [
        (0.2, 0.7, 2, "hdab"),
        (0.2, 0.7, 1, "hdab"),
        (0.3, 1.0, 2, "hdab"),
        (0.3, 0.6, 1, "hdab"),
        (0.1, 0.7, 10, "hdab"),
        (0.6, 0, 1, "brightfield"),
    ],
)
@pytest.mark.parametrize("glass", [(245, 245, 245), (225, 220, 170)])
def test_brown_nuclei_tell_dab_where_squares_mix_them_with_blue(haematoxylin, dab, every, modality, glass):
    shape = 500, 560
    centres = grid(shape, 32)
    brown = range(0, len(centres), every)
    image = plant(shape, centres, brown=brown, brown_stains=(haematoxylin, dab), stroma=(0.06, 0), glass=glass)
    _, facts = seen(image, mpp=0.5)
    assert facts["modality"] == modality, facts["modality_reason"]


def test_known_pictures_have_their_stain():
    image = data.immunohistochemistry()
    everywhere = np.ones(image.shape[:2], bool)
    assert not light(image)
    assert stain_of(hues_of(image.astype(np.float32), everywhere, WHITE.colour))[0] == "hdab"


@pytest.mark.parametrize("frame", [0, 40, 300, 1500])
@pytest.mark.parametrize("noise", [0, 5])
@pytest.mark.parametrize("stain", STAINS)
def test_brightfield_in_black_frames_is_no_fluorescence(stain, frame, noise):
    image, _ = tissue_on(240, *STAINS[stain][1:])
    image = np.pad(image, [(frame, 0), (0, frame), (0, 0)])
    image += np.random.default_rng(1).integers(0, noise + 1, image.shape, np.uint8)
    assert not light(image)


@pytest.mark.parametrize("colour", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize(("stroma", "nuclei"), [(20, 90), (40, 200), (60, 250)])
def test_a_dark_ground_is_fluorescence_in_any_colour(colour, stroma, nuclei):
    colour = np.array(colour)
    image, _ = tissue_on(3 * colour, stroma * colour, nuclei * colour)
    assert light(image)


def test_black_all_over_is_fluorescence():
    assert light(np.zeros((20, 20, 3), np.uint8))
