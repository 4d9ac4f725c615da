"""Sentences of charts name the way that was planted as the best, and the default where none is better beyond doubt."""

import pytest

from fieldwork.benchmarks import advice


def way(seconds, least=None, most=None, **others):
    return {"Seconds": seconds, "Seconds_Min": least or seconds, "Seconds_Max": most or seconds, **others}


def of_methods(**seconds):
    """Return rows of methods: 100 images in so many seconds, and the tutorial's in 5 and 10."""
    rows = [way(value, Method=f"map_frames, {name}", Detector="Fieldwork") for name, value in seconds.items()]
    rows += [way(0.1, Method="map_frames, paths", Detector="Fieldwork, network")]
    rows += [way(value, Method=name, Detector="scikit-image") for name, value in (("a loop", 10), ("a Pool", 5))]
    return [{**row, "Images_per_Second": 100 / row["Seconds"]} for row in rows]


def test_the_way_to_find_nuclei_is_the_fastest_of_the_pools_and_the_default_where_that_is_as_fast():
    assert advice.methods(of_methods(serial=4, paths=2, fork=1.9)) == (
        "Choose pool: {engine: pool, mode: paths}, the default: 50 images/s, 2.5 times the best of scikit-image's "
        "(a Pool)."
    )
    assert advice.methods(of_methods(serial=4, paths=2, fork=1)).startswith(
        "Choose pool: {engine: pool, mode: fork}: 100"
    )
    assert advice.methods(of_methods(serial=1, paths=2, fork=2)).startswith("Choose pool: {engine: serial}: 100")
    assert advice.methods([]) == ""


@pytest.mark.parametrize(
    ("least", "most", "expected"), [(0.9, 1.5, "default"), (0.9, 2.1, "default"), (0.9, 1.1, "other")]
)
def test_a_way_is_faster_beyond_doubt_where_no_run_of_it_is_slower_than_one_of_the_default(least, most, expected):
    rows = [way(2, 1.4, 3, name="default"), way(1, least, most, name="other")]
    assert advice.chosen(rows, lambda row: row["name"] == "default")["name"] == expected


@pytest.mark.parametrize(("seconds", "expected"), [(1.5, "default"), (1.2, "other")])
def test_one_run_of_each_way_leaves_more_doubt(seconds, expected):
    rows = [way(2, name="default"), way(seconds, name="other")]
    assert advice.chosen(rows, lambda row: row["name"] == "default")["name"] == expected
    rows = [way(2, 1.9, 2.1, name="default"), way(1.5, 1.4, 1.6, name="other")]
    assert advice.chosen(rows, lambda row: row["name"] == "default")["name"] == "other"


def test_the_number_of_cores_is_the_least_that_is_as_fast_as_any():
    rows = [way(8 / rate, Workers=count, Images_per_Second=rate) for count, rate in ((1, 10), (2, 19), (4, 20))]
    assert advice.scaling(rows) == "Choose --cores 2: 19 images/s, and hardly more with up to 4."
    assert advice.scaling(rows[:2]) == "Choose --cores 2: 1.9 times as fast as 1 core."


def test_the_fan_out_is_the_plate_unless_another_takes_less():
    rows = [
        {"Fan_Out": name, "Seconds_per_Field": value} for name, value in (("plate", 0.3), ("well", 0.4), ("field", 1))
    ]
    assert advice.fan_out(rows) == "Choose fan_out: plate, the default: 0.30 s per field (well 0.40 s, field 1.00 s)."
    rows[1]["Seconds_per_Field"] = 0.1
    assert advice.fan_out(rows) == "Choose fan_out: well: 0.10 s per field (plate 0.30 s, field 1.00 s)."


def of_reader(reader, seconds, workers=2, task="zarr", shape="blocks"):
    rate = None if seconds is None else 10 / seconds
    return way(seconds, Task=task, Shape=shape, Reader=reader, Workers=workers, Megapixels_Per_Second=rate)


def test_the_reader_of_slides_is_the_one_that_fills_a_store_fastest():
    rows = [of_reader("tifffile", 1), of_reader("cucim", 0.95), of_reader("openslide", 3), of_reader("cucim", 0.1, 1)]
    rows += [of_reader("openslide", 0.1, task="strips", shape="rows"), of_reader("other", None)]
    assert advice.loading(rows) == (
        "Keep slide.reader: auto, which tries tifffile first: 10 megapixels/s into Zarr by 2 processes."
    )
    rows[1] = of_reader("cucim", 0.5)
    assert advice.loading(rows).startswith("Choose slide.reader: cucim for slides like this one: 20 megapixels/s")
    assert advice.loading([of_reader("other", None)]) == ""


def of_engine(engine, speed, side=32):
    return way(10 / speed, Engine=engine, Speedup=speed, Images=100, Height=side, Width=side)


def test_the_engine_is_the_fastest_for_batches_of_a_kind_and_never_the_naive_one():
    engines = {"serial": 1, "pool": 1.9, "Dask, processes": 0.5, "Dask, threads": 0.9, "naive dask.delayed": 9}
    rows = [of_engine(name, speed) for name, speed in engines.items()]
    large = [of_engine(name, {**engines, "Dask, threads": 4}[name], side=2048) for name in engines]
    assert advice.filters(rows) == (
        "Choose pool.engine: pool, the default, for all batches (1.9 times as fast as a loop)."
    )
    assert advice.filters(rows + large) == (
        "Choose pool: {engine: dask, dask: threads}, for images of 2048 x 2048 px (4.0 times as fast as a loop); "
        "pool.engine: pool, the default, for images of 32 x 32 px (1.9 times as fast as a loop)."
    )
    slow = [of_engine(name, min(speed, 0.5 if name == "pool" else 1)) for name, speed in engines.items()]
    assert advice.filters(slow) == "Choose pool.engine: serial, for all batches."


def test_the_way_through_a_stack_is_a_mode_of_the_pool_or_a_loop():
    rows = [of_engine("serial", 1), of_engine("Pool.map, pickling", 5), of_engine("pool, paths", 2)]
    assert advice.stack([*rows, of_engine("pool, fork", 2.1)]) == (
        "Choose pool: {engine: pool, mode: paths}, the default: 2.0 times as fast as a loop."
    )
    assert advice.stack([*rows, of_engine("pool, fork", 3)]).startswith("Choose pool: {engine: pool, mode: fork}: 3.0")


def test_a_gpu_is_chosen_where_it_does_the_work_of_more_cores_than_feed_it():
    rows = [{"Kind": "fields", "Way": "one core", "Workers": 1, "Times_One_Core": 1.0}]
    rows += [{"Kind": "fields", "Way": "GPU", "Workers": count, "Times_One_Core": 10.0 * count} for count in (1, 8)]
    rows += [{"Kind": "tiles", "Way": "GPU", "Workers": 8, "Times_One_Core": 6.0}]
    assert advice.devices(rows) == (
        "Choose device: gpu for fields: the GPU does the work of 80 cores, and has 8 to feed it; "
        "device: cpu for tiles: the GPU does the work of 6 cores, and has 8 to feed it."
    )
