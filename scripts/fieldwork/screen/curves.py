"""Four-parameter logistic curves of a readout against the dose, and the interval of their EC50."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeWarning, brentq, curve_fit
from scipy.special import expit
from scipy.stats import f

SLOPES = (0.3, 10.0)  # shallower curves have no plateaus in any usual series of doses; steeper ones are steps
BEYOND_DECADES = 2.0  # how far from the doses the EC50 is looked for
STEP_DECADES, SLOPES_TRIED, SLOPES_IN_PROFILE = 0.05, 16, 60
FLAT = 0.1  # P above which a curve explains so little that the best of a grid will do
CONFIDENCE = 0.95
MOST_WIDENING = 4.0  # of the limit of intervals: few wells do not say how values vary
PARAMETERS = 4


class Curve(NamedTuple):
    """A fitted curve: start + (end - start) / (1 + (EC50 / dose)**steepness)."""

    log_ec50: float
    steepness: float
    start: float  # at dose 0
    end: float  # at an infinite dose
    squares: float  # sum of the squared residuals


class Levels(NamedTuple):
    """The values at each dose."""

    log_doses: np.ndarray  # (d,) of log10, ascending; -inf for dose 0
    wells: np.ndarray  # (d,) their numbers
    means: np.ndarray  # (d,)
    within: np.ndarray  # (d,) sums of the squared differences of values from the mean of their dose
    control_squares: float = 0.0  # likewise of other wells, where those of doses are too few to say how values vary
    control_freedom: int = 0  # number of these wells, less one

    @property
    def squares(self) -> float:
        """Sum of `within`."""
        return float(self.within.sum())

    @property
    def above_0(self) -> np.ndarray:
        """Logarithms of the doses above 0."""
        return self.log_doses[np.isfinite(self.log_doses)]

    @property
    def freedom(self) -> int:
        """Number of values beyond those that a curve needs."""
        return int(self.wells.sum()) - PARAMETERS

    def squares_about(self, fitted: np.ndarray) -> float:
        """Return the sum of the squared differences of all values from one at each dose."""
        return self.squares + float(self.wells @ (self.means - fitted) ** 2)


def levels_of(doses: np.ndarray, values: np.ndarray) -> Levels:
    """Return the values at each dose.

    Parameters
    ----------
    doses, values : (n,) array
        Doses from 0 on.
    """
    distinct, number = np.unique(doses, return_inverse=True)
    wells = np.bincount(number)
    means = np.bincount(number, values) / wells
    with np.errstate(divide="ignore"):
        return Levels(np.log10(distinct), wells, means, np.bincount(number, (values - means[number]) ** 2))


def response(log_doses: np.ndarray, log_ec50: float, steepness: float, start: float, end: float) -> np.ndarray:
    """Return the values of a curve at doses."""
    risen = _risen(log_doses, log_ec50, steepness)
    return start * (1 - risen) + end * risen


def _slopes_of_response(log_doses, log_ec50, steepness, start, end):
    """Return the derivatives of `response` by its parameters, a column each: it saves half of the fit's time."""
    risen = _risen(log_doses, log_ec50, steepness)
    steps = (end - start) * math.log(10) * risen * (1 - risen)
    away = np.where(np.isfinite(log_doses), log_doses - log_ec50, 0)  # at dose 0 nothing changes
    return np.column_stack([-steepness * steps, away * steps, 1 - risen, risen])


def share(log_dose: float, curve: Curve) -> float:
    """Return how much of the way from its start to its end a curve has gone at a dose."""
    return float(_risen(log_dose, curve.log_ec50, curve.steepness))


def fit_curve(levels: Levels, *, lowest: float, highest: float) -> Curve | None:
    """Fit a curve by least squares, with `scipy.optimize.curve_fit`; its start is the best of a grid.

    Parameters
    ----------
    levels : Levels
        Of at least 4 doses above 0.
    lowest, highest : float
        Between which the plateaus are, such as 0 and infinity. Bounds of the steepness are `SLOPES`, those of the EC50
        lie `BEYOND_DECADES` beyond the doses.

    Returns
    -------
    Curve or None
        None where the fit does not end.
    """
    doses = levels.above_0
    ends = doses[0] - BEYOND_DECADES, doses[-1] + BEYOND_DECADES
    grid = np.arange(*ends, STEP_DECADES), np.geomspace(*SLOPES, SLOPES_TRIED)
    squares, start, end = _plateaus(levels, *grid, lowest=lowest, highest=highest)
    best = np.unravel_index(np.argmin(squares), squares.shape)
    first = Curve(grid[0][best[0]], grid[1][best[1]], start[best], end[best], levels.squares + squares[best])
    if p_of_curve(levels, first) > FLAT:
        return first
    bounds = np.array([[ends[0], SLOPES[0], lowest, lowest], [ends[1], SLOPES[1], highest, highest]])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # of the covariance, for which the interval stands in
            values, _ = curve_fit(
                response,
                levels.log_doses,
                levels.means,
                p0=np.clip(first[:PARAMETERS], *bounds),  # the last digits of a grid may be beyond
                sigma=1 / np.sqrt(levels.wells),
                bounds=bounds,
                jac=_slopes_of_response,
                check_finite=False,  # the logarithm of dose 0 is -inf
            )
    except RuntimeError:
        return None
    fitted = Curve(*values, levels.squares_about(response(levels.log_doses, *values)))
    return min(first, fitted, key=lambda curve: curve.squares)


def interval_of(levels: Levels, curve: Curve, *, lowest: float, highest: float) -> tuple[float, float]:
    """Return the 95 % interval of the logarithm of a curve's EC50, by its profile likelihood.

    It holds every EC50 with which the best curve's sum of squares stays below that of an F test (Bates & Watts,
    Nonlinear Regression Analysis, 1988, chapter 6): unlike one by the curvature at the best fit, it is open at a side
    on which the doses do not limit the EC50. Where values at the doses that decide the EC50 vary more than others, as
    counts near the plateau of healthy wells do, the limit is raised by the ratio of White's variance, which allows for
    that, to the usual one (White, Econometrica 48:817, 1980).

    Returns
    -------
    low, high : float
        -inf or inf where no EC50 within `BEYOND_DECADES` of the doses is ruled out.
    """
    limit = curve.squares * (1 + _widening(levels, curve) * f.ppf(CONFIDENCE, 1, levels.freedom) / levels.freedom)
    slopes = np.append(np.geomspace(*SLOPES, SLOPES_IN_PROFILE), curve.steepness)

    def excess(log_ec50):
        squares, *_ = _plateaus(levels, np.array([log_ec50]), slopes, lowest=lowest, highest=highest)
        return levels.squares + squares.min() - limit

    bounds = []
    for sign, last in ((-1, levels.above_0[0] - BEYOND_DECADES), (1, levels.above_0[-1] + BEYOND_DECADES)):
        inside, outside = curve.log_ec50, curve.log_ec50 + sign * STEP_DECADES
        while sign * outside < sign * last and excess(outside) <= 0:
            inside, outside = outside, outside + 2 * (outside - inside)
        outside = sign * min(sign * outside, sign * last)
        if excess(inside) > 0:  # nothing is left of the sum of squares: the curve goes through all values
            bounds.append(inside)
        else:
            bounds.append(brentq(excess, inside, outside, xtol=1e-3) if excess(outside) > 0 else sign * math.inf)
    return bounds[0], bounds[1]


def _widening(levels, curve):
    """Return the ratio of two variances of a curve's EC50: for values that vary as they do, and alike; from 1 on."""
    slopes = _slopes_of_response(levels.log_doses, *curve[:PARAMETERS])
    fitted = response(levels.log_doses, *curve[:PARAMETERS])
    inverse = np.linalg.pinv(slopes.T @ (levels.wells[:, None] * slopes))
    of_doses = levels.within + levels.wells * (levels.means - fitted) ** 2
    as_they_vary = (inverse @ (slopes.T @ (of_doses[:, None] * slopes)) @ inverse)[0, 0]
    alike = inverse[0, 0] * of_doses.sum() / levels.wells.sum()
    return float(np.clip(as_they_vary / alike, 1, MOST_WIDENING)) if alike > 0 else 1.0


def p_of_curve(levels: Levels, curve: Curve) -> float:
    """Return the P of an F test of a curve against one value for all doses."""
    flat = levels.squares_about(np.average(levels.means, weights=levels.wells))
    return p_of_squares(
        *(flat - curve.squares, PARAMETERS - 1),
        *(curve.squares + levels.control_squares, levels.freedom + levels.control_freedom),
    )


def p_of_misfit(levels: Levels, squares: float, parameters: int) -> float:
    """Return the P of an F test: whether the means of doses differ from a model with so many parameters.

    Parameters
    ----------
    levels : Levels
    squares : float
        Sum of the squared differences of all values from the model.
    parameters : int
    """
    doses = len(levels.means)
    return p_of_squares(
        *(squares - levels.squares, doses - parameters),
        *(levels.squares + levels.control_squares, int(levels.wells.sum()) - doses + levels.control_freedom),
    )


def p_of_squares(gained: float, terms: int, left: float, freedom: int) -> float:
    """Return the P of an F test: whether `terms` more terms explain more of the sum of squares than chance would."""
    if freedom < 1 or terms < 1:
        return 1.0
    if left <= 0:
        return 0.0 if gained > 0 else 1.0
    return float(f.sf(gained / terms / (left / freedom), terms, freedom))


def _risen(log_doses, log_ec50, steepness):
    return expit(math.log(10) * steepness * (log_doses - log_ec50))


def _plateaus(levels, log_ec50s, slopes, *, lowest, highest):
    """Return the best plateaus for each EC50 and steepness, and their sum of squares about the means of doses.

    A curve is linear in its plateaus, so that they follow from the other two parameters. Where one would be beyond its
    bound, it is put there, and the other one follows.

    Returns
    -------
    squares, start, end : (EC50s, slopes) array
    """
    rise = _risen(levels.log_doses, log_ec50s[:, None, None], slopes[:, None])
    fall, wells, means = 1 - rise, levels.wells, levels.means
    of_fall, of_rise, of_both = (fall * fall) @ wells, (rise * rise) @ wells, (fall * rise) @ wells
    by_fall, by_rise = fall @ (wells * means), rise @ (wells * means)
    tiny = 1e-9 * wells.sum()  # where no dose is near a plateau, it may be anything
    determinant = of_fall * of_rise - of_both**2 + tiny**2
    start = (by_fall * of_rise - by_rise * of_both) / determinant
    end = (by_rise * of_fall - by_fall * of_both) / determinant
    for bound, beyond in ((lowest, end < lowest), (highest, end > highest)):
        if beyond.any():
            start = np.where(beyond, (by_fall - bound * of_both) / (of_fall + tiny), start)
            end = np.where(beyond, bound, end)
    for bound, beyond in ((lowest, start < lowest), (highest, start > highest)):
        if beyond.any():
            end = np.where(beyond, np.clip((by_rise - bound * of_both) / (of_rise + tiny), lowest, highest), end)
            start = np.where(beyond, bound, start)
    squares = (means - (start[..., None] * fall + end[..., None] * rise)) ** 2 @ wells
    return squares, start, end
