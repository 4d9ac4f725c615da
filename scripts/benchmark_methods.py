"""Measure ways to find nuclei on the images of one plate.

Inputs: images of the nuclei channel. Outputs: a table of methods, one of numbers of workers and one of the machine.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging

from fieldwork import InputError, frames, outputs
from fieldwork.benchmarks import measuring
from fieldwork.benchmarks import methods as benchmark_methods
from fieldwork.job_log import logged
from fieldwork.surroundings.workers import within_bounds

N_REPEATS = 3
FEWEST_IMAGES, IMAGES_PER_WORKER = 64, 16  # so many are measured; the first plate may have thousands

log = logging.getLogger(__name__)


def main(*, plate, images, channel, detection, workers, with_gpu, methods_table, scaling_table, machine_table):
    images = images[: max(FEWEST_IMAGES, IMAGES_PER_WORKER * workers)]
    sources = [(path, channel) for path in images]
    sizes = set()
    for source in list(sources):  # also so that the system has the files in memory for every case
        try:
            sizes.add(benchmark_methods.read(source).shape)
        except frames.FrameError as error:
            log.warning("left out: %s: %s", source[0], error)
            sources.remove(source)
    if not sources:
        raise InputError(f"of the first plate's {len(images)} images none can be read: there is nothing to measure")
    cases = [
        (method, detector, workers if uses_workers else 1)
        for method, (_, uses_workers) in benchmark_methods.METHODS.items()
        for detector in benchmark_methods.DETECTORS
    ]
    cases += [("map_frames, paths", detector, workers) for detector in benchmark_methods.OUTLINE_DETECTORS]
    if with_gpu:
        cases += [
            ("map_frames, serial", benchmark_methods.GPU_DETECTOR, 1),
            ("map_frames, paths", benchmark_methods.GPU_DETECTOR, workers),
        ]
    methods = benchmark_methods.compare(cases, sources, detection=detection, repeats=N_REPEATS)
    counts = sorted({2**power for power in range(workers.bit_length())} | {workers})
    cases = [("map_frames, paths", "Fieldwork", count) for count in counts]
    scaling = benchmark_methods.compare(cases, sources, detection=detection, repeats=N_REPEATS, progress="workers")
    machine = measuring.machine()
    height, width = sizes.pop() if len(sizes) == 1 else (None, None)
    measured = {"Metadata_Plate": plate, "Image_Width": width, "Image_Height": height}  # None: there are several sizes
    methods, scaling = ([{**measured, **row} for row in rows] for rows in (methods, scaling))
    outputs.write_csv(methods, list(methods[0]), methods_table)
    outputs.write_csv(scaling, list(scaling[0]), scaling_table)
    outputs.write_csv([machine], list(machine), machine_table)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            plate=snakemake.params.plate,
            images=list(snakemake.input),
            channel=snakemake.params.channel,
            detection=snakemake.params.detection,
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            with_gpu=snakemake.resources.gpu,
            methods_table=snakemake.output.methods,
            scaling_table=snakemake.output.scaling,
            machine_table=snakemake.output.machine,
        )
