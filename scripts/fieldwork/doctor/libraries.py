"""Whether native libraries load, and read a file that was just written; this module runs once for each library.

A processor or a system that a library was not built for kills the process, so each library has one of its own.
"""

import importlib
import importlib.metadata
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fieldwork.surroundings.temporary import temporary_folder

ANSWER_S = 120  # that a library may take to load and read, on a slow network file system
SIDE_PX, TILE_PX = 96, 32


class Library(NamedTuple):
    """What came of a library."""

    name: str  # of its distribution, with its version where it is installed
    fault: str  # empty where it read what was written
    is_absent: bool = False


def examine(names: Sequence[str], *, processes: int) -> Iterator[Library]:
    """Yield what came of libraries, in their order.

    Parameters
    ----------
    names : sequence of str
        Keys of `CHECKS`.
    processes : int
        At once.
    """
    with ThreadPoolExecutor(processes) as threads:
        yield from threads.map(_examine, names)


def _examine(name):
    """Check a library in a process of its own."""
    try:
        library = f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return Library(name, "is not installed", is_absent=True)
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "fieldwork.doctor.libraries", name]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        return Library(library, f"did not answer within {ANSWER_S} s")
    if done.returncode < 0:
        return Library(library, f"crashed: {signal.strsignal(-done.returncode)}")
    fault = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
    return Library(library, fault if done.returncode else "")


def check(name: str, folder: Path) -> None:
    """Write a file, and read it with a library.

    Parameters
    ----------
    name : str
        A key of `CHECKS`.
    folder : pathlib.Path
        Of the file.

    Raises
    ------
    RuntimeError
        The library read something else.
    """
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX), np.uint8)
    np.save(folder / "image.npy", image)
    if not np.array_equal(CHECKS[name](folder, np.load(folder / "image.npy")), image):
        raise RuntimeError("read something else than was written")


def _numpy(folder, image):
    return image


def _scipy(folder, image):
    from scipy import fft

    return fft.irfft2(fft.rfft2(image.astype(float)), image.shape).round()


def _scikit_image(folder, image):
    from skimage import io

    io.imsave(folder / "image.png", image, check_contrast=False)
    return io.imread(folder / "image.png")


def _scikit_learn(folder, image):
    from sklearn.decomposition import PCA

    components = PCA(svd_solver="full").fit(image)
    return components.inverse_transform(components.transform(image)).round()


def _opencv(folder, image):
    import cv2

    cv2.imwrite(str(folder / "image.tif"), image)
    return cv2.imread(str(folder / "image.tif"), cv2.IMREAD_UNCHANGED)


def _onnxruntime(folder, image):
    import numpy as np
    import onnxruntime
    from onnxruntime import datasets

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = datasets.get_example("mul_1.onnx")  # multiplies by 1 to 6
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    values = image[:3, :2].astype(np.float32)
    (products,) = session.run(None, {"X": values})
    return image if np.array_equal(products, values * np.arange(1, 7).reshape(3, 2)) else None


def _onnx(folder, image):
    import onnx

    tensor = onnx.numpy_helper.from_array(image, "image")
    graph = onnx.helper.make_graph([], "image", [], [], [tensor])
    onnx.save(onnx.helper.make_model(graph), folder / "model.onnx")
    [tensor] = onnx.load(folder / "model.onnx").graph.initializer
    return onnx.numpy_helper.to_array(tensor)


def _imagecodecs(folder, image):
    import numpy as np
    import tifffile

    read = []
    for compression in ("lzw", "zstd", "jpeg2000"):
        tifffile.imwrite(folder / "image.tif", image, compression=compression)
        read.append(tifffile.imread(folder / "image.tif"))
    return read[0] if np.all(np.array(read) == read[0]) else None


def _pillow(folder, image):
    import numpy as np
    from PIL import Image

    Image.fromarray(image).save(folder / "image.png")
    with Image.open(folder / "image.png") as picture:
        return np.array(picture)


def _simplejpeg(folder, image):
    import numpy as np
    import simplejpeg

    grey = np.full((*image.shape, 1), 128, np.uint8)  # kept to the bit by JPEG
    (folder / "image.jpg").write_bytes(simplejpeg.encode_jpeg(grey, colorspace="GRAY"))
    decoded = simplejpeg.decode_jpeg((folder / "image.jpg").read_bytes(), colorspace="GRAY")
    return image if np.array_equal(decoded, grey) else None


def _cp_measure(folder, image):
    import numpy as np
    from cp_measure.core.measuretexture import get_texture

    texture = get_texture(np.ones(image.shape, np.int32), image / 255)  # by centrosome and mahotas, which are native
    return image if texture and np.isfinite([*texture.values()]).all() else None


def _openslide(folder, image):
    return _slide(folder, image, "openslide")


def _cucim(folder, image):
    return _slide(folder, image, "cucim")


def _slide(folder, image, reader):
    """Read a TIFF in tiles and in colour, with a reader of slides."""
    import numpy as np
    import tifffile

    from fieldwork.slides.readers import open_slide

    colours = np.repeat(image[..., None], 3, axis=2)
    tifffile.imwrite(folder / "slide.tif", colours, tile=(TILE_PX, TILE_PX), compression="lzw", photometric="rgb")
    slide = open_slide(folder / "slide.tif", reader)
    read = slide.read(0, 0, 0, *image.shape)[..., 0]
    slide.close()
    return read


def _zarrs(folder, image):
    import zarr

    from fieldwork.omezarr.metadata import ZARRS

    with zarr.config.set(ZARRS):
        array = zarr.create_array(folder / "image.zarr", shape=image.shape, chunks=(TILE_PX, TILE_PX), dtype="uint8")
        array[:] = image
        return zarr.open_array(folder / "image.zarr", mode="r")[:]


def _numcodecs(folder, image):
    import numpy as np
    from numcodecs import Blosc

    (folder / "image.blosc").write_bytes(Blosc("lz4").encode(image))
    return np.frombuffer(Blosc("lz4").decode((folder / "image.blosc").read_bytes()), np.uint8).reshape(image.shape)


def _pyarrow(folder, image):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"pixel": image.ravel()}), folder / "image.parquet", compression="zstd")
    return parquet.read_table(folder / "image.parquet")["pixel"].to_numpy().reshape(image.shape)


def _pandas(folder, image):
    import pandas as pd

    pd.DataFrame(image).to_csv(folder / "image.csv", index=False)
    return pd.read_csv(folder / "image.csv").to_numpy()


def _calamine(folder, image):
    import zipfile

    import numpy as np
    import python_calamine

    schema = "http://schemas.openxmlformats.org"
    documents = f"{schema}/officeDocument/2006/relationships"

    def relation(kind, target):
        to_target = f'<Relationship Id="r1" Type="{documents}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{schema}/package/2006/relationships">{to_target}</Relationships>'

    main = f'xmlns="{schema}/spreadsheetml/2006/main" xmlns:r="{documents}"'
    rows = "".join(f"<row>{''.join(f'<c><v>{pixel}</v></c>' for pixel in row)}</row>" for row in image)
    parts = {  # the least of a workbook (ECMA-376)
        "_rels/.rels": relation("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook {main}><sheets><sheet name="1" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relation("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{rows}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(folder / "image.xlsx", "w") as workbook:
        for name, text in parts.items():
            workbook.writestr(name, text)
    return np.array(python_calamine.load_workbook(folder / "image.xlsx").get_sheet_by_index(0).to_python())


def _matplotlib(folder, image):
    import numpy as np

    from fieldwork.figures import plt

    plt.imsave(folder / "image.png", np.repeat(image[..., None], 3, axis=2))
    return (plt.imread(folder / "image.png")[..., 0] * 255).round()


def _shapely(folder, image):
    import shapely

    (folder / "region.geojson").write_text(shapely.to_geojson(shapely.box(0, 0, SIDE_PX, SIDE_PX)), encoding="utf-8")
    region = shapely.from_geojson((folder / "region.geojson").read_text(encoding="utf-8"))
    return image if region.area == image.size else None


CHECKS: dict[str, Callable] = {
    "numpy": _numpy,
    "scipy": _scipy,
    "opencv-python-headless": _opencv,
    "onnx": _onnx,
    "onnxruntime": _onnxruntime,
    "scikit-image": _scikit_image,
    "imagecodecs": _imagecodecs,
    "pillow": _pillow,
    "simplejpeg": _simplejpeg,
    "cp-measure": _cp_measure,
    "openslide-python": _openslide,
    "cucim-cu12": _cucim,
    "zarrs": _zarrs,
    "numcodecs": _numcodecs,
    "pyarrow": _pyarrow,
    "pandas": _pandas,
    "python-calamine": _calamine,
    "scikit-learn": _scikit_learn,
    "shapely": _shapely,
    "matplotlib": _matplotlib,
}


if __name__ == "__main__":
    with temporary_folder() as temporary:
        check(sys.argv[1], Path(temporary))
