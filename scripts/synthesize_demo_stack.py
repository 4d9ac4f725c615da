"""Draw the demo stack: a film of nuclei that double in number every ten frames.

Outputs: a TIFF with a page for every frame; the position of every planted nucleus.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import numpy as np
import tifffile

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

N_FRAMES = 30
SHAPE_PX = (256, 320)
FIRST_NUCLEI = 8  # of the first frame


def main(*, stack, planted_table):
    images, planted = [], []
    for frame in range(N_FRAMES):
        rng = np.random.default_rng([frame])
        image, centres = synthetic.plant_field(rng, shape=SHAPE_PX, count=round(FIRST_NUCLEI * 2 ** (frame / 10)))
        images.append(image)
        planted += [{"Metadata_Frame": frame, "Row": row, "Column": column} for row, column in centres]
    with outputs.atomic_file(stack) as part:
        tifffile.imwrite(part, np.stack(images), compression="zlib", predictor=True, metadata={"axes": "TYX"})
    outputs.write_csv(planted, ["Metadata_Frame", "Row", "Column"], planted_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(stack=snakemake.output.stack, planted_table=snakemake.output.planted)
