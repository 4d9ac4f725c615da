"""Nuclei with outlines: what a typical nucleus of a plate is like, and where every nucleus of an image lies."""

from fieldwork.segmentation.calibration import Calibration, Sample, calibrate, calibration_of, measure_sample
from fieldwork.segmentation.detector import Segmentation, segment_field, segment_nuclei
from fieldwork.segmentation.figures import Figures

__all__ = [
    "Calibration",
    "Figures",
    "Sample",
    "Segmentation",
    "calibrate",
    "calibration_of",
    "measure_sample",
    "segment_field",
    "segment_nuclei",
]
