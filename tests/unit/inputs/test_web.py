"""Web servers that stall, are busy for a moment, or break off: asked again, and never for ever."""

import io
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests

from fieldwork import InputError
from fieldwork.inputs import remote, web

SETTINGS = SimpleNamespace(auth=None, allow_redirects=True, supports_head=True)
BODY = bytes(range(256)) * 300
MODIFIED = "Mon, 01 Sep 2025 10:00:00 GMT"
MODIFIED_S = 1756720800


class Server(BaseHTTPRequestHandler):
    """Answers as the name of a file says, and counts requests by method and name."""

    protocol_version = "HTTP/1.1"
    timeout = 5  # s; a connection that a client keeps open, and asks nothing by, holds no thread for longer
    asked = Counter()
    end = threading.Event()

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        self.asked[self.command, name] += 1
        asked = self.asked[self.command, name]
        if name == "absent":
            self.reply(404)
        elif name.startswith("hangs"):
            self.end.wait()
            self.close_connection = True
        elif name.startswith("busy") and asked <= int(name[4:]):
            self.reply(503)
        elif name in ("limited", "overloaded") and asked == 1:
            self.reply(429, **{"Retry-After": "1" if name == "limited" else "36000"})
        elif name.startswith("cut") and asked <= int(name[3:]) and self.command == "GET":
            self.reply(200, sent=len(BODY) // 2)
            self.close_connection = True
        elif name == "slow" and self.command == "GET":
            self.reply(200, sent=10)
            while not self.end.wait(0.02):
                self.wfile.write(b"x")
        else:
            self.reply(200)

    do_HEAD = do_GET

    def reply(self, status, *, sent=None, **headers):
        self.send_response(status)
        for name, value in {"Last-Modified": MODIFIED, "Content-Length": len(BODY), **headers}.items():
            self.send_header(name, value if status == 200 or name == "Retry-After" else "0")
        self.end_headers()
        if self.command == "GET" and status == 200:
            self.wfile.write(BODY[:sent])
            self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch):
    """Serve; return the address. Pauses are short."""
    for name, value in {"BACKOFF_S": 0.01, "HTTP_TIMEOUT_S": (5, 0.2)}.items():
        monkeypatch.setattr(web, name, value)
    monkeypatch.setattr(web, "_of_thread", threading.local())  # a session with these pauses
    Server.asked.clear()
    Server.end.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Server.end.set()
    server.shutdown()
    server.server_close()
    thread.join()
    for other in threading.enumerate():
        if other.name == "fieldwork-web":
            other.join(timeout=10)


def looked_up(url, *names):
    return {
        address.rpartition("/")[2]: facts
        for address, facts in web.look_up([f"{url}/{name}" for name in names], SETTINGS)
    }


def test_servers_that_are_busy_for_a_moment_are_asked_again(url):
    names = ["good", "busy1", "busy4", "limited"]
    assert looked_up(url, *names) == dict.fromkeys(names, (len(BODY), MODIFIED_S))
    assert [Server.asked["HEAD", name] for name in names] == [1, 2, 5, 2]


def test_a_server_that_asks_for_a_pause_of_hours_is_asked_again_sooner(url, monkeypatch):
    monkeypatch.setattr(web, "LONGEST_PAUSE_S", 0.1)
    assert looked_up(url, "overloaded") == {"overloaded": (len(BODY), MODIFIED_S)}
    assert Server.asked["HEAD", "overloaded"] == 2


def test_what_a_server_does_not_have_is_no_reason_to_ask_again(url):
    [reason] = looked_up(url, "absent").values()
    assert reason.startswith("404 Client Error") and not isinstance(reason, web.NoAnswer)
    assert "times" not in reason and Server.asked["HEAD", "absent"] == 1


@pytest.mark.parametrize(("name", "said"), [("busy99", "503 Server Error"), ("hangs", "Read timed out")])
def test_a_server_without_an_answer_is_an_error_that_says_how_often_it_was_asked(url, name, said):
    answers = looked_up(url, name, "good")
    assert isinstance(answers[name], web.NoAnswer) and said in answers[name]
    assert answers[name].endswith("the server was asked 5 times") and Server.asked["HEAD", name] == 5
    assert answers["good"] == (len(BODY), MODIFIED_S)


def test_a_look_up_gives_up_when_many_files_have_no_answer(url):
    names = [f"hangs{number}" for number in range(40)]
    with pytest.raises(InputError, match=r"/hangs\d+': .*Read timed out.* 8 of 8 files had no answer.*again") as caught:
        looked_up(url, *names)
    assert "\n" not in str(caught.value)
    assert len({name for _, name in Server.asked}) <= 2 * web.REQUESTS_AT_ONCE


def test_a_look_up_without_any_answer_ends_though_the_server_never_does(url, monkeypatch, capsys):
    monkeypatch.setattr(web, "HTTP_TIMEOUT_S", (5, 30))
    monkeypatch.setattr(web, "STALLED_S", 2)
    monkeypatch.setattr(web, "NOTED_S", 1)
    with pytest.raises(InputError, match="/hangs': no answer within 2 s"):
        looked_up(url, "hangs")
    assert f"waiting for an answer about {url}/hangs" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "requests_sent"), [("good", 1), ("cut1", 2), ("cut4", 5), ("busy2", 3)])
def test_a_transfer_that_breaks_off_begins_anew(url, name, requests_sent):
    stream = io.BytesIO()
    web.fetch(f"{url}/{name}", SETTINGS, stream)
    assert stream.getvalue() == BODY
    assert Server.asked["GET", name] == requests_sent


def test_a_transfer_that_always_breaks_off_is_an_error(url):
    with pytest.raises(requests.ConnectionError, match="the transfer broke off: .*tried 5 times"):
        web.fetch(f"{url}/cut99", SETTINGS, io.BytesIO())


def test_a_transfer_that_brings_hardly_a_byte_is_broken_off(url, monkeypatch):
    monkeypatch.setattr(web, "SLOW_S", 0.1)
    monkeypatch.setattr(web, "SLOWEST_BYTES_S", 10_000)
    with pytest.raises(requests.ConnectionError, match=r"broke off: \d+ bytes in 0 s; tried 5 times"):
        web.fetch(f"{url}/slow", SETTINGS, io.BytesIO())


class Storage:
    """A Snakefile's `storage`, as far as look-ups use it."""

    def __call__(self, url):
        stored = SimpleNamespace(provider=SimpleNamespace(settings=SETTINGS))
        return SimpleNamespace(flags={"storage_object": stored})


def test_a_look_up_that_broke_off_goes_on_from_there(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    urls = [f"{url}/{name}" for name in ("good1", "good2", "busy6", "good3")]
    asks = remote.Remote(Storage(), asks=True)
    assert list(asks.absent(urls)) == [f"{url}/busy6"]
    again = remote.Remote(Storage(), asks=True)
    assert again.absent(urls) == {} and again.known == dict.fromkeys(urls, [len(BODY), MODIFIED_S])
    assert [Server.asked["HEAD", name] for name in ("good1", "good2", "good3", "busy6")] == [1, 1, 1, 7]
    assert remote.Remote(Storage(), asks=True).absent(urls) == {}  # nothing is left over: all are asked about anew
    assert [Server.asked["HEAD", name] for name in ("good1", "good2", "good3", "busy6")] == [2, 2, 2, 8]
