"""Change annotated fields as microscopes, cameras and calibrations do.

Intensities are in contrasts above the field's darkest pixels: a typical nucleus has 1.
"""

import cv2
import numpy as np

from fieldwork.segmentation import network, pixels, working_copies
from fieldwork.segmentation.calibration import Calibration
from fieldwork.segmentation.objects import Scale
from training.fields import Field

SIDE_PX = 160  # of a crop of a working copy
STEPS = 1000  # of a contrast, in the crops' uint16 images
OFFSET = 2000  # of the camera, in these steps
DIAMETERS_PX = 7.0, 36.0  # of a typical nucleus; larger ones are shrunk to what the network sees of these
DIAMETER_SPREAD, CONTRAST_SPREAD = 0.15, 0.2  # of the logarithm: how wrong calibrations are, and how nuclei vary
FORM = working_copies.Form(network.MULTIPLE_PX, network.HALO_PX, 2**22, smooths_shrunk=False)
UNDISTURBED = 0.35  # share of the crops
DARKEST = 0.02  # share of the pixels that are darker than a field's floor


def crop_of(field: Field, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a crop of a field, changed at random.

    Parameters
    ----------
    field : fields.Field
    rng : Generator

    Returns
    -------
    levels : (`SIDE_PX`, `SIDE_PX`) uint8 array
        What the network sees; 0 outside of the field.
    nucleus : array likewise, float32
        Share of a pixel that is nucleus; -1 outside of the field.
    depth : array likewise, float32
        Distance to the nucleus's edge over its largest one.
    seams : array likewise, float32
        1 where nuclei touch.
    """
    diameter = float(np.exp(rng.uniform(*np.log(DIAMETERS_PX))))
    calibrated = diameter * float(np.exp(rng.normal(0, DIAMETER_SPREAD)))
    scale = working_copies.scale_of(calibrated)
    intensity, labels = _resized(field, diameter / field.diameter, SIDE_PX * scale.shrunk // scale.enlarged, rng)
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    intensity, labels = (_turned(values, turns, flip) for values in (intensity, labels))
    if rng.random() < 0.04:
        intensity, labels = _emptied(intensity, labels, diameter, rng)
    if rng.random() > UNDISTURBED:
        intensity = _disturbed(intensity, labels, diameter, field.is_stained, rng)
    image = np.clip(np.rint(intensity * STEPS + OFFSET), 0, 2**16 - 1).astype(np.uint16)
    contrast = STEPS * float(np.exp(rng.normal(0, CONTRAST_SPREAD)))
    levels = levels_of(image, Calibration(calibrated, contrast, 1.0))
    nucleus, depth, seams = targets(labels, scale)
    return _padded(levels, 0), _padded(nucleus, -1), _padded(depth, 0), _padded(seams, 0)


def _resized(field, zoom, side, rng):
    """Return a crop of a field in contrasts, (rows, columns) float32, and its labels, both zoomed."""
    span = max(8, round(side / zoom))
    first = [int(rng.integers(max(1, length - span + 1))) for length in field.image.shape]
    window = tuple(slice(start, start + span) for start in first)
    image, labels = field.image[window].astype(np.float32), field.labels[window]
    place = int(field.image.size / 7 * DARKEST)
    floor = np.partition(field.image.ravel()[::7], place)[place]
    size = [min(side, max(8, round(length * zoom))) for length in labels.shape[::-1]]
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    image = cv2.resize((image - np.float32(floor)) / np.float32(field.contrast), size, interpolation=way)
    return image, cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)


def _turned(values, turns, flip):
    values = np.rot90(values, turns)
    return np.ascontiguousarray(values[:, ::-1] if flip else values)


def _emptied(intensity, labels, diameter, rng):
    """Return a crop whose nuclei are filled with their ground."""
    near = cv2.dilate((labels > 0).astype(np.uint8), np.ones((2 * int(diameter / 5) + 1,) * 2, np.uint8)) > 0
    if near.mean() > 0.6:
        return intensity, labels
    weights = cv2.GaussianBlur((~near).astype(np.float32), (0, 0), diameter)
    smooth = cv2.GaussianBlur(np.where(near, 0, intensity).astype(np.float32), (0, 0), diameter) / (weights + 1e-3)
    rest = (intensity - smooth)[~near]
    return np.where(near, smooth + rng.choice(rest, intensity.shape), intensity).astype(np.float32), np.zeros_like(
        labels
    )


def _disturbed(x, labels, diameter, is_stained, rng):
    """Return intensities as other optics, samples and cameras would show them."""
    shape = x.shape
    if rng.random() < 0.4:  # another brightness for every nucleus
        factors = np.exp(rng.normal(0, rng.uniform(0.1, 0.8), labels.max() + 1)).astype(np.float32)
        if rng.random() < 0.3 and labels.max():  # single very bright ones
            factors[rng.integers(1, labels.max() + 1, rng.integers(1, 4))] *= np.float32(rng.uniform(2, 12))
        factors[0] = 1
        x = x * cv2.GaussianBlur(factors[labels], (0, 0), max(0.3, 0.04 * diameter))
    if rng.random() < 0.25:
        x = np.sign(x) * np.abs(x) ** np.float32(rng.uniform(0.7, 1.5))
    if rng.random() < 0.35:  # other optics, or out of focus
        most = 0.3 if rng.random() < 0.25 else 0.13
        x = cv2.GaussianBlur(x, (0, 0), diameter * rng.uniform(0.02, most))
    if rng.random() < 0.25:  # the wide halo of all that is bright
        x = x + np.float32(rng.uniform(0.05, 0.35)) * cv2.GaussianBlur(x, (0, 0), diameter * rng.uniform(0.4, 1.2))
    if rng.random() < 0.08 and not is_stained:  # ghosts: other nuclei far out of focus
        ghost = np.roll(_turned(x, 2, rng.random() < 0.5), rng.integers(0, 200, 2), (0, 1))
        ghost = cv2.GaussianBlur(ghost, (0, 0), diameter * rng.uniform(0.35, 0.9))
        x = x + np.float32(rng.uniform(0.2, 0.8)) * ghost
    if rng.random() < 0.3:  # haze
        x = x + _soft(shape, diameter * rng.uniform(1, 4), rng) * np.float32(rng.uniform(0.03, 0.3))
    if rng.random() < 0.2:
        x = _with_debris(x, diameter, rng)
    if rng.random() < 0.3:  # light that falls to a side
        light = 1 + np.float32(rng.uniform(0, 0.5)) * _slope(shape, rng)
        x = (x + np.float32(rng.uniform(0, 0.6))) * light
    if rng.random() < 0.7:
        x = _noisy(x, rng)
    if rng.random() < 0.1:  # the camera's limit
        x = np.minimum(x, np.float32(rng.uniform(0.6, 1.5)))
    return x


def _soft(shape, sigma, rng):
    """Draw a soft field with a standard deviation of about 1."""
    small = [max(2, int(length / sigma) + 3) for length in shape]
    values = cv2.resize(rng.standard_normal(small, np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return values - values.min() * np.float32(rng.random())


def _slope(shape, rng):
    """Draw a slope from -1 to 1 in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = (np.linspace(-1, 1, length, dtype=np.float32) for length in shape)
    return rows[:, None] * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle))


def _with_debris(x, diameter, rng):
    """Add specks, some with a halo: no nuclei."""
    layer = np.zeros(x.shape, np.float32)
    for _ in range(rng.integers(1, 15)):
        row, column = (int(rng.integers(length)) for length in x.shape)
        radius = diameter * rng.uniform(0.02, 0.13)
        cv2.circle(layer, (column, row), max(1, round(radius)), float(np.exp(rng.uniform(-1, 2))), -1)
    x = x + cv2.GaussianBlur(layer, (0, 0), max(0.4, diameter * rng.uniform(0.02, 0.05)))
    if rng.random() < 0.5:
        x = x + np.float32(rng.uniform(0.3, 2)) * cv2.GaussianBlur(layer, (0, 0), diameter * rng.uniform(0.2, 0.7))
    return x


def _noisy(x, rng):
    """Add noise of photons, which grows with intensity, and of the camera."""
    shot, read = np.exp(rng.uniform(np.log(0.01), np.log(0.12))), np.exp(rng.uniform(np.log(0.003), np.log(0.06)))
    spread = np.sqrt(np.float32(shot**2) * np.maximum(x, 0) + np.float32(read**2))
    noise = rng.standard_normal(x.shape, np.float32)
    if rng.random() < 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 1)) * np.float32(1.6)
    return x + spread * noise


def levels_of(image: np.ndarray, typical: Calibration) -> np.ndarray:
    """Return what the network sees of a small image with this calibration, (rows, columns) uint8 of a working copy."""
    copy = working_copies.copy_of(pixels.whole_numbers(image), typical, FORM)
    [block] = copy.blocks
    return network.levels_of(copy.values(block), working_copies.surface_of(copy).ground(block))


def targets(labels: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the network is to answer for labels: the share of every pixel that is nucleus, and depth; and seams.

    Parameters
    ----------
    labels : (rows, columns) int32 array
    scale : Scale
        Of the working copy that the network sees.

    Returns
    -------
    nucleus, depth, seams : (rows, columns) float32 array
        Of the working copy.
    """
    labels, shrunk = np.kron(labels, np.ones((scale.enlarged,) * 2, np.int32)), scale.shrunk
    nucleus = labels > 0
    edges = np.zeros(labels.shape, bool)  # where two nuclei touch, both have an edge
    for axis in (0, 1):
        touching = np.diff(labels, axis=axis) != 0
        for side in ((1, 0), (0, 1)):
            edges |= np.pad(touching, [side if axis == other else (0, 0) for other in (0, 1)])
    edges &= nucleus
    distance = cv2.distanceTransform((nucleus & ~edges).astype(np.uint8), cv2.DIST_L2, 5) + nucleus
    largest = np.ones(labels.max() + 1, np.float32)
    np.maximum.at(largest, labels.ravel(), distance.ravel())
    depth = distance / largest[labels] * nucleus
    ground = cv2.dilate((~nucleus).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    seams = cv2.dilate((edges & ~ground).astype(np.uint8), np.ones((2 * shrunk + 1,) * 2, np.uint8))
    sides = [(0, -length % shrunk) for length in labels.shape]
    parts = [np.pad(values, sides, mode="edge").astype(np.float32) for values in (nucleus, depth, seams)]
    size = parts[0].shape[1] // shrunk, parts[0].shape[0] // shrunk
    return tuple(cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts)


def _padded(values, value):
    rows, columns = (SIDE_PX - length for length in values.shape)
    return np.pad(values, ((0, rows), (0, columns)), constant_values=value)
