"""Draw pictures of a screen.

Inputs: the tables of results/screen, and profiles.parquet of every plate. Outputs: pictures, each by the name that the
rule gives it; where there is nothing to draw, they say why.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd
import pyarrow.parquet as pq

from fieldwork import figures
from fieldwork.job_log import logged
from fieldwork.screen import dose_plots, hit_plots, plots, profile_plots
from fieldwork.screen.profiles import ROBUST_Z
from fieldwork.screen.tables import read_table

COLOURS = 256  # in a picture


def main(*, tables, profiles, pictures, limits):
    wells = pd.read_parquet(tables.wells)
    controls, hits, replicates, doses = map(read_table, (tables.plates, tables.hits, tables.replicates, tables.doses))
    draw = {
        "plates": lambda: plots.plates(wells, controls),
        "edge": lambda: plots.edge(wells),
        "hits": lambda: hit_plots.hits(hits, limits),
        "replicates": lambda: hit_plots.replicates(wells, replicates),
        "doses": lambda: dose_plots.doses(wells, doses, hits),
        "profiles": lambda: profile_plots.profiles(wells, features_of(profiles)),
    }
    for picture, path in pictures.items():
        figures.write(draw[picture], path, colours=COLOURS)


def features_of(profiles):
    """Read the normalised features of all plates, one plate after the other."""
    parts = []
    for path in profiles:
        names = [name for name in pq.read_schema(path).names if name.startswith(ROBUST_Z.format(""))]
        parts.append(pd.read_parquet(path, columns=names))
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            tables=snakemake.input,
            profiles=snakemake.input.profiles,
            pictures=dict(snakemake.output.items()),
            limits=snakemake.params.limits,
        )
