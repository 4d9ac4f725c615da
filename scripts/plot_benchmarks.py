"""Draw the benchmarks' tables.

Inputs: the tables of methods, workers and fan-out, and of the machine. Outputs: a chart of each.
"""

import pandas as pd

from fieldwork import plots, tables
from fieldwork.journal import job_log


def main(*, measured, charts):
    machine = pd.read_csv(measured.machine).iloc[0]
    methods = pd.read_csv(measured.methods).to_dict("records")
    on = f"{machine.CPU}, {machine.Cores} cores, {machine.Memory_GB} GB, Python {machine.Python}"
    caption = f"{methods[0]['Images']} images. {on}"
    drawn = {
        charts.methods: plots.methods(methods, caption=caption),
        charts.scaling: plots.scaling(pd.read_csv(measured.scaling).to_dict("records"), caption=caption),
        charts.fan_out: plots.fan_out(pd.read_csv(measured.fan_out).to_dict("records"), caption=on),
    }
    for path, figure in drawn.items():
        with tables.whole(path) as part:
            plots.save(figure, part)


if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        main(measured=snakemake.input, charts=snakemake.output)
