"""Draw what is found in some tiles of a slide's sample.

Inputs: calibration.json; slide.json; the store beside it. Output: calibration.png.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools

from fieldwork import figures, outputs
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import plots
from fieldwork.job_log import logged
from fieldwork.omezarr import slides
from fieldwork.slides import calibration as slide_calibration
from fieldwork.slides import channels as slide_channels
from fieldwork.slides import plots as slide_plots
from fieldwork.surroundings.workers import within_bounds


def main(*, slide, facts, record, store, picture, pool, workers):
    facts, record = outputs.read_json(facts), outputs.read_json(record)
    title = f"slide {slide}: what is found in its sample"
    if facts["status"] != "ok":
        figures.write(functools.partial(slide_plots.failed, title, facts["error"]), picture, colours=64)
        return
    channels = slide_channels.channels_of(facts)
    read = functools.partial(slide_calibration.read_tile, read=functools.partial(slides.read_level_0, store))
    calibration, levels = detection_calibration.of_record(record), slide_calibration.levels_of_record(record)
    detection = record["settings"]["detection"]
    measure = functools.partial(
        detection_calibration.measure_images,
        measure=slide_calibration.finder_of(detection, channels, calibration, levels),
        read=read,
        failed=slide_calibration.failed_tile,
        detection=detection,
        label=f"slide {slide}",
        noun="tiles",
        **{**pool, "workers": workers},
    )
    draw = functools.partial(
        plots.draw_calibration,
        record,
        [slide_calibration.tile_of(position) for position in record["tiles"]],
        measure=measure,
        read=lambda tile: slide_channels.shown(read(tile), channels),
        title_of=slide_calibration.title_of,
        title=title,
        note=slide_calibration.note_of(record),
    )
    figures.write(draw, picture, colours=256)


if __name__ == "__main__":
    with logged(snakemake.log[0], with_pandas=True):
        main(
            slide=snakemake.wildcards.slide,
            facts=snakemake.input.facts,
            record=snakemake.input.record,
            store=snakemake.params.store,
            picture=snakemake.output[0],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
        )
