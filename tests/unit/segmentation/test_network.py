"""The network's answers have the same bits on every machine: they are those of whole numbers."""

import re

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from accuracy import generated
from fieldwork.segmentation import model_form, network, pixels

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
    """Evaluate a model with whole numbers of 64 bits, as (2, rows, columns)."""
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    side = network.SQUARE_PX
    rows, columns = (length // side for length in levels.shape)
    squares = levels.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(1, rows, columns, side**2)
    values = tensors | {"levels": squares.astype(np.int64)}
    for node in graph.node:
        given = [values[name] for name in node.input]
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        values[node.output[0]] = OPERATORS[node.op_type](given, attributes)
    answer = values["answer"].reshape(rows, columns, 2, side, side).transpose(2, 0, 3, 1, 4)
    return answer.reshape(2, *levels.shape)


def convolved(given, attributes):
    values, one, zero, weights, scales, no_weight, unit, middle, bias = given
    assert (one, zero, no_weight, unit) == (1, 0, 0, 1) and attributes["channels_last"]
    side, stride, pad = attributes["kernel_shape"][0], attributes["strides"][0], attributes["pads"][0]
    padded = np.pad(values[0], ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))[::stride, ::stride]
    sums = np.einsum("rcikl,oikl->rco", windows, weights.astype(np.int64), optimize=True) + bias
    bits = -np.log2(scales).astype(np.int64)
    return np.clip(shifted(sums, bits) + int(middle), 0, 255)[None]


OPERATORS = {
    "QLinearConv": convolved,
    "QLinearAdd": lambda given, _: np.minimum(given[0] + given[3], 255),
    "Concat": lambda given, attributes: np.concatenate(given, attributes["axis"]),
    "Unsqueeze": lambda given, _: np.expand_dims(given[0], tuple(given[1])),
    "Shape": lambda given, _: given[0].shape,
    "Reshape": lambda given, _: given[0].reshape(given[1]),
}


def shifted(sums, bits):
    """Divide whole numbers by powers of two; halves become even."""
    assert (bits >= 0).all()
    whole, rest = sums >> bits, sums & ((1 << bits) - 1)
    half = (1 << bits) // 2
    return whole + ((rest > half) | ((rest == half) & (half > 0) & (whole % 2 == 1)))


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


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (16, 33), (47, 18)])
def test_images_of_any_size_are_filled_up_with_their_ground(shape):
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    padded = np.pad(levels, [(0, -side % network.MULTIPLE_PX) for side in shape])
    model = network.load()
    np.testing.assert_array_equal(model.run(levels), model.run(padded)[:, : shape[0], : shape[1]])


def test_levels_are_the_logarithm_of_intensities():
    steps = np.arange(2**14, dtype=np.uint16)[None]
    expected = np.rint(64 * np.log(1 + 4 * steps / 2048))
    np.testing.assert_array_equal(network.levels_of(steps, np.zeros_like(steps)), expected)


def divided(nucleus, depth, rise=1):
    """Return the nuclei of answers about an image whose pixels rise by so many contrasts of a typical nucleus."""
    steps = np.full(nucleus.shape, rise * pixels.TYPICAL, np.uint16)
    return network.divided(nucleus, depth, network.levels_of(steps, steps * 0), network.Scale(15, 1, 1))


def test_nuclei_that_touch_are_two_and_a_bent_one_is_one():
    rows, columns = np.mgrid[:48, :80]
    depth = np.zeros((48, 80), np.float32)
    for column, radius in ((15, 8), (30, 8), (60, 8), (61, 8)):
        depth = np.maximum(depth, 1 - np.hypot(rows - 24, columns - column) / radius)
    nucleus = np.where(depth > 0, 200, 20).astype(np.uint8)
    depth = np.rint(network.NO_DEPTH + depth * network.DEPTH_STEPS).astype(np.uint8)
    objects = divided(nucleus, depth)
    assert objects.labels.max() == 3
    assert [objects.labels[24, column] for column in (15, 30)] != [0, 0]
    assert objects.labels[24, 15] != objects.labels[24, 30] and objects.labels[24, 60] == objects.labels[24, 61] > 0
    assert (objects.labels.ravel()[objects.brightest[1:]] == [1, 2, 3]).all()
    assert cv2.connectedComponents((objects.labels > 0).astype(np.uint8))[0] - 1 >= 2


@pytest.mark.parametrize(
    ("answer", "rise", "number"), [(147, 1, 0), (148, 1, 1), (148, 0.16, 1), (171, 0.14, 0), (172, 0.14, 1)]
)
def test_a_nucleus_of_which_the_network_is_not_sure_is_none(answer, rise, number):
    depth = np.clip(1 - np.hypot(*(np.mgrid[:32, :32] - 16)) / 8, 0, 1)
    nucleus = np.where(depth > 0.9, answer, np.where(depth > 0, 140, 20)).astype(np.uint8)
    depth = np.rint(network.NO_DEPTH + depth * network.DEPTH_STEPS).astype(np.uint8)
    assert divided(nucleus, depth, rise).labels.max() == number


@pytest.mark.parametrize(("saddle", "number"), [(0.7, 2), (0.9, 1)])
def test_nuclei_are_one_over_a_shallow_saddle(saddle, number):
    depth = np.tile(np.interp(np.arange(60), [8, 20, 30, 40, 52], [0, 1, saddle, 1, 0]), (24, 1))  # two ridges
    nucleus = np.where(depth > 0, 200, 20).astype(np.uint8)
    depth = np.rint(network.NO_DEPTH + depth * network.DEPTH_STEPS).astype(np.uint8)
    assert divided(nucleus, depth).labels.max() == number


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("weights", 65, "a weight of 65; expected -64 to 64"),
        ("scales", 0.3, "no powers of two"),
        ("scales", np.nan, "no powers of two"),
        ("scales", -0.5, "no powers of two"),
        ("bias", 2**24, "expected less than 2\\*\\*24"),
    ],
)
def test_a_model_whose_sums_are_not_exact_is_refused(tmp_path, part, value, reason):
    model = onnx.load(network.BUILT_IN)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == f"quarter_1_{part}")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    assert re.match(f"layer 'quarter_1': .*{reason}", model_form.fault_of(tmp_path / "model.onnx"))


def test_the_built_in_model_is_exact():
    assert model_form.fault_of(network.BUILT_IN) is None
    assert network.BUILT_IN.stat().st_size < 1_000_000


def test_what_is_no_model_of_this_form_is_refused(tmp_path):
    other = onnx.load(network.BUILT_IN)
    next(item for item in other.graph.node[0].attribute if item.name == "strides").ints[0] = 3
    onnx.save(other, tmp_path / "other.onnx")
    assert "layers are not those" in model_form.fault_of(tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    assert "no ONNX model" in model_form.fault_of(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").touch()
    assert "no ONNX model" in model_form.fault_of(tmp_path / "empty.onnx")
    assert "no ONNX model" in model_form.fault_of(tmp_path)


def test_a_model_with_functions_of_its_own_or_with_numbers_elsewhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the other file lies
    model = onnx.load(network.BUILT_IN)
    same = onnx.helper.make_node("Identity", ["input_0"], ["sum"])
    inputs, opset = [f"input_{number}" for number in range(8)], onnx.helper.make_opsetid("", 17)
    model.functions.append(onnx.helper.make_function("com.microsoft", "QLinearAdd", inputs, ["sum"], [same], [opset]))
    onnx.save(model, "functions.onnx")
    assert "layers are not those" in model_form.fault_of(tmp_path / "functions.onnx")
    model = onnx.load(network.BUILT_IN)
    onnx.save(model, "parts.onnx", save_as_external_data=True, location="numbers", size_threshold=0)
    assert model_form.fault_of(tmp_path / "parts.onnx") == "its numbers lie in other files; expected all in this one"


def test_texts_in_a_model_do_not_count(tmp_path):
    model = onnx.load(network.BUILT_IN)
    model.doc_string, model.producer_name, model.graph.name = "ours", "somebody", "cells"
    onnx.helper.set_model_props(model, {"trained": "2026"})
    onnx.save(model, tmp_path / "texts.onnx")
    assert model_form.fault_of(tmp_path / "texts.onnx") is None
