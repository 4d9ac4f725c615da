"""The run that downloads and unpacks all archives."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults.catalogue import ArchiveCase, NoTables, Verdict
from faults.snakemake_runs import run, wrong_end

COLUMNS = ("plate", "images", "url", "size", "checksum")


def run_archives(folder: Path, cases: Sequence[ArchiveCase]) -> Iterator[Verdict]:
    """Download cases as plates, and yield a verdict on each."""
    work = folder / "a/b/c"  # room above for what would leave its folder
    (work / "config").mkdir(parents=True)
    (folder / "archives").mkdir()
    rows = ["\t".join(COLUMNS)]
    for number, case in enumerate(cases):
        archive = folder / f"archives/P{number}{case.suffix}"
        archive.write_bytes(case.content)
        cells = {"plate": f"P{number}", "images": f"images/P{number}", "url": archive.as_uri(), **case.further}
        rows.append("\t".join(cells.get(column, "") for column in COLUMNS))
    (work / "config/plates.tsv").write_text("\n".join([*rows, ""]))
    ended = run(work, "--keep-going", "download")
    yield Verdict("Runs", "archives, some of which are broken", wrong_end(ended, status=1))
    gone = [path for path in folder.rglob("*gone*")] + [path for path in Path("/tmp").glob("gone.tif")]
    yield Verdict("Runs", "archives, nothing outside of their folders", ", ".join(map(str, gone)))
    for number, case in enumerate(cases):
        said = [line for line in ended.printed.splitlines() if re.search(rf"\bP{number}\b", line)]
        yield Verdict(case.category, case.name, _wrong(work / f"images/P{number}", case.must, "\n".join(said)))


def _wrong(images, must, said):
    """Return what is wrong with the folder of a plate."""
    files = {path.name: path.read_bytes() for path in images.rglob("*.tif")} if images.exists() else {}
    if isinstance(must, NoTables):
        if files:
            return f"{len(files)} files, where there must be none"
        return "" if re.search(must.message, said) else f"said: {said[-300:]}"
    return "" if files == must.files else f"{len(files)} files, not {len(must.files)}, or other bytes"
