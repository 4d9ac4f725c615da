"""Calibrate a slide on a sample of its tissue, and count the nuclei of some tiles of it with that.

Input: slide.json; the store beside it. Output: calibration.json.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import functools

from fieldwork import outputs, parallel
from fieldwork.detection import calibration as detection_calibration
from fieldwork.job_log import logged
from fieldwork.omezarr import slides
from fieldwork.slides import calibration as slide_calibration
from fieldwork.slides import channels as slide_channels
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds
from fieldwork.tissue.samples import sample_of


def main(*, slide, facts, store, settings, outcome, pool, workers, tried=None):
    facts = outputs.read_json(facts)
    if facts["status"] != "ok":
        outputs.write_json(slide_calibration.empty_record(settings), outcome)
        return
    pool, label = {**pool, "workers": workers}, f"slide {slide}"
    channels = slide_channels.channels_of(facts)
    # In a process of its own: zarr starts threads, and no fork may follow a thread.
    [mask] = parallel.map_frames(functools.partial(slides.read_label, name="tissue"), [store])
    tiles = sample_of((facts["height"], facts["width"]), mask > 0, facts["tissue_factor"])
    read = functools.partial(slide_calibration.read_tile, read=functools.partial(slides.read_level_0, store))
    mpp = slide_channels.mean_mpp(facts["mpp"])
    measure = functools.partial(slide_calibration.measure_tile, channels=channels, mpp=mpp)
    sampled = detection_calibration.read_sample(tiles, read=read, measure=measure, **pool)
    calibration = slide_calibration.calibrate(sampled, mpp)
    used = [reading.source for reading in sampled.used]
    detection = slide_calibration.detection_of(settings, channels, facts["mpp"])
    levels = slide_calibration.levels_of(used, calibration, read=read, channels=channels, **pool)
    warnings = slide_calibration.warnings_of(sampled, calibration, levels, channels, method=detection["method"])
    detection_calibration.log_decision(label, sampled, calibration, warnings, noun="tiles")
    measured = detection_calibration.measure_counted(
        sampled,
        calibration,
        measure=slide_calibration.finder_of(detection, channels, calibration, levels),
        read=read,
        failed=slide_calibration.failed_tile,
        detection=detection,
        label=label,
        noun="tiles",
        **pool,
    )
    tries.note(tried, detection_calibration.reasons_in(sampled, measured))
    record = detection_calibration.record_of(
        sampled,
        measured,
        calibration,
        noun="tiles",
        position_of=slide_calibration.position_of,
        warnings=warnings,
        settings={"detection": detection},
        **slide_calibration.decisions_of(channels, levels),
    )
    outputs.write_json(record, outcome)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.wildcards.slide,
            facts=snakemake.input[0],
            store=snakemake.params.store,
            settings=snakemake.params.detection,
            outcome=snakemake.output[0],
            pool=snakemake.config["pool"],
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb")),
            tried=snakemake.params.tried,
        )
