"""Read the configuration of a run from its files and the command line."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs import config, methods
from fieldwork.inputs.paths import exists, refuse_windows_path, with_home
from fieldwork.inputs.sheets import SHEETS
from fieldwork.messages.secrets import without_secrets
from fieldwork.planning.roads import Caller

DEFAULT_PATH = "config/config.yaml"


class Configuration(NamedTuple):
    """The checked configuration, and where it is from."""

    values: dict
    source: str  # for messages
    folders: list[str]  # of its files: the user's own modules are beside them
    notes: list[str]  # on what was chosen for the user, for the log


def read(given: object, *, caller: Caller, named: Sequence[str], merge: Callable[[dict, dict], None]) -> Configuration:
    """Read `config/config.yaml`, merge what Snakemake was given, and check the result.

    The file is read here and not by `configfile:`: with --directory there may be none, and errors name file and line.
    A module reads no file: files are the other workflow's, which gives the module's settings in ``config:``.

    Parameters
    ----------
    given : object
        Snakemake's ``config``: from --configfile, --config or the module statement. It comes first.
    caller : Caller
    named : list of str
        Where `given` is from, in words or paths.
    merge : callable
        Updates its first dict by its second, nested ones too: `snakemake.utils.update_config`.

    Returns
    -------
    Configuration

    Raises
    ------
    InputError
        Names the file or the key, what was found and what is expected.
    """
    files = [path for path in [DEFAULT_PATH] if not caller.namespace and exists(path, where="the configuration")]
    values = config.read_config(files[0]) if files else {}
    if not caller.namespace:
        files += named
        for path in filter(os.path.isfile, named):  # Snakemake has read them, and sees no repeated keys
            config.read_config(path)
    source = f"config of module {caller.namespace}" if caller.namespace else ", ".join(files) or "configuration"
    if not isinstance(given, dict):
        raise InputError(f"{source}: found {given!r}; expected keys and values")
    config.check_values(given, source=source)
    merge(values, given)
    written, values = values, config.check_config(values, source=source, first=given)
    place = config.nuclei_place(written, source=source, first=given)
    notes = [
        f"{source}: {keys} without a method: nuclei{whose} are found by peaks"
        for keys, whose in (
            (methods.peaks_keys(place, prefix="nuclei."), ""),
            (methods.peaks_keys(values["stack"]["arguments"], prefix="stack.arguments."), " of stacks"),
        )
        if keys and (not whose or values["stack"]["function"] == "nuclei")
    ]
    if "://" in values["results"]:
        raise InputError(
            f"{source}: 'results' is '{values['results']}'; expected a folder, on a file system that all jobs see"
        )
    _refuse_secrets(values, source)
    for key in (*SHEETS, "results"):
        values[key] = with_home(values[key])
        if not exists(values[key], where=f"{source}: '{key}' is"):
            refuse_windows_path(values[key], f"{source}: '{key}' is")
    values["results"] = os.path.normpath(values["results"])
    values["nuclei"]["model"] = with_home(values["nuclei"]["model"])
    if values["results"].startswith("~"):
        raise InputError(f"{source}: 'results' is '{values['results']}'; expected a folder, and no user has this name")
    folders = [os.path.dirname(path) or "." for path in [*reversed(files), DEFAULT_PATH]]
    return Configuration(values, source, list(dict.fromkeys(folders)), notes)


def _refuse_secrets(values, source):
    """Refuse URLs with a user, a password or a query: Snakemake keeps parameters, and tables what made them."""
    ahead = [("", values)]
    while ahead:
        key, value = ahead.pop()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            ahead += [(f"{key}.{name}".lstrip("."), item) for name, item in items]
        elif isinstance(value, str) and "://" in value and value != without_secrets(value):
            raise InputError(
                f"{source}: '{key}' is '{value}', a URL with a user, a password or a query, which files beside the "
                "results would keep; expected one without: a function may read them from an environment variable"
            )
