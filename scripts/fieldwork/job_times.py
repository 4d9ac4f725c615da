"""The chart of the time and the memory of a run's jobs."""

import numpy as np

from fieldwork.figures import BLUE, ORANGE, plt


def jobs(rows: list[dict]) -> plt.Figure:
    """Draw the time and the memory of every rule's jobs: a point for every job, and a line at their median.

    Parameters
    ----------
    rows : list of dict
        One for each job, with ``Rule``, ``Seconds`` and ``Memory_MB``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rules = sorted({row["Rule"] for row in rows}, reverse=True)
    figure, charts = plt.subplots(1, 2, figsize=(11, 1.2 + 0.35 * len(rules)), sharey=True, layout="constrained")
    for axes, column, label in zip(charts, ("Seconds", "Memory_MB"), ("seconds", "memory (MB)"), strict=True):
        for position, rule in enumerate(rules):
            values = [row[column] for row in rows if row["Rule"] == rule]
            axes.plot(values, [position] * len(values), "o", color=BLUE, alpha=0.5, ms=5)
            axes.plot(np.median(values), position, "|", color=ORANGE, ms=16, mew=2)
        axes.set(xscale="log", xlabel=label)
        axes.grid(axis="x", alpha=0.3)
    names = [f"{rule} ({sum(row['Rule'] == rule for row in rows):,})" for rule in rules]
    charts[0].set_yticks(range(len(rules)), names)
    figure.suptitle("time and memory of the jobs that made the tables, by rule (number of jobs)")
    return figure
