"""What the calibration of a stack knows of its frames."""

import os

import numpy as np

from fieldwork import segmentation
from fieldwork.detection import calibration as detection_calibration
from fieldwork.segmentation.sampling import Reading
from fieldwork.stacks.frames import MeasuredFrame, form_of
from fieldwork.stacks.sources import StackFrame


def measure_image(frame: StackFrame, image: np.ndarray) -> Reading:
    """Measure what a frame of the sample tells."""
    return Reading(frame, form=form_of(image), sample=segmentation.measure_sample(image))


def position_of(frame: StackFrame) -> dict:
    """Return which frame of its stack a frame is, and of a folder its file."""
    file = {"file": os.path.basename(frame.path)} if frame.kind == "image" else {}
    return {"frame": frame.index, **file}


def title_of(measured: MeasuredFrame) -> str:
    """Return the title of a frame in the picture: its number, and how many nuclei it has."""
    return f"frame {measured.index}: {detection_calibration.counted_nuclei(measured)}"
