"""Convert a slide to OME-Zarr.

Input: the slide. Outputs: slide.json, its facts; beside it the store, unless the slide has failed.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import logging
import time

from fieldwork import NOT_READ, InputError, WorkerDied, outputs
from fieldwork.inputs.inside import slide_files
from fieldwork.inputs.paths import is_url
from fieldwork.job_log import logged
from fieldwork.slides import SlideError, SlideNotReadError, conversion, metadata
from fieldwork.surroundings import tries
from fieldwork.surroundings.workers import within_bounds

log = logging.getLogger(__name__)


def main(*, slide, path, copy, store, facts_file, on_bad_image, max_failed, tried=None, planned=None, **settings):
    begin = time.monotonic()
    facts = {"slide": slide, "path": path, "status": "ok", "error": ""}
    if not settings["keep_properties"]:
        metadata.hide_properties()
    try:
        if planned and not is_url(path) and (count := len(slide_files.files_of(path))) != planned:
            raise SlideNotReadError(f"{NOT_READ}it has {count} files, and had {planned} when the run was planned")
        facts |= conversion.convert(copy, store, origin=path, on_bad_image=on_bad_image, progress=slide, **settings)
        check_failed_share(facts["failed_share"], max_failed)
    except SlideError as error:
        if on_bad_image == "stop":
            raise InputError(
                f"slide {slide}: {path}: {error}. The run stops at a bad slide because of on_bad_image: stop."
            ) from None
        log.warning("slide %s failed: %s: %s", slide, path, error)
        conversion.discard(store)  # also that of another file, or of an earlier version of it
        facts |= {"status": "failed", "error": str(error)}
    except WorkerDied as error:
        raise WorkerDied(f"slide {slide}: {error}. The same command goes on from there") from None
    tries.note(tried, [facts["error"]])
    failed = facts.get("failed_tiles", [])
    for y, x, height, width, reason in failed:
        log.info("failed: %d x %d px at row %d, column %d: %s", height, width, y, x, reason)
    if failed and facts["status"] == "ok":
        log.warning(
            "slide %s: %d tile(s) could not be decoded and are blank, first at row %d, column %d of level 0: %s",
            *(slide, len(failed), failed[0][0], failed[0][1], failed[0][4]),
        )
    facts["seconds"] = round(time.monotonic() - begin, 1)
    outputs.write_json(facts, facts_file)


def check_failed_share(share, max_failed):
    """Raise `SlideError` if more of a slide's pixels cannot be decoded than the configuration allows."""
    if share > max_failed:
        raise SlideError(
            f"{100 * share:.3g} % of its pixels cannot be decoded; max_failed_fields allows {100 * max_failed:.3g} %"
        )


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            slide=snakemake.wildcards.slide,
            path=snakemake.params.path,
            copy=next(iter(snakemake.input.fetched), snakemake.params.path),
            store=snakemake.params.store,
            facts_file=snakemake.output[0],
            on_bad_image=snakemake.config["on_bad_image"],
            max_failed=snakemake.params.max_failed,
            workers=within_bounds(snakemake.threads, memory_mb=snakemake.resources.get("mem_mb"), worker_mb=150),
            made_by=snakemake.params.made_by,
            tried=snakemake.params.tried,
            planned=len(snakemake.params.stamps),
            **snakemake.params.settings,
        )
