"""What became of the frames of a job: failures, and whether there are too many."""

import logging

from fieldwork import InputError

log = logging.getLogger(__name__)


def note_failure(what, reason, *, on_bad_image):
    """Log a frame that failed; raise InputError where the run is to stop at a bad image."""
    log.info("failed: %s: %s", what, reason)
    if on_bad_image == "stop":
        raise InputError(f"{what} failed: {reason}. The run stops at a bad image because of on_bad_image: stop.")


def report(what, done, failed, *, of):
    """Log how much of a job failed, and refuse one of which nothing is good.

    Parameters
    ----------
    what, done : str
        As in "plate P1" and "images filtered".
    failed : list of str
        Places and reasons.
    of : int
        Frames, failed ones too.

    Raises
    ------
    InputError
        All of them failed.
    """
    log.info("%s: %d %s, %d failed", what, of, done, len(failed))
    if failed and len(failed) == of:
        raise InputError(f"{what}: not one good frame of {of}; first {failed[0]}")
    if failed:
        log.warning("%s: %d of %d failed, first %s", what, len(failed), of, failed[0])
