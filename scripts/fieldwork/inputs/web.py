"""Ask web servers, and ask again: they may stall, be busy for a moment, or break off."""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

from fieldwork import InputError
from fieldwork.messages.secrets import without_secrets

REQUESTS_AT_ONCE = 8
HTTP_TIMEOUT_S = (10, 30)  # for a connection, and for the next bytes
RETRIES = 4  # after the first request
BACKOFF_S = 1  # before the second retry; each later pause is twice as long
LONGEST_PAUSE_S = 60  # that a server's Retry-After is followed
BUSY_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # of a server that may answer in a moment
STALLED_S = 240  # without an answer to any of several requests
NOTED_S = 10  # without an answer; then a line says so
MOST_UNANSWERED = 8  # URLs, after which a look-up gives up
BLOCK_BYTES = 2**18
SLOWEST_BYTES_S = 500  # of a transfer that is not broken off
SLOW_S = 60  # that it may be slower
RUN_AGAIN = "run the same command again when the server answers: it goes on from there"

_of_thread = threading.local()  # its session: requests' sessions are not for several threads


class NoAnswer(str):
    """A reason why an object could not be looked up that may be gone in the next run."""


class _BrokenOffError(Exception):
    """A transfer came to an end too early."""


def look_up(urls: list[str], settings: Any) -> Iterator[tuple[str, tuple[int, float] | str]]:
    """Yield what web servers know of files, as the answers come.

    Parameters
    ----------
    urls : list of str
    settings
        Of Snakemake's plugin: ``auth``, ``allow_redirects``, ``supports_head``.

    Yields
    ------
    (str, (int, float) or str)
        URL, and its size and modification time; or the reason why there is none, a `NoAnswer` if the server gave none.

    Raises
    ------
    InputError
        `MOST_UNANSWERED` URLs had no answer, or none came for `STALLED_S`.
    """
    ahead, answers, asked, unanswered = queue.SimpleQueue(), queue.SimpleQueue(), set(), 0
    for url in urls:
        ahead.put(url)

    def work():
        with suppress(queue.Empty):
            while True:
                asked.add(url := ahead.get_nowait())
                answers.put((url, _head(url, settings)))

    for _ in range(min(REQUESTS_AT_ONCE, len(urls))):
        in_thread(work)
    try:
        for number in range(len(urls)):
            url, facts = _next_answer(answers, asked)
            asked.discard(url)
            yield url, facts
            unanswered += isinstance(facts, NoAnswer)
            if unanswered == MOST_UNANSWERED:
                raise InputError(
                    f"'{url}': {facts}. {unanswered} of {number + 1} files had no answer, so that the others were not "
                    f"looked up; {RUN_AGAIN}"
                )
    finally:
        with suppress(queue.Empty):
            while True:
                ahead.get_nowait()  # the threads end when they have their answers


def _next_answer(answers, asked):
    """Wait for an answer, and say so on stderr where it takes long; `asked`: URLs without an answer."""
    for waited_s in range(0, STALLED_S, NOTED_S):
        with suppress(queue.Empty):
            return answers.get(timeout=NOTED_S)
        if not waited_s:
            print(f"waiting for an answer about {min(asked)}", file=sys.stderr)
    raise InputError(f"'{min(asked)}': no answer within {STALLED_S} s; {RUN_AGAIN}")


def fetch(url: str, settings: Any, stream: BinaryIO) -> None:
    """Write a file of a web server to a stream; begin anew where the transfer breaks off.

    Parameters
    ----------
    url : str
    settings
        As for `look_up`.
    stream : file object
        It is empty, and can be written, sought and truncated.

    Raises
    ------
    requests.RequestException
        The server did not answer with the file; `reason` describes it.
    """
    import requests
    import urllib3

    for retry in range(RETRIES + 1):
        stream.seek(0)
        stream.truncate()
        with _request(url, settings, "GET") as response:
            response.raise_for_status()
            try:
                return _copy(response, stream)
            except (_BrokenOffError, urllib3.exceptions.HTTPError, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError):
                    raise  # the disk is full
                problem = error
        if retry < RETRIES:
            time.sleep(BACKOFF_S * 2**retry)
    raise requests.ConnectionError(f"the transfer broke off: {problem}; tried {RETRIES + 1} times")


def reason(error: Exception) -> str:
    """Describe in one line why a request failed, and how often the server was asked."""
    response = getattr(error, "response", None)
    retries = getattr(getattr(response, "raw", None), "retries", None)
    cause = getattr(error.args[0], "reason", None) if error.args else None  # of urllib3's MaxRetryError
    asked = len(retries.history) + 1 if retries else RETRIES + 1 if cause and type(cause) is not str else 1
    text = without_secrets(" ".join(str(cause if cause and type(cause) is not str else error).split()))
    return f"{text}; the server was asked {asked} times" if asked > 1 else text


def in_thread(call: Callable[[], Any]) -> Future:
    """Call a function in a thread that does not keep the process from ending, as one of `concurrent.futures` does."""
    future = Future()

    def work():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True, name="fieldwork-web").start()
    return future


def _head(url, settings):
    """Return size and modification time of a file on a web server, or the reason why there is none."""
    import requests

    try:
        with _request(url, settings, "HEAD" if settings.supports_head else "GET") as response:
            response.raise_for_status()
            return int(response.headers.get("content-length", 0)), _time_of(response.headers.get("last-modified"))
    except (requests.ConnectionError, requests.Timeout) as error:
        return NoAnswer(reason(error))
    except Exception as error:  # whatever is wrong with the URL or the answer
        status = getattr(getattr(error, "response", None), "status_code", None)
        return (NoAnswer if status in BUSY_STATUSES else str)(reason(error))


def _request(url, settings, verb):
    """Return a server's response, after retries where it does not answer or is busy."""
    return _session().request(
        verb,
        url,
        stream=True,
        auth=settings.auth,
        allow_redirects=settings.allow_redirects,
        timeout=HTTP_TIMEOUT_S,
    )


def _session():
    """Return this thread's session, which keeps its connections."""
    import requests  # here, and not in every start of Snakemake: 0.1 s
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    if not hasattr(_of_thread, "session"):
        retries = Retry(
            total=RETRIES,
            other=0,  # certificates, say
            backoff_factor=BACKOFF_S,
            status_forcelist=BUSY_STATUSES,
            allowed_methods=("GET", "HEAD"),
            raise_on_status=False,  # the last answer has the reason
            retry_after_max=LONGEST_PAUSE_S,
        )
        _of_thread.session = session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
    return _of_thread.session


def _copy(response, stream):
    """Copy the body of a response, unless it comes too slowly."""
    raw = response.raw
    # A file that is compressed for the transfer is unpacked (RFC 9110, 8.4); one that is compressed itself is not.
    raw.decode_content = bool(response.headers.get("Content-Encoding"))
    received, begun = 0, time.monotonic()
    while block := raw.read1(BLOCK_BYTES):
        stream.write(block)
        received += len(block)
        seconds = time.monotonic() - begun
        if seconds > SLOW_S + received / SLOWEST_BYTES_S:
            raise _BrokenOffError(f"{received} bytes in {seconds:.0f} s")


def _time_of(modified):
    """Return the seconds since 1970 of a Last-Modified header; 0, as Snakemake's plugin, for one without a date."""
    try:
        return parsedate_to_datetime(modified).timestamp()
    except (TypeError, ValueError):
        return 0.0
