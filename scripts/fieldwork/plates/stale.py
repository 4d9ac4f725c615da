"""Forget a plate's label images when they are no longer those of its tables. Imports nothing large."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

# The attributes of label images, and the columns of tables that they repeat.
COLUMNS = {"well": "Metadata_Well", "site": "Metadata_Site", "timepoint": "Metadata_Timepoint", "z": "Metadata_ZPlane"}


def forget_labels(folder: str | os.PathLike) -> None:
    """Delete the label images of a plate whose nuclei are looked for again.

    Parameters
    ----------
    folder : path-like
        Of the plate's results.
    """
    store = Path(folder) / "labels.zarr"
    shutil.rmtree(store, ignore_errors=True)
    if store.exists():
        log.warning("%s: cannot be deleted; its outlines are of older nuclei", store)


def forget_labels_of_others(folder: str | os.PathLike, fields: Sequence[dict]) -> None:
    """Delete the metadata of label images, so that nobody reads them, if they are of other fields than a plate's.

    Parameters
    ----------
    folder : path-like
        Of the plate's results.
    fields : list of dict
        Rows of fields.csv.
    """
    with suppress(FileNotFoundError):
        # By its descriptor: if another store comes in its place meanwhile, that one stays.
        store = os.open(Path(folder) / "labels.zarr", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with open(os.open("zarr.json", os.O_RDONLY, dir_fd=store), encoding="utf-8") as file:
                stored = json.load(file)["attributes"]
            if any(stored[name] != [row[column] for row in fields] for name, column in COLUMNS.items()):
                os.unlink("zarr.json", dir_fd=store)
        finally:
            os.close(store)
