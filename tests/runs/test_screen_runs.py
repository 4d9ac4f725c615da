"""A run of a planted screen, from images to hits and EC50s; and what of it is made again."""

import pandas as pd
import pytest

import planted_screen
from workspace import Workspace

SEED = 11
COUNT = "Count_Nuclei"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Write a planted screen of four plates and make its tables; return its folder, wells and compounds."""
    folder = tmp_path_factory.mktemp("screen")
    wells, compounds = planted_screen.plant_screen(folder, SEED)
    Workspace(folder).run("tables")
    return folder, pd.DataFrame(wells), compounds


def tables(planted, *names):
    folder, _, _ = planted
    return [
        pd.read_csv(folder / "results/screen" / f"{name}.csv", keep_default_na=False, na_values=[""]) for name in names
    ]


def test_the_planted_effects_are_found_and_nothing_else(planted):
    _, _, compounds = planted
    hits, doses, replicates = tables(planted, "hits", "doses", "replicates")
    active = [name for name, compound in compounds.items() if compound.ec50_um is not None]
    is_inert = ~hits["Treatment"].isin(active)
    assert len(active) == 21 and is_inert.sum() == 3 * 8 * hits["Readout"].nunique()
    assert (hits["Hit"][is_inert] == True).sum() <= 1  # noqa: E712
    highest = hits[~is_inert & (hits["Readout"] == COUNT) & (hits["Dose"] == max(planted_screen.DOSES_UM))]
    assert len(highest) == 21 and (highest["Hit"] == True).sum() >= 20  # noqa: E712
    curves = doses[doses["Readout"] == COUNT].set_index("Treatment")
    errors = [abs(curves["EC50"][name] / compounds[name].ec50_um - 1) for name in active]
    assert sum(error < 0.2 for error in errors) >= 19
    assert set(doses["Reason"][~doses["Treatment"].isin(active)]) == {"no effect"}
    assert (replicates["Correlation"][replicates["Readout"] == COUNT] > 0.95).all() and len(replicates) >= 8


def test_blurred_wells_are_excluded_and_hardly_any_other(planted):
    _, planted_wells, _ = planted
    (wells,) = tables(planted, "wells")
    assert len(wells) == len(planted_wells) == 896
    wells = wells.merge(planted_wells, left_on=["Metadata_Plate", "Metadata_Well"], right_on=["plate", "well"])
    is_blurred = wells["blur_px"] > 0
    assert is_blurred.sum() == 5 and wells["Flag_OutOfFocus"][is_blurred].all() and wells["Excluded"][is_blurred].all()
    flags = [name for name in wells if name.startswith("Flag_")]
    assert wells[flags][~is_blurred].any(axis=1).sum() <= 12


def test_a_screen_is_made_again_where_a_limit_or_a_batch_changes_and_nothing_before_it(planted):
    folder, _, _ = planted
    workspace = Workspace(folder)
    screen_alone = {"screen_plates": 1, "tables": 1, "total": 2}
    assert workspace.planned("tables", "--config", "screen={hit: {q: 0.01}}") == screen_alone
    sheet = folder / "config/plates.tsv"
    text = sheet.read_text()
    header, *lines = text.splitlines()
    sheet.write_text("\n".join([f"{header}\tbatch", *(f"{line}\t{line[:2]}" for line in lines), ""]))
    assert workspace.planned("tables") == screen_alone
    sheet.write_text(text)
    assert not workspace.planned("tables")
