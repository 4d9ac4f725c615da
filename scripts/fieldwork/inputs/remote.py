"""Look up objects at URLs with Snakemake's storage plugins, which the caller passes in.

By themselves the plugins ask a server again and again: 337 times in a run with 6 images. Here it is asked once for a
folder or for the images of a list, and the answer is kept in a file for the run's jobs; then each image is fetched.
How web servers are asked, and asked again, is in `web`.
"""

import asyncio
import hashlib
import io
import itertools
import json
import os
import re
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fieldwork import InputError, outputs
from fieldwork.inputs import web

ANSWERS_FOLDER = Path(".snakemake/fieldwork")
JOURNAL_LIFE_S = 24 * 3600  # answers of a look-up that broke off are used so long
STOP_POLL_S = 0.5  # how soon a fetch notes that the run is to end
S3_HINT = (
    " (asked with the settings SNAKEMAKE_STORAGE_S3_ENDPOINT_URL, SNAKEMAKE_STORAGE_S3_ACCESS_KEY and "
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY; config/README.md)"
)


class Remote:
    """Objects on S3 and files on web servers.

    Parameters
    ----------
    storage : snakemake.storage.StorageRegistry
        A Snakefile's ``storage``.
    asks : bool
        True for a run itself, which asks the servers. Its jobs use the answers that it kept, where they find them.

    Attributes
    ----------
    known : dict of str to (int, float)
        URL -> size in bytes, modification time in s since 1970.
    """

    def __init__(self, storage: object, *, asks: bool) -> None:
        self._storage = storage
        self._asks = asks
        self._subclasses = {}  # class of a plugin's objects -> its subclass that uses `known`
        self.known: dict[str, tuple[int, float]] = {}

    def names(self, folder: str) -> list[str]:
        """List the objects in a folder on S3, and in the folders below it.

        Parameters
        ----------
        folder : str
            ``s3://bucket/key``, without a slash at its end.

        Returns
        -------
        list of str
            Keys of the objects, as paths in the folder.

        Raises
        ------
        InputError
            There is none, or the server cannot be asked; names the URL and the reason.
        """
        objects = self._answer(f"in {folder}", lambda: self._list_folder(folder))
        self.known |= {f"{folder}/{name}": facts for name, facts in objects.items()}
        return list(objects)

    def copy(self, url: str) -> Path:
        """Return the path of a local copy of a small file, such as an image list.

        Raises
        ------
        InputError
            It cannot be read; names the URL and the reason.
        """
        return self._answer_file(url, lambda: self._content(url))

    def absent(self, urls: Iterable[str]) -> dict[str, str]:
        """Find the objects that do not exist, or must not be read.

        Parameters
        ----------
        urls : iterable of str

        Returns
        -------
        dict of str to str
            URL -> the reason. All other objects are in `known` now.
        """
        urls = list(dict.fromkeys(urls))
        if not urls:
            return {}
        question = "\n".join(["of", *urls])
        journal = self._path_of(question).with_suffix(".jsonl")
        answers = self._answer(question, lambda: self._look_up(urls, journal))
        reasons = {url: facts for url, facts in answers.items() if isinstance(facts, str)}
        self.known |= {url: facts for url, facts in answers.items() if url not in reasons}
        return reasons

    def check(self, named_in: dict[str, str]) -> None:
        """Check that objects exist.

        Parameters
        ----------
        named_in : dict of str to str
            URL -> which line of which sheet names it, for the message.

        Raises
        ------
        InputError
            Names the line, the URL and the reason.
        """
        for url, reason in self.absent(named_in).items():
            raise InputError(f"{named_in[url]} has the path '{url}': {reason}")

    def input(self, url: str) -> object:
        """Return the input of a rule that stands for a URL: Snakemake fetches it for its jobs."""
        flagged = self._storage(url)
        if url in self.known:
            stored = flagged.flags["storage_object"]
            kind = type(stored)
            if kind not in self._subclasses:
                self._subclasses[kind] = type("Known", (_KnownObject, kind), {"known": self.known})
            flagged.flags["storage_object"] = self._subclasses[kind](
                query=stored.query, keep_local=stored.keep_local, retrieve=stored.retrieve, provider=stored.provider
            )
        return flagged

    def clear_leftovers(self) -> None:
        """Delete local copies that a killed run left half-written: Snakemake would take them for complete ones."""
        for url, (size, _) in self.known.items():
            path = Path(self._storage(url))
            if path.is_file() and path.stat().st_size != size:
                path.unlink()

    def stop(self) -> None:
        """End the fetches that are under way: the run is to end."""
        _stopping.set()

    def _answer(self, question, ask):
        """Return a server's answer, as JSON gives it; `ask` gets it from the server."""
        return json.loads(self._answer_file(question, lambda: json.dumps(ask()).encode()).read_bytes())

    def _answer_file(self, question, ask):
        """Return the path of the file that keeps an answer; `ask` gets its bytes from the server."""
        path = self._path_of(question)
        if self._asks or not path.exists():
            answer = ask()
            path.parent.mkdir(parents=True, exist_ok=True)
            with outputs.atomic_file(path) as part:
                part.write_bytes(answer)
        return path

    def _path_of(self, question):
        """Return the path of the file that keeps the answer to a question."""
        return ANSWERS_FOLDER / hashlib.sha256(question.encode()).hexdigest()[:16]

    def _list_folder(self, folder):
        """Return the name of each object below a folder, and its size and modification time."""
        try:
            objects = self._list_prefix(f"{folder}/")
        except Exception as error:  # boto3's and Snakemake's, neither of which is imported here
            raise InputError(f"'{folder}': {_reason(error, folder)}") from None
        if not objects:
            raise InputError(f"'{folder}': there is no object below it; expected the folder of the plate's images")
        return {url.removeprefix(f"{folder}/"): facts for url, facts in objects.items()}

    def _content(self, url):
        """Return the bytes of an object."""
        try:
            stored = self._object(url)
            if _is_s3(url):
                return stored.s3obj().get()["Body"].read()
            content = io.BytesIO()
            web.fetch(url, stored.provider.settings, content)
            return content.getvalue()
        except Exception as error:  # boto3's, requests' and Snakemake's
            raise InputError(f"'{url}': {_reason(error, url)}") from None

    def _look_up(self, urls, journal):
        """Return size and modification time of each object, or the reason why there is none.

        Answers of web servers are written to a journal as they come. It stays where a server did not answer: then the
        next run goes on from there.
        """
        answers = {}
        for _, group in itertools.groupby(sorted(filter(_is_s3, urls), key=os.path.dirname), key=os.path.dirname):
            group = list(group)
            try:
                objects = self._list_prefix(os.path.commonprefix(group))  # a request for every 1000 that begin alike
            except Exception as error:  # as above
                answers |= dict.fromkeys(group, _reason(error, group[0]))
                continue
            for url in group:
                answers[url] = objects.get(url, "there is no such object")
                if url not in objects and any(other.startswith(f"{url}/") for other in objects):
                    answers[url] = "a folder; expected an object"
        kept = _read_journal(journal)
        answers |= {url: kept[url] for url in urls if url in kept and url not in answers}
        others = [url for url in urls if url not in answers]
        if not others:
            journal.unlink(missing_ok=True)
            return answers
        journal.parent.mkdir(parents=True, exist_ok=True)
        settings = self._object(others[0]).provider.settings
        unanswered = False
        with journal.open("a", encoding="utf-8") as stream:
            for url, facts in web.look_up(others, settings):
                answers[url] = facts
                unanswered |= isinstance(facts, web.NoAnswer)
                if not isinstance(facts, str):
                    stream.write(json.dumps([url, facts]) + "\n")
                    stream.flush()
        if not unanswered:
            journal.unlink(missing_ok=True)
        return answers

    def _list_prefix(self, prefix):
        """Return the URL of each object on S3 that begins with a prefix, and its size and modification time."""
        stored = self._object(prefix)
        bucket, key = stored.bucket, re.sub(r"(?i)^s3://[^/]*/?", "", prefix)
        return {
            f"{prefix[: len(prefix) - len(key)].rstrip('/')}/{item.key}": (item.size, item.last_modified.timestamp())
            for item in stored.provider.s3c.Bucket(bucket).objects.filter(Prefix=key)
            if not item.key.endswith("/")  # an empty folder, as browsers of buckets make them
        }

    def _object(self, url):
        return self._storage(url).flags["storage_object"]


_stopping = threading.Event()  # the run is to end
_slots = weakref.WeakKeyDictionary()  # event loop -> semaphore: how many objects are fetched at once


class _KnownObject:
    """An object of a storage plugin that uses the answer of the server, and does not ask again."""

    async def inventory(self, cache):
        pass

    async def managed_exists(self):
        return True

    async def managed_size(self):
        return self.known[self.query][0]

    async def managed_local_footprint(self):
        return self.known[self.query][0]

    async def managed_mtime(self):
        return self.known[self.query][1]

    def is_dir(self):
        return False

    async def managed_retrieve(self):
        """Fetch the object in a thread, which keeps neither Ctrl-C nor SIGTERM from ending the run."""
        async with _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(web.REQUESTS_AT_ONCE)):
            fetch = super().managed_retrieve
            fetched = asyncio.wrap_future(web.in_thread(lambda: asyncio.run(fetch())))
            # Where another object fails, Snakemake gives up this one: then nobody asks what becomes of it.
            fetched.add_done_callback(lambda future: future.cancelled() or future.exception())
            while not fetched.done():
                await asyncio.wait({fetched}, timeout=STOP_POLL_S)
                if _stopping.is_set():
                    raise InputError(f"the run was ended while '{self.query}' was fetched")
            return fetched.result()

    def retrieve_object(self):
        if _is_s3(self.query):
            return super().retrieve_object()
        with open(self.local_path(), "wb") as stream:
            web.fetch(self.query, self.provider.settings, stream)


def _read_journal(path):
    """Return what a look-up that broke off had found, URL -> facts; nothing where that was long ago."""
    answers = {}
    with suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > JOURNAL_LIFE_S:
            path.unlink()
            return {}
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the last line of a run that was killed
                url, facts = json.loads(line)
                answers[url] = facts
    return answers


def _is_s3(url):
    return url.lower().startswith("s3://")


def _reason(error, url):
    return web.reason(error) + S3_HINT * _is_s3(url)
