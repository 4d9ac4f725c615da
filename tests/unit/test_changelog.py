"""CHANGELOG.md has the form of Keep a Changelog."""

import re

from workspace import REPOSITORY

TEXT = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]  # https://keepachangelog.com/en/1.1.0/


def test_the_changelog_begins_with_what_is_not_released_and_has_the_kinds_of_keep_a_changelog():
    versions = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert TEXT.startswith("# Changelog\n") and versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version) for version in versions[1:])
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert kinds and kinds == [kind for kind in KINDS if kind in kinds]


def test_lines_are_wrapped_at_120_characters_and_every_change_is_an_item():
    lines = TEXT.splitlines()
    assert [line for line in lines if len(line) > 120] == []
    first = next(number for number, line in enumerate(lines) if line.startswith("### "))
    others = [line for line in lines[first:] if line and not line.startswith(("### ", "## ", "- ", "  ", "**"))]
    assert len(lines) > 100 and others == []
