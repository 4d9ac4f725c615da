"""Count how many of the demo's planted nuclei were found, and how many that were found had been planted.

Inputs: the planted nuclei, the nuclei of the plate or the stack. Outputs: one line with counts, precision and recall.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

WITHIN = 4  # px from a planted centre: less than a nucleus's sigma of 5


def main(*, planted, nuclei, score, name, frame):
    planted = {key: group[["Row", "Column"]] for key, group in pd.read_csv(planted).groupby(frame)}
    found = {
        key: group[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]]
        for key, group in pd.read_parquet(nuclei).groupby(frame)
    }
    matched = sum(synthetic.match(found[key], planted[key], within=WITHIN) for key in found.keys() & planted.keys())
    count_planted, count_found = sum(map(len, planted.values())), sum(map(len, found.values()))
    with outputs.atomic_file(score) as part:
        part.write_text(
            f"Demo {name}: {count_planted:,} nuclei planted, {count_found:,} found, {matched:,} of them planted ones: "
            f"precision {matched / count_found:.1%}, recall {matched / count_planted:.1%}.\n"
        )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            planted=snakemake.input.planted,
            nuclei=snakemake.input.nuclei,
            score=snakemake.output.score,
            **snakemake.params.of,
        )
