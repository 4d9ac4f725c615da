"""Draw the demo stack: a film of nuclei that double in number every ten frames.

Outputs: a TIFF with a page for every frame; where every nucleus was planted.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import numpy as np
import tifffile

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

FRAMES = 30
SHAPE = (256, 320)
FIRST = 8  # nuclei of the first frame


def main(*, stack, planted_table):
    planted = []
    with outputs.atomic_file(stack) as part, tifffile.TiffWriter(part) as film:
        for frame in range(FRAMES):
            rng = np.random.default_rng([frame])
            image, centres = synthetic.plant_field(rng, shape=SHAPE, count=round(FIRST * 2 ** (frame / 10)))
            film.write(image, compression="zlib", predictor=True, contiguous=False, metadata=None)
            planted += [{"Metadata_Frame": frame, "Row": row, "Column": column} for row, column in centres]
    outputs.write_csv(planted, ["Metadata_Frame", "Row", "Column"], planted_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(stack=snakemake.output.stack, planted_table=snakemake.output.planted)
