"""What is wrong with sheets and configuration is refused when the plan is made. Runs print it: tests/runs."""

import os

import numpy as np
import pytest
import tifffile

from fieldwork import InputError
from plans import PlateFolder, plan_in, write_sheets

CHAIN = [
    {"function": "median"},
    {"function": "skimage.filters.gaussian", "arguments": {"sigma": 2, "preserve_range": True}},
]


def refused(folder, message, **config):
    """Check that a plan is refused with a message."""
    with pytest.raises(InputError, match=message):
        plan_in(folder, **config)


@pytest.mark.parametrize(
    ("sheet", "config", "message"),
    [
        ("plate\timages\nP1\timages/Pl\n", {}, "line 2: plate 'P1' takes its images from 'images/Pl'"),
        ("plate\timages\nP1\timages/P1\nP1\timages/P1\n", {}, "line 3: plate 'P1' stands in line 2 already"),
        ("plate\timages\nP1\timages/P1\np1\timages/P1\n", {}, "plate 'p1' stands in line 2 already as 'P1'; expected"),
        ("plate\timages\nP1\timages/P1\n", {"fan_outt": "well"}, "unknown key 'fan_outt'. Did you mean 'fan_out'?"),
        ("plate\timages\nP1\timages/P1\n", {"nuclei": {"sigma": "wide"}}, "--config: 'nuclei.sigma' is 'wide'"),
        ("plate\timages\nP1\timages/P1\n", {"pool": {"dask": "tcp://node1"}}, "such as tcp://node1:8786"),
        ("plate\timages\tlayout\nP1\timages/P1\tbbbc21\n", {}, "bbbc021"),
        ("plate\timages\tnuclei_channel\nP1\timages/P1\tw7\n", {}, "w7"),
        ("plate\timages\nP1\timages/P1\n", {"slides": "oops.tsv"}, "oops.tsv: does not exist .*columns slide, path"),
        (
            "plate\timages\nP1\timages/P1\n",
            {"results": "s3://lab/out"},
            "'results' is 's3://lab/out'; expected a folder",
        ),
    ],
)
def test_wrong_sheets_and_keys_of_plates(tmp_path, sheet, config, message):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    (tmp_path / "config/plates.tsv").write_text(sheet)
    refused(tmp_path, message, **config)


@pytest.mark.parametrize(
    ("row", "slide", "message"),
    [
        ("a\tslides/nowhere.svs\t", {}, "slide 'a' has the path 'slides/nowhere.svs', which does not exist"),
        ("a/b\ta.tif\t", {}, "line 2: 'slide' is 'a/b'"),
        ("a\ta.tif\tb/c", {}, "line 2: 'plate' is 'b/c'"),
        ("a\ta.tif\t", {"shard": 1000}, "'slide.shard' is 1000; expected 1, 2, 4, 8 ... times slide.chunk"),
        ("a\ta.tif\t", {"codec": "jpeg"}, "'slide.codec' is 'jpeg'; expected zstd, lz4, none or keep"),
        ("a\ta.tif\t", {"keep_properties": "no"}, "'slide.keep_properties' is 'no'; expected true or false"),
    ],
)
def test_wrong_slides_and_settings(tmp_path, row, slide, message):
    write_sheets(tmp_path, slides=[("a", "")])
    (tmp_path / "config/slides.tsv").write_text(f"slide\tpath\tplate\n{row}\n")
    refused(tmp_path, message, **({"slide": slide} if slide else {}))


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *(("mpp", cell) for cell in ("0,25", "0.25 um", "0.5 0.25", "nan", "inf", "-0.25", "0", "0.019", "250")),
        *(("magnification", cell) for cell in ("20x", "x", "0", "nan", "1000")),
        ("modality", "HE"),
        ("series", "-1"),
    ],
)
def test_wrong_facts_of_slides(tmp_path, column, cell):
    write_sheets(tmp_path, slides=[("a", "")])
    (tmp_path / "config/slides.tsv").write_text(f"slide\tpath\t{column}\na\ta.tif\t{cell}\n")
    refused(tmp_path, rf"slides\.tsv, line 2: '{column}' is '{cell}'; expected ")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent.geojson", "slide 'a' has the regions 'absent.geojson', which does not exist"),
        ("https://example.org/r.geojson", "has the regions 'https://example.org/r.geojson', a URL; download the file"),
        ("empty.geojson", "line 2: slide 'a': the regions 'empty.geojson' are no JSON"),
        ("a.tif", "line 2: slide 'a': the regions 'a.tif' are no JSON"),
        ("config", "line 2: slide 'a': the regions 'config' cannot be read: Is a directory"),
        ("other.geojson", "line 2: slide 'a': the regions 'other.geojson' are no GeoJSON"),
    ],
)
def test_wrong_regions_of_a_slide(tmp_path, path, message):
    write_sheets(tmp_path, slides=[("a", "")])
    (tmp_path / "empty.geojson").write_text("")
    (tmp_path / "other.geojson").write_text('{"plate": 3}')
    (tmp_path / "config/slides.tsv").write_text(f"slide\tpath\tregions\na\ta.tif\t{path}\n")
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ({"function": "skimage.filters.sobbel"}, "did you mean 'sobel'"),
        ({"function": "nowhere.at_all"}, "nowhere"),
        ({"function": "skimage.filters.gaussian", "arguments": {"sigm": 2}}, "did you mean 'sigma'"),
        ({"arguments": {"sigm": 2}}, "sigm"),
        ({"arguments": {"threshold": "high"}}, "threshold"),
    ],
)
def test_wrong_functions_of_stacks(tmp_path, stack, message):
    write_sheets(tmp_path, stacks=["film"])
    tifffile.imwrite(tmp_path / "film.tif", np.zeros((2, 8, 9), np.uint16))
    refused(tmp_path, rf"^--config: .*stack\.(function|arguments).*{message}", stack=stack)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"chain": [{"function": "gausian"}]}, "filters.chain.0: .*did you mean 'gaussian'"),
        ({"chain": [*CHAIN, {"function": "own.none"}]}, "filters.chain.2: .*own"),
        ({"chain": CHAIN, "metrics": ["men"]}, "filters.metrics: .*did you mean 'mean'"),
        ({"chain": [{"function": "gaussian", "sigma": 2}]}, "'filters.chain.0.sigma'|unknown key"),
    ],
)
def test_wrong_chains_of_filters(tmp_path, filters, message):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    refused(tmp_path, message, filters=filters)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fanout": "well"}, "config of module cells: unknown key 'fanout'. Did you mean 'fan_out'?"),
        ({"plates": "map.csv"}, "map.csv, line 1: column 'plate' is missing; .*column 'well' is unknown"),
        ({"plates": "none.tsv"}, "none.tsv: does not exist .*columns plate, images: config"),
        ({"filters": {"chain": [{"function": "medium"}]}}, "config of module cells: filters.chain.0: medium"),
    ],
)
def test_wrong_configurations_of_modules(tmp_path, config, message):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    (tmp_path / "map.csv").write_text("well,compound\nB02,DMSO\n")
    refused(tmp_path, message, namespace="cells", **config)


@pytest.mark.parametrize(
    "path",
    [
        *("results", "results/plates/P1", "results/plates/P1/fields.csv", "results/plates/P1/units/all.parquet"),
        *("logs/plates/P1/units/all.log", ".snakemake/fieldwork.lock"),
    ],
)
def test_a_pipe_where_jobs_write_is_named_and_not_waited_for(tmp_path, path):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / path)
    refused(tmp_path, f"'{path}' is a pipe, socket or device where jobs write|'results' is 'results', but '.*no folder")


@pytest.mark.parametrize("path", ["results/plates/P1", "logs", "benchmarks/plates", ".snakemake/metadata"])
def test_a_file_in_place_of_a_folder_in_which_jobs_write_is_refused(tmp_path, path):
    write_sheets(tmp_path, plates=[PlateFolder("P1")])
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    refused(tmp_path, f" '{path}', but '.*{path}' is no folder; expected a folder, which may be there or not")
