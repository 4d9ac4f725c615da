"""Filter the images of one plate, and measure them before and after.

Inputs: the plate's images of the nuclei channel. Outputs: filtered.csv, one row per image; beside it, the images.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
from pathlib import Path

from fieldwork import outputs, parallel
from fieldwork.job import note_failure, report
from fieldwork.job_log import logged
from fieldwork.plates import fields, filters


def main(*, images, copies, made, plate, channel, chain, metrics, save, folders, on_bad_image, pool, workers):
    filters.prepare(chain, save=save, folders=folders)
    images = fields.images_of(images, copies)
    targets = filters.targets(images)
    load = functools.partial(fields.load, channel=channel)
    images = parallel.read_ahead(load, images, workers=workers, on_crash=fields.unreadable, **pool)
    originals = [filters.Original(image, targets[image.path]) for image in images]
    filtered = []
    with outputs.atomic_folder(Path(made).parent) as folder:
        measure = functools.partial(
            filters.measure, channel=channel, chain=chain, metrics=metrics, save=save, folder=folder, folders=folders
        )
        for found in parallel.map_frames(
            measure, originals, workers=workers, progress=f"{plate} filters", on_crash=filters.crashed, **pool
        ):
            for each in found:
                if each.error:
                    place = f"plate {plate}: {each.path} (well {each.well}, site {each.site})"
                    note_failure(place, each.error, on_bad_image=on_bad_image)
            filtered += found
        failed = [f"{each.path}: {each.error}" for each in filtered if each.error]
        report(f"plate {plate}", "images filtered", failed, of=len(filtered))
        outputs.write_csv(*filters.rows_of(plate, filtered, metrics=metrics, save=save), folder / Path(made).name)


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            images=snakemake.params.images,
            copies=dict(zip(snakemake.params.urls, snakemake.input.fetched, strict=True)),
            made=snakemake.output[0],
            plate=snakemake.wildcards.plate,
            channel=snakemake.params.channel,
            folders=snakemake.config["module_folders"],
            on_bad_image=snakemake.config["on_bad_image"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
            **snakemake.params.filters,
        )
