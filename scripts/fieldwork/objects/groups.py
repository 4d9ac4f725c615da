"""Further groups of CellProfiler 4's measurements, which the library cp-measure takes with CellProfiler's defaults.

Names are CellProfiler's, with the objects' prefix. What cp-measure returns gets its place in them:

- texture, measuretexture.py: 13 Haralick features at a scale of 3 px, in 4 directions (0, 135, 90 and 45 degrees), of
  256 grey levels from 0 to 1. `Contrast_3_00_256` is `Texture_Contrast_{Channel}_3_00_256`.
- granularity, measuregranularity.py: 16 steps at a quarter of the size, with elements of 10 px. `Granularity_1` is
  `Granularity_1_{Channel}`.
- zernike, measureobjectsizeshape.py: the 30 moments of the shape up to degree 9. `Zernike_0_0` is
  `AreaShape_Zernike_0_0`.
- radial, measureobjectintensitydistribution.py: 4 rings around the object's own centre, and the 30 Zernike moments of
  the intensity, with their phases. `RadialDistribution_FracAtD_1of4` is `RadialDistribution_FracAtD_{Channel}_1of4`,
  `RadialDistribution_ZernikeMagnitude_0_0` is `RadialDistribution_ZernikeMagnitude_{Channel}_0_0`.
- correlation, measurecolocalization.py: of two channels A and B, in their order. `Correlation_Pearson` is
  `Correlation_Correlation_{A}_{B}`, `Correlation_Overlap` is `Correlation_Overlap_{A}_{B}`. K, Manders, RWC and Costes
  have two columns: `Correlation_K_1` is `Correlation_K_{A}_{B}`, `Correlation_K_2` is `Correlation_K_{B}_{A}`. Overlap,
  K, Manders and RWC are of pixels above 15 % of the object's maximum.

Of two of these, cp-measure has definitions of its own, so that an object's value does not hang on others. RWC: pixels
are ranked within the object, by CellProfiler among those of all objects of the image. Costes: thresholds are found for
each object, by CellProfiler once for the image. The grid of thresholds has the steps of the integers' type, or 65535
from 0 to 1 for floats.

CellProfiler's Pearson of an object of one intensity is rounding alone; here it is null.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fieldwork import InputError

SCALE_PX, GREY_LEVELS, RINGS = 3, 256, 4  # of texture, and of radial: cp-measure's defaults, which the names have, too
FLOAT_STEPS = 65535  # of the thresholds of Costes, for floats from 0 to 1
MOST_STEPS = 2**32 - 1  # that cp-measure takes
LEAST_LIGHT = 1e-150  # whose square is not 0
_HARALICK = (
    *("AngularSecondMoment", "Contrast", "Correlation", "Variance", "InverseDifferenceMoment", "SumAverage"),
    *("SumVariance", "SumEntropy", "Entropy", "DifferenceVariance", "DifferenceEntropy", "InfoMeas1", "InfoMeas2"),
)
_ZERNIKE = [f"{degree}_{order}" for degree in range(10) for order in range(degree % 2, degree + 1, 2)]
_TEXTURES = [f"{SCALE_PX}_{direction:02d}_{GREY_LEVELS}" for direction in range(4)]
_RADIAL = [
    *((name, f"{ring}of{RINGS}") for ring in range(1, RINGS + 1) for name in ("FracAtD", "MeanFrac", "RadialCV")),
    *((name, moment) for moment in _ZERNIKE for name in ("ZernikeMagnitude", "ZernikePhase")),
]
# Group -> name that cp-measure returns -> column, with the places of the channels.
NAMES = {
    "texture": {f"{name}_{end}": f"Texture_{name}_{{0}}_{end}" for end in _TEXTURES for name in _HARALICK},
    "granularity": {f"Granularity_{step}": f"Granularity_{step}_{{0}}" for step in range(1, 17)},
    "zernike": {f"Zernike_{moment}": f"AreaShape_Zernike_{moment}" for moment in _ZERNIKE},
    "radial": {f"RadialDistribution_{name}_{end}": f"RadialDistribution_{name}_{{0}}_{end}" for name, end in _RADIAL},
    "correlation": {
        "Correlation_Pearson": "Correlation_Correlation_{0}_{1}",
        "Correlation_Overlap": "Correlation_Overlap_{0}_{1}",
    }
    | {
        f"Correlation_{name}_{number}": f"Correlation_{name}_{pair}"
        for name in ("K", "Manders", "RWC", "Costes")
        for number, pair in ((1, "{0}_{1}"), (2, "{1}_{0}"))
    },
}
CHANNELS_AT_ONCE = {"texture": 1, "granularity": 1, "zernike": 0, "radial": 1, "correlation": 2}
# Group -> function of cp-measure that takes no pixels but those from 0 to 1, and what it measures.
NEED_SHARES = {"texture": ("get_texture", "texture"), "correlation": ("get_correlation_costes", "Costes")}


class _Channel(NamedTuple):
    """The image of a channel as cp-measure takes it."""

    pixels: np.ndarray  # (rows, columns) float64: of integers, shares of their type's maximum
    steps: int | None  # of integers, from 0 to their type's maximum

    @property
    def is_share(self):
        return self.pixels.min() >= 0 and self.pixels.max() <= 1


def columns_of(groups: Sequence[str], channels: Sequence[str], *, prefix: str = "Nuclei") -> list[str]:
    """Return the names of the columns of groups, in their order.

    Parameters
    ----------
    groups : sequence of str
        Some of `NAMES`, whose order counts.
    channels : sequence of str
        Names of channels, in their order.
    prefix : str
        What the objects are.
    """
    return [
        f"{prefix}_{column.format(*chosen)}"
        for group in NAMES
        if group in groups
        for chosen in itertools.combinations(channels, CHANNELS_AT_ONCE[group])
        for column in NAMES[group].values()
    ]


def load() -> dict[str, list[Callable]]:
    """Import cp-measure, which takes 0.6 s, and return what measures each group: workers that are forked then share it.

    Raises
    ------
    InputError
        It is not installed here.
    """
    try:
        from cp_measure.core import measurecolocalization as colocalization
        from cp_measure.core import measuregranularity as granularity
        from cp_measure.core import measureobjectintensitydistribution as distribution
        from cp_measure.core import measureobjectsizeshape as shape
        from cp_measure.core import measuretexture as texture
    except ImportError as error:
        raise InputError(
            f"measure.groups: the package cp-measure, which measures them, cannot be imported in this job: {error}; "
            "install it, or delete measure.groups"
        ) from None
    return {
        "texture": [texture.get_texture],
        "granularity": [granularity.get_granularity],
        "zernike": [shape.get_zernike],
        "radial": [distribution.get_radial_distribution, distribution.get_radial_zernikes],
        "correlation": [
            colocalization.get_correlation_pearson,
            colocalization.get_correlation_overlap,
            colocalization.get_correlation_manders_fold,
            colocalization.get_correlation_rwc,
            colocalization.get_correlation_costes,
        ],
    }


def unmeasured_of(images: Mapping[str, np.ndarray], groups: Sequence[str]) -> dict[str, str]:
    """Return what of the groups cannot be measured in these images, and why.

    Parameters
    ----------
    images, groups
        As for `measure_groups`.

    Returns
    -------
    dict of str to str
        As in ``texture of DNA``: the reason.
    """
    needing = [
        what for group, (_, what) in NEED_SHARES.items() if group in groups and len(images) >= CHANNELS_AT_ONCE[group]
    ]
    reasons = {}
    for name, image in images.items() if needing else ():
        if not (channel := _channel_of(image)).is_share:
            found = f"{channel.pixels.min():.6g} to {channel.pixels.max():.6g}"
            reasons |= {f"{what} of {name}": f"found pixels from {found}; expected 0 to 1" for what in needing}
    return reasons


def measure_groups(
    labels: np.ndarray, images: Mapping[str, np.ndarray], groups: Sequence[str], *, prefix: str = "Nuclei"
) -> dict[str, np.ndarray]:
    """Measure groups of columns in every object.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0
        As for `objects.measure_arrays`.
    images : mapping of str to (rows, columns) array of bool, integers or finite floats
        Name and image of every channel, in their order. Integers are divided by their type's maximum.
    groups : sequence of str
        Some of `NAMES`.
    prefix : str
        What the objects are.

    Returns
    -------
    dict of str to (n,) float64 array
        Columns of `columns_of`, a row for each object by ascending label. What is not defined is NaN: a ratio without
        light, a texture of an object that is smaller than its scale, and what `unmeasured_of` names.

    Raises
    ------
    InputError
        As by `load`.
    """
    if not groups:
        return {}
    values, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape).astype(np.int32) + int(values[0] != 0)  # cp-measure takes no gaps
    if not compact.any():
        return {name: np.empty(0) for name in columns_of(groups, list(images), prefix=prefix)}
    functions = load()
    channels = {name: _channel_of(image) for name, image in images.items()}
    columns = {}
    for group, names in NAMES.items():
        if group not in groups:
            continue
        for chosen in itertools.combinations(channels, CHANNELS_AT_ONCE[group]):
            measured = _measured(group, functions[group], compact, [channels[name] for name in chosen])
            columns |= {f"{prefix}_{column.format(*chosen)}": measured[name] for name, column in names.items()}
    return columns


def _channel_of(image):
    if image.dtype.kind not in "iu":
        return _Channel(image.astype(np.float64), None)
    largest = np.iinfo(image.dtype).max
    return _Channel(image / largest, int(largest))


def _measured(group, functions, labels, channels):
    """Measure one group in one channel, in two, or in none; return name of cp-measure -> (n,) array."""
    images = [channel.pixels for channel in channels]
    needs_shares, _ = NEED_SHARES.get(group, (None, None))
    measured = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of values that are not defined
        for function in functions:
            if function.__name__ == needs_shares and not all(channel.is_share for channel in channels):
                # Its columns come last in `NAMES`, and are all that is missing then.
                measured |= dict.fromkeys(NAMES[group].keys() - measured.keys(), np.full(labels.max(), np.nan))
            elif function.__name__ == "get_correlation_overlap":
                measured |= _overlap(function, images, labels)
            elif group == "correlation":
                measured |= function(*images, labels, **_options_of(function, channels))
            else:
                measured |= function(labels, *(images or [None]))
        if group == "correlation":
            ranges = [_range_of(labels, image) for image in images]
            is_flat = np.any([darkest == brightest for darkest, brightest in ranges], axis=0)
            measured["Correlation_Pearson"] = np.where(is_flat, np.nan, measured["Correlation_Pearson"])
    measured = {name: np.asarray(values, np.float64) for name, values in measured.items()}
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in measured.items()}


def _overlap(function, images, labels):
    """Measure what is not defined in objects without light, for which cp-measure divides by 0."""
    is_dark = np.any([_range_of(labels, image)[1] < LEAST_LIGHT for image in images], axis=0)
    if is_dark.any():
        lit = np.append(True, ~is_dark)[labels]
        images = [np.where(lit, image, 1) for image in images]
    return {name: np.where(is_dark, np.nan, values) for name, values in function(*images, labels).items()}


def _range_of(labels, image):
    """Return the least and the largest intensity of every object."""
    from scipy import ndimage  # what measures the groups has imported it; most jobs have no need of it

    numbers = np.arange(1, labels.max() + 1)
    return tuple(np.asarray(extreme(image, labels, numbers)) for extreme in (ndimage.minimum, ndimage.maximum))


def _options_of(function, channels):
    if function.__name__ != "get_correlation_costes":
        return {}
    steps = max(filter(None, (channel.steps for channel in channels)), default=FLOAT_STEPS)
    return {"scale_max": min(steps, MOST_STEPS)}
