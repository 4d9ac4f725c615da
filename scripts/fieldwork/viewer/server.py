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
from urllib.parse import parse_qs, unquote

from fieldwork.viewer import content as viewer_content

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
HOSTS = ("127.0.0.1", "localhost")


class Server(socketserver.ThreadingTCPServer):
    """A server that listens on 127.0.0.1. http.server's asks for the machine's name, which may take seconds.

    Parameters
    ----------
    results : content.Results
    port : int
        0 for any free port.

    Raises
    ------
    OSError
        The port is taken.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, results: viewer_content.Results, port: int):
        self.results = results
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

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
        try:
            kind, content = answer(self.server.results, self.path)
        except viewer_content.NotFound as error:
            self.fail(HTTPStatus.NOT_FOUND, str(error))
        except FileNotFoundError:  # a run removed it meanwhile
            self.fail(HTTPStatus.NOT_FOUND, "this is not there any more")
        except Exception:  # whatever a broken table makes pyarrow or zarr raise: the server goes on
            log.exception("%r", self.path)
            self.fail(HTTPStatus.INTERNAL_SERVER_ERROR, "this cannot be shown; the terminal says why")
        else:
            self.reply(HTTPStatus.OK, kind, content)

    def refuse(self) -> None:
        """Answer a request of any other kind."""
        self.close_connection = True  # its body was not read
        self.fail(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is served", Allow="GET")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

    def fail(self, status: HTTPStatus, message: str, **headers: str) -> None:
        """Send a message as JSON."""
        self.reply(status, "application/json", json.dumps({"error": message}).encode(), **headers)

    def reply(self, status: HTTPStatus, kind: str, content: bytes | BinaryIO, **headers: str) -> None:
        """Send bytes, or an open file."""
        file = None if isinstance(content, bytes) else content
        length = len(content) if file is None else file.seek(0, 2)
        self.send_response(status)
        utf_8 = "; charset=utf-8" if kind.startswith("text/") else ""
        for name, value in {**HEADERS, **headers, "Content-Type": kind + utf_8, "Content-Length": length}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        if file is None:
            self.wfile.write(content)
        else:
            with file:
                file.seek(0)
                shutil.copyfileobj(file, self.wfile)

    def log_message(self, *_: object) -> None:
        """Ignore single requests: there are thousands of tiles."""


def answer(results: viewer_content.Results, target: str) -> tuple[str, bytes | BinaryIO]:
    """Find the answer to a GET request.

    Parameters
    ----------
    results : content.Results
    target : str
        The request's path and query.

    Returns
    -------
    kind : str
        The media type.
    content : bytes or open binary file

    Raises
    ------
    content.NotFound
        It does not exist, or must not be served.
    """
    path, _, query = target.partition("?")
    # Split before %2F becomes "/": a name is never a path.
    match [unquote(part) for part in path.split("/")[1:]]:
        case [""]:
            return PAGE_TYPES[".html"], (PAGE / "index.html").read_bytes()
        case ["page", name] if name in {file.name for file in PAGE.iterdir()}:
            return PAGE_TYPES[Path(name).suffix], (PAGE / name).read_bytes()
        case ["api", "contents"]:
            return as_json(viewer_content.contents(results))
        case ["api", "plates", plate]:
            return as_json(viewer_content.plate(results, plate))
        case ["api", "plates", plate, "wells", well]:
            return as_json(viewer_content.well(results, plate, well))
        case ["api", "plates", plate, "fields", number, "image.png"]:
            return "image/png", viewer_content.field_image(results, plate, number)
        case ["api", "plates", plate, "fields", number, "nuclei"]:
            return as_json(viewer_content.field_nuclei(results, plate, number))
        case ["api", "slides", slide]:
            return as_json(viewer_content.slide(results, slide))
        case ["api", "slides", slide, "tiles", level, column, row]:
            return "image/png", viewer_content.slide_tile(results, slide, level, column, row)
        case ["api", "slides", slide, "nuclei"]:
            return as_json(viewer_content.slide_nuclei(results, slide, *rectangle(query)))
        case ["api", "stacks", stack]:
            return as_json(viewer_content.stack(results, stack))
        case ["results", *names] if names and Path(names[-1]).suffix in RESULT_TYPES:
            return RESULT_TYPES[Path(names[-1]).suffix], viewer_content.file(results, *names)
    raise viewer_content.NotFound("no such page")


def as_json(value: Any) -> tuple[str, bytes]:
    """Return the media type and the bytes of a value as JSON."""
    return "application/json", json.dumps(value, allow_nan=False).encode()


def rectangle(query: str) -> list[float]:
    """Read left, top, right and bottom, in px, from a request's query."""
    try:
        sides = [float(parse_qs(query)[name][0]) for name in ("left", "top", "right", "bottom")]
    except (KeyError, ValueError):
        sides = [math.nan]
    if not all(map(math.isfinite, sides)):
        raise viewer_content.NotFound("expected left, top, right and bottom in px")
    return sides
