"""Forget what is no longer that of a plate's tables: label images, illumination, time points. Imports nothing large."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

STORES = ("labels.zarr", "cells.zarr")

# The attributes of label images, and the columns of tables that they repeat.
COLUMNS = {"well": "Metadata_Well", "site": "Metadata_Site", "timepoint": "Metadata_Timepoint", "z": "Metadata_ZPlane"}


def forget_labels(folder: str | os.PathLike) -> None:
    """Delete the label images of a plate whose nuclei are looked for again.

    Parameters
    ----------
    folder : path-like
        Of the plate's results.
    """
    for store in (Path(folder) / name for name in STORES):
        shutil.rmtree(store, ignore_errors=True)
        if store.exists():
            log.warning("%s: cannot be deleted; its outlines are of older nuclei", store)


def forget_illumination(folder: str | os.PathLike) -> None:
    """Delete the illumination functions of a plate whose nuclei are measured without them.

    Parameters
    ----------
    folder : path-like
        Of the plate's results.
    """
    shutil.rmtree(Path(folder) / "illumination", ignore_errors=True)
    Path(folder, "illumination.png").unlink(missing_ok=True)


def forget_timepoints(folder: str | os.PathLike) -> None:
    """Delete the table of time points of a plate whose fields are new; the rule that makes it is not always asked.

    Parameters
    ----------
    folder : path-like
        Of the plate's results.
    """
    Path(folder, "timepoints.csv").unlink(missing_ok=True)


def forget_labels_of_others(folder: str | os.PathLike, fields: Sequence[dict]) -> None:
    """Delete the metadata of label images, so that nobody reads them, if they are of other fields than a plate's.

    Parameters
    ----------
    folder : path-like
        Of the plate's results.
    fields : list of dict
        Rows of fields.csv.
    """
    for name in STORES:
        with suppress(FileNotFoundError):
            _forget_other(Path(folder) / name, fields)


def _forget_other(store, fields):
    # By its descriptor: if another store comes in its place meanwhile, that one stays.
    store = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with open(os.open("zarr.json", os.O_RDONLY, dir_fd=store), encoding="utf-8") as file:
            stored = json.load(file)["attributes"]
        if any(stored[name] != [row[column] for row in fields] for name, column in COLUMNS.items()):
            os.unlink("zarr.json", dir_fd=store)
    finally:
        os.close(store)
