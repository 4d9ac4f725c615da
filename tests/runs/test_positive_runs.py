"""Runs of a planted screen: the share of positive nuclei is the planted one, at every dose and exposure."""

import subprocess
import sys

import pandas as pd
import pytest

from workspace import REPOSITORY, Workspace

SCREEN = REPOSITORY.parent / "shared/cases/plates/screen.py"
VALUES = {"rep1": 0.0153, "rep2": 0.0092}  # 1000 and 600 of 65535; marked nuclei have 2000 and 1000, others 320 and 220


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """The two planted plates of a screen, of which the second one has half the exposure."""
    if not SCREEN.exists():
        pytest.skip(f"no {SCREEN}")
    folder = tmp_path_factory.mktemp("screen")
    subprocess.run([sys.executable, str(SCREEN), str(folder)], check=True)
    return folder / "screen"


@pytest.mark.parametrize("plate", VALUES)
def test_the_share_of_positive_nuclei_is_the_planted_one_at_every_dose(screen, plate):
    workspace = Workspace(screen)
    sheet = f"plate\timages\tplatemap\n{plate}\t{plate}\t{plate}_map.csv\n"
    (screen / "config/plates.tsv").write_text(sheet)
    workspace.run("tables", "--config", f"results=results_{plate}", f"positive={{w2: {VALUES[plate]}}}")
    wells = pd.read_parquet(screen / f"results_{plate}/plates/{plate}/wells.parquet")
    truth = pd.read_csv(screen / "truth.csv").query("plate == @plate").groupby("well").sum(numeric_only=True)
    wells = wells.join(truth, on="Metadata_Well")
    wells["positive"] = wells.Share_Positive_w2.fillna(0) * wells.Count_Nuclei
    by_dose = ["Metadata_compound", "Metadata_concentration_um"]
    doses = wells.groupby(by_dose)[["Count_Nuclei", "positive", "nuclei", "with_marker"]].sum()
    doses["share"], doses["planted"] = doses.positive / doses.Count_Nuclei, doses.with_marker / doses.nuclei
    assert len(doses) == 18 and doses.planted.max() - doses.planted.min() > 0.5
    assert (doses.share - doses.planted).abs().max() < 0.08, doses
    # Another value measures nothing anew.
    planned = workspace.planned("tables", "--config", f"results=results_{plate}", "positive={w2: auto}")
    assert planned == {"merge_units": 1, "profile_wells": 1, "screen_plates": 1, "tables": 1, "total": 4}
