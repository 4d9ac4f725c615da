"""Draw the demo plate: known nuclei, fewer where the platemap has more of the compound.

Inputs: the platemap. Outputs: one image per field, named for its well and site; where every nucleus was planted.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

from pathlib import Path

import numpy as np
import tifffile

from fieldwork import outputs, synthetic
from fieldwork.inputs import platemaps
from fieldwork.job_log import logged

SHAPE = (512, 640)
MOST = 150  # nuclei of an untreated field
HALF = 1.0  # uM of the compound that leave half of them


def main(*, platemap, images, planted_table):
    wells = platemaps.read_platemap(platemap)
    planted = []
    for path in images:
        well, site = Path(path).stem.split("_")[1:3]
        site = int(site.removeprefix("s"))
        concentration = float(wells[well]["Metadata_concentration_um"])
        rng = np.random.default_rng([*well.encode(), site])
        expected = synthetic.nuclei_at(concentration, most=MOST, half=HALF)
        image, centres = synthetic.plant_field(rng, shape=SHAPE, count=rng.poisson(expected))
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
