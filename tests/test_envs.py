"""The environments name the same versions, and the locks name no hosts."""

import re

import pytest
import yaml
from conftest import REPOSITORY

LOCKS = ("requirements.lock", "gpu.lock")


def versions(lock):
    """Give the version of each package in a lock, and check that there is just one."""
    found = re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (REPOSITORY / "envs" / lock).read_text(), re.MULTILINE)
    assert len(dict(found)) == len(found) > 50
    return dict(found)


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


def test_every_rule_with_a_script_names_an_environment():
    for path in (REPOSITORY / "rules").glob("*.smk"):
        for rule in path.read_text().split("\nrule ")[1:]:
            assert ("script:" in rule) == ("conda:" in rule), rule.split(":")[0]


def test_every_direct_dependency_has_a_line_in_the_docs():
    documented = set(re.findall(r"[a-z0-9-]+", (REPOSITORY / "docs/dependencies.md").read_text()))
    requirements = re.findall(r"^([a-z0-9-]+)", (REPOSITORY / "envs/requirements.in").read_text(), re.MULTILINE)
    assert len(requirements) > 15 and set(requirements) <= documented
