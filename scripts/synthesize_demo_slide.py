"""Draw the demo slide: a piece of real tissue, and a piece with known nuclei, where they are counted.

Outputs: the slide, a pyramidal TIFF of JPEG tiles; the position of every planted nucleus.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import cv2
import numpy as np
import tifffile
from skimage.data import immunohistochemistry

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

SHAPE_PX = (3072, 4096)
MPP = 0.5  # micrometres per pixel: a 20x objective
N_LEVELS = 4  # each of half the size; the last is 384 x 512 px
REAL_TISSUE = np.s_[512:2560, 128:1792]  # the rectangle of the piece of real tissue
N_NUCLEI = 1200


def main(*, slide, planted_table, region):
    rng = np.random.default_rng(5)
    image = np.full((*SHAPE_PX, 3), synthetic.GLASS_LEVEL, np.uint8)
    picture = immunohistochemistry()  # part of scikit-image: nothing is downloaded
    depth = synthetic.piece_of_tissue(rng, shape=image[REAL_TISSUE].shape[:2])
    image[REAL_TISSUE] = synthetic.lay_on_glass(repeated(picture, depth.shape), depth)
    counted = image[region["row"] :, region["column"] :][: region["height"], : region["width"]]
    depth = synthetic.piece_of_tissue(rng, shape=counted.shape[:2])
    tissue, centres = synthetic.plant_tissue(rng, depth=depth, count=N_NUCLEI)
    counted[:] = synthetic.lay_on_glass(tissue, depth)
    write_pyramid(slide, image)
    rows = [{"Row": row + region["row"], "Column": column + region["column"]} for row, column in centres]
    outputs.write_csv(rows, ["Row", "Column"], planted_table)


def repeated(picture, shape):
    """Fill a larger shape with copies of a picture, every other one mirrored, so that no seams appear."""
    more = [(0, size - side) for size, side in zip(shape, picture.shape, strict=False)]
    return np.pad(picture, [*more, (0, 0)], mode="symmetric")


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
            region=snakemake.params.region,
        )
