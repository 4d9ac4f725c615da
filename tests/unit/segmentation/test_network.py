"""The network's answers have the same bits on every machine: they are those of whole numbers."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from accuracy import generated
from fieldwork.segmentation import model_form, network

SHAPE = (96, 128)


@pytest.fixture(scope="module")
def levels():
    """Fields as the network sees them: nuclei, all levels at random, and the highest everywhere."""
    rng = np.random.default_rng(1)
    image, _ = generated.planted_field(3, shape=SHAPE, count=12, diameter=15, contrast=2000, ground=0)
    field = network.levels_of(np.clip(image, 0, 2**14 - 1).astype(np.uint16), np.zeros(SHAPE, np.uint16))
    noise = rng.integers(0, 256, SHAPE, np.uint8)
    return [field, noise, np.full(SHAPE, 255, np.uint8), rng.choice(np.array([0, 255], np.uint8), SHAPE)]


@pytest.fixture(scope="module")
def answers(levels):
    """What whole numbers of 64 bits give."""
    graph = onnx.load(network.BUILT_IN).graph
    return [evaluated(graph, field) for field in levels]


def evaluated(graph, levels):
    """Evaluate a model with whole numbers of 64 bits: the weights times their power of two, shifted back after sums."""
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values = {"levels": (levels.astype(np.int64)[None], 0)}  # whole numbers (channels, rows, columns) over 2**bits
    for node in graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        given = [values[name] for name in node.input if name in values]
        whole, bits = given[0]
        if node.op_type == "SpaceToDepth":
            channels, rows, columns = whole.shape
            squares = whole.reshape(channels, rows // 2, 2, columns // 2, 2)
            result = squares.transpose(2, 4, 0, 1, 3).reshape(4 * channels, rows // 2, columns // 2), bits
        elif node.op_type == "Conv":
            assert bits == 0
            result = convolved(whole, *(tensors[name] for name in node.input[1:]), attributes)
        elif node.op_type == "Resize":
            result = whole.repeat(2, axis=1).repeat(2, axis=2), bits
        elif node.op_type == "Add":
            result = whole + (given[1][0] << bits), bits
        elif node.op_type == "Clip":
            result = np.clip(whole, 0, 255 << bits), bits
        elif node.op_type == "Floor":
            result = whole >> bits, 0
        elif node.op_type == "DepthToSpace":
            channels, rows, columns = whole.shape
            squares = whole.reshape(channels // 4, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2)
            result = squares.reshape(channels // 4, 2 * rows, 2 * columns), bits
        else:
            raise AssertionError(f"an operator that nobody expects: {node.op_type}")
        values[node.output[0]] = result
    return values["answer"][0]


def convolved(whole, weights, bias, attributes):
    bits = 24
    scaled = [np.asarray(part, np.float64) * 2.0**bits for part in (weights, bias)]
    assert all(np.array_equal(part, np.rint(part)) for part in scaled)
    weights, bias = (part.astype(np.int64) for part in scaled)
    side, stride, pad = attributes["kernel_shape"][0], attributes["strides"][0], attributes["pads"][0]
    padded = np.pad(whole, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("irckl,oikl->orc", windows, weights, optimize=True) + bias[:, None, None], bits


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimised", [True, False])
def test_answers_are_those_of_whole_numbers(levels, answers, threads, optimised):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    model = network.Model(onnxruntime.InferenceSession(str(network.BUILT_IN), options))
    for field, answer in zip(levels, answers, strict=True):
        np.testing.assert_array_equal(model.run(field), answer)


def test_levels_are_the_logarithm_of_intensities():
    steps = np.arange(2**14, dtype=np.uint16)[None]
    expected = np.rint(64 * np.log(1 + 4 * steps / 2048))
    np.testing.assert_array_equal(network.levels_of(steps, np.zeros_like(steps)), expected)


def test_nuclei_that_touch_are_two_and_a_bent_one_is_one():
    rows, columns = np.mgrid[:48, :80]
    depth = np.zeros((48, 80), np.float32)
    for column, radius in ((15, 8), (30, 8), (60, 8), (64, 8)):
        depth = np.maximum(depth, 1 - np.hypot(rows - 24, columns - column) / radius)
    nucleus = np.where(depth > 0, 500, -500).astype(np.float32)
    scale = network.Scale(15, 1, 1)
    objects = network.divided(nucleus, np.rint(depth * network.DEPTH_STEPS).astype(np.float32), scale)
    assert objects.labels.max() == 3
    assert [objects.labels[24, column] for column in (15, 30)] != [0, 0]
    assert objects.labels[24, 15] != objects.labels[24, 30] and objects.labels[24, 60] == objects.labels[24, 64] > 0
    assert (objects.labels.ravel()[objects.brightest[1:]] == [1, 2, 3]).all()
    assert cv2.connectedComponents((objects.labels > 0).astype(np.uint8))[0] - 1 >= 2


def test_a_model_whose_sums_are_not_exact_is_refused(tmp_path):
    model = onnx.load(network.BUILT_IN)
    assert model_form.fault_of(network.BUILT_IN) is None
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "quarter_weights")
    values = onnx.numpy_helper.to_array(weights).copy()
    for change, reason in ((1 / 3, "sums below 2**24"), (2.0**14, "sums below 2**24"), (np.nan, "finite")):
        values[0, 0, 0, 0] = change
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(model, tmp_path / "model.onnx")
        assert "'quarter'" in model_form.fault_of(tmp_path / "model.onnx")
        assert reason in model_form.fault_of(tmp_path / "model.onnx")


def test_what_is_no_model_of_this_form_is_refused(tmp_path):
    other = onnx.load(network.BUILT_IN)
    other.graph.node[1].attribute[2].ints[0] = 2
    onnx.save(other, tmp_path / "other.onnx")
    assert "layers are not those" in model_form.fault_of(tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    assert "no ONNX model" in model_form.fault_of(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").touch()
    assert "no ONNX model" in model_form.fault_of(tmp_path / "empty.onnx")
    assert "no ONNX model" in model_form.fault_of(tmp_path)
