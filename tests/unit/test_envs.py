"""The environments name the same versions and all that is imported, and the locks name no hosts."""

import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from workspace import REPOSITORY, SCRIPTS

LOCKS = ("requirements.lock", "gpu.lock")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
BEHIND_OTHERS = {"zarrs", "openslide-bin"}  # no import names them: Zarr's and OpenSlide's own work is done there
# Imported where they are installed; docs/dependencies.md and docs/measurements.md say what goes without.
ONLY_SOMEWHERE = {"cupy", "cupyx", "cp_measure"}


def versions(lock):
    """Return package -> version of a lock; check that no package has two."""
    pins = re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (REPOSITORY / "envs" / lock).read_text(), re.MULTILINE)
    assert len(dict(pins)) == len(pins) > 50
    return dict(pins)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_hashes_and_no_address(lock):
    text = (REPOSITORY / "envs" / lock).read_text()
    blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(versions(lock)) and all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text and "--index" not in text


def test_the_gpu_lock_is_the_lock_and_cuda_libraries():
    plain, gpu = map(versions, LOCKS)
    assert plain.items() <= gpu.items()
    assert all(name.startswith(("cuda", "cupy", "nvidia")) for name in gpu.keys() - plain.keys())
    assert not any(name.startswith(("cuda", "cupy", "nvidia")) for name in plain)


@pytest.fixture
def conda():
    """Read the packages of the rules' environment: name -> version."""
    environment = yaml.safe_load((REPOSITORY / "envs/fieldwork.yaml").read_text())
    *packages, _pip, from_pip = environment["dependencies"]
    pinned = dict(spec.split("=") for spec in packages)
    for requirement in map(Requirement, from_pip["pip"]):
        (specifier,) = requirement.specifier
        pinned[requirement.name] = specifier.version
    del pinned["python"]
    return pinned


@pytest.fixture(scope="module")
def imported():
    """Find the distributions that scripts and library import, at their top or inside functions."""
    by_module, names = importlib.metadata.packages_distributions(), set()
    for path in SCRIPTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    others = names - sys.stdlib_module_names - ONLY_SOMEWHERE - {"fieldwork"}
    assert len(others) > 20 and names >= ONLY_SOMEWHERE
    return BEHIND_OTHERS.union(*({name.lower() for name in by_module[module]} for module in others))


def test_the_conda_environment_has_the_versions_of_the_lock(conda):
    lock = versions("requirements.lock")
    assert conda == {name: lock[name] for name in conda} and len(conda) >= 10


def test_the_conda_environment_has_all_that_is_imported_and_nothing_else(conda, imported):
    assert conda.keys() == imported


def test_the_installed_library_asks_for_all_that_is_imported_and_nothing_else(imported):
    # cuCIM would bring 2.6 GB of CUDA, and other readers take its slides.
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == imported - {"cucim-cu12"}


def test_all_that_is_imported_is_asked_for_before_the_tests_own_packages(imported):
    wanted = (REPOSITORY / "envs/requirements.in").read_text().split("# tests\n")[0]
    assert imported <= set(re.findall(r"^([a-z0-9-]+)", wanted, re.MULTILINE))


def test_the_version_and_the_address_stand_in_one_place():
    assert "version" not in CITATION and re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    cloned = {name for path in pages for name in re.findall(r"git clone (?:-\S+ )*(http\S+)", path.read_text())}
    assert {name.removesuffix(".git") for name in cloned} <= {CITATION["repository-code"]}


def test_the_citation_has_what_the_format_asks_for():
    # https://github.com/citation-file-format/citation-file-format/blob/main/schema-guide.md
    assert {"cff-version", "title", "message", "authors"} <= CITATION.keys()
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", CITATION["date-released"]) and CITATION["license"] == PROJECT["license"]


def test_the_catalog_promises_conda_only_where_it_is_built():
    catalog = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    is_built = "--sdm conda" in (REPOSITORY / ".ci/run").read_text()
    assert catalog["usage"]["software-stack-deployment"]["conda"] is is_built


def test_every_rule_that_makes_something_does_so_by_a_script_and_names_the_environment():
    computing = 0
    for path in [REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk")]:
        for rule in path.read_text().split("\nrule ")[1:]:
            has = {key for key in ("output", "script", "conda") if re.search(rf"^    {key}:$", rule, re.MULTILINE)}
            assert has in (set(), {"output", "script", "conda"}), rule.split(":")[0]
            assert not has or '\n        "../envs/fieldwork.yaml"\n' in rule, rule.split(":")[0]
            computing += bool(has)
    assert computing > 20


@pytest.fixture
def dockerfile():
    """Read the instructions of the Dockerfile: word and rest."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    return [line.split(" ", 1) for line in lines if line and not line.startswith("#")]


def test_the_container_is_a_pinned_python_that_the_project_and_its_conda_environment_name(dockerfile):
    (image,) = [rest for word, rest in dockerfile if word == "FROM"]
    version, minor = re.fullmatch(r"python:((3\.\d+)\.\d+)-slim-bookworm@sha256:[0-9a-f]{64}", image).groups()
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert f"python={minor}" in yaml.safe_load((REPOSITORY / "envs/fieldwork.yaml").read_text())["dependencies"]


def test_the_container_has_the_lock_and_nothing_else_as_the_makefile_installs_it(dockerfile):
    (pip,) = [rest for word, rest in dockerfile if word == "RUN" and "compileall" not in rest]
    assert pip == (
        "python -m pip install --no-cache-dir --disable-pip-version-check "
        "--no-deps --require-hashes -r /fieldwork/envs/requirements.lock"
    )
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "--no-deps --require-hashes -r envs/requirements.lock\n" in makefile
    assert {word for word, _ in dockerfile} == {"FROM", "COPY", "RUN", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}


def test_every_direct_dependency_has_a_line_in_the_docs():
    documented = set(re.findall(r"[a-z0-9-]+", (REPOSITORY / "docs/dependencies.md").read_text()))
    requirements = re.findall(r"^([a-z0-9-]+)", (REPOSITORY / "envs/requirements.in").read_text(), re.MULTILINE)
    assert len(requirements) > 15 and set(requirements) <= documented
