"""What makes the count of an image doubtful, and the columns of that and of its threshold. Imports nothing large."""

from typing import NamedTuple

THRESHOLD_COLUMN = "Threshold_FinalThreshold_Nuclei"
# Of plates and stacks; others (`plate_flags`) are of plates alone.
FLAG_COLUMNS = {"Flag_OutOfFocus": "out_of_focus", "Flag_Saturated": "saturated", "Flag_UnlikePlate": "unlike_plate"}


class Flags(NamedTuple):
    """What makes the count of an image doubtful; None where that was not looked for."""

    out_of_focus: bool | None = None
    saturated: bool | None = None
    unlike_plate: bool | None = None  # or its stack
