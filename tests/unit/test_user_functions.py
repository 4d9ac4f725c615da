"""The user's functions: arguments are checked, results become numbers or images."""

import errno
import math
import os
import signal
from contextlib import suppress

import numpy as np
import pytest

from fieldwork import user_functions
from fieldwork.detection import cells, outlines
from fieldwork.inputs import functions
from fieldwork.plates import filters
from fieldwork.stacks import frames
from fieldwork.stacks.positions import StackFrame


def test_arguments_are_checked_against_the_signature(refused, write_modules):
    folders = write_modules(
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


OWN = """
def all_of_them(image, channel, pixel_size, calibration, path, well, site, *, least=1):
    return image, channel, pixel_size, calibration, path, well, site, least
def some(well, image, least=2): return image, well, least
def first(picture, site=5): return picture, site
def alone(image): return image
def anything(image, **named): return image, named
def positional(image, /, path): return image, path
def needs(image, weights): pass
class Model:
    def __call__(self, image, path): return image, path
model = Model()
"""
CONTEXT = {
    "channel": "w1",
    "pixel_size": None,
    "calibration": {"diameter": 20},
    "path": "a.tif",
    "well": "B02",
    "site": 3,
}


@pytest.mark.parametrize(
    ("name", "arguments", "declared", "expected"),
    [
        ("all_of_them", {}, list(CONTEXT), ("I", *CONTEXT.values(), 1)),
        ("all_of_them", {"least": 7, "channel": "mine"}, list(CONTEXT)[1:], ("I", "mine", *[*CONTEXT.values()][1:], 7)),
        ("some", {}, ["well"], ("I", "B02", 2)),
        ("first", {}, ["site"], ("I", 3)),
        ("alone", {}, [], "I"),
        ("anything", {"path": "mine"}, [], ("I", {"path": "mine"})),
        ("positional", {}, ["path"], ("I", "a.tif")),
        ("model", {}, ["path"], ("I", "a.tif")),
    ],
)
def test_a_segmenter_gets_the_image_its_arguments_and_what_it_declares(
    write_modules, name, arguments, declared, expected
):
    folders = write_modules(own=OWN)
    assert user_functions.check(f"own.{name}", arguments, folders=folders, segments=True) == declared
    assert user_functions.segmenter(f"own.{name}", arguments, folders)("I", **CONTEXT) == expected


def test_a_segmenter_gets_none_for_what_is_not_known(write_modules):
    assert user_functions.segmenter("own.some", {}, write_modules(own=OWN))("I", channel="w1") == ("I", None, 2)


def test_a_segmenter_without_a_signature_gets_the_image_and_its_arguments():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    assert user_functions.check("cv2.medianBlur", {"ksize": 3}, segments=True) == []
    assert user_functions.segmenter("cv2.medianBlur", {"ksize": 3}, [])(image, **CONTEXT)[1, 1] == 4


def test_a_segmenter_is_imported_once_by_a_process(write_modules, tmp_path):
    folders = write_modules(counted=f"open({str(tmp_path / 'imports')!r}, 'a').write('x')\ndef f(image): return image")
    for _ in range(3):
        user_functions.segmenter("counted.f", {}, folders)("I", **CONTEXT)
    assert (tmp_path / "imports").read_text() == "x"


def test_arguments_of_a_segmenter_are_checked(refused, write_modules):
    folders = write_modules(own=OWN)

    def message(name, arguments):
        return refused(user_functions.check, name, arguments, folders=folders, segments=True)

    assert (
        message("own.all_of_them", {"leest": 7}) == "own.all_of_them takes no argument 'leest'; did you mean 'least'?"
    )
    assert message("own.some", {"wide": 7}) == "own.some takes no argument 'wide'; it takes least"
    assert message("own.alone", {"wide": 7}) == "own.alone takes no argument 'wide'; it takes the image alone"
    assert "missing a required argument: 'weights'" in message("own.needs", {})
    assert "'image'" in message("own.alone", {"image": 7})


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
def test_what_is_no_metric_is_refused(refused, name, expected):
    assert expected in refused(user_functions.metric, name)


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
def test_anything_else_is_refused(refused, value, what):
    with pytest.raises(ValueError, match="expected") as caught:
        user_functions.result_of(value, "f")
    assert what in str(caught.value)


ENDING = """
import os, sys
class Dumb(Exception):
    def __str__(self): raise RuntimeError
class Dumber(BaseException):
    def __str__(self): raise KeyboardInterrupt
def interrupted(image, **_): raise KeyboardInterrupt
def closed(image, **_): raise GeneratorExit
def ended(image, **_): sys.exit(3)
def dumb(image, **_): raise Dumb
def dumber(image, **_): raise Dumber
def odd(image, **_): raise ValueError("\\udcff \\0")
def caused(image, **_): raise RuntimeError("step 2") from KeyError("w2")
def elsewhere(image, **_):
    os.chdir("/")
    raise StopIteration
"""
REASONS = {
    "interrupted": "KeyboardInterrupt",
    "closed": "GeneratorExit",
    "ended": "SystemExit: 3",
    "dumb": "Dumb: its text cannot be made (RuntimeError)",
    "dumber": "Dumber: its text cannot be made (KeyboardInterrupt)",
    "odd": r"ValueError: \udcff \x00",
    "caused": "RuntimeError: step 2, because of KeyError: 'w2'",
    "elsewhere": "StopIteration",
}
IMAGE = np.arange(64.0).reshape(8, 8)


def stack_reason(name, folders):
    return frames.measure_frame(StackFrame("a.tif", 0, "image"), IMAGE, function=name, folders=folders, arguments={})


def outlines_reason(name, folders):
    work = {"method": "own", "function": name, "arguments": {}}
    outlines.outline_nuclei(IMAGE, work, path=__file__, calibration=None, calibrated="plate", folders=folders)


def cells_reason(name, folders):
    cells.cells_of(np.eye(8, dtype=np.int32), {"function": name}, {"DNA": IMAGE}, folders=folders)


def filter_reason(name, folders):
    filters._through(IMAGE, [{"function": name}], tuple(folders))


@pytest.mark.parametrize("call", [stack_reason, outlines_reason, cells_reason, filter_reason])
def test_whatever_a_function_raises_is_the_reason_of_its_frame_and_the_process_stays_where_it_is(write_modules, call):
    folders, before = write_modules(ending=ENDING), os.getcwd()
    for name, expected in REASONS.items():
        try:
            reason = call(f"ending.{name}", folders).error
        except ValueError as error:
            reason = str(error)
        assert reason.removeprefix("filter ") == f"ending.{name} failed: {expected}"
        assert os.getcwd() == before


def test_ctrl_c_ends_a_process_although_the_function_ignores_it():
    with pytest.raises(KeyboardInterrupt), functions.contained(), suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("error", [MemoryError("no room"), OSError(errno.ESTALE, "Stale file handle", "/drive/a.tif")])
def test_what_a_function_lacks_around_it_says_nothing_about_the_image(error):
    expected = f"not read: own.find failed: {type(error).__name__}: {error}"
    assert user_functions.reason("own.find", error) == expected
    assert user_functions.reason("own.find", OSError("no image")) == "own.find failed: OSError: no image"
