"""Draw pictures of a plate.

Inputs: the plate's nuclei, fields and wells, and its label images and time points, if it has some. Outputs: pictures,
each by the name that the rule gives it.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import os

import pandas as pd

from fieldwork import figures, frames, label_images
from fieldwork.inputs import platemaps
from fieldwork.job_log import logged
from fieldwork.plates import plate_maps, plots
from fieldwork.plates.rows import without_channel

RANDOM_FIELDS = 16
FOCUS = "ImageQuality_PowerLogLogSlope_DNA"
COLOURS = {"densities": 64, "focus": 64, "nuclei": 256, "quality": 256}  # in a picture; unlimited, it has 300 to 800 KB
FIELD_COLUMNS = ["Metadata_Well", "Metadata_Site", "Metadata_Timepoint", "Metadata_ZPlane"]  # they identify a field
AREA = "Nuclei_AreaShape_Area"
FILE_COLUMNS = ["FileName_DNA", "PathName_DNA"]


def main(
    *,
    nuclei_table,
    fields_table,
    wells_table,
    timepoints_table=None,
    labels,
    copies,
    pictures,
    plate,
    channel,
    sigma,
    controls=None,
):
    fields, wells = read_table(fields_table), with_named_controls(read_table(wells_table), controls)

    def gallery(chosen, titles, title):
        """Draw fields with their nuclei: outlines, or rings of twice the detection's sigma, or of the nuclei's size."""
        rows = chosen.to_dict("records")
        if labels:
            nuclei, radius = outlines_of(labels, chosen), 0
        else:
            nuclei = centres_of(nuclei_table, chosen)
            radius = (
                2 * sigma if sigma else label_images.usual_radius(pd.read_parquet(nuclei_table, columns=[AREA])[AREA])
            )
        drawn = [
            (field_title, image_of(row, channel, copies), field_nuclei)
            for field_title, row, field_nuclei in zip(titles, rows, nuclei, strict=True)
        ]
        return plots.gallery(drawn, title=f"plate {plate}: {title}", radius=radius)

    def densities():
        chosen = random_fields(fields)
        titles = [f"{name_of(row)}: {count_of(row)}" for row in chosen.to_dict("records")]
        return gallery(chosen, titles, "random fields, from few to many nuclei")

    def focus():
        ranks, chosen, n_ranked = by_focus(fields)
        titles = [
            f"{rank} of {n_ranked}: {name_of(row)}\nslope {row[FOCUS]:.2f}, {count_of(row)}"
            for rank, row in zip(ranks, chosen.to_dict("records"), strict=True)
        ]
        return gallery(chosen, titles, f"best, median and worst focus of {n_ranked} fields with structure")

    draw = {
        "nuclei": lambda: plate_maps.nuclei(wells, plate=plate),
        "fields": lambda: plots.fields_by_treatment(wells, fields, plate=plate),
        "edge": lambda: plots.edge(wells, plate=plate),
        "quality": lambda: plate_maps.quality(wells, fields, plate=plate),
        "doses": lambda: plots.doses(wells, plate=plate),
        "controls": lambda: plate_maps.controls(wells, plate=plate),
        "timepoints": lambda: plate_maps.timepoints(wells, read_table(timepoints_table), plate=plate),
        "densities": densities,
        "focus": focus,
    }
    for picture, path in pictures.items():
        figures.write(draw[picture], path, colours=COLOURS.get(picture))


def read_table(path):
    """Read a CSV of a plate; names are text, as a folder, a compound or a control may be called 007 or NA.

    Columns about the nuclei channel are those of DNA, whatever its name.
    """
    columns = [without_channel(name) for name in pd.read_csv(path, nrows=0).columns]
    numbers = [
        name for name in columns if not name.startswith("Metadata_") and name not in (*FILE_COLUMNS, "Image_Status")
    ]
    numbers += [name for name in FIELD_COLUMNS[1:] if name in columns]
    texts = {name: str for name in columns if name not in numbers}
    named = {"names": columns, "header": 0}
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=dict.fromkeys(numbers, ""), **named)


def with_named_controls(wells, controls):
    """Return wells whose column `control` also has the controls that the configuration names."""
    if not controls:
        return wells
    roles = platemaps.roles_of(wells.to_dict("records"), controls, where="platemap")
    column = platemaps.control_column(wells.columns) or "Metadata_control"
    return wells.assign(**{column: ["" if role == "sample" else role for role in roles]})


def random_fields(fields):
    """Choose up to `RANDOM_FIELDS` good fields, sorted by their number of nuclei."""
    good = fields[fields.Image_Status == "ok"]
    return good.sample(min(RANDOM_FIELDS, len(good)), random_state=0).sort_values("Image_Count_Nuclei", kind="stable")


def by_focus(fields):
    """Choose the three sharpest fields, the three in the middle and the three most blurred.

    Returns
    -------
    ranks : list of int
        From 1, the sharpest.
    chosen : pandas.DataFrame
    n_ranked : int
        Number of the ranked fields: the good ones, except those that hold nothing that could be sharp, as they are
        noise, whose spectrum rises (white noise has a slope of 1), or flat (0).
    """
    ranked = fields[(fields.Image_Status == "ok") & (fields[FOCUS] < 0)]
    ranked = ranked.sort_values(FOCUS, ascending=False, kind="stable")
    middle = max(0, len(ranked) // 2 - 1)
    ranks = sorted({*range(3), *range(middle, middle + 3), *range(len(ranked) - 3, len(ranked))})
    ranks = [rank for rank in ranks if 0 <= rank < len(ranked)]
    return [rank + 1 for rank in ranks], ranked.iloc[ranks], len(ranked)


def name_of(row):
    """Return a field's name for people: ``B02 site 1 t2 z3``."""
    numbers = {"t": row.get("Metadata_Timepoint"), "z": row.get("Metadata_ZPlane")}
    moment = "".join(f" {short}{number:.0f}" for short, number in numbers.items() if pd.notna(number))
    return f"{row['Metadata_Well']} site {row['Metadata_Site']:.0f}{moment}"


def count_of(row):
    """Return the number of nuclei of a field with its noun."""
    count = int(row["Image_Count_Nuclei"])
    return "1 nucleus" if count == 1 else f"{count} nuclei"


def centres_of(nuclei_table, fields):
    """Read rows and columns of the nuclei of each field: a list of (n, 2) arrays."""
    if fields.empty:
        return []
    # Only the wells that are drawn: a plate's nuclei may be many.
    position = [name for name in FIELD_COLUMNS if name in fields]
    centre = ["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]
    wells = sorted(set(fields.Metadata_Well))
    nuclei = pd.read_parquet(nuclei_table, columns=[*position, *centre], filters=[("Metadata_Well", "in", wells)])
    centres = []
    for row in fields.to_dict("records"):
        of_field = nuclei
        for name in position:
            of_field = of_field[of_field[name].isna() if pd.isna(row[name]) else of_field[name] == row[name]]
        centres.append(of_field[centre].to_numpy())
    return centres


def outlines_of(store, fields):
    """Trace the nuclei of each field, whose index is its row of fields.csv: a list of lists of polygons."""
    from fieldwork.plates import label_store  # here: other pictures, and plates without labels, need no zarr

    array = label_store.open_labels(store)
    return [label_images.outlines(array[number]) for number in fields.index]


def image_of(row, channel, copies):
    """Read the plane that a row of the fields table describes; `copies` has the local copies of URLs."""
    path = os.path.join(row["PathName_DNA"], row["FileName_DNA"])
    timepoint, z = row.get("Metadata_Timepoint"), row.get("Metadata_ZPlane")
    inside = {name: row.get(f"{name.title()}_DNA") for name in ("series", "frame")}
    inside = {name: int(number) for name, number in inside.items() if pd.notna(number)}
    return frames.read_plane(copies.get(path, path), channel=channel, timepoint=timepoint, z=z, **inside)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            nuclei_table=snakemake.input.nuclei,
            fields_table=snakemake.input.fields,
            wells_table=snakemake.input.wells,
            timepoints_table=snakemake.input.get("timepoints"),
            labels=next(map(os.path.dirname, snakemake.input.get("labels", [])), None),
            copies=dict(zip(snakemake.params.get("urls", []), snakemake.input.get("fetched", []), strict=True)),
            pictures=dict(snakemake.output.items()),
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            sigma=snakemake.params.get("sigma"),
            controls=snakemake.params.controls,
        )
