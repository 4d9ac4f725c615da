"""Write a trained network in its integer form, as ONNX, and read it."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from fieldwork import outputs
from fieldwork.segmentation import network as runtime
from training.architecture import ANSWERS, LEVELS_PER_UNIT, SQUARE_PX, Network
from training.rounding import as_integers

RUNTIME = "com.microsoft"  # ONNX Runtime's own operators: convolutions with the channels last, and sums of two layers
OPSETS = {"": 17, RUNTIME: 1}
IR_VERSION = 8


def write(network: Network, path: Path) -> None:
    """Write a network as the workflow reads it, complete or not at all.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    path : Path
    """
    graph, values, skipped = _Graph(), "levels", {}
    for name, layer in _layers_of(network).items():
        values = graph.layer(values, layer, name)
        if name.startswith("to_"):
            fine = skipped[name.removeprefix("to_")]
            coarse = values if name == "to_fine" else graph.enlarged(values, fine, name)
            values = graph.joined(coarse, fine, name)
        else:
            skipped[name.split("_")[0]] = values
    steps, offsets = _answer_steps()
    weights, bias = (part.detach().double().numpy() for part in (network.answer.weight, network.answer.bias))
    weights = weights * (steps / LEVELS_PER_UNIT)[:, None, None, None]
    graph.convolution(values, weights, bias * steps + offsets, "answer", zero="middle")
    with outputs.atomic_file(path) as part:
        part.write_bytes(graph.model().SerializeToString())


def read(path: Path) -> Network:
    """Read a network that `write` wrote, to train it further; its norms stay as they are.

    Parameters
    ----------
    path : Path
    """
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}

    def numbers(name):
        scales = tensors[f"{name}_scales"]
        parts = tensors[f"{name}_weights"] * scales[:, None, None, None], tensors[f"{name}_bias"] * scales
        return [torch.tensor(part, dtype=torch.float32) for part in parts]

    network = Network()
    with torch.no_grad():
        for name, layer in _layers_of(network).items():
            weights, bias = numbers(name)
            layer.convolution.weight.copy_(weights)
            layer.norm.bias.copy_(bias / LEVELS_PER_UNIT)
            layer.norm.running_var.fill_(1 - layer.norm.eps)
            layer.norm.eval()
        steps, offsets = (torch.tensor(part, dtype=torch.float32) for part in _answer_steps())
        weights, bias = numbers("answer")
        network.answer.weight.copy_(weights * (LEVELS_PER_UNIT / steps)[:, None, None, None])
        network.answer.bias.copy_((bias - offsets) / steps)
    return network


def _layers_of(network):
    """Return the layers by their names in the file."""
    down = {"fine": network.fine, "quarter": network.quarters, "eighth": network.eighths}
    down["sixteenth"] = network.sixteenths
    layers = {f"{name}_{number}": layer for name, chain in down.items() for number, layer in enumerate(chain, 1)}
    return layers | {
        name: getattr(network, name) for name in ("to_eighth", "eighth_again", "to_quarter", "quarter_again", "to_fine")
    }


def _answer_steps():
    """Return the steps per unit of the outputs of the last layer, and what is added to them."""
    parts = ([runtime.LOGIT_STEPS, runtime.DEPTH_STEPS], [0, runtime.NO_DEPTH - runtime.MIDDLE])
    return [np.repeat(np.array(part, np.float64), SQUARE_PX**2) for part in parts]


class _Graph:
    """An ONNX graph that grows from its input, `levels`, to its output, `answer`."""

    def __init__(self):
        self.nodes, self.tensors = [], []
        for name, value in (("one", np.float32(1)), ("zero", np.uint8(0)), ("middle", np.uint8(runtime.MIDDLE))):
            self.tensor(name, value)
        self.tensor("no_weight", np.int8(0))
        self.tensor("second", np.array([2]))

    def tensor(self, name, values):
        self.tensors.append(numpy_helper.from_array(np.asarray(values), name))

    def node(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def convolution(self, values, weights, bias, name, *, stride=1, zero="zero"):
        """Add a convolution with (outputs, inputs, side, side) weights, in integers."""
        for part, numbers in zip(("weights", "scales", "bias"), as_integers(weights, bias), strict=True):
            self.tensor(f"{name}_{part}", numbers)
        kernel = [f"{name}_weights", f"{name}_scales", "no_weight"]
        side = weights.shape[-1]
        shape = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4, "strides": [stride] * 2, "channels_last": 1}
        inputs = [values, "one", "zero", *kernel, "one", zero, f"{name}_bias"]
        return self.node("QLinearConv", inputs, name, domain=RUNTIME, **shape)

    def layer(self, values, layer, name):
        """Add a layer, with its norm folded into the weights."""
        norm = layer.norm
        factor = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double()
        weights = layer.convolution.weight.detach().double() * factor[:, None, None, None]
        bias = (norm.bias.detach().double() - norm.running_mean.double() * factor) * LEVELS_PER_UNIT
        return self.convolution(values, weights.numpy(), bias.numpy(), name, stride=layer.convolution.stride[0])

    def enlarged(self, values, fine, name):
        """Add what enlarges a layer by two to the shape of a fine one: a tenth of the time of ONNX's Resize."""
        columns = self.node("Concat", [values, values], f"{name}_columns", axis=3)
        row = self.node("Unsqueeze", [columns, "second"], f"{name}_row")
        rows = self.node("Concat", [row, row], f"{name}_rows", axis=2)
        shape = self.node("Shape", [fine], f"{name}_shape")
        return self.node("Reshape", [rows, shape], f"{name}_enlarged")

    def joined(self, coarse, fine, name):
        inputs = [coarse, "one", "zero", fine, "one", "zero", "one", "zero"]
        return self.node("QLinearAdd", inputs, f"{name}_joined", domain=RUNTIME)

    def model(self):
        sides = ["rows", "columns"]
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, *sides, SQUARE_PX**2 * channels])]
            for name, channels in (("levels", 1), ("answer", ANSWERS))
        ]
        graph = helper.make_graph(self.nodes, "nuclei", *ends, self.tensors)
        opsets = [helper.make_opsetid(*opset) for opset in OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
