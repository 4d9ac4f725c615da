"""The environments name the same versions, and the locks name no hosts."""

import re
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from workspace import REPOSITORY

LOCKS = ("requirements.lock", "gpu.lock")


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


def test_the_conda_environment_has_the_versions_of_the_lock():
    environment = yaml.safe_load((REPOSITORY / "envs/fieldwork.yaml").read_text())
    *conda, _pip, from_pip = environment["dependencies"]
    pinned = dict(spec.split("=") for spec in conda) | dict(spec.split("==") for spec in from_pip["pip"])
    del pinned["python"]
    lock = versions("requirements.lock")
    assert pinned == {name: lock[name] for name in pinned} and len(pinned) >= 10


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
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert version in SpecifierSet(project["requires-python"])
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
