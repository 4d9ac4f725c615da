"""Draw a stack: charts of what was measured in its frames, and a few of the frames.

Inputs: frames.csv, and nuclei.parquet where nuclei were found; their outlines, where they are kept; the stack. Output:
a picture.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import numpy as np
import pandas as pd

from fieldwork import figures, label_images
from fieldwork.job_log import logged
from fieldwork.stacks import plots, sources
from fieldwork.stacks import series as stack_series

DRAWN_FRAMES = 5  # evenly spaced
MOST_CHARTS = 4  # of columns of the user's function


def main(*, picture, **drawn):
    figures.write(lambda: draw(**drawn), picture, colours=64)


def draw(*, stack, path, selection, frames_table, nuclei_table, labels):
    """Draw the picture of a stack from its tables and images."""
    frames = pd.read_csv(frames_table, dtype={"Metadata_Stack": str})
    columns, title = {"Image_Count_Nuclei": "nuclei"}, f"stack {stack}"
    if not nuclei_table:
        own = [name for name in frames if not name.startswith(("Metadata_", "Image_"))]
        columns = {name: name for name in own[:MOST_CHARTS]}
        title += f": {len(columns)} of {len(own)} columns" * (len(own) > len(columns))
    good = frames.Metadata_Frame[frames.Image_Status == "ok"].to_numpy()
    chosen = good[np.unique(np.linspace(0, len(good) - 1, min(DRAWN_FRAMES, len(good))).round().astype(int))]
    records = sources.open_stack(path, **selection).frames
    nuclei = pd.read_parquet(nuclei_table) if nuclei_table else pd.DataFrame({"Metadata_Frame": []})
    images = {number: sources.read(records[number]) for number in chosen}
    drawn = [
        (number, image, outlines_of(labels, number) if labels else centres_of(nuclei, number))
        for number, image in images.items()
    ]
    return plots.over_time(frames, columns, drawn, title=title)


def outlines_of(labels, frame):
    """Trace the nuclei of a frame: a list of polygons."""
    return label_images.outlines(stack_series.read_labels(labels, frame))


def centres_of(nuclei, frame):
    """Return row and column of a frame's nuclei as an (n, 2) array; empty where nuclei were not looked for."""
    of_frame = nuclei[nuclei.Metadata_Frame == frame]
    if of_frame.empty:
        return np.empty((0, 2))
    return of_frame[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            stack=snakemake.wildcards.stack,
            path=next(iter(snakemake.input.fetched), snakemake.params.path),
            selection=snakemake.params.selection,
            frames_table=snakemake.input.frames,
            nuclei_table=snakemake.input.get("nuclei"),
            labels=snakemake.input.get("labels", "").removesuffix("/zarr.json") or None,
            picture=snakemake.output[0],
        )
