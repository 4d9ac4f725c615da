"""Count how many of the demo slide's planted nuclei were found, and fail if they are too few or too many.

Inputs: the planted nuclei, the slide's nuclei. Outputs: one line with counts, precision and recall.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

WITHIN = 3  # px from a planted centre, half a nucleus's radius
LEAST = 0.99  # precision and recall; with a threshold of 0.06 in place of 0.05, recall falls to that


def main(*, planted, nuclei, score, region):
    planted = pd.read_csv(planted)
    found = pd.read_parquet(nuclei)
    places = found[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()
    within = places - (region["row"], region["column"])
    places = places[((within >= 0) & (within < (region["height"], region["width"]))).all(axis=1)]
    matched = synthetic.match(places, planted[["Row", "Column"]], within=WITHIN)
    precision, recall = matched / max(len(places), 1), matched / len(planted)
    result = (
        f"Demo slide: {len(planted):,} nuclei planted, {len(places):,} found there, {matched:,} of them planted ones: "
        f"precision {precision:.1%}, recall {recall:.1%}."
    )
    if min(precision, recall) < LEAST:
        raise RuntimeError(f"{result} At least {LEAST:.0%} was expected of both")
    with outputs.atomic_file(score) as part:
        part.write_text(f"{result}\n")


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            planted=snakemake.input.planted,
            nuclei=snakemake.input.nuclei,
            score=snakemake.output.score,
            region=snakemake.params.region,
        )
