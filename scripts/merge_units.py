"""Join the tables of one plate's detection jobs into the plate's tables.

Inputs: the units' nuclei and fields, the platemap if there is one. Outputs: nuclei.parquet; fields and wells as CSV and
as Parquet; summary.json, for the last lines of a run; settings.json: what made the tables, and when. A Parquet table
has the columns of all plates of the run.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa

from fieldwork import NOT_READ, InputError, outputs
from fieldwork.detection import plate_flags
from fieldwork.inputs import platemaps
from fieldwork.job_log import logged
from fieldwork.plates import nuclei_table, stale, tables
from fieldwork.plates import positive as positive_nuclei
from fieldwork.plates.rows import with_channel
from fieldwork.surroundings import checkout, machine

UTC = "%Y-%m-%dT%H:%M:%SZ"  # ISO 8601

log = logging.getLogger(__name__)


def main(
    *,
    plate,
    units,
    platemap,
    results,
    detection,
    with_quality,
    on_bad_image,
    max_failed_fields,
    channel,
    nuclei_channel,
    channels,
    cells_channel,
    positive,
    flags,
    exclude_flags,
    columns,
    controls,
    made_of,
):
    fields, starts = tables.merge_fields(units.fields, detection, channels=channels)
    check_failures(plate, fields, on_bad_image=on_bad_image, max_failed_fields=max_failed_fields)
    for line in plate_flags.judge_fields(fields, flags):
        log.info("plate %s: %s", plate, line)
    warn_of_missing_channels(plate, fields)
    warn_of_different_types(plate, fields, channels)
    warn_of_sums(plate, fields)
    notes = tables.notes_of(fields)
    for note in notes:
        log.warning("plate %s: %s", plate, note)
    absent = tables.absent_columns(fields)
    stale.forget_labels_of_others(Path(results.nuclei).parent, fields)
    stale.forget_timepoints(Path(results.nuclei).parent)
    described = platemaps.read_platemap(platemap, plate) if platemap else {}
    excluded = plate_flags.excluded_wells(fields, described, exclude_flags)
    negative = platemaps.negative_wells(described, controls, where=f"plate '{plate}'")
    thresholds, doubts = positive_nuclei.thresholds_of(
        *(plate, positive, units.nuclei, starts, fields),
        channels=channels,
        negative=[well for well in negative if well not in excluded],
    )
    made_of = {**made_of, **({"images": notes} if notes else {})}
    facts = {"channel": channel, "thresholds": thresholds, "made_of": made_of}
    nuclei, counts = write_nuclei(units, starts, fields, results, absent, facts, columns, cells_channel)
    shares = positive_nuclei.shares_of(fields, counts)
    doubts += log_positive(plate, thresholds, counts)
    for _, doubt in doubts:
        log.warning("plate %s: %s", plate, doubt)
    write_fields(
        fields, results, absent=absent, with_quality=with_quality, nuclei_channel=nuclei_channel, columns=columns
    )
    wells, wells_columns = tables.wells_of(fields, described, shares, excluded=excluded, controls=controls)
    outputs.write_csv(wells, wells_columns, results.wells)
    schema = tables.wells_schema(columns["platemap"], positive=columns["positive"], with_scores=columns["controls"])
    outputs.write_parquet(pa.Table.from_pylist(wells, schema), results.wells_parquet)
    summary = tables.summary_of(fields, detection)
    summary["notes"] += [doubt for _, doubt in doubts]
    summary["doubted"] = sorted({tables.SHARE.format(name) for name, _ in doubts})
    outputs.write_json(summary, results.summary)
    # The commit is asked for here: as a parameter, each new one would make all tables again.
    moment = {"commit": checkout.commit_of(), "machine": machine.facts(), "time": time.strftime(UTC, time.gmtime())}
    outputs.write_json({**made_of, **moment}, results.settings)
    log.info("plate %s: %d wells, %d fields, %d nuclei", plate, len(wells), len(fields), nuclei)
    log_excluded(plate, wells, described, exclude_flags)
    if wells and "ZPrime_Count_Nuclei" in wells_columns:
        z_prime = wells[0]["ZPrime_Count_Nuclei"]
        log.info("plate %s: Z' of counts %s", plate, "undefined" if z_prime is None else f"{z_prime:.2f}")


def write_nuclei(units, starts, fields, results, absent, facts, columns, cells_channel):
    """Write the nuclei with the columns of the run; return their number, and those of positive ones by field."""
    schema = nuclei_table.nuclei_schema(
        outlined=columns["outlined"],
        peaks=columns["peaks"],
        channels=columns["channels"],
        positive=columns["positive"],
        cells=columns["cells"],
        groups=columns["groups"],
        absent=[column for column in absent if column not in columns["position"]],
    )
    schema = schema.with_metadata(nuclei_table.facts_of(schema, **facts))
    thresholds = facts["thresholds"]
    options = {"schema": schema, "thresholds": thresholds, "cells_channel": cells_channel}
    parts = nuclei_table.merge_nuclei(units.nuclei, starts, fields, **options)
    counts = {}
    counted = positive_nuclei.count(parts, thresholds, counts, fields=len(fields))
    nuclei = outputs.write_row_groups(counted, results.nuclei, schema=schema)
    return nuclei, counts


def log_positive(plate, thresholds, counts):
    """Log how many nuclei are positive in each channel; return (channel, doubt) where all or none are."""
    doubts = []
    for channel, threshold in thresholds.items():
        if threshold is None:
            continue
        positive, known = counts[channel].sum(axis=1).tolist()
        number = {0: "none", known: "all"}.get(positive, positive)
        line = (
            f"{number} of {known} nuclei are positive in {channel}: their mean intensity there is above {threshold:.6g}"
        )
        if known and positive in (0, known):  # the threshold parts nothing
            doubts.append((channel, f"{line}; is positive in the unit of nuclei.parquet?"))
        else:
            log.info("plate %s: %s", plate, line)
    return doubts


def write_fields(fields, results, *, absent, with_quality, nuclei_channel, columns):
    """Write the fields as CSV with the plate's columns, and as Parquet with those of the run."""
    left_out = absent if with_quality else [*absent, *tables.QUALITY]
    named = {column: with_channel(column, nuclei_channel) for column in tables.FIELDS.names if column not in left_out}
    rows = [{name: row[column] for column, name in named.items()} for row in fields]
    outputs.write_csv(rows, list(named.values()), results.fields)
    left_out = [column for column in left_out if column not in columns["position"]]
    table = pa.Table.from_pylist(rows, tables.fields_schema(columns["nuclei_channels"], left_out=left_out))
    outputs.write_parquet(table, results.fields_parquet)


def log_excluded(plate, wells, described, exclude_flags):
    """Log how many wells are excluded, and by what; warn where none is left. Log which flags were judged nowhere."""
    unknown = [name for name in exclude_flags if all(row[f"Flag_{name}"] is None for row in wells)]
    if wells and unknown:
        log.info("plate %s: no field was judged for %s, which exclude nothing", plate, ", ".join(unknown))
    excluded = [row["Metadata_Well"] for row in wells if row[plate_flags.EXCLUDED]]
    by_platemap = set(excluded).intersection(platemaps.excluded_wells(described))
    log.log(
        logging.WARNING if excluded and len(excluded) == len(wells) else logging.INFO,
        "plate %s: %d of %d wells are excluded: %d by the platemap, %d by screen.exclude_flags alone",
        *(plate, len(excluded), len(wells), len(by_platemap), len(excluded) - len(by_platemap)),
    )


def _named(row):
    """Return what messages call a field: its file, if it has one, and its place."""
    path = "/".join(filter(None, [row["PathName_DNA"], row["FileName_DNA"]]))
    position = f"well {row['Metadata_Well']}, site {row['Metadata_Site']}"
    return f"{path} ({position})" if path else position


def check_failures(plate, fields, *, on_bad_image, max_failed_fields):
    """Raise an error if too many fields failed: the plate's tables would look complete without being so.

    Raises
    ------
    InputError
        Names the first failed fields with their reasons.
    """
    failed = [f"{_named(row)}: {row['Image_Error']}" for row in fields if row["Image_Status"] == "failed"]
    for line in failed:
        log.info("failed: %s", line)
    allowed = 0 if on_bad_image == "stop" else max_failed_fields
    if failed and len(failed) / len(fields) > allowed:  # not a product, which may be rounded down below a whole number
        rule = "on_bad_image: stop" if on_bad_image == "stop" else f"max_failed_fields: {max_failed_fields}"
        more = f"\n  and {len(failed) - 5} more, all in the log" if len(failed) > 5 else ""
        are_tried_again = any(NOT_READ in line for line in failed)
        again = " The same command tries those that were not read again." * are_tried_again
        raise InputError(
            f"plate {plate}: {len(failed)} of {len(fields)} fields failed, more than {rule} allows:\n  "
            + "\n  ".join(failed[:5])
            + more
            + "\n  Put them right or take them away, or allow more failed fields with max_failed_fields."
            + again
        )
    if failed:
        log.warning("plate %s: %d of %d fields failed, first %s", plate, len(failed), len(fields), failed[0])


def warn_of_missing_channels(plate, fields):
    """Warn of channels that could not be measured in some fields."""
    missing = [row for row in fields if row[tables.MISSING_CHANNELS]]
    if not missing:
        return
    counts = Counter(name for row in missing for name in row[tables.MISSING_CHANNELS].split(";"))
    log.warning(
        "plate %s: %d of %d fields miss channels, in which nothing is measured there (%s); %s in fields.csv. First %s",
        *(plate, len(missing), len(fields), ", ".join(f"{name} in {count}" for name, count in counts.items())),
        tables.MISSING_CHANNELS,
        "well {Metadata_Well}, site {Metadata_Site}: {Image_Channels_Reason}".format(**missing[0]),
    )


def warn_of_sums(plate, fields):
    """Warn where a field has several z planes at a time point, or time points: the counts of wells add them up."""
    good = [row for row in fields if row["Image_Status"] == "ok"]
    field = ("Metadata_Well", "Metadata_Site")
    for noun, column, columns, apart in (
        ("z planes (nuclei.z takes one)", "Metadata_ZPlane", (*field, "Metadata_Timepoint"), ""),
        ("time points", "Metadata_Timepoint", field, "; timepoints.csv has the counts of every time point"),
    ):
        positions = {}
        for row in good:
            positions.setdefault(tuple(row[name] for name in columns), set()).add(row[column])
        most = max(map(len, positions.values()), default=0)
        if most > 1:
            log.warning(
                "plate %s: a field has up to %d %s, each with a row of its own; the counts of wells add them up%s",
                *(plate, most, noun, apart),
            )


def warn_of_different_types(plate, fields, channels):
    """Warn of channels whose images have several types, none of which is that of most."""
    for number, channel in enumerate(channels):
        types = tables.types_of(fields, number, channel)
        if len(types) > 1:
            log.warning(
                "plate %s: images of channel %s are of different types (%s), and none is that of most: intensities may "
                "not be comparable between fields",
                *(plate, channel, ", ".join(f"{kind} in {count}" for kind, count in sorted(types.items()))),
            )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.wildcards.plate,
            units=snakemake.input,
            platemap=next(iter(snakemake.params.platemap), None),
            results=snakemake.output,
            detection=snakemake.params.detection,
            with_quality=snakemake.params.quality,
            on_bad_image=snakemake.params.on_bad_image,
            max_failed_fields=snakemake.params.max_failed_fields,
            channel=snakemake.params.channel,
            nuclei_channel=snakemake.params.nuclei_channel,
            channels=[name for name, _ in snakemake.params.channels],
            cells_channel=(snakemake.params.cells or {}).get("watershed"),
            positive=snakemake.params.positive,
            flags=snakemake.params.flags,
            exclude_flags=snakemake.params.exclude_flags,
            columns=snakemake.params.columns,
            controls=snakemake.params.controls,
            made_of=snakemake.params.made_of,
        )
