"""Draw the demo plate: known nuclei, fewer where the platemap has more of the compound.

Input: the platemap. Outputs: one image per field, named after its well and site; the position of every planted nucleus.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

from pathlib import Path

import numpy as np
import tifffile

from fieldwork import outputs, synthetic
from fieldwork.inputs import platemaps
from fieldwork.job_log import logged

SHAPE_PX = (512, 640)
UNTREATED_NUCLEI = 150  # of a field, on average
HALF_UM = 1.0  # of the compound: half of the nuclei survive


def main(*, platemap, images, planted_table):
    wells = platemaps.read_platemap(platemap)
    planted = []
    for path in images:
        well, site = Path(path).stem.split("_")[1:3]
        site = int(site.removeprefix("s"))
        concentration = float(wells[well]["Metadata_concentration_um"])
        rng = np.random.default_rng([*well.encode(), site])
        expected = synthetic.nuclei_at(concentration, untreated=UNTREATED_NUCLEI, half=HALF_UM)
        image, centres = synthetic.plant_field(rng, shape=SHAPE_PX, count=rng.poisson(expected))
        with outputs.atomic_file(path) as part:
            tifffile.imwrite(part, image, compression="zlib", predictor=True)
        planted += [
            {"Metadata_Well": well, "Metadata_Site": site, "Row": row, "Column": column} for row, column in centres
        ]
    outputs.write_csv(planted, ["Metadata_Well", "Metadata_Site", "Row", "Column"], planted_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            platemap=snakemake.input.platemap,
            images=snakemake.output.images,
            planted_table=snakemake.output.planted,
        )
