"""Compare the network with the classical detector on fields that it never saw, five-fold: `make train-cv`.

Goes on where it was stopped: a fold's model, once it is there, is not trained again. Its name has a digest of the
fields; after a change of the code of training, delete the folder of the models.
"""

import argparse
from pathlib import Path

from training import evaluation, integer_form, optimisation
from training.fields import digest_of, fields_in
from training.scores import scores_of

FOLDS = 5
SEED = 1


def main() -> None:
    """Read the command line; train a model for every fold, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="with images/*.png and labels/*.png, of the same names")
    parser.add_argument("--state", type=Path, default=Path(".training"), help="folder of the folds' models")
    parser.add_argument(
        "--folds",
        type=int,
        nargs="+",
        default=list(range(FOLDS)),
        choices=range(FOLDS),
        help="to train; all by default",
    )
    options = parser.parse_args()
    fields = [field for folder in options.folders for field in fields_in(folder)]
    folds = [fields[number::FOLDS] for number in range(FOLDS)]
    if len(fields) < FOLDS:
        parser.error(f"{len(fields)} fields with nuclei; expected at least {FOLDS}")
    models = [options.state / f"fold_{number}_{digest_of(fields)}.onnx" for number in range(FOLDS)]
    for number in options.folds:
        if not models[number].is_file():
            others = [field for other in range(FOLDS) if other != number for field in folds[other]]
            network = optimisation.train(others, seed=SEED, saved=models[number].with_suffix(".pt"))
            integer_form.write(network, models[number])
        print(f"fold {number}: {evaluation.score(folds[number], 'network', models[number])}", flush=True)
    if all(model.is_file() for model in models):
        print(table(folds, models))


def table(folds, models) -> str:
    """Return the table of scores, as Markdown."""
    lines = [
        "| fields | method | F1 of points | F1 of outlines at 0.5 | 0.7 | 0.9 |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for kind, is_stained in (("fluorescence", False), ("stained tissue", True)):
        chosen = [[field for field in fold if field.is_stained == is_stained] for fold in folds]
        for method in ("classical", "network") if any(chosen) else ():
            pairs = (
                (evaluation.labels_of(field, method, model if method == "network" else None), field.labels)
                for fold, model in zip(chosen, models, strict=True)
                for field in fold
            )
            scores = scores_of(pairs)
            values = " | ".join(f"{value:.3f}" for value in (scores.points, *scores.outlines))
            lines.append(f"| {scores.fields} of {kind}, {scores.nuclei} nuclei | {method} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
