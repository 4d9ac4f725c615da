"""Label images: properties as scikit-image's, outlines that fill to the objects, files that return what they got."""

import cv2
import numcodecs
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops
from skimage.segmentation import clear_border, relabel_sequential

from fieldwork import label_images


def crowd(*, shape=(240, 320), count=90, seed=0):
    """Draw ellipses that cover and cut each other, numbered in reading order; some are cut by the border."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        centre = tuple(int(rng.integers(0, side)) for side in reversed(shape))
        axes = tuple(int(axis) for axis in rng.integers(4, 17, 2))
        cv2.ellipse(drawn, centre, axes, float(rng.uniform(0, 180)), 0, 360, number, -1)
    return in_reading_order(drawn)


def in_reading_order(labels):
    """Renumber as a person would: go through the pixels, count what is new."""
    numbers = {0: 0}
    for value in labels.ravel().tolist():
        numbers.setdefault(value, len(numbers))
    return np.array([numbers[value] for value in labels.ravel().tolist()], np.int32).reshape(labels.shape)


CASES = {
    "crowd": crowd(),
    "empty": np.zeros((7, 9), np.int32),
    "one pixel": np.ones((1, 1), np.int32),
    "one row": np.array([[0, 1, 1, 0, 2, 0, 0, 3]], np.int32),
    "one column": np.array([[0, 1, 1, 0, 2, 0, 0, 3]], np.int32).T.copy(),
    "full": np.ones((5, 6), np.int32),
    "last pixel and first of the next row": np.array([[0, 0, 1], [1, 0, 0]], np.int32),
    "neighbours at the row's end": np.array([[0, 0, 1], [2, 0, 0]], np.int32),
}


@pytest.fixture(params=CASES)
def labels(request):
    return CASES[request.param].copy()


def test_properties_are_those_of_scikit_image(labels):
    measured = label_images.properties(labels)
    objects = regionprops(labels)
    assert len(measured.areas) == len(objects) == labels.max()
    np.testing.assert_allclose(measured.rows, [item.centroid[0] for item in objects], rtol=1e-12)
    np.testing.assert_allclose(measured.columns, [item.centroid[1] for item in objects], rtol=1e-12)
    assert measured.areas.tolist() == [item.area for item in objects] and measured.areas.dtype == np.int64
    free = set(np.unique(clear_border(labels)))
    assert measured.touches_border.tolist() == [item.label not in free for item in objects]


def test_a_centroid_is_exact_in_a_field_of_the_largest_camera():
    labels = np.zeros((16000, 16000), np.uint8)
    labels[15990:, 15990:] = 1
    measured = label_images.properties(labels)
    assert (measured.rows, measured.columns, measured.areas) == (15994.5, 15994.5, 100)


def test_every_type_of_integers_and_every_memory_order_is_measured(labels):
    expected = label_images.properties(labels)
    for other in (labels.astype(np.uint64), labels.astype(">u2"), np.asfortranarray(labels)):
        for values, others in zip(expected, label_images.properties(other), strict=True):
            np.testing.assert_array_equal(values, others)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_objects_are_numbered_in_reading_order_whatever_their_values_are(dtype):
    labels = crowd(count=60)
    values = np.random.default_rng(1).permutation(np.iinfo(dtype).max if dtype in ("uint8", "int16") else 10**6)
    shuffled = (values.astype(np.uint64) + 1)[labels] * (labels > 0)
    if dtype.endswith("64"):
        shuffled *= 2**40
    renumbered = label_images.renumber(shuffled.astype(dtype))
    assert renumbered.dtype == np.int32 and (renumbered == labels).all()


def test_numbering_again_changes_nothing(labels):
    np.testing.assert_array_equal(label_images.renumber(labels), labels)


@pytest.mark.parametrize("part_px", [50, 2**23])  # strips of a few rows, and all at once
@pytest.mark.parametrize("seed", range(12))
def test_the_largest_piece_of_an_object_is_that_of_scipy(seed, part_px, monkeypatch):
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 5, rng.integers(2, 30, 2))
    labels = np.kron(few, np.ones(rng.integers(1, 4, 2))).astype(np.int32)
    expected, broken = np.zeros_like(labels), 0
    for number in range(1, labels.max() + 1):
        pieces, count = ndimage.label(labels == number, np.ones((3, 3)))
        broken += count > 1
        expected[pieces == 1 + np.bincount(pieces[pieces > 0] - 1).argmax()] = number
    assert broken
    monkeypatch.setattr(label_images, "PART_PX", part_px)
    np.testing.assert_array_equal(label_images.keep_largest_pieces(labels.copy()), in_reading_order(expected))


def test_pieces_that_touch_at_corners_or_further_down_are_one():
    labels = np.array([[1, 0, 1, 2], [1, 1, 0, 2], [0, 3, 0, 2], [3, 0, 2, 0]], np.int32)
    np.testing.assert_array_equal(label_images.keep_largest_pieces(labels.copy()), labels)


def test_every_number_of_16_bits_may_be_an_object():
    labels = np.arange(2**16, dtype=np.uint16).reshape(2**8, 2**8)
    labels[-1, 1::2] = labels[0, 1]  # more pieces of object 1, apart from the first and no larger
    kept = label_images.keep_largest_pieces(labels)
    labels[-1, 1::2] = 0
    np.testing.assert_array_equal(kept, label_images.renumber(labels))
    assert kept.dtype == np.int32 and kept.max() == 2**16 - 1 - 2**7


def test_objects_at_the_border_are_dropped_as_scikit_image_drops_them(labels):
    expected, _, _ = relabel_sequential(clear_border(labels))
    np.testing.assert_array_equal(label_images.drop_border(labels), expected)


def test_an_object_of_two_pieces_is_dropped_if_one_touches_the_border():
    labels = np.zeros((9, 9), np.int32)
    labels[0, 4], labels[4, 4], labels[6, 6] = 1, 1, 2
    expected = np.zeros((9, 9), np.int32)
    expected[6, 6] = 1
    np.testing.assert_array_equal(label_images.drop_border(labels), expected)


def test_outlines_fill_to_the_objects():
    labels = crowd()
    number_of = {tuple(labels[y, x] for x, y in polygon) for polygon in label_images.outlines(labels)}
    assert {len(set(numbers)) for numbers in number_of} == {1}, "a corner lies outside its object"
    filled = np.zeros_like(labels)
    for polygon in label_images.outlines(labels):
        x, y = polygon[0]
        cv2.fillPoly(filled, [polygon], int(labels[y, x]))
    np.testing.assert_array_equal(filled, labels)


def test_labels_without_pixels_have_no_outline_and_pieces_have_one_each():
    labels = np.zeros((8, 8), np.uint16)
    labels[1, 1:3], labels[5, 5], labels[7, 0] = 7, 7, 9
    drawn = label_images.outlines(labels)
    assert sorted(polygon.tolist() for polygon in drawn) == [[[0, 7]], [[1, 1], [2, 1]], [[5, 5]]]
    assert label_images.outlines(np.zeros((4, 4), np.int32)) == []


def test_the_usual_radius_is_that_of_a_disc_of_the_median_area():
    y, x = np.mgrid[-20:21, -20:21]
    areas = [np.count_nonzero(np.hypot(y, x) <= radius) for radius in (3, 11, 19)]
    assert label_images.usual_radius(np.array(areas)) == pytest.approx(11, abs=0.2)
    assert label_images.usual_radius(np.array([], int)) == 0


def test_encoded_labels_are_decoded(labels):
    decoded = label_images.decode(label_images.encode(labels), labels.shape)
    assert decoded.dtype == np.uint32
    np.testing.assert_array_equal(decoded, labels)


def test_the_largest_label_is_decoded_and_bytes_do_not_depend_on_the_type():
    labels = CASES["crowd"].astype(np.int64)
    labels[labels == 5] = 2**32 - 1
    encoded = label_images.encode(labels)
    np.testing.assert_array_equal(label_images.decode(encoded, labels.shape), labels)
    assert encoded == label_images.encode(labels.astype(np.uint32)) == label_images.encode(np.asfortranarray(labels))


@pytest.mark.parametrize(("count", "largest"), [(400, 0.03), (900, 0.045)])
def test_encoded_labels_are_far_smaller_than_8_bit_pixels(count, largest):
    labels = crowd(shape=(1024, 1280), count=count)
    assert labels.max() > 0.8 * count and 0.01 < len(label_images.encode(labels)) / labels.size < largest


def test_encoded_labels_are_a_chunk_of_zarr():
    labels = CASES["crowd"]
    pixels = numcodecs.Zstd().decode(label_images.encode(labels))
    np.testing.assert_array_equal(np.frombuffer(pixels, "<u4").reshape(labels.shape), labels)


MASK = np.zeros((4, 5), bool)
REFUSED = {
    "None": (None, "gave None;"),
    "a list": ([[0, 1]], "gave a value of type list;"),
    "a mask": (MASK, "gave a mask"),
    "floats": (MASK.astype(float), "gave an array of shape (4, 5) and type float64;"),
    "three axes": (np.zeros((4, 5, 1), int), "gave an array of shape (4, 5, 1) and type int64;"),
    "another shape": (np.zeros((5, 4), int), "gave an array of shape (5, 4) and type int64;"),
    "a negative label": (np.full((4, 5), -2), "gave a label of -2;"),
    "a masked array": (np.ma.masked_array(np.zeros((4, 5), int)), "gave a value of type MaskedArray;"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_label_image_is_refused_in_one_line(name):
    value, reason = REFUSED[name]
    with pytest.raises(ValueError) as refusal:
        label_images.check_labels(value, (4, 5))
    message = str(refusal.value)
    assert message.startswith(reason) and message.endswith("expected labels: integers from 0, of shape (4, 5)")
    assert "\n" not in message


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_labels_of_every_type_of_integers_are_accepted(dtype):
    value = np.zeros((4, 5), dtype)
    assert label_images.check_labels(value, (4, 5)) is value


def test_a_unit_file_returns_the_fields_in_order_and_failed_ones_as_none(tmp_path):
    fields = [crowd(shape=(20 + number, 30), count=3, seed=number) for number in range(70)]
    fields[3] = fields[69] = None
    encoded = [None if labels is None else label_images.encode(labels) for labels in fields]
    shapes = [(None, None) if labels is None else labels.shape for labels in fields]
    label_images.write_unit(tmp_path / "all.labels.parquet", encoded, shapes)
    assert [path.name for path in tmp_path.iterdir()] == ["all.labels.parquet"]
    assert list(label_images.read_unit(tmp_path / "all.labels.parquet")) == list(zip(encoded, shapes, strict=True))


def test_a_unit_without_fields_has_a_file_without_rows(tmp_path):
    label_images.write_unit(tmp_path / "all.labels.parquet", [], [])
    assert list(label_images.read_unit(tmp_path / "all.labels.parquet")) == []


def test_large_images_are_taken_in_parts(monkeypatch):
    labels = crowd()
    functions = label_images.renumber, label_images.drop_border, label_images.properties, label_images.runs_of
    expected = [function(labels) for function in functions]
    monkeypatch.setattr(label_images, "PART_PX", 7 * labels.shape[1])  # rows, of which the last part has two
    monkeypatch.setattr(label_images, "PART_RUNS", 100)
    for function, known in zip(functions, expected, strict=True):
        np.testing.assert_equal(function(labels), known)


def test_every_type_of_labels_is_encoded_to_the_same_bytes():
    labels = crowd()
    expected = label_images.encode(labels.astype("<u4"))
    for kind in ("<i4", ">i4", "u2", "i8"):
        assert label_images.encode(labels.astype(kind)) == expected
    assert label_images.encode(np.asfortranarray(labels)) == expected
