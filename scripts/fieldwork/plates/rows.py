"""Columns that the tables of fields and of filtered images share. Imports nothing large: jobs that fork take them."""

import os
import re
import statistics
from collections.abc import Sequence
from typing import Any

# Columns about the nuclei channel end in its name. In the code, and in the tables of units, that is DNA.
_OF_NUCLEI_CHANNEL = re.compile(r"^(FileName|PathName|Series|Frame|ImageQuality_[A-Za-z]+)_.*")
OPTIONAL = ("Metadata_Timepoint", "Metadata_ZPlane")  # left out of a plate's tables where no image has one
IN_FILE = ("Series_DNA", "Frame_DNA")  # likewise, where no image list names the image and the page of a file


def with_channel(column: str, channel: str) -> str:
    """Return the name of a column of fields.csv, with the name of the nuclei channel in place of DNA."""
    return _OF_NUCLEI_CHANNEL.sub(rf"\1_{channel}", column)


def without_channel(column: str) -> str:
    """Return the name that a column of fields.csv has in the code, where the nuclei channel is DNA."""
    return with_channel(column, "DNA")


def row_of(plate: str, result: Any) -> dict[str, Any]:
    """Return the shared columns of an image's row.

    Parameters
    ----------
    plate : str
    result : fields.Field or filters.FilteredImage
    """
    height, width = result.shape
    return {
        "Metadata_Plate": plate,
        "Metadata_Well": result.well,
        "Metadata_Site": result.site,
        "Metadata_Timepoint": result.timepoint,
        "Metadata_ZPlane": result.z,
        "FileName_DNA": os.path.basename(result.path),
        "PathName_DNA": os.path.dirname(result.path),
        "Image_Width": width,
        "Image_Height": height,
        "Image_Status": "failed" if result.error else "ok",
        "Image_Error": result.error,
    }


def levels_of(fields: Sequence[tuple[float | None, float | None, int]], detection: dict) -> dict | None:
    """Sum up the levels of fields in which peaks were looked for: does the threshold lie between ground and nuclei?

    Parameters
    ----------
    fields : list of (float, float, int)
        Of good fields: ground, brightest spot, number of nuclei; as in `fields.Levels`.
    detection : dict
        How nuclei were found.

    Returns
    -------
    dict or None
        None where no peaks were looked for.
    """
    if detection["method"] != "peaks" or not fields:
        return None
    grounds, brightest, counts = zip(*fields, strict=True)
    return {
        "ground": statistics.median(grounds),
        "brightest": max(brightest),
        "fields": len(fields),
        "nuclei": sum(counts),
        "threshold": detection["threshold_abs"],
        "sigma": detection["sigma"],
    }
