"""Check that a model is a network of our form, and that its arithmetic is exact.

``python -m fieldwork.segmentation.model_form PATH`` prints `fault_of` in JSON: a damaged file may crash its process.
"""

import json
import sys
from pathlib import Path

import numpy as np

from fieldwork.segmentation.network import BUILT_IN

LARGEST_SUM = 2**24  # float32 holds every whole number up to it
HIGHEST_LEVEL = 255  # of what a layer passes on
MOST_BITS = 24  # of the power of two that weights are over


def fault_of(path: Path) -> str | None:
    """Return why a file is no model of the built-in one's form whose sums are exact; None where it is.

    The layers must be the built-in model's. Of every output of a convolution, weights and bias are integers over a
    power of two, and |weights| x 255 + |bias|, with 255 for what a finer layer adds, stays below 2**24 in those
    integers: every sum that a convolution can make, in whatever order, has no rounding in float32.
    """
    import onnx  # takes half a second

    try:
        model = onnx.load_model(path, load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:
        return f"no ONNX model: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    expected = onnx.load_model(BUILT_IN)
    if _form_of(model) != _form_of(expected):
        return "its layers are not those of the built-in model, which `make train` makes"
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    fixed = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in expected.graph.initializer}
    for name, values in fixed.items():
        if not name.endswith(("_weights", "_bias")) and not np.array_equal(values, tensors[name]):
            return f"{name!r} is not {values.tolist()}"
    for node in model.graph.node:
        if node.op_type == "Conv":
            reason = _inexact(*(tensors[name] for name in node.input[1:]))
            if reason:
                return f"layer {node.name!r}: {reason}"
    return None


def _form_of(model):
    """Return what must be equal in two models: opset, input, output, layers, and the shapes of their numbers."""
    graph = model.graph
    parts = [*model.opset_import, *graph.input, *graph.output, *graph.node]
    shapes = [(tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer]
    return [part.SerializeToString(deterministic=True) for part in parts], shapes


def _inexact(weights, bias):
    """Return why the sums of a convolution may be rounded; None if they never are."""
    outputs = np.concatenate([weights.reshape(len(weights), -1), bias[:, None]], axis=1)
    if not np.isfinite(outputs).all():
        return "weights that are no finite numbers"
    for bits in range(MOST_BITS + 1):
        integers = outputs * 2.0**bits
        whole = (integers == np.rint(integers)).all(axis=1)
        sums = np.abs(integers) @ np.r_[np.full(outputs.shape[1] - 1, HIGHEST_LEVEL), 1] + HIGHEST_LEVEL * 2**bits
        outputs = outputs[~(whole & (sums < LARGEST_SUM))]
        if not len(outputs):
            return None
    return "weights that are no integers over a power of two with sums below 2**24"


if __name__ == "__main__":
    print(json.dumps(fault_of(Path(sys.argv[1]))), flush=True)
