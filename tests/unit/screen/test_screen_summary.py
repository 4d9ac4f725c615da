"""The page that sums up a run says what was planted, in words that are right for none, one and many."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import planted_profiles
import write_summary
from fieldwork.screen import controls, doses, hits, page, replicates, summary
from fieldwork.screen.wells import wells_of_screen
from planted_profiles import AREA, COUNT, INTENSITY, READOUTS, SHARE, profiles_of_wells

LIMITS = {"q": 0.05, "z": 3, "change": 0.2}


def screen_of(profiles):
    """Return the tables of a screen."""
    wells = wells_of_screen(profiles, READOUTS, controls={}, batches={})
    return summary.Screen(
        wells,
        controls.compare_controls(wells, wells["Role"], READOUTS),
        hits.hits_of(wells, READOUTS, limits=LIMITS),
        replicates.replicates_of(wells, profiles, READOUTS),
        doses.doses_of(wells, READOUTS, change=LIMITS["change"]),
    )


def sections_of(screen=None, slides=None, stacks=None, warnings=()):
    """Return title -> section."""
    return {section.title: section for section in summary.sections_of(screen, slides, stacks or {}, warnings)}


def well(plate, name, compound="", dose="", control="", **others):
    """Return a well of a platemap with 100 nuclei."""
    return {
        **{"Metadata_Plate": plate, "Metadata_Well": name, "Metadata_compound": compound, "Metadata_dose_um": dose},
        **{"Metadata_control": control, COUNT: 100, AREA: 150.0, INTENSITY: 3000.0, SHARE: 0.1},
        **others,
    }


@pytest.fixture(scope="module")
def planted():
    profiles, compounds = planted_profiles.planted_profiles(5)
    return sections_of(screen_of(profiles)), profiles, compounds


def test_the_numbers_of_a_planted_screen_are_the_planted_ones(planted):
    sections, profiles, compounds = planted
    nuclei = int(profiles[COUNT].sum())
    measured = sections["What was measured"].sentences
    assert measured == [f"4 plates, 896 wells, 896 fields: {nuclei:,} nuclei.", "No field failed."]
    blurred = profiles[profiles["Excluded"]]
    names = ", ".join(blurred["Metadata_Plate"] + " " + blurred["Metadata_Well"])
    assert sections["Wells to look at"].sentences == [
        f"Flag_OutOfFocus: 5 wells ({names}).",
        f"5 wells are excluded, and left out of all comparisons ({names}).",
    ]
    kept = profiles[~profiles["Excluded"]]["Metadata_control"].value_counts()
    assert sections["Controls"].sentences == [
        f"Control wells that are not excluded: {kept['negative']} negative, {kept['positive']} positive."
    ]
    header, of_count = sections["Controls"].table[:2]
    assert header[0] == "readout" and of_count[:2] == [COUNT, "4"]
    assert 0.4 < float(of_count[3]) <= float(of_count[2]) < 1
    assert sections["Hits"].sentences == ["24 treatments at 192 doses in all."]
    assert sections["Replicates"].sentences[0] == "2 pairs of replicate plates."
    by_readout = {row[0]: row for row in sections["Replicates"].table}
    assert float(by_readout[COUNT][1]) > 0.95 and by_readout[COUNT][3] in ("L1R1 and L1R2", "L2R1 and L2R2")


def test_the_ec50s_of_the_page_are_the_planted_ones_and_inert_compounds_have_none(planted):
    sections, _, compounds = planted
    written = {row[0]: row[2] for row in sections["EC50"].table if row[1] == COUNT}
    active = {name: compound.ec50_um for name, compound in compounds.items() if compound.ec50_um is not None}
    assert set(written) == set(active)
    found = {name: re.fullmatch(r"([\d.]+) uM \(([\d.]+) to ([\d.]+)\)", text) for name, text in written.items()}
    right = [abs(float(found[name][1]) / ec50 - 1) < 0.2 for name, ec50 in active.items()]
    assert sum(right) >= 19
    assert f"{COUNT}: 21 of 24 treatments with an EC50; 3 no effect." in sections["EC50"].sentences


def test_failed_fields_and_wells_without_images_are_named():
    rows = [
        well("P1", "A01", Fields_Total=4, Fields_Failed=1),
        well("P1", "A02", Fields_Total=4, Fields_Failed=4, **{COUNT: np.nan}),
        well("P1", "A03", Fields_Total=0, Fields_Failed=0, **{COUNT: np.nan}),
    ]
    measured = sections_of(screen_of(profiles_of_wells(rows)))["What was measured"].sentences
    assert measured == [
        "1 plate, 3 wells, 8 fields: 100 nuclei.",
        "5 fields failed, in P1 A01, P1 A02.",
        "1 well of the platemaps has no image.",
    ]


def test_words_are_right_for_one_of_everything():
    rows = [well("P1", "A01", "x", "1", **{COUNT: 1, "Excluded": True, "Flag_OutOfFocus": True})]
    sections = sections_of(screen_of(profiles_of_wells(rows)), warnings=["a doubt", "a doubt"])
    assert sections["What was measured"].sentences[0] == "1 plate, 1 well, 1 field: 1 nucleus."
    assert sections["What is doubtful, and what was decided"].sentences == ["a doubt"]
    assert sections["Wells to look at"].sentences == [
        "Flag_OutOfFocus: 1 well (P1 A01).",
        "1 well is excluded, and left out of all comparisons (P1 A01).",
    ]
    assert sections["Hits"].sentences[0] == "1 treatment at 1 dose in all."
    assert sections["EC50"].sentences[0] == f"{COUNT}: 0 of 1 treatment with an EC50; 1 all wells excluded."


def test_words_are_right_for_a_screen_without_a_platemap():
    rows = [{"Metadata_Plate": "P1", "Metadata_Well": f"A0{n}", **dict.fromkeys(READOUTS, 10.0)} for n in range(1, 7)]
    sections = sections_of(screen_of(profiles_of_wells(rows)))
    assert sections["Wells to look at"].sentences == ["No well is flagged.", "No well is excluded."]
    assert sections["Controls"].sentences == [
        "Control wells that are not excluded: 0 negative, 0 positive.",
        "Without negative controls there is no percent of control, no P and no hit.",
    ]
    assert sections["Hits"].sentences == ["No well has a treatment, so that nothing is compared."]
    assert sections["EC50"].sentences == ["No treatment has a dose."]
    assert sections["Replicates"].sentences[0].startswith("No two plates of a batch are replicates")
    assert not any(section.table for section in sections.values())


def test_treatments_without_negative_controls_are_not_judged():
    rows = [well("P1", f"A{number:02d}", "x", "") for number in range(1, 9)]
    section = sections_of(screen_of(profiles_of_wells(rows)))["Hits"]
    assert section.sentences == [
        "1 treatment without doses.",
        "None could be judged: P, the effect in robust z or the change is not known.",
    ]
    assert section.table[1][:3] == [COUNT, "0 of 1", ""]


def test_without_plates_the_page_is_about_slides_and_stacks():
    columns = ["Metadata_Slide", "Slide_Status", "Slide_Error", "Count_Nuclei"]
    slides = pd.DataFrame([("a", "ok", "", "1200"), ("b", "failed", "empty file", "")], columns=columns)
    frames = pd.DataFrame({"Image_Status": ["ok", "failed", "ok"], "Image_Count_Nuclei": [1, np.nan, 3]})
    sections = sections_of(slides=slides, stacks={"film": frames})
    assert list(sections) == ["What was measured", "What is doubtful, and what was decided"]
    assert sections["What was measured"].sentences == [
        "2 slides, of which 1 failed: 1,200 nuclei.",
        "Slide b failed: empty file.",
        "1 stack, 3 frames, of which 1 failed: 4 nuclei.",
    ]
    (sentence,) = sections_of(stacks={"a": frames[["Image_Status"]], "b": frames})["What was measured"].sentences
    assert sentence == "2 stacks, 6 frames, of which 2 failed: 4 nuclei."
    assert sections["What is doubtful, and what was decided"].sentences == ["No warning."]
    assert sections_of()["What was measured"].sentences == ["Nothing: the sheets name no plate, slide or stack."]


def test_of_many_names_and_warnings_the_first_are_written_and_the_others_counted():
    assert summary.named("abc", most=2) == "a, b and 1 more" and summary.named("ab", most=2) == "a, b"
    number = summary.MOST_WARNINGS + 3
    doubts = sections_of(warnings=map(str, range(number)))["What is doubtful, and what was decided"].sentences
    assert len(doubts) == summary.MOST_WARNINGS + 1 and doubts[-1] == "And 3 more, in the logs."


class Page(HTMLParser):
    """Collects the texts and tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, text):
        self.texts.append(text)


def test_what_users_wrote_is_text_on_the_page_and_never_markup(tmp_path):
    evil = "<script>alert(1)</script> & </pre>"
    sections = [summary.Section(evil, [evil], [[evil], [evil]])]
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"PNG")
    machine = dict.fromkeys(["processor", "memory_gb", "system", "python"], evil) | {"cores": 2}
    plates = {evil: {"settings": {"nuclei": evil}, "commit": evil, "machine": machine, "time": evil}}
    text = page.page_of(
        sections, pictures={evil: picture}, settings={"plates": evil}, plates=plates, versions={"numpy": evil}
    )
    read = Page(text)
    assert "script" not in read.tags and read.tags.count("img") == 1 and "</script" not in text
    assert sum(evil in part for part in read.texts) == 10
    assert "data:image/png;base64,UE5H" in text


def test_warnings_come_from_the_logs_of_jobs_and_from_plates_and_slides(tmp_path):
    log = tmp_path / "logs/screen/screen_plates.log"
    log.parent.mkdir(parents=True)
    log.write_text("2026-01-01 00:00:00,000 WARNING no control\n2026-01-01 00:00:00,000 INFO all is well\n")
    folder = tmp_path / "results/plates/P1"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text('{"flagged": {}, "notes": ["a note"], "levels": null}')
    slides = pd.DataFrame({"Metadata_Slide": ["a", "b"], "Slide_Warnings": ["", "torn"]})
    found = list(
        write_summary.warnings_of(tmp_path / "results", tmp_path / "logs", {"P1": {"method": "auto"}}, slides, {})
    )
    missing = tmp_path / "logs/plates/P1/profile_wells.log"
    assert found == [
        "no control",
        f"{missing} is not there, so that its warnings are not known",
        "plate P1: a note",
        "slide b: torn",
    ]


def record(threshold, time="2026-01-01T00:00:00Z", commit="a" * 40, cores=2):
    """Return a settings.json."""
    machine = {"processor": "EPYC", "cores": cores, "memory_gb": 8.0, "system": "Linux-6", "python": "3.12.1"}
    facts = {"settings": {"nuclei": {"threshold": threshold}}, "libraries": {"numpy": "2"}, "digest": "0"}
    return {**facts, "commit": commit, "machine": machine, "time": time}


def test_plates_of_equal_settings_stand_together_and_others_by_themselves():
    records = {"P1": record(1), "P2": record(2), "P3": record(1)}
    assert summary.settings_of(records) == [
        ("plates P1, P3", {"settings": {"nuclei": {"threshold": 1}}}),
        ("plate P2", {"settings": {"nuclei": {"threshold": 2}}}),
    ]
    assert [group.plates for group in summary.settings_of({"P1": record(1), "P2": record(1)})] == ["all 2 plates"]
    assert summary.settings_of({}) == summary.moments_of({}) == []


def test_when_where_and_by_what_tables_were_joined_is_told_once_for_equal_ones():
    last = "2026-01-01T01:00:00Z"
    records = {"P1": record(1), "P2": record(2, time=last), "P3": record(1, commit=None), "P4": record(1, cores=1)}
    both, without_commit, other = summary.moments_of(records)
    assert both == (
        f"Tables of plates P1, P2 joined from 2026-01-01T00:00:00Z to {last} by commit {'a' * 40} of Fieldwork, "
        "on EPYC, 2 cores, 8.0 GB, Linux-6, Python 3.12.1."
    )
    assert without_commit.startswith("Tables of plate P3 joined at 2026-01-01T00:00:00Z by Fieldwork, in no checkout")
    assert "1 core, " in other and "plate P4" in other
