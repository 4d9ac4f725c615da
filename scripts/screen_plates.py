"""Compare the wells of all plates: controls, hits, replicates and dose-response.

Inputs: profiles.parquet and summary.json of every plate. Outputs, in results/screen: wells.parquet and wells.csv,
plates.csv, hits.csv, replicates.csv and doses.csv; where there is nothing to compare, they have no rows.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import json
import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd

from fieldwork import outputs
from fieldwork.inputs import platemaps
from fieldwork.job_log import logged
from fieldwork.screen import controls, doses, hits, replicates, treatments
from fieldwork.screen.profiles import ROBUST_Z
from fieldwork.screen.wells import is_treated, table_of, wells_of_screen

log = logging.getLogger(__name__)

MOST_NAMED = 5  # in a message
# Of the rows of a readout: if more have to be as clear as the numbers of wells allow before one is a hit, it is said.
FEW_HITS = 0.05


def main(*, profiles, results, settings, normalize, control_names, batches, nuclei_channels, doubted):
    # By name: the order of the sheet, a change of which makes no table again, is not that of sums.
    profiles = pd.concat(map(pd.read_parquet, sorted(profiles)), ignore_index=True)
    readouts = controls.readouts_of(profiles.columns, settings["readouts"], nuclei_channels)
    wells = wells_of_screen(profiles, readouts, controls=control_names, batches=batches)
    log_wells(wells, readouts)
    warn_of_controls(wells, readouts, control_names)
    warn_of_columns(wells)
    warn_of_treatments(wells)
    warn_of_normalisation(wells, readouts, normalize)
    table = table_of(wells)
    outputs.write_parquet(table, results.parquet)
    outputs.write_csv(table.to_pylist(), table.column_names, results.csv)
    write(controls.compare_controls(wells, wells["Role"], readouts), results.plates)
    compared = hits.hits_of(wells, readouts, limits=settings["hit"])
    log_hits(wells, compared, settings["hit"])
    write(compared, results.hits)
    pairs = replicates.replicates_of(wells, profiles, readouts)
    log_replicates(pairs)
    write(pairs, results.replicates)
    curves = doses.doses_of(wells, readouts, change=settings["hit"]["change"], doubted=doubted)
    log_doses(curves)
    write(curves, results.doses)


def doubted_shares(paths):
    """Return, by plate, the shares of positive nuclei whose threshold is in doubt, from the plates' summary.json."""
    summaries = {Path(path).parent.name: json.loads(Path(path).read_text(encoding="utf-8")) for path in paths}
    return {plate: summary.get("doubted", []) for plate, summary in summaries.items()}


def write(frame, path):
    """Write a table as CSV; what is not known is an empty cell."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    outputs.write_csv(rows, list(frame.columns), path)


def named(names):
    """Return some names for a message, the first of them if there are many."""
    names = [f"'{name}'" for name in dict.fromkeys(names)]
    return ", ".join(names[:MOST_NAMED]) + f" and {len(names) - MOST_NAMED} more" * (len(names) > MOST_NAMED)


def log_wells(wells, readouts):
    """Log which wells are compared in which readouts, and what is left out."""
    treated, excluded = is_treated(wells), wells["Excluded"].to_numpy(bool)
    roles = wells["Role"].to_numpy()
    log.info(
        "%d plates, %d wells: %d with a treatment, %d negative and %d positive controls; left out: %d excluded (%d, %d "
        "and %d of these), %d without a treatment",
        *(wells["Metadata_Plate"].nunique(), len(wells), treated.sum()),
        *((roles == "negative").sum(), (roles == "positive").sum(), excluded.sum(), (treated & excluded).sum()),
        *((excluded & (roles == role)).sum() for role in ("negative", "positive")),
        ((roles == "sample") & ~treated).sum(),
    )
    log.info("readouts (screen.readouts): %s", ", ".join(readouts) or "none")


def warn_of_controls(wells, readouts, control_names):
    """Warn of plates without negative controls, of those whose controls say little, and of names that no well has."""
    if names := controls.names_of_no_well(wells, control_names):
        log.warning("no well has the names %s of the key controls; see the columns in wells.csv", named(names))
    is_counted = controls.reference_of(wells, wells["Role"])
    with_controls = set(wells["Metadata_Plate"][is_counted])
    treated = wells["Metadata_Plate"][is_treated(wells)].unique()
    if without := [name for name in treated if name not in with_controls]:
        log.warning(
            "%d of %d plates with treatments have no negative control that is not excluded: no percent of control, P, "
            "Q and Hit there; curves %s (plates %s)",
            *(len(without), len(treated)),
            "leave them out, but those of shares" if len(without) < len(treated) else "are of the readouts themselves",
            named(without),
        )
    if names := controls.plates_with_outer_controls(wells, wells["Role"]):
        log.warning(
            "all negative controls lie in the outer two rows or columns: effects of treatments and of the position "
            "cannot be told apart there (plates %s)",
            named(names),
        )
    positive = wells[(wells["Role"] == "positive") & ~wells["Excluded"].to_numpy(bool)]
    kinds = positive[["Metadata_Plate", *treatments.COLUMNS]].drop_duplicates()
    numbers = kinds["Metadata_Plate"].value_counts(sort=False)
    if names := list(numbers.index[numbers > 1]):
        log.warning(
            "positive controls differ in treatment or dose: Z', SSMD and signal to background are of all of them, and "
            "no curve is fitted to them (plates %s)",
            named(names),
        )
    if with_controls and readouts:
        counted = wells[is_counted]
        for readout in readouts:
            percent = counted[controls.PERCENT.format(readout)]
            known = set(counted["Metadata_Plate"][percent.notna()])
            if missing := [name for name in wells["Metadata_Plate"].unique() if name in with_controls - known]:
                log.warning(
                    "%s of the negative controls is not known, or its median is not above 0: no percent of control, P, "
                    "Q and Hit for it, and no curve of percents (plates %s)",
                    *(readout, named(missing)),
                )


def warn_of_columns(wells):
    """Warn of columns of platemaps that do not count, although their names or cells suggest it."""
    plates = {}
    for plate, rows in controls.rows_by_plate(wells).items():
        for doubt in platemaps.doubts_of(rows):
            plates.setdefault(doubt, []).append(plate)
    for doubt, names in plates.items():
        log.warning("platemap: %s (plates %s)", doubt, named(names))


def warn_of_treatments(wells):
    """Log where no treatment is named; warn of spellings, units that cannot be compared, and doses that are text."""
    treated = wells[is_treated(wells)]
    if treated.empty:
        log.info("no well has a treatment (a platemap's column treatment, compound, drug ...): nothing is compared")
    if mixed := treatments.mixed_units(treated):
        units = ", ".join(sorted({unit or "none" for units in mixed.values() for unit in units}))
        log.warning(
            "%d treatments have doses in units that cannot be converted to one (%s), which are compared apart: %s",
            *(len(mixed), units, named(mixed)),
        )
    if alike := treatments.spellings(treatments.names_of(wells)):
        log.warning(
            "%d treatments are written in several ways, and taken as one, which differ in case or blanks alone: %s",
            *(len(alike), "; ".join(map(named, alike[:MOST_NAMED])) + "; ..." * (len(alike) > MOST_NAMED)),
        )
    is_text = np.array([isinstance(dose, str) for dose in treated["Dose"]], bool)
    if is_text.any():
        log.warning(
            "%d well(s) have a dose that is no number, such as %r: no curve is fitted to them (treatments %s)",
            *(is_text.sum(), treated["Dose"][is_text].iloc[0], named(treated["Treatment"][is_text])),
        )


def warn_of_normalisation(wells, readouts, normalize):
    """Warn of readouts without robust z, without which nothing is a hit."""
    columns = {name: ROBUST_Z.format(controls.compared_column(name)) for name in readouts}
    missing = [name for name, column in columns.items() if column not in wells or wells[column].isna().all()]
    if missing and is_treated(wells).any():
        log.warning(
            "no well has a robust z of %s (profiles.normalize: %s): Effect and Hit are empty",
            *(named(missing), normalize),
        )


def log_hits(wells, compared, limits):
    """Log the hits of each readout; warn where so few wells hardly let anything be one."""
    for readout, rows in compared.groupby("Readout", sort=False):
        known = rows["Hit"].notna().sum()
        hit = (rows["Hit"] == True).sum()  # noqa: E712
        log.info("%s: %d hits of %d treatments and doses, %d of them compared", readout, hit, len(rows), known)
    rows = compared.groupby("Readout")["P"].count().max() if len(compared) else 0
    if not rows:
        return
    smallest = hits.smallest_p_of(wells)
    needed = [math.ceil(p * rows / limits["q"]) for p in smallest]
    log.log(
        logging.WARNING if needed[-1] > max(1, FEW_HITS * rows) else logging.INFO,
        "with these numbers of replicates and negative controls, P is at least %.2g (%.2g where values are equal, as "
        "counts may be); for Q below %g (screen.hit.q), of %d treatments and doses %s (where values are equal, %s)",
        *(*smallest, limits["q"], rows),
        *(f"{count} must be as clear" if count <= rows else "none can be clear enough" for count in needed),
    )


def log_replicates(pairs):
    """Log how well replicate plates agree."""
    plates = pairs[["Plate_1", "Plate_2"]].drop_duplicates()
    if plates.empty:
        log.info("no two plates of a batch have the same treatments, doses and controls in the same wells")
        return
    medians = pairs.groupby("Readout", sort=False)["Correlation"].median().dropna()
    log.info(
        "%d pairs of replicate plates; median correlation: %s",
        *(len(plates), ", ".join(f"{name} {value:.3f}" for name, value in medians.items()) or "unknown"),
    )


def log_doses(curves):
    """Log how many treatments have an EC50, and why others have none."""
    for readout, rows in curves.groupby("Readout", sort=False):
        reasons = rows["Reason"][rows["EC50"].isna()].str.replace(r"^([<>]) .*", r"\1 tested doses", regex=True)
        listed = ", ".join(f"{count} {reason}" for reason, count in reasons.value_counts().items())
        log.info("%s: %d of %d treatments have an EC50; %s", readout, rows["EC50"].notna().sum(), len(rows), listed)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            profiles=snakemake.input.profiles,
            results=snakemake.output,
            settings=snakemake.params.screen,
            normalize=snakemake.params.normalize,
            control_names=snakemake.params.controls,
            batches=snakemake.params.batches,
            nuclei_channels=snakemake.params.columns["nuclei_channels"],
            doubted=doubted_shares(snakemake.input.summaries),
        )
