"""Fieldwork's library: from image files to tables. Imports nothing from Snakemake."""


class InputError(ValueError):
    """What the user gave cannot be used; the message names the place, what was found, what is expected."""


class WorkerDied(RuntimeError):
    """A worker process ended before it gave its frame's result; the message names the frame."""


class DeviceFailed(RuntimeError):
    """A GPU was asked for, and there is none or it failed; the message says what to do."""
