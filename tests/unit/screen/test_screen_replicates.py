"""Replicate plates: which they are, and how well planted ones agree."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from fieldwork.screen.replicates import PROFILE, replicates_of
from fieldwork.screen.wells import wells_of_screen
from planted_profiles import COUNT, READOUTS, planted_profiles


def compare(profiles, readouts=READOUTS, batches=None):
    wells = wells_of_screen(profiles, readouts, controls={}, batches=batches or {})
    return replicates_of(wells, profiles, readouts)


def test_plates_with_equal_platemaps_are_compared():
    profiles, _ = planted_profiles(1)
    replicates = compare(profiles)
    pairs = replicates[["Plate_1", "Plate_2"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["L1R1", "L1R2"], ["L2R1", "L2R2"]]
    assert replicates["Readout"].tolist() == [*READOUTS, PROFILE] * 2
    counts = replicates[replicates["Readout"] == COUNT]
    assert (counts["Correlation"] > 0.95).all() and (counts["Wells"] > 185).all()
    treated = profiles[(profiles["Metadata_control"] == "") & (profiles["Metadata_Plate"] < "L2")]
    left_out = treated["Metadata_Well"][treated["Excluded"]]
    first, second = (
        rows[~rows["Metadata_Well"].isin(left_out)].sort_values("Metadata_Well")[COUNT]
        for _, rows in treated.groupby("Metadata_Plate")
    )
    assert counts["Correlation"].iloc[0] == pytest.approx(pearsonr(first, second).statistic)


def test_effects_replicate_and_noise_does_not():
    profiles, _ = planted_profiles(1)
    z = [name for name in profiles if name.startswith("RobustZ_")]
    treated = (profiles["Metadata_control"] == "").to_numpy()
    random = np.random.default_rng(2)
    effects = {well: random.normal(size=30) * 3 for well in profiles["Metadata_Well"].unique()}
    for name, share in (("effects", 1), ("noise", 0)):
        table = profiles.drop(columns=z)
        noise = random.normal(size=(len(table), 30))
        values = noise + share * np.array([effects[well] for well in table["Metadata_Well"]])
        table[[f"RobustZ_{number}" for number in range(30)]] = np.where(treated[:, None], values, noise)
        replicates = compare(table).set_index("Readout").loc[PROFILE]
        if name == "effects":
            assert (replicates["Share_Replicating"] > 0.95).all() and (replicates["Correlation"] > 0.8).all()
        else:
            assert (replicates["Share_Replicating"] < 0.15).all() and (replicates["Correlation"] < 0.2).all()


def test_the_same_tables_give_the_same_numbers():
    profiles, _ = planted_profiles(1)
    assert compare(profiles).equals(compare(profiles))


def test_other_batches_layouts_and_plates_without_treatments_are_no_replicates():
    profiles, _ = planted_profiles(1)
    assert set(compare(profiles, batches={"L1R1": "a", "L1R2": "b"})["Plate_1"]) == {"L2R1"}
    other = profiles.copy()
    other.loc[other["Metadata_Plate"] == "L2R2", "Metadata_concentration_um"] = "7"
    assert set(compare(other)["Plate_1"]) == {"L1R1"}
    assert compare(profiles.drop(columns="Metadata_compound")).empty
    assert compare(profiles[profiles["Metadata_Plate"] == "L1R1"]).empty


def test_plates_whose_wells_are_all_excluded_have_no_correlation():
    profiles, _ = planted_profiles(1)
    profiles["Excluded"] = True
    replicates = compare(profiles)
    assert len(replicates) and (replicates["Wells"] == 0).all() and replicates["Correlation"].isna().all()
