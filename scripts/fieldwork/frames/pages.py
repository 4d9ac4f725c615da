"""Pages of TIFF files: where they are, and whether they are complete."""

import math
import operator
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
    is_plain = key.axes in ("YX", "YXS", "SYX") and key.samplesperpixel
    if key.dtype is None or key.dtype.kind == "c" or not is_plain:
        kind = f"axes {key.axes}, {key.samplesperpixel} x {key.bitspersample} bits, sample format {key.sampleformat!r}"
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
    _check_listed(key, len(ends), needed, segments)
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


def _check_listed(key, listed, needed, segments):
    """Raise FrameError if a page lists more or fewer strips or tiles than its size needs, or strips of other rows."""
    offsets, counts = (key.tags.valueof(code, key.tags.valueof(other)) for code, other in ((324, 273), (325, 279)))
    has_own_pieces = key.is_stk or key.is_lsm or key.is_ndpi or offsets is None or counts is None
    if not has_own_pieces:
        listed = min(len(offsets), len(counts))
    if listed < (1 if has_own_pieces and key.is_contiguous else needed):
        raise FrameError(f"damaged: its directory lists {listed} of {needed} {segments}")
    if has_own_pieces or listed == 1:
        return
    ends = map(operator.add, offsets, counts)
    is_one_piece = key.compression == 1 and sum(counts) == key.nbytes and all(map(operator.eq, ends, offsets[1:]))
    if listed > needed and not is_one_piece:
        raise FrameError(f"damaged: its directory lists {listed} {segments}, and a size that needs {needed} of them")
    if is_one_piece and listed == needed and not key.is_tiled:  # it is read without a look at its strips
        planes = key.samplesperpixel if key.planarconfig == 2 else 1
        first = key.nbytes // (key.imagelength * planes) * key.rowsperstrip
        if counts[0] != first:
            raise FrameError(
                f"damaged: its first strip has {counts[0]} bytes; its {key.rowsperstrip} rows need {first}"
            )
