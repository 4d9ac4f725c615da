"""The process that holds the GPU, with NumPy in its place; and on machines that have one, the GPU itself."""

import functools
import logging
import multiprocessing
import os
import signal
import socket
import time
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Client
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
from scipy import ndimage

import benchmark_gpu
import detect_nuclei as detect_nuclei_script
import plot_benchmarks
from fieldwork import DeviceFailed, InputError, nuclei, optical_densities, parallel, synthetic
from fieldwork.benchmarks import gpu, methods, plots
from fieldwork.gpu import choice, client, server
from fieldwork.slides import tiles
from fieldwork.slides.channels import Channels
from output_columns import check

DETECTION = {"sigma": 4, "min_distance": 6, "threshold_abs": 1000}
POOL = {"engine": "pool", "mode": "paths", "dask": "processes"}


class Numpy:
    """NumPy and SciPy as a device; `at_work` is called with every batch, in the process that holds it.

    It takes images from locked memory alone.
    """

    xp, ndimage, to_host, name = np, ndimage, staticmethod(np.asarray), "NumPy"

    def __init__(self, at_work=lambda images: None):
        self.at_work, self.pinned = at_work, []

    def stream(self):
        return nullcontext()

    def pin(self, memory):
        self.pinned.append(np.frombuffer(memory, np.uint8))

    def unpin(self, memory):
        old = np.frombuffer(memory, np.uint8)
        self.pinned = [each for each in self.pinned if not np.shares_memory(each, old)]

    def upload(self, images):
        assert all(any(np.shares_memory(image, each) for each in self.pinned) for image in images)
        self.at_work(images)
        return np.stack(images)

    def download(self, array, out):
        np.copyto(out, array)

    def free(self):
        pass


def numpy_device(at_work=lambda images: None):
    return functools.partial(Numpy, at_work)


@contextmanager
def opened(make_device, chosen, **options):
    """Open a device with what makes it in the place of CUDA."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "Cuda", make_device)
        with client.open_device(chosen, **options) as device:
            yield device


def note(folder, images):
    """Leave a file for every image that came, and refuse batches."""
    for image in images:
        (folder / f"{image.shape}_{image.dtype}_{os.getpid()}").touch()
    if len(images) > 1:
        raise MemoryError


def no_memory(images):
    raise MemoryError("none left")


def broken(images):
    raise RuntimeError("cudaErrorLaunchFailure: unspecified")


def killed(images):
    os.kill(os.getpid(), signal.SIGKILL)


def field(seed, shape=(150, 210), dtype="uint16"):
    image, _ = synthetic.plant_field(np.random.default_rng(seed), shape=shape, count=12)
    ground = np.array(2000 if np.dtype(dtype).kind in "if" else 0, dtype)
    return (image.astype(dtype) - ground).astype(dtype)  # arithmetic turns bytes around


def detect(image, *, device):
    return device.detect_nuclei(image, threshold_abs=500)


def found_by(device, images, workers=3):
    return list(parallel.map_frames(functools.partial(detect, device=device), images, workers=workers))


def assert_same(found, images):
    assert len(found) == len(images)
    for each, image in zip(found, images, strict=True):
        expected = nuclei.detect_nuclei(image, threshold_abs=500)
        assert len(expected) > 5
        np.testing.assert_array_equal(each, expected)


def test_who_calls_and_says_nothing_or_does_not_know_the_key_keeps_nobody_waiting():
    images = [field(seed) for seed in range(4)]
    with (
        opened(numpy_device(), "gpu", frames=4, workers=2) as device,
        socket.socket(socket.AF_UNIX) as silent,
        socket.socket(socket.AF_UNIX) as babbling,
    ):
        for caller in (silent, babbling):
            caller.connect(device.address)
        babbling.sendall(b"\0\0\0\x03abc")
        with pytest.raises(multiprocessing.AuthenticationError):
            Client(device.address, "AF_UNIX", authkey=b"another")
        assert_same(found_by(device, images, 2), images)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_get_from_the_process_that_holds_the_device_what_they_would_find(tmp_path, workers):
    shapes, dtypes = [(90, 120), (150, 210), (120, 90)], ["uint16", ">u2", "int16", "float32", "float64", ">f4"]
    images = [field(seed, shapes[seed % 3], dtypes[seed % 6]) for seed in range(24)]
    with opened(numpy_device(functools.partial(note, tmp_path)), "gpu", frames=24, workers=workers) as device:
        assert isinstance(device, client.Gpu)
        assert_same(found_by(device, images, workers), images)
        if workers == 1:
            assert_same([detect(image, device=device) for image in images], images)  # engine serial
    seen = [path.name.rpartition("_") for path in tmp_path.iterdir()]
    assert {kind for kind, _, _ in seen} == {f"{image.shape}_{image.dtype.newbyteorder('=')}" for image in images}
    (process,) = {process for _, _, process in seen}
    assert process != str(os.getpid())
    assert not multiprocessing.active_children()


def test_plateaus_and_black_fields_are_left_to_the_worker():
    saturated = np.minimum(field(1), 2500)
    images = [saturated, np.zeros((150, 210), "uint16"), field(2)]
    with opened(numpy_device(), "gpu", frames=3, workers=2) as device:
        for found, image in zip(found_by(device, images), images, strict=True):
            np.testing.assert_array_equal(found, nuclei.detect_nuclei(image, threshold_abs=500))


@pytest.mark.parametrize("failure", [no_memory, broken, killed])
def test_auto_goes_on_with_the_cpu_when_the_device_fails(failure, monkeypatch, caplog):
    monkeypatch.setattr(server, "time", SimpleNamespace(sleep=lambda seconds: None))  # it waits 10 s for memory
    monkeypatch.setattr(choice, "GPU_START_S", 0)
    monkeypatch.setattr(choice, "missing", lambda: "")
    images = [field(seed) for seed in range(12)]
    with (
        caplog.at_level(logging.INFO),
        opened(numpy_device(failure), "auto", frames=12, workers=3) as device,
    ):
        assert_same(found_by(device, images), images)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith("The GPU failed, and the CPU took over: ")
    said = {no_memory: "MemoryError: none left", broken: "cudaErrorLaunchFailure", killed: "was ended (SIGKILL)"}
    assert said[failure] in warning
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("failure", [no_memory, broken, killed])
@pytest.mark.parametrize("workers", [1, 3])
def test_gpu_ends_the_job_when_the_device_fails_and_says_why(failure, workers, monkeypatch):
    monkeypatch.setattr(server, "time", SimpleNamespace(sleep=lambda seconds: None))  # it waits 10 s for memory
    images = [field(seed) for seed in range(6)]
    said = {no_memory: "MemoryError: none left", broken: "cudaErrorLaunchFailure", killed: r"was ended \(SIGKILL\)"}
    with (
        pytest.raises(DeviceFailed, match=f"device: gpu: .*{said[failure]}.*; set device: auto"),
        opened(numpy_device(failure), "gpu", frames=6, workers=workers) as device,
    ):
        found_by(device, images, workers)
    assert not multiprocessing.active_children()


def late(images):
    if images[0].shape == (90, 120):
        time.sleep(2)


def test_an_answer_that_comes_too_late_is_not_taken_for_another_ones(monkeypatch, caplog):
    monkeypatch.setattr(choice, "GPU_START_S", 0)
    monkeypatch.setattr(choice, "missing", lambda: "")
    images = [field(1), field(2, (90, 120)), field(3), field(4)]
    with opened(numpy_device(late), "auto", frames=4, workers=1) as device:
        monkeypatch.setattr(choice, "GPU_ANSWER_S", 1)
        assert isinstance(device, client.Gpu)
        found = [detect(images[0], device=device), detect(images[1], device=device)]
        time.sleep(1.5)
        found += [detect(image, device=device) for image in images[2:]]
    assert_same(found, images)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning == "the GPU's process has not answered within 1 s: the CPU takes over in one worker"


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_gpu_that_hangs_is_not_waited_for_for_ever(monkeypatch, caplog, asked_before):
    monkeypatch.setattr(choice, "GPU_START_S", 0)
    monkeypatch.setattr(choice, "missing", lambda: "")
    images = [field(1), field(2)]
    with opened(numpy_device(), "auto", frames=2, workers=1) as device:
        stop(device, asked_before, monkeypatch)
        assert_same([detect(image, device=device) for image in images], images)
    assert caplog.text.count("has not answered within 1 s: the CPU takes over") == 1
    with (
        pytest.raises(DeviceFailed, match="device: gpu: the GPU's process has not answered within 1 s; set device"),
        opened(numpy_device(), "gpu", frames=2, workers=1) as device,
    ):
        stop(device, asked_before, monkeypatch)
        detect(images[0], device=device)
    assert not multiprocessing.active_children()


def stop(device, asked_before, monkeypatch):
    monkeypatch.setattr(choice, "GPU_ANSWER_S", 1)
    if asked_before:
        detect(field(3), device=device)
    (process,) = multiprocessing.active_children()
    os.kill(process.pid, signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:  # until then it may answer
        time.sleep(0.01)


def requests_of(images):
    options = {"sigma": 4, "min_distance": 6, "threshold_abs": 500, "magnitude": None}
    expected = [nuclei.candidates_by_opencv(image, **options).coordinates for image in images]
    return [server._Request(None, "candidates", None, image, options) for image in images], expected


class Refusing(Numpy):
    """A device with memory for one image alone, and for that only after six requests."""

    times = 0

    def upload(self, images):
        self.times += 1
        if len(images) > 1 or self.times < 6:
            raise MemoryError
        return np.stack(images)


def test_answers_to_a_halved_batch_go_to_those_who_asked():
    requests, expected = requests_of([field(seed) for seed in range(3)])
    found = server._do(Refusing(), requests)
    for each, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each.coordinates, other)
    with pytest.raises(MemoryError):
        server._do(Refusing(), requests[:1], retries=4)


class Counting(Numpy):
    """Leaves a file that is called like the number of workers' memories that are locked."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def upload(self, images):
        (self.folder / str(len(self.pinned))).touch()
        return super().upload(images)


def test_memory_that_a_worker_has_outgrown_is_no_longer_locked(tmp_path):
    images = [field(seed, (100 + 20 * seed, 120)) for seed in range(4)]
    with opened(functools.partial(Counting, tmp_path), "gpu", frames=4, workers=1) as device:
        assert_same(found_by(device, images, 1), images)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_where_cupy_cannot_be_used_auto_is_silent_and_gpu_is_refused(monkeypatch, caplog):
    def no_cupy():
        raise ModuleNotFoundError("No module named 'cupy'")

    monkeypatch.setattr(choice, "GPU_START_S", 0)
    monkeypatch.setattr(choice, "missing", lambda: "CuPy is not installed")
    with caplog.at_level(logging.INFO), opened(no_cupy, "auto", frames=9, workers=1) as device:
        assert isinstance(device, client.Cpu)
    assert not caplog.records
    monkeypatch.setattr(choice, "missing", lambda: "")  # it is there, and does not start
    with opened(no_cupy, "auto", frames=9, workers=1) as device:
        assert isinstance(device, client.Cpu)
    assert caplog.records[-1].levelname == "WARNING"
    with (
        pytest.raises(DeviceFailed, match="device: gpu: ModuleNotFoundError.*gpu.lock"),
        opened(no_cupy, "gpu", frames=9, workers=1),
    ):
        pass


def test_auto_starts_nothing_for_a_few_frames_and_cpu_never():
    for chosen, frames in (("auto", 100), ("cpu", 10**9)):
        with opened(numpy_device(), chosen, frames=frames, workers=2) as device:
            assert isinstance(device, client.Cpu) and not multiprocessing.active_children()
    assert choice.pays_off("auto", frames=10_000, workers=2) and not choice.pays_off("auto", frames=10_000, workers=64)
    assert choice.pays_off("gpu", frames=1, workers=64)


def test_a_frame_that_raises_ends_the_block_and_the_devices_process():
    with pytest.raises(ZeroDivisionError), opened(numpy_device(), "gpu", frames=1, workers=1):
        raise ZeroDivisionError
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("with_quality", [True, False])
def test_tables_of_a_plate_are_equal_to_the_byte(tmp_path, monkeypatch, with_quality):
    images = []
    for site in range(1, 9):
        tifffile.imwrite(tmp_path / f"{site}.tif", field(site))
        images.append(("B02", site, None, None, str(tmp_path / f"{site}.tif")))
    (tmp_path / "8.tif").write_bytes(b"")
    monkeypatch.setattr(client, "Cuda", numpy_device())
    tables = {}
    for chosen in ("cpu", "gpu"):
        tables[chosen] = {name: tmp_path / f"{chosen}.{name}.parquet" for name in ("nuclei", "fields")}
        detect_nuclei_script.main(
            images=images,
            copies={},
            calibration=None,
            outcome=tables[chosen],
            plate="P1",
            unit="all",
            channel="auto",
            nuclei_channel="DNA",
            measured=[],
            detection={"method": "peaks", **DETECTION},
            drop_border=False,
            cells=None,
            folders=[],
            with_quality=with_quality,
            on_bad_image="record",
            device=chosen,
            pool=POOL,
            workers=2,
        )
    cpu, found = ([path.read_bytes() for path in paths.values()] for paths in tables.values())
    assert cpu == found


def read_slide(row, column, height, width):
    """Haematoxylin-coloured nuclei, all over."""
    density = np.tile(field(3) / 10_000, (3, 3))[row : row + height, column : column + width, None]
    return (255 * 10 ** (-density * [0.65, 0.70, 0.29])).astype(np.uint8)


def measure_slide(device):
    detection = {"sigma": 3, "min_distance": 5, "threshold_abs": 0.02}
    measure = functools.partial(
        tiles.measure_tile,
        read=read_slide,
        shape=(450, 630),
        mask=np.ones((45, 63), bool),
        factor=10,
        channels=Channels("he"),
        detection=detection,
        halo=tiles.halo_of(detection),
        device=device,
    )
    return list(parallel.map_frames(measure, tiles.tiles_of((450, 630), tile=128), workers=2))


def test_haematoxylin_is_that_of_the_cpu_until_the_next_request():
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 256, (size, 2 * size, 3), dtype=np.uint8) for size in (40, 70, 50)]
    expected = [optical_densities.haematoxylin(image) for image in images]
    with opened(numpy_device(), "gpu", frames=3, workers=1) as device:
        for image, each in zip(images, expected, strict=True):
            found = device.haematoxylin(image[:, ::-1][:, ::-1])  # also of what is not in one piece
            np.testing.assert_array_equal(found, each)
            options = {"sigma": 2, "min_distance": 3, "threshold_abs": 0.02}
            peaks = device.detect_nuclei(found, **options)
            np.testing.assert_array_equal(peaks, nuclei.detect_nuclei(each, **options))
            np.testing.assert_array_equal(found, each)
        assert len(peaks) > 5
        with pytest.raises(ValueError, match="found .* uint16"):
            device.haematoxylin(images[0].astype("uint16"))
    np.testing.assert_array_equal(optical_densities.haematoxylin_on(Numpy, np.stack([images[0]] * 2))[1], expected[0])


@pytest.mark.parametrize("make_device", [numpy_device(), pytest.param(server.Cuda, marks=pytest.mark.gpu)])
def test_nuclei_of_a_slide_are_equal_to_the_bit(make_device):
    expected = measure_slide(client.CPU)
    assert sum(len(each.coordinates) for each in expected) > 50 and not any(each.error for each in expected)
    with opened(make_device, "gpu", frames=20, workers=2) as device:
        found = measure_slide(device)
    for one, other in zip(found, expected, strict=True):
        assert one.tile == other.tile
        assert one.coordinates.tobytes() == other.coordinates.tobytes() and one.peaks.tobytes() == other.peaks.tobytes()


def test_tiles_of_a_slide_go_to_the_device_in_colour_and_come_back_as_haematoxylin(tmp_path):
    with opened(numpy_device(functools.partial(note, tmp_path)), "gpu", frames=20, workers=2) as device:
        measure_slide(device)
    seen = [path.name.rpartition("_")[0] for path in tmp_path.iterdir()]
    assert {len(each.split(",")) for each in seen if each.endswith("uint8")} == {3}  # red, green, blue
    assert {len(each.split(",")) for each in seen if each.endswith("float32")} == {2}


def broken_for_candidates(images):
    if images[0].dtype == np.float32:
        raise RuntimeError("cudaErrorLaunchFailure: unspecified")


def test_a_gpu_that_fails_between_two_steps_costs_no_nucleus(monkeypatch, caplog):
    monkeypatch.setattr(choice, "GPU_START_S", 0)
    monkeypatch.setattr(choice, "missing", lambda: "")
    with opened(numpy_device(broken_for_candidates), "auto", frames=20, workers=2) as device:
        found = measure_slide(device)
    assert "The GPU failed, and the CPU took over: RuntimeError" in caplog.text
    for one, other in zip(found, measure_slide(client.CPU), strict=True):
        np.testing.assert_array_equal(one.coordinates, other.coordinates)


def test_a_gpu_that_fails_is_no_failed_tile():
    with pytest.raises(DeviceFailed), opened(numpy_device(broken), "gpu", frames=20, workers=2) as device:
        measure_slide(device)


def test_workers_on_other_machines_and_a_gpu_here_are_refused():
    with pytest.raises(InputError, match="c.yaml: device: gpu .* tcp://node1:8786; set pool.engine: pool"):
        choice.check("gpu", pool={"engine": "dask", "dask": "tcp://node1:8786"}, source="c.yaml")
    assert choice.check("cpu", pool=POOL, source="c.yaml") is False


def test_the_benchmark_of_methods_takes_the_gpu_as_one_more_detector(tmp_path, monkeypatch):
    sources = [(str(tmp_path / f"{seed}.tif"), "auto") for seed in range(5)]
    for seed, (path, _) in enumerate(sources):
        tifffile.imwrite(path, field(seed))
    monkeypatch.setattr(client, "Cuda", numpy_device(functools.partial(note, tmp_path)))
    detectors = [*methods.DETECTORS, methods.GPU_DETECTOR]
    assert [*detectors, *methods.OUTLINE_DETECTORS] == list(plots.DETECTOR_COLOURS)
    cases = [("map_frames, paths", detector, 2) for detector in detectors]
    rows = methods.compare(cases, sources, detection={**DETECTION, "threshold_abs": 500}, repeats=1)
    assert len({row["Nuclei"] for row in rows}) == 1 and rows[0]["Nuclei"] > 30
    assert len(list(tmp_path.glob("(*"))) == 2  # the process of the run that was timed, and of that whose memory was


@pytest.mark.parametrize(("kind", "threshold", "axes"), [("fields", 500, {2}), ("tiles", 0.05, {2, 3})])
def test_the_benchmark_of_devices_counts_the_images_that_are_equal(tmp_path, monkeypatch, kind, threshold, axes):
    options = {"count": 6, "shape": (150, 210), "detection": {**DETECTION, "threshold_abs": threshold}, "repeats": 1}
    monkeypatch.setattr(client, "Cuda", numpy_device(functools.partial(note, tmp_path)))
    rows = gpu.compare_devices(kind, workers=2, with_cucim=False, **options)
    assert {len(path.name.partition(")")[0].split(",")) for path in tmp_path.iterdir()} == axes
    assert [(row["Way"], row["Workers"], row["Device"]) for row in rows] == [
        ("one core", 1, None),
        ("GPU", 1, "NumPy"),
        ("GPU", 2, "NumPy"),
    ]
    assert {row["Images_Equal"] for row in rows} == {row["Images"] for row in rows} == {6}
    assert rows[0]["Start_Seconds"] == 0 < rows[1]["Start_Seconds"] and rows[0]["Times_One_Core"] == 1
    monkeypatch.setattr(client, "Cuda", numpy_device(broken))
    with pytest.raises(RuntimeError, match="cudaErrorLaunchFailure"):
        gpu.compare_devices(kind, workers=2, with_cucim=False, **options)


def test_the_chart_of_devices_names_each_way_and_how_often_the_nuclei_were_the_same():
    row = {"Images": 64, "Image_Height": 20, "Image_Width": 30, "Images_Equal": 64}
    ways = [("one core", 1, 1.0), ("GPU", 1, 9.0), ("GPU", 4, 31.5), ("cuCIM", 1, 4.0)]
    rows = [
        {**row, "Kind": kind, "Way": way, "Workers": workers, "Times_One_Core": times, "Images_per_Second": 10 * times}
        for kind in ("fields", "tiles")
        for way, workers, times in ways
    ]
    rows[1]["Images_Equal"] = 63
    figure = plots.devices(rows, caption="NVIDIA Example")
    for axes, equal in zip(figure.axes, (63, 64), strict=True):
        assert [bar.get_height() for bar in axes.patches] == [1, 9, 31.5, 4]
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["one core\n1 worker", "GPU\n1 worker", "GPU\n4 workers", "cuCIM\n1 worker"]
        assert axes.get_title().endswith(f"the same nuclei in {equal}")
        assert "31.5\n315/s" in [text.get_text() for text in axes.texts]
    plots.plt.close(figure)


def test_the_benchmark_of_a_gpu_is_measured_with_the_settings_for_plates_and_slides_and_drawn(tmp_path, monkeypatch):
    used, compare = [], gpu.compare_devices

    def noted(kind, **options):
        used.append((kind, options["detection"]["threshold_abs"]))
        return compare(kind, **options, with_cucim=False)

    monkeypatch.setattr(client, "Cuda", numpy_device())
    monkeypatch.setattr(gpu, "compare_devices", noted)
    for name in ("FIELDS", "TILES"):
        monkeypatch.setattr(benchmark_gpu, name, {"count": 3, "shape": (150, 210)})
    monkeypatch.setattr(benchmark_gpu, "REPEATS", 1)
    tables = {name: tmp_path / f"{name}.csv" for name in ("gpu", "machine")}
    benchmark_gpu.main(
        detection=DETECTION,
        slide_detection={"sigma_um": 1.5, "min_distance_um": 2.5, "haematoxylin": 0.05, "fluorescence": 20}
        | {"sigma": 6, "min_distance": 10},
        workers=2,
        ways_table=tables["gpu"],
        machine_table=tables["machine"],
    )
    assert used == [("fields", 1000), ("tiles", 0.05)]
    for name, file in (("gpu", "gpu.csv"), ("machine", "gpu_machine.csv")):
        check(f"results/benchmarks/{file}", pd.read_csv(tables[name]).columns)
    plot_benchmarks.main(measured=tables, charts={"gpu": tmp_path / "gpu.png"})
    assert (tmp_path / "gpu.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.gpu
@pytest.mark.parametrize("sigma", [1, 4, 12.5])
def test_the_gpu_finds_what_the_cpu_finds(sigma):
    dtypes = ["uint8", "uint16", "int16", "uint32", "int64", "float16", "float32", "float64"]
    images = [field(seed, (260, 340), dtypes[seed % 8]) for seed in range(80)]
    options = {"sigma": sigma, "threshold_abs": 20}
    expected = [nuclei.detect_nuclei(image, **options) for image in images]
    assert sum(map(len, expected)) > 400
    with client.open_device("gpu", frames=80, workers=4) as device:
        found = parallel.map_frames(functools.partial(device.detect_nuclei, **options), images, workers=4)
        for peaks, others in zip(found, expected, strict=True):
            np.testing.assert_array_equal(peaks, others)


def with_little_memory():
    held = server.Cuda()
    held.xp.get_default_memory_pool().set_limit(size=30 * 2**20)  # enough for one image of 1024 x 1280, not for four
    return held


@pytest.mark.gpu
def test_on_a_gpu_with_little_memory_batches_are_halved():
    images = [field(seed, (1024, 1280)) for seed in range(12)]
    with opened(with_little_memory, "gpu", frames=12, workers=4) as device:
        assert_same(found_by(device, images, 4), images)
