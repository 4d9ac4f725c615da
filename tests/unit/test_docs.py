"""What the documents name exists: files, links, modules, functions and make's targets."""

import ast
import re

import pytest
import yaml

from workspace import REPOSITORY, SCRIPTS

LIBRARY = SCRIPTS / "fieldwork"
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "config/README.md"])
TOP = ("scripts", "rules", "tests", "config", "envs", "docs", "profiles", ".ci", "Snakefile", "Makefile", "Dockerfile")
FILE_SUFFIXES = (".py", ".md", ".csv", ".tsv", ".parquet", ".json", ".png", ".yaml", ".txt", ".tif", ".zarr", ".log")
CONFIG_KEYS = set(yaml.safe_load((REPOSITORY / "config/schemas/config.schema.yaml").read_text())["properties"])
MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in LIBRARY.rglob("*.py")
}


def code_in(document):
    """Return what stands in backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL))


def defined_in(path):
    """Return the names that a module defines or imports, and those of its classes' attributes and methods."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    return names


def module_of(dotted):
    """Return the modules that a dotted name may begin with, and the rest of the name."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        stem = ".".join(parts[:count])
        if paths := [path for name, path in MODULES.items() if name == stem or name.endswith(f".{stem}")]:
            return paths, parts[count:]
    return [], parts


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_files_that_a_document_names_exist(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    for text in code_in(document):
        name = text.split()[0].rstrip("/:,")
        if name.split("/")[0] in TOP and "/" in name and not re.search(r"[{<*]|\.\.\.", name):
            below = [REPOSITORY / name, document.parent / name, SCRIPTS / name, LIBRARY / name]
            missing += [name] * (not any(path.exists() for path in below))
        elif name.endswith(".py") and "/" in name:
            missing += [name] * (not (LIBRARY / name).exists() and not (REPOSITORY / name).exists())
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_modules_and_functions_that_a_document_names_exist(document):
    missing = []
    for text in code_in(document):
        is_name = re.fullmatch(r"(fieldwork\.)?[a-z_]+(\.[A-Za-z_]+)+(\(.*\))?", text)
        if not is_name or text.endswith(FILE_SUFFIXES) or text.split(".")[0] in CONFIG_KEYS:
            continue
        dotted = text.removeprefix("fieldwork.").split("(")[0]
        paths, rest = module_of(dotted)
        if rest and paths:
            missing += [text] * (not any(rest[0] in defined_in(path) for path in paths))
        elif not paths and text.startswith("fieldwork."):
            missing.append(text)
    assert not missing


def test_targets_of_make_that_documents_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {name for document in DOCUMENTS for name in re.findall(r"\bmake ([a-z-]+)\b", document.read_text())}
    named &= {text.removeprefix("make ") for document in DOCUMENTS for text in code_in(document)} | targets
    assert {"demo", "test", "test-unit"} <= targets and named <= targets


def test_the_architecture_lists_every_module_and_script_once():
    tree = (REPOSITORY / "docs/architecture.md").read_text().split("```")[1]
    listed = re.findall(r"^ *([\w/]+(?:\.py|/)) ", tree, re.MULTILINE)
    folder, paths = "", []
    for name in listed:
        if name.endswith("/"):
            folder = name.removeprefix("scripts/")
        else:
            paths.append(folder + name)
    modules = [path.relative_to(SCRIPTS).as_posix() for path in LIBRARY.rglob("*.py") if path.name != "__init__.py"]
    scripts = [path.name for path in SCRIPTS.glob("*.py")]
    assert sorted(paths) == sorted(modules + scripts)
