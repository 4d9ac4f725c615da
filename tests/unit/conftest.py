"""What unit tests share: the user's own modules, and errors for people."""

import sys
import textwrap

import pytest

from fieldwork import InputError
from fieldwork.surroundings import unread


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Read files that are away again at once."""
    monkeypatch.setattr(unread, "WAITS_S", (0, 0, 0))


@pytest.fixture
def write_modules(tmp_path, monkeypatch):
    """Return a function that writes own modules, for this test alone, and returns their folders."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write_modules(**modules):
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return [tmp_path]

    yield write_modules
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def refused():
    """Return a function that calls another one, checks that it raises an InputError of one line, and returns that."""

    def refused(function, *arguments, **options):
        with pytest.raises(InputError) as caught:
            function(*arguments, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refused
