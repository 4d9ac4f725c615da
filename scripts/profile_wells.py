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

log = logging.getLogger(__name__)


def main(*, plate, tables, results, platemap, columns, settings, controls, min_nuclei):
    described = platemaps.read_platemap(platemap, plate) if platemap else {}
    wells_table = pq.read_table(tables.wells)
    wells = profiles.rows_of(plate, wells_table, described)
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
    if settings["normalize"] != "none":
        normalised = profiles.normalise(values, reference_of(plate, wells, settings["normalize"], controls))
        log_normalised(plate, normalised)
        values = pd.concat([values, normalised.values], axis="columns")
    schema = profiles.schema_of(wells_table.schema, values.columns, columns["platemap"])
    facts = {"features": json.dumps(features), "profiles": json.dumps(settings, sort_keys=True)}
    table = profiles.table_of(wells, values, schema=schema.with_metadata(facts))
    outputs.write_parquet(table, results.parquet)
    of_others = [name for name in columns["platemap"] if name not in next(iter(described.values()), {})]
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
        log.warning(
            "plate %s: %d wells have another number of good fields than %d: Count_Nuclei is a sum, and not comparable "
            "there; Mean_Count_Nuclei, of a field, is",
            *(plate, good.total() - good[usual], usual),
        )


def reference_of(plate, wells, normalize, controls):
    """Return which wells the others are compared with; log their number."""
    is_kept = np.array([not row.get("Excluded") for row in wells], bool)
    is_known = np.array([row["Count_Nuclei"] is not None for row in wells], bool)
    if normalize == "all wells":
        is_named = np.ones(len(wells), bool)
    else:
        is_named = np.array([role == "negative" for role in platemaps.roles_of(wells, controls)], bool)
    reference = is_named & is_kept & is_known
    log.info(
        "plate %s: profiles are normalised against %s: %d wells (left out: %d excluded, %d without a good field)",
        *(plate, normalize, reference.sum(), (is_named & ~is_kept).sum(), (is_named & is_kept & ~is_known).sum()),
    )
    return reference


def log_normalised(plate, normalised):
    """Log what could not be normalised."""
    if normalised.without_spread:
        log.info(
            "plate %s: %d features are alike in the reference wells (their median absolute deviation is 0), and empty "
            "in RobustZ_: %s",
            *(plate, len(normalised.without_spread), ", ".join(normalised.without_spread)),
        )
    if normalised.without_wells:
        total = len(normalised.values.columns)
        log.warning(
            "plate %s: %d of %d features are not normalised, and empty in RobustZ_: fewer than %d reference wells have "
            "them",
            *(plate, len(normalised.without_wells), total, profiles.FEWEST_REFERENCE_WELLS),
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
