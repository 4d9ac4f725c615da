"""Nuclei with outlines in one image of a plate or a stack, and the calibration that they are found with."""
