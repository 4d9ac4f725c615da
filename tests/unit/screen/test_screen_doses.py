"""EC50s of planted curves: how close they are, how honest their intervals, and why there is none."""

import numpy as np
import pandas as pd
import pytest

from fieldwork.screen import curves
from fieldwork.screen.doses import Scale, doses_of, fit_doses
from fieldwork.screen.wells import wells_of_screen
from planted_profiles import COUNT, READOUTS, SHARE, planted_profiles, profiles_of_wells

DOSES = np.array([0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30])
PERCENT = Scale(np.array([]), is_percent=True, lowest=0, highest=np.inf)
SHARES = Scale(np.array([]), is_percent=False, lowest=0, highest=1)


def response(doses, ec50, slope, start, end):
    return end + (start - end) / (1 + (doses / ec50) ** slope)


def fit(values, controls=(), doses=DOSES, scale=PERCENT):
    """Fit a curve to (replicates, doses) values."""
    doses = np.broadcast_to(doses, np.shape(values)).ravel()
    return fit_doses(doses, np.ravel(values), np.array(controls, float), scale, change=0.2, unit="uM")


def test_a_curve_without_noise_is_found_to_the_digit():
    for slope, start, end in ((1.5, 100, 5), (0.8, 100, 0.5), (2, 10, 80)):
        fitted = fit([response(DOSES, 0.7, slope, start, end)] * 2, [start] * 4)
        assert fitted["EC50"] == pytest.approx(0.7, rel=1e-3)
        assert fitted["EC50_Low"] <= fitted["EC50"] * 1.0001 and fitted["EC50"] <= fitted["EC50_High"] * 1.0001
        assert fitted["Slope"] == pytest.approx(slope * (1 if end > start else -1), rel=1e-3)
        assert (fitted["Top"], fitted["Bottom"]) == (
            pytest.approx(max(start, end), rel=1e-2),
            pytest.approx(min(start, end), rel=1e-2, abs=0.05),
        )
        assert fitted["R2"] > 0.9999


NOISE = {  # of values in percent
    "of counts": lambda random, values: random.poisson(0.8 * values) / 0.8,
    "a share of the value": lambda random, values: values * random.normal(1, 0.08, np.shape(values)),
    "the same everywhere": lambda random, values: values + random.normal(0, 6, np.shape(values)),
}


@pytest.mark.parametrize("noise", NOISE)
def test_intervals_cover_the_planted_ec50_as_often_as_they_say(noise):
    random, covered, near = np.random.default_rng(7), [], []
    for _ in range(200):
        ec50, slope = 10 ** random.uniform(-1, 1), random.uniform(1, 2)
        values = np.tile(response(DOSES, ec50, slope, 100, 5), (4, 1))
        fitted = fit(NOISE[noise](random, values), NOISE[noise](random, np.full(32, 100.0)))
        low, high = np.nan_to_num(fitted["EC50_Low"], nan=0), np.nan_to_num(fitted["EC50_High"], nan=np.inf)
        covered.append(low <= ec50 <= high)
        near.append(abs(np.log(fitted["EC50"] / ec50)) < np.log(1.2))
    assert 0.92 <= np.mean(covered) <= 0.99 and np.mean(near) > 0.75


@pytest.mark.parametrize("seed", range(3))
def test_the_ec50s_of_a_planted_screen_are_within_a_fifth(seed):
    profiles, compounds = planted_profiles(seed)
    wells = wells_of_screen(profiles, READOUTS, controls={}, batches={})
    doses = doses_of(wells, READOUTS, change=0.2)
    assert len(doses) == 24 * len(READOUTS) and set(doses["Unit"]) == {"uM"}
    counts = doses[doses["Readout"] == COUNT].set_index("Treatment")
    active = {name: compound for name, compound in compounds.items() if compound.ec50_um}
    errors = [abs(counts["EC50"][name] / compound.ec50_um - 1) for name, compound in active.items()]
    assert len(errors) == 21 and sum(error < 0.2 for error in errors) >= 19
    inert = doses[~doses["Treatment"].isin(active)]
    assert len(inert) == 3 * len(READOUTS) and set(inert["Reason"]) == {"no effect"} and inert["EC50"].isna().all()


def test_inert_treatments_have_no_effect_also_in_outer_wells():
    random, reasons = np.random.default_rng(3), []
    for _ in range(200):
        outer = np.where(random.random((4, 8)) < 0.2, 0.93, 1)
        reasons.append(fit(100 * random.poisson(80 * outer) / 80, 100 * random.poisson(80, 32) / 80)["Reason"])
        reasons.append(
            fit(random.binomial(80, 0.1, (4, 8)) / 80, random.binomial(80, 0.1, 32) / 80, scale=SHARES)["Reason"]
        )
    assert reasons.count("no effect") >= 396


def test_an_ec50_beyond_the_doses_is_not_given_but_its_limit_is():
    random = np.random.default_rng(4)
    noise = random.normal(1, 0.02, (4, 8))
    controls = 100 * random.normal(1, 0.02, 16)
    assert fit(100 * response(DOSES, 60, 1.5, 1, 0) * noise, controls)["Reason"] == "> 30 uM"
    assert fit(100 * response(DOSES, 0.002, 1.5, 1, 0.1) * noise, controls)["Reason"] == "< 0.01 uM"
    assert fit(np.full((4, 8), 20.0) * noise, controls)["Reason"] == "< 0.01 uM"
    assert "EC50" not in fit(100 * response(DOSES, 60, 1.5, 1, 0) * noise, controls)


def test_a_plateau_that_is_not_reached_limits_the_interval_at_one_side_only():
    random = np.random.default_rng(4)
    fitted = fit(100 * response(DOSES, 15, 1.2, 1, 0) * random.normal(1, 0.05, (2, 8)), [100, 98, 102, 97, 103])
    assert fitted["Reason"] == "plateau not reached" and 10 < fitted["EC50"] < 30
    assert fitted["EC50_Low"] < 15 and not fitted["EC50_High"] < 15


def test_an_effect_of_the_last_dose_alone_is_no_plateau():
    random, reasons = np.random.default_rng(8), []
    for _ in range(50):
        shares = random.binomial(400, response(DOSES, 300, 1.5, 0.02, 0.62), (4, 8)) / 400
        fitted = fit(shares, random.binomial(400, 0.02, 24) / 400, scale=SHARES)
        reasons.append(fitted["Reason"].partition(", ")[0] or f"EC50 {fitted['EC50']:.3g}")
    assert set(reasons) <= {"plateau not reached", "> 30 uM", "no effect", "no fit"}
    assert reasons.count("plateau not reached") > 10
    deadly = 100 * np.array([1, 1, 1, 1, 1, 1, 1, 0.0]) * random.normal(1, 0.05, (4, 8))
    step = fit(deadly, 100 * random.normal(1, 0.05, 16))
    assert step["Reason"] == "slope at its limit" and step["Slope"] == pytest.approx(-10, rel=0.01)  # 0 is a plateau


def test_a_slope_at_its_limit_is_a_reason_to_doubt_the_interval():
    random = np.random.default_rng(9)
    for slope, expected in ((1.5, ""), (30, "slope at its limit")):
        values = np.tile(response(DOSES, 0.9, slope, 100, 5), (4, 1)) * random.normal(1, 0.02, (4, 8))
        fitted = fit(values, 100 * random.normal(1, 0.02, 16))
        assert fitted["Reason"] == expected and np.isfinite(fitted["EC50"])
    shallow = fit(np.tile(response(DOSES, 0.9, 0.2, 100, 0), (4, 1)) * random.normal(1, 0.005, (4, 8)), [100] * 16)
    assert "slope at its limit" in shallow["Reason"] and -shallow["Slope"] == pytest.approx(0.3, rel=0.01)


def test_doses_that_no_curve_describes_have_no_fit():
    random = np.random.default_rng(6)
    bell = np.array([1, 1, 1.5, 3, 3, 1.5, 1, 1])
    assert fit(100 * bell * random.normal(1, 0.03, (3, 8)), [100] * 8)["Reason"] == "no fit"
    assert fit(100 * bell * random.normal(1, 0.03, 8), [97, 103, 100, 98, 102])["Reason"] == "no fit"


@pytest.mark.parametrize("number", [5, 6, 8])
def test_one_well_for_each_dose_is_enough_where_controls_say_how_values_vary(number):
    random, doses = np.random.default_rng(8), np.geomspace(0.01, 30, number)
    active, inert = [], []
    for ec50 in np.geomspace(0.1, 3, 50):
        controls = random.normal(100, 5, 16)
        active.append(fit(response(doses, ec50, 1.5, 100, 5) + random.normal(0, 5, number), controls, doses=doses))
        inert.append(fit(random.normal(100, 5, number), controls, doses=doses)["Reason"])
    assert all("EC50" in fitted for fitted in active) and inert.count("no effect") >= 49


def test_too_few_wells_show_neither_an_effect_nor_its_absence():
    doses, noise = DOSES[::2], np.array([3, -4, 2, 5, -3])
    doses = np.append(doses, 100)
    assert fit(response(doses, 0.5, 1.5, 100, 5) + noise, doses=doses)["Reason"] == "too few wells"
    assert fit(100 + noise, doses=doses)["Reason"] == "no effect"


def test_an_ec50_is_below_the_lowest_dose_only_where_that_has_the_effect():
    random, reasons, doses = np.random.default_rng(0), [], np.geomspace(0.01, 30, 4)
    for ec50 in np.geomspace(0.1, 3, 100):
        values = np.tile(response(doses, ec50, 1.5, 100, 5), (2, 1)) + random.normal(0, 10, (2, 4))
        reasons.append(fit(values, random.normal(100, 10, 16), doses=doses)["Reason"])
    assert "< 0.01 uM" not in reasons


def test_dose_0_is_a_dose():
    doses = np.array([0, 0.1, 1, 10, 100])
    fitted = fit([response(doses, 2, 1.5, 100, 5) + noise for noise in (-1, 1)], doses=doses)
    assert fitted["EC50"] == pytest.approx(2, rel=0.05)


def small(doses, values, **columns):
    """Return wells of one plate: 6 negative controls, and a well of x for each dose."""
    rows = [("DMSO", "0", "negative", value) for value in (98, 99, 100, 101, 102, 100)]
    rows += [("x", dose, "", value) for dose, value in zip(doses, values, strict=True)]
    names = ("Metadata_drug", "Metadata_dose", "Metadata_control", COUNT)
    rows = [
        {"Metadata_Plate": "p", "Metadata_Well": f"B{number + 1:02d}", **dict(zip(names, row, strict=True)), **columns}
        for number, row in enumerate(rows)
    ]
    return wells_of_screen(profiles_of_wells(rows), [COUNT], controls={}, batches={})


@pytest.mark.parametrize(
    ("doses", "reason"),
    [
        (["1 uM"] * 6, "fewer than 4 doses"),
        (["0", "1 uM", "3 uM", "10 uM", "0", "0"], "fewer than 4 doses"),
        (["0"] * 6, "fewer than 4 doses"),
        (["high", "low"] * 3, "doses are text ('high', 'low')"),
        (["-9", "-8", "-7", "-6", "-5", "-4"], "doses below 0"),
        (["1", "2", "3", "4", "", ""], "fewer than 5 wells"),
    ],
)
def test_series_that_no_curve_can_be_fitted_to_have_a_reason(doses, reason):
    table = doses_of(small(doses, [100, 80, 60, 40, 20, 10]), [COUNT], change=0.2)
    assert table["Reason"].tolist() == [reason] and table["EC50"].isna().all() and table["Treatment"].tolist() == ["x"]


def test_excluded_and_empty_wells_have_a_reason():
    wells = small(["1", "2", "3", "4", "5", "6"], [100, 80, 60, 40, 20, 10])
    unknown = wells.assign(**{"Mean_Count_Nuclei": np.nan, f"PercentOfControl_{COUNT}": np.nan})
    assert doses_of(unknown, [COUNT], change=0.2)["Reason"].tolist() == ["no well has a value and a dose"]
    assert doses_of(wells.assign(Excluded=True), [COUNT], change=0.2)["Reason"].tolist() == ["all wells excluded"]
    assert doses_of(wells.assign(Dose=pd.Series(np.nan, wells.index, object)), [COUNT], change=0.2).empty


def test_without_negative_controls_curves_are_of_the_readout_itself():
    doses = [f"{dose} uM" for dose in DOSES] * 2
    values = np.tile(response(DOSES, 1, 1.5, 400, 20), 2) + np.tile([-2, 2], 8)
    wells = small(doses, values)
    with_controls = doses_of(wells, [COUNT], change=0.2).iloc[0]
    without = doses_of(wells.assign(Role="sample", **{f"PercentOfControl_{COUNT}": np.nan}), [COUNT], change=0.2)
    without = without.set_index("Treatment").loc["x"]
    assert with_controls["Top"] == pytest.approx(400, rel=0.02) and without["Top"] == pytest.approx(400, rel=0.02)
    assert without["EC50"] == pytest.approx(with_controls["EC50"]) == pytest.approx(1, rel=0.05)


def test_shares_are_fitted_as_they_are():
    rows = [
        {
            "Metadata_Plate": "p",
            "Metadata_Well": f"B{number + 1:02d}",
            "Metadata_drug": name,
            "Metadata_dose_um": f"{dose}",
        }
        | {"Metadata_control": role, COUNT: 100, SHARE: share}
        for number, (name, dose, role, share) in enumerate(
            [("DMSO", 0, "neg", 0.0)] * 6
            + [("x", dose, "", response(dose, 0.3, 2, 0.0, 0.8)) for dose in DOSES]
            + [("x", dose, "", response(dose, 0.3, 2, 0.01, 0.79)) for dose in DOSES]
        )
    ]
    wells = wells_of_screen(profiles_of_wells(rows), [SHARE], controls={}, batches={})
    fitted = doses_of(wells, [SHARE], change=0.2).iloc[0]
    assert fitted["EC50"] == pytest.approx(0.3, rel=0.05) and fitted["Top"] == pytest.approx(0.8, abs=0.02)
    assert fitted["Slope"] > 0


def test_no_effect_on_a_share_whose_threshold_is_in_doubt_is_in_doubt_itself():
    profiles, compounds = planted_profiles(0)
    wells = wells_of_screen(profiles, READOUTS, controls={}, batches={})
    plate = wells["Metadata_Plate"].iloc[0]
    certain, doubted = (doses_of(wells, READOUTS, change=0.2, doubted=of) for of in ({}, {plate: [SHARE]}))
    changed = certain["Reason"] != doubted["Reason"]
    assert (changed == ((certain["Readout"] == SHARE) & (certain["Reason"] == "no effect"))).all() and changed.any()
    assert set(doubted["Reason"][changed]) == {"no effect (threshold in doubt)"}
    pd.testing.assert_frame_equal(certain.drop(columns="Reason"), doubted.drop(columns="Reason"))


def test_intervals_are_open_where_nothing_limits_them():
    levels = curves.levels_of(np.tile(DOSES, 2), np.tile(np.linspace(1, 0.97, 8), 2) + np.tile([0.01, -0.01], 8))
    curve = curves.fit_curve(levels, lowest=0, highest=np.inf)
    assert curves.interval_of(levels, curve, lowest=0, highest=np.inf)[1] == np.inf
