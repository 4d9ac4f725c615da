"""Read what Python files import, without importing it."""

import ast
from pathlib import Path


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
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(root).parts[: -node.level] if node.level else ()
            module = [node.module] if node.module else []
            names |= {".".join((*parents, *module, alias.name)) for alias in node.names}
    return names
