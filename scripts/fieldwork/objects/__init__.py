"""Objects of a label image, measured in every channel: CellProfiler 4's columns and numbers.

The definitions are those of two modules of CellProfiler 4, whose files are in cellprofiler/modules of its source. Both
measure with scikit-image, SciPy and centrosome, as does cp-measure, the community's re-implementation, with which every
column here is compared.

Values are the same to the last digit on every machine: sums are of whole numbers, or of floats one after the other,
and what follows is arithmetic and square roots, which IEEE 754 rounds in one way. Only Orientation goes through an
arctangent, of the C library: another one may differ in the last digit.

measureobjectsizeshape.py, columns `AreaShape_*`:

- Area, BoundingBoxArea, BoundingBoxMinimum/Maximum_X/Y (the maximum is the first pixel behind the object), Center_X/Y,
  EquivalentDiameter, Extent, EulerNumber (8 neighbours), Perimeter: `skimage.measure.regionprops`. For the perimeter,
  what lies outside the image is ground.
- MajorAxisLength, MinorAxisLength, Eccentricity, Orientation: of the ellipse with the object's second moments,
  `regionprops`. Orientation is the angle between the axis of rows and the major axis, counter-clockwise, from -90 to 90
  degrees, as since CellProfiler 4.2; 4.0 and 4.1 have radians, and 3 measures from another axis.
- ConvexArea, Solidity: `regionprops` of today's scikit-image, as cp-measure has them. CellProfiler 4.2 comes with
  scikit-image 0.18, which leaves out some pixels on the hull's outline: there, Solidity is a few percent larger.
  CellProfiler 3 has `centrosome.cpmorphology.calculate_solidity`, and no ConvexArea.
- FormFactor is 4 pi Area / Perimeter**2, Compactness is Perimeter**2 / (4 pi Area). One pixel has no perimeter: its
  FormFactor would be infinite, and is null.
- MaximumRadius, MeanRadius, MedianRadius: of the distances from the object's pixels to the nearest pixel that is not of
  the object, `scipy.ndimage.distance_transform_edt`; pixels outside the image are not of it.
- MinFeretDiameter, MaxFeretDiameter: between the centres of pixels, `centrosome.cpmorphology.feret_diameter`.

measureobjectintensity.py, columns `Intensity_*` and `Location_*`:

- IntegratedIntensity, MeanIntensity, StdIntensity (of the population), MinIntensity, MaxIntensity.
- The same with Edge: of the pixels with a neighbour, of four, that is of another label or ground
  (`skimage.segmentation.find_boundaries`, inner). The image's rim is no neighbour. An object without such pixels has 0.
- LowerQuartileIntensity, MedianIntensity, UpperQuartileIntensity: at n q of the n ordered pixels, counted from 0, and
  linearly between two; not at (n - 1) q, where NumPy has it. MADIntensity: likewise, at n / 2 of
  |pixel - MedianIntensity|.
- Location_CenterMassIntensity_X/Y: mean position, weighted with intensity. MassDisplacement: from there to Center. Both
  are null where the sum of intensities is 0.
- Location_MaxIntensity_X/Y: the brightest pixel; of equally bright ones the first in reading order, as in cp-measure.
  CellProfiler takes what `scipy.ndimage.maximum_position` returns, which hangs on SciPy's release.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fieldwork import label_images
from fieldwork.objects import intensities, shapes
from fieldwork.objects.regions import parts_of, pixels_of, regions_of

if TYPE_CHECKING:
    import pandas as pd

_FEATURE = re.compile(
    r"(?:Nuclei|Cells|Cytoplasm)_(?!Location_|AreaShape_(?:Center|BoundingBox|Orientation)"
    r"|RadialDistribution_ZernikePhase_|TouchesBorder|Positive_)"
)


def columns_of(channels: Sequence[str], *, prefix: str = "Nuclei") -> list[str]:
    """Return the names of all columns but `ObjectNumber`, in their order.

    Parameters
    ----------
    channels : sequence of str
        Names of channels, in their order.
    prefix : str
        What the objects are.
    """
    columns = [f"{prefix}_AreaShape_{name}" for name in shapes.NAMES]
    return columns + [f"{prefix}_{name}_{channel}" for channel in channels for name in intensities.NAMES]


def features_of(columns: Iterable[str]) -> list[str]:
    """Return the columns of a table of nuclei that are true features, for tools that take features by their prefix.

    Positions (Location, Center, BoundingBox, Orientation, ZernikePhase) and marks (TouchesBorder, Positive) are none.

    Parameters
    ----------
    columns : iterable of str
        In any order, which stays.
    """
    return list(filter(_FEATURE.match, columns))


def measure_objects(labels: np.ndarray, images: Mapping[str, np.ndarray], *, prefix: str = "Nuclei") -> "pd.DataFrame":
    """Measure shape and intensities of every object, with the names and definitions of CellProfiler 4.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0
        0 is ground, every other value an object; values may have gaps, and an object may be in pieces.
    images : mapping of str to (rows, columns) array of bool, integers or floats
        Name and image of every channel. Integers are divided by their type's maximum, as CellProfiler does; bool and
        floats are measured as they are.
    prefix : str
        What the objects are: it begins the names of columns.

    Returns
    -------
    pandas.DataFrame
        One row per object, by ascending label: `ObjectNumber`, which is the label, and the columns of `columns_of`.
        Lengths and positions are in px; X is the column, Y the row, and the origin is the centre of the first pixel.
        ObjectNumber, Area, BoundingBoxArea, BoundingBoxMinimum/Maximum_X/Y, ConvexArea and EulerNumber are int64, all
        else is float64.

    Raises
    ------
    ValueError
        The labels are no label image, or a channel has another size or type, or pixels that are NaN or infinite.
    """
    import pandas as pd  # 0.3 s to import; workers, which take `measure_arrays`, have no need of it

    return pd.DataFrame(measure_arrays(labels, images, prefix=prefix))


def measure_arrays(
    labels: np.ndarray, images: Mapping[str, np.ndarray], *, prefix: str = "Nuclei"
) -> dict[str, np.ndarray]:
    """Measure as `measure_objects`, and return the columns of its table by their names.

    Parameters
    ----------
    labels, images, prefix
        As of `measure_objects`.

    Returns
    -------
    dict of str to (n,) array of int64 or float64

    Raises
    ------
    ValueError
        As of `measure_objects`.
    """
    _check_labels(labels)
    for channel, image in images.items():
        _check_image(channel, image, labels.shape)
    labels = np.ascontiguousarray(labels)
    images = {name: np.ascontiguousarray(image, image.dtype.newbyteorder("=")) for name, image in images.items()}
    regions = regions_of(labels)
    if (regions.labels < 0).any():
        raise ValueError(f"labels with {regions.labels.min()}; expected integers from 0")
    outer, edge_counts, lights = [], [], {channel: [] for channel in images}
    for part in parts_of(regions):
        pixels = pixels_of(part)
        measured, borders = shapes.measure_pixels(part, pixels)
        edges, counts = intensities.edges_of(part, pixels, borders, labels)
        outer.append(measured)
        edge_counts.append(counts)
        for channel, image in images.items():
            lights[channel].append(intensities.light_of(part, pixels, edges, image))
    edge_counts = np.concatenate(edge_counts)
    shape = shapes.measure_runs(regions)
    shape |= {name: np.concatenate([measured[name] for measured in outer]) for name in outer[0]}
    columns = {"ObjectNumber": regions.labels}
    columns |= {f"{prefix}_AreaShape_{name}": shape[name] for name in shapes.NAMES}
    for channel, image in images.items():
        light = intensities.Light(*map(np.concatenate, zip(*lights[channel], strict=True)))
        scale = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
        measured = intensities.measure(regions, edge_counts, light, scale)
        columns |= {f"{prefix}_{name}_{channel}": measured[name] for name in intensities.NAMES}
    return columns


def properties_of(measurements: Mapping[str, np.ndarray], size: tuple[int, int]) -> label_images.Properties:
    """Return `label_images.properties` of nuclei that are measured already.

    Parameters
    ----------
    measurements : mapping of str to (n,) array
        From `measure_arrays`.
    size : (int, int)
        Rows and columns of the label image.
    """
    shape = {name: measurements[f"Nuclei_AreaShape_{name}"] for name in shapes.NAMES}
    touches_border = (shape["BoundingBoxMinimum_Y"] == 0) | (shape["BoundingBoxMaximum_Y"] == size[0])
    touches_border |= (shape["BoundingBoxMinimum_X"] == 0) | (shape["BoundingBoxMaximum_X"] == size[1])
    return label_images.Properties(shape["Center_Y"], shape["Center_X"], shape["Area"], touches_border)


def _check_labels(labels):
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels of shape {labels.shape} and type {labels.dtype}; expected rows and columns of integers from 0"
        )


def _check_image(channel, image, shape):
    if image.shape != shape or image.dtype.kind not in "biuf":
        raise ValueError(
            f"channel {channel}: an image of shape {image.shape} and type {image.dtype}; "
            f"expected numbers of shape {shape}, as of the labels"
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(f"channel {channel}: pixels that are NaN or infinite; expected numbers")
