"""Train the network on fields; a stop costs the steps since the last save."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from training import augmentation, integer_form, synthetic
from training.architecture import LEVELS_PER_UNIT, Network
from training.fields import Field, digest_of

CROPS = 8  # of a step
DECAY = 1e-3  # of weights
WARM_UP, AVERAGED = 0.1, 0.998  # share of a cycle's steps in which the rate rises; of the weights' moving average
STAINED_SHARE, SYNTHETIC_SHARE = 0.18, 0.15  # of the crops
SEAM_WEIGHT = 4.0  # of pixels where nuclei touch, beyond that of others
DEPTH_WEIGHT = 8.0  # of the squares of depth's errors, against the cross entropy of nucleus or not
SAVED_EVERY = 250  # steps
# With floats of 16 bits, where the processor multiplies them itself; what layers pass on is exact in their 8 bits.
IN_HALVES = torch.cpu._is_avx512_bf16_supported()


class Cycle(NamedTuple):
    """Steps in which the rate rises to `rate`, and falls to almost nothing."""

    steps: int
    rate: float


FROM_NOTHING = Cycle(20_000, 4e-3), Cycle(5_000, 1e-3)
FROM_A_MODEL = (Cycle(1_000, 5e-4),)


def train(fields: Sequence[Field], *, seed: int, saved: Path, start: Path | None = None) -> Network:
    """Train a network.

    Parameters
    ----------
    fields : sequence of Field
    seed : int
    saved : Path
        Where the state of a training is kept, from which it goes on; that of another training does not count.
    start : Path, optional
        A model to go on from, whose norms stay as they are.

    Returns
    -------
    Network
        The moving average, ready to be used.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # sums in one order
    network = (integer_form.read(start) if start else Network()).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGED), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=DECAY, fused=True)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    cycles = FROM_A_MODEL if start else FROM_NOTHING
    of_start = hashlib.sha256(start.read_bytes()).hexdigest() if start else ""
    training = f"{digest_of(fields)} {seed} {cycles} {IN_HALVES} {of_start}"
    state = state_of(saved, training)
    end, last = 0, sum(cycle.steps for cycle in cycles)
    for cycle in cycles:
        first, end = max(end, state["step"]), end + cycle.steps
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, cycle.rate, cycle.steps, pct_start=WARM_UP)
        parts["schedule"] = schedule
        if first > end - cycle.steps:  # stopped in this cycle, or later
            load(parts, state)
        losses = []
        for step in range(first, end):
            losses.append(take_step(parts, batch_of(fields, np.random.default_rng((seed, step)))))
            average.update_parameters(network)
            if (step + 1) % SAVED_EVERY == 0 or step + 1 == end:
                print(f"step {step + 1} of {last}: loss {np.mean(losses):.4f}", flush=True)
                losses.clear()
                save({"training": training, "step": step + 1}, parts, saved)
    return average.module.eval()


def state_of(saved, training):
    """Return the saved state of this training; that of none before its first step."""
    state = torch.load(saved, weights_only=True) if saved.is_file() else {}
    if state.get("training") == training:
        print(f"going on from step {state['step']}", flush=True)
        return state
    if state:
        print(f"{saved} is of another training: beginning anew", flush=True)
    return {"step": 0}


def load(parts, state):
    """Bring those parts of a training to a state that are in it."""
    for name in parts.keys() & state.keys():
        parts[name].load_state_dict(state[name])


def save(state, parts, saved):
    """Write the state of a training, whole or not at all."""
    saved.parent.mkdir(parents=True, exist_ok=True)
    partial = saved.with_suffix(".partial")
    torch.save(state | {name: part.state_dict() for name, part in parts.items()}, partial)
    partial.replace(saved)


def take_step(parts, batch):
    """Change the network's weights by what a batch says; return its loss."""
    levels, *wanted = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=IN_HALVES):
        answer = parts["network"](levels)
    loss = loss_of(answer.float(), *wanted)
    parts["optimizer"].zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parts["network"].parameters(), 1.0)
    parts["optimizer"].step()
    parts["schedule"].step()
    return loss.item()


def batch_of(fields, rng):
    """Return crops of some fields: levels over `LEVELS_PER_UNIT`, and what the network is to answer."""
    chosen = [fields[number] for number in rng.choice(len(fields), CROPS, p=weights_of(fields))]
    chosen = [synthetic.field(rng) if rng.random() < SYNTHETIC_SHARE else field for field in chosen]
    crops = [augmentation.crop_of(field, rng) for field in chosen]
    levels, *wanted = (torch.from_numpy(np.stack(values)[:, None]) for values in zip(*crops, strict=True))
    return levels.float() / LEVELS_PER_UNIT, *wanted


def weights_of(fields):
    """Return how often a field is chosen: large ones more often, and a fixed share are stained."""
    rooms = [field.image.size / field.diameter**2 / 160 for field in fields]  # crops that it has room for
    weights = np.sqrt(np.clip(rooms, 1, 16))
    stained = np.array([field.is_stained for field in fields])
    for kind, share in ((stained, STAINED_SHARE), (~stained, 1 - STAINED_SHARE)):
        weights[kind] *= share / max(weights[kind].sum(), 1e-9)
    return weights / weights.sum()


def loss_of(answer, nucleus, depth, seams):
    """Return the loss of a batch; pixels outside of fields, whose `nucleus` is -1, don't count."""
    weights = (nucleus >= 0) * (1 + SEAM_WEIGHT * seams)
    entropy = nn.functional.binary_cross_entropy_with_logits(answer[:, :1], nucleus.clamp(min=0), reduction="none")
    error = (answer[:, 1:] - depth) ** 2
    return ((entropy + DEPTH_WEIGHT * error) * weights).sum() / weights.sum()
