"""The pictures of a screen show what was planted, and say why where there is nothing to draw."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy.stats import pearsonr
from sklearn.preprocessing import StandardScaler

import planted_profiles
import plot_screen
import screen_plates
from fieldwork import figures
from fieldwork.screen import dose_plots, hit_plots, plots, profile_plots
from fieldwork.screen.tables import read_table
from fieldwork.wells import row_and_column
from planted_profiles import AREA, COUNT, INTENSITY, READOUTS, SHARE, profiles_of_wells

LIMITS = {"q": 0.05, "z": 3, "change": 0.2}
PICTURES = ("plates", "edge", "hits", "replicates", "doses", "profiles")
GOOD = {COUNT: 100, AREA: 150.0, INTENSITY: 3000.0, SHARE: 0.1}
WELLS_96 = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def compare(profiles, folder):
    """Compare the wells of plates as the job does; return the paths of the tables and of the profiles."""
    paths = []
    for plate, rows in profiles.groupby("Metadata_Plate", sort=False):
        paths.append(folder / f"{plate}.parquet")
        rows.to_parquet(paths[-1], index=False)
    names = ("wells.csv", "plates.csv", "hits.csv", "replicates.csv", "doses.csv")
    tables = SimpleNamespace(parquet=folder / "wells.parquet", **{name[:-4]: folder / name for name in names})
    screen_plates.main(
        profiles=paths,
        results=SimpleNamespace(**{**vars(tables), "csv": tables.wells}),
        settings={"readouts": [name for name in READOUTS if name in profiles], "hit": LIMITS},
        normalize="negative controls",
        control_names={},
        batches={},
        nuclei_channels=["w1"],
        doubted={},
    )
    tables.wells = tables.parquet
    return tables, paths


def draw(profiles, folder):
    """Draw all pictures of plates as the job does; return name -> bytes."""
    tables, paths = compare(profiles, folder)
    pictures = {name: folder / f"{name}.png" for name in PICTURES}
    plot_screen.main(tables=tables, profiles=paths, pictures=pictures, limits=LIMITS)
    return {name: path.read_bytes() for name, path in pictures.items()}


def texts_of(figure):
    """Return everything that is written in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text) if text.get_text())


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The tables of a planted screen, its profiles, and what its compounds do."""
    profiles, compounds = planted_profiles.planted_profiles(5)
    tables, paths = compare(profiles, tmp_path_factory.mktemp("planted"))
    csv = {name: read_table(getattr(tables, name)) for name in ("plates", "hits", "replicates", "doses")}
    return SimpleNamespace(
        **csv, wells=pd.read_parquet(tables.wells), profiles=profiles, compounds=compounds, features_from=paths
    )


def active(compounds):
    return {name for name, compound in compounds.items() if compound.ec50_um is not None}


def test_the_overview_shows_every_well_at_its_position_in_percent_of_control(planted):
    figure = plots.plates(planted.wells, planted.plates)
    drawn = {axes.get_title().split(",")[0]: axes for axes in figure.axes if axes.images}
    assert set(drawn) == {"L1R1", "L1R2", "L2R1", "L2R2"}
    for plate, axes in drawn.items():
        rows = planted.profiles[planted.profiles["Metadata_Plate"] == plate]
        negative = rows[rows["Metadata_control"] == "negative"][COUNT].median()
        shown = axes.images[0].get_array().filled(np.nan)
        expected = np.full((16, 24), np.nan)
        for well, count in zip(rows["Metadata_Well"], rows[COUNT], strict=True):
            expected[row_and_column(well)] = 100 * count / negative
        np.testing.assert_allclose(shown, expected)
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        blurred = rows[rows["Excluded"]]["Metadata_Well"].map(row_and_column)
        assert sorted(zip(crosses[0].get_ydata(), crosses[0].get_xdata(), strict=True)) == sorted(blurred)
    assert "excluded (5 wells)" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert "% of negative controls" in texts_of(figure)


def test_fifty_five_plates_are_on_one_page_and_of_more_than_the_limit_the_first():
    number = plots.MOST_PLATES + 1
    rows = [{"Metadata_Plate": f"P{plate:03d}", "Metadata_Well": "B02", **GOOD} for plate in range(number)]
    wells = pd.DataFrame(rows).assign(**{"Excluded": False, f"PercentOfControl_{COUNT}": np.nan})
    wells["Mean_Count_Nuclei"] = wells[COUNT]
    controls = pd.DataFrame({"Readout": [], "Metadata_Plate": [], "ZPrime": []})
    figure = plots.plates(wells.head(55), controls)
    assert sum(bool(axes.images) for axes in figure.axes) == 55
    figure = plots.plates(wells, controls)
    assert sum(bool(axes.images) for axes in figure.axes) == plots.MOST_PLATES
    assert f"the first {plots.MOST_PLATES} of {number}" in texts_of(figure)


def test_every_ec50_is_drawn_where_it_was_planted_and_inert_compounds_have_none(planted):
    figure = dose_plots.doses(planted.wells, planted.doses, planted.hits)
    lines = {}
    for axes in figure.axes:
        name, result, *_ = [*axes.get_title().split("\n"), ""]
        if COUNT in axes.get_ylabel():
            lines[name] = result, [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert len(lines) == 24
    right = 0
    for name, (result, ec50s) in lines.items():
        planted_ec50 = planted.compounds[name].ec50_um
        if planted_ec50 is None:
            assert (result, ec50s) == ("no effect", [])
        else:
            assert result.startswith(f"EC50 {ec50s[0]:.3g} uM (")
            right += abs(ec50s[0] / planted_ec50 - 1) < 0.2
    assert right >= 19


def test_a_curve_is_drawn_through_the_means_of_its_wells(planted):
    figure = dose_plots.doses(planted.wells, planted.doses, planted.hits)
    checked = 0
    for axes in figure.axes:
        curve = [line for line in axes.lines if len(line.get_xdata()) == dose_plots.CURVE_POINTS]
        if curve and COUNT in axes.get_ylabel():
            means = next(line for line in axes.lines if line.get_marker() == "s")
            fitted = np.interp(np.log(means.get_xdata()), np.log(curve[0].get_xdata()), curve[0].get_ydata())
            assert np.abs(fitted - means.get_ydata()).max() < 12  # % of control; a well varies by 4
            checked += 1
    assert checked == 21


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_title_and_legend_cover_no_chart_however_few_there_are(planted, count):
    keep = set(sorted(planted.wells["Treatment"][planted.wells["Dose"] > 0].unique())[:count])
    kept = planted.wells["Treatment"].isin(keep) | (planted.wells["Role"] == "negative")
    wells = planted.wells[kept].reset_index(drop=True)
    curves = planted.doses[planted.doses["Treatment"].isin(keep) & (planted.doses["Readout"] == COUNT)]
    figure = dose_plots.doses(wells, curves, planted.hits)
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.axison]
    assert len(boxes) == count
    legend, title = figure.legends[0].get_window_extent(renderer), figure._suptitle.get_window_extent(renderer)
    assert not [box for box in boxes if box.overlaps(legend) or box.overlaps(title)]


def test_the_named_hits_are_compounds_that_do_something(planted):
    figure = hit_plots.hits(planted.hits, LIMITS)
    named = {label.get_text().split()[0] for axes in figure.axes for label in axes.get_yticklabels()}
    named = {name for name in named if name.startswith("cpd")}
    assert len(named) >= hit_plots.MOST_LABELS and named <= active(planted.compounds)
    of_count = planted.hits[planted.hits["Readout"] == COUNT]
    hits = sum(value is True for value in of_count["Hit"])
    assert f"hit ({hits})" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert f"no hit: {AREA}, {INTENSITY}" in texts_of(figure)


def test_replicate_plates_are_drawn_well_against_well(planted):
    figure = hit_plots.replicates(planted.wells, planted.replicates)
    axes = next(axes for axes in figure.axes if axes.get_title().startswith(COUNT))
    used = planted.profiles[(planted.profiles["Metadata_control"] == "") & ~planted.profiles["Excluded"]]
    counts = used.pivot(index="Metadata_Well", columns="Metadata_Plate", values=COUNT)
    pairs = [counts[["L1R1", "L1R2"]].dropna(), counts[["L2R1", "L2R2"]].dropna()]
    assert len(axes.lines[0].get_xdata()) == sum(map(len, pairs))
    r = np.median([pearsonr(*pair.to_numpy().T).statistic for pair in pairs])
    assert f"r {r:.3f} (median)" in axes.get_title()


def test_the_edge_is_that_of_the_negative_controls_alone(planted):
    figure = plots.edge(planted.wells)
    text = texts_of(figure)
    wells = planted.wells
    negative = wells[wells["Role"] == "negative"]
    at_rim = negative["Metadata_Well"].str[0].isin(["A", "P"])  # they are in columns 2 and 23
    assert f"{at_rim.sum()} wells at the rim, {(~at_rim).sum()} wells inside" in text
    change = float(re.search(r"over 4 plates: ([−+][\d.]+)%", text)[1].replace("−", "-"))
    assert -14 < change < 0  # planted: 7 % fewer, of 8 wells that vary by 4 %
    assert "the outermost rows and columns of the plate" in text


def test_the_components_are_those_of_the_standardised_profiles(planted):
    features = plot_screen.features_of(planted.features_from)
    figure = profile_plots.profiles(planted.wells, features)
    drawn = np.vstack([collection.get_offsets() for collection in figure.axes[0].collections])
    values = features[~planted.wells["Excluded"]].dropna(thresh=3).to_numpy()
    left, singular, _ = np.linalg.svd(StandardScaler().fit_transform(values), full_matrices=False)
    expected = left[:, :2] * singular[:2]
    np.testing.assert_allclose(
        np.sort(np.abs(drawn), axis=0), np.sort(np.abs(expected), axis=0), atol=1e-6 * singular[0]
    )
    few = len(features) - len(values) - planted.wells["Excluded"].sum()
    assert f"left out: 5 wells excluded, {few} wells with few nuclei, 0 features of 5" in figure.axes[0].get_title()


def one_plate(wells=WELLS_96, **columns):
    """Return wells of a plate without anything done to them."""
    random = np.random.default_rng(1)
    rows = [{**GOOD, COUNT: int(random.poisson(100)), AREA: random.normal(150, 3)} for _ in wells]
    return [
        {"Metadata_Plate": "P1", "Metadata_Well": well, **row, **columns} for well, row in zip(wells, rows, strict=True)
    ]


def treated(**columns):
    """Return a plate with negative controls in a column, and treated wells in another."""
    controls = one_plate(WELLS_96[0::12], Metadata_compound="DMSO", Metadata_control="negative", Metadata_dose="")
    wells = one_plate(WELLS_96[5::12], **{"Metadata_compound": "x", "Metadata_control": "", "Metadata_dose": "1"})
    return controls + [{**row, **columns} for row in wells]


SMALL = {
    "no platemap": (one_plate(), {"hits": "no well has a treatment", "edge": "no well is a negative control"}),
    "no image": (
        [{**row, COUNT: np.nan, AREA: np.nan, "Fields_Total": 0} for row in one_plate()],
        {"plates": "no well has a count", "profiles": "no well has a normalised profile"},
    ),
    "one control well": (treated()[7:], {"hits": "no treatment has an effect", "replicates": "no two plates"}),
    "one dose": (treated(), {"doses": "no treatment has more than one dose"}),
    "doses of 0": (treated(Metadata_dose="0"), {"doses": "no well that is not excluded"}),
    "doses as text": (treated(Metadata_dose="high"), {"doses": "no well that is not excluded"}),
    "all wells excluded": (
        [{**row, "Excluded": True} for row in treated()],
        {"edge": "no well is a negative control", "profiles": "no well has", "doses": "no well that is not excluded"},
    ),
}


@pytest.mark.parametrize("case", SMALL)
def test_of_small_and_empty_screens_every_picture_is_drawn_or_says_why_not(case, tmp_path, caplog, monkeypatch):
    rows, reasons = SMALL[case]
    written, save = {}, figures.save
    monkeypatch.setattr(
        figures,
        "save",
        lambda figure, path, **options: (
            written.update({len(written): texts_of(figure)}),
            save(figure, path, **options),
        ),
    )
    draw(profiles_of_wells(rows), tmp_path)
    assert not [record for record in caplog.records if "is missing" in record.message]
    texts = dict(zip(PICTURES, (" ".join(text.split()) for text in written.values()), strict=True))
    for picture, reason in reasons.items():
        assert reason in texts[picture], picture


def test_of_many_treatments_the_strongest_are_drawn_and_the_limit_is_stated(tmp_path):
    rows, wells = [], iter(WELLS_96 * 8)
    plates = iter([f"P{number}" for number in range(8) for _ in range(96)])
    for number in range(90):
        for dose in ("0.1", "1", "10", "100"):
            plate, well = next(plates), next(wells)
            count = 100 - (number if float(dose) > 0.5 else 0)
            rows.append((plate, well, f"cpd{number:03d} $x_{{", dose, "", count))
    plate_names = sorted({row[0] for row in rows})
    free = [f"{row}{column:02d}" for row in "IJKL" for column in range(13, 17)]
    rows += [
        (plate, well, "DMSO", "0", "negative", 96 + 2 * (number % 5))
        for plate in plate_names
        for number, well in enumerate(free)
    ]
    names = ["Metadata_Plate", "Metadata_Well", "Metadata_compound", "Metadata_dose_um", "Metadata_control", COUNT]
    profiles = profiles_of_wells([dict(zip(names, row, strict=True)) for row in rows])
    tables, _ = compare(profiles, tmp_path)
    wells = pd.read_parquet(tables.wells)
    figure = dose_plots.doses(wells, read_table(tables.doses), read_table(tables.hits))
    text = texts_of(figure)
    assert f"90 treatments with several doses, the {dose_plots.MOST_TREATMENTS} with the strongest effects" in text
    assert "cpd089 $x_{" in text and "cpd010" not in text
    figure = hit_plots.hits(read_table(tables.hits), LIMITS)
    assert "cpd089 $x_{" in texts_of(figure) and "cpd010" not in texts_of(figure)
    figures.save(figure, tmp_path / "hits.png")


def test_pictures_have_the_same_bytes_in_every_run(tmp_path):
    profiles, _ = planted_profiles.planted_profiles(6)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    assert draw(profiles, tmp_path / "first") == draw(profiles, tmp_path / "second")
