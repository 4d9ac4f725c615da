"""Draw the tables of benchmarks.

Inputs: tables of methods, workers and fan-out, of loading slides, of engines or of a GPU; one of the machine.
Outputs: charts, which begin with a sentence on which way to choose.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging

import pandas as pd

from fieldwork import figures
from fieldwork.benchmarks import advice, plots
from fieldwork.job_log import logged

FILTERING = "each image read, filtered (gaussian), variance and mean before and after, saved"
DETECTION = "nuclei and image quality of every frame of one stack, reading included"
GPU_DETECTION = "nuclei in generated images that are in memory, copies to and from the GPU included"


ADVICE = {
    "methods": advice.methods,
    "scaling": advice.scaling,
    "fan_out": advice.fan_out,
    "slides": advice.loading,
    "filters": advice.filters,
    "stack": advice.stack,
    "gpu": advice.devices,
}

log = logging.getLogger(__name__)


def main(*, measured, charts):
    machine = pd.read_csv(measured["machine"]).iloc[0]
    on = f"{machine.CPU}, {machine.Cores} cores, {machine.Memory_GB} GB, Python {machine.Python}"
    rows = {}
    for name in charts:
        # A plate's name may be 007 or NA.
        table = pd.read_csv(measured[name], dtype={"Metadata_Plate": str}, keep_default_na=False, na_values=[""])
        table = table.astype(object)
        rows[name] = table.where(table.notna(), None).to_dict("records")
    captions = {}
    if "methods" in rows:
        captions = captions_of_plate(rows, on)
    if "slides" in rows:
        captions["slides"] = f"{rows['slides'][0]['Slide']}. {on}"
    if "filters" in rows:
        captions["filters"] = caption_of_frames(FILTERING, rows["filters"], on)
        captions["stack"] = caption_of_frames(DETECTION, rows["stack"], on)
    if "gpu" in rows:
        captions["gpu"] = f"{GPU_DETECTION}\n{next(row['Device'] for row in rows['gpu'] if row['Device'])}. {on}"
    draw = {
        "methods": plots.methods,
        "scaling": plots.scaling,
        "fan_out": plots.fan_out,
        "slides": plots.loading,
        "filters": plots.speed_ups,
        "stack": plots.speed_ups,
        "gpu": plots.devices,
    }
    for name, path in charts.items():
        sentence = ADVICE[name](rows[name])
        log.info("%s: %s", name, sentence)
        caption = "\n".join(filter(None, [sentence, captions.get(name, on)]))
        figures.write(functools.partial(draw[name], rows[name], caption=caption), path)


def captions_of_plate(rows, on):
    """Return chart -> caption: the images and the machine; of fan-outs, the number of fields."""
    first, few = rows["methods"][0], rows["fan_out"][0]
    sizes = f"{first['Image_Width']:.0f} x {first['Image_Height']:.0f} px" if first["Image_Width"] else "several sizes"
    plate = f"plate {first['Metadata_Plate']}"
    images = f"{plate}: {first['Images']} images of {sizes}"
    workflow = f"{plate}: whole runs on {few['Fields']} fields (16 at most) of {sizes}, {few['Cores']} cores"
    return {
        "methods": f"{images}\n{on}",
        "scaling": f"{rows['scaling'][0]['Method']}, {rows['scaling'][0]['Detector']}'s detection\n{images}\n{on}",
        "fan_out": f"{workflow}\nwith so few, most of a field's seconds are the jobs' start-up\n{on}",
    }


def caption_of_frames(work, rows, on):
    """Return a caption: the work on images or frames, whether they were fewer than usual, and the machine."""
    if any(row["Scaled_By"] != 1 for row in rows):
        work += "\nscaled down: the start of workers weighs more than in full batches"
    return f"{work}\n{on}"


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(measured=dict(snakemake.input.items()), charts=dict(snakemake.output.items()))
