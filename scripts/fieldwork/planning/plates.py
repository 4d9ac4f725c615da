"""Answer what the rules ask about plates: images, units, tables, pictures, stores, and what their jobs need."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from fieldwork import InputError
from fieldwork.gpu import choice as gpu
from fieldwork.inputs import archives, methods, platemaps
from fieldwork.inputs.layouts import Image
from fieldwork.inputs.paths import is_url
from fieldwork.inputs.plates import Plate, Plates
from fieldwork.planning import resources
from fieldwork.planning.files import Files, good_images, rows_of
from fieldwork.planning.roads import Caller, Road
from fieldwork.planning.samples import sample_of

PROFILES = ("profiles.parquet", "profiles.csv")
TABLES = ("nuclei.parquet", "fields.csv", "fields.parquet", "wells.csv", "wells.parquet", *PROFILES)
SCREEN = ("wells.parquet", "wells.csv", "plates.csv", "hits.csv", "replicates.csv", "doses.csv")
SCREEN_PICTURES = ("plates", "hits", "doses", "replicates", "profiles", "edge")
CALIBRATION = ["calibration.json", "calibration.png"]
OPTIONAL_PICTURES = ("plots/doses.png", "plots/controls.png", "plots/timepoints.png")  # each has a rule of its own


class PlatePlan(Road):
    """The plates of the sheet, as rules ask for them.

    Parameters
    ----------
    plates : fieldwork.inputs.plates.Plates
        All plates of the sheet, by name.
    downloads : dict of str to fieldwork.inputs.archives.Archive
        Those that the sheet has a URL for.
    detections : dict of str to dict
        Plate -> how its nuclei are found, from `methods.of_plates`.
    caller, files, config
        As for `Road`.
    has_gpu : bool
        Jobs may take a GPU.

    Attributes
    ----------
    downloads, detections
        As given.
    without_images : dict of str to InputError
        Plates whose images are not downloaded yet, or are not what they should be, and why.
    ready : mapping of str to Plate
        All others; a plate is opened when it is first asked for.
    declared : dict of str to list of str
        Function of the user's that finds nuclei -> the names of `user_functions.CONTEXT` that it declares.
    """

    def __init__(
        self,
        plates: Plates,
        downloads: dict,
        detections: dict[str, dict],
        *,
        caller: Caller,
        files: Files,
        config: dict,
        has_gpu: bool,
    ) -> None:
        self.downloads = downloads
        self.without_images = dict(archives.without_images(plates, downloads)) if caller.main else {}
        self.ready: Mapping[str, Plate] = plates
        if self.without_images:
            self.ready = {name: plates[name] for name in plates if name not in self.without_images}
        super().__init__(caller=caller, files=files, config=config, jobs=len(self.ready))
        self.has_gpu = has_gpu
        self.declared: dict[str, list[str]] = {}  # known only later: functions are checked when plates are
        self.detections = detections
        self._rows = plates.rows
        self._sample = functools.cache(
            lambda name: sample_of(good_images(self.ready[name].images), of_planes=self.ready[name].z == "best")
        )
        self._units_to_do = functools.cache(self._count_units_to_do)
        self.platemap_columns = functools.cache(self._platemap_columns)  # of a plate, by its name

    # Which plates

    @property
    def names(self) -> list[str]:
        """Names of all plates of the sheet."""
        return [*self.ready, *self.without_images]

    @property
    def filtered(self) -> list[str]:
        """Names of the plates whose images are to be filtered."""
        return list(self.ready) if self._config["filters"]["chain"] else []

    @property
    def stored(self) -> list[str]:
        """Names of the plates that are to become OME-Zarr stores."""
        return list(self.ready) if self._config["ome_zarr_plate"] else []

    def screened(self, wildcards: object) -> list[str]:
        """Return the names of the plates whose wells are compared with each other: all that have their images."""
        return list(self.ready)

    def batches(self, wildcards: object) -> dict[str, str]:
        """Return plate -> its batch, of plates that have one."""
        return {name: batch for name in self.ready if (batch := self._rows[name].get("batch"))}

    @property
    def timed(self) -> list[str]:
        """Names of the plates whose images were taken at several time points."""
        return [name for name, plate in self.ready.items() if plate.has_timepoints]

    @property
    def labelled(self) -> list[str]:
        """Names of the plates whose outlines are to be kept."""
        return list(filter(self._has_labels, self.ready))

    def _has_labels(self, name):
        return self.keeps_labels and self.method(name) != "peaks"

    def require_images(self, names: Iterable[str]) -> None:
        """Check that plates are in the sheet and have their images.

        Raises
        ------
        InputError
            Names the plates and says what to do.
        """
        names = list(names)
        for name in names:
            if name not in self.ready and name not in self.without_images:
                raise InputError(f"plate '{name}' is not in the sheet '{self._config['plates']}'")
        needed = [name for name in names if name in self.without_images]
        if absent := [f"'{name}'" for name in needed if not Path(self.downloads[name].folder).exists()]:
            target = "the module's rule `download`" if self._caller.namespace else "`snakemake --cores N download`"
            raise InputError(f"no images yet of plate(s) {', '.join(absent)}: run {target} first")
        if needed:
            raise self.without_images[needed[0]]

    def require_all_images(self) -> None:
        """Check that all plates of the sheet have their images."""
        self.require_images(self.without_images)

    def row(self, name: str) -> dict:
        """Return the row of a plate in the sheet, from `sheets.read_sheet`."""
        return self._rows[name]

    def plate(self, wildcards: object) -> Plate:
        """Return the plate of the wildcards."""
        if wildcards.plate not in self.ready:
            self.require_images([wildcards.plate])
        return self.ready[wildcards.plate]

    def channel(self, wildcards: object) -> str:
        """Return the channel in which nuclei are looked for: the one inside of files, where it is named there."""
        plate = self.plate(wildcards)
        return plate.inside or plate.channel

    # How nuclei are found

    def detection(self, wildcards: object) -> dict:
        """Return how the nuclei of a plate are found, as `methods.detection_of` does."""
        return self.detections[self.plate(wildcards).name]

    def method(self, name: str) -> str:
        """Return the kind of a plate's method: auto, peaks or own."""
        return methods.kind_of(self.detections[name]["method"])

    def labels(self, wildcards: object) -> list[str]:
        """Return the plate itself in a list where its outlines are kept; else an empty one."""
        name = self.plate(wildcards).name
        return [name] if self._has_labels(name) else []

    def sigma(self, wildcards: object) -> float | None:
        """Return the sigma of a plate whose nuclei are peaks; None of others."""
        return self.detection(wildcards).get("sigma")

    def z(self, wildcards: object) -> str | int:
        """Return which z planes of a plate's images count, as for `plates.images.chosen_planes`."""
        return self.plate(wildcards).z

    @property
    def border(self) -> str:
        """What becomes of nuclei that the border cuts: keep or drop."""
        return self._config["nuclei"]["border"]

    @property
    def keeps_labels(self) -> bool:
        """True if outlines are to be kept."""
        return self._config["nuclei"]["keep_labels"]

    @property
    def keeps_cells(self) -> bool:
        """True if outlines of cells are to be kept, too."""
        return self.keeps_labels and self._config["cells"] != "none"

    @property
    def label_stores(self) -> list[str]:
        """Names of the stores of outlines: of nuclei, and of cells."""
        return ["labels.zarr", "cells.zarr"] if self.keeps_cells else ["labels.zarr"]

    # Calibration: the sample of a plate is the same for every fan-out

    def calibrated(self, wildcards: object) -> list[str]:
        """Return the plate itself in a list; an empty one where nuclei are found without a calibration."""
        return list(filter(self.takes_calibration, [self.plate(wildcards).name]))

    def calibrate_with(self, wildcards: object) -> list[str]:
        """Return the other plate whose values a plate's calibration takes, in a list; an empty one for its own."""
        return list(filter(None, [self._rows[self.plate(wildcards).name].get("calibrate_with")]))

    def calibration_settings(self, wildcards: object) -> dict:
        """Return what the configuration and the sheet say about a plate's calibration."""
        other = next(iter(self.calibrate_with(wildcards)), None)
        return {"detection": self.detection(wildcards), "calibrate_with": other}

    def sample(self, wildcards: object) -> list[Image]:
        """Return the images on which a plate is calibrated, in the order in which they are read."""
        return self._sample(self.plate(wildcards).name)

    def sample_rows(self, wildcards: object) -> list[tuple]:
        """Return where each image of the sample was taken, as `image_rows`."""
        return rows_of(self.sample(wildcards))

    def sample_urls(self, wildcards: object) -> list[str]:
        """Return the URLs among the images of the sample."""
        return list(filter(is_url, self._sample_paths(wildcards)))

    def fetched_sample(self, wildcards: object) -> list:
        """Return Snakemake's inputs for `sample_urls`."""
        return self._files.fetched(self._sample_paths(wildcards))

    def newest_of_sample(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of the sample; see `Files.newest`."""
        return self._files.newest(self._sample_paths(wildcards))

    def sample_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of each image of the sample."""
        return self._files.stamps(self._sample_paths(wildcards))

    def _sample_paths(self, wildcards):
        return [image.path for image in self.sample(wildcards)]

    def takes_calibration(self, name: str) -> bool:
        """Return True for a plate whose nuclei are found with a calibration."""
        method = self.detections[name]["method"]
        return methods.kind_of(method) == "auto" or "calibration" in self.declared.get(method, ())

    # The images of the nuclei channel: of one unit, or, without that wildcard, of the plate

    def units(self, plate: str) -> list[str]:
        """Return the names of a plate's units."""
        return list(self.ready[plate].units)

    def images(self, wildcards: object) -> list[Image]:
        """Return the images of a job."""
        plate, unit = self.plate(wildcards), wildcards.get("unit")
        if not unit:
            return plate.images
        if unit not in plate.units:
            raise InputError(f"plate '{plate.name}' has no unit '{unit}' with fan_out: {self._config['fan_out']}")
        return plate.units[unit]

    def image_rows(self, wildcards: object) -> list[tuple]:
        """Return where each image was taken: well, site, time point, z plane, `source_of`; why it is not read."""
        return rows_of(self.images(wildcards))

    def image_urls(self, wildcards: object) -> list[str]:
        """Return the URLs among the images."""
        return list(filter(is_url, self._image_paths(wildcards)))

    def fetched_images(self, wildcards: object) -> list:
        """Return Snakemake's inputs for `image_urls`."""
        return self._files.fetched(self._image_paths(wildcards))

    def newest_image(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of the images; see `Files.newest`."""
        return self._files.newest(self._image_paths(wildcards))

    def image_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of each image."""
        return self._files.stamps(self._image_paths(wildcards))

    def _image_paths(self, wildcards):
        return [image.path for image in good_images(self.images(wildcards))]

    # The images of all channels

    def all_images(self, wildcards: object) -> list[tuple]:
        """Return all images of a plate as plain tuples, which parameters of a rule can be."""
        plate = self.plate(wildcards)
        named = {plate.channel: plate.inside} if plate.inside else {}
        images = plate.scan.images
        return [tuple(image._replace(channel=named.get(image.channel, image.channel))) for image in images]

    def all_image_urls(self, wildcards: object) -> list[str]:
        """Return the URLs among all images, without absent objects, which fail as bad images do."""
        return [path for path in self._all_image_paths(wildcards) if is_url(path) and self._files.stamp(path)]

    def all_fetched_images(self, wildcards: object) -> list:
        """Return Snakemake's inputs for `all_image_urls`."""
        return self._files.fetched(self.all_image_urls(wildcards))

    def newest_of_all_images(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of all images; see `Files.newest`."""
        return self._files.newest(self._all_image_paths(wildcards))

    def all_image_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of each of all images."""
        return self._files.stamps(self._all_image_paths(wildcards))

    def _all_image_paths(self, wildcards):
        """Return the paths of all images; a file may have several channels."""
        return list(dict.fromkeys(image.path for image in good_images(self.plate(wildcards).scan.images)))

    # Archive, platemap, pictures, store

    def archive(self, wildcards: object) -> dict:
        """Return the archive of a plate as parameters of a rule may have it: Snakemake keeps them in files."""
        if wildcards.plate not in self.downloads:
            raise InputError(f"plate '{wildcards.plate}' has no url in the sheet '{self._config['plates']}'")
        archive = self.downloads[wildcards.plate]
        return {**archive._asdict(), **archive.address}

    def platemap(self, wildcards: object) -> list[str]:
        """Return the path of a plate's platemap in a list; an empty one without a platemap."""
        return list(filter(None, [self.plate(wildcards).platemap]))

    def newest_platemap(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of the platemap."""
        return self._files.newest(self.platemap(wildcards))

    def platemap_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of the platemap."""
        return self._files.stamps(self.platemap(wildcards))

    def _platemap_columns(self, name):
        """Return the columns of a plate's platemap, with ``Metadata_``."""
        path = self.ready[name].platemap
        return list(next(iter(platemaps.read_platemap(path, name).values()), {})) if path else []

    def further_products(self, name: str) -> list[str]:
        """Return what to ask for of a plate beside `densities.png`: what other jobs draw, and what was deleted.

        One picture stands for all outputs of its job, and the tables: thousands of plates are planned an eighth sooner.
        """
        timed = self.ready[name].has_timepoints
        columns = [*self.platemap_columns(name), *["control"] * bool(self._config["controls"])]
        pictures = platemaps.pictures(columns, with_quality=self._config["quality"], timed=timed)
        folder = Path(self._config["results"], "plates", name)
        drawn = (folder / "densities.png").exists()
        tables = [*TABLES, *["timepoints.csv"] * timed]
        labels = [f"{store}/zarr.json" for store in self.label_stores] if self._has_labels(name) else []
        return [
            product
            for product in [*tables, *labels, *CALIBRATION, *(f"plots/{picture}.png" for picture in pictures)]
            if product in (*labels, *CALIBRATION[1:], *OPTIONAL_PICTURES) or drawn and not (folder / product).exists()
        ]

    def store(self, wildcards: object) -> str:
        """Return the path of a plate's OME-Zarr store."""
        return f"{self._config['results']}/plates/{wildcards.plate}/{wildcards.plate}.ome.zarr"

    @property
    def store_settings(self) -> dict:
        """How stores are written."""
        slide = self._config["slide"]
        return {"version": slide["ome_zarr"], **{key: slide[key] for key in ("chunk", "codec", "level")}}

    # What jobs need

    def unit_threads(self, wildcards: object) -> int:
        """Return the workers of a detection job: here, as many as let all units that are still to do end soonest."""
        if self._takes_gpu_alone(wildcards):
            return 1
        if self._caller.on_cluster:
            return resources.threads_on_cluster(self._detection_seconds(wildcards, self._image_paths(wildcards)))
        units, fields = self._units_to_do()
        return resources.threads_per_unit(units, fields=fields, cores=self._caller.cores)

    def unit_gpus(self, wildcards: object, threads: int) -> int:
        """Return 1 where the job will take a GPU."""
        method = self.method(self.plate(wildcards).name)
        if method != "peaks" or not self.has_gpu:
            return int(self._takes_gpu_alone(wildcards))
        return int(gpu.pays_off(self._config["device"], frames=len(self.images(wildcards)), workers=threads))

    def unit_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a detection job, in MB."""
        gpu_mb = resources.GPU_PROCESS_MB * self.unit_gpus(wildcards, threads)
        frames_mb = threads * resources.frame_mb(self._largest_mb(self._image_paths(wildcards)))
        return self.pool_memory(wildcards, threads, attempt) + attempt * (gpu_mb + frames_mb)

    def unit_minutes(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the time limit of a detection job, in minutes."""
        seconds = self._detection_seconds(wildcards, self._image_paths(wildcards))
        return attempt * resources.time_limit_min(seconds, threads=threads)

    def calibration_threads(self, wildcards: object) -> int:
        """Return the workers of a job that calibrates a plate."""
        return 1 if self._takes_gpu_alone(wildcards) else self.threads(wildcards)

    def calibration_gpus(self, wildcards: object) -> int:
        """Return 1 where a job that calibrates a plate will take a GPU: to draw what the user's function finds."""
        return int(self._takes_gpu_alone(wildcards))

    def calibration_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a job that calibrates a plate, in MB."""
        frame_mb = resources.frame_mb(self._largest_mb(self._sample_paths(wildcards)))
        return attempt * (resources.memory_mb(threads) + threads * frame_mb)

    def calibration_minutes(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the time limit of a job that calibrates a plate, in minutes."""
        seconds = self._detection_seconds(wildcards, self._sample_paths(wildcards))
        return attempt * resources.time_limit_min(seconds, threads=threads)

    def _takes_gpu_alone(self, wildcards):
        """Return True where the user's own function may take the GPU: one worker has it, as nobody can share it out."""
        return self._config["device"] == "gpu" and self.method(self.plate(wildcards).name) == methods.OWN

    def _largest_mb(self, paths):
        return max((self._files.megabytes([path]) for path in paths), default=0)

    def store_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a job that writes a store, in MB.

        A worker holds a field's images (compressed ones, unpacked) with levels and label.
        """
        images = self.plate(wildcards).scan.images
        fields = len({(image.well, image.site) for image in images})
        field_mb = 3 * self._files.megabytes(image.path for image in images) / fields
        return attempt * resources.memory_mb(threads, worker=200 + 4 * field_mb)

    def _seconds(self, wildcards):
        return resources.S_PER_MB * self._files.megabytes(self._image_paths(wildcards))

    def _detection_seconds(self, wildcards, paths):
        factor = resources.DETECTION_FACTORS[self.method(self.plate(wildcards).name)]
        return factor * resources.S_PER_MB * self._files.megabytes(paths)

    def _count_units_to_do(self):
        """Count the units without a table, and their fields; where none is missing, the configuration changed: all."""
        plates = self.ready.items()
        units = {(name, unit): len(images) for name, plate in plates for unit, images in plate.units.items()}
        folder = Path(self._config["results"], "plates")
        missing = {
            (plate, unit): fields
            for (plate, unit), fields in units.items()
            if not (folder / plate / "units" / f"{unit}.parquet").exists()
        }
        return len(missing or units), sum((missing or units).values())
