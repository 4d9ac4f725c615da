"""The picture of a calibration shows outlines on a few images."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from fieldwork import figures, segmentation, synthetic
from fieldwork.detection import calibration, plots
from fieldwork.figures import plt
from fieldwork.segmentation.sampling import Reading
from outlined import squares, traced


def picture(fields, worst, **texts):
    """Draw fields: titles, images, labels."""

    def panel(title, image, labels):
        areas = np.bincount(labels.ravel())[1:]
        return plots.Panel(title, image.shape, areas[areas > 0], lambda: (image, labels))

    return plots.calibration_picture([panel(*field) for field in fields], worst and panel(*worst), **texts)


def calibration_panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_a_calibration_shows_its_fields_in_order_and_the_worst_in_a_frame(tmp_path):
    fields = [(f"B0{n} site 1: {n} nuclei", 100 * n + squares(n) * 7, squares(n)) for n in range(1, 7)]
    worst = ("C02 site 9: 20 nuclei", squares(20) * 9.0, squares(20))
    notes = ["typical nucleus: 5.64 px", "set nuclei.diameter where the outlines are wrong " * 3]
    figure = picture(fields, worst, title="plate P1: calibration", notes=notes)
    assert figure.get_suptitle() == "plate P1: calibration"
    panels = calibration_panels(figure)
    titles = [axes.get_title() for axes in panels]
    assert titles == [*(title for title, _, _ in fields), f"fits worst: {worst[0]}"]
    for axes, (_, image, labels) in zip(panels, [*fields, worst], strict=True):
        shown = axes.images[0].get_array()
        assert (shown.min(), shown.max()) == (0, 1), "its own contrast"
        brightness = [np.unique(shown[image == value]) for value in np.unique(image)]
        assert [len(levels) for levels in brightness] == [1] * len(brightness) and (
            np.diff(brightness, axis=0) >= 0
        ).all()
        assert len(traced(axes)) == labels.max() and traced(axes)[0] == (2, 2, 6, 6)
    colours = [to_hex(axes.spines["top"].get_edgecolor()) for axes in panels]
    assert colours == [figures.GREY] * 6 + [figures.VERMILION]
    (text,) = (text.get_text() for axes in figure.axes for text in axes.texts)
    assert text.split("\n\n")[0] == notes[0] and text.replace("\n", " ").endswith(notes[1].strip())
    figures.save(figure, tmp_path / "calibration.png", colours=64)
    assert Image.open(tmp_path / "calibration.png").width > 1500


def test_of_few_colours_the_frame_and_the_outlines_keep_theirs(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.zeros((300, 400), np.uint32)
    labels[120:180, 150:230] = squares(30)
    written = []
    for name in ("first.png", "second.png"):
        fields = [("B02", rng.integers(0, 65535, labels.shape).astype(np.uint16), labels)] * 6
        figure = picture(fields, fields[0], title="P1", notes=["a note"])
        figures.save(figure, tmp_path / name, colours=64)
        written.append((tmp_path / name).read_bytes())
        rng = np.random.default_rng(0)
    counts = {colour: count for count, colour in Image.open(tmp_path / "first.png").convert("RGB").getcolors(64)}
    vermilion, magenta = (tuple(bytes.fromhex(colour[1:])) for colour in (figures.VERMILION, plots.RING_COLOUR))
    assert counts.get(vermilion, 0) > 3000 and counts.get(magenta, 0) > 100  # of thin lines most is smoothed
    assert written[0] == written[1]


def test_the_message_of_an_error_is_no_formula_and_no_wider_than_its_panel(tmp_path):
    message = "failed: own.segment failed: ValueError: $HOME, $\\frac{$ and " + 20 * "more "
    field = message, np.full((30, 40), 7, np.uint8), np.zeros((30, 40), np.int32)
    figure = picture([field], field, title="P1", notes=[message])
    figures.save(figure, tmp_path / "calibration.png", colours=64)
    titles = [axes.get_title() for axes in calibration_panels(figure)]
    assert all(title.replace("\n", " ").endswith(message.strip()) for title in titles)
    assert max(len(line) for line in titles[0].splitlines()) <= 90


def area(box):
    return box.width * box.height


@pytest.mark.parametrize("shape", [(150, 450), (520, 400)])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("with_long_texts", [False, True])
def test_few_fields_are_drawn_large_and_no_text_is_cut_or_covers_them(shape, count, with_long_texts):
    fields = [(f"B0{n} site 1: {n} nuclei", squares(20, shape=shape), squares(20, shape=shape)) for n in range(count)]
    notes = ["typical nucleus: 5.64 px"]
    if with_long_texts:
        notes += ["PLATE_01/WELL_B02/" * 20, "a warning " * 40]
        fields[0] = ("B00 site 1: failed: " + "ValueError: no such thing " * 9, *fields[0][1:])
    figure = picture(fields[1:], fields[0], title="P1", notes=notes)
    figure.canvas.draw()
    panels = calibration_panels(figure)
    boxes = [axes.get_window_extent() for axes in panels]
    assert len(boxes) == count
    assert with_long_texts or sum(map(area, boxes)) > 0.5 * area(figure.bbox)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert sum(len(text.get_text()) for text in texts) > sum(len(note) for note in notes)
    for text in texts:
        extent = text.get_window_extent()
        corners = (extent.x0, extent.y0), (extent.x1, extent.y1)
        assert all(figure.bbox.padded(1).contains(*corner) for corner in corners), text.get_text()
        assert not any(extent.overlaps(box.padded(-2)) for box in boxes), text.get_text()
    figures.plt.close(figure)


def test_of_large_fields_no_more_than_two_are_held_at_once():
    held = []

    def load():
        image = np.full((300, 400), 7, np.uint16)
        held.append(weakref.ref(image))
        assert sum(reference() is not None for reference in held) <= 2
        return image, squares(30, shape=image.shape)

    panel = plots.Panel("B02", (300, 400), np.full(30, 25), load)
    plt.close(plots.calibration_picture([panel] * 6, panel, title="P1", notes=[]))
    assert len(held) == 7


def test_of_a_large_field_the_part_with_the_most_nuclei_is_drawn(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.zeros((1500, 2000), np.uint32)
    labels[1200:1260, 1500:1580] = squares(30)
    labels[40:45, 80:85] = 31  # alone
    fields = [("B02", rng.integers(0, 900, labels.shape).astype(np.uint16), labels)] * 6
    figure = picture(fields, fields[0], title="P1", notes=[])
    for axes in calibration_panels(figure):
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        height, width = bottom - top, right - left
        assert axes.get_title().endswith(f"B02\n{height:.0f} x {width:.0f} of 1500 x 2000 px")
        assert 150 < width < 250 and height == pytest.approx(0.75 * width, abs=4)
        assert len(traced(axes)) == 30
        assert all(left <= box[0] and box[2] <= right and top <= box[1] and box[3] <= bottom for box in traced(axes))
    figures.save(figure, tmp_path / "calibration.png", colours=64)
    assert (tmp_path / "calibration.png").stat().st_size < 1_000_000


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (20, 20)])
def test_a_calibration_without_nuclei_or_with_the_smallest_images_is_drawn(tmp_path, shape):
    field = "B02", np.full(shape, 7, np.uint8), np.zeros(shape, np.int32)
    for number, (fields, worst) in enumerate([([], None), ([field], None), ([field] * 2, field)]):
        figure = picture(fields, worst, title="P1", notes=["no nuclei"])
        assert len(calibration_panels(figure)) == len(fields) + (worst is not None)
        figures.save(figure, tmp_path / f"{number}.png", colours=64)


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (2, 2), (7, 7), (9, 7)])
def test_no_field_is_drawn_twice_and_a_single_one_is_not_the_worst(count, drawn):
    fields = [synthetic.plant_field(np.random.default_rng(n), shape=(200, 260), count=12)[0] for n in range(count)]
    used = [Reading(n, form=None, sample=segmentation.measure_sample(field)) for n, field in enumerate(fields)]
    measured = {n: SimpleNamespace(error=None, coordinates=[(1, 1)] * (n + 1)) for n in range(count)}
    chosen = calibration.choose_drawn(used, measured, segmentation.calibrate(fields))
    assert (chosen.worst is None) == (count == 1)
    assert len({*chosen.even, chosen.worst} - {None}) == drawn == len(chosen.even) + (count > 1)
