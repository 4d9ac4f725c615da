"""Check that a model is a network of our form, and that its arithmetic is exact.

``python -m fieldwork.segmentation.model_form PATH`` prints `fault_of` in JSON: a damaged file may crash its process.
"""

import json
import sys
from pathlib import Path

import numpy as np

from fieldwork.segmentation.network import BUILT_IN

LARGEST_WEIGHT = 64  # processors without 8-bit sums add two products in 16 bits: 2 x 64 x 255 < 2**15
LARGEST_SUM = 2**24  # float32, in which a sum is divided by its power of two, holds every whole number up to it
HIGHEST_LEVEL = 255  # of what a layer passes on
PARTS = ("_weights", "_scales", "_bias")  # of a convolution


def fault_of(path: Path) -> str | None:
    """Return why a file is no model of the built-in one's form whose sums are exact; None where it is.

    The layers must be the built-in model's. Weights are integers from -64 to 64 over a power of two, and of every
    output of a convolution, |weights| x 255 + |bias| stays below 2**24 in these integers: no processor rounds a sum.
    """
    import onnx  # takes half a second

    try:
        model = onnx.load_model(path, load_external_data=False)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
            return "its numbers lie in other files; expected all in this one"
        onnx.checker.check_model(model)
    except Exception as error:
        return f"no ONNX model: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    expected = onnx.load_model(BUILT_IN)
    if _form_of(model) != _form_of(expected):
        return "its layers are not those of the built-in model, which `make train` makes"
    tensors, built_in = _tensors_of(model), _tensors_of(expected)
    for name, values in tensors.items():
        if not name.endswith(PARTS) and not np.array_equal(values, built_in[name]):
            return f"{name!r} is {values.tolist()}; expected {built_in[name].tolist()}"
    for node in model.graph.node:
        if node.op_type == "QLinearConv":
            reason = _inexact(*(tensors[f"{node.name}{part}"] for part in PARTS))
            if reason:
                return f"layer {node.name!r}: {reason}"
    return None


def _tensors_of(model):
    """Return the numbers of a model by name, as float64."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}


def _form_of(model):
    """Return what must be equal in two models: all but texts, and the numbers of the layers."""
    form = type(model)()
    form.CopyFrom(model)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        form.ClearField(field)
    for field in ("name", "doc_string", "initializer"):
        form.graph.ClearField(field)
    shapes = [(tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in model.graph.initializer]
    return form.SerializeToString(deterministic=True), shapes


def _inexact(weights, scales, bias):
    """Return why the sums of a convolution may be rounded; None if they never are."""
    if np.abs(weights).max() > LARGEST_WEIGHT:
        return f"a weight of {weights.flat[np.abs(weights).argmax()]:g}; expected {-LARGEST_WEIGHT} to {LARGEST_WEIGHT}"
    if not (np.isfinite(scales) & (scales > 0)).all() or np.frexp(scales)[0].tolist() != [0.5] * len(scales):
        return "scales that are no powers of two"
    largest = (np.abs(weights).sum(axis=(1, 2, 3)) * HIGHEST_LEVEL + np.abs(bias)).max()
    if largest >= LARGEST_SUM:
        return f"sums of up to {largest:g}; expected less than 2**24"
    return None


if __name__ == "__main__":
    print(json.dumps(fault_of(Path(sys.argv[1]))), flush=True)
