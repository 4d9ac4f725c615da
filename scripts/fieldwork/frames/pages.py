"""Pages of TIFF files: where they are, and whether they are complete."""

import math
import os
import struct
from typing import BinaryIO

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.decoding.segments import FAX_COMPRESSIONS
from fieldwork.frames.files import refuse_large

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FIRST_PRIVATE_TAG = 2**15
TAG_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # by type of tag: TIFF 6.0, then BigTIFF


def page_offsets(file: BinaryIO) -> tuple[list[int], int, str | None]:
    """Follow the chain of a TIFF file's pages: tifffile drops those after a break without a warning.

    Parameters
    ----------
    file : binary file

    Returns
    -------
    offsets : list of int
        Where the directories of the complete pages begin.
    following : int
        Where the directory of the damaged page after them should begin; 0 if there is none.
    fault : str or None
        What is wrong with that page.

    Raises
    ------
    FrameError
        The chain is a circle, which tifffile would follow forever.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(16)
    formats = ("Q", "Q", "HHQQ") if b"+" in head[2:4] else ("I", "H", "HHII")
    word, counter, entry = (struct.Struct("<>"[head.startswith(b"MM")] + code) for code in formats)
    (offset,) = word.unpack_from(head, word.size)
    seen = {}
    while offset:
        if offset in seen:
            raise FrameError(f"damaged: the list of its {len(seen)} pages goes in a circle")
        if offset + counter.size > size:
            return list(seen), offset, f"truncated: page {len(seen) + 1} begins at byte {offset} of {size}"
        file.seek(offset)
        (tags,) = counter.unpack(file.read(counter.size))
        ends = [offset + counter.size + tags * entry.size + word.size]
        table = file.read(ends[0] - file.tell()) if ends[0] <= size else b""
        for code, kind, count, value in entry.iter_unpack(table[: -word.size]):
            value_bytes = TAG_TYPE_BYTES[kind] if kind < len(TAG_TYPE_BYTES) else 0
            if code >= FIRST_PRIVATE_TAG:  # they may mean anything
                continue
            if not value_bytes:  # tifffile would read the page without it
                return list(seen), offset, f"damaged: tag {code} of page {len(seen) + 1} is of no type that TIFF has"
            if count * value_bytes > word.size:
                ends.append(value + count * value_bytes)
        if max(ends) > size:
            return list(seen), offset, f"truncated: page {len(seen) + 1} goes on to byte {max(ends)} of {size}"
        seen[offset] = True
        (offset,) = word.unpack(table[-word.size :])
    return list(seen), 0, None


def check_page(page: tifffile.TiffPage | tifffile.TiffFrame, size: int) -> None:
    """Raise FrameError, before anything is allocated, unless a page is complete in a file of ``size`` bytes."""
    key = page.keyframe
    if key.dtype is None or key.dtype.kind == "c" or key.axes not in ("YX", "YXS", "SYX"):
        kind = f"axes {key.axes}, {key.bitspersample} bits, sample format {key.sampleformat!r}"
        raise FrameError(f"pixels of {kind}; expected real numbers in rows and columns")
    if key.compression in FAX_COMPRESSIONS:
        raise FrameError(
            f"compressed as a fax ({key.compression!r}), where damage goes unseen; save it as Deflate or LZW"
        )
    refuse_large(key.shaped, value_bytes=key.dtype.itemsize)
    if key.is_tiled:
        refuse_large((key.tilelength, key.tilewidth))
    offsets, counts, needed = page.dataoffsets, page.databytecounts, math.prod(key.chunked)
    segments = "tiles" if key.is_tiled else "strips"
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    if len(ends) < (1 if key.is_contiguous else needed):
        raise FrameError(f"damaged: its directory lists {len(ends)} of {needed} {segments}")
    if (surplus := _listed(key) - needed) > 0:
        raise FrameError(
            f"damaged: its directory lists {needed + surplus} {segments}, and a size that needs {needed} of them"
        )
    if not all(offsets) or not all(counts):
        empty = sum(not (offset and count) for offset, count in zip(offsets, counts, strict=False))
        raise FrameError(f"damaged: {empty} of {needed} {segments} are without data")
    complete = sum(end <= size for end in ends)
    if key.is_contiguous:
        ends = [offsets[0] + key.nbytes]
    elif key.compression == 1:
        ends.append(math.prod(key.shaped) * int(np.max(key.bitspersample)) // 8)
    if max(ends) > size:
        after = f" after {complete} of {needed} {segments}" if needed > 1 and complete < needed else ""
        raise FrameError(f"truncated{after}: its pixels go on to byte {max(ends)}, the file has {size}")


def _listed(key):
    """Return how many strips or tiles the tags of a page list; 0 where more than one may make one piece."""
    offsets, counts = (key.tags.valueof(code) or key.tags.valueof(other) for code, other in ((324, 273), (325, 279)))
    if not offsets or not counts or key.is_ndpi or key.is_lsm:  # whose pieces are others
        return 0
    is_one_piece = all(
        start + count == after for start, count, after in zip(offsets, counts, offsets[1:], strict=False)
    )
    return 0 if key.compression == 1 and is_one_piece and sum(counts) == key.nbytes else len(offsets)
