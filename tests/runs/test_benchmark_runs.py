"""The target benchmarks, on images of the sheets and without any."""

import json
import re

import pandas as pd
import tifffile

from fieldwork.nuclei import detect_nuclei
from output_columns import check
from slide_files import picture, write_slide


def test_the_target_benchmarks_makes_tables_and_charts_as_configured_without_bad_images(workspace):
    files = workspace.plant(wells=("B02", "B03"), sites=2)
    files[0].write_bytes(b"")
    settings = {"nuclei": {"sigma": 3, "threshold": 4000}, "on_bad_image": "stop", "max_failed_fields": 0}
    (workspace.path / "config/config.yaml").write_text(json.dumps(settings))
    images = [tifffile.imread(path) for path in files[1:]]
    found, by_default = (
        sum(len(detect_nuclei(image, sigma=sigma, min_distance=6, threshold_abs=threshold)) for image in images)
        for sigma, threshold in ((3, 4000), (4, 1000))
    )
    assert 0 < found < by_default
    charts = ("methods", "scaling", "fan_out")
    workspace.run(*(f"results/benchmarks/{chart}.png" for chart in charts))  # without those that take minutes
    folder = workspace.path / "results/benchmarks"
    methods = pd.read_csv(folder / "methods.csv")
    by_peaks = methods[~methods.Detector.isin(["Fieldwork, classical", "Fieldwork, network"])]
    assert len(methods) == 18 and len(by_peaks) == 16 and set(by_peaks.Nuclei) == {found} and set(methods.Images) == {3}
    log = (workspace.path / "logs/benchmarks/benchmark_fan_out.log").read_text()
    assert re.findall(r"Fields: 4, of which 1 failed. Nuclei: (\d+)", log) == [str(found)] * 3
    assert list(pd.read_csv(folder / "scaling.csv").Workers) == [1, 2]
    fan_out = pd.read_csv(folder / "fan_out.csv")
    assert set(methods.Metadata_Plate) == set(fan_out.Metadata_Plate) and len(set(methods.Metadata_Plate)) == 1
    assert dict(zip(fan_out.Fan_Out, fan_out.Jobs, strict=True)) == {"plate": 1, "well": 2, "field": 4}
    assert {"CPU", "Cores", "Memory_GB", "Python", "scikit-image"} <= set(pd.read_csv(folder / "machine.csv"))
    for name in (*charts, "machine"):
        check(f"results/benchmarks/{name}.csv", pd.read_csv(folder / f"{name}.csv").columns)
    assert {path.name for path in folder.glob("*.png")} == {f"{chart}.png" for chart in charts}
    assert (workspace.path / "results/plates").exists() is False
    ahead = {"benchmark_frames": 1, "plot_frame_benchmarks": 1, "benchmarks": 1, "total": 3}
    assert workspace.planned("benchmarks") == ahead


def test_without_a_sheet_the_target_benchmarks_measures_generated_images(workspace):
    (workspace.path / "config").mkdir()
    (workspace.path / "config/plates.tsv").write_text("plate\timages\n")
    expected = {"benchmark_frames": 1, "plot_frame_benchmarks": 1, "benchmarks": 1, "total": 3}
    assert workspace.planned("benchmarks") == expected


def test_the_target_benchmarks_loads_the_slides_of_the_sheet_if_there_are_any(workspace):
    (workspace.path / "config").mkdir()
    sheet = workspace.path / "config/slides.tsv"
    (workspace.path / "config/plates.tsv").write_text("plate\timages\n")
    sheet.write_text(f"slide\tpath\nS1\t{write_slide(workspace.path / 'slide.tif', picture(64, 64))}\n")
    generated = {"benchmark_frames": 1, "plot_frame_benchmarks": 1}  # these need no sheet
    assert workspace.planned("benchmarks") == {
        **generated,
        "benchmark_slides": 1,
        "plot_slide_benchmark": 1,
        "benchmarks": 1,
        "total": 5,
    }
    sheet.write_text("slide\tpath\n")
    workspace.plant(wells=("B02",), sites=1)
    assert set(workspace.planned("benchmarks")) == {
        *generated,
        "benchmark_methods",
        "benchmark_fan_out",
        "plot_benchmarks",
        "benchmarks",
        "total",
    }
