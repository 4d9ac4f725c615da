"""A server of one folder of results, only for browsers on this machine."""

import json
import logging
import math
import shutil
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, parse_qsl, unquote

from fieldwork import InputError
from fieldwork.viewer import content, fields, slides, stacks
from fieldwork.viewer.results import NotFound, Results, file
from fieldwork.viewer.tuning import Busy, TookTooLong, Tuner

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}
RESULT_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".png": "image/png",
    ".parquet": "application/octet-stream",
}
HEADERS = {
    # The page loads nothing from other sites, and other sites load nothing from it. OpenSeadragon sets styles inline.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # a run may replace everything at any time
}
# Snakemake's report has its scripts inline: it gets an origin of its own, which can read nothing of this server.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-src data: blob:; connect-src data:; "
    "frame-ancestors 'none'"
)
HOSTS = ("127.0.0.1", "localhost")
BINARY = "application/octet-stream"


class Server(socketserver.ThreadingTCPServer):
    """A server that listens on 127.0.0.1. http.server's asks for the machine's name, which may take seconds.

    Parameters
    ----------
    results : Results
    port : int
        0 for any free port.

    Raises
    ------
    OSError
        The port is taken.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, results: Results, port: int):
        self.results = results
        self.tuner = Tuner()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def server_close(self) -> None:
        """Close the socket, and end the process that tunes."""
        super().server_close()
        self.tuner.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a lost connection."""
        log.debug("connection lost", exc_info=True)  # the browser drops requests for tiles that left the screen


class Handler(BaseHTTPRequestHandler):
    """Sends the answers of `answer` to GET requests."""

    protocol_version = "HTTP/1.1"  # one connection for many tiles
    timeout = 60  # s, of an idle connection
    server_version, sys_version = "Fieldwork", ""

    def do_GET(self) -> None:
        """Answer a GET request."""
        # A site whose name resolves to 127.0.0.1 could read the results with its scripts (DNS rebinding). The port may
        # differ from the server's: that of an SSH tunnel.
        if self.headers.get("Host", "").partition(":")[0].lower() not in HOSTS:
            self.fail(HTTPStatus.FORBIDDEN, "only http://127.0.0.1 and http://localhost are served")
            return
        # A page of another site can read no answer, but could set a computation going; a link on it may be followed.
        sender, wanted = (self.headers.get(f"Sec-Fetch-{name}") for name in ("Site", "Dest"))
        if sender == "cross-site" and wanted != "document":
            self.fail(HTTPStatus.FORBIDDEN, "only pages of this server are served")
            return
        try:
            kind, answered = answer(self.server.results, self.path, self.server.tuner)
        except NotFound as error:
            self.fail(HTTPStatus.NOT_FOUND, str(error))
        except Busy as error:
            self.fail(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except TookTooLong as error:
            self.fail(HTTPStatus.GATEWAY_TIMEOUT, str(error))
        except InputError as error:  # a damaged file
            self.fail(HTTPStatus.NOT_FOUND, str(error))
        except FileNotFoundError:  # a run removed it meanwhile
            self.fail(HTTPStatus.NOT_FOUND, "this is not there any more")
        except Exception:  # whatever a broken table makes pyarrow or zarr raise: the server goes on
            log.exception("%r", self.path)
            self.fail(HTTPStatus.INTERNAL_SERVER_ERROR, "this cannot be shown; the terminal says why")
        else:
            is_report = unquote(self.path) == f"/results/{content.REPORT}"
            policy = {"Content-Security-Policy": REPORT_POLICY} if is_report else {}
            self.reply(HTTPStatus.OK, kind, answered, **policy)

    def refuse(self) -> None:
        """Answer a request of any other kind."""
        self.close_connection = True  # its body was not read
        self.fail(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is served", Allow="GET")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

    def fail(self, status: HTTPStatus, message: str, **headers: str) -> None:
        """Send a message as JSON."""
        self.reply(status, "application/json", json.dumps({"error": message}).encode(), **headers)

    def reply(self, status: HTTPStatus, kind: str, answered: bytes | BinaryIO, **headers: str) -> None:
        """Send bytes, or an open file."""
        opened = None if isinstance(answered, bytes) else answered
        length = len(answered) if opened is None else opened.seek(0, 2)
        self.send_response(status)
        utf_8 = "; charset=utf-8" if kind.startswith("text/") else ""
        for name, value in {**HEADERS, **headers, "Content-Type": kind + utf_8, "Content-Length": length}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        if opened is None:
            self.wfile.write(answered)
        else:
            with opened:
                opened.seek(0)
                shutil.copyfileobj(opened, self.wfile)

    def log_message(self, *_: object) -> None:
        """Ignore single requests: there are thousands of tiles."""


def answer(results: Results, target: str, tuner: Tuner) -> tuple[str, bytes | BinaryIO]:
    """Find the answer to a GET request.

    Parameters
    ----------
    results : Results
    target : str
        The request's path and query.
    tuner : Tuner

    Returns
    -------
    kind : str
        The media type.
    content : bytes or open binary file

    Raises
    ------
    NotFound
        It does not exist, or must not be served.
    Busy, TookTooLong
        As by `Tuner.tune`.
    """
    path, _, query = target.partition("?")
    # Split before %2F becomes "/": a name is never a path.
    match [unquote(part) for part in path.split("/")[1:]]:
        case [""]:
            return PAGE_TYPES[".html"], (PAGE / "index.html").read_bytes()
        case ["page", name] if name in {entry.name for entry in PAGE.iterdir()}:
            return PAGE_TYPES[Path(name).suffix], (PAGE / name).read_bytes()
        case ["api", "contents"]:
            return as_json(content.contents(results))
        case ["api", "plates", plate, *rest]:
            return of_plate(results, plate, rest, query, tuner)
        case ["api", "slides", slide, *rest]:
            return of_slide(results, slide, rest, query)
        case ["api", "stacks", stack, *rest]:
            return of_stack(results, stack, rest)
        case ["results", *names] if names and Path(names[-1]).suffix in RESULT_TYPES:
            return RESULT_TYPES[Path(names[-1]).suffix], file(results, *names)
    raise NotFound("no such page")


def of_plate(results: Results, plate: str, rest: list[str], query: str, tuner: Tuner) -> tuple[str, bytes]:
    """Find the answer to a request about a plate; `rest` are the names in its path behind the plate's."""
    match rest:
        case []:
            tuner.start()  # it takes a second, and is soon wanted
            return as_json(content.plate(results, plate))
        case ["contrast"]:
            return as_json(fields.contrast(results, plate))
        case ["wells", well]:
            return as_json(content.well(results, plate, well))
        case ["fields", number, "pixels", channel]:
            return BINARY, fields.pixels(results, plate, number, channel)
        case ["fields", number, "thumbnail.png"]:
            return "image/png", fields.thumbnail(results, plate, number)
        case ["fields", number, "nuclei"]:
            return as_json(fields.nuclei(results, plate, number))
        case ["fields", number, "tuning"]:
            return as_json(tuner.tune(results, plate, number, dict(parse_qsl(query))))
    raise NotFound("no such page")


def of_slide(results: Results, slide: str, rest: list[str], query: str) -> tuple[str, bytes]:
    """Find the answer to a request about a slide, as `of_plate`."""
    match rest:
        case []:
            return as_json(slides.slide(results, slide))
        case ["tiles", level, column, row]:
            return "image/png", slides.tile(results, slide, level, column, row)
        case ["pixels", x, y]:
            return as_json(slides.pixel(results, slide, x, y))
        case ["nuclei"]:
            return as_json(slides.nuclei(results, slide, *numbers(query, "left", "top", "right", "bottom", "scale")))
        case ["density"]:
            return as_json(slides.density(results, slide))
    raise NotFound("no such page")


def of_stack(results: Results, stack: str, rest: list[str]) -> tuple[str, bytes]:
    """Find the answer to a request about a stack, as `of_plate`."""
    match rest:
        case []:
            return as_json(stacks.stack(results, stack))
        case ["contrast"]:
            return as_json(stacks.contrast(results, stack))
        case ["frames", number, "pixels"]:
            return BINARY, stacks.pixels(results, stack, number)
        case ["frames", number, "nuclei"]:
            return as_json(stacks.nuclei(results, stack, number))
    raise NotFound("no such page")


def as_json(value: Any) -> tuple[str, bytes]:
    """Return the media type and the bytes of a value as JSON."""
    return "application/json", json.dumps(value, allow_nan=False).encode()


def numbers(query: str, *names: str) -> list[float]:
    """Read finite numbers from a request's query."""
    try:
        values = [float(parse_qs(query)[name][0]) for name in names]
    except (KeyError, ValueError):
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise NotFound(f"expected numbers for {', '.join(names)}")
    return values
