"""Aggregate the nuclei of every well of a plate to its profile, and normalise the profiles.

Inputs: the plate's nuclei, fields and wells, the platemap if there is one. Outputs: profiles.parquet, with the columns
of all plates of the run, and profiles.csv.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import json
import logging
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from fieldwork import outputs
from fieldwork.inputs import platemaps
from fieldwork.job_log import logged
from fieldwork.screen import profiles
from fieldwork.screen.controls import described

log = logging.getLogger(__name__)


def main(*, plate, tables, results, platemap, columns, settings, controls, min_nuclei):
    cells = platemaps.read_platemap(platemap, plate) if platemap else {}
    wells_table = pq.read_table(tables.wells)
    wells = profiles.rows_of(plate, wells_table, cells)
    warn_of_pooled(plate, pd.read_parquet(tables.fields))
    features = profiles.features_of(tables.nuclei)
    values = profiles.profile_wells(
        wells,
        tables.nuclei,
        features=features,
        shares=columns["positive"],
        operation=settings["aggregate"],
        min_nuclei=min_nuclei,
    )
    few = int((values["Count_Nuclei"] < min_nuclei).sum())
    log.info(
        "plate %s: profiles of %d wells, %d of them without images: the %s of %d features over the nuclei that no "
        "border cuts; empty in %d wells with fewer than %d nuclei (screen.min_nuclei)",
        *(plate, len(wells), sum(not row["Fields_Total"] for row in wells), settings["aggregate"], len(features)),
        *(few, min_nuclei),
    )
    warn_of_sums(plate, wells)
    is_screen = bool(platemap or controls)  # elsewhere nobody expects controls
    level = logging.WARNING if is_screen else logging.INFO
    reference = reference_of(plate, wells, settings["normalize"], controls, level=level)
    if settings["normalize"] != "none":
        normalised = profiles.normalise(values, reference)
        log_normalised(plate, normalised)
        values = pd.concat([values, normalised.values], axis="columns")
    schema = profiles.schema_of(values.columns, columns["platemap"])
    facts = {"features": json.dumps(features), "profiles": json.dumps(settings, sort_keys=True)}
    table = profiles.table_of(wells, values, schema=schema.with_metadata(facts))
    outputs.write_parquet(table, results.parquet)
    of_others = [name for name in columns["platemap"] if name not in next(iter(cells.values()), {})]
    of_plate = [name for name in table.column_names if name not in of_others]
    outputs.write_csv(table.to_pylist(), of_plate, results.csv)


def warn_of_pooled(plate, fields):
    """Warn where a field has several z planes at a time point, or time points: profiles are of all their nuclei."""
    good = fields[fields["Image_Status"] == "ok"]
    field = ["Metadata_Well", "Metadata_Site"]
    for noun, column, position in (
        ("z planes", "Metadata_ZPlane", [*field, "Metadata_Timepoint"]),
        ("time points", "Metadata_Timepoint", field),
    ):
        position = [name for name in position if name in good]
        most = good.groupby(position, dropna=False)[column].nunique().max() if column in good and len(good) else 0
        if most > 1:
            log.warning(
                "plate %s: a field has up to %d %s: profiles, and what is made of them, are of the nuclei in all",
                *(plate, most, noun),
            )


def warn_of_sums(plate, wells):
    """Warn where wells have other numbers of good fields than most, as counts are sums."""
    good = Counter(row["Fields_Total"] - row["Fields_Failed"] for row in wells if row["Count_Nuclei"] is not None)
    if len(good) > 1:
        usual = max(good, key=lambda number: (good[number], number))
        others = good.total() - good[usual]
        log.warning(
            "plate %s: another number of good fields than %d in %s: Count_Nuclei is a sum, and not comparable there; "
            "Mean_Count_Nuclei, of a field, is",
            *(plate, usual, f"{others} well{'s' * (others > 1)}"),
        )


def reference_of(plate, wells, normalize, controls, *, level):
    """Return which wells the others are compared with; log where no well is a control, or too few are."""
    roles = np.array(platemaps.roles_of(wells, controls, where=f"plate '{plate}'"), object)
    is_kept = np.array([not row["Excluded"] for row in wells], bool)
    is_known = np.array([row["Count_Nuclei"] is not None for row in wells], bool)
    named = {"negative controls": roles == "negative", "all wells": roles != "", "none": roles == ""}[normalize]
    reference = named & is_kept & is_known
    log.info(
        "plate %s: %d positive and %d negative control wells; compared with %s: %d wells (left out: %d excluded, "
        "%d without a good field)",
        *(plate, (roles == "positive").sum(), (roles == "negative").sum(), normalize, reference.sum()),
        *((named & ~is_kept).sum(), (named & is_kept & ~is_known).sum()),
    )
    is_few = normalize != "none" and int(reference.sum()) < profiles.FEWEST_REFERENCE_WELLS
    few = f"fewer than {profiles.FEWEST_REFERENCE_WELLS} wells to compare with: RobustZ_ is empty in its profiles"
    if (roles == "sample").all():
        log.log(
            level,
            "plate %s: no well is a control; found %s; expected negative and positive in a column control of the "
            "platemap, or names under the key controls%s",
            *(plate, described(wells), f"; {few}" * is_few),
        )
    elif is_few:
        log.log(level, "plate %s: %s (%s, without excluded ones and those without a good field)", plate, few, normalize)
    return reference


def log_normalised(plate, normalised):
    """Log what could not be normalised."""
    alike, missing, total = normalised.without_spread, normalised.without_wells, len(normalised.values.columns)
    if alike:
        log.info(
            "plate %s: %d of %d features are alike in the reference wells (their median absolute deviation is 0), and "
            "empty in RobustZ_: %s",
            *(plate, len(alike), total, ", ".join(alike)),
        )
    if 0 < len(missing) < total:  # where all are, the reference's log says so
        log.warning(
            "plate %s: %d of %d features are not normalised, and empty in RobustZ_, as fewer than %d reference wells "
            "have them: %s",
            *(plate, len(missing), total, profiles.FEWEST_REFERENCE_WELLS, ", ".join(missing)),
        )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.wildcards.plate,
            tables=snakemake.input,
            results=snakemake.output,
            platemap=next(iter(snakemake.params.platemap), None),
            columns=snakemake.params.columns,
            settings=snakemake.params.profiles,
            controls=snakemake.params.controls,
            min_nuclei=snakemake.params.min_nuclei,
        )
