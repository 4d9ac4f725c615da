"""Pictures: what cannot be drawn is said in the picture's place; users' text is drawn as it is."""

import logging
import os
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

import plot_stack
from fieldwork import figures
from fieldwork.stacks import plots

SCRIPTS = Path(figures.__file__).parents[1]
TEXTS = [
    "$^$",
    "A $x_{$ B",
    r"$\frac{1}$",
    "5$ and 6$",
    "%",
    "_underscore",
    "a\nb",
    "{x}",
    "\\",
    "<b>&amp;",
    "ä µ ²",
    "",
]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def frames_of(**columns):
    """Return a stack's table with these columns of a user's function."""
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"Metadata_Stack": "s", "Metadata_Frame": range(count), "Image_Status": "ok", **columns})


def over_time(frames, names, path):
    """Draw a stack's picture, and save it without a note that it is missing."""
    shown = [(0, np.zeros((20, 30), np.uint16), np.empty((0, 2)))]
    figure = plots.over_time(frames, {name: name for name in names}, shown, title="stack s")
    figures.save(figure, path)
    return figure


def test_a_picture_that_cannot_be_drawn_says_so_in_its_place(tmp_path, caplog, monkeypatch):
    written = []
    save = figures.save

    def note(figure, path, **options):
        written.append(" ".join(text.get_text() for axes in figure.axes for text in axes.texts))
        save(figure, path, **options)

    monkeypatch.setattr(figures, "save", note)

    def draw():
        plt.figure()
        raise ValueError("arange: cannot compute length of \ud800 \u4e2d")

    with caplog.at_level(logging.WARNING):
        figures.write(draw, tmp_path / "frames.png", colours=64)
    [line] = caplog.messages
    assert line.startswith(
        f"the picture {tmp_path / 'frames.png'} is missing, as it could not be drawn: ValueError: arange"
    )
    assert "could not be drawn: ValueError: arange: cannot compute length" in written[0].replace("\n", " ")
    with Image.open(tmp_path / "frames.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 100  # black on white
    assert not plt.get_fignums() and [path.name for path in tmp_path.iterdir()] == ["frames.png"]


def test_a_full_disk_is_no_matter_of_the_picture(tmp_path):
    def draw():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        figures.write(draw, tmp_path / "frames.png")
    assert not list(tmp_path.iterdir())


def test_text_of_users_is_drawn_as_it_is(tmp_path):
    names = [name for name in TEXTS if name]
    figure = over_time(frames_of(**{name: np.arange(3.0) for name in names}), names, tmp_path / "frames.png")
    assert [axes.get_ylabel() for axes in figure.axes[: len(names)]] == names
    assert not matplotlib.rcParams["text.parse_math"] and not matplotlib.rcParams["text.usetex"]
    assert not any(label.get_parse_math() for axes in figure.axes for label in [axes.yaxis.label, axes.title])


@pytest.mark.parametrize(
    ("values", "left_out"),
    [
        ([1e308, 1e308, 1e308], "3 values"),
        ([-1e308, 1.0, 1e308], "2 values"),
        ([1.0, 2.0, 1e200], "1 value"),
        ([1e150, -1e150, 0], ""),
        ([5e-324, 0, 1e-310], ""),
        ([np.inf, -np.inf, 1.0], ""),
        ([np.nan, np.nan, np.nan], ""),
        ([2**63 - 1, -(2**63), 0], ""),
        ([1e16, 1e16 + 2, 1e16 + 4], ""),
    ],
)
def test_extreme_values_are_drawn_or_left_out_with_a_note(tmp_path, values, left_out):
    figure = over_time(frames_of(extreme=values), ["extreme"], tmp_path / "frames.png")
    assert figure.axes[0].get_title() == (f"{left_out} beyond ±1e+150 left out" if left_out else "")


def test_the_picture_of_300_columns_says_how_many_are_drawn(tmp_path):
    path = tmp_path / "s.npy"
    np.save(path, np.zeros((3, 20, 30), np.uint16))
    frames_of(**{f"column {number}": np.arange(3.0) for number in range(300)}).to_csv(
        tmp_path / "frames.csv", index=False
    )
    figure = plot_stack.draw(
        stack="s", path=str(path), selection={}, frames_table=tmp_path / "frames.csv", nuclei_table=None, labels=None
    )
    assert figure.get_suptitle() == "stack s: 4 of 300 columns"


SETTINGS = {  # of Matplotlib, where a user may have them; a path below the user's folder -> what is in it
    "none": {},
    "file of the working directory": {"work/matplotlibrc": b"axes.facecolor: black\nfont.size: 20\nbackend: TkAgg\n"},
    "file of the home folder": {"home/.config/matplotlib/matplotlibrc": b"lines.linewidth: 9\ntimezone: Asia/Tokyo\n"},
    "damaged files": {
        "work/matplotlibrc": b"font.size: 20 # gr\xf6\xdfer\n",
        "home/.config/matplotlib/stylelib/lab.mplstyle": b"# gr\xf6\xdfer\n",
    },
}


ENVIRONMENTS = (
    ("MPLBACKEND", "TkAgg"),
    ("MPLBACKEND", "none-such"),
    ("MATPLOTLIBRC", "."),
    ("MPLCONFIGDIR", "../home/.config/matplotlib"),
)


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        *((settings, {}) for settings in SETTINGS),
        *(("damaged files", {name: value}) for name, value in ENVIRONMENTS),
    ],
)
def test_a_picture_is_the_same_to_the_byte_with_any_settings_of_the_user(tmp_path, settings, environment):
    import_and_draw = (
        "import sys\n"
        "from fieldwork import figures\n"
        "def draw():\n"
        "    figure, axes = figures.plt.subplots()\n"
        "    axes.plot([1, 2, 4], label='$x$')\n"
        "    axes.legend()\n"
        "    return figure\n"
        "figures.write(draw, sys.argv[1])\n"
        "import matplotlib, os\n"
        "print(matplotlib.get_backend(), os.getcwd(), *(os.environ.get(name) for name in sys.argv[2:]))\n"
    )
    for folder in ("work", "home"):
        (tmp_path / folder).mkdir()
    for name, content in SETTINGS[settings].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    plain = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(Path(matplotlib.get_cachedir()).parent)}  # has fonts
    done = subprocess.run(
        [sys.executable, "-c", import_and_draw, tmp_path / "picture.png", *environment],
        cwd=tmp_path / "work",
        env={**plain, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(SCRIPTS), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Agg", str(tmp_path / "work"), *" ".join(environment.values()).split()]

    with plt.rc_context({**matplotlib.rcParamsDefault, "backend": "Agg", "text.parse_math": False}):
        figure, axes = plt.subplots()
        axes.plot([1, 2, 4], label="$x$")
        axes.legend()
        figure.savefig(
            tmp_path / "plain.png", dpi=110, bbox_inches="tight", pad_inches=0.15, metadata={"Software": None}
        )
    assert (tmp_path / "picture.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_what_a_function_of_the_user_sets_does_not_stay():
    plt.style.use("dark_background")
    matplotlib.rcParams["savefig.dpi"] = 30
    figures.forget_settings()
    expected = {**matplotlib.rcParamsDefault, "text.parse_math": False}
    differing = [name for name, value in expected.items() if matplotlib.rcParams[name] != value]
    assert {*differing} <= {"backend", "backend_fallback"} and matplotlib.get_backend().lower() == "agg"


def test_a_picture_and_the_message_in_its_place_have_nothing_of_what_a_function_of_the_user_set(tmp_path):
    def fail():
        plt.style.use("dark_background")
        raise ValueError("too bad")

    for name in ("plain", "styled"):
        figures.write(lambda: figures.without_chart("title", "reason"), tmp_path / f"{name}.png")
        with chdir(tmp_path):  # the message has the name of the picture
            figures.write(fail, "missing.png")
        (tmp_path / "missing.png").rename(tmp_path / f"{name}_missing.png")
        plt.style.use("dark_background")
    assert (tmp_path / "styled.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert (tmp_path / "styled_missing.png").read_bytes() == (tmp_path / "plain_missing.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "plain_missing.png").convert("L"))[0, 0] == 255


def test_no_script_reads_the_users_settings_before_they_are_hidden():
    importing = [path.stem for path in SCRIPTS.glob("*.py") if re.search(r"\b(figures|plots)\b", path.read_text())]
    assert {"plot_plate", "plot_slide", "illuminate_plate"} <= {*importing}
    import_until_matplotlib = (  # each script in a fork of a process that has the large libraries already
        "import importlib, os, sys, cv2, numpy, pandas, pyarrow\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'matplotlib':\n"
        "            os._exit(os.environ.get('MATPLOTLIBRC') != os.devnull or os.getcwd() != '/')\n"
        "sys.meta_path.insert(0, Finder)\n"
        "for name in sys.argv[1:]:\n"
        "    if not (child := os.fork()):\n"
        "        importlib.import_module(name)\n"
        "        os._exit(2)\n"
        "    assert os.waitpid(child, 0)[1] == 0, name\n"
    )
    command = [sys.executable, "-c", import_until_matplotlib, *importing]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
