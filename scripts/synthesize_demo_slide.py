"""Write the demo's two slides: one with known nuclei, and a real picture of tissue, in which nobody has counted them.

Outputs: the slide with known nuclei, a pyramidal TIFF of JPEG tiles; the position of every planted nucleus; the picture
of tissue, scikit-image's `immunohistochemistry` (colonic glands, FHL2 in brown), as a TIFF without loss.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import cv2
import numpy as np
import tifffile
from skimage.data import immunohistochemistry

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

SHAPE_PX = (2304, 2560)
MPP = 0.5  # micrometres per pixel: a 20x objective
N_LEVELS = 4  # each of half the size; the last is 288 x 320 px
TISSUE = np.s_[256:2048, 384:2176]
N_NUCLEI = 1200


def main(*, slide, planted_table, tissue):
    rng = np.random.default_rng(5)
    image = np.full((*SHAPE_PX, 3), synthetic.GLASS_LEVEL, np.uint8)
    depth = synthetic.piece_of_tissue(rng, shape=image[TISSUE].shape[:2])
    stained, centres = synthetic.plant_tissue(rng, depth=depth, count=N_NUCLEI)
    image[TISSUE] = synthetic.lay_on_glass(stained, depth)
    write_pyramid(slide, image)
    top, left = (side.start for side in TISSUE)
    rows = [{"Row": row + top, "Column": column + left} for row, column in centres]
    outputs.write_csv(rows, ["Row", "Column"], planted_table)
    picture = immunohistochemistry()  # part of scikit-image: nothing is downloaded
    with outputs.atomic_file(tissue) as part:  # without a pixel size: nobody states one
        tifffile.imwrite(part, picture, photometric="rgb", compression="zlib", predictor=True, tile=(256, 256))


def write_pyramid(path, image):
    """Write all levels as pages of one TIFF; a pixel is the mean of 2 x 2 pixels of the level before."""
    with outputs.atomic_file(path) as part, tifffile.TiffWriter(part) as tif:
        for level in range(N_LEVELS):
            if level:
                image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            tif.write(
                image,
                photometric="rgb",  # tifffile makes it YCbCr with 2 x 2 subsampled chroma
                compression="jpeg",
                compressionargs={"level": 90},
                tile=(256, 256),
                subfiletype=1 if level else 0,  # 1: a page of lower resolution
                resolution=(1e4 / MPP / 2**level,) * 2,
                resolutionunit="CENTIMETER",
                maxworkers=1,
                metadata=None,
            )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.output.slide,
            planted_table=snakemake.output.planted,
            tissue=snakemake.output.tissue,
        )
