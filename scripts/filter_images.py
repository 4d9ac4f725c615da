"""Filter the images of one plate, and measure them before and after.

Inputs: the plate's images of the nuclei channel. Outputs: filtered.csv, one row per image; beside it, the images.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
from pathlib import Path

from fieldwork import job, outputs
from fieldwork.job_log import logged
from fieldwork.plates import filters
from fieldwork.plates import images as plate_images
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds


def main(
    *,
    images,
    copies,
    filtered_table,
    plate,
    channel,
    chain,
    metrics,
    save,
    folders,
    on_bad_image,
    pool,
    workers,
    tried=None,
):
    filters.import_filters(chain, save=save, folders=folders)
    images = plate_images.images_of(images, copies)
    targets = filters.targets_of(images)
    options = {"chain": chain, "metrics": metrics, "save": save, "folders": folders, "plate": plate}
    with outputs.atomic_folder(Path(filtered_table).parent) as folder:
        filtered = job.collect(
            functools.partial(filters.filter_image, **options, folder=folder),
            [filters.Original(image, targets.get(image.path, "")) for image in images],
            read=functools.partial(filters.read_planes, channel=channel),
            failed=filters.failed_image,
            suspects="the reader or a filter",
            label=f"plate {plate}",
            noun="images",
            progress=f"{plate} filters",
            on_bad_image=on_bad_image,
            workers=workers,
            **pool,
        )
        tries.note(tried, [image.error for image in filtered])
        rows, columns = filters.rows_of(plate, filtered, metrics=metrics, save=save)
        outputs.write_csv(rows, columns, folder / Path(filtered_table).name)


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            filtered_table=snakemake.output[0],
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            folders=snakemake.config["module_folders"],
            on_bad_image=snakemake.config["on_bad_image"],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
            **snakemake.params.filters,
        )
