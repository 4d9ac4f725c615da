"""What files import, against a walk through all of their syntax tree."""

import ast
from pathlib import Path

import pytest
import snakemake

import fieldwork
from fieldwork.planning.provenance import imported_names

EVERY_STATEMENT = """
import a
try:
    import b.c as d
except ValueError:
    import e
else:
    import f
finally:
    import g
match a:
    case 1:
        import h
    case _:
        from i import j, k
async def one():
    async with a:
        import l
    async for n in a:
        from . import m
    else:
        from .o import p
class Two:
    import q
    def three(self):
        with a: import r
while a:
    import s
else:
    import t
if a: pass
elif a: import u
else: import v
"""


def test_imports_are_found_in_every_kind_of_statement(tmp_path):
    (tmp_path / "file.py").write_text(EVERY_STATEMENT)
    expected = {"b.c", "i.j", "i.k", *"aefghlqrstuv", "m", "o.p"}
    assert imported_names(tmp_path / "file.py", root=tmp_path) == expected


@pytest.mark.parametrize("package", [fieldwork, snakemake])
def test_no_import_of_a_real_package_is_missed(package):
    folder = Path(package.__file__).parent
    for file in sorted(folder.rglob("*.py"))[::3]:
        nodes = [
            node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        last = {alias.name.rpartition(".")[2] for node in nodes for alias in node.names}
        assert {name.rpartition(".")[2] for name in imported_names(file, root=folder.parent)} == last
