"""The methods that outline nuclei with a calibration, and which of them `auto` is."""

from collections.abc import Mapping

METHODS = ("auto", "classical", "network")
AUTO = "network"  # what `auto` is: docs/network.md compares the two
BUILT_IN = "built-in"  # the model of the network that Fieldwork comes with


def detector_of(method: str | None) -> str | None:
    """Return what finds the nuclei of one of `METHODS`: classical or network; other methods as they are."""
    return AUTO if method == "auto" else method


def takes_model(detection: Mapping) -> bool:
    """Return True if nuclei are found by the network; `detection` is from `methods.detection_of`, or empty."""
    return detector_of(detection.get("method")) == "network"
