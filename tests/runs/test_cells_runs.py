"""A run with cells: one row is one cell, and its label images stand beside those of the nuclei."""

import numpy as np
import pyarrow.parquet as pq
import zarr
from skimage.segmentation import expand_labels


def test_cells_are_in_the_table_and_in_a_store_of_their_own(workspace):
    workspace.plant("P1")
    with_cells = ("tables", "--config", "cells={expand: 3}")
    workspace.run(*with_cells)
    folder = workspace.path / "results/plates/P1"
    nuclei = zarr.open_array(folder / "labels.zarr", mode="r")
    cells = zarr.open_array(folder / "cells.zarr", mode="r")
    assert nuclei.shape == cells.shape == (6, 96, 128) and nuclei.chunks == cells.chunks
    areas = []
    for of_nuclei, of_cells in zip(nuclei[:], cells[:], strict=True):
        np.testing.assert_array_equal(of_cells, expand_labels(of_nuclei, 3))
        areas += np.bincount(of_cells.ravel())[1:].tolist()
    table = pq.read_table(folder / "nuclei.parquet").to_pandas()
    assert len(areas) > 20 and table.Cells_AreaShape_Area.tolist() == areas
    assert (table.Cytoplasm_AreaShape_Area == table.Cells_AreaShape_Area - table.Nuclei_AreaShape_Area).all()
    assert workspace.planned(*with_cells) == {}
    (folder / "cells.zarr/zarr.json").unlink()
    assert workspace.planned(*with_cells) == {"join_cells": 1, "tables": 1, "total": 2}
    # Without cells, neither their columns nor their store stay.
    workspace.run("tables")
    assert not [name for name in pq.read_schema(folder / "nuclei.parquet").names if name.startswith("Cells_")]
    assert (folder / "labels.zarr").exists() and not (folder / "cells.zarr").exists()


def test_a_function_for_cells_counts_by_its_module(workspace):
    workspace.plant("P1", wells=("B02",))
    module = workspace.path / "config/own_cells_run.py"
    module.write_text("def cells(nuclei, channels):\n    return nuclei\n")
    arguments = ("tables", "--config", "cells=own_cells_run.cells")
    workspace.run(*arguments)
    table = pq.read_table(workspace.path / "results/plates/P1/nuclei.parquet").to_pandas()
    assert len(table) > 5 and (table.Cells_AreaShape_Area == table.Nuclei_AreaShape_Area).all()
    assert workspace.planned(*arguments) == {}
    module.write_text("def cells(nuclei, channels):\n    return 1 * nuclei\n")
    assert workspace.planned(*arguments)["detect_nuclei"] == 1
