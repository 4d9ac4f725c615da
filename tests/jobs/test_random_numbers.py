"""Functions of the user's that draw random numbers: the same for a frame in every engine, and other ones for others."""

import functools
import logging
import random

import numpy as np
import pytest
import tifffile

from fieldwork import job, user_functions
from fieldwork.detection import cells
from fieldwork.plates import fields, filters
from fieldwork.plates.images import FieldImage, chosen_planes
from fieldwork.stacks import frames as stack_frames
from fieldwork.stacks import sources

OWN = """
import random as plain
import numpy as np
from numpy.random import normal, random

np.random.seed(0)
FIRST = random()  # as of modules that shuffle a palette


def numbers(image):
    return {"numpy": float(random()), "python": plain.random()}


def noise(image):
    return image + normal(0, 10, image.shape)


def nuclei(image):
    labels = np.zeros(image.shape, int)
    labels[: 1 + np.random.randint(20), : 1 + plain.randrange(20)] = 1
    return labels


def cells(nuclei, channels):
    return np.where(np.arange(len(nuclei))[:, None] < 20 + np.random.randint(20), 1, 0) * np.ones_like(nuclei)
"""
POOLS = {
    "serial": {"engine": "serial"},
    "pool": {"engine": "pool", "workers": 3},
    "fork": {"engine": "pool", "mode": "fork", "workers": 2},
}
NUMBERS = 0.7723975035497205, 0.7859059341924667  # of NumPy's MT19937, and of Python's
DASK = {"engine": "dask", "workers": 2}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a module of the user's, and a stack of 20 even frames."""
    (tmp_path / "own_random.py").write_text(OWN)
    np.save(tmp_path / "s.npy", np.full((20, 24, 31), 1000, np.uint16))
    return tmp_path


def of_stack(folder, pool, *, stack="s"):
    """Measure a stack as the script does."""
    frames = sources.open_stack(str(folder / "s.npy")).frames
    work = {"function": "own_random.numbers", "arguments": {}, "folders": [str(folder)], "stack": stack}
    stack_frames.import_functions(work, stack=frames)
    road = {"read": stack_frames.read_image, "failed": stack_frames.failed_frame, "label": "s", "noun": "frames"}
    measured = job.collect(functools.partial(stack_frames.measure_frame, **work), frames, **road, **pool)
    return [(frame.numbers["numpy"], frame.numbers["python"]) for frame in measured]


def of_plate(folder, pool):
    """Filter a plate's images, and outline nuclei and cells in them; return what depends on random numbers."""
    images = []
    for number in range(6):
        path = folder / f"{number}.tif"
        tifffile.imwrite(path, np.full((40, 40), 1000, np.uint16))
        images.append(FieldImage("B02", number, None, None, str(path), measured=(str(path),)))
    road = {"label": "plate p", "noun": "images", **pool}
    options = {"chain": [{"function": "own_random.noise"}], "metrics": ["mean"], "save": "none", "folder": folder}
    filtered = job.collect(
        functools.partial(filters.filter_image, **options, folders=[str(folder)], plate="p"),
        [filters.Original(image, "x") for image in images],
        read=functools.partial(filters.read_planes, channel="auto"),
        failed=filters.failed_image,
        **road,
    )
    detection = {"method": "function", "function": "own_random.nuclei", "arguments": {}}
    outlined = job.collect(
        functools.partial(
            fields.measure_field, detection=detection, with_quality=False, folders=[str(folder)], plate="p"
        ),
        images,
        read=functools.partial(chosen_planes, channel="auto"),
        failed=fields.failed_field,
        **road,
    )
    return [image.after["mean"] for image in filtered], [tuple(field.coordinates[0]) for field in outlined]


def test_a_function_draws_the_same_numbers_for_a_frame_in_every_engine(folder):
    drawn = {name: of_stack(folder, pool) for name, pool in POOLS.items()}
    assert len(set(drawn["serial"])) == 20
    assert all(numbers == drawn["serial"] for numbers in drawn.values())
    assert not set(of_stack(folder, POOLS["serial"], stack="other")) & set(drawn["serial"])


def test_filters_and_segmenters_draw_the_same_numbers_for_a_field_in_every_engine(folder):
    drawn = {name: of_plate(folder, pool) for name, pool in POOLS.items()}
    means, centres = drawn["serial"]
    assert len(set(means)) == 6 and len(set(centres)) == 6
    assert all(numbers == drawn["serial"] for numbers in drawn.values())


def test_seeds_are_the_same_on_every_machine():
    user_functions.seed_random("p", "B02", 1, None, None)
    assert (np.random.random(), random.random()) == NUMBERS


def test_cells_are_drawn_from_the_names_of_the_field_alone(folder):
    nuclei = np.zeros((60, 60), np.int32)
    nuclei[:10, :10] = 1
    settings, options = {"function": "own_random.cells"}, {"folders": [str(folder)]}
    sizes = {
        site: (cells.cells_of(nuclei, settings, {}, frame=("p", "B02", site), **options) > 0).sum()
        for site in [*range(9), 0]
    }
    again = {
        site: (cells.cells_of(nuclei, settings, {}, frame=("p", "B02", site), **options) > 0).sum() for site in sizes
    }
    assert again == sizes and len(set(sizes.values())) > 3


def test_dask_gives_the_same_numbers(folder):  # it starts threads, and no fork may follow: the last tests of this file
    assert of_stack(folder, DASK) == of_stack(folder, POOLS["serial"])
    assert of_plate(folder, DASK) == of_plate(folder, POOLS["serial"])


def test_the_log_says_that_threads_share_random_numbers(folder, caplog):
    with caplog.at_level(logging.WARNING):
        of_stack(folder, DASK)
        assert "random" not in caplog.text
        of_stack(folder, {"engine": "dask", "dask": "threads", "workers": 2})
    assert "workers have up to 2 threads each, which share the state of NumPy's and Python's random" in caplog.text
