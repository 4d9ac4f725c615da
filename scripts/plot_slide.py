"""Draw a slide: its tissue, and how dense the nuclei are in it.

Inputs: slide.json and nuclei.parquet; the store beside them. Output: a picture.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd

from fieldwork import figures, outputs
from fieldwork.job_log import logged
from fieldwork.omezarr import slides
from fieldwork.slides import plots

LARGEST_THUMBNAIL_PX = 1500  # its longer side


def main(*, picture, **drawn):
    figures.write(lambda: draw(**drawn), picture, colours=256)


def draw(*, slide, facts, nuclei_table, store):
    """Draw the picture of a slide from its tables and its store."""
    facts = outputs.read_json(facts)
    title = f"slide {slide}"
    if facts["status"] == "ok":
        nuclei = pd.read_parquet(nuclei_table, columns=["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"])
        levels = slides.open_levels(store)
        small = next((level for level in levels if max(level.shape) <= LARGEST_THUMBNAIL_PX), levels[-1])
        return plots.overview(
            slides.read_rgb(store, small, 0, 0, *small.shape[1:]),
            slides.read_label(store, "tissue") > 0,
            nuclei.to_numpy(),
            shape=(facts["height"], facts["width"]),
            mpp=facts["mpp"],
            title=title,
        )
    return plots.failed(title, facts["error"])


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.wildcards.slide,
            facts=snakemake.input.facts,
            nuclei_table=snakemake.input.nuclei,
            store=snakemake.params.store,
            picture=snakemake.output[0],
        )
