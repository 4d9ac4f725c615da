"""Answer what the rules ask about slides: files, batches, stores, and what their jobs need."""

import functools

from fieldwork import InputError
from fieldwork.inputs import methods
from fieldwork.inputs.inside import headers, slide_files
from fieldwork.inputs.inside import regions as annotations
from fieldwork.inputs.paths import is_url, suits_snakemake
from fieldwork.planning import function_checks, provenance, resources
from fieldwork.planning.files import Files
from fieldwork.planning.roads import Caller, Road


class SlidePlan(Road):
    """The slides of the sheet, as rules ask for them.

    Parameters
    ----------
    rows : dict of str to dict
        Slide -> its checked row of the sheet.
    caller, files, config
        As for `Road`.
    has_gpu : bool
        Jobs may take a GPU.

    Attributes
    ----------
    rows
        As given.
    batches : dict of str to list of str
        Plate, under which slides are reported -> its slides.
    """

    def __init__(self, rows: dict, *, caller: Caller, files: Files, config: dict, has_gpu: bool) -> None:
        super().__init__(caller=caller, files=files, config=config, jobs=1)
        self.rows = rows
        self.has_gpu = has_gpu
        self._files_of = functools.cache(slide_files.files_of)
        self._decoding_mb = functools.cache(headers.decoding_mb)
        self.batches: dict[str, list[str]] = {}
        for name, row in rows.items():
            self.batches.setdefault(row["plate"], []).append(name)

    def path(self, wildcards: object) -> str:
        """Return the path or URL of a slide."""
        if wildcards.slide not in self.rows:
            raise InputError(f"slide '{wildcards.slide}' is not in the sheet '{self._config['slides']}'")
        return self.rows[wildcards.slide]["path"]

    @property
    def paths_on_disk(self) -> list[str]:
        """Paths of all slides that are not at a URL, and that Snakemake can take."""
        return [path for row in self.rows.values() if not is_url(path := row["path"]) and suits_snakemake(path)]

    @property
    def all_fetched(self) -> list:
        """Snakemake's inputs for all slides at URLs."""
        return self._files.fetched(row["path"] for row in self.rows.values())

    def files(self, wildcards: object) -> list[str]:
        """Return the path or URL of a slide, and its other files on disk."""
        path = self.path(wildcards)
        return [path] if is_url(path) else self._files_of(path)

    def newest_file(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of a slide's files; see `Files.newest`."""
        return self._files.newest(self.files(wildcards))

    def fetched(self, wildcards: object) -> list:
        """Return Snakemake's input for a slide at a URL."""
        return self._files.fetched([self.path(wildcards)])

    def stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of a slide's files."""
        return self._files.stamps(self.files(wildcards))

    @property
    def with_regions(self) -> list[str]:
        """Slides for which the sheet names regions."""
        return [name for name, row in self.rows.items() if "regions" in row]

    def plate(self, wildcards: object) -> str:
        """Return the plate under which a slide is reported."""
        return self.rows[wildcards.slide]["plate"]

    def regions(self, wildcards: object) -> str | None:
        """Return the path of a slide's regions, None without."""
        return self.rows[wildcards.slide].get("regions")

    def newest_regions(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of the file of a slide's regions; see `Files.newest`."""
        return self._files.newest(filter(None, [self.regions(wildcards)]))

    def regions_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of the file of a slide's regions."""
        return self._files.stamps(filter(None, [self.regions(wildcards)]))

    def batch(self, wildcards: object) -> list[str]:
        """Return the slides that are reported under a plate."""
        if wildcards.plate not in self.batches:
            raise InputError(f"no slide in the sheet '{self._config['slides']}' is of plate '{wildcards.plate}'")
        return self.batches[wildcards.plate]

    def store(self, wildcards: object) -> str:
        """Return the path of a slide's OME-Zarr store."""
        return f"{self._config['results']}/slides/{wildcards.slide}/{wildcards.slide}.ome.zarr"

    def settings(self, wildcards: object) -> dict:
        """Return how a slide is converted; what its row states comes before configuration and file."""
        slide, row = self._config["slide"], self.rows[wildcards.slide]
        return {
            "reader": row.get("reader", slide["reader"]),
            "series": int(row["series"]) if "series" in row else None,
            "nuclei_channel": row.get("nuclei_channel"),
            "version": slide["ome_zarr"],
            "modality": row.get("modality"),
            **{key: float(row[key]) if key in row else None for key in ("mpp", "magnification")},
            **{key: slide[key] for key in ("chunk", "shard", "codec", "level", "keep_associated", "keep_properties")},
        }

    def conversion_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a conversion, in MB.

        A worker holds some copies of a block, with its levels and compressed; so does its reader. Before that, one
        worker decodes long tiles and strips.
        """
        side = max(self._config["slide"]["shard"], 2 * self._config["slide"]["chunk"])
        blocks = resources.memory_mb(threads, worker=150 + 5 * 3 * side**2 / 1e6)
        strips = max((self._decoding_mb(path) for path in self.files(wildcards) if not is_url(path)), default=0)
        return attempt * max(blocks, resources.memory_mb(1, worker=150 + strips))

    @functools.cached_property
    def nuclei(self) -> dict:
        """How the nuclei of slides are found: `slide.nuclei`, and where they have outlines `methods.of_slides`."""
        nuclei = self._config["slide"]["nuclei"]
        return {**nuclei, **methods.of_slides(self._config["nuclei"])} if self.calibrations("") else nuclei

    def calibrations(self, path: str) -> list[str]:
        """Return the path of a slide's calibration, in a list, where some slides' nuclei are outlined with one."""
        nuclei = self._config["slide"]["nuclei"]
        return [path] if "auto" in (nuclei["haematoxylin"], nuclei["fluorescence"]) else []

    def made_of(self, wildcards: object) -> dict:
        """Return what decides a slide's table of nuclei beside its pixels and its calibration, for its metadata.

        Returns
        -------
        dict
            ``settings``: keys of the configuration. ``libraries`` and ``digest``: from `provenance.code_behind`.
        """
        slide = self._config["slide"]
        settings = {key: slide[key] for key in ("ring_um", "positive")}
        made_of = {"settings": settings, **_code_behind_nuclei()}
        if "method" in self.nuclei:
            settings["nuclei"] = function_checks.outlined_by(self.nuclei)
            versions = made_of["libraries"] | function_checks.runtime_of(self.nuclei)
            made_of["libraries"] = dict(sorted(versions.items()))
        return made_of

    def calibration_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a job that calibrates a slide or draws its calibration, in MB."""
        return attempt * resources.memory_mb(threads)

    def detection_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a detection job, in MB."""
        return attempt * (resources.memory_mb(threads) + resources.GPU_PROCESS_MB * self.has_gpu)

    def _seconds(self, wildcards):
        return resources.SLIDE_S_PER_MB * self._files.megabytes(self.files(wildcards))


def check_regions(rows: dict) -> None:
    """Raise InputError for a file of regions that cannot be read; `rows` are as for `SlidePlan`."""
    for name, row in rows.items():
        if "regions" in row:
            annotations.read_annotations(row["regions"], where=f"{row[None]}: slide '{name}'")


@functools.cache
def _code_behind_nuclei():
    return provenance.code_behind(["calibrate_slide", "detect_slide_nuclei"])
