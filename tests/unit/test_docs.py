"""What the documents name exists: files, links, headings, modules, functions and make's targets."""

import ast
import re

import pytest
import yaml

from fieldwork.user_functions import CONTEXT
from pages import NOT_RUN, PAGES, RUN, RUN_BY, blocks_of
from workspace import REPOSITORY, SCRIPTS

LIBRARY = SCRIPTS / "fieldwork"
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "config/README.md"])
TOP = ("scripts", "rules", "tests", "config", "envs", "docs", "profiles", ".ci", "Snakefile", "Makefile", "Dockerfile")
FILE_SUFFIXES = (".py", ".md", ".csv", ".tsv", ".parquet", ".json", ".png", ".yaml", ".txt", ".tif", ".zarr", ".log")
FILE_SUFFIXES += (".geojson", ".zip")
OTHER_MODULES = {
    *("cv2", "dask", "np", "numpy", "os", "pandas", "scipy", "skimage", "snakemake", "sys", "tifffile", "zarr"),
    "rules",  # Snakemake's, in a Snakefile
}
OTHER_FUNCTIONS = {"local", "peak_local_max"}  # Snakemake's and scikit-image's
MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in LIBRARY.rglob("*.py")
}


def keys_of(schema, above=""):
    """Yield the dotted names of a schema's keys, and those of the items of its lists."""
    for name, inner in schema.get("properties", {}).items():
        yield above + name
        yield from keys_of(inner, f"{above}{name}.")
        yield from keys_of(inner.get("items", {}), f"{above}{name}[].")


SCHEMAS = {path.name: yaml.safe_load(path.read_text()) for path in REPOSITORY.glob("config/schemas/*.yaml")}
CONFIG_KEYS = set(keys_of(SCHEMAS["config.schema.yaml"]))
LAST_KEYS = {key.split(".")[-1] for schema in SCHEMAS.values() for key in keys_of(schema)}
RULES = {
    name
    for path in [REPOSITORY / "Snakefile", *REPOSITORY.glob("rules/*.smk")]
    for name in re.findall(r"^ *rule (\w+):", path.read_text(), re.MULTILINE)
}
TARGETS = {
    name
    for names in re.findall(r"^([\w./ -]+):(?!=)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for name in names.split()
}


def code_in(text):
    """Return what stands in backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def commands_in(text):
    """Return what stands in backticks, and the lines of commands for a shell, without their comments."""
    blocks = re.findall(r"```(?:console|bash|sh)\n(.*?)```", text, re.DOTALL)
    return code_in(text) + [line.split(" #")[0].removeprefix("$ ") for block in blocks for line in block.splitlines()]


def definitions(body):
    """Yield the names that statements define or import, and those of the attributes and methods of their classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            stored = [item for item in ast.walk(node) if isinstance(item, ast.Attribute)]
            yield from (item.attr for item in stored if isinstance(item.ctx, ast.Store) and is_self(item.value))
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from definitions(node.body)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name))
        else:
            for field in ("body", "orelse", "finalbody"):  # of `if`, `try`, `with`
                yield from definitions(getattr(node, field, []))


def is_self(node):
    return isinstance(node, ast.Name) and node.id == "self"


DEFINED = {path: set(definitions(ast.parse(path.read_bytes()).body)) for path in MODULES.values()}
EVERYWHERE = set().union(*DEFINED.values())


def is_defined(dotted):
    """Return True if a dotted name is a module of ours, or a name in one, perhaps with attributes."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        stem, inner = ".".join(parts[:count]), parts[count:]
        paths = [path for name, path in MODULES.items() if name == stem or name.endswith(f".{stem}")]
        if paths:
            return not inner or (any(inner[0] in DEFINED[path] for path in paths) and EVERYWHERE.issuperset(inner[1:]))
    return False


def stale_names(text):
    """List the modules, functions and constants in backticks that do not exist."""
    missing = []
    for code in code_in(text):
        name = re.split(r"[(:] ?", code, maxsplit=1)[0]
        is_call = code.startswith(f"{name}(") and code.endswith(")")
        if code.endswith(FILE_SUFFIXES) or name in CONFIG_KEYS:
            continue
        if re.fullmatch(r"[A-Za-z_]\w*([.][A-Za-z_]\w*)+", name):
            exists = name.split(".")[0] in OTHER_MODULES or is_defined(name.removeprefix("fieldwork."))
        elif re.fullmatch(r"[A-Za-z_]\w*", name) and is_call:
            exists = name in EVERYWHERE | OTHER_FUNCTIONS
        elif re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name):
            exists = name in EVERYWHERE | RULES | LAST_KEYS | {*CONTEXT}
        elif re.fullmatch(
            r"(?!FIELDWORK_|SNAKEMAKE_)(_[A-Z]{2,}|_?[A-Z]+(_[A-Z]+)+)", name
        ):  # `_G` ends a column's name
            exists = name in EVERYWHERE
        else:
            continue
        missing += [code] * (not exists)
    return missing


def stale_targets(text):
    """List the targets of make in backticks and in commands that do not exist."""
    commands = [re.split(r"\bmake ", command)[1:] for command in commands_in(text)]
    words = [word for command in commands for call in command for word in re.split(r"[;&|]", call)[0].split()]
    return [word for word in words if "=" not in word and word not in TARGETS]


def stale_files(text, folder):
    """List the links and the files in backticks that do not exist; links are relative to a folder."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    missing = [link for link in links if not (folder / link).exists()]
    for code in code_in(text):
        name = code.split()[0].rstrip("/:,")
        if name.split("/")[0] in TOP and "/" in name and not re.search(r"[{<*]|\.\.\.", name):
            below = [REPOSITORY / name, folder / name, SCRIPTS / name, LIBRARY / name]
            missing += [name] * (not any(path.exists() for path in below))
        elif name.endswith(".py"):
            missing += [name] * (not (list(SCRIPTS.rglob(name)) or (REPOSITORY / name).exists()))
    return missing


def anchors_of(text):
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ +(.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def stale_anchors(text, folder):
    """List the links to headings that do not exist, in this document or in another one."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text)
    texts = {link: (folder / link).read_text(encoding="utf-8") if link else text for link, _ in links}
    return [f"{link}#{anchor}" for link, anchor in links if anchor not in anchors_of(texts[link])]


def long_lines(text):
    """List the lines of prose that are longer than 120 characters; those of tables and of code may be."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in prose.splitlines() if len(line) > 120 and not line.lstrip().startswith("|")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_what_a_document_names_exists(document):
    text = document.read_text()
    assert stale_files(text, document.parent) == []
    assert stale_names(text) == []
    assert stale_targets(text) == []
    assert stale_anchors(text, document.parent) == []


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("docs/*.md")), ids=lambda path: path.name)
def test_a_page_has_no_long_lines_of_prose(page):
    assert long_lines(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_whoever_says_why_a_block_is_not_run_says_it_of_a_block(page):
    text = page.read_text(encoding="utf-8")
    left_out = [block for block in blocks_of(text) if not block.is_run]
    reasons = re.findall(rf"^ *{re.escape(NOT_RUN)}", text, re.MULTILINE)
    assert len(left_out) == len(reasons) and all(block.language in RUN for block in left_out)


def test_pages_whose_blocks_have_tests_of_their_own_exist_and_so_do_these_tests():
    assert RUN_BY.keys() <= {page.name for page in PAGES}
    assert all((REPOSITORY / test).is_file() for test in RUN_BY.values())


def test_blocks_of_pages_are_found_with_what_is_said_of_them():
    text = "Run it:\n\n```console\n$ a\n```\n\n*Not run by a test: it\nneeds more.*\n\n  ```python\n  b\n  ```\n"
    text += "\n```text\nwell,dose\n```\n```yaml\n# config/config.yaml\n```\n"
    blocks = blocks_of(text)
    assert [(block.language, block.text, block.is_run) for block in blocks[:2]] == [
        ("console", "$ a\n", True),
        ("python", "b\n", False),
    ]
    assert [block.file for block in blocks] == [None, None, "platemap.csv", "config/config.yaml"]


def test_stale_anchors_and_long_lines_are_noticed():
    text = "# A b: `c`\n\n## A, d\n[x](#a-b-c) [y](#a-d) [z](#gone) [w](glossary.md#glossary) [v](glossary.md#gone)\n"
    assert stale_anchors(text, REPOSITORY / "docs") == ["#gone", "glossary.md#gone"]
    line = "long " * 30
    assert long_lines(f"{line}\n| {line}\n```console\n{line}\n```\nshort\n{line}") == [line, line]


@pytest.mark.parametrize(
    "name",
    [
        *("journal.note_failure", "cluster.address", "fieldwork.journal", "fieldwork.planning.roads.nonsense"),
        *("quality.measure", "slides.open_slide", "plates.nonsense", "nuclei.sigma_px", "pool.engines: auto"),
        *("job.append", "job.planes", "gpu.choice.GPU_START_MS", "plan.plates.image_row", "job.collect_all(frames)"),
        *("no_such_function", "no_such_function()", "nonsense(image)", "NO_SUCH_S", "_NONSENSE"),
    ],
)
def test_a_stale_name_is_noticed(name):
    assert stale_names(f"as `{name}` says") == [name]


def test_names_that_exist_are_no_stale_ones():
    names = "job.collect fieldwork.inputs plates.fields.Field.coordinates pool.engine filters.chain[].function fan_out"
    names += (
        " slide.nuclei.haematoxylin np.ndarray detect_nuclei map_frames() GPU_START_S wells.csv InputError Nuclei_X"
    )
    assert stale_names("".join(f"`{name}` " for name in [*names.split(), "pool.engine: auto"])) == []
    assert len(DOCUMENTS) >= 8 and {"pool.engine", "slide.nuclei.haematoxylin", "fan_out"} <= CONFIG_KEYS
    assert {"detect_nuclei", "convert_slide", "measure_frames", "filter_images"} <= RULES


def test_stale_targets_of_make_and_stale_files_are_noticed():
    text = "Pages make planning slow; `CORES=4 make test lint` and `make fly`\n```console\n$ make demo   # make this\n"
    text += "$ make clean && make swim CORES=2 | tail\n```\n```python\nmake = 3\n```\n"
    assert {"demo", "test", "test-unit", ".venv/installed"} <= TARGETS and "PYTHON" not in TARGETS
    assert stale_targets(text) == ["fly", "swim"]
    text = (
        "[a](absent.md) [b](architecture.md) `journal.py` `job.py` `plates/fields.py` `plates/absent.py` `rules/a.smk`"
    )
    assert stale_files(text, REPOSITORY / "docs") == ["absent.md", "journal.py", "plates/absent.py", "rules/a.smk"]


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
