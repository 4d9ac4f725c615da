"""Draw up to 16 random fields of a plate, sorted by their number of nuclei, with the nuclei marked.

Inputs: the plate's nuclei and fields. Outputs: one picture.
"""

import os

import pandas as pd

from fieldwork import frames, outputs, plots
from fieldwork.journal import job_log

SHOWN = 16
NUMBERS = ["Image_Count_Nuclei", "Metadata_Timepoint", "Metadata_ZPlane"]
PLACE = ["Metadata_Well", "Metadata_Site", "Metadata_Timepoint", "Metadata_ZPlane"]


def main(*, nuclei_table, fields_table, picture, channel, plate, sigma):
    texts = dict.fromkeys(["Metadata_Well", "FileName_DNA", "PathName_DNA"], str)  # a folder may be called 007 or NA
    fields = pd.read_csv(fields_table, dtype=texts, keep_default_na=False, na_values={name: "" for name in NUMBERS})
    nuclei = pd.read_parquet(nuclei_table)
    place = [name for name in PLACE if name in fields]
    good = fields[fields.Image_Status == "ok"]
    chosen = good.sample(min(SHOWN, len(good)), random_state=0).sort_values("Image_Count_Nuclei", kind="stable")
    drawn = []
    for row in chosen.to_dict("records"):
        here = nuclei
        for name in place:
            here = here[here[name].isna() if pd.isna(row[name]) else here[name] == row[name]]
        moment = "".join(
            f" {short}{row[name]:.0f}"
            for short, name in (("t", "Metadata_Timepoint"), ("z", "Metadata_ZPlane"))
            if pd.notna(row.get(name))
        )
        count = "1 nucleus" if len(here) == 1 else f"{len(here)} nuclei"
        title = f"{row['Metadata_Well']} site {row['Metadata_Site']}{moment}: {count}"
        coordinates = here[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()
        drawn.append((title, image_of(row, channel), coordinates))
    with outputs.whole(picture) as part:
        plots.save(plots.densities(drawn, plate=f"plate {plate}", radius=2 * sigma), part)


def image_of(row, channel):
    """Read the plane of a file that a row of the fields table is about."""
    planes = frames.read(os.path.join(row["PathName_DNA"], row["FileName_DNA"]), channel=channel)
    if len(planes) == 1:
        return planes[0].image
    return next(
        plane.image
        for plane in planes
        if plane.timepoint in (None, row.get("Metadata_Timepoint")) and plane.z in (None, row.get("Metadata_ZPlane"))
    )


if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        main(
            nuclei_table=snakemake.input.nuclei,
            fields_table=snakemake.input.fields,
            picture=snakemake.output[0],
            channel=snakemake.params.channel,
            plate=snakemake.wildcards.plate,
            sigma=snakemake.config["nuclei"]["sigma"],
        )
