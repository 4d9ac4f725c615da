"""Draw fields whose nuclei are known, and fields of what is none: fibres, glow, dead and hot pixels, noise alone."""

import cv2
import numpy as np

from training.fields import Field

SIDE_PX = 176
EMPTY_SHARE = 0.35  # of the fields have no nuclei


def field(rng: np.random.Generator) -> Field:
    """Draw a field, in contrasts of its nuclei."""
    diameter = float(np.exp(rng.uniform(*np.log((10.0, 40.0)))))
    side = max(SIDE_PX, int(SIDE_PX * diameter / 14))
    labels = np.zeros((side, side), np.int32)
    image = np.zeros((side, side), np.float32)
    if rng.random() > EMPTY_SHARE:
        labels = _planted(rng, side, diameter)
        brightness = np.exp(rng.normal(0, rng.uniform(0.05, 0.6), labels.max() + 1)).astype(np.float32)
        brightness[0] = 0
        grain = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), diameter / 8)
        grain = np.clip(1 + grain / grain.std() * np.float32(rng.uniform(0, 0.4)), 0.2, None)
        image = cv2.GaussianBlur(brightness[labels] * grain, (0, 0), diameter * rng.uniform(0.03, 0.1))
    for draw, share in ((_fibres, 0.5), (_glow, 0.25), (_spots, 0.25), (_rows, 0.25)):
        if rng.random() < share:
            image = image + draw(rng, side, diameter)
    return Field("", image, labels, diameter, 1.0)


def _planted(rng, side, diameter):
    """Place nuclei one after the other; a nucleus loses to earlier ones at most a tenth of its area."""
    labels, centres = np.zeros((side, side), np.int32), []
    crowding, spread = rng.random(), rng.uniform(0.05, 0.35)
    for _ in range(int(rng.uniform(0.02, 0.7) * side**2 / diameter**2)):
        size = diameter * float(np.exp(rng.normal(0, spread)))
        centre = rng.uniform(0, side, 2)
        if centres and rng.random() < crowding:
            *other, other_size = centres[rng.integers(len(centres))]
            angle, gap = rng.uniform(0, 2 * np.pi), (other_size + size) / 2 * rng.uniform(0.85, 1.1)
            centre = np.array(other) + gap * np.array([np.sin(angle), np.cos(angle)])
        ratio = np.sqrt(rng.uniform(1, 1.6))
        axes, reach = (size / 2 * ratio, size / 2 / ratio), int(size) + 2
        first = [max(0, int(value) - reach) for value in centre]
        window = tuple(
            slice(start, max(start, min(side, int(value) + reach))) for start, value in zip(first, centre, strict=True)
        )
        part = labels[window]
        if not part.size:
            continue
        mask = np.zeros(part.shape, np.uint8)
        middle = centre[::-1] - first[::-1]
        cv2.ellipse(mask, (tuple(middle), tuple(2 * np.array(axes)), rng.uniform(0, 180)), 1, -1)
        area = np.count_nonzero(mask)
        if area and np.count_nonzero(mask & (part > 0)) <= 0.1 * area:
            part[(mask > 0) & (part == 0)] = len(centres) + 1
            centres.append((*centre, size))
    return labels


def _fibres(rng, side, diameter):
    layer = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(1, 4)):
        steps = np.linspace(-0.1, 1.1, 40)
        bend = rng.uniform(0.02, 0.15) * np.sin(rng.uniform(3, 12) * steps + rng.uniform(0, 6))
        path = np.stack([steps, np.linspace(*rng.uniform(0, 1, 2), 40) + bend], axis=-1) * side
        path = np.rint(path if rng.random() < 0.5 else path[:, ::-1]).astype(np.int32)
        cv2.polylines(
            layer, [path], False, float(np.exp(rng.uniform(-1.5, 1.5))), max(1, round(diameter * rng.uniform(0.1, 0.6)))
        )
    return cv2.GaussianBlur(layer, (0, 0), max(0.7, 0.05 * diameter))


def _glow(rng, side, diameter):
    rows, columns = np.mgrid[:side, :side].astype(np.float32) - rng.uniform(0, side, (2, 1, 1)).astype(np.float32)
    sigma = diameter * rng.uniform(1.5, 6)
    return np.float32(rng.uniform(0.2, 3)) * np.exp(-(rows**2 + columns**2) / np.float32(2 * sigma**2))


def _spots(rng, side, diameter):
    layer = np.zeros((side, side), np.float32)
    count = rng.integers(1, 200)
    layer[tuple(rng.integers(0, side, (2, count)))] = np.float32(np.exp(rng.uniform(0, 2.5)))
    return layer


def _rows(rng, side, diameter):
    layer = np.zeros((side, side), np.float32)
    layer[rng.integers(side)] = np.float32(rng.uniform(0.2, 8))
    return layer if rng.random() < 0.5 else layer.T
