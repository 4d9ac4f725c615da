"""Frames of a stack that are measured, or why they are not."""

import faulthandler
import functools
import os
import signal

import numpy as np
import pytest
import tifffile

from fieldwork import job
from fieldwork.frames import FrameError
from fieldwork.stacks import frames as stack_frames
from fieldwork.stacks import sources


def read_or_crash(frame):
    """Read a frame; one called b.tif crashes the reader. (No patch: a worker may be spawned.)"""
    if frame.path.endswith("b.tif"):
        faulthandler.disable()  # pytest's
        os.kill(os.getpid(), signal.SIGSEGV)
    return stack_frames.read_image(frame)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of images, of which c.tif is broken."""
    for name in "abcd":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((20, 30), 100, "uint16"))
    (tmp_path / "c.tif").write_text("text")
    return tmp_path


def measured(folder, mode):
    """Measure a stack as the script does, in two workers."""
    frames = sources.open_stack(str(folder)).frames
    work = {"function": "numpy.mean", "arguments": {}, "folders": []}
    road = {"read": read_or_crash, "engine": "pool", "mode": mode, "workers": 2}
    frames = job.read_ahead(frames, **road)
    road |= {"failed": stack_frames.failed_frame, "suspects": "the reader or the function"}
    results = job.results_of(functools.partial(stack_frames.measure_frame, **work), frames, **road)
    return job.note_failures(results, frames, label="stack film", noun="frames")


def test_bad_images_of_a_folder_have_the_same_rows_in_every_mode(folder):
    rows, columns = stack_frames.rows_of("film", measured(folder, "paths"), count_nuclei=False)
    assert (rows, columns) == stack_frames.rows_of("film", measured(folder, "fork"), count_nuclei=False)
    errors = [row["Image_Error"] for row in rows]
    assert errors[0] is errors[3] is None and errors[1] == "crashed the reader or the function (SIGSEGV)"
    assert errors[2].startswith("c.tif: not a TIFF")


def test_a_broken_image_of_a_folder_is_named(folder):
    with pytest.raises(FrameError, match="^c.tif: not a TIFF"):
        stack_frames.read_image(sources.open_stack(str(folder)).frames[2])
