"""The network: a small U-Net whose layers pass on integers from 0 to 255, as its integer form does."""

import torch
from torch import nn

from fieldwork.segmentation.model_form import HIGHEST_LEVEL
from fieldwork.segmentation.network import LEVELS_PER_UNIT, SQUARE_PX

WIDTHS = 32, 64, 96  # channels at a quarter, an eighth and a sixteenth of the resolution
FINE = 64  # channels at a quarter, on the way in and on the way out: four for every pixel
ANSWERS = 2  # nucleus or not, and depth
HIGHEST = HIGHEST_LEVEL / LEVELS_PER_UNIT


class PassingOn(torch.autograd.Function):
    """Bring values to integers from 0 to 255, over 64; gradients pass as if nothing were rounded."""

    @staticmethod
    def forward(context, values):
        context.save_for_backward(values)
        passed = nn.functional.hardtanh(values, 0, HIGHEST)
        return passed.mul_(LEVELS_PER_UNIT).round_().mul_(1 / LEVELS_PER_UNIT)

    @staticmethod
    def backward(context, gradient):
        [values] = context.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, values, 0, HIGHEST)


def passed_on(values):
    """Return values as the next layer gets them: integers from 0 to 255, over 64."""
    return PassingOn.apply(values)


class Layer(nn.Module):
    """A convolution whose output has a mean and a spread of its own; `passed_on` comes after it."""

    def __init__(self, inputs: int, outputs: int, *, side: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=0.02)
        nn.init.constant_(self.norm.bias, 0.5)

    def forward(self, values):
        return self.norm(self.convolution(values))


class Network(nn.Module):
    """Takes (fields, 1, rows, columns) levels over 64; returns (fields, 2, rows, columns): a logit, and depth."""

    def __init__(self):
        super().__init__()
        quarter, eighth, sixteenth = WIDTHS
        self.fine = nn.ModuleList([Layer(SQUARE_PX**2, FINE)])
        self.quarters = nn.ModuleList([Layer(FINE, quarter, side=1), Layer(quarter, quarter)])
        self.eighths = nn.ModuleList([Layer(quarter, eighth, stride=2), Layer(eighth, eighth)])
        self.sixteenths = nn.ModuleList(
            [Layer(eighth, sixteenth, stride=2), Layer(sixteenth, sixteenth), Layer(sixteenth, sixteenth)]
        )
        self.to_eighth = Layer(sixteenth, eighth, side=1)
        self.eighth_again = Layer(eighth, eighth)
        self.to_quarter = Layer(eighth, quarter, side=1)
        self.quarter_again = Layer(quarter, quarter)
        self.to_fine = Layer(quarter, FINE, side=1)
        self.answer = nn.Conv2d(FINE, SQUARE_PX**2 * ANSWERS, 1)

    def forward(self, levels):
        fine = through(self.fine, nn.functional.pixel_unshuffle(levels, SQUARE_PX))
        quarter = through(self.quarters, fine)
        eighth = through(self.eighths, quarter)
        sixteenth = through(self.sixteenths, eighth)
        eighth = passed_on(self.eighth_again(joined(enlarged(self.to_eighth(sixteenth)), eighth)))
        quarter = passed_on(self.quarter_again(joined(enlarged(self.to_quarter(eighth)), quarter)))
        fine = joined(self.to_fine(quarter), fine)
        return nn.functional.pixel_shuffle(self.answer(fine), SQUARE_PX)


def through(layers, values):
    """Return values after some layers."""
    for layer in layers:
        values = passed_on(layer(values))
    return values


def enlarged(values):
    """Return values, enlarged by two."""
    return nn.functional.interpolate(values, scale_factor=2, mode="nearest")


def joined(coarse, fine):
    """Return the sum of what comes from a coarser layer and a fine one, as it is passed on."""
    return nn.functional.hardtanh(passed_on(coarse) + fine, 0, HIGHEST)
