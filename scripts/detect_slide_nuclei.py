"""Find the nuclei of a slide, tile by tile, where there is tissue.

Input: slide.json and the store beside it. Outputs: one row per nucleus, one row per tile.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging

from fieldwork import outputs, parallel
from fieldwork.gpu import client
from fieldwork.job_log import logged
from fieldwork.omezarr import slides
from fieldwork.slides import tables, tiles

log = logging.getLogger(__name__)


def main(*, slide, facts, store, made, tile, settings, device, pool, workers):
    facts = outputs.read_json(facts)
    measured = []
    if facts["status"] == "ok":
        options = {"device": device, "pool": pool, "workers": workers}
        measured = measure(slide, facts, store, tile=tile, settings=settings, **options)
    outputs.write_parquet(tables.nuclei_table(slide, measured, mpp=facts.get("mpp")), made.nuclei)
    outputs.write_parquet(tables.tiles_table(slide, measured), made.tiles)
    log.info("slide %s: %d tiles, %d nuclei", slide, len(measured), sum(len(each.coordinates) for each in measured))


def measure(slide, facts, store, *, tile, settings, device, pool, workers):
    shape = facts["height"], facts["width"]
    stain = "fluorescence" if facts["fluorescence"] else "haematoxylin"
    detection = tiles.detection_px({**settings, "threshold": settings[stain]}, facts["mpp"])
    log.info("slide %s: detection with %s", slide, detection)
    # In a process of its own: zarr starts threads, and no fork may follow a thread.
    [mask] = parallel.map_frames(functools.partial(slides.read_label, name="tissue"), [store])
    function = functools.partial(
        tiles.measure,
        read=functools.partial(slides.read_level_0, store),
        shape=shape,
        mask=mask > 0,
        factor=facts["tissue_factor"],
        fluorescence=facts["fluorescence"],
        detection=detection,
        halo=tiles.halo_of(detection),
    )
    cut = tiles.tiles_of(shape, tile=tile)
    with_tissue = int(len(cut) * (mask > 0).mean())
    with client.processor(device, frames=with_tissue, workers=workers, megapixels=tile**2 / 1e6) as processor:
        measured = list(
            parallel.map_frames(
                functools.partial(function, processor=processor),
                cut,
                engine=pool["engine"],
                dask=pool["dask"],
                workers=workers,
                progress=slide,
                on_crash=tiles.crashed,
            )
        )
    for each in measured:
        if each.error:
            log.warning("slide %s: %s failed: %s", slide, each.tile, each.error)
    return [tiles.with_failed(each, facts["failed_tiles"]) for each in measured]


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.wildcards.slide,
            facts=snakemake.input[0],
            store=snakemake.params.store,
            made=snakemake.output,
            tile=snakemake.params.tile,
            settings=snakemake.params.detection,
            device=snakemake.config["device"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
