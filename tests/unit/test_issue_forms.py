"""The forms for issues are those that GitHub takes, and ask what an answer needs."""

import pytest
import yaml

from workspace import REPOSITORY

FORMS = sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("[0-9]*.yml"))
# https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests
KINDS = {"textarea": {"label"}, "input": {"label"}, "dropdown": {"label", "options"}, "markdown": {"value"}}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "body", "labels"}
    identifiers = [field["id"] for field in form["body"]]
    assert len(identifiers) == len(set(identifiers)) > 0
    for field in form["body"]:
        assert KINDS[field["type"]] <= field["attributes"].keys()


def test_failures_come_with_the_command_and_what_make_doctor_says():
    fields = {field["id"]: field for field in yaml.safe_load(FORMS[0].read_text())["body"]}
    assert len(FORMS) == 3 and "make doctor" in fields["machine"]["attributes"]["label"]
    assert fields["machine"]["validations"]["required"] and fields["command"]["validations"]["required"]
