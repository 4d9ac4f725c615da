"""Answer what the rules of the benchmarks ask: images of the first plate, and its channel."""

from fieldwork.inputs import methods
from fieldwork.inputs.layouts import Image
from fieldwork.inputs.paths import is_url, suits_snakemake
from fieldwork.planning.files import Files
from fieldwork.planning.plates import PlatePlan

MOST_IMAGES = 240  # a plate of BBBC021
WORKFLOW_FIELDS = 16  # a few wells of the plate, for runs of the whole workflow


class BenchmarkPlan:
    """What benchmarks are run on.

    Parameters
    ----------
    plates : fieldwork.planning.plates.PlatePlan
    files : fieldwork.planning.files.Files
    nuclei : dict
        The section of the configuration.

    Attributes
    ----------
    detection : dict
        Keyword arguments of `nuclei.detect_nuclei`: benchmarks compare ways to find peaks, whatever the plates' method.
    nuclei_settings : dict
        The same as a section of a configuration.
    """

    def __init__(self, plates: PlatePlan, files: Files, *, nuclei: dict) -> None:
        self._plates = plates
        self._files = files
        self.detection = methods.peaks_arguments(nuclei)
        self.nuclei_settings = {"method": "peaks", **{key: nuclei[key] for key in methods.PEAKS_KEYS}}

    @property
    def plate(self) -> str | None:
        """Name of the first plate."""
        return next(iter(self._plates.ready), None)

    def channel(self, wildcards: object) -> str:
        """Return the nuclei channel of the first plate."""
        plate = self._plates.ready[self.plate] if self.plate else None
        return (plate.inside or plate.channel) if plate else "auto"

    def images(self, wildcards: object) -> list[str]:
        """Return the benchmarks' images on disk."""
        if not self._plates.ready:
            self._plates.require_all_images()
        return [path for path in self._paths() if not is_url(path) and suits_snakemake(path)]

    def fetched_images(self, wildcards: object) -> list:
        """Return Snakemake's inputs for the benchmarks' images at URLs."""
        return self._files.fetched(self._paths())

    def fields(self, wildcards: object) -> list[tuple]:
        """Return fields for runs of the whole workflow: well, site, time point, z plane, path."""
        images = self._first_images()[:WORKFLOW_FIELDS]
        return [(image.well, image.site, image.timepoint, image.z, image.path) for image in images]

    def _first_images(self) -> list[Image]:
        images = self._plates.ready[self.plate].images if self.plate else []
        return [image for image in images if not image.fault]

    def _paths(self):
        """Return the paths of the first plate's images that exist."""
        return list(filter(self._files.exists, (image.path for image in self._first_images())))[:MOST_IMAGES]
