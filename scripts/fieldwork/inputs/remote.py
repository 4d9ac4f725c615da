"""Look up objects at URLs with Snakemake's storage plugins, which the caller passes in.

By themselves the plugins ask a server again and again: 337 times in a run with 6 images. Here it is asked once for a
folder or for the images of a list, and the answer is kept in a file for the run's jobs; then each image is fetched.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

from fieldwork import InputError, outputs

ANSWERS_FOLDER = Path(".snakemake/fieldwork")
REQUESTS_AT_ONCE = 8
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
        answers = self._answer("\n".join(["of", *urls]), lambda: self._look_up(urls))
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

    def _answer(self, question, ask):
        """Return a server's answer, as JSON gives it; `ask` gets it from the server."""
        return json.loads(self._answer_file(question, lambda: json.dumps(ask()).encode()).read_bytes())

    def _answer_file(self, question, ask):
        """Return the path of the file that keeps an answer; `ask` gets its bytes from the server."""
        path = ANSWERS_FOLDER / hashlib.sha256(question.encode()).hexdigest()[:16]
        if self._asks or not path.exists():
            answer = ask()
            path.parent.mkdir(parents=True, exist_ok=True)
            with outputs.atomic_file(path) as part:
                part.write_bytes(answer)
        return path

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
            with stored.httpr() as response:
                response.raise_for_status()
                return response.content
        except Exception as error:  # boto3's, requests' and Snakemake's
            raise InputError(f"'{url}': {_reason(error, url)}") from None

    def _look_up(self, urls):
        """Return size and modification time of each object, or the reason why there is none."""
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
        others = [url for url in urls if url not in answers]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            answers |= zip(others, threads.map(self._head, others), strict=True)
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

    def _head(self, url):
        """Return size and modification time of a file on a web server, or the reason why there is none."""
        try:
            with self._object(url).httpr("HEAD", stream=True) as response:
                response.raise_for_status()
                return int(response.headers.get("content-length", 0)), _time_of(response.headers.get("last-modified"))
        except Exception as error:  # requests' and Snakemake's
            return _reason(error, url)

    def _object(self, url):
        return self._storage(url).flags["storage_object"]


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

    @contextmanager
    def httpr(self, *arguments, **named):
        with super().httpr(*arguments, **named) as response:
            response.raise_for_status()  # the plugin would keep the page that says 503 as if it were the image
            yield response


def _time_of(modified):
    """Return the seconds since 1970 of a Last-Modified header; 0, as Snakemake's plugin, for one without a date."""
    try:
        return parsedate_to_datetime(modified).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _is_s3(url):
    return url.lower().startswith("s3://")


def _reason(error, url):
    return " ".join(str(error).split()) + S3_HINT * _is_s3(url)
