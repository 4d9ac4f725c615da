"""Cases of image files: every container with every kind of damage, as fields of plates."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from faults import damage, pictures
from faults.catalogue import DAMAGED, MISSING_BYTES, Failed, FieldCase, Good, random_numbers

# How often a kind of damage strikes a container, with another seed every time.
KINDS: dict[damage.Damage, int] = {
    damage.nothing: 1,
    damage.cut: 2,
    damage.cut_last: 1,
    damage.hole: 3,
    damage.tail_of_zeros: 2,
    damage.flip: 2,
    damage.noise: 2,
    damage.other_sector: 1,
    damage.lost: 1,
    damage.inserted: 1,
    damage.as_text: 1,
    damage.appended: 1,
}
SHORTER = (damage.cut, damage.cut_last)
LOSES_PIXELS = (damage.hole, damage.tail_of_zeros)


def cases() -> Iterator[FieldCase]:
    """Yield every case of a damaged image file."""
    for container in pictures.CONTAINERS:
        for kind, count in KINDS.items():
            if _has_an_answer(container, kind):
                yield from (_case(container, kind, number) for number in range(count))


def _has_an_answer(container, kind):
    """Return True if it is known what must happen."""
    if container.category == "TIFF, uncompressed":
        # Bytes that move take tags along, or metadata behind the pixels.
        moves = kind in (damage.lost, damage.inserted) and container.name == "OME"
        return kind is not damage.as_text and not moves
    return not (container.category == "BMP" and kind is damage.as_text)  # its header moves, too


def _case(container, kind, number):
    """Return the case of a container and a kind of damage."""
    rng = random_numbers(container.category, container.name, kind.__name__, number)
    image = pictures.picture(container.plate, rng)
    before = container.write(image)
    parts = pictures.pixels_in(container, before)
    after = kind(before, range(parts[0].start, parts[-1].stop), rng)
    seen = pictures.seen_in(container, after, before)
    if container.category in ("JPEG", "TIFF, JPEG") and kind in LOSES_PIXELS:
        seen = None  # zeros are no compressed pixels, even where libjpeg ends at the right place by chance
    must = Good(seen) if seen is not None else Failed(MISSING_BYTES if kind in SHORTER else DAMAGED)
    if seen is not None and not np.isfinite(seen).all():
        must = Failed(r"NaN|infinite")
    name = f"{container.name}, {kind.__name__.replace('_', ' ')} {number + 1}"
    return FieldCase(container.category, name, container.plate, container.suffix, _writer(after), must)


def _writer(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data)
