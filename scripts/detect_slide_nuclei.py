"""Find the nuclei of a slide, tile by tile, where there is tissue.

Input: slide.json and the store beside it. Outputs: one row per nucleus, one row per tile.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools
import logging

from fieldwork import job, outputs, parallel
from fieldwork.gpu import client
from fieldwork.job_log import logged
from fieldwork.omezarr import slides
from fieldwork.slides import tiles

log = logging.getLogger(__name__)


def main(*, slide, facts, store, nuclei_table, tiles_table, tile, settings, device, pool, workers):
    facts = outputs.read_json(facts)
    measured = []
    if facts["status"] == "ok":
        options = {"device": device, "pool": pool, "workers": workers}
        measured = measure_tiles(slide, facts, store, tile=tile, settings=settings, **options)
    from fieldwork.slides import tables  # here: Arrow starts a thread, and no fork may follow a thread

    outputs.write_parquet(tables.nuclei_table(slide, measured, mpp=facts.get("mpp")), nuclei_table)
    outputs.write_parquet(tables.tiles_table(slide, measured), tiles_table)
    log.info("slide %s: %d nuclei", slide, sum(len(tile.coordinates) for tile in measured))


def measure_tiles(slide, facts, store, *, tile, settings, device, pool, workers):
    """Measure all tiles of a slide."""
    shape = facts["height"], facts["width"]
    stain = "fluorescence" if facts["fluorescence"] else "haematoxylin"
    detection = tiles.detection_px({**settings, "threshold": settings[stain]}, facts["mpp"])
    log.info("slide %s: detection with %s", slide, detection)
    # In a process of its own: zarr starts threads, and no fork may follow a thread.
    [mask] = parallel.map_frames(functools.partial(slides.read_label, name="tissue"), [store])
    measure = functools.partial(
        tiles.measure_tile,
        read=functools.partial(slides.read_level_0, store),
        shape=shape,
        mask=mask > 0,
        factor=facts["tissue_factor"],
        fluorescence=facts["fluorescence"],
        detection=detection,
        halo=tiles.halo_of(detection),
    )
    frames = tiles.tiles_of(shape, tile=tile)
    with_tissue = int(len(frames) * (mask > 0).mean())
    with client.open_device(device, frames=with_tissue, workers=workers, megapixels=tile**2 / 1e6) as opened:
        measured = job.collect(
            functools.partial(measure, device=opened),
            frames,
            failed=tiles.failed_tile,
            label=f"slide {slide}",
            noun="tiles",
            progress=slide,
            all_may_fail=True,  # merge_slides decides
            workers=workers,
            **pool,
        )
    return [tiles.with_undecoded(result, facts["failed_tiles"]) for result in measured]


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.wildcards.slide,
            facts=snakemake.input[0],
            store=snakemake.params.store,
            nuclei_table=snakemake.output.nuclei,
            tiles_table=snakemake.output.tiles,
            tile=snakemake.params.tile,
            settings=snakemake.params.detection,
            device=snakemake.config["device"],
            pool=snakemake.config["pool"],
            workers=snakemake.threads,
        )
