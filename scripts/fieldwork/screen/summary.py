"""What came out of a run, in words: for the page with which the report begins."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from fieldwork.figures import counted
from fieldwork.screen.controls import reference_of
from fieldwork.screen.labels import cut, dosed, interval, percent
from fieldwork.screen.wells import is_treated

MOST_NAMES, MOST_EC50S, MOST_WARNINGS = 12, 60, 40
MINUS = "\N{MINUS SIGN}"
BESIDE_SETTINGS = {"libraries", "digest", "commit", "machine", "time"}  # keys of settings.json that are no settings


class Section(NamedTuple):
    """A part of the page: sentences, and rows of a table whose first one is its header."""

    title: str
    sentences: list[str]
    table: list[list[str]] = []


class Settings(NamedTuple):
    """What the tables of plates are made of."""

    plates: str  # in words
    facts: dict


class Screen(NamedTuple):
    """The tables of results/screen."""

    wells: pd.DataFrame
    plates: pd.DataFrame
    hits: pd.DataFrame
    replicates: pd.DataFrame
    doses: pd.DataFrame


def named(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """Return names for a sentence, the first of them if there are many."""
    names = list(names)
    return ", ".join(names[:most]) + f" and {len(names) - most:,} more" * (len(names) > most)


def sections_of(
    screen: Screen | None, slides: pd.DataFrame | None, stacks: dict[str, pd.DataFrame], warnings: Sequence[str]
) -> list[Section]:
    """Return what came out of a run.

    Parameters
    ----------
    screen : Screen or None
        None without a plate.
    slides : pandas.DataFrame or None
        slides.csv of all batches; None without a slide.
    stacks : dict of str to pandas.DataFrame
        Stack -> frames.csv.
    warnings : sequence of str
        What is doubtful, and what was decided.

    Returns
    -------
    list of Section
        Those that say something.
    """
    measured = []
    if screen:
        measured += _measured(screen.wells)
    if slides is not None:
        measured += _slides(slides)
    if stacks:
        measured += _stacks(stacks)
    shown = list(dict.fromkeys(warnings))
    doubts = shown[:MOST_WARNINGS] or ["No warning."]
    if len(shown) > MOST_WARNINGS:
        doubts.append(f"And {len(shown) - MOST_WARNINGS:,} more, in the logs.")
    sections = [
        Section("What was measured", measured or ["Nothing: the sheets name no plate, slide or stack."]),
        Section("What is doubtful, and what was decided", doubts),
    ]
    if screen:
        sections += [
            Section("Wells to look at", _flagged(screen.wells)),
            _controls(screen),
            _hits(screen),
            _doses(screen.doses),
            _replicates(screen.replicates),
        ]
    return sections


def _names_of(wells):
    """Return the wells with their plates, ``P1 B02``."""
    return [f"{plate} {well}" for plate, well in zip(wells["Metadata_Plate"], wells["Metadata_Well"], strict=True)]


def _measured(wells):
    """Return sentences on plates, wells, fields and nuclei."""
    total, failed = int(wells["Fields_Total"].sum()), int(wells["Fields_Failed"].sum())
    nuclei = int(wells["Count_Nuclei"].sum())
    count = _nuclei(nuclei) if wells["Count_Nuclei"].notna().any() else "no count of nuclei is known"
    sentences = [
        f"{counted(wells['Metadata_Plate'].nunique(), 'plate')}, {counted(len(wells), 'well')}, "
        f"{counted(total, 'field')}: {count}."
    ]
    if failed:
        with_failed = wells[wells["Fields_Failed"] > 0]
        sentences.append(f"{counted(failed, 'field')} failed, in {named(_names_of(with_failed))}.")
    elif total:
        sentences.append("No field failed.")
    if empty := int((wells["Fields_Total"] == 0).sum()):
        sentences.append(f"{counted(empty, 'well')} of the platemaps {'has' if empty == 1 else 'have'} no image.")
    return sentences


def _nuclei(number):
    return f"{number:,} {'nucleus' if number == 1 else 'nuclei'}"


def _slides(slides):
    """Return sentences on slides."""
    failed = slides[slides["Slide_Status"] != "ok"]
    good = slides[slides["Slide_Status"] == "ok"]
    nuclei = int(pd.to_numeric(good["Count_Nuclei"]).sum())
    sentences = [f"{counted(len(slides), 'slide')}, of which {len(failed) or 'none'} failed: {_nuclei(nuclei)}."]
    reasons = [f"Slide {row.Metadata_Slide} failed: {row.Slide_Error}." for row in failed.itertuples()]
    if len(reasons) > MOST_NAMES:
        sentences.append(f"The first {MOST_NAMES} that failed:")
    return sentences + reasons[:MOST_NAMES]


def _stacks(stacks):
    """Return sentences on stacks."""
    frames = pd.concat(stacks.values(), ignore_index=True)
    failed = int((frames["Image_Status"] != "ok").sum())
    text = f"{counted(len(stacks), 'stack')}, {counted(len(frames), 'frame')}, of which {failed or 'none'} failed"
    if "Image_Count_Nuclei" in frames:  # not of a function of the user's
        text += f": {_nuclei(int(frames['Image_Count_Nuclei'].sum()))}"
    return [f"{text}."]


def _flagged(wells):
    """Return sentences on the flags of wells, and on those that are left out."""
    sentences = []
    for flag in (name for name in wells if name.startswith("Flag_")):
        members = wells[wells[flag].fillna(False).to_numpy(bool)]
        if len(members):
            sentences.append(f"{flag}: {counted(len(members), 'well')} ({named(_names_of(members))}).")
    sentences = sentences or ["No well is flagged."]
    excluded = wells[wells["Excluded"].to_numpy(bool)]
    if excluded.empty:
        return [*sentences, "No well is excluded."]
    verb = "is" if len(excluded) == 1 else "are"
    return [
        *sentences,
        f"{counted(len(excluded), 'well')} {verb} excluded, and left out of all comparisons "
        f"({named(_names_of(excluded))}).",
    ]


def _controls(screen):
    """Return the controls, and how well they are told apart."""
    wells, plates = screen.wells, screen.plates
    numbers = {role: reference_of(wells, wells["Role"], role) for role in ("negative", "positive")}
    with_controls = wells["Metadata_Plate"][numbers["negative"]].nunique()
    total = wells["Metadata_Plate"].nunique()
    sentences = [
        f"Control wells that are not excluded: {numbers['negative'].sum():,} negative, {numbers['positive'].sum():,} "
        "positive."
    ]
    if not with_controls:
        return Section(
            "Controls", [*sentences, "Without negative controls there is no percent of control, no P and no hit."]
        )
    if with_controls < total:
        sentences.append(f"{counted(total - with_controls, 'plate')} of {total} without negative controls.")
    known = plates[plates["ZPrime"].notna()]
    rows = [["readout", "plates", "Z' (median)", "lowest", "on plate"]]
    for readout, of_readout in known.groupby("Readout", sort=False):
        lowest = of_readout.loc[of_readout["ZPrime"].idxmin()]
        cells = (of_readout["ZPrime"].median(), lowest["ZPrime"])
        rows.append(
            [
                readout,
                str(len(of_readout)),
                *(f"{cell:.2f}".replace("-", MINUS) for cell in cells),
                lowest["Metadata_Plate"],
            ]
        )
    if len(rows) == 1:
        return Section(
            "Controls", [*sentences, "Z' is not known for any readout: see Reason in results/screen/plates.csv."]
        )
    return Section("Controls", sentences, rows)


def _hits(screen):
    """Return how many treatments and doses are hits, and the strongest."""
    hits = screen.hits
    if hits.empty:
        return Section("Hits", ["No well has a treatment, so that nothing is compared."])
    treatments = screen.wells["Treatment"][is_treated(screen.wells)].nunique()
    rows = [["readout", "compared", "hits", "strongest (change)"]]
    for readout, of_readout in hits.groupby("Readout", sort=False):
        judged = of_readout["Hit"].notna().sum()
        hit = of_readout[[value is True for value in of_readout["Hit"]]]
        ranked = hit.iloc[(-hit["Effect"].abs()).argsort(kind="stable")].drop_duplicates(["Batch", "Treatment", "Unit"])
        strongest = [
            f"{dosed(row.Treatment, row.Dose, row.Unit)} ({percent(row.Change)})" for row in ranked.head(5).itertuples()
        ]
        rows.append(
            [readout, f"{judged:,} of {len(of_readout):,}", f"{len(hit):,}" if judged else "", ", ".join(strongest)]
        )
    doses = hits.drop_duplicates(["Batch", "Treatment", "Dose", "Unit"])["Dose"]
    several = f"at {counted(len(doses), 'dose')} in all" if doses.notna().any() else "without doses"
    sentences = [f"{counted(treatments, 'treatment')} {several}."]
    if not hits["Hit"].notna().any():
        sentences.append("None could be judged: P, the effect in robust z or the change is not known.")
    return Section("Hits", sentences, rows)


def _doses(doses):
    """Return the EC50s, and why others have none."""
    if doses.empty:
        return Section("EC50", ["No treatment has a dose."])
    rows = [["treatment", "readout", "EC50 (95 % interval)", "limited by"]]
    known = doses[doses["EC50"].notna()]
    for row in known.head(MOST_EC50S).to_dict("records"):
        name = cut(row["Treatment"]) + f", {row['Batch']}" * bool(row["Batch"])
        rows.append([name, row["Readout"], interval(pd.Series(row)), row["Reason"]])
    sentences = []
    for readout, of_readout in doses.groupby("Readout", sort=False):
        reasons = of_readout["Reason"][of_readout["EC50"].isna()]
        reasons = reasons.map(lambda reason: re.sub(r"^([<>]) .*", r"EC50 \1 tested doses", reason)).value_counts(
            sort=False
        )
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        sentences.append(
            f"{readout}: {of_readout['EC50'].notna().sum()} of {counted(len(of_readout), 'treatment')} "
            f"with an EC50" + f"; {listed}" * bool(listed) + "."
        )
    if len(known) > MOST_EC50S:
        sentences.append(f"The first {MOST_EC50S} of {len(known):,} are here; all are in results/screen/doses.csv.")
    return Section("EC50", sentences, rows if len(known) else [])


def _replicates(pairs):
    """Return how well replicate plates agree."""
    number = len(pairs.drop_duplicates(["Plate_1", "Plate_2"]))
    if not number:
        return Section(
            "Replicates",
            ["No two plates of a batch are replicates: equal treatments, doses and controls in the same wells."],
        )
    rows = [["readout", "r (median)", "lowest", "between"]]
    for readout, of_readout in pairs.groupby("Readout", sort=False):
        known = of_readout[of_readout["Correlation"].notna()]
        if len(known):
            lowest = known.loc[known["Correlation"].idxmin()]
            cells = (known["Correlation"].median(), lowest["Correlation"])
            between = f"{lowest['Plate_1']} and {lowest['Plate_2']}"
            rows.append([readout, *(f"{cell:.3f}".replace("-", MINUS) for cell in cells), between])
    sentences = [f"{counted(number, 'pair')} of replicate plates."]
    shares = pairs["Share_Replicating"].dropna()
    if len(shares):
        sentences.append(
            f"{100 * shares.median():.0f} % of the treated wells have a profile that is more like their replicate's "
            "than 95 % of random pairs are. Treatments without an effect cannot replicate."
        )
    if len(rows) == 1:
        sentences.append("No correlation is known: too few wells have values.")
    return Section("Replicates", sentences, rows if len(rows) > 1 else [])


def settings_of(records: Mapping[str, Mapping]) -> list[Settings]:
    """Return the settings that counted, those of equal plates together.

    Parameters
    ----------
    records : mapping of str to mapping
        Plate -> its settings.json.

    Returns
    -------
    list of Settings
    """
    plates, facts = {}, {}
    for plate, record in records.items():
        counted_facts = {name: fact for name, fact in record.items() if name not in BESIDE_SETTINGS}
        key = json.dumps(counted_facts, sort_keys=True)
        plates.setdefault(key, []).append(plate)
        facts[key] = counted_facts
    return [Settings(_plates(names, len(records)), facts[key]) for key, names in plates.items()]


def moments_of(records: Mapping[str, Mapping]) -> list[str]:
    """Return sentences: by which commit, on which machine, and when the tables of plates were joined.

    Parameters
    ----------
    records : mapping of str to mapping
        Plate -> its settings.json.
    """
    groups = {}
    for plate, record in records.items():
        machine = ", ".join(
            [
                str(record["machine"]["processor"]),
                counted(record["machine"]["cores"], "core"),
                f"{record['machine']['memory_gb']} GB",
                str(record["machine"]["system"]),
                f"Python {record['machine']['python']}",
            ]
        )
        groups.setdefault((record["commit"], machine), {})[plate] = record["time"]
    sentences = []
    for (commit, machine), times in groups.items():
        first, last = min(times.values()), max(times.values())
        when = f"at {first}" if first == last else f"from {first} to {last}"
        by = f"commit {commit} of Fieldwork" if commit else "Fieldwork, in no checkout"
        sentences.append(f"Tables of {_plates(list(times), len(records))} joined {when} by {by}, on {machine}.")
    return sentences


def _plates(names, total):
    """Return plates in words: their names, or how many where these are all of several."""
    if len(names) == total > 1:
        return f"all {total:,} plates"
    return f"{'plate' if len(names) == 1 else 'plates'} {named(names)}"
