"""Read what Python files import, without importing it."""

import ast
from pathlib import Path

PARTS = ("body", "orelse", "handlers", "finalbody", "cases")  # of a statement: those that hold statements


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
        for part in PARTS:  # statements alone: in expressions, most of a file, nothing is imported
            ahead += getattr(node, part, ())
    return names
