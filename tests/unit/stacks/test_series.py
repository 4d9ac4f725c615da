"""Series of images, as other readers see them."""

import numpy as np
import pytest
import tifffile
import zarr

from fieldwork import label_images
from fieldwork.stacks import series as stack_series


@pytest.mark.parametrize("shape", [(3, 20, 30), (4, 20, 3), (1, 20, 30)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_a_tiff_has_a_page_for_every_frame_in_whatever_order_they_come(tmp_path, shape, dtype):
    film = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    series = stack_series.lay_out(tmp_path, kind="tiff", n_frames=shape[0], form=(shape[1:], film.dtype.str))
    for index in reversed(range(shape[0])):
        stack_series.write(series, index, film[index])
    stack_series.finish(series)
    assert [path.name for path in tmp_path.iterdir()] == ["frames.tif"]
    with tifffile.TiffFile(tmp_path / "frames.tif") as tif:
        assert len(tif.pages) == shape[0]
        np.testing.assert_array_equal([page.asarray() for page in tif.pages], film)


@pytest.mark.parametrize("kind", ["zarr", "tiff"])
def test_label_images_are_padded_and_read_again(tmp_path, kind):
    film = [np.arange(600, dtype=np.uint32).reshape(20, 30), np.full((7, 30), 2**31, np.uint32), None]
    form = (20, 30), stack_series.LABEL_DTYPE
    series = stack_series.lay_out(tmp_path, kind=kind, n_frames=3, form=form, name=stack_series.LABELS)
    for index, labels in enumerate(film[:2]):
        stack_series.write_labels(series, index, label_images.encode(labels), labels.shape)
    stack_series.finish(series)
    (path,) = tmp_path.iterdir()
    assert path.name == {"zarr": "labels.zarr", "tiff": "labels.tif"}[kind]
    stored = zarr.open_array(path, mode="r")[:] if kind == "zarr" else tifffile.imread(path)
    np.testing.assert_array_equal(stored[0], film[0])
    np.testing.assert_array_equal(stored[1], np.pad(film[1], ((0, 13), (0, 0))))
    assert stored.dtype == np.uint32 and not stored[2].any()
    for index in range(3):
        np.testing.assert_array_equal(stack_series.read_labels(path, index), stored[index])
    stack_series.clear(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_killed_jobs_left_is_cleared_and_an_older_series_replaced(tmp_path):
    for kind, dtype in (("zarr", "<f8"), ("tiff", "|u1"), ("zarr", "<u2")):
        left = stack_series.lay_out(tmp_path, kind=kind, n_frames=2, form=((4, 5), "<f4"))
        series = stack_series.lay_out(tmp_path, kind=kind, n_frames=2, form=((4, 5), dtype))
        assert left.path != series.path
        stack_series.write(series, 1, np.full((4, 5), 7, dtype))
        if kind == "zarr":
            (tmp_path / series.path / "c" / "1.1234.partial").write_bytes(b"of a worker that was killed")
        stack_series.finish(series)
        assert [path.name for path in tmp_path.iterdir()] == [f"frames{stack_series.SUFFIXES[kind]}"]
    stored = zarr.open_array(tmp_path / "frames.zarr")
    assert stored.dtype == "uint16" and stored[:].tolist() == [[[0] * 5] * 4, [[7] * 5] * 4]
    assert not list(tmp_path.rglob("*.partial"))
