"""Answer what the rules ask about stacks: files, the work on a frame, and what their jobs need."""

import functools
import os

from fieldwork import FrameError, InputError
from fieldwork.inputs import channels, methods, stack_files
from fieldwork.planning import resources
from fieldwork.planning.files import Files
from fieldwork.planning.roads import Caller, Road


class StackPlan(Road):
    """The stacks of the sheet, as rules ask for them.

    Parameters
    ----------
    rows : dict of str to dict
        Stack -> its checked row of the sheet.
    caller, files, config
        As for `Road`.

    Attributes
    ----------
    rows
        As given.
    finds_nuclei : bool
        Frames are searched for nuclei, and not given to a function of the user's.
    frame_work : dict
        The function for each frame, with its arguments; for nuclei ``detection``, as from `methods.detection_of`, and
        what else `stacks.frames.measure_frame` takes.
    declared : dict of str to list of str
        As of `PlatePlan`.
    files_of : callable
        `stack_files.files_of`; lists each stack once.
    """

    def __init__(self, rows: dict, *, caller: Caller, files: Files, config: dict) -> None:
        super().__init__(caller=caller, files=files, config=config, jobs=len(rows))
        self.rows = rows
        self.declared: dict[str, list[str]] = {}  # known only later: functions are checked when stacks are
        # A Zarr store may have hundreds of thousands of files, and Snakemake asks again and again.
        self.files_of = functools.cache(stack_files.files_of)
        self._channel_of = functools.cache(self._name_channel)
        stack = config["stack"]
        self.finds_nuclei = stack["function"] == "nuclei"
        self.frame_work = {"function": stack["function"]}
        if not self.finds_nuclei:
            self.frame_work["arguments"] = stack["arguments"]
        elif rows:
            self.frame_work["detection"] = methods.detection_of(
                config["nuclei"], stack["arguments"], where=config["stacks"], prefix="stack.arguments."
            )
            self.frame_work["with_quality"] = config["quality"]
            if self.method != "peaks":
                nuclei = config["nuclei"]
                self.frame_work |= {"drop_border": nuclei["border"] == "drop", "with_labels": nuclei["keep_labels"]}

    @property
    def tables(self) -> list[str]:
        """Names of the tables of a stack, and of the outlines of its nuclei."""
        names = ["frames.csv", "nuclei.parquet"] if self.finds_nuclei else ["frames.csv"]
        return names + list(filter(None, [self.labels]))

    @property
    def labels(self) -> str | None:
        """Name of the file by which the outlines of a stack's nuclei are known; None where none are kept."""
        if not self.frame_work.get("with_labels"):
            return None
        # It appears with the whole store, in one rename. Snakemake would put a file of its own into a folder's output.
        return {"zarr": "labels.zarr/zarr.json", "tiff": "labels.tif"}[self._config["stack"]["images"]]

    @property
    def with_nuclei(self) -> list[str]:
        """Names of the stacks in which nuclei are looked for: all, or none."""
        return list(self.rows) if self.finds_nuclei else []

    @property
    def method(self) -> str | None:
        """The kind of the method by which nuclei are found: auto, peaks or own; None where no nuclei are."""
        return methods.kind_of(self.frame_work["detection"]["method"]) if "detection" in self.frame_work else None

    @property
    def takes_calibration(self) -> bool:
        """True where nuclei are found with a calibration of their stack."""
        function = self.frame_work.get("detection", {}).get("function")
        return self.method == "auto" or "calibration" in self.declared.get(function, ())

    @property
    def selection(self) -> dict:
        """Channel and z plane that frames are taken from."""
        return {"channel": self._config["stack"]["channel"], "z": self._config["stack"]["z"]}

    @property
    def images(self) -> str | None:
        """The form in which images are saved that the function returns, or outlines of nuclei; None for peaks."""
        return None if self.method == "peaks" else self._config["stack"]["images"]

    @property
    def measures_nuclei(self) -> bool:
        """True where nuclei have outlines, in which they are measured."""
        return self.method not in (None, "peaks")

    def channels(self, wildcards: object) -> list[str] | None:
        """Return the name of the channel in which nuclei are measured, in a list; None where they have no outlines."""
        if not self.measures_nuclei:
            return None
        return [] if self._config["measure"]["channels"] == "none" else [self._channel_of(self.path(wildcards))]

    def _name_channel(self, path):
        files, wanted, name = self.files_of(path), self._config["stack"]["channel"], ""
        if os.path.isdir(path) and not stack_files.is_zarr(path):
            try:
                files, wanted, name, *_ = stack_files.of_channel(files, wanted)
            except FrameError as error:
                raise InputError(f"{path}: {error}") from None
        return channels.channel_of_stack(files, wanted, name)

    def path(self, wildcards: object) -> str:
        """Return the path or URL of a stack."""
        if wildcards.stack not in self.rows:
            raise InputError(f"stack '{wildcards.stack}' is not in the sheet '{self._config['stacks']}'")
        return self.rows[wildcards.stack]["path"]

    def newest_file(self, wildcards: object) -> list[str]:
        """Return what Snakemake is told: a stack's file, a folder's newest image, or the folder of a Zarr store."""
        path = self.path(wildcards)
        return self._files.newest([path] if stack_files.is_zarr(path) else self.files_of(path))

    def fetched(self, wildcards: object) -> list:
        """Return Snakemake's input for a stack at a URL."""
        return self._files.fetched([self.path(wildcards)])

    def stamps(self, wildcards: object) -> list[tuple | None]:
        """Return the state of each file of a stack."""
        return self._files.stamps(self.files_of(self.path(wildcards)))

    def threads(self, wildcards: object) -> int:
        """Return the threads of a job; one where its function holds a GPU."""
        return 1 if self.gpus(wildcards) else super().threads(wildcards)

    def gpus(self, wildcards: object) -> int:
        """Return 1 where a function of the user's finds nuclei, and is to have a GPU."""
        return int(self._config["device"] == "gpu" and self.method == methods.OWN)

    def calibration_memory(self, wildcards: object, threads: int, attempt: int) -> int:
        """Return the memory of a job that calibrates a stack, in MB."""
        return attempt * resources.memory_mb(threads)

    def _seconds(self, wildcards):
        factor = resources.DETECTION_FACTORS[self.method] if self.method else 1
        return factor * resources.S_PER_MB * self._files.megabytes(self.files_of(self.path(wildcards)))
