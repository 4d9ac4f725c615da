"""What lies at URLs: asked of Snakemake's storage plugins, which are handed in, as nothing of Snakemake is imported.

By themselves they ask the server again and again: 337 times in a run with 6 images. Here it is asked once for a folder
or for what an image list names, and what it says is kept in a file for the run's jobs; then each image is fetched.
"""

import hashlib
import itertools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

from fieldwork import InputError, outputs

ANSWERS = Path(".snakemake/fieldwork")
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
        True of a run itself. Its jobs take what it has been told, where they find that.
    """

    def __init__(self, storage, *, asks):
        self._storage = storage
        self._asks = asks
        self._knowing = {}  # class of a plugin's objects -> its subclass
        self.known = {}  # URL -> size in bytes, modification time in s since 1970

    def names(self, folder):
        """List what is in a folder on S3, and in the folders below it.

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
        found = self._told(f"in {folder}", lambda: self._listed(folder))
        self.known |= {f"{folder}/{name}": facts for name, facts in found.items()}
        return list(found)

    def copy(self, url):
        """Give the path of a local copy of a small file, such as an image list.

        Raises
        ------
        InputError
            It cannot be had; names the URL and the reason.
        """
        return self._kept(url, lambda: self._content(url))

    def absent(self, urls):
        """Say which of some objects are not there, or must not be read.

        Parameters
        ----------
        urls : iterable of str

        Returns
        -------
        dict of str to str
            URL -> the reason. What the others are is `known` now.
        """
        urls = list(dict.fromkeys(urls))
        if not urls:
            return {}
        found = self._told("\n".join(["of", *urls]), lambda: self._looked_up(urls))
        reasons = {url: facts for url, facts in found.items() if isinstance(facts, str)}
        self.known |= {url: facts for url, facts in found.items() if url not in reasons}
        return reasons

    def check(self, places):
        """Refuse objects that are not there.

        Parameters
        ----------
        places : dict of str to str
            URL -> where it is named, for the message.

        Raises
        ------
        InputError
            Names the place, the URL and the reason.
        """
        for url, reason in self.absent(places).items():
            raise InputError(f"{places[url]} has the path '{url}': {reason}")

    def input(self, url):
        """Give what a rule names as its input: Snakemake fetches it for its jobs."""
        flagged = self._storage(url)
        if url in self.known:
            stored = flagged.flags["storage_object"]
            kind = type(stored)
            if kind not in self._knowing:
                self._knowing[kind] = type("Knowing", (_Knowing, kind), {"known": self.known})
            flagged.flags["storage_object"] = self._knowing[kind](
                query=stored.query, keep_local=stored.keep_local, retrieve=stored.retrieve, provider=stored.provider
            )
        return flagged

    def clear_leftovers(self):
        """Delete local copies that a killed run has left half-written: Snakemake would take them for whole ones."""
        for url, (size, _) in self.known.items():
            path = Path(self._storage(url))
            if path.is_file() and path.stat().st_size != size:
                path.unlink()

    def _told(self, what, ask):
        return json.loads(self._kept(what, lambda: json.dumps(ask()).encode()).read_bytes())

    def _kept(self, what, ask):
        """Give the path of a file with an answer of the server; `ask` gets its bytes."""
        path = ANSWERS / hashlib.sha256(what.encode()).hexdigest()[:16]
        if self._asks or not path.exists():
            answer = ask()
            path.parent.mkdir(parents=True, exist_ok=True)
            with outputs.atomic_file(path) as part:
                part.write_bytes(answer)
        return path

    def _listed(self, folder):
        try:
            found = self._below(f"{folder}/")
        except Exception as error:  # boto3's and Snakemake's, neither of which is imported here
            raise InputError(f"'{folder}': {_reason(error, folder)}") from None
        if not found:
            raise InputError(f"'{folder}': there is no object below it; expected the folder of the plate's images")
        return {url.removeprefix(f"{folder}/"): facts for url, facts in found.items()}

    def _content(self, url):
        try:
            stored = self._object(url)
            if _is_s3(url):
                return stored.s3obj().get()["Body"].read()
            with stored.httpr() as response:
                response.raise_for_status()
                return response.content
        except Exception as error:  # boto3's, requests' and Snakemake's
            raise InputError(f"'{url}': {_reason(error, url)}") from None

    def _looked_up(self, urls):
        """Size and modification time of each object, or the reason why there is none."""
        found = {}
        for _, group in itertools.groupby(sorted(filter(_is_s3, urls), key=os.path.dirname), key=os.path.dirname):
            group = list(group)
            try:
                below = self._below(os.path.commonprefix(group))  # a request for every 1000 that begin alike
            except Exception as error:  # as above
                found |= dict.fromkeys(group, _reason(error, group[0]))
                continue
            for url in group:
                found[url] = below.get(url, "there is no such object")
                if url not in below and any(other.startswith(f"{url}/") for other in below):
                    found[url] = "a folder; expected an object"
        others = [url for url in urls if url not in found]
        with ThreadPoolExecutor(8) as threads:
            found |= zip(others, threads.map(self._head, others), strict=True)
        return found

    def _below(self, prefix):
        """List the objects whose URL begins with a prefix."""
        stored = self._object(prefix)
        bucket, key = stored.bucket, re.sub(r"(?i)^s3://[^/]*/?", "", prefix)
        return {
            f"{prefix[: len(prefix) - len(key)].rstrip('/')}/{each.key}": (each.size, each.last_modified.timestamp())
            for each in stored.provider.s3c.Bucket(bucket).objects.filter(Prefix=key)
            if not each.key.endswith("/")  # how browsers of buckets make empty folders
        }

    def _head(self, url):
        try:
            with self._object(url).httpr("HEAD", stream=True) as response:
                response.raise_for_status()
                return int(response.headers.get("content-length", 0)), _time_of(response.headers.get("last-modified"))
        except Exception as error:  # requests' and Snakemake's
            return _reason(error, url)

    def _object(self, url):
        return self._storage(url).flags["storage_object"]


class _Knowing:
    """An object of a storage plugin that goes by what the server has said, and does not ask it again."""

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
    """Seconds since 1970 of a Last-Modified header; 0, as for Snakemake's plugin, where there is no date in it."""
    try:
        return parsedate_to_datetime(modified).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _is_s3(url):
    return url.lower().startswith("s3://")


def _reason(error, url):
    return " ".join(str(error).split()) + S3_HINT * _is_s3(url)
