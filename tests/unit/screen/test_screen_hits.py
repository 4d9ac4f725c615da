"""Hits of planted screens, compared with what was planted and with SciPy well by well."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu

from fieldwork.screen.hits import hits_of, smallest_p
from fieldwork.screen.wells import wells_of_screen
from planted_profiles import COUNT, READOUTS, SHARE, planted_profiles, profiles_of_wells

LIMITS = {"q": 0.05, "z": 3, "change": 0.2}


def wells_of(profiles, readouts=READOUTS, batches=None):
    return wells_of_screen(profiles, readouts, controls={}, batches=batches or {})


def small_screen(**columns):
    """Return profiles of two plates: 8 negative controls, and compounds x and y in 2 wells of each plate."""
    random = np.random.default_rng(5)
    rows = []
    for plate, size in (("p", 100), ("q", 50)):
        wells = [("DMSO", "0", "negative", 1.0)] * 8 + [("x", "1", "", 0.5)] * 2 + [("y", "1", "", 1.0)] * 2
        for number, (compound, dose, control, ratio) in enumerate(wells):
            row = {"Plate": plate, "Well": f"B{number + 1:02d}", "compound": compound, "dose_um": dose}
            row = {f"Metadata_{name}": text for name, text in (row | {"control": control}).items()}
            rows.append({**row, COUNT: round(size * ratio * random.uniform(0.9, 1.1)), **columns})
    return profiles_of_wells(rows)


@pytest.mark.parametrize("seed", range(3))
def test_planted_effects_are_hits_and_inert_compounds_are_none(seed):
    profiles, compounds = planted_profiles(seed)
    hits = hits_of(wells_of(profiles), READOUTS, limits=LIMITS)
    inert = [name for name, compound in compounds.items() if compound.ec50_um is None]
    assert len(inert) == 3 and len(hits) == 24 * 8 * len(READOUTS)
    assert (hits["Hit"][hits["Treatment"].isin(inert)] == True).sum() <= 1  # noqa: E712
    highest = hits[(hits["Readout"] == COUNT) & (hits["Dose"] == 100) & ~hits["Treatment"].isin(inert)]
    assert len(highest) == 21 and (highest["Hit"] == True).sum() >= 20  # noqa: E712


def test_p_and_q_are_scipys():
    profiles, _ = planted_profiles(4)
    wells = wells_of(profiles)
    hits = hits_of(wells, READOUTS, limits=LIMITS)
    kept = wells[~wells["Excluded"]]
    for readout, rows in hits.groupby("Readout"):
        percent = kept[f"PercentOfControl_{readout}"]
        for _, row in rows.iterrows():
            same = (kept["Treatment"] == row["Treatment"]) & (kept["Dose"] == row["Dose"]) & percent.notna()
            plates = kept["Metadata_Plate"].isin(kept["Metadata_Plate"][same])
            negative = percent[plates & (kept["Role"] == "negative") & percent.notna()]
            assert row["Wells"] == same.sum() and row["Plates"] == kept["Metadata_Plate"][same].nunique()
            if same.any():
                assert row["P"] == mannwhitneyu(percent[same], negative).pvalue
                assert row["Change"] == pytest.approx(percent[same].mean() / 100 - 1)
                assert row["Effect"] == pytest.approx(kept[f"RobustZ_{readout}"][same].mean())
        known = rows["P"].notna()
        assert np.array_equal(rows["Q"][known], false_discovery_control(rows["P"][known]))
        assert rows["Q"][~known].isna().all()


def test_plates_are_compared_by_ratios_to_their_own_controls():
    hits = hits_of(wells_of(small_screen(), [COUNT]), [COUNT], limits=LIMITS).set_index("Treatment")
    assert hits["Wells"].tolist() == [4, 4] and hits["Plates"].tolist() == [2, 2]
    assert hits["Change"]["x"] == pytest.approx(-0.5, abs=0.06) and abs(hits["Change"]["y"]) < 0.06
    assert hits["Hit"].tolist() == [True, False] and hits["Effect"]["x"] < -3


def test_wells_of_other_batches_are_no_replicates():
    wells = wells_of(small_screen(), [COUNT], {"p": "one", "q": "two"})
    hits = hits_of(wells, [COUNT], limits=LIMITS)
    assert hits[["Batch", "Treatment", "Wells"]].to_numpy().tolist() == [
        *(["one", "x", 2], ["one", "y", 2], ["two", "x", 2], ["two", "y", 2])
    ]


def test_excluded_wells_are_left_out_but_their_flags_are_named():
    profiles = small_screen()
    profiles.loc[8, ["Flag_OutOfFocus", "Excluded", COUNT, "Mean_Count_Nuclei"]] = [True, True, 900, 900]
    profiles.loc[0, ["Excluded", COUNT, "Mean_Count_Nuclei"]] = [True, 9000, 9000]
    hits = hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS).set_index("Treatment")
    assert hits["Wells"]["x"] == 3 and hits["Flags"].tolist() == ["OutOfFocus;Excluded", ""]
    assert hits["Change"]["x"] == pytest.approx(-0.5, abs=0.08)
    profiles["Excluded"] = True
    hits = hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS)
    assert (hits["Wells"] == 0).all() and hits[["Effect", "Change", "P", "Q", "Hit"]].isna().all(axis=None)


def test_counts_are_those_of_a_good_field():
    profiles = small_screen(Fields_Total=2)
    profiles.loc[10, [COUNT, "Fields_Failed"]] = [50, 1]  # y: half of its nuclei are in the field that failed
    profiles["Mean_Count_Nuclei"] = profiles[COUNT] / (profiles["Fields_Total"] - profiles["Fields_Failed"])
    hits = hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS).set_index("Treatment")
    assert abs(hits["Change"]["y"]) < 0.06


def test_without_negative_controls_there_is_no_p_and_no_hit():
    profiles = small_screen()
    profiles["Metadata_control"] = ""
    hits = hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS)
    assert set(hits["Treatment"]) == {"DMSO", "x", "y"} and (hits["Wells"] > 0).all()
    assert hits[["Change", "P", "Q", "Hit"]].isna().all(axis=None)


def test_one_negative_control_and_one_plate_make_no_hit():
    profiles = small_screen()
    profiles = profiles[(profiles["Metadata_Plate"] == "p") & (profiles.index > 6)]
    profiles = profiles.drop(columns=[f"RobustZ_{COUNT}", f"RobustZ_Mean_{COUNT}"])
    hits = hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS)
    assert hits["P"].notna().all() and hits["Hit"].isna().all()


def test_doses_that_are_text_or_0_or_absent_have_rows_of_their_own():
    profiles = small_screen()
    profiles.loc[[8, 9, 10, 11], "Metadata_dose_um"] = ["high", "low", "0", ""]
    hits = hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS)
    assert hits["Treatment"].tolist() == ["x"] * 3 + ["y"] * 3
    assert hits["Dose"].tolist()[:3] == ["high", "low", 1.0]
    assert pd.isna(hits["Dose"][3]) and hits["Dose"].tolist()[4:] == [0.0, 1.0]


def test_a_readout_whose_controls_are_0_is_not_compared():
    profiles = small_screen(**{SHARE: 0.0})
    profiles.loc[[8, 9, 20, 21], SHARE] = 0.5
    hits = hits_of(wells_of(profiles, [SHARE]), [SHARE], limits=LIMITS)
    assert (hits["Wells"] == 4).all() and hits[["Change", "P", "Q", "Hit"]].isna().all(axis=None)


def test_three_thousand_treatments_are_compared():
    random = np.random.default_rng(1)
    rows = []
    for plate in range(10):
        for number in range(332):
            role = "negative" if number < 32 else ""
            name = "DMSO" if role else f"t{plate * 300 + number}"
            well = f"{'ABCDEFGHIJKLMNOP'[number // 24]}{number % 24 + 1:02d}"
            row = {"Metadata_Plate": f"p{plate}", "Metadata_Well": well, "Metadata_gene": name}
            rows.append({**row, "Metadata_control": role, COUNT: random.poisson(100)})
    hits = hits_of(wells_of(profiles_of_wells(rows), [COUNT]), [COUNT], limits=LIMITS)
    assert len(hits) == 3000 and (hits["Hit"] == False).all() and hits["Dose"].isna().all()  # noqa: E712


def test_the_smallest_p_follows_from_the_numbers_of_wells():
    assert smallest_p(2, 32, has_ties=False) == pytest.approx(2 / (34 * 33 / 2))
    assert smallest_p(1, 16, has_ties=False) == pytest.approx(2 / 17)
    tied = mannwhitneyu([1, 1], [*range(2, 33), 32]).pvalue
    assert smallest_p(2, 32, has_ties=True) == pytest.approx(tied, rel=0.01) and tied > 0.02


def test_a_treatment_whose_wells_lost_half_of_their_fields_has_not_lost_its_cells():
    whole = small_screen(Fields_Total=2)
    lost = whole.assign(Fields_Failed=np.where(whole["Metadata_compound"] == "y", 1, 0))
    lost.loc[lost["Metadata_compound"] == "y", COUNT] //= 2
    lost["Mean_Count_Nuclei"] = lost[COUNT] / (2 - lost["Fields_Failed"])
    robust_z = [name for name in whole if name.startswith("RobustZ_")]
    lost = profiles_of_wells(lost.drop(columns=robust_z).to_dict("records"))
    before, after = (hits_of(wells_of(profiles, [COUNT]), [COUNT], limits=LIMITS) for profiles in (whole, lost))
    assert after["Treatment"].tolist() == ["x", "y"]
    np.testing.assert_allclose(after["Effect"], before["Effect"], atol=0.5)
    np.testing.assert_allclose(after["Change"], before["Change"], atol=0.02)
    assert lost.loc[lost["Metadata_compound"] == "y", f"RobustZ_{COUNT}"].max() < -3  # of the sums
