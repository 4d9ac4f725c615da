"""The house keeps its rules: who imports whom, how large modules and functions are, how docstrings begin."""

import ast
import functools
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from workspace import REPOSITORY, SCRIPTS

LIBRARY = SCRIPTS / "fieldwork"
FILES = sorted(LIBRARY.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
HEAVY = {"numpy", "scipy", "skimage", "cv2", "imagecodecs", "tifffile", "zarr", "dask", "distributed"}
HEAVY |= {"pandas", "pyarrow", "matplotlib", "tqdm"}
LARGEST_FILE_LINES = 450
LARGEST_FUNCTION_LINES = 60  # without its docstring
MOST_MODULES = 16  # in a folder
VAGUE_VERBS = {"Give", "Gives", "Say", "Says", "Tell", "Tells", "Have", "Has", "Let", "Lets", "Make", "Makes"}


def module_of(path):
    """Return the name by which a library file is imported."""
    parts = path.relative_to(SCRIPTS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}
LIGHT = [name for name in MODULES if name.startswith(("fieldwork.inputs", "fieldwork.planning"))] + [
    "fieldwork.gpu.choice"
]


@functools.cache
def tree_of(path):
    return ast.parse(path.read_bytes())


def packages_of(name):
    """List the packages that a module is in, outermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def named_imports(path):
    """Return the library modules that a file's imports name, at its top or in functions."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not followed here"
            inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {module if module in MODULES else node.module for module in inner.values()}
    return names & MODULES.keys()


def imports_of(path):
    """Return the library modules that a file imports: those that it names, and the packages that they are in."""
    names = named_imports(path)
    return names.union(*map(packages_of, names))


def definitions(path):
    """Yield name and node of every function and class of a file, nested ones too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{path.relative_to(REPOSITORY)}, line {node.lineno}: {node.name}", node


def length_without_docstring(function):
    """Count the lines of a function, decorators not counted."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function, clean=False) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def public_functions(body):
    """Yield the functions and methods that have no underscore before their name, nor before that of their class."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)


def without_annotation(function):
    """List what of a function's signature has no annotation."""
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    parameters = [item for item in parameters if item and item.arg not in ("self", "cls")]
    missing = [item.arg for item in parameters if item.annotation is None]
    return missing + ["return"] * (function.returns is None)


def test_there_is_a_house():
    assert len(FILES) > 50 and len(TESTS) > 30 and len(LIGHT) > 20
    assert {"fieldwork", "fieldwork.inputs", "fieldwork.inputs.config", "fieldwork.planning.plan"} <= MODULES.keys()
    assert {"fieldwork.inputs", "fieldwork.inputs.paths"} <= imports_of(LIBRARY / "inputs" / "sheets.py")


@pytest.mark.parametrize("name", LIGHT)
def test_inputs_and_planning_load_nothing_that_computes(name):
    code = f"import sys, {name}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    loaded = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).split()
    assert name in loaded and not {module.partition(".")[0] for module in loaded} & HEAVY


def test_only_benchmarks_and_their_scripts_import_benchmarks():
    scripts = [path for path in SCRIPTS.glob("*.py") if not path.name.startswith("benchmark_")]
    others = [path for path in FILES if path.parent != LIBRARY / "benchmarks"]
    others += [path for path in scripts if path.name != "plot_benchmarks.py"]
    wrong = [str(path) for path in others if "fieldwork.benchmarks" in imports_of(path)]
    assert len(others) > 50 and not wrong, "\n".join(wrong)


def test_neither_library_nor_scripts_import_the_training_or_pytorch():
    pattern = re.compile(r"^\s*(from|import) (training|torch)\b", re.MULTILINE)
    assert [path for path in SCRIPTS.rglob("*.py") if pattern.search(path.read_text())] == []
    assert pattern.search((REPOSITORY / "training/optimisation.py").read_text())


def test_no_modules_import_each_other_in_a_circle():
    # A module does not import the packages that it is in, unless it takes something from them; nor itself.
    imports = {
        name: (named_imports(path) | imports_of(path).difference(packages_of(name))) - {name}
        for name, path in MODULES.items()
    }
    while free := [name for name, names in imports.items() if not names]:
        imports = {name: names.difference(free) for name, names in imports.items() if name not in free}
    while users := imports.keys() - set().union(*imports.values()):  # of a circle, but not in it
        imports = {name: names for name, names in imports.items() if name not in users}
    assert not imports, "\n".join(f"{name} imports {', '.join(sorted(names))}" for name, names in imports.items())


def test_no_module_is_too_long():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    wrong = [f"{name}: {count} lines" for name, count in lines.items() if count > LARGEST_FILE_LINES]
    assert not wrong, "\n".join(wrong)


def test_no_function_is_too_long():
    functions = [item for path in FILES for item in definitions(path) if not isinstance(item[1], ast.ClassDef)]
    lengths = {name: length_without_docstring(node) for name, node in functions}
    wrong = [f"{name}: {count} lines" for name, count in lengths.items() if count > LARGEST_FUNCTION_LINES]
    assert len(functions) > 500 and not wrong, "\n".join(wrong)


def test_no_folder_has_too_many_modules():
    counts = Counter(path.parent for path in FILES if path.name != "__init__.py")
    wrong = [f"{folder}: {count} modules" for folder, count in counts.items() if count > MOST_MODULES]
    assert not wrong, "\n".join(wrong)


def test_docstrings_begin_with_a_plain_verb():
    files = [*FILES, *SCRIPTS.glob("*.py"), *TESTS]
    nodes = [
        item for path in files for item in [(str(path.relative_to(REPOSITORY)), tree_of(path)), *definitions(path)]
    ]
    docstrings = {name: text for name, node in nodes if (text := ast.get_docstring(node))}
    wrong = [f"{name}: {text.splitlines()[0]}" for name, text in docstrings.items() if text.split()[0] in VAGUE_VERBS]
    assert len(docstrings) > 500 and not wrong, "\n".join(wrong)


def test_public_functions_say_their_types():
    functions = [(path, node) for path in FILES for node in public_functions(tree_of(path).body)]
    wrong = [
        f"{path.relative_to(REPOSITORY)}, line {node.lineno}: {node.name}: {', '.join(missing)}"
        for path, node in functions
        if (missing := without_annotation(node))
    ]
    assert len(functions) > 200 and not wrong, "\n".join(wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "script",
    [
        "detect_nuclei",
        "detect_slide_nuclei",
        "measure_frames",
        "calibrate_stack",
        "filter_images",
        "convert_slide",
        "write_plate_store",
    ],
)
def test_scripts_that_fork_workers_start_no_thread_when_they_are_imported(script):
    code = f"import os, {script}; print(len(os.listdir('/proc/self/task')))"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "1\n"


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))  # pytest would refuse all of them
