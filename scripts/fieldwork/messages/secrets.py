"""Hide what may be secret in URLs, before they stand in a message, a log or a file."""

import re

# What may be secret in the URLs of a text: a user's name and password, which may hold a slash; values of a query that
# are longer than those of `?download=1`; and a query or fragment without names. urllib3 writes "with url: /path?query".
_PARTS = re.compile(r"([^/?#\s]*)([^?#\s]*)((?:[?#]\S*)?)")  # of a URL behind ://, host, path and query
_NO_PORT = re.compile(r":(?!\d*\W*$)")
_VALUE = re.compile(r"(?<=[^(][?&#;])([\w.~%+-]+=)([^\s&#]+)")
_NAMELESS = re.compile(r"(?<=url: )(/[^\s?#]*[?#])([^\s=&]+)(?=\s|$)")
_CLOSING = "'\"),;:.>]"  # what stands behind a URL in a sentence
_SHOWN_CHARACTERS = 3  # of a value


def without_secrets(text: str) -> str:
    """Return a text with dots in place of what may be secret in its URLs: user, password, values of queries."""
    start, *urls = text.split("://")
    text = "://".join([start, *map(_without_user, urls)])
    return _NAMELESS.sub(_hidden, _VALUE.sub(_hidden, text))


def _without_user(url):
    """Return a URL behind its ://, and what follows it, without user, password and a query that has no names."""
    parts = _PARTS.match(url)
    host, path, query = parts.groups()
    if "@" in host:
        host = f"...@{host.rpartition('@')[2]}"
    elif "@" in path + query and _NO_PORT.search(host):  # the password has a slash in it
        host, path, query = "...@", (path + query).rpartition("@")[2], ""
    if query and "=" not in query:
        query = _hidden(re.match(r"(.)(.*)", query))
    return host + path + query + url[parts.end() :]


def _hidden(match):
    """Return what was matched with dots in place of a long value, its second group."""
    value = match[2].rstrip(_CLOSING)
    return match[0] if len(value) <= _SHOWN_CHARACTERS else f"{match[1]}...{match[2][len(value) :]}"
