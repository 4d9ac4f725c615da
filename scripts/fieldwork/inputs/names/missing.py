"""Fields without an image of the nuclei channel."""

from collections.abc import Iterable, Sequence

from fieldwork import InputError
from fieldwork.inputs.names.images import Image, in_order


def with_missing(images: Iterable[Image], channel: str) -> list[Image]:
    """Return the images of the nuclei channel, and one with a fault for each that is missing.

    It is missing where a field has another channel at a time point and z plane at which other fields have the nuclei
    channel, or where a field has no image of that at all. A channel that was taken at fewer times or planes is none.

    Parameters
    ----------
    images : iterable of Image
    channel : str
        Of the nuclei.

    Returns
    -------
    list of Image
        In the order of the tables' rows.
    """
    of_nuclei, others = [], {}
    for image in images:
        if image.channel == channel:
            of_nuclei.append(image)
        else:
            others.setdefault((image.well, image.site, image.timepoint, image.z), []).append(image.channel)
    for image in of_nuclei:
        others.pop((image.well, image.site, image.timepoint, image.z), None)
    if not others:
        return of_nuclei
    moments = {(image.timepoint, image.z) for image in of_nuclei}
    fields = {(image.well, image.site) for image in of_nuclei} | {frame[:2] for frame in others if frame[2:] in moments}
    missing = [
        Image("", well, site, channel, timepoint, z, fault=_fault_of(channel, tokens))
        for (well, site, timepoint, z), tokens in others.items()
        if (timepoint, z) in moments or (well, site) not in fields
    ]
    return in_order([*of_nuclei, *missing]) if missing else of_nuclei


def _fault_of(channel, others):
    return f"no image of channel {channel}; there are images of {', '.join(others)}"


def check_faults(images: Sequence[Image], most_failed: float) -> None:
    """Check that few images of the nuclei channel are missing or there twice.

    Parameters
    ----------
    images : list of Image
        From `with_missing`.
    most_failed : float
        The share of them that may be, but never all.

    Raises
    ------
    InputError
        Lists the first, and their wells.
    """
    faults = [image for image in images if image.fault]
    if not faults or (len(faults) <= most_failed * len(images) and len(faults) < len(images)):
        return
    examples = "; ".join(f"well {image.well}, site {image.site}: {image.fault}" for image in faults[:3])
    wells = list(dict.fromkeys(image.well for image in faults))
    raise InputError(
        f"{len(faults)} of {len(images)} images of channel {faults[0].channel} are missing or not certain, more than "
        f"max_failed_fields: {most_failed:g} allows, in {len(wells)} wells ({' '.join(wells[:8])}"
        f"{' ...' if len(wells) > 8 else ''}); {examples}. Put them right or take the other files away; or name "
        "another channel of the nuclei (nuclei_channel, in the sheet), or allow more with max_failed_fields."
    )
