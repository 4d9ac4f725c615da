"""Blocks of a slide: nuclei in clumps are those of the slide in one piece, wherever borders of blocks run."""

import errno
import functools

import cv2
import numpy as np
import pytest

from fieldwork import label_images, optical_densities
from fieldwork.segmentation import working_copies
from fieldwork.segmentation.calibration import Calibration
from fieldwork.slides import blocks, channels

SHAPE = 620, 700
FACTS = {"modality": "he", "glass": [245.0] * 3, "brown": 0.0}
CALIBRATION = Calibration(diameter=16, contrast=1400, noise=1)
LEVELS = working_copies.Levels(floor=0, with_median=False, is_stained=True, threshold=600)


def clumps(shape):
    """Draw stained nuclei at random places: nearly all touch or overlap others."""
    rng = np.random.default_rng(1)
    stain = np.zeros(shape, np.float32)
    for row, column in rng.integers(10, np.array(shape) - 10, (shape[0] * shape[1] // 160, 2)):
        axes, angle = (int(rng.integers(5, 12)), int(rng.integers(5, 9))), int(rng.integers(180))
        nucleus = cv2.ellipse(np.zeros_like(stain), (int(column), int(row)), axes, angle, 0, 360, 1, -1)
        np.maximum(stain, nucleus * rng.uniform(0.3, 0.7), out=stain)
    stain = cv2.GaussianBlur(stain, (0, 0), 1.2) * (1 + 0.05 * rng.standard_normal(shape))
    vectors = np.array([optical_densities.STAINS[name] for name in ("Hematoxylin", "Eosin")])
    density = np.stack([stain, np.full(shape, 0.1)], axis=-1) @ vectors
    return np.rint(245 * 10**-density).clip(0, 255).astype(np.uint8)


def found_in(image, detection):
    """Return what is found in all blocks, and the label image of it, numbered block by block; no pixel has two."""
    mask = np.ones([-(-side // 16) for side in image.shape[:2]], bool)
    painted, measured = np.zeros(image.shape[:2], np.int32), []
    for block in blocks.blocks_of(image.shape[:2]):
        found = blocks.measure_block(
            block,
            read=lambda row, column, height, width: image[row : row + height, column : column + width],
            mask=mask,
            detection=detection,
        )
        if found.count:
            labels = label_images.decode(found.labels, found.shape).astype(np.int32)
            target = painted[tuple(slice(first, first + n) for first, n in zip(found.origin, found.shape, strict=True))]
            assert not target[labels > 0].any()
            target[labels > 0] = labels[labels > 0] + painted.max()
            measured.append(found.measurements)
    return measured, painted


@functools.cache
def in_one_piece(method):
    image = clumps(SHAPE)
    detection = blocks.Detection(
        shape=SHAPE,
        channels=channels.channels_of(FACTS),
        calibration=CALIBRATION,
        method=method,
        levels=LEVELS,
        ring_px=4,
        positive={},
        tissue_factor=16,
    )
    [measurements], labels = found_in(image, detection)
    return image, detection, measurements, labels


@pytest.mark.parametrize(("method", "least"), [("network", 200), ("classical", 400)])
@pytest.mark.parametrize("block_px", [150, 256, 333])
def test_clumps_at_borders_of_blocks_are_parted_as_in_one_piece(monkeypatch, block_px, method, least):
    image, detection, expected, labels = in_one_piece(method)
    pieces = cv2.connectedComponents((labels > 0).view(np.uint8))[0] - 1
    assert labels.max() > 4 * pieces > least  # most nuclei are parts of large clumps
    monkeypatch.setattr(blocks, "BLOCK_PX", block_px)
    measured, parted = found_in(image, detection)
    assert len(measured) >= 6
    np.testing.assert_array_equal(label_images.renumber(parted), labels)
    numbers = parted[tuple(np.argwhere(labels > 0)[np.unique(labels[labels > 0], return_index=True)[1]].T)]
    for name in ("Nuclei_AreaShape_Area", "Cytoplasm_Intensity_MeanIntensity_Eosin"):
        values = np.concatenate([found[name] for found in measured])
        np.testing.assert_allclose(values[numbers - 1], expected[name], rtol=1e-6)
    areas = np.concatenate([found["Nuclei_AreaShape_Area"] for found in measured])
    np.testing.assert_array_equal(np.bincount(parted.ravel())[1:], areas)  # each row has all its pixels


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "not read: Input/output error"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_a_block_that_cannot_be_read_has_the_reason(error, reason):
    def read(*window):
        raise error

    detection = in_one_piece("classical")[1]
    [block] = blocks.blocks_of(SHAPE)
    failed = blocks.measure_block(block, read=read, mask=np.ones((39, 44), bool), detection=detection)
    assert (failed.error, failed.count) == (reason, 0)
