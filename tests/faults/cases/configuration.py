"""Cases of configuration files that must be refused, with the file and the key or the line."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.catalogue import RefusalCase, Refused

SHEET = "plate\timages\nP1\timages\n"
FILE = r"config/config\.yaml"

NUMBERS = (
    *("nuclei.sigma", "nuclei.min_distance", "nuclei.threshold", "nuclei.diameter", "nuclei.contrast"),
    *("max_failed_fields", "slide.chunk", "slide.level", "screen.min_nuclei", "flags.deviations", "stack.z"),
)
NO_NUMBERS = {
    "400 digits": "9" * 400,
    "5,000 digits as text": f"'{'9' * 5000}'",
    "5,000 digits": "9" * 5000,
    "no number": ".nan",
    "infinity": ".inf",
    "1e999": "1e999",
    "a truth value": "true",
    "a list": "[1]",
    "a section": "{a: 1}",
    "text": "many",
    "a date": "2026-11-30",
}
TEXTS = ("fan_out", "on_bad_image", "pool.engine", "pool.mode", "device", "stack.images", "slide.codec", "illumination")
NO_CHOICES = {
    "a number": "7",
    "an unknown word": "sideways",
    "a list": "[plate]",
    "a section": "{a: b}",
    "null": "null",
}


def cases() -> Iterator[RefusalCase]:
    """Yield every case of a configuration."""
    for key in NUMBERS:
        for name, value in NO_NUMBERS.items():
            if not (key == "stack.z" and name == "400 digits"):
                yield _case("Configuration, numbers", f"{key}: {name}", _nested(key, value), re_of(key))
    for key in TEXTS:
        for name, value in NO_CHOICES.items():
            yield _case("Configuration, words", f"{key}: {name}", _nested(key, value), re_of(key))
    for name, (text, message) in _texts().items():
        yield _case("Configuration, files", name, text, message)
    for name, (write, message) in _kinds_of_files().items():
        yield RefusalCase("Configuration, files", name, _writer(write), Refused(message))


def re_of(key: str) -> str:
    """Return a pattern of a key with the file, or the line, that it stands in."""
    return rf"{FILE}.*{key.replace('.', '[.]')}|{FILE}, line \d+"


def _nested(key, value):
    """Return the YAML of a dotted key."""
    first, _, last = key.rpartition(".")
    return f"{first}: {{{last}: {value}}}\n" if first else f"{last}: {value}\n"


def _texts():
    """Return name -> content of config.yaml, and what the refusal says."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, letter in zip("abcdefg", "bcdefgh", strict=True)
    )
    return {
        "an anchor that holds itself": ("stack: {function: skimage.filters.sobel, arguments: &x {a: *x}}\n", FILE),
        "a list that holds itself": ("screen: {readouts: &x [*x]}\n", FILE),
        "aliases eight deep": (bomb, FILE),
        "aliases eight deep in arguments": (
            f"{bomb}stack: {{function: skimage.filters.sobel, arguments: {{a: *h}}}}\n",
            FILE,
        ),
        "3,000 brackets": (f"nuclei: {'[' * 3000}{']' * 3000}\n", FILE),
        "3,000 open brackets": ("nuclei: " + "[" * 3000, FILE),
        "3,000 sections": ("nuclei: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n", FILE),
        "a bracket that is not closed": ("nuclei: {sigma: 4\n", rf"{FILE}, line \d+"),
        "a tab in front": ("nuclei:\n\tsigma: 4\n", rf"{FILE}, line 2"),
        "a key twice": ("fan_out: well\nfan_out: plate\n", rf"{FILE}, line 2.*fan_out"),
        "a key twice below": ("nuclei: {sigma: 4, sigma: 5}\n", rf"{FILE}, line 1.*sigma"),
        "an anchor that nobody defined": ("nuclei: *nothing\n", rf"{FILE}, line 1"),
        "two documents": ("fan_out: well\n---\nfan_out: plate\n", rf"{FILE}"),
        "a list at the top": ("- fan_out\n", FILE),
        "a word at the top": ("fan_out\n", FILE),
        "a number at the top": ("7\n", FILE),
        "a date that is none": ("results: 2026-13-45\n", FILE),
        "a date": ("results: 2026-11-30\n", rf"{FILE}.*results"),
        "a Python object": ("nuclei: !!python/object/apply:os.system [touch gone]\n", rf"{FILE}, line 1"),
        "a tag that nobody knows": ("nuclei: !unknown {sigma: 4}\n", rf"{FILE}, line 1"),
        "a set": ("nuclei: !!set {sigma}\n", rf"{FILE}.*nuclei"),
        "bytes": ("results: !!binary aGVsbG8=\n", rf"{FILE}.*results"),
        "pairs": ("nuclei: !!pairs [sigma: 4]\n", rf"{FILE}.*nuclei"),
        "a key that is a list": ("? [a, b]\n: 1\n", FILE),
        "a key that is a section": ("? {a: b}\n: 1\n", FILE),
        "a key that is null": ("null: 1\nnuclei: {~: 4}\n", FILE),
        "a key that is a number below": ("nuclei: {4: 4}\n", rf"{FILE}.*nuclei"),
        "an unknown key below": ("nuclei: {sgima: 4}\n", rf"{FILE}.*sgima"),
        "merge keys": ("nuclei: {<<: 7}\n", FILE),
        "a null byte": ("nuclei: {sigma: 4}\0\n", FILE),
        "a control character": ("nuclei: {sigma: \x07}\n", FILE),
        "not UTF-8": (b"results: caf\xe9\n", FILE),
        "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), FILE),
        "a version that is no YAML": ("%YAML 9.9\n---\nfan_out: sideways\n", FILE),
        "a regular expression that is none": ("layouts: {mine: '('}\n", rf"{FILE}.*mine|layouts.*mine"),
        "a regular expression without wells": ("layouts: {mine: 'a'}\n", r"mine.*well"),
        "results that are a pattern": ("results: 'r{x}'\n", rf"{FILE}.*results"),
        "results without a name": ("results: ''\n", rf"{FILE}.*results"),
        "results in a device": ("results: /dev/null/x\n", r"results.*/dev/null|/dev/null.*results"),
        "results in a file": ("results: config/plates.tsv/x\n", r"results.*plates\.tsv|plates\.tsv.*results"),
        "results with a name of 300 letters": (f"results: {'r' * 300}\n", r"results"),
        "results in another user's home": ("results: ~nobody-of-this-name/x\n", r"results|nobody-of-this-name"),
        "results with a null byte": ('results: "a\\0b"\n', rf"{FILE}.*results|results"),
        "results at a URL": ("results: s3://bucket/x\n", r"results.*s3://"),
        "a sheet that does not exist": ("plates: config/none.tsv\n", r"config/none\.tsv"),
        "a sheet that is a folder": ("plates: config\n", r"^config: .*([Ff]older|[Dd]irectory)"),
        "a sheet that is a device": ("plates: /dev/zero\n", r"/dev/zero"),
        "a sheet with a name of 300 letters": (f"plates: {'p' * 300}.tsv\n", r"p{300}"),
        "a sheet below a file": ("plates: config/plates.tsv/x\n", r"plates\.tsv/x"),
        "a sheet with a null byte": ('plates: "a\\0b"\n', r"plates|null|does not exist"),
        "a function that does not exist": ("nuclei: {method: nowhere.nothing}\n", r"nowhere"),
        "a function that is none": ("nuclei: {method: os.path.sep}\n", r"os\.path\.sep"),
        "a channel twice": ("channels: {w1: DNA, W1: Actin}\n", rf"{FILE}.*channels"),
        "controls of both kinds": ("controls: {negative: [a], positive: [A]}\n", rf"{FILE}.*controls"),
        "a shard that is no multiple": ("slide: {chunk: 512, shard: 600}\n", rf"{FILE}.*slide\.shard"),
        "a scheduler without an address": ("pool: {engine: dask, dask: nowhere}\n", rf"{FILE}.*pool\.dask"),
        "keys of two methods": ("nuclei: {method: auto, sigma: 4}\n", rf"{FILE}.*sigma"),
        "a filter that does not exist": ("filters: {chain: [{function: nothing}]}\n", r"nothing"),
        "a metric that does not exist": ("filters: {chain: [{function: gaussian}], metrics: [nothing]}\n", r"nothing"),
    }


def _kinds_of_files():
    """Return name -> function that writes something in the place of config.yaml, and what the refusal says."""
    return {
        "a folder": (Path.mkdir, FILE),
        "a pipe": (os.mkfifo, FILE),
        "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), FILE),
        "a link to a pipe": (lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")), FILE),
        "a link to itself": (lambda path: path.symlink_to(path.name), FILE),
        "a link to nothing": (lambda path: path.symlink_to("gone.yaml"), FILE),
        "a terabyte of nothing": (_sparse, FILE),
    }


def _sparse(path):
    path.touch()
    os.truncate(path, 2**40)


def _case(category, name, content, message):
    def write(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return RefusalCase(category, name, _writer(write), Refused(message))


def _writer(write_config: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return a function that writes a folder with a good sheet and this configuration."""

    def write(folder: Path) -> None:
        (folder / "images").mkdir()
        (folder / "images/X_B02_s1_w1.tif").write_bytes(b"not opened")
        (folder / "config/plates.tsv").write_text(SHEET)
        write_config(folder / "config/config.yaml")

    return write
