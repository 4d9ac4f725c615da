"""Profiles of planted screens, without images: what `planted_screen` plants, counted without error."""

import numpy as np
import pandas as pd

import planted_screen
from fieldwork.screen import profiles
from fieldwork.screen.controls import roles_of

COUNT, SHARE, AREA = "Count_Nuclei", "Share_Positive_w2", "Nuclei_AreaShape_Area"
INTENSITY = "Nuclei_Intensity_MeanIntensity_w1"
READOUTS = [COUNT, AREA, INTENSITY, SHARE]
MIN_NUCLEI = 20


def profiles_of_wells(rows, *, controls=None):
    """Return profiles of wells, normalised against the negative controls of their plates.

    Parameters
    ----------
    rows : list of dict
        `Metadata_` columns, readouts, and what differs from a good well with one field.
    """
    wells = pd.DataFrame(rows)
    absent = {"Fields_Total": 1, "Fields_Failed": 0, "Flag_OutOfFocus": False, "Excluded": False}
    wells = wells.assign(**{name: value for name, value in absent.items() if name not in wells})
    wells["Mean_Count_Nuclei"] = wells[COUNT] / (wells["Fields_Total"] - wells["Fields_Failed"])
    features = [COUNT, "Mean_Count_Nuclei", *(name for name in READOUTS[1:] if name in wells)]
    wells[features] = wells[features].astype(float)
    parts = []
    for _, plate in wells.groupby("Metadata_Plate", sort=False):
        negative = np.array(roles_of(plate, controls or {}), object) == "negative"
        normalised = profiles.normalise(plate[features], negative & ~plate["Excluded"].to_numpy(bool))
        parts.append(pd.concat([plate, normalised.values], axis="columns"))
    return pd.concat(parts, ignore_index=True)


def planted_profiles(seed):
    """Return the profiles of a planted screen, and what its compounds do; blurred wells are excluded."""
    random = np.random.default_rng(seed)
    compounds = planted_screen.compounds_of(random)
    rows = []
    for well in planted_screen.plan(random, compounds):
        mean, share = planted_screen.effect(compounds, well)
        count = max(0, round(random.normal(mean, planted_screen.SPREAD * mean)))
        measured = {
            AREA: random.normal(150, 3),
            INTENSITY: random.normal(3000, 90) * planted_screen.PLATES[well.plate],
            SHARE: random.binomial(count, share) / max(1, count),
        }
        rows.append(
            {
                **{"Metadata_Plate": well.plate, "Metadata_Well": well.well, "Metadata_compound": well.compound},
                **{"Metadata_concentration_um": f"{well.dose_um:g}", "Metadata_control": well.control},
                **{"Flag_OutOfFocus": well.blur_px > 0, "Excluded": well.blur_px > 0, COUNT: count},
                **{name: value if count >= MIN_NUCLEI else np.nan for name, value in measured.items()},
            }
        )
    return profiles_of_wells(rows), compounds
