"""What code a table was made by, as a digest that changes with its bytes and with nothing else."""

import ast
import hashlib
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent


def digest(script):
    """Digest a script and every library module that it imports, directly or not.

    Parameters
    ----------
    script : path-like
        A Python file.

    Returns
    -------
    str
        Hexadecimal. Modification times, and modules that the script does not use, don't matter.
    """
    return digest_of(sorted(_closure(Path(script)), key=lambda path: path.name))


def digest_of(paths):
    """Digest the names and bytes of files.

    Parameters
    ----------
    paths : iterable of pathlib.Path

    Returns
    -------
    str
        Hexadecimal.
    """
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def _closure(script):
    """Follow the imports of `fieldwork` modules from a file on."""
    found, ahead = {LIBRARY / "__init__.py"}, [script]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead.extend(_imports(path))
    return found


@cache
def _imports(path):
    """List the files of the `fieldwork` modules that one file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module == "fieldwork":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fieldwork."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("fieldwork."))
    return [path for name in names if (path := LIBRARY / f"{name}.py").exists()]
