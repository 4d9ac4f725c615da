"""Draw a stack: what was measured, frame by frame, and a few of its frames.

Inputs: frames.csv, and nuclei.parquet where nuclei were found; the stack. Output: a picture.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import numpy as np
import pandas as pd

from fieldwork import figures, outputs
from fieldwork.job_log import logged
from fieldwork.stacks import plots, sources

SHOWN = 5  # frames, evenly spaced
CHARTS = 4  # columns of the user's function at most


def main(*, stack, path, place, frames_table, nuclei_table, picture):
    frames = pd.read_csv(frames_table, dtype={"Metadata_Stack": str})
    columns = {"Image_Count_Nuclei": "nuclei"}
    if not nuclei_table:
        own = [name for name in frames if not name.startswith(("Metadata_", "Image_"))]
        columns = {name: name for name in own[:CHARTS]}
    good = frames.Metadata_Frame[frames.Image_Status == "ok"].to_numpy()
    chosen = good[np.unique(np.linspace(0, len(good) - 1, min(SHOWN, len(good))).round().astype(int))]
    records = sources.open_stack(path, **place).frames
    nuclei = pd.read_parquet(nuclei_table) if nuclei_table else pd.DataFrame({"Metadata_Frame": []})
    shown = [(number, sources.read(records[number]), centres_of(nuclei, number)) for number in chosen]
    figure = plots.over_time(frames, columns, shown, title=f"stack {stack}")
    with outputs.atomic_file(picture) as part:
        figures.save(figure, part, colours=64)


def centres_of(nuclei, frame):
    """Give row and column of a frame's nuclei; none where nuclei were not looked for."""
    here = nuclei[nuclei.Metadata_Frame == frame]
    if here.empty:
        return np.empty((0, 2))
    return here[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            stack=snakemake.wildcards.stack,
            path=next(iter(snakemake.input.fetched), snakemake.params.path),
            place=snakemake.params.place,
            frames_table=snakemake.input.frames,
            nuclei_table=snakemake.input.get("nuclei"),
            picture=snakemake.output[0],
        )
