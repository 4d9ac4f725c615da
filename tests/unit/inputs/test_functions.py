"""Functions named in the configuration: found, checked before any job, and what they give."""

import ast
import math
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import scipy.ndimage
import skimage.filters

from fieldwork import InputError, user_functions
from fieldwork.inputs import functions
from fieldwork.planning import function_checks
from workspace import SCRIPTS


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write own modules beside the configuration; they and their folder are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(**modules):
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return [tmp_path]

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def refused(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_names_give_the_functions_that_an_import_gives():
    assert functions.find("gaussian") is skimage.filters.gaussian
    assert functions.find("skimage.filters.rank.mean") is skimage.filters.rank.mean
    assert functions.find("scipy.ndimage.median_filter") is scipy.ndimage.median_filter
    assert functions.find("numpy.linalg.norm") is np.linalg.norm


def test_own_modules_and_packages_beside_the_configuration_are_found(write):
    folders = write(
        my_module="import my_helper\ndef twice(image): return my_helper.factor * image",
        my_helper="factor = 2",
        my_package__in__sub="from . import other\ndef five(image): return other.five",
        my_package__in__other="five = 5",
    )
    assert functions.find("my_module.twice", folders=folders)(21) == 42
    assert functions.find("my_package.sub.five", folders=folders)(None) == 5


def test_own_modules_never_take_the_place_of_installed_ones(write, monkeypatch):
    bad = "raise RuntimeError('this took the place of an installed module')"
    folders = write(
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


def test_what_is_missing_is_named_with_the_nearest_name(write):
    folders = write(my_module="def my_function(image): pass\nvalue = 3")
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
    ],
)
def test_a_module_that_raises_is_named_with_file_line_and_exception(write, text, line, exception):
    folders = write(failing=text)
    message = refused(functions.find, "failing.f", folders=folders)
    assert f"{folders[0] / 'failing.py'}, line {line}: {exception}" in message


def test_arguments_are_checked_against_the_signature(write):
    folders = write(
        own="""
        def needs(image, size): pass
        def takes(image, **anything): pass
        def alone(image): pass
        """
    )
    check = user_functions.check
    check("gaussian", {"sigma": 2, "mode": "wrap"})
    check("own.takes", {"size": [1, 2]}, folders=folders)
    check("cv2.medianBlur", {"whatever": 3})  # it does not tell
    assert refused(check, "skimage.filters.gaussian", {"sigm": 2}) == (
        "skimage.filters.gaussian takes no argument 'sigm'; did you mean 'sigma'?"
    )
    assert refused(check, "own.needs", {"wide": 2}, folders=folders).endswith("'wide'; it takes size")
    assert refused(check, "own.alone", {"wide": 2}, folders=folders).endswith("it takes the image alone")
    assert "missing a required argument: 'size'" in refused(check, "own.needs", {}, folders=folders)
    assert "multiple values for argument 'image'" in refused(check, "gaussian", {"image": 3})
    assert "takes no argument '1'" in refused(check, "gaussian", {1: 3})


@pytest.mark.parametrize("name", ["var", "mean", "ptp", "linalg.norm", "median", "count_nonzero"])
def test_metrics_are_numpys_functions(name):
    image = np.arange(20.0).reshape(4, 5)
    assert user_functions.metric(name)(image) == eval(f"np.{name}")(image)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("varr", "did you mean 'var'?"),
        ("histogram", "gives a value of type tuple for an image; expected one number"),
        ("diff", "gives an array of shape (3, 3) and type float64"),
        ("percentile", "numpy.percentile fails on an image: TypeError"),
        ("pi", "numpy.pi is of type float; expected a function"),
        ("random.shuffle", "gives None"),
    ],
)
def test_what_is_no_metric_is_refused(name, expected):
    assert expected in refused(user_functions.metric, name)


def test_calls_are_checked_in_another_process_and_named_by_their_key(write, capfd):
    noisy = """
    import os, threading, time
    print("hello")
    os.system("echo shell")
    threading.Thread(target=time.sleep, args=[100]).start()  # longer than the check may take
    def f(image): pass
    """
    folders = write(noisy=noisy)
    function_checks.check_calls([("a", "noisy.f", {}), ("b", "median", {})], metrics=[("c", "var")], folders=folders)
    assert "noisy" not in sys.modules and capfd.readouterr() == ("", "")
    calls = [("first", "noisy.f", {}), ("second", "median", {"footprnt": 1}), ("third", "no.such", {})]
    message = refused(function_checks.check_calls, calls, metrics=[("fourth", "nothing")], folders=folders)
    assert message == "second: median takes no argument 'footprnt'; did you mean 'footprint'?"
    message = refused(function_checks.check_calls, [], metrics=[("fourth", "men")])
    assert message.startswith("fourth: numpy.men: ") and "did you mean" in message


@pytest.mark.parametrize(
    ("text", "end", "said"),
    [
        ("import os\nprint('bye', flush=True)\nos._exit(3)", "ended (exit status 3)", "; it printed last: bye"),
        ("import os\nos._exit(0)", "ended (exit status 0)", ""),
        ("import os\nos.abort()", "was ended by SIGABRT", ""),
        ("import time\ntime.sleep(50)", "was not done after 3 s", ""),
    ],
)
def test_a_module_that_ends_or_blocks_the_process_is_named(write, monkeypatch, text, end, said):
    monkeypatch.setattr(function_checks, "IMPORTS_TIMEOUT_S", 3 if "sleep" in text else 60)
    folders = write(good="def f(image): pass", ending=text)
    calls = [("good", "good.f", {}), ("bad", "ending.f", {}), ("good", "good.f", {})]
    message = refused(function_checks.check_calls, calls, folders=folders)
    assert message == f"bad: Python {end} while it imported ending.f{said}"


def test_nothing_to_check_starts_nothing(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    function_checks.check_calls([])


def test_own_files_are_those_that_the_named_ones_import(write):
    folders = write(
        one="import numpy\nimport two as zwei\ndef f(image):\n    from package.sub import g",
        two="import three\nimport one",
        three="this is no Python",
        unused="",
        package__in____init__="",
        package__in__sub="from . import other\nfrom .deep.leaf import x",
        package__in__other="from package import last",
        package__in__last="",
        package__in__unused="",
        package__in__deep__in__leaf="from ..up import y",
        package__in__up="",
    )
    names = ["one.f", "skimage.filters.sobel", "gaussian", "absent.f"]
    loaded = set(sys.modules)
    found = function_checks.module_files(names, folders=folders)
    package = ["package/__init__", "package/deep/leaf", "package/last", "package/other", "package/sub", "package/up"]
    assert sorted(found) == [f"0/{name}.py" for name in ["one", *package, "three", "two"]]
    assert all(path == folders[0] / name.removeprefix("0/") for name, path in found.items())
    assert set(sys.modules) == loaded
    assert sorted(function_checks.module_files(["package.other.f"], folders=folders)) == [
        f"0/package/{name}.py" for name in ("__init__", "last", "other")
    ]


def test_the_module_imports_nothing_large():
    code = "import sys; from fieldwork.inputs import functions; print(sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    loaded = ast.literal_eval(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))
    assert "fieldwork.inputs.functions" in loaded and not {"numpy", "skimage", "pandas", "pyarrow"} & set(loaded)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (True, 1),
        (np.bool_(False), 0),
        (2.5, 2.5),
        (np.float32(0.1), 0.10000000149011612),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array(7, "int8"), 7),
        (np.longdouble(1.5), 1.5),
        (10**30, 1e30),
    ],
)
def test_a_number_is_a_column_called_as_the_function(value, expected):
    found = user_functions.result_of(value, "my_module.count")
    assert found == {"count": expected} and type(found["count"]) is type(expected)
    assert user_functions.result_of({"a": value, 5: 0.5}, "my_module.count") == {"a": expected, "5": 0.5}


def test_not_a_number_is_a_number():
    assert math.isnan(user_functions.result_of(np.nan, "f")["f"])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bool", "uint8"), ("float16", "float32"), (">u2", "uint16"), ("int64", "int64"), ("longdouble", "float64")],
)
def test_an_array_is_an_image(dtype, expected):
    value = np.eye(4, 6, dtype=dtype)[:, ::2]
    image = user_functions.result_of(value, "f")
    assert image.dtype == expected and image.dtype.isnative and image.flags.c_contiguous
    np.testing.assert_array_equal(image, value)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "gave None"),
        ("3", "gave a value of type str"),
        ([1, 2], "gave a value of type list"),
        (1j, "gave a value of type complex"),
        (np.complex64(1), "gave a value of type complex64"),
        (np.zeros(3), "array of shape (3,) and type float64"),
        (np.zeros((0, 3)), "shape (0, 3)"),
        (np.zeros((2, 2), complex), "type complex128"),
        (np.array([["a"]]), "type <U1"),
        ({"a": "b"}, "gave a value of type str as 'a'"),
        ({"a": np.zeros(2)}, "shape (2,)"),
        ({"Image_Mean": 3}, "'Image_Mean'"),
        ({"Metadata_Frame": 3}, "'Metadata_Frame'"),
        ({1: 3, "1": 4}, "'1'"),
    ],
)
def test_anything_else_is_refused(value, what):
    with pytest.raises(ValueError, match="expected") as caught:
        user_functions.result_of(value, "f")
    assert what in str(caught.value)
