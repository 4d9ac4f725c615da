"""Answer what the rules ask about measurements: the channels of plates, and the images of those that are measured."""

import functools
import itertools
import math
import sys
from importlib.util import find_spec
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs import channels, platemaps
from fieldwork.inputs.names.images import natural, path_of
from fieldwork.inputs.paths import is_url
from fieldwork.planning import provenance, resources
from fieldwork.planning.files import Files, rows_of, source_of
from fieldwork.planning.plates import PlatePlan
from fieldwork.planning.resources import GROUPS

DEFAULT = {"channels": "all"}  # of the section ``measure``
GROUP_MODULES = ("cp_measure", "centrosome", "mahotas")  # which have no wheels for some Pythons and machines
# Their versions count where groups are measured, and there alone: not by `provenance.COMPUTING`.
GROUP_DISTRIBUTIONS = ("cp-measure", "centrosome", "mahotas", "scipy", "scikit-image")
OBJECTS_OF_CELLS = 3  # nuclei, cells, cytoplasm
SAMPLE_FACTOR = 4  # of the time that a sample takes to find its illumination, in times of peaks
CORRECTED_COPIES = 5  # of a channel's file, for a worker: its function and the corrected image, of float32
FUNCTION_COPIES = 3  # likewise, for a job that finds functions, and what they are made of


class _Unit(NamedTuple):
    """The images of a unit, or of a sample."""

    rows: list[tuple]  # as `MeasurePlan.image_rows` returns them
    paths: list[str]  # of all files, each once: first those of the nuclei channel


class MeasurePlan:
    """What is measured in the nuclei of plates.

    Parameters
    ----------
    plates : fieldwork.planning.plates.PlatePlan
    files : fieldwork.planning.files.Files
    config : dict
        From `planning.configuration.read`.
    """

    def __init__(self, plates: PlatePlan, files: Files, *, config: dict) -> None:
        self._plates = plates
        self._files = files
        self._names = config["channels"]
        self._wanted = config["measure"]["channels"]
        self._groups = [group for group in GROUPS if group in config["measure"]["groups"]]
        self._given_positive = config["positive"]
        self._controls = config["controls"]
        self._cells = config["cells"] if isinstance(config["cells"], dict) else {"function": config["cells"]}
        if config["cells"] == "none":
            self._cells = None
        self._illuminates = config["illumination"] == "auto"
        self._background = None if config["background"] == "none" else config["background"]
        self._held = config["pool"]["mode"] == "fork"
        self._channels = functools.cache(lambda name: channels.channels_of(plates.ready[name], self._names))
        self._measured = functools.cache(self._measured_of)
        self._positive = functools.cache(self._positive_of)
        self._units = functools.cache(self._units_of)
        self._samples: dict[str, _Unit] = {}

    def check(self, *, source: str, in_stacks: bool = False) -> None:
        """Check the channels of every plate.

        Parameters
        ----------
        source : str
            Of the configuration, for messages.
        in_stacks : bool
            Nuclei are measured in stacks, too, where ``measure.channels`` may be none.

        Raises
        ------
        InputError
            Names the plate's line of the sheet, or the configuration's key: two channels of one name, also of two
            plates where they differ in case, a channel that no plate has, one that nothing would measure, or one
            without negative controls that name its positive nuclei; or groups that cannot be measured. Or the platemap
            whose controls contradict the configuration's.
        """
        self._check_use(source, in_stacks)
        self._check_groups(source, in_stacks)
        tokens, spellings = set(), {}
        for name in self._plates.ready:
            for channel in self._measured(name):
                first, plate = spellings.setdefault(channel.name.lower(), (channel.name, name))
                if first != channel.name:  # columns of one run that DuckDB and Windows take for the same
                    raise InputError(
                        f"{self._plates.row(name)[None]}: plate '{name}': its channel {channel.name} is called {first} "
                        f"in plate '{plate}'. Give both one name under the key 'channels': {{{channel.token}: {first}}}"
                    )
            self._positive(name)
            self._cells_of(name)
            if self._controls and (path := self._plates.ready[name].platemap):
                cells = platemaps.read_platemap(path, name).values()
                platemaps.roles_of(cells, self._controls, where=f"{path}: plate '{name}'")
            tokens |= {channel.token.lower() for channel in self._channels(name)}
            tokens |= {image.channel.lower() for image in self._plates.ready[name].scan.images}
        unknown = [token for token in self._names if token.lower() not in tokens]
        if unknown and tokens and not self._plates.without_images:
            raise InputError(
                f"{source}: channels names {unknown[0]!r}, which no plate has; their channels are "
                f"{', '.join(sorted(tokens, key=natural))}"
            )

    def _check_use(self, source, in_stacks):
        """Refuse keys that nothing would use, as no nucleus is measured."""
        given = {}
        if self._wanted != DEFAULT["channels"] and not (in_stacks and self._wanted == "none"):
            given["measure.channels"] = self._wanted
        if self._groups:
            given["measure.groups"] = self._groups
        if self._given_positive:
            given["positive"] = self._given_positive
        if self._cells:
            given["cells"] = self._cells
        if self._illuminates:
            given["illumination"] = "auto"
        if self._background is not None:
            given["background"] = self._background
        names = self._plates.names
        if names and all(self._plates.method(name) == "peaks" for name in names):
            for key, value in given.items():
                raise InputError(
                    f"{source}: {key} is {value!r}, but nuclei of method peaks have no outlines in which anything "
                    f"could be measured: delete {key}, or set nuclei.method"
                )
        needing = {"positive": bool(self._given_positive), "cells": "watershed" in (self._cells or {})}
        needing["measure.groups"] = any(GROUPS[group].channels for group in self._groups)
        for key, needs_channel in needing.items():
            if needs_channel and self._wanted == "none":
                raise InputError(
                    f"{source}: {key} is {given[key]!r}, but measure.channels is none: name the channels there, too, "
                    f"or delete {key}"
                )

    def _check_groups(self, source, in_stacks):
        """Refuse groups that cannot be measured here, or in no plate, or whose columns would have one name."""
        if self._groups and in_stacks and not self._plates.names:
            raise InputError(
                f"{source}: measure.groups is {self._groups}, but they are measured in the nuclei of plates alone, and "
                "there are only stacks: delete measure.groups"
            )
        for module in GROUP_MODULES if self._groups else ():
            if find_spec(module) is None:
                raise InputError(
                    f"{source}: measure.groups is {self._groups}, but the package cp-measure, which measures them, is "
                    f"not usable in {sys.executable}: {module} is not installed (there are no wheels for Python 3.14 "
                    "and Linux on ARM): install cp-measure, or delete measure.groups"
                )
        if "correlation" not in self._groups or self._plates.without_images or not self._plates.ready:
            return
        measured = [[channel.name for channel in self._measured(name)] for name in self._plates.ready]
        if max(map(len, measured)) < 2:
            raise InputError(
                f"{source}: measure.groups has correlation, which is of two channels, but no plate has two that are "
                "measured: delete it there, or name more channels in measure.channels"
            )
        pairs = {}
        for pair in itertools.permutations(sorted(set().union(*measured), key=natural), 2):
            if (other := pairs.setdefault("_".join(pair), pair)) != pair:
                raise InputError(
                    f"{source}: measure.groups has correlation, but its columns of {' and '.join(other)}, and of "
                    f"{' and '.join(pair)}, would have one name: give one of them another name in channels"
                )

    def _measured_of(self, name):
        """Return the measured channels of a plate; none where its nuclei have no outlines."""
        if self._plates.method(name) == "peaks":
            return []
        where = f"{self._plates.row(name)[None]}: plate '{name}'"
        return channels.measured_of(self._channels(name), self._wanted, where=where)

    def described(self, name: str) -> str:
        """Return a line on the channels of a plate: what they are called, and which are measured."""
        all_channels = ", ".join(f"{channel.name} ({channel.token})" for channel in self._channels(name)) or "none"
        measured = ", ".join(channel.name for channel in self._measured(name)) or "none"
        return f"channels, that of the nuclei first: {all_channels}; measured: {measured}"

    def _positive_of(self, name):
        """Return, for a plate, name -> value of each channel in which nuclei may be positive."""
        where, chosen = f"{self._plates.row(name)[None]}: plate '{name}'", {}
        if not (measured := self._measured(name)):  # it has peaks, or no image
            return chosen
        for key, value in self._given_positive.items():
            channel = channels.channel_named(key, measured, where=f"{where}: positive", what="measured channels")
            if channel.name in chosen:
                raise InputError(f"{where}: positive names {channel.name} ({channel.token}) twice; delete one of them")
            if value == "auto":
                self._require_negative_controls(name, where=f"{where}: positive.{key} is auto")
            chosen[channel.name] = value
        return {channel: chosen[channel] for channel in sorted(chosen, key=natural)}

    def _require_negative_controls(self, name, *, where):
        plate = self._plates.ready[name]
        platemap = platemaps.read_platemap(plate.platemap, name) if plate.platemap else {}
        negative = platemaps.negative_wells(platemap, self._controls, where=where)
        if {image.well for image in plate.images}.isdisjoint(negative):
            raise InputError(
                f"{where}, but no well with images is a negative control; expected 'negative' in the column 'control' "
                f"of {plate.platemap or 'a platemap'}, or a number in place of auto"
            )

    def nuclei_channel(self, wildcards: object) -> str:
        """Return the name of the nuclei channel, which is in the names of columns."""
        nuclei = next(iter(self._channels(self._plates.plate(wildcards).name)), None)
        return nuclei.name if nuclei else channels.UNNAMED_NUCLEI

    def channels(self, wildcards: object) -> list[tuple[str, str]]:
        """Return name and token of each measured channel of a plate, in natural order of the names."""
        return list(map(tuple, self._measured(self._plates.plate(wildcards).name)))

    def cells(self, wildcards: object) -> dict | None:
        """Return how the cells of a plate are found around its nuclei; None where they are not."""
        return self._cells_of(self._plates.plate(wildcards).name)

    def _cells_of(self, name):
        measured = self._measured(name)
        if not self._cells or self._plates.method(name) == "peaks":
            return None
        if "watershed" not in self._cells or not self._plates.ready[name].images:
            return self._cells
        where = f"{self._plates.row(name)[None]}: plate '{name}': cells.watershed"
        channel = channels.channel_named(self._cells["watershed"], measured, where=where, what="measured channels")
        return {"watershed": channel.name}

    def groups(self, wildcards: object) -> list[str]:
        """Return the further groups of measurements of a plate."""
        return [] if self._plates.method(self._plates.plate(wildcards).name) == "peaks" else self._groups

    def groups_versions(self, wildcards: object) -> dict[str, str | None]:
        """Return the versions of the libraries that measure the groups of a plate; none where there are no groups."""
        return provenance.versions_of(GROUP_DISTRIBUTIONS if self.groups(wildcards) else ())

    def positive(self, wildcards: object) -> dict[str, float | str]:
        """Return, for a plate, name -> value, or auto, of each channel in which nuclei may be positive."""
        return self._positive(self._plates.plate(wildcards).name)

    def table_columns(self, wildcards: object) -> dict:
        """Return what decides the columns of Parquet tables, the same of every plate of the run.

        Returns
        -------
        dict
            ``channels``: names of measured channels; ``positive``: of those in which nuclei may be positive.
            ``nuclei_channels``: names of nuclei channels. ``outlined`` and ``peaks``: True if there are such nuclei.
            ``cells``: True if nuclei get cells. ``groups``: further groups of measurements. ``position``: those of
            `tables.OPTIONAL` that file names state; of several plates all, as files of one may hold planes; and of
            `tables.IN_FILE` those that image lists state.
            ``platemap``: columns. ``controls``: True if a platemap or the configuration names some.
        """
        return self._table_columns

    @functools.cached_property
    def _table_columns(self):
        plates = [self._plates.ready[name] for name in self._plates.ready]
        methods = {self._plates.method(plate.name) for plate in plates}
        measured = {channel.name for plate in plates for channel in self._measured(plate.name)}
        positive = {channel for plate in plates for channel in self._positive(plate.name)}
        nuclei = {self._channels(plate.name)[0].name for plate in plates if plate.images}
        platemaps_columns = [self._plates.platemap_columns(plate.name) for plate in plates]
        positions = {
            "Metadata_Timepoint": any(image.timepoint is not None for plate in plates for image in plate.images),
            "Metadata_ZPlane": any(image.z is not None for plate in plates for image in plate.images),
        }
        are_several = len(plates) > 1
        inside = [image.inside for plate in plates for image in plate.images if image.inside]
        in_file = {"Series_DNA": 0, "Frame_DNA": 1}
        return {
            "channels": sorted(measured, key=natural),
            "positive": sorted(positive, key=natural),
            "nuclei_channels": sorted(nuclei, key=natural),
            "outlined": bool(methods - {"peaks"}),
            "cells": bool(self._cells and methods - {"peaks"}),
            "groups": self._groups if methods - {"peaks"} else [],
            "peaks": "peaks" in methods,
            "position": [
                *(name for name, is_stated in positions.items() if is_stated or are_several),
                *(name for name, number in in_file.items() if any(part[number] is not None for part in inside)),
            ],
            "platemap": list(dict.fromkeys(column for columns in platemaps_columns for column in columns)),
            "controls": bool(self._controls) or any(map(platemaps.control_column, platemaps_columns)),
        }

    # How images are corrected before nuclei are found and measured in them

    def background(self, wildcards: object) -> float | None:
        """Return the percentile that is subtracted from each image of a plate; None for none, and with peaks."""
        return None if self._plates.method(self._plates.plate(wildcards).name) == "peaks" else self._background

    @property
    def illuminated_plates(self) -> list[str]:
        """Names of the plates whose illumination is corrected."""
        return list(filter(self._is_illuminated, self._plates.ready)) if self._illuminates else []

    def illuminated(self, wildcards: object) -> list[str]:
        """Return the plate itself in a list where its illumination is corrected; else an empty one."""
        return list(filter(self._is_illuminated, [self._plates.plate(wildcards).name]))

    def _is_illuminated(self, name):
        return self._illuminates and self._plates.method(name) != "peaks" and bool(self._plates.ready[name].images)

    # The images of the sample, of the nuclei channel and of all that are measured

    def sample_rows(self, wildcards: object) -> list[tuple]:
        """Return `PlatePlan.sample_rows`, each with a tuple: the file of every measured channel, or None."""
        return self._sample(wildcards).rows

    def sample_urls(self, wildcards: object) -> list[str]:
        """Return the URLs among the images of the sample, as `image_urls`."""
        return self._urls_of(self._sample(wildcards))

    def fetched_sample(self, wildcards: object) -> list:
        """Return Snakemake's inputs for `sample_urls`."""
        return self._files.fetched(self.sample_urls(wildcards))

    def newest_of_sample(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of the sample; see `Files.newest`."""
        return self._files.newest(self._sample(wildcards).paths)

    def sample_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of each image of the sample."""
        return self._files.stamps(self._sample(wildcards).paths)

    def sample_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a job that reads the sample, in MB: a worker holds all channels of a field."""
        channels = len(self.channels(wildcards))
        images = threads * max(0, channels - 2) + FUNCTION_COPIES * (1 + channels)
        memory = self._plates.calibration_memory(wildcards, threads, attempt)
        return memory + int(attempt * images * self._channel_mb(self._sample(wildcards), channels))

    def sample_minutes(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the time limit, in minutes, of a job that reads the sample twice and outlines nuclei in it."""
        seconds = SAMPLE_FACTOR * resources.S_PER_MB * self._files.megabytes(self._sample(wildcards).paths)
        return attempt * resources.time_limit_min(seconds, threads=threads)

    def _sample(self, wildcards):
        name = self._plates.plate(wildcards).name
        if name not in self._samples:
            self._samples[name] = self._unit_of(self._files_of_channels(name), self._plates.sample(wildcards))
        return self._samples[name]

    # The images of one unit, of the nuclei channel and of all that are measured

    def image_rows(self, wildcards: object) -> list[tuple]:
        """Return `PlatePlan.image_rows`, each with a tuple: the file of every measured channel, or None."""
        return self._unit(wildcards).rows

    def image_urls(self, wildcards: object) -> list[str]:
        """Return the URLs among the images; of other channels than that of the nuclei, without absent objects."""
        return self._urls_of(self._unit(wildcards))

    def _urls_of(self, unit):
        urls = list(filter(is_url, unit.paths))
        nuclei = {path_of(row[4]) for row in unit.rows} if urls else set()
        return [url for url in urls if url in nuclei or self._files.stamp(url)]

    def fetched_images(self, wildcards: object) -> list:
        """Return Snakemake's inputs for `image_urls`."""
        return self._files.fetched(self.image_urls(wildcards))

    def newest_image(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told of the images; see `Files.newest`."""
        return self._files.newest(self._paths(wildcards))

    def image_stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of each image."""
        return self._files.stamps(self._paths(wildcards))

    def unit_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a detection job, in MB: a worker holds all channels of a field, and has room for two."""
        channels = len(self.channels(wildcards))
        copies = max(0, channels - 2) + (CORRECTED_COPIES * channels if self.illuminated(wildcards) else 0)
        worker = 0
        held = 3 * self._megabytes_of_others(wildcards) if self._held else 0  # maybe unpacked
        if self.groups(wildcards):
            copies, worker = copies + resources.GROUP_MB_PER_MB, resources.GROUP_WORKER_MB
            held += resources.FIELD_MB * len(self._unit(wildcards).rows) * self._of_groups(wildcards, "columns")
        largest = self._channel_mb(self._unit(wildcards), channels) if copies else 0
        return self._plates.unit_memory(wildcards, threads, attempt) + int(
            attempt * (threads * (copies * largest + worker) + held)
        )

    def _channel_mb(self, unit, channels):
        """Return the size of the largest channel of a field, in MB; a file may hold several."""
        files = max((len(set(map(path_of, filter(None, [row[4], *row[-1]])))) for row in unit.rows), default=1)
        largest = max((self._files.megabytes([path]) for path in unit.paths), default=0)
        return largest * min(1, files / max(1, channels))

    def _of_groups(self, wildcards, number):
        """Return columns, or s_per_mb, of all groups in all channels and objects of a plate."""
        channels_count, kinds = len(self.channels(wildcards)), OBJECTS_OF_CELLS if self.cells(wildcards) else 1
        groups = [GROUPS[group] for group in self.groups(wildcards)]
        return kinds * sum(getattr(group, number) * math.comb(channels_count, group.channels) for group in groups)

    def unit_minutes(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the time limit of a detection job, in minutes."""
        megabytes = self._files.megabytes(path_of(row[4]) for row in self._unit(wildcards).rows if row[4])
        seconds = resources.S_PER_MB * self._megabytes_of_others(wildcards)
        seconds += self._of_groups(wildcards, "s_per_mb") * megabytes
        more = math.ceil(10 * seconds / threads / 60)  # as in `resources.time_limit_min`
        return self._plates.unit_minutes(wildcards, threads, attempt) + attempt * more

    def _megabytes_of_others(self, wildcards):
        """Return the size of the images of other channels than that of the nuclei."""
        unit = self._unit(wildcards)
        nuclei = {path_of(row[4]) for row in unit.rows}
        return self._files.megabytes(path for path in unit.paths if path not in nuclei)

    def _paths(self, wildcards):
        return self._unit(wildcards).paths

    def _unit(self, wildcards):
        units = self._units(self._plates.plate(wildcards).name)
        if wildcards.unit not in units:
            self._plates.images(wildcards)  # says what is wrong
        return units[wildcards.unit]

    def _units_of(self, name):
        """Return the units of a plate: rules ask five times for the images of each."""
        measured = self._files_of_channels(name)
        return {unit: self._unit_of(measured, images) for unit, images in self._plates.ready[name].units.items()}

    def _files_of_channels(self, name):
        """Return a dict for each measured channel of a plate: position -> file, as from `source_of`."""
        plate = self._plates.ready[name]
        # Token -> position -> file. A channel that no file name has is inside of the nuclei channel's file.
        files = {image.channel: {} for image in plate.scan.images}
        for image in plate.scan.images:
            if not image.fault:
                files[image.channel][_position_of(image)] = source_of(image)
        return [files.get(channel.token, files.get(plate.channel)) for channel in self._measured(name)]

    def _unit_of(self, measured, images):
        positions = map(_position_of, images)
        others = [tuple([by_position.get(position) for by_position in measured]) for position in positions]
        rows = [(*row, paths) for row, paths in zip(rows_of(images), others, strict=True)]
        good = (image.path for image in images if not image.fault)
        paths = dict.fromkeys([*good, *map(path_of, filter(None, itertools.chain(*others)))])
        return _Unit(rows, list(paths))


def _position_of(image):
    return image[1:3] + image[4:6]  # well, site, time point, z plane; by name it takes three times as long
