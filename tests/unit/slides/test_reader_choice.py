"""A reader is trusted if it agrees with the one that knows the format; crashes, hangs and refusals are reasons."""

import os
import resource
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile

from fieldwork.slides import SlideError, SlideNotReadError, choice, readers
from fieldwork.surroundings import unread
from slide_files import REAL_SLIDES, damage_tile, real, texture, write_pyramid


def probes(**changes):
    """Return the answers of three probes that agree, but for these changes."""
    same = {"reason": "", "shapes": [[100, 90]], "mpp": [0.5, 0.5], "vendor": None, "channels": ["Red"], "sizes": []}
    answers = {name: same | {"pixels": {"corner": np.full((9, 9, 3), 7, np.uint8)}} for name in readers.READERS}
    answers["openslide"]["vendor"] = "aperio"
    for name, change in changes.items():
        answers[name] |= change
    return answers


@pytest.mark.parametrize(
    ("changes", "chosen", "why"),
    [
        ({}, "tifffile", "cucim and openslide agree"),
        ({"tifffile": {"reason": "no"}}, "cucim", "tifffile: no"),
        ({"tifffile": {"mpp": None}}, "cucim", "micrometres per pixel (y, x) None, where openslide has [0.5, 0.5]"),
        ({"tifffile": {"mpp": [0.51, 0.5]}}, "cucim", "micrometres per pixel (y, x) [0.51, 0.5]"),
        ({"tifffile": {"shapes": [[100, 91]]}}, "cucim", "levels of 91x100 pixels, where openslide sees 90x100"),
        ({"tifffile": {"pixels": {"corner": np.full((9, 9, 3), 9, np.uint8)}}}, "tifffile", "agree"),
        ({"tifffile": {"pixels": {}}}, "cucim", "cannot read 1 of 1 samples that openslide can"),
        ({"openslide": {"vendor": "generic-tiff", "pixels": {}}}, "tifffile", "cucim agrees"),
        ({"tifffile": {"pixels": {"corner": np.full((9, 9, 3), 4, np.uint8)}}}, "cucim", "up to 3 grey levels"),
        ({"tifffile": {"reason": "no"}, "cucim": {"reason": "never"}}, "openslide", "knows the format"),
        ({"openslide": {"reason": "no"}, "cucim": {"mpp": None}}, "tifffile", "fits the file's tags"),
        (
            {"openslide": {"vendor": "generic-tiff", "mpp": None}, "cucim": {"reason": "never"}},
            "tifffile",
            "not trusted: cucim: never; openslide: micrometres",
        ),
        (
            {"openslide": {"vendor": "generic-tiff"}, "cucim": {"reason": "never"}, "tifffile": {"reason": "no"}},
            "openslide",
            "fits the file's tags",
        ),
    ],
)
def test_who_agrees_with_the_one_that_knows_is_trusted(tmp_path, monkeypatch, changes, chosen, why):
    (tmp_path / "a.svs").touch()
    monkeypatch.setattr(choice, "_probe_all", lambda *_: probes(**changes))
    reader, sentence = choice.choose_reader(tmp_path / "a.svs")
    assert reader == chosen
    assert why in sentence and sentence.startswith(f"{chosen}: ")


def test_nobody_is_trusted_unconfirmed_and_a_wrong_request_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a.svs").touch()
    unknown = {"vendor": "generic-tiff"}
    unread = {"reason": "16 bits", "shapes": None}
    monkeypatch.setattr(choice, "_probe_all", lambda *_: probes(openslide=unknown, tifffile=unread))
    with pytest.raises(SlideError, match="tifffile: 16 bits; openslide: nothing confirms what it reads"):
        choice.choose_reader(tmp_path / "a.svs")
    monkeypatch.setattr(choice, "_probe_all", lambda *_: probes(cucim={"reason": "killed"}))
    with pytest.raises(SlideError, match="reader 'cucim': killed; tifffile or openslide can read it"):
        choice.choose_reader(tmp_path / "a.svs", "cucim")
    assert choice.choose_reader(tmp_path / "a.svs", "openslide")[1].startswith("openslide, as requested: tifffile agr")


def test_readers_that_see_slides_of_other_sizes_are_not_settled_by_preference(tmp_path, monkeypatch):
    (tmp_path / "a.svs").touch()
    larger = {"shapes": [[200, 180]], "sizes": [[200, 180]]}
    monkeypatch.setattr(choice, "_probe_all", lambda *_: probes(tifffile=larger, cucim=larger))
    with pytest.raises(SlideError, match="openslide sees a slide of 90 x 100 px, .*tifffile.* 180 x 200 px"):
        choice.choose_reader(tmp_path / "a.svs")
    for name in ("openslide", "tifffile"):
        assert choice.choose_reader(tmp_path / "a.svs", name)[0] == name
    known = {"sizes": [[200, 180], [100, 90]]}
    generic = {"vendor": "generic-tiff", "shapes": [[200, 180]]}
    monkeypatch.setattr(choice, "_probe_all", lambda *_: probes(tifffile=known, openslide=generic))
    assert choice.choose_reader(tmp_path / "a.svs")[0] == "tifffile"
    monkeypatch.setattr(choice, "_probe_all", lambda *_: probes(openslide=generic))
    with pytest.raises(SlideError, match="tifffile sees a slide of 90 x 100 px, openslide one of 180 x 200 px"):
        choice.choose_reader(tmp_path / "a.svs")


def test_a_damaged_tile_is_no_reason_against_readers(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture(), compression="jpeg")
    damage_tile(tmp_path / "a.tif", "zeros", number=17)  # in the centre
    reader, why = choice.choose_reader(tmp_path / "a.tif")
    assert reader == "tifffile"
    assert "agree" in why and "not trusted" not in why


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os; os.abort()", "killed by SIGABRT while reading"),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "killed by SIGSEGV while reading"),
        ("import signal; signal.alarm(1); open('pipe')", "took more than 60 s"),
        ("import nothing_of_that_name", "failed: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_a_probe_that_crashes_or_hangs_is_a_reason(tmp_path, program, why):
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE)
    assert choice._result(process, tmp_path / "answer.npz")["reason"] == why


@pytest.mark.parametrize("requested", ["auto", "openslide"])
def test_16_bits_are_never_taken_for_8(tmp_path, requested):
    image = texture().astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64))
    with pytest.raises(SlideError, match="16 bits per sample.*expected 8"):
        choice.choose_reader(tmp_path / "a.tif", requested)


@real
@pytest.mark.parametrize("name", ["broken.svs", "unopenable.tiff", "unreadable.svs"])
def test_real_files_that_nobody_can_read_are_refused_with_every_readers_reason(name):
    with pytest.raises(SlideError, match="(?s)cucim.*tifffile.*openslide: .+"):
        choice.choose_reader(REAL_SLIDES / name)


@real
def test_cucim_is_refused_where_it_dies_or_mistakes_the_colours():
    with pytest.raises(SlideError, match="SIGSEGV|cannot be|pixels differ"):
        choice.choose_reader(REAL_SLIDES / "boxes.tiff", "cucim")
    with pytest.raises(SlideError, match="pixels differ from tifffile's by up to"):
        choice.choose_reader(REAL_SLIDES / "OS-2-vsi.ome.tif", "cucim")


@pytest.mark.parametrize("end", [".png", ".jpg", ".JPEG", ".bmp"])
def test_a_picture_that_is_no_slide_is_named_with_what_to_do(tmp_path, end):
    file = tmp_path / f"slide{end}"
    file.write_bytes(cv2.imencode(end.lower(), np.full((90, 90, 3), 200, np.uint8))[1].tobytes())
    kind = end.strip(".").upper().replace("JPG", "JPEG")
    with pytest.raises(SlideError, match=f"it is a {kind} picture; expected a slide or a TIFF file: save it as TIFF"):
        choice.choose_reader(file)


def test_a_tiff_file_with_the_name_of_a_picture_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "slide.png", texture((300, 300, 3)), photometric="rgb", tile=(64, 64))
    assert choice.choose_reader(tmp_path / "slide.png")[0] in readers.READERS


def test_no_room_for_a_readers_answer_says_nothing_about_the_slide(tmp_path, monkeypatch):
    write_pyramid(tmp_path / "a.tif", texture())
    monkeypatch.setattr(unread, "WAITS_S", ())  # once: three processes take a second
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # of this process's children
    try:
        with pytest.raises(SlideNotReadError, match="^not read: File too large$"):
            choice.choose_reader(tmp_path / "a.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert choice.choose_reader(tmp_path / "a.tif")[0] == "tifffile"
