"""Draw fields whose nuclei are known, and fields without any: a seed gives the same pixels in every run.

Intensities are in the image's unit. A field is `offset` (the camera's) + light * (`ground` + nuclei), with shot and
read noise.
"""

import numpy as np

SHAPE = (520, 696)
DIAMETER, CONTRAST, GROUND, NOISE = 20.0, 2000.0, 100.0, 15.0


def smooth(image, sigma):
    """Blur with a Gaussian along both axes; edges are reflected."""
    if sigma <= 0:
        return image
    radius = max(1, int(np.ceil(3.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(radius, radius) if axis == a else (0, 0) for a in (0, 1)]
        padded = np.pad(image, width, mode="symmetric" if image.shape[axis] > radius else "edge")
        size = padded.shape[axis]
        spectrum = np.fft.rfft(padded, axis=axis)
        transfer = np.fft.rfft(np.roll(np.pad(kernel, (0, size - kernel.size)), -radius))
        spectrum *= transfer if axis == 1 else transfer[:, None]
        padded = np.fft.irfft(spectrum, size, axis=axis)
        image = np.take(padded, np.arange(radius, size - radius), axis=axis)
    return image


def soft_noise(rng, shape, sigma):
    """Draw noise that is correlated over `sigma` pixels: mean 0, standard deviation 1."""
    values = smooth(rng.normal(size=shape), sigma)
    return (values - values.mean()) / max(values.std(), 1e-12)


def outline(rng, diameter):
    """Draw a nucleus: its mask with a margin of one pixel, and the pixel in it that is its centre."""
    ratio = rng.uniform(1.0, 1.5)
    major, minor = diameter / 2 * np.sqrt(ratio), diameter / 2 / np.sqrt(ratio)
    turn, bend, phase = rng.uniform(0, np.pi), rng.uniform(0, 0.06), rng.uniform(0, 2 * np.pi, 2)
    shift = rng.uniform(-0.5, 0.5, 2)
    reach = int(np.ceil(major * 1.15)) + 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    rows, columns = rows - shift[0], columns - shift[1]
    along = rows * np.cos(turn) + columns * np.sin(turn)
    across = columns * np.cos(turn) - rows * np.sin(turn)
    angle = np.arctan2(across, along)
    edge = 1 + bend * (np.sin(2 * angle + phase[0]) + np.sin(3 * angle + phase[1]))
    return np.hypot(along / major, across / minor) < edge, reach


def window(centre, reach, shape):
    """Return where a mask around `centre` lies in the field, and which part of the mask that is."""
    field, part = [], []
    for c, side in zip(centre, shape, strict=True):
        first, last = max(0, c - reach), min(side, c + reach + 1)
        field.append(slice(first, max(first, last)))
        part.append(slice(first - c + reach, max(first, last) - c + reach))
    return tuple(field), tuple(part)


def plant_masks(rng, *, shape, count, diameter, spread, crowding, margin):
    """Place nuclei one after the other. A nucleus loses to earlier ones at most a tenth of its area.

    A share `crowding` of them is placed against an earlier one; the others keep a gap of a quarter diameter where
    they can.
    """
    labels = np.zeros(shape, np.int32)
    centres, sizes = [], []
    for number in range(1, count + 1):
        size = diameter * float(np.exp(rng.normal(0, spread)))
        mask, reach = outline(rng, size)
        against = bool(centres) and rng.uniform() < crowding
        for attempt in range(300):
            if against and attempt < 100:
                first = int(rng.integers(len(centres)))
                turn = rng.uniform(0, 2 * np.pi)
                gap = (sizes[first] + size) / 2 * rng.uniform(0.9, 1.1)
                step = gap * np.array([np.sin(turn), np.cos(turn)])
                centre = np.round(centres[first] + step).astype(int)
                if (centre < 0).any() or (centre >= shape).any():
                    continue
            else:
                centre = np.array([rng.integers(margin, side - margin) for side in shape])
            field, part = window(centre, reach, shape)
            around = labels[field]
            planted = mask[part]
            total = np.count_nonzero(planted)
            if not total:
                continue
            if not (against and attempt < 100) and attempt < 200:
                near, _ = window(centre, reach + int(diameter / 4), shape)
                if labels[near].any():
                    continue
            if np.count_nonzero(planted & (around > 0)) <= 0.1 * total:
                around[planted & (around == 0)] = number
                centres.append(centre)
                sizes.append(size)
                break
        else:
            raise ValueError(f"nucleus {number} of {count} with a diameter of {diameter} px has no room in {shape}")
    return labels


def light_of(rng, shape, uneven):
    """Draw uneven light: 1 where it is brightest, 1 - `uneven` where it is darkest."""
    if not uneven:
        return np.ones(shape)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    centre = rng.uniform(0.25, 0.75, 2) * shape
    away = np.hypot((rows - centre[0]) / shape[0], (columns - centre[1]) / shape[1])
    return 1 - uneven * (away / away.max()) ** 2


def exposed(rng, signal, *, offset, noise, shot, contrast, dtype):
    """Take a picture of light, with shot noise (its share at `contrast`), read noise and the camera's offset."""
    photons = 1 / max(shot, 1e-9) ** 2 / contrast  # per unit of intensity
    if shot:
        signal = rng.poisson(np.maximum(signal, 0) * photons) / photons
    return as_type(signal + offset + rng.normal(0, noise, signal.shape), dtype)


def as_type(image, dtype):
    """Round and clip to an integer type; a float type keeps its values."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return image.astype(dtype)
    return np.clip(np.round(image), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def planted_field(
    seed,
    *,
    shape=SHAPE,
    count=120,
    diameter=DIAMETER,
    contrast=CONTRAST,
    ground=GROUND,
    offset=0.0,
    noise=NOISE,
    shot=0.03,
    uneven=0.2,
    crowding=0.3,
    size_spread=0.12,
    brightness_spread=0.25,
    texture=0.12,
    blur=0.06,
    debris=0,
    dtype="uint16",
):
    """Return a field of nuclei, and their labels (int32, 0 is ground).

    Spreads are of the logarithm; `blur` is the optics' standard deviation in diameters; `debris` counts bright specks
    of a sixth of a diameter, which are no nuclei.
    """
    rng = np.random.default_rng(seed)
    margin = int(min(diameter / 4, min(shape) / 4))
    labels = plant_masks(
        rng, shape=shape, count=count, diameter=diameter, spread=size_spread, crowding=crowding, margin=margin
    )
    brightness = np.exp(rng.normal(0, brightness_spread, count + 1))
    brightness[0] = 0
    grain = np.clip(1 + texture * soft_noise(rng, shape, diameter / 8), 0.2, None)
    light = contrast * smooth(brightness[labels] * grain, max(0.5, blur * diameter))
    for centre in rng.integers(0, shape, (debris, 2)):
        light += speck(shape, centre, diameter / 6, contrast * rng.uniform(0.5, 2))
    signal = light_of(rng, shape, uneven) * (ground + light)
    return exposed(rng, signal, offset=offset, noise=noise, shot=shot, contrast=contrast, dtype=dtype), labels


def speck(shape, centre, diameter, height):
    """Return a Gaussian spot whose full width at half its height is `diameter`."""
    rows, columns = np.ogrid[0 : shape[0], 0 : shape[1]]
    away = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    return height * np.exp(-4 * np.log(2) * away / diameter**2)


def fibre(rng, shape, width, height):
    """Return a long curved fibre with soft edges that crosses the field."""
    steps = np.linspace(-0.1, 1.1, 4 * max(shape))
    ends = rng.uniform(0.15, 0.85, 2)
    bend, waves, phase = rng.uniform(0.03, 0.15), rng.uniform(0.5, 2.0), rng.uniform(0, 2 * np.pi)
    other = ends[0] + (ends[1] - ends[0]) * steps + bend * np.sin(2 * np.pi * waves * steps + phase)
    path = (steps, other) if rng.uniform() < 0.5 else (other, steps)
    rows = np.round(path[0] * shape[0]).astype(int)
    columns = np.round(path[1] * shape[1]).astype(int)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    canvas = np.zeros(shape, bool)
    reach = int(np.ceil(width / 2))
    grid = np.arange(-reach, reach + 1)
    disk = np.hypot(grid[:, None], grid[None]) <= width / 2
    for centre in np.unique(np.stack([rows[inside], columns[inside]], 1), axis=0):
        field, part = window(centre, reach, shape)
        canvas[field] |= disk[part]
    along = 1 + 0.25 * soft_noise(rng, shape, 30)
    return height * smooth(canvas * np.clip(along, 0.2, None), max(0.7, width / 8))


def empty_fields(
    seed, *, shape=SHAPE, diameter=DIAMETER, contrast=CONTRAST, ground=GROUND, offset=0.0, noise=NOISE, dtype="uint16"
):
    """Yield (kind, name, image) of fields without nuclei, from a plate of `planted_field` with these numbers.

    Kinds: black, saturated, gaussian, poisson, salt-and-pepper, correlated, gradient, vignette, haze, hot pixels,
    bright row, glow, fibre, debris. A fibre may be counted up to three times and debris a few; the others hold nothing.
    """
    top = float(np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else 20 * contrast
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] / (max(shape) - 1.0)
    rng = np.random.default_rng(seed)

    def taken(signal):
        return exposed(rng, ground + signal, offset=offset, noise=noise, shot=0.03, contrast=contrast, dtype=dtype)

    yield "black", "zeros", as_type(np.zeros(shape), dtype)
    yield "black", "ground", taken(np.zeros(shape))
    yield "saturated", "saturated", as_type(np.full(shape, top), dtype)
    for strength in (0.5, 1, 3):
        clean = offset + ground + rng.normal(0, strength * noise, shape)
        yield "gaussian", f"{strength:g} x noise", as_type(clean, dtype)
        strong = rng.poisson(np.full(shape, strength * noise) ** 2) - (strength * noise) ** 2
        yield "poisson", f"{strength:g} x noise", as_type(offset + ground + strong, dtype)
    if contrast > 20:
        yield "poisson", "12 counts", as_type(rng.poisson(np.full(shape, 12.0)), dtype)
    for share in (0.001, 0.01, 0.05):
        image = taken(np.zeros(shape))
        dice = rng.uniform(size=shape)
        image[dice < share / 2] = 0
        image[dice > 1 - share / 2] = top
        yield "salt-and-pepper", f"{share:.1%}", image
    for sigma in (1, 2, 4, diameter / 3):
        for strength in (1, 3):
            signal = min(strength * noise, 0.02 * contrast) * soft_noise(rng, shape, sigma)
            yield "correlated", f"{strength} x noise over {sigma:.1f} px", as_type(offset + ground + signal, dtype)
    for height in (0.5, 2):
        yield "gradient", f"{height:g} x contrast", taken(height * contrast * (rows + columns) / 2)
        bright = 1 - 0.8 * np.hypot(rows - rows.max() / 2, columns - columns.max() / 2) ** 2 * 3
        yield "vignette", f"{height:g} x contrast", taken(height * contrast * np.clip(bright, 0.1, None))
        width = max(0.15, 4 * diameter / max(shape))
        glow = np.exp(-((rows - 0.3) ** 2 + (columns - 0.6) ** 2) / (2 * width**2))
        yield "glow", f"{height:g} x contrast", taken(height * contrast * glow)
    for height in (0.2, 1):
        for sigma in (2.5, 5):
            cloud = np.clip(soft_noise(rng, shape, sigma * diameter), 0, None) / 3
            yield "haze", f"{height:g} x contrast over {sigma:g} diameters", taken(height * contrast * cloud)
    for number in (10, 300):
        image = taken(np.zeros(shape))
        at = rng.integers(0, shape, (number, 2))
        image[at[:, 0], at[:, 1]] = min(top, offset + 10 * contrast)
        yield "hot pixels", f"{number}", image
    for height in (0.5, 10):
        signal = np.zeros(shape)
        signal[shape[0] // 3] = height * contrast
        yield "bright row", f"{height:g} x contrast", taken(signal)
    for width in (0.15, 0.25, 0.4, 0.55):
        for height in (0.3, 1, 4):
            signal = fibre(rng, shape, max(2, width * diameter), height * contrast)
            yield "fibre", f"{width:g} diameters, {height:g} x contrast", taken(signal)
    signal = np.zeros(shape)
    for centre in rng.integers(0, shape, (60, 2)):
        signal += speck(shape, centre, diameter / 6, contrast * rng.uniform(0.5, 2))
    yield "debris", "60 specks of a sixth of a diameter", taken(signal)
