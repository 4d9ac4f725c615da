"""Functions that the configuration names are found, or what is missing is named."""

import os

import numpy as np
import pytest
import scipy.ndimage
import skimage.filters

from fieldwork.inputs import functions
from fieldwork.planning import function_checks


def test_names_give_the_functions_that_an_import_gives():
    assert functions.find("gaussian") is skimage.filters.gaussian
    assert functions.find("skimage.filters.rank.mean") is skimage.filters.rank.mean
    assert functions.find("scipy.ndimage.median_filter") is scipy.ndimage.median_filter
    assert functions.find("numpy.linalg.norm") is np.linalg.norm


def test_own_modules_and_packages_beside_the_configuration_are_found(write_modules):
    folders = write_modules(
        my_module="import my_helper\ndef twice(image): return my_helper.factor * image",
        my_helper="factor = 2",
        my_package__in__sub="from . import other\ndef five(image): return other.five",
        my_package__in__other="five = 5",
    )
    assert functions.find("my_module.twice", folders=folders)(21) == 42
    assert functions.find("my_package.sub.five", folders=folders)(None) == 5


def test_a_function_is_looked_for_once_but_again_where_it_was_missing(refused, write_modules, monkeypatch):
    folders = tuple(write_modules(my_once="def twice(image): return 2 * image"))
    assert "my_once" in refused(functions.find_once, "my_once.thrice", folders=folders)
    found = functions.find_once("my_once.twice", folders=folders)
    with monkeypatch.context() as patch:
        patch.setattr(functions, "find", None)
        assert functions.find_once("my_once.twice", folders=folders) is found
    assert found(21) == 42
    assert "my_once" in refused(functions.find_once, "my_once.thrice", folders=folders)


def test_own_modules_never_take_the_place_of_installed_ones(refused, write_modules, monkeypatch):
    bad = "raise RuntimeError('this took the place of an installed module')"
    folders = write_modules(
        io=bad, skimage=bad, numpy=bad, quality="def own(image): return 1", filters="def own(image): return 2"
    )
    monkeypatch.chdir(folders[0])  # a run may be started there
    function_checks.check_calls(
        [("k", "median", {}), ("k", "scipy.ndimage.sobel", {}), ("k", "filters.own", {}), ("k", "quality.own", {})],
        metrics=[("k", "var")],
        folders=folders,
    )
    message = refused(functions.find, "io.own", folders=folders)
    assert "io" in message and "has no 'own'" in message and os.path.dirname(os.__file__) in message


def test_what_is_missing_is_named_with_the_nearest_name(refused, write_modules):
    folders = write_modules(my_module="def my_function(image): pass\nvalue = 3")
    assert "skimage.filters" in (message := refused(functions.find, "gausian"))
    assert message.endswith("has no 'gausian'; did you mean 'gaussian'?")
    message = refused(functions.find, "my_modul.my_function", folders=folders)
    assert "no module 'my_modul'" in message and str(folders[0]) in message and message.endswith("'my_module'?")
    message = refused(functions.find, "my_module.my_functon", folders=folders)
    assert str(folders[0] / "my_module.py") in message and message.endswith("'my_function'?")
    message = refused(functions.find, "skimage.filtrs.sobel")
    assert "has no 'filtrs'; did you mean 'filters'?" in message
    assert "has no 'deep'" in refused(functions.find, "skimage.filters.sobel.deep")
    assert (
        refused(functions.find, "my_module.value", folders=folders)
        == "my_module.value is of type int; expected a function"
    )
    assert "is of type module" in refused(functions.find, "skimage.filters.rank")


@pytest.mark.parametrize(
    ("text", "line", "exception"),
    [
        ("x = 1\ny = x / 0", 2, "ZeroDivisionError: division by zero"),
        ("\n\ndef f(image)\n  pass", 3, "SyntaxError"),
        ("import torch_or_not", 1, "ModuleNotFoundError: No module named 'torch_or_not'"),
        ("import math\n\nmath.sqrt(-1)", 3, "ValueError"),
        ("import sys\nsys.exit('two\\nlines')", 2, "SystemExit: two lines"),
        ("import json\njson.loads('no')", 2, "JSONDecodeError"),
        ("import os\nos.chdir('/')\nraise KeyboardInterrupt", 3, "KeyboardInterrupt"),
    ],
)
def test_a_module_that_raises_is_named_with_file_line_and_exception(refused, write_modules, text, line, exception):
    folders = write_modules(failing=text)
    message = refused(functions.find, "failing.f", folders=folders)
    assert f"{folders[0] / 'failing.py'}, line {line}: {exception}" in message
    assert os.getcwd() != "/"
