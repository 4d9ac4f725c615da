"""Run the corpus and write the table of docs/reliability.md: `make test-faults`.

`python -m faults.report BATCH ...` runs some batches, prints what was wrong, and writes nothing.
"""

import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faults.catalogue import SEED, Verdict
from faults.corpus import batches, run_all
from workspace import REPOSITORY

PAGE = REPOSITORY / "docs/reliability.md"
LONGEST_REASON = 300  # characters; the end of a traceback says most
TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end of the table -->)", re.DOTALL)


def table_of(verdicts: Sequence[Verdict]) -> str:
    """Return the table of categories: how many cases each has, and how many held."""
    tried = Counter(verdict.category for verdict in verdicts)
    held = Counter(verdict.category for verdict in verdicts if not verdict.wrong)
    lines = [f"| {category} | {count} | {held[category]} |" for category, count in tried.items()]
    total = f"| all, seed {SEED} | {len(verdicts)} | {held.total()} |"
    return "\n".join(["| category | tried | held |", "|---|---|---|", *sorted(lines), total, ""])


def main(names: Sequence[str]) -> int:
    """Run all batches, or those of some names; return the exit status."""
    chosen = [batch for batch in batches() if not names or batch.name in names]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        verdicts = run_all(Path(folder), chosen)
    wrong = [verdict for verdict in verdicts if verdict.wrong]
    for verdict in wrong:
        print(f"{verdict.category} | {verdict.name} | {' '.join(verdict.wrong.split())[-LONGEST_REASON:]}")
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} cases held, in {time.monotonic() - start:.0f} s")
    if not names:
        PAGE.write_text(TABLE.sub(lambda _: table_of(verdicts), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
