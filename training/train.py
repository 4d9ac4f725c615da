"""Train the network on annotated fields: `make train`.

Without fields of one's own, it starts from nothing, on all fields, and writes the built-in model. With fields of one's
own it starts from the built-in model, trains on four of five fields, and says on the fifth by how much it got better.
"""

import argparse
import time
from pathlib import Path

from fieldwork.segmentation import network as runtime
from training import evaluation, integer_form, optimisation
from training.fields import fields_in

HELD_BACK = 5  # of so many fields, one is held back
SEED = 1


def main() -> None:
    """Read the command line; train, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="with images/*.png and labels/*.png, of the same names")
    parser.add_argument("--model", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--own", action="store_true", help="fields of one's own: go on from the built-in model")
    parser.add_argument(
        "--state", type=Path, default=Path(".training"), help="where a training that was stopped goes on"
    )
    options = parser.parse_args()
    if options.model.is_dir() or not options.model.parent.is_dir():
        parser.error(f"--model is {options.model}; expected a file in a folder that exists")
    if options.own and options.model.resolve() == runtime.BUILT_IN.resolve():
        parser.error(f"--model is {options.model}, the built-in model; expected another file for fields of one's own")
    fields = [field for folder in options.folders for field in fields_in(folder)]
    if len(fields) < HELD_BACK:
        folders = ", ".join(map(str, options.folders))
        parser.error(f"{len(fields)} fields with nuclei in {folders}; expected at least {HELD_BACK}")
    held = fields[::HELD_BACK] if options.own else []
    used = [field for number, field in enumerate(fields) if number % HELD_BACK] if options.own else fields
    print(f"{len(fields)} fields with {sum(int(field.labels.max()) for field in fields)} nuclei", flush=True)
    start = runtime.BUILT_IN if options.own else None
    began = time.monotonic()
    state = options.state / f"{options.model.stem}.pt"
    network = optimisation.train(used, seed=SEED, saved=state, start=start)
    integer_form.write(network, options.model)
    state.unlink()
    print(
        f"{options.model}: {options.model.stat().st_size:,} bytes, after {(time.monotonic() - began) / 60:.0f} minutes"
    )
    if held:
        report(held, options.model)


def report(held, model):
    """Print how right the built-in model and a new one are on fields that the new one was not trained on."""
    before, after = evaluation.score(held, "network"), evaluation.score(held, "network", model)
    print(f"{len(held)} fields that were held back:")
    print(f"  classical  {evaluation.score(held, 'classical')}")
    print(f"  built-in   {before}")
    print(f"  this model {after}")
    print(f"  better by  {after.points - before.points:+.3f}, and {after.outlines[0] - before.outlines[0]:+.3f} at 0.5")


if __name__ == "__main__":
    main()
