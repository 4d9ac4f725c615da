"""Find the nuclei of a slide where there is tissue: outlined and measured block by block, or as peaks tile by tile.

Inputs: slide.json and the store beside it; calibration.json, if nuclei are outlined. Outputs: one row per nucleus, one
row per tile; of outlines also nuclei.geojson (or nuclei.geojson.zip) beside the table, and labels in the store.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
from pathlib import Path

from fieldwork import InputError, job, label_images, outputs, parallel
from fieldwork.gpu import client
from fieldwork.job_log import logged
from fieldwork.omezarr import slide_labels, slides
from fieldwork.slides import blocks, calibration, channels, geojson, regions, tiles
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds

log = logging.getLogger(__name__)

LABEL = "nuclei"  # of the store


def main(
    *,
    slide,
    facts,
    record,
    store,
    nuclei_table,
    tiles_table,
    tile,
    settings,
    made_of,
    device,
    pool,
    workers,
    annotations,
    tried=None,
):
    facts = outputs.read_json(facts)
    options = {"device": device, "pool": pool, "workers": workers}
    if annotations is None:
        Path(nuclei_table).with_name("regions.csv").unlink(missing_ok=True)  # the sheet named regions in an earlier run
    drawn = read_regions(slide, facts, annotations) if annotations and facts["status"] == "ok" else None
    tables = {"store": store, "nuclei_table": nuclei_table, "tiles_table": tiles_table, "drawn": drawn, "tried": tried}
    of_regions = drawn.warnings if drawn else []
    if facts["status"] != "ok":
        write_peaks(slide, facts, [], made_of, **tables)
        return
    # In a process of its own: zarr starts threads, and no fork may follow a thread.
    [mask] = parallel.map_frames(functools.partial(slides.read_label, name="tissue"), [store])
    mask, frames = mask > 0, tiles.tiles_of((facts["height"], facts["width"]), tile=tile)
    with about(slide):
        detection = calibration.detection_of(settings["nuclei"], channels.channels_of(facts), facts["mpp"])
    log.info("slide %s: detection with %s", slide, detection)
    if detection.pop("method") == "peaks":
        measured = find_peaks(slide, facts, store, frames, mask, detection, **options)
        write_peaks(slide, facts, measured, {**made_of, "warnings": of_regions}, **tables)
        return
    pool, record = {**pool, "workers": workers}, outputs.read_json(record)
    with about(slide):
        detection = calibration.block_detection(record, facts, settings)
    made_of = {**made_of, "calibration": {key: record[key] for key in calibration.DECISIONS}}
    if detection:
        finished = blocks.finished_folder(nuclei_table, identity_of(facts, store, mask, tile, detection, made_of))
        results, totals = outline(slide, store, mask, tile, detection, pool, finished), blocks.Totals(frames)
    else:
        results, totals = [], blocks.Totals(frames, look_at_tiles(slide, facts, store, frames, mask, pool))
    made_of["warnings"] = [*record["warnings"], *of_regions]
    write_outlines(slide, facts, detection, results, totals, made_of, **tables)
    blocks.discard_finished(nuclei_table)


@contextlib.contextmanager
def about(slide):
    """Begin the messages of errors with the slide's name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"slide {slide}: {error}") from None


def read_regions(slide, facts, annotations):
    """Read the regions that the sheet names for a slide."""
    drawn = regions.read(annotations, (facts["height"], facts["width"]), facts.get("bounds"), where=f"slide {slide}")
    for warning in drawn.warnings:
        log.warning("slide %s: %s", slide, warning)
    log.info("slide %s: %d regions: %s", slide, len(drawn.names), ", ".join(drawn.names))
    return drawn


def look_at_tiles(slide, facts, store, frames, mask, pool):
    """Measure the focus and the colour of all tiles of a slide without nuclei."""
    read = functools.partial(slides.read_level_0, store)
    look = functools.partial(tiles.look_at_tile, read=read, mask=mask, factor=facts["tissue_factor"])
    return job.collect(look, frames, progress=f"{slide} tiles", **_names(slide), **pool)


def identity_of(facts, store, mask, tile, detection, made_of):
    """Return a digest of what decides the nuclei of a slide's blocks."""
    pixels = os.stat(Path(store, "0")).st_mtime_ns, hashlib.sha256(mask).hexdigest()
    parts = [facts, tile, detection, made_of, pixels]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def outline(slide, store, mask, tile, detection, pool, finished):
    """Yield the nuclei of every block of a slide, in order, with the focus and the colour of its tiles."""
    options = {"mask": mask, "detection": detection, "tile": tile}
    read = functools.partial(slides.read_level_0, store)
    measure = functools.partial(blocks.measure_block_and_tiles, read=read, **options)
    measure = functools.partial(blocks.read_or_measure, folder=finished, measure=measure)
    frames = blocks.blocks_of(detection.shape)
    if done := blocks.finished_in(finished):
        log.info("slide %s: resumes after %d of %d blocks that were done before", slide, done, len(frames))
    failed = functools.partial(blocks.failed_block_and_tiles, **options)
    return job.results_of(measure, frames, failed=failed, progress=slide, **{**pool, "mode": "paths"})


def write_outlines(
    slide, facts, detection, results, totals, made_of, *, store, nuclei_table, tiles_table, drawn, tried
):
    """Write the table, GeoJSON and labels of nuclei as blocks end, then the table of tiles."""
    results = iter(results)
    first = list(itertools.islice(results, 1))
    from fieldwork.slides import tables  # once all workers are there: Arrow starts a thread, and no fork may follow

    mpp, failed = facts["mpp"], []
    options = {"channels": channels.channels_of(facts), "mpp": mpp, "made_of": made_of}
    schema = tables.nuclei_schema(detection, has_regions=drawn is not None, **options)
    with (  # of these the table, Snakemake's output, appears last
        tables.nuclei_writer(nuclei_table, slide, schema, mpp=mpp, drawn=drawn) as add_rows,
        geojson.writer(_geojson_of(nuclei_table), bounds=facts.get("bounds")) as add_features,
        slide_labels.label_writer(store, LABEL, mpp=mpp) as add_labels,
    ):
        for found in itertools.chain(first, results):
            add_rows(totals.nuclei + 1, found)
            if found.count:
                numbers = range(totals.nuclei + 1, totals.nuclei + 1 + found.count)
                labels = label_images.decode(found.labels, found.shape)
                add_features(numbers, labels, found.origin, *geojson.described(found.measurements))
                add_labels(numbers, labels, found.origin)
            totals.add(found)
            if found.error:
                failed.append(found)
                log.info("failed: slide %s: %s: %s", slide, found.block, found.error)
    if failed:
        log.warning("slide %s: %d blocks failed, first %s: %s", slide, len(failed), failed[0].block, failed[0].error)
    measured = [tiles.with_undecoded(result, facts["failed_tiles"]) for result in totals.tiles()]
    tries.note(tried, [result.error for result in (*failed, *measured)])
    outputs.write_parquet(tables.tiles_table(slide, measured), tiles_table)
    log.info("slide %s: %d nuclei", slide, totals.nuclei)


def write_peaks(slide, facts, measured, made_of, *, store, nuclei_table, tiles_table, drawn, tried):
    """Write the tables of nuclei that are peaks, and delete the outlines of an earlier job."""
    from fieldwork.slides import tables  # here: Arrow starts a thread, and no fork may follow a thread

    tries.note(tried, [result.error for result in measured])
    blocks.discard_finished(nuclei_table)
    geojson.discard(_geojson_of(nuclei_table))
    slide_labels.discard_label(store, LABEL)
    table = tables.nuclei_table(slide, measured, mpp=facts.get("mpp"), drawn=drawn, made_of=made_of)
    outputs.write_parquet(table, nuclei_table)
    outputs.write_parquet(tables.tiles_table(slide, measured), tiles_table)
    log.info("slide %s: %d nuclei", slide, sum(result.count for result in measured))


def find_peaks(slide, facts, store, frames, mask, detection, *, device, pool, workers):
    """Find the nuclei of all tiles of a slide as peaks."""
    measure = functools.partial(
        tiles.measure_tile,
        read=functools.partial(slides.read_level_0, store),
        shape=(facts["height"], facts["width"]),
        mask=mask,
        factor=facts["tissue_factor"],
        channels=channels.channels_of(facts),
        detection=detection,
        halo=tiles.halo_of(detection),
    )
    with_tissue, megapixels = int(len(frames) * mask.mean()), max(frame.height * frame.width for frame in frames) / 1e6
    with client.open_device(device, frames=with_tissue, workers=workers, megapixels=megapixels) as opened:
        measured = job.collect(
            functools.partial(measure, device=opened),
            frames,
            progress=slide,
            workers=workers,
            **_names(slide),
            **pool,
        )
    return [tiles.with_undecoded(result, facts["failed_tiles"]) for result in measured]


def _geojson_of(nuclei_table):
    return Path(nuclei_table).with_suffix(".geojson")


def _names(slide):
    # `merge_slides` decides whether so many tiles may fail.
    return {"failed": tiles.failed_tile, "label": f"slide {slide}", "noun": "tiles", "all_may_fail": True}


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.wildcards.slide,
            facts=snakemake.input.facts,
            record=next(iter(snakemake.input.calibration), None),
            store=snakemake.params.store,
            nuclei_table=snakemake.output.nuclei,
            tiles_table=snakemake.output.tiles,
            tile=snakemake.params.tile,
            settings=snakemake.params.detection,
            made_of=snakemake.params.made_of,
            device=snakemake.config["device"],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            annotations=snakemake.params.regions,
            tried=snakemake.params.tried,
        )
