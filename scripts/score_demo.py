"""Count how many of the demo's planted nuclei were found, and how many of the found nuclei had been planted.

Inputs: the planted nuclei, the nuclei of the plate or the stack. Output: one line with counts, precision and recall.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

PAIR_PX = 4  # from a planted centre: less than a nucleus's sigma of 5


def main(*, planted, nuclei, score, name, frame):
    planted = {key: group[["Row", "Column"]] for key, group in pd.read_csv(planted).groupby(frame)}
    detected = {
        key: group[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]]
        for key, group in pd.read_parquet(nuclei).groupby(frame)
    }
    matched = sum(
        synthetic.match(detected[key], planted[key], within=PAIR_PX) for key in detected.keys() & planted.keys()
    )
    n_planted, n_detected = sum(map(len, planted.values())), sum(map(len, detected.values()))
    with outputs.atomic_file(score) as part:
        part.write_text(
            f"Demo {name}: {n_planted:,} nuclei planted, {n_detected:,} found, {matched:,} of them planted ones: "
            f"precision {matched / n_detected:.1%}, recall {matched / n_planted:.1%}.\n"
        )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            planted=snakemake.input.planted,
            nuclei=snakemake.input.nuclei,
            score=snakemake.output.score,
            **snakemake.params.of,
        )
