"""Dose-response: a curve of each treatment and readout, its EC50, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from fieldwork.screen import curves
from fieldwork.screen.controls import PERCENT, reference_of, values_of
from fieldwork.screen.treatments import is_number
from fieldwork.screen.wells import is_treated

COLUMNS = [
    *("Batch", "Treatment", "Unit", "Readout", "EC50", "EC50_Low", "EC50_High", "Slope", "Top", "Bottom", "R2"),
    *("Wells", "Plates", "Reason"),
]
NO_EFFECT, IN_DOUBT = "no effect", "threshold in doubt"
FEWEST_DOSES = 4
SURE = 0.005  # P below which doses, or treated and control wells, differ
VERY_SURE = 0.001  # P below which a curve does not describe the doses
MISFIT = 0.25  # of the curve's height: a mean further from the curve is not described by it
REACHED = 0.9  # of the way from plateau to plateau
FEWEST_REPEATS = 4  # wells beyond one for each dose, that say how values vary; else the negative controls say it, too
AT_LIMIT = 0.01  # of a limit of the slope: the fit ends near it
FEWEST_FREEDOM = 4  # values beyond those that a curve needs, without which neither an effect nor its absence is shown


class Scale(NamedTuple):
    """The values in which the curves of a readout are fitted, and what they are at most and at least."""

    values: np.ndarray  # of each well
    is_percent: bool  # of the negative controls; else the readout's own
    lowest: float
    highest: float


def doses_of(
    wells: pd.DataFrame, readouts: Sequence[str], *, change: float, doubted: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Fit a curve to every treatment and readout.

    Parameters
    ----------
    wells : pandas.DataFrame
        From `wells.wells_of_screen`.
    readouts : list of str
    change : float
        The least effect that counts, as a share of the negative controls' value: the configuration's
        ``screen.hit.change``.
    doubted : mapping of str to list of str, optional
        Plate -> shares of positive nuclei whose threshold is in doubt there. That there is no effect on them is, too.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`; a row for each readout, batch and treatment, sorted in this order, of all that have a dose in any
        well. ``Slope`` is positive where the readout rises with the dose.
    """
    treated = is_treated(wells)
    with_doses = pd.unique(wells["Treatment"][treated & wells["Dose"].notna()])
    groups = _series_of(wells, treated & wells["Treatment"].isin(with_doses).to_numpy())
    is_kept = ~wells["Excluded"].to_numpy(bool)
    has_number = is_number(wells["Dose"])
    doses = np.where(has_number, wells["Dose"], np.nan).astype(float)
    texts = [dose if isinstance(dose, str) else "" for dose in wells["Dose"]]
    plates, names = pd.factorize(wells["Metadata_Plate"])  # numbers are compared faster than texts
    negative = reference_of(wells, wells["Role"])
    rows = []
    for readout in readouts:
        scale = scale_of(wells, readout)
        in_doubt = {number for number, name in enumerate(names) if readout in (doubted or {}).get(name, ())}
        for (batch, treatment, unit), members in groups.items():
            kept = members[is_kept[members]]
            used = kept[np.isfinite(scale.values[kept]) & has_number[kept]]
            controls = scale.values[negative & np.isin(plates, plates[used])]
            row = {"Batch": batch, "Treatment": treatment, "Unit": unit, "Readout": readout}
            row |= {"Wells": len(used), "Plates": len(set(plates[used]))}
            reason = _unfit(kept, doses[used], sorted({texts[number] for number in kept} - {""}), scale)
            if reason:
                rows.append({**row, "Reason": reason})
            else:
                fitted = fit_doses(
                    doses[used], scale.values[used], controls[np.isfinite(controls)], scale, change=change, unit=unit
                )
                if fitted["Reason"] == NO_EFFECT and in_doubt.intersection(plates[used]):
                    fitted["Reason"] = f"{NO_EFFECT} ({IN_DOUBT})"
                rows.append({**row, **fitted})
    return pd.DataFrame(rows, columns=COLUMNS)


def scale_of(wells: pd.DataFrame, readout: str) -> Scale:
    """Return the values in which the curves of a readout are fitted.

    They are percents of the plate's negative controls; wells on plates without these have none. Shares are comparable
    between plates as they are. If no treated well has a percent, all values are the readout's own.

    Parameters
    ----------
    wells, readout
        As for `doses_of`.
    """
    values, percent = values_of(wells, readout), wells[PERCENT.format(readout)].astype(float)
    is_share = readout.startswith("Share_")
    is_percent = not is_share and bool(percent[is_treated(wells) & ~wells["Excluded"].to_numpy(bool)].notna().any())
    chosen = (percent if is_percent else values).to_numpy()
    lowest = 0.0 if not (values < 0).any() else -np.inf
    return Scale(chosen, is_percent, lowest, 1.0 if is_share else np.inf)


def fit_doses(
    doses: np.ndarray, values: np.ndarray, controls: np.ndarray, scale: Scale, *, change: float, unit: str
) -> dict:
    """Fit a curve to the wells of a treatment.

    Where the lowest dose is past the first plateau, the negative controls are fitted, too, as wells of dose 0.
    Elsewhere they are not: wells that differ from them by their position would bend the curve.

    Parameters
    ----------
    doses, values : (n,) array
        Of more than 4 wells with at least 4 doses above 0.
    controls : (m,) array
        Values of the negative controls; may be empty.
    scale : Scale
    change : float
        As for `doses_of`.
    unit : str
        Of the doses, for the reason.

    Returns
    -------
    dict
        The columns of `COLUMNS` from ``EC50`` on that are known.
    """
    height = np.abs(values).max() or 1.0  # parameters near 1 are easier to fit
    bounds = {"lowest": scale.lowest / height, "highest": scale.highest / height}
    values, controls = values / height, controls / height
    levels = tested = _levels_of(doses, values, controls)
    curve = curves.fit_curve(levels, **bounds)
    if curve and len(controls) and curves.share(levels.log_doses[0], curve) > 1 - REACHED:
        levels = curves.levels_of(np.append(doses, np.zeros(len(controls))), np.append(values, controls))
        curve = curves.fit_curve(levels, **bounds)
    if curve is None:
        return {"Reason": "no fit"}
    level = np.median(controls) if len(controls) else 0.0
    least = change * (abs(level) or np.abs(tested.means).max())
    fitted = curves.response(levels.log_doses, *curve[: curves.PARAMETERS])
    rise = abs(fitted[-1] - fitted[0])
    if rise < least or curves.p_of_curve(levels, curve) >= SURE:
        return {"Reason": _reason_of_flat(tested, values, controls, least=least, unit=unit)}
    misfit = np.abs(levels.means - fitted).max()
    if misfit > MISFIT * rise and curves.p_of_misfit(levels, curve.squares, curves.PARAMETERS) < VERY_SURE:
        return {"Reason": "no fit"}
    if curve.log_ec50 > levels.above_0[-1]:
        return {"Reason": _limit(">", levels.above_0[-1], unit)}
    if curve.log_ec50 < levels.above_0[0]:
        return {"Reason": _limit("<", levels.above_0[0], unit)}
    interval = curves.interval_of(levels, curve, **bounds)
    low, high = (10**bound if np.isfinite(bound) else np.nan for bound in interval)
    # A steep curve is at its plateau after any step: at the last dose, the interval shows whether that is known.
    is_reached = (
        curves.share(tested.log_doses[0], curve) <= 1 - REACHED
        and curves.share(tested.log_doses[-1], curve) >= REACHED
        and levels.above_0[0] <= interval[0]
        and interval[1] <= levels.above_0[-1]
    )
    squares = tested.squares_about(curves.response(tested.log_doses, *curve[: curves.PARAMETERS]))
    return {
        **{"EC50": 10**curve.log_ec50, "EC50_Low": low, "EC50_High": high},
        "Slope": curve.steepness * (1 if curve.end > curve.start else -1),
        "Top": max(curve.start, curve.end) * height,
        "Bottom": min(curve.start, curve.end) * height,
        "R2": 1 - squares / tested.squares_about(values.mean()),
        "Reason": ", ".join(filter(None, ["" if is_reached else "plateau not reached", _limit_of_slope(curve)])),
    }


def _series_of(wells, treated):
    """Return (batch, treatment, unit) -> rows of treated wells, sorted; doses without a number take the other unit."""
    number = is_number(wells["Dose"])
    groups = {}
    for (batch, treatment), members in wells[treated].groupby(["Batch", "Treatment"]):
        rows = members.index.to_numpy()
        units = members["Unit"].to_numpy()
        named = sorted(set(units[number[rows]])) or [""]
        for unit in named:
            groups[batch, treatment, unit] = rows[(units == unit) | (~number[rows] & (unit == named[0]))]
    return groups


def _unfit(kept, doses, texts, scale):
    """Return why wells have no curve: by those not excluded, the doses of those with a value, and doses as text."""
    if not len(kept):
        return "all wells excluded"
    if not len(doses):
        absent = f"no well has a {'percent of control' if scale.is_percent else 'value'} and a dose"
        return f"doses are text ({', '.join(map(repr, texts[:3]))})" if texts else absent
    if (doses < 0).any():
        return "doses below 0"
    if len(set(doses[doses > 0])) < FEWEST_DOSES:
        return f"fewer than {FEWEST_DOSES} doses"
    return f"fewer than {curves.PARAMETERS + 1} wells" if len(doses) <= curves.PARAMETERS else ""


def _levels_of(doses, values, controls):
    """Return the values at each dose; with how the controls vary, where too few doses have several wells."""
    levels = curves.levels_of(doses, values)
    if len(doses) - len(levels.means) >= FEWEST_REPEATS or len(controls) < 2:
        return levels
    return levels._replace(control_squares=np.var(controls) * len(controls), control_freedom=len(controls) - 1)


def _reason_of_flat(levels, values, controls, *, least, unit):
    """Return why wells have no curve whose doses differ too little, or not in the way of a curve."""
    mean, differences = values.mean(), np.abs(levels.means - values.mean())
    if differences.max() >= least:
        if curves.p_of_misfit(levels, levels.squares_about(mean), 1) < VERY_SURE:
            return "no fit"
        if levels.freedom + levels.control_freedom < FEWEST_FREEDOM:
            return "too few wells"
    effects = np.abs(levels.means - np.median(controls)) if len(controls) else np.zeros(1)
    if len(controls) and abs(mean - np.median(controls)) >= least and mannwhitneyu(values, controls).pvalue < SURE:
        lowest = effects[np.isfinite(levels.log_doses)][0]
        return _limit("<", levels.above_0[0], unit) if lowest >= effects.max() / 2 else "no fit"
    return NO_EFFECT


def _limit_of_slope(curve):
    """Return whether the steepness lies at an end of its range: the doses do not tell how steep the curve is."""
    shallowest, steepest = curves.SLOPES
    is_inside = shallowest * (1 + AT_LIMIT) < curve.steepness < steepest * (1 - AT_LIMIT)
    return "" if is_inside else "slope at its limit"


def _limit(sign, log_dose, unit):
    return f"{sign} {10**log_dose:.6g} {unit}".rstrip()
