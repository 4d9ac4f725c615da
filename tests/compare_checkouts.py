"""Run two checkouts of Fieldwork on the same inputs, and say which of their tables and pictures differ.

    python tests/compare_checkouts.py CHECKOUT_A CHECKOUT_B --data ../shared/data --keep FOLDER

Both are used by their command line and configuration only, so that their modules may be laid out in different ways.
Run this with the Python of a virtual environment that has Fieldwork's packages, or name it with --python. A is the
baseline: what it made stays in the folder given with --keep, and is used again while its commit and the inputs are
the same.

Every file that a run leaves is compared byte by byte, those inside of Zarr stores, too, except for what tells how long
things took: jobs.png, logs/, benchmarks/, the column Slide_Seconds of slides.csv and `seconds` in slide.json; and
for the digest of the code in summary.html, and that, the commit, the machine and the time in settings.json.

    ... --times 5                     # times the plate of 240 fields: 5 pairs of runs, A and B in turn
    ... --dry-run-plates 5000         # times the planning of 5,000 plates: 3 pairs, or as many as --times says

The exit status is 0 if all is equal, 1 if something differs, 2 if a run failed.
"""

import argparse
import csv
import filecmp
import functools
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

GROUPS = ("demo", "real", "plate240")
NOT_COMPARED = {".snakemake", "benchmarks", "config", "logs"}  # folders of a working directory
SHOWN = 20  # differences of a case that are printed

Row = dict[str, str]


class Case(NamedTuple):
    """One run of the workflow: what stands in the `config` folder of its working directory, and its targets."""

    name: str
    group: str
    config: dict  # of config.yaml
    plates: list[Row] = []
    slides: list[Row] = []
    stacks: list[Row] = []
    modules: dict[str, str] = {}  # name of a file -> its text
    targets: tuple[str, ...] = ()


class Checkout(NamedTuple):
    """One of the two, and the Python that runs it."""

    name: str  # a or b
    path: Path
    python: str

    @property
    def state(self) -> str:
        """Its commit; empty where that does not say it all."""
        command = ["git", "-C", str(self.path), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        return "" if found.endswith("-dirty") else found


class Run(NamedTuple):
    """How a run of the workflow went."""

    status: int
    seconds: float
    cpu_seconds: float


def demo() -> list[Case]:
    """What `make demo` does; its sheets and configuration are those of the checkout."""
    scores = tuple(f"results/demo/{name}.txt" for name in ("score", "slide_score", "stack_score"))
    return [Case("demo", "demo", {}, targets=("all", *scores))]


def real(data: Path, inputs: Path) -> list[Case]:
    """The real plates, slides and stacks, with various configurations."""
    folders = {
        "Projection-Mix": data / "plates" / "ImageXpress" / "Projection-Mix",
        **{name.name: name for name in sorted((data / "plates" / "ImageXpress_exported").iterdir())},
        "MD-MULTISITE-TIF": data / "plates" / "MD-MULTISITE-TIF",
    }
    plates = [{"plate": name, "images": str(folder)} for name, folder in folders.items()]
    slides = [
        {"slide": slide_name(path), "path": str(path), "plate": "fluorescence" if path.suffix == ".ndpi" else "others"}
        for path in sorted((data / "slides").iterdir())
    ]
    stacks = [
        {"stack": "mitocheck", "path": str(data / "stacks" / "mitocheck")},
        {"stack": "z step", "path": str(folders["9987_Plate_3434"] / "TimePoint_1" / "ZStep_0")},
        {"stack": "annotated", "path": str(data / "annotated" / "images")},
    ]
    listed = annotated_plates(data, inputs / "lists")
    faint = {"channel": "auto", "sigma": 4, "min_distance": 6, "threshold": 30}  # for 8-bit images
    gaussian = {"function": "skimage.filters.gaussian", "arguments": {"sigma": 2, "preserve_range": True}}
    median = {"function": "median", "arguments": {"behavior": "ndimage"}}
    edges = {"function": "skimage.filters.difference_of_gaussians", "arguments": {"low_sigma": 1, "high_sigma": 30}}
    brightest = (
        "import numpy as np\n\n\ndef brightest(image, percentile):\n"
        '    return {"level": np.percentile(image, percentile), "mean": image.mean()}\n'
    )
    return [
        Case("plates", "real", {}, plates=plates),
        Case(
            "plates_filtered",
            "real",
            {"filters": {"chain": [gaussian]}, "ome_zarr_plate": True, "fan_out": "well"},
            plates=plates,
        ),
        Case(
            "plates_filtered_zarr",
            "real",
            {
                "filters": {"chain": [median, edges], "metrics": ["var", "mean", "ptp"], "save": "zarr"},
                "ome_zarr_plate": True,
                "slide": {"ome_zarr": "0.4", "codec": "lz4"},
                "fan_out": "field",
                "quality": False,
                "pool": {"engine": "serial"},
            },
            plates=[row for row in plates if row["plate"] in ("MD-MULTISITE-TIF", "9987_Plate_3435")],
        ),
        Case(
            "plates_listed",
            "real",
            {"nuclei": faint, "ome_zarr_plate": True, "max_failed_fields": 1, "pool": {"mode": "fork"}},
            plates=listed,
        ),
        Case("slides", "real", {}, slides=slides),
        Case(
            "slides_kept",
            "real",
            {"slide": {"ome_zarr": "0.4", "codec": "keep", "chunk": 256, "tile": 512}},
            slides=slides,
        ),
        Case("stacks", "real", {"stack": {"arguments": {"threshold": 30}}}, stacks=stacks),
        Case("stacks_zarr", "real", {"stack": {"function": "skimage.filters.sobel"}}, stacks=stacks),
        Case(
            "stacks_tiff",
            "real",
            {"stack": gaussian | {"images": "tiff"}, "pool": {"engine": "pool"}},
            stacks=stacks[:2],
        ),
        Case(
            "stacks_numbers",
            "real",
            {"stack": {"function": "spots.brightest", "arguments": {"percentile": 99.9}}, "pool": {"engine": "dask"}},
            stacks=stacks,
            modules={"spots.py": brightest},
        ),
    ]


def plate240(inputs: Path) -> list[Case]:
    """A plate of the size of one of BBBC021's, with default settings."""
    folder = inputs / "plate240"
    write_once(folder, draw_plate)
    row = {"plate": "plate240", "images": str(folder / "images"), "platemap": str(folder / "platemap.csv")}
    return [Case("plate240", "plate240", {}, plates=[row])]


def slide_name(path: Path) -> str:
    """A name for a slide's folder, which must not have every character that a file's name may have."""
    return re.sub(r"[^A-Za-z0-9._+#() -]", "x", path.name)


def annotated_plates(data: Path, folder: Path) -> list[Row]:
    """Image lists of the fields that have no wells in their names: a plate for each shape, as a plate has but one.

    The largest has a platemap with controls and doses. The plate of colour images has failed rows only.
    """
    by_shape: dict[str, list[Path]] = {}
    for kind in ("annotated", "annotated_he"):
        for path in sorted((data / kind / "images").glob("*.png")):
            height, width = png_shape(path)
            by_shape.setdefault(f"{kind} {height}x{width}", []).append(path)
    fields = {name: [{"DNA": path} for path in paths] for name, paths in by_shape.items()}
    human = sorted((data / "cellprofiler" / "ExampleHuman").glob("*.tif"))
    fields["ExampleHuman"] = [dict(zip(("DNA", "PH3", "Cells"), human, strict=True))]

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, images in fields.items():
        lines = []
        for number, channels in enumerate(images):
            site, well = divmod(number, 60)
            line = {"Metadata_Well": well_name(well), "Metadata_Site": str(site + 1)}
            for channel, path in channels.items():
                line |= {f"FileName_{channel}": path.name, f"PathName_{channel}": str(path.parent)}
            lines.append(line)
        write_table(folder / f"{name}.csv", lines)
        rows.append({"plate": name, "images": str(folder / f"{name}.csv"), "platemap": ""})
    largest = max(fields, key=lambda name: len(fields[name]))
    write_platemap(folder / "platemap.csv")
    return [row | {"platemap": str(folder / "platemap.csv")} if row["plate"] == largest else row for row in rows]


def png_shape(path: Path) -> tuple[int, int]:
    """Height and width."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return height, width


def well_name(number: int) -> str:
    """The 60 wells inside the border of a 96-well plate, from B02 to G11, counted from 0."""
    row, column = divmod(number, 10)
    return f"{'BCDEFG'[row]}{column + 2:02}"


def write_platemap(path: Path) -> None:
    """Controls in the first two columns of the 60 wells, and rising doses in the others."""
    wells = [well_name(number) for number in range(60)]
    controls = {"02": "negative", "03": "positive"}
    rows = [
        {
            "well": well,
            "compound": "DMSO" if well.endswith("02") else "planted",
            "concentration_um": "0" if well.endswith("02") else "30" if well.endswith("03") else f"{dose(well):.3g}",
            "control": controls.get(well[1:], ""),
        }
        for well in wells
    ]
    write_table(path, rows)


def dose(well: str) -> float:
    """Micromolar, in steps of half a power of ten."""
    return 10 ** (int(well[1:]) / 2 - 4)


def draw_plate(folder: Path) -> None:
    """Draw 60 wells of 4 fields, uint16: fewer nuclei where the platemap has more of the compound."""
    write_platemap(folder / "platemap.csv")
    (folder / "images").mkdir()
    for number in range(60):
        well = well_name(number)
        concentration = {"02": 0.0, "03": 30.0}.get(well[1:], dose(well))
        for site in range(1, 5):
            rng = np.random.default_rng([number, site])
            image = draw_field(rng, rng.poisson(400 / (1 + (concentration / 1) ** 2)))
            tifffile.imwrite(folder / "images" / f"planted_{well}_s{site}_w1.tif", image)


def draw_field(rng: np.random.Generator, count: int, shape: tuple[int, int] = (1024, 1280)) -> np.ndarray:
    """Nuclei as the demo's: Gaussian blobs on a noisy ground, at least 24 px apart, as each has a square of its own."""
    side, reach = 32, 13
    image = rng.normal(300, 40, shape)
    squares = rng.permutation((shape[0] // side) * (shape[1] // side))[:count]
    centres = np.stack(np.divmod(squares, shape[1] // side), axis=1) * side + side // 2
    centres += rng.integers(-3, 3, centres.shape)
    offsets = np.arange(-reach, reach + 1)
    for (row, column), height in zip(centres, rng.uniform(4000, 12000, len(centres)), strict=True):
        blob = height * np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 5**2))
        image[row - reach : row + reach + 1, column - reach : column + reach + 1] += blob
    return image.clip(0, 65535).astype(np.uint16)


def many_plates(count: int, folder: Path) -> None:
    """Folders of one tiny image each, which is the same file in all of them."""
    image = folder / "tiny.tif"
    tifffile.imwrite(image, draw_field(np.random.default_rng(0), 1, shape=(64, 80)))
    for number in range(count):
        plate = folder / f"P{number:05}"
        plate.mkdir()
        os.link(image, plate / "tiny_B02_s1_w1.tif")


def write_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder unless it exists; it appears when it is complete."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as part:
            made = Path(part, folder.name)
            made.mkdir()
            write(made)
            made.rename(folder)


def write_table(path: Path, rows: Iterable[Row], delimiter: str = ",") -> None:
    """Write rows that all have the same columns, in the same order."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def lay_out(case: Case, checkout: Checkout, work: Path) -> list[str]:
    """Fill a working directory for a run of a checkout, and give the command."""
    work.mkdir(parents=True)
    command = [checkout.python, "-m", "snakemake", "--snakefile", str(checkout.path / "Snakefile")]
    command += ["--directory", str(work), "--cores", "2"]
    if case.group == "demo":
        shutil.copytree(checkout.path / "config" / "demo", work / "config" / "demo")
        command += ["--configfile", str(work / "config" / "demo" / "config.yaml")]
    else:
        (work / "config").mkdir()
        # JSON is YAML as well.
        (work / "config" / "config.yaml").write_text(json.dumps(case.config, indent=1) + "\n", encoding="utf-8")
    for kind, rows in (("plates", case.plates), ("slides", case.slides), ("stacks", case.stacks)):
        if rows:
            write_table(work / "config" / f"{kind}.tsv", rows, delimiter="\t")
    for name, text in case.modules.items():
        (work / "config" / name).write_text(text, encoding="utf-8")
    return command + ["--", *case.targets] * bool(case.targets)


def start(command: list[str], log: Path) -> Run:
    """Run a command to its end. Without bytecode, every job would take longer to start than to work."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SNAKEMAKE_PROFILE")
    }
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with log.open("wb") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(status, seconds, cpu_seconds)


def make(case: Case, checkout: Checkout, folder: Path, *, again: bool) -> Run:
    """Run a case of a checkout in `folder`/`case.name`, or take what an equal run left there."""
    work, mark = folder / case.name, folder / f"{case.name}.json"
    definition = hashlib.sha256(json.dumps([case, checkout.python]).encode()).hexdigest()
    made_by = {"state": checkout.state, "definition": definition}
    if not again and made_by["state"] and mark.exists():
        known = json.loads(mark.read_text())
        if made_by.items() <= known.items():
            return Run(0, known["seconds"], known["cpu_seconds"])
    mark.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    command = lay_out(case, checkout, work)
    run = start(command, folder / f"{case.name}.log")
    if run.status == 0:
        mark.write_text(json.dumps(made_by | run._asdict()))
    return run


def files_of(work: Path) -> dict[str, Path]:
    """What a run left, but for what is not compared, by its path in the working directory."""
    found = {}
    for folder, folders, names in os.walk(work):
        if Path(folder) == work:
            folders[:] = [name for name in folders if name not in NOT_COMPARED]
        for name in names:
            path = Path(folder, name)
            if name != "jobs.png" and not name.endswith(".lock"):
                found[str(path.relative_to(work))] = path
    return found


def rows_without_seconds(path: Path) -> list[list[str]]:
    """The cells of slides.csv without those that tell how long a slide took."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    kept = [place for place, name in enumerate(rows[0]) if name != "Slide_Seconds"]
    return [[row[place] for place in kept] for row in rows]


def facts_without(names: Iterable[str], path: Path) -> str:
    """The text of a JSON file without some of its keys; the order of the others counts."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    return json.dumps({name: fact for name, fact in facts.items() if name not in names})


def difference(a: Path, b: Path) -> str:
    """In which way two files differ; empty if they are equal."""
    if a.name == "slides.csv":
        tables = rows_without_seconds(a), rows_without_seconds(b)
        return "" if tables[0] == tables[1] else first_cell(*tables)
    for name, left_out in (("slide.json", ["seconds"]), ("settings.json", ["digest", "commit", "machine", "time"])):
        if a.name == name:
            return "" if facts_without(left_out, a) == facts_without(left_out, b) else "other facts"
    if a.name == "summary.html":
        moments = r"\bcode [0-9a-f]{16}\b|<p class=\"moment\">.*?</p>"
        pages = [re.sub(moments, "", path.read_text(encoding="utf-8")) for path in (a, b)]
        return "" if pages[0] == pages[1] else "other words or pictures"
    if filecmp.cmp(a, b, shallow=False):
        return ""
    if a.suffix == ".csv":
        with a.open(newline="", encoding="utf-8") as of_a, b.open(newline="", encoding="utf-8") as of_b:
            return first_cell(list(csv.reader(of_a)), list(csv.reader(of_b)))
    ours, theirs = a.read_bytes(), b.read_bytes()
    place = next((place for place, both in enumerate(zip(ours, theirs, strict=False)) if both[0] != both[1]), None)
    return f"{len(ours):,} and {len(theirs):,} bytes" + (f", from byte {place:,} on" if place is not None else "")


def first_cell(a: list[list[str]], b: list[list[str]]) -> str:
    """The first difference of two tables, in words."""
    if a[:1] != b[:1]:
        ours, theirs = (table[0] if table else [] for table in (a, b))
        return f"columns: {sorted(set(ours) ^ set(theirs)) or 'in another order'}"
    for line, (ours, theirs) in enumerate(zip(a, b, strict=False), start=1):
        for column, *cells in zip(a[0], ours, theirs, strict=False):
            if cells[0] != cells[1]:
                return f"line {line}, {column}: {cells[0]!r} and {cells[1]!r}"
    return f"{len(a)} and {len(b)} lines" if len(a) != len(b) else "the way in which cells are written"


def kind_of(path: str) -> str:
    """Under what a file is counted."""
    if re.search(r"\.zarr/", path):
        return "in Zarr stores"
    if path.endswith((".csv", ".parquet", ".json")):
        return "tables"
    return "pictures" if path.endswith(".png") else "other files"


def compare(a: Path, b: Path) -> tuple[Counter[str], list[str]]:
    """Count the files of two working directories by kind, and list what differs."""
    of_a, of_b = files_of(a), files_of(b)
    differences = []
    for name in sorted(of_a.keys() | of_b.keys()):
        if name not in of_a or name not in of_b:
            differences.append(f"{name}: only in {'b' if name not in of_a else 'a'}")
        elif told := difference(of_a[name], of_b[name]):
            differences.append(f"{name}: {told}")
    return Counter(map(kind_of, of_a)), differences


def compare_all(cases: list[Case], a: Checkout, b: Checkout, root: Path) -> int:
    """Run all cases, print what differs, and give the exit status."""
    status, counts, seconds = 0, Counter(), Counter()
    for checkout in (a, b):
        (root / checkout.name).mkdir(parents=True, exist_ok=True)
    for case in cases:
        runs = {each.name: make(case, each, root / each.name, again=each is b) for each in (a, b)}
        for name, run in runs.items():
            seconds[name] += run.seconds
        took = ", ".join(f"{name} {run.seconds:.1f} s" for name, run in runs.items())
        failed = [name for name, run in runs.items() if run.status]
        if failed:
            say(f"{case.name}: FAILED in {' and '.join(failed)} ({took})")
            for name in failed:
                log = root / name / f"{case.name}.log"
                say(f"  {log}:", *(f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-15:]))
            status = 2
            continue
        found, differences = compare(root / "a" / case.name, root / "b" / case.name)
        counts += found
        told = f"{len(differences)} DIFFER" if differences else "equal" if found else "NOTHING to compare"
        say(f"{case.name}: {told}; {in_words(found)} ({took})", *(f"  {each}" for each in differences[:SHOWN]))
        if len(differences) > SHOWN:
            say(f"  and {len(differences) - SHOWN} more")
        if differences or not found:
            status = max(status, 1)
    verdict = ("All equal", "Something differs", "A run failed")[status]
    took = ", ".join(f"{name} {total:.0f} s" for name, total in seconds.items())
    say(f"{verdict}: {in_words(counts)} in {len(cases)} run(s) of each ({took})")
    return status


def in_words(counts: Counter[str]) -> str:
    """Return in words how many files of which kind there are."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    return f"{counts.total():,} files" + (f" ({kinds})" if kinds else "")


def time_pairs(case: Case, a: Checkout, b: Checkout, root: Path, *, pairs: int, dry: bool) -> int:
    """Run a case some times with each checkout in turn, each time in a new folder; print medians and their ratio."""
    runs: dict[str, list[Run]] = {"a": [], "b": []}
    for checkout in (a, b):  # the first run should not be the one that compiles
        subprocess.run([checkout.python, "-m", "compileall", "-q", str(checkout.path / "scripts")], check=True)
    for pair in range(pairs):
        for checkout in (a, b) if pair % 2 == 0 else (b, a):
            with tempfile.TemporaryDirectory(prefix="timed.", dir=root) as folder:
                work, log = Path(folder, "work"), Path(folder, "log")
                run = start(lay_out(case, checkout, work) + ["--dry-run"] * dry, log)
                if run.status:
                    say(f"{checkout.name}: FAILED", *log.read_text(errors="replace").splitlines()[-15:])
                    return 2
            runs[checkout.name].append(run)
            say(f"pair {pair + 1}: {checkout.name} {run.seconds:.2f} s, {run.cpu_seconds:.2f} s of processor")
    for field, meaning in (("seconds", "time"), ("cpu_seconds", "processor time")):
        median = {name: statistics.median(getattr(run, field) for run in those) for name, those in runs.items()}
        ratio = median["b"] / median["a"]
        say(f"median {meaning}: a {median['a']:.2f} s, b {median['b']:.2f} s, ratio b/a {ratio:.3f} ({pairs} pairs)")
    return 0


def say(*lines: str) -> None:
    """Print, also where the output goes to a file that someone follows."""
    print(*lines, sep="\n", flush=True)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, metavar="CHECKOUT_A", help="the baseline")
    parser.add_argument("b", type=Path, metavar="CHECKOUT_B", help="what is compared with it")
    parser.add_argument("--data", type=Path, required=True, help="the folder of real images")
    parser.add_argument("--python", default=sys.executable, help="Python with Fieldwork's packages (default: this one)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where inputs and results stay (default: deleted)")
    parser.add_argument("--only", choices=GROUPS, action="append", help="these inputs; may be given again")
    parser.add_argument("--times", type=int, metavar="N", help="time N pairs of runs in place of comparing")
    parser.add_argument("--dry-run-plates", type=int, metavar="N", help="time the planning of N plates")
    options = parser.parse_args()

    python = shutil.which(options.python)
    for checkout in (options.a, options.b):
        if not (checkout / "Snakefile").is_file():
            parser.error(f"{checkout}: no checkout of Fieldwork, as it has no Snakefile")
    if not python or subprocess.run([python, "-c", "import snakemake"], capture_output=True).returncode:
        parser.error(f"{options.python}: cannot import snakemake; name a virtual environment's Python with --python")
    python = os.path.abspath(python)  # not resolved: a virtual environment is known by the link
    a, b = Checkout("a", options.a.resolve(), python), Checkout("b", options.b.resolve(), python)
    with tempfile.TemporaryDirectory(prefix="fieldwork-compare.") as temporary:
        root = (options.keep or Path(temporary)).resolve()
        inputs = root / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        if options.dry_run_plates:
            folder = inputs / f"plates{options.dry_run_plates}"
            write_once(folder, functools.partial(many_plates, options.dry_run_plates))
            rows = [{"plate": path.name, "images": str(path)} for path in sorted(folder.iterdir()) if path.is_dir()]
            case = Case("plan", "plan", {}, plates=rows)
            return time_pairs(case, a, b, root, pairs=options.times or 3, dry=True)
        if options.times:
            [case] = plate240(inputs)
            return time_pairs(case, a, b, root, pairs=options.times, dry=False)
        cases = []
        for group in options.only or GROUPS:
            cases += {
                "demo": demo,
                "real": functools.partial(real, options.data.resolve(), inputs),
                "plate240": functools.partial(plate240, inputs),
            }[group]()
        return compare_all(cases, a, b, root)


if __name__ == "__main__":
    sys.exit(main())
