"""Archives for tests, and a server of them with bad habits."""

import http.server
import io
import re
import tarfile
import threading
import zipfile

import numpy as np

from fieldwork.inputs import archives

# Noise, so that no compression makes it small; more than the blocks in which it is fetched.
FILES = {
    "P1/a.tif": np.random.default_rng(1).bytes(300_000),
    "P1/deep/b.tif": np.random.default_rng(2).bytes(200_000),
    "empty": b"",
}


def pack(path, files=None):
    """Write an archive of the kind that its name says, and give its bytes."""
    files = FILES if files is None else files
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        kind = {"tar": "", "tgz": "gz"}.get(path.suffix[1:], path.suffix[1:])
        with tarfile.open(path, f"w:{kind}") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(content), 4e9  # long to come
                archive.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def below(folder):
    """The files of a folder, without what Fieldwork notes there."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files.pop(archives.RECORD, None)
    return {name: path.read_bytes() for name, path in files.items()}


class Server:
    """One file for all paths, on 127.0.0.1, with the habits that servers have."""

    def __init__(self, content):
        self.content = content
        self.headers = {"ETag": '"first"', "Last-Modified": "Mon, 02 Nov 2015 10:00:00 GMT"}
        self.ranges, self.if_range = True, True
        self.drop_after = None  # bytes of one answer
        self.status = []  # of the next answers, where not 200 or 206
        self.length = None  # said to be the file's
        self.gate, self.held = None, threading.Event()  # an event that the second half of an answer waits for
        self.asked, self.sent = [], 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5  # s; a connection that a client keeps open, and asks nothing by, holds no thread for longer

            def do_GET(self):
                server.asked.append({**self.headers, "path": self.path})
                server.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))  # s between looks for the end
        self.thread.start()

    def url(self, name):
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def answer(self, handler):
        if self.status:
            status = self.status.pop(0)
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        content, begin, total = self.content, 0, self.length or len(self.content)
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")) if self.ranges else None
        same = handler.headers.get("If-Range") in (*self.headers.values(), None) or not self.if_range
        if asked and same:
            begin = int(asked[1])
            if begin >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Length", "0")
                return handler.end_headers()
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        else:
            handler.send_response(200)
        for name, value in {**self.headers, "Content-Length": total - begin}.items():
            handler.send_header(name, value)
        handler.end_headers()
        end = len(content) if self.drop_after is None else begin + self.drop_after
        for place in range(begin, min(end, len(content)), 10_000):
            if self.gate and place > len(content) // 2:
                self.held.set()
                self.gate.wait(60)
            block = content[place : min(place + 10_000, end)]
            try:
                handler.wfile.write(block)
            except OSError:  # whoever asked was killed
                break
            self.sent += len(block)
        handler.close_connection = True

    def close(self):
        if self.gate:
            self.gate.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
