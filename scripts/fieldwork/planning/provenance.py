"""Digest what made a table: code and library versions. A digest changes with these and with nothing else."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

LIBRARY = Path(__file__).parents[1]
ENVIRONMENT = Path(__file__).parents[3] / "envs" / "fieldwork.yaml"
STATEMENTS = ("body", "orelse", "handlers", "finalbody", "cases")  # parts of a statement that hold statements
# Modules that no table depends on, and why. All others that a script reaches count, comments too.
NOT_COUNTED = {
    "job_log.py": "it writes the log and the message of a failed job",
    "parallel/progress.py": "it shows how far a job is, and passes results on unchanged",
    "surroundings/control_groups.py": "it serves memory, processors and workers",
    "surroundings/machine.py": "what it says stands beside tables",
    "surroundings/memory.py": "what is left decides how many workers there are, or ends the job",
    "surroundings/processors.py": "likewise",
    "surroundings/workers.py": "tables are the same with any number of workers",
}
# What computes: import name -> distributions whose versions count. A distribution that another one decodes with, or
# wraps, stands beside it, and so do other distributions of the same library: who installs Fieldwork may have any.
COMPUTING = {
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "pycytominer": ("pycytominer", "pandas", "scipy", "scikit-learn"),
    "sklearn": ("scikit-learn",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "skimage": ("scikit-image",),
    "tifffile": ("tifffile", "imagecodecs"),
    "imagecodecs": ("imagecodecs",),
    "PIL": ("pillow",),
    "simplejpeg": ("simplejpeg",),
    "shapely": ("shapely",),
    "zarr": ("zarr", "zarrs"),
    "openslide": ("openslide-python", "openslide-bin"),
    "cucim": ("cucim-cu12", "cucim-cu13", "cucim"),
}


def digest(script: str | Path) -> str:
    """Digest a script, every library module that it reaches, and the computing libraries that these import.

    Parameters
    ----------
    script : path-like
        A Python file.

    Returns
    -------
    str
        Hexadecimal. Modification times, and modules that the script does not reach, don't matter.
    """
    files = closure(Path(script))
    total = hashlib.sha256(digest_of(files).encode())
    for name, number in _libraries(files).items():
        total.update(f"{name} {number}\n".encode())
    return total.hexdigest()[:16]


def code_behind(scripts: Iterable[str]) -> dict:
    """Return what is known of the code behind a table that several scripts make one after the other.

    Parameters
    ----------
    scripts : iterable of str
        Names without ``.py``.

    Returns
    -------
    dict
        ``libraries``: distribution -> version of each computing library that is installed, and is imported.
        ``digest``: of the `digest` of every script.
    """
    libraries, total = {}, hashlib.sha256()
    for script in sorted(scripts):
        path = LIBRARY.parent / f"{script}.py"
        libraries |= _libraries(closure(path))
        total.update(f"{script} {digest(path)}\n".encode())
    return {
        "libraries": {name: libraries[name] for name in sorted(libraries) if libraries[name]},
        "digest": total.hexdigest()[:16],
    }


def versions_of(distributions: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of distributions, in order of names; None where one is neither here nor in `ENVIRONMENT`."""
    return {name: _version(name) for name in sorted(distributions)}


def digest_of(files: dict[str, Path]) -> str:
    """Digest the names and bytes of files.

    Parameters
    ----------
    files : dict of str to pathlib.Path
        Name -> file.

    Returns
    -------
    str
        Hexadecimal.
    """
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def closure(script: Path) -> dict[str, Path]:
    """Follow the imports of `fieldwork` modules from a file on.

    Parameters
    ----------
    script : pathlib.Path

    Returns
    -------
    dict of str to pathlib.Path
        The script by its name, library modules by their path below `LIBRARY`; those of `NOT_COUNTED` are left out,
        but not what they import.
    """
    files, ahead = {script}, [script, LIBRARY / "__init__.py"]
    while ahead:
        path = ahead.pop()
        files.add(path)
        ahead.extend(_imports(path)[0] - files)
    names = {path: path.relative_to(LIBRARY).as_posix() if path != script else path.name for path in files}
    return {name: path for path, name in names.items() if name not in NOT_COUNTED}


def imported_names(path: Path, *, root: Path) -> set[str]:
    """Return the dotted names that a file imports, at its top or inside functions; of `from a import b`, a.b.

    Parameters
    ----------
    path : pathlib.Path
    root : pathlib.Path
        The folder above the file in which modules are looked for; relative imports are named from there.

    Raises
    ------
    SyntaxError, ValueError
        The file is no Python.
    """
    names, ahead = set(), [ast.parse(path.read_bytes())]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(root).parts[: -node.level] if node.level else ()
            module = [node.module] if node.module else []
            names |= {".".join((*parents, *module, alias.name)) for alias in node.names}
        for part in STATEMENTS:  # no other parts: in expressions, most of a file, nothing is imported
            ahead += getattr(node, part, ())
    return names


@cache
def _imports(path):
    """Find what a file imports, at its top or inside functions: library files, and computing distributions."""
    files, computing = set(), set()
    for name in imported_names(path, root=LIBRARY.parent):
        first, *inner = name.split(".")
        computing.update(COMPUTING.get(first, ()))
        if first == "fieldwork":
            stems = [LIBRARY.joinpath(*inner[:count]) for count in range(1, len(inner) + 1)]
            files |= {file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py")}
    return {file for file in files if file.is_file()}, computing


def _libraries(files):
    """Return distribution -> version, in order, of the computing libraries that files import; None of absent ones."""
    names = sorted(set().union(*(_imports(path)[1] for path in files.values())))
    return {name: _version(name) for name in names}


@cache
def _version(distribution):
    """Return the version of a distribution here, or else of the rules' conda environment."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return _pinned().get(distribution)


@cache
def _pinned():
    """Read distribution -> version from `ENVIRONMENT`."""
    *packages, pip = yaml.safe_load(ENVIRONMENT.read_text(encoding="utf-8"))["dependencies"]
    entries = [entry.partition(" ;")[0] for entry in [*packages, *pip["pip"]]]  # without the systems that it is for
    return dict(entry.replace("==", "=").split("=", 1) for entry in entries if "=" in entry)
