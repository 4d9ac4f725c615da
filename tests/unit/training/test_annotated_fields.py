"""Annotated fields as training reads them: calibrated, or refused in one line."""

import shutil

import cv2
import numpy as np
import pytest

import stained
from accuracy import generated
from training import evaluation
from training.fields import digest_of, fields_in

SHAPE = (160, 180)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one annotated field: a.png."""
    image, labels = generated.planted_field(3, shape=SHAPE, diameter=16, count=20)
    write(tmp_path, "a", image.astype(np.uint16), labels)
    return tmp_path


def write(folder, name, image=None, labels=None):
    for kind, picture in (("images", image), ("labels", labels)):
        (folder / kind).mkdir(exist_ok=True)
        if picture is not None:
            picture = picture.astype(np.uint16) if picture.dtype == np.int32 else picture
            assert cv2.imwrite(str(folder / kind / f"{name}.png"), picture)


def test_fields_are_calibrated_and_those_without_nuclei_are_named(folder, capsys):
    write(folder, "b", np.full(SHAPE, 100, np.uint8), np.zeros(SHAPE, np.uint8))
    [field] = fields_in(folder)
    assert field.name == "a" and not field.is_stained and field.labels.max() == 20
    assert field.diameter == pytest.approx(16, rel=0.2)
    assert capsys.readouterr().out == (f"{folder}: no typical nucleus is seen in 1 images, which are left out: b.png\n")


@pytest.mark.parametrize("channels", [3, 4])
def test_grey_that_is_saved_as_colours_is_grey(folder, channels):
    [grey] = fields_in(folder)
    picture = np.dstack([grey.image] * 3 + [np.full(SHAPE, 65535, np.uint16)] * (channels - 3))
    write(folder, "a", picture)
    [field] = fields_in(folder)
    np.testing.assert_array_equal(field.image, grey.image)
    assert not field.is_stained and digest_of([field]) == digest_of([grey])


def test_stained_tissue_is_outlined_as_a_slide_is(tmp_path):
    picture = stained.plant((360, 400), stained.grid((360, 400), 41))
    write(tmp_path, "a", picture[..., ::-1], np.zeros((360, 400), np.uint8))
    [field] = fields_in(tmp_path)
    assert field.is_stained
    for method in ("classical", "network"):
        labels, _ = stained.outline(picture, method=method)
        assert labels.max() > 10
        np.testing.assert_array_equal(evaluation.labels_of(field, method), labels)


@pytest.mark.parametrize(
    ("image", "labels", "reason"),
    [
        (None, np.zeros((160, 181), np.uint8), "labels/a.png: 160 x 181 px; expected 160 x 180 px, as .*images/a.png"),
        (None, np.zeros((*SHAPE, 3), np.uint8), "labels/a.png: colours; expected a PNG file of one channel"),
        (
            None,
            255 * (np.mgrid[:160, :180] % 20 > 9).all(axis=0).astype(np.uint8),
            "a.png: 72 parts have the same number",
        ),
        (np.full((*SHAPE, 3), [1, 2, 3], np.uint16), None, "images/a.png: colours of 16 bits; expected 8 bits, or"),
    ],
)
def test_pictures_that_are_not_as_expected_are_refused(folder, image, labels, reason):
    write(folder, "a", image, labels)
    with pytest.raises(SystemExit, match=reason):
        list(fields_in(folder))


def test_nuclei_are_numbered_without_gaps(folder):
    [field] = fields_in(folder)
    write(folder, "a", labels=field.labels * 7)
    [sparse] = fields_in(folder)
    np.testing.assert_array_equal(sparse.labels, field.labels)


def test_colours_on_a_dark_ground_are_refused(folder):
    [field] = fields_in(folder)
    shade = np.clip(field.image / 256, 0, 255).astype(np.uint8)
    write(folder, "a", np.dstack([shade, shade // 8, np.zeros_like(shade)]))
    with pytest.raises(SystemExit, match="images/a.png: colours on a dark ground; expected the nuclei's channel"):
        list(fields_in(folder))


def test_missing_and_damaged_files_are_named(folder):
    (folder / "labels/a.png").write_bytes(b"")
    with pytest.raises(SystemExit, match="labels/a.png: no image that OpenCV reads"):
        list(fields_in(folder))
    (folder / "labels/a.png").unlink()
    with pytest.raises(SystemExit, match="labels/a.png does not exist; expected the labels"):
        list(fields_in(folder))
    shutil.rmtree(folder / "images")
    with pytest.raises(SystemExit, match="no images/\\*.png; expected images/\\*.png, and labels/\\*.png"):
        list(fields_in(folder))


def test_other_images_labels_and_calibrations_have_other_digests(folder):
    [field] = fields_in(folder)
    others = [
        field._replace(image=field.image + np.uint16(1)),
        field._replace(labels=field.labels * 2),
        field._replace(diameter=field.diameter + 1),
        field._replace(contrast=field.contrast + 1),
    ]
    assert len({digest_of([field]), digest_of([field, field]), *(digest_of([other]) for other in others)}) == 6
