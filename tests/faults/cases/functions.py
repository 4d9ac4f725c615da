"""Cases of what functions of the user's do: one frame each."""

from collections.abc import Iterator

from faults.catalogue import Failed, FunctionCase, Returns

GOOD = "return {'value': 7.0}"
UNTOLD = """class Untold(Exception):
        def __str__(self):
            raise ValueError("no text")
    raise Untold"""
OF_ANOTHER = """try:
        1 / 0
    except Exception as error:
        raise ValueError("of this frame") from error"""
BODIES: dict[str, tuple[str, Returns | Failed]] = {
    "nothing odd": (GOOD, Returns(7)),
    "an error": ("raise ValueError('of this frame')", Failed("of this frame")),
    "Ctrl-C": ("raise KeyboardInterrupt", Failed("KeyboardInterrupt")),
    "an exit": ("raise SystemExit(0)", Failed("SystemExit")),
    "an exit with words": ("import sys; sys.exit('of this frame')", Failed("SystemExit|of this frame")),
    "a generator's end": ("raise GeneratorExit", Failed("GeneratorExit")),
    "an iterator's end": ("raise StopIteration", Failed("StopIteration")),
    "no memory": ("raise MemoryError", Failed("MemoryError|memory")),
    "much too much memory": ("return {'value': float(bytearray(2**50)[0])}", Failed("MemoryError|memory")),
    "endless recursion": ("def again(): return again()\n    again()", Failed("RecursionError|recursion")),
    "an error without a text": (UNTOLD, Failed("Untold")),
    "an error of 10 MB": ("raise ValueError('of this frame' * 800_000)", Failed("of this frame")),
    "an error of several lines": ("raise ValueError('of\\nthis\\nframe')", Failed(r"of\s+this\s+frame")),
    "an error with odd signs": ("raise ValueError('of \\udcff this \\x00 frame')", Failed("of .* this .* frame")),
    "an error that no process can send": ("raise ValueError(lambda: 7)", Failed("lambda")),
    "an error of its own class": ("class Own(BaseException): pass\n    raise Own('of this frame')", Failed("Own")),
    "a group of errors": ("raise ExceptionGroup('of this frame', [ValueError(1)])", Failed("of this frame")),
    "a cancelled task": ("import asyncio; raise asyncio.CancelledError", Failed("CancelledError")),
    "an error of an error": (OF_ANOTHER, Failed("of this frame")),
    "a closed pipe": ("raise BrokenPipeError('of this frame')", Failed("BrokenPipeError|of this frame")),
    "a division by zero": ("1 / 0", Failed("ZeroDivisionError|division")),
    "another folder": ("import os; os.chdir('/'); " + GOOD, Returns(7)),
    "another image": ("image[:] = 0; " + GOOD, Returns(7)),
    "1 MB of print": ("print('x' * 10**6); " + GOOD, Returns(7)),
    "warnings": ("import warnings; warnings.warn('of this frame'); " + GOOD, Returns(7)),
    "no value": ("return None", Failed("None|return")),
    "text": ("return 'seven'", Failed("text|str|seven|return")),
    "a list": ("return [1, 2]", Failed("list|return")),
    "text in place of a number": ("return {'value': 'seven'}", Failed("text|str|seven|return|number")),
}


def cases() -> Iterator[FunctionCase]:
    """Yield every case of a function."""
    for name, (code, must) in BODIES.items():
        yield FunctionCase("Functions of the user", name, code, must)
