"""Damage to the bytes of files, as disks, networks and people do it.

Every kind takes the bytes, the range in which it strikes and a random generator, and returns other bytes.
"""

from collections.abc import Callable

import numpy as np

HOLE_BYTES = 512  # a sector of a disk
NOISE_BYTES = 64

Damage = Callable[[bytes, range, np.random.Generator], bytes]


def cut(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return the bytes before a random one: a copy that was interrupted."""
    return data[: rng.integers(where.start, where.stop)]


def cut_last(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return all bytes but the last of the range, and those after it."""
    return data[: where.stop - 1]


def hole(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes with a sector of zeros: a sparse copy, a bad sector."""
    return _with(data, bytes(min(HOLE_BYTES, len(where))), _start(where, HOLE_BYTES, rng))


def tail_of_zeros(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes that are zeros from a random one on: a file that has its size, but was not written to its end."""
    start = int(rng.integers(where.start, max(where.start + 1, where.stop - HOLE_BYTES)))
    return _with(data, bytes(where.stop - start), start)


def flip(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes with one bit turned over."""
    position = int(rng.integers(where.start, where.stop))
    return _with(data, bytes([data[position] ^ 1 << int(rng.integers(8))]), position)


def noise(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes with a run of random ones."""
    return _with(data, rng.bytes(min(NOISE_BYTES, len(where))), _start(where, NOISE_BYTES, rng))


def other_sector(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes with a sector from elsewhere in the file: a misplaced write."""
    sector = data[where.start : where.start + min(HOLE_BYTES, len(where) // 2)]
    return _with(data, sector, _start(range(where.start + len(sector), where.stop), len(sector), rng))


def lost(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes without a run of them: what followed moved forward."""
    start = _start(where, NOISE_BYTES, rng)
    return data[:start] + data[start + NOISE_BYTES :]


def inserted(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes with a run of random ones between: what followed moved back."""
    start = int(rng.integers(where.start, where.stop))
    return data[:start] + rng.bytes(NOISE_BYTES) + data[start:]


def as_text(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes as a transfer in text mode leaves them: line feeds got a carriage return."""
    return data.replace(b"\n", b"\r\n")


def appended(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return bytes with others behind them, that no image needs."""
    return data + rng.bytes(int(rng.integers(1, 4096)))


def nothing(data: bytes, where: range, rng: np.random.Generator) -> bytes:
    """Return the bytes as they are."""
    return data


def _start(where, length, rng):
    """Return where a run of bytes begins, so that it lies within a range if it can."""
    return int(rng.integers(where.start, max(where.start + 1, where.stop - length)))


def _with(data, part, position):
    return data[:position] + part + data[position + len(part) :]
