"""The page that says what came out of a run, as HTML without any other file."""

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import yaml

from fieldwork.screen.summary import Section, moments_of, settings_of

STYLE = """
.prose:has(.fieldwork) { max-width: none; }
.h-screen:has(.fieldwork) { align-items: flex-start; } /* Snakemake's report centres it, and cuts off its beginning */
.flex:has(> div > .prose .fieldwork) { flex-direction: column; } /* the graph of rules comes last */
.fieldwork { max-width: 62rem; margin: 1rem; font: 15px/1.45 sans-serif; color: #111; background: #fff; }
.fieldwork h1 { font-size: 1.5rem; } .fieldwork h2 { font-size: 1.15rem; margin: 1.2rem 0 0.3rem; }
.fieldwork ul { margin: 0; padding-left: 1.2rem; list-style: disc; } .fieldwork li { overflow-wrap: anywhere; }
.fieldwork table { border-collapse: collapse; margin: 0.5rem 0; font-size: 14px; }
.fieldwork th, .fieldwork td { text-align: left; padding: 0.15rem 0.8rem 0.15rem 0; border-bottom: 1px solid #ccc; }
.fieldwork img { max-width: 100%; height: auto; margin: 0.3rem 0; }
.fieldwork pre { white-space: pre-wrap; font-size: 13px; color: #111; background: #f4f4f4; padding: 0.5rem; }
"""


def page_of(
    sections: Sequence[Section],
    *,
    pictures: Mapping[str, str | os.PathLike],
    settings: Mapping,
    plates: Mapping[str, Mapping],
    versions: Mapping,
) -> str:
    """Return the page.

    Parameters
    ----------
    sections : sequence of Section
    pictures : mapping of str to path-like
        What a picture shows -> its PNG file, which the page will hold.
    settings : mapping
        The configuration.
    plates : mapping of str to mapping
        Plate -> its settings.json.
    versions : mapping of str to str
        Library -> version.

    Returns
    -------
    str
        HTML; texts of users are escaped.
    """
    parts = ['<div class="fieldwork">', "<h1>What came out</h1>", *map(_section, sections)]
    if pictures:
        parts.append("<h2>Pictures</h2>")
        parts += [_picture(title, path) for title, path in pictures.items()]
    parts += [
        "<h2>Settings and versions</h2>",
        f"<p>{escape(', '.join(f'{name} {number}' for name, number in versions.items()))}</p>",
        *(f'<p class="moment">{escape(sentence)}</p>' for sentence in moments_of(plates)),
        *(_settings(f"What counted for {group.plates}", group.facts) for group in settings_of(plates)),
        _settings("The whole configuration", settings),
        "</div>",
    ]
    head = f'<head><meta charset="utf-8"><title>What came out</title><style>{STYLE}</style></head>'
    return "\n".join(["<!doctype html>", '<html lang="en">', head, "<body>", *parts, "</body>", "</html>", ""])


def _section(section):
    """Return a part of the page as HTML."""
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in section.sentences)
    text = f"<h2>{escape(section.title)}</h2>\n<ul>{sentences}</ul>"
    if not section.table:
        return text
    rows = [
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for row, tag in zip(section.table, ["th", *["td"] * (len(section.table) - 1)], strict=True)
    ]
    return text + "\n<table>\n" + "\n".join(rows) + "\n</table>"


def _settings(title, settings):
    """Return settings as HTML that opens with a click."""
    text = yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False)
    return f"<details><summary>{escape(title)}</summary>\n<pre>{escape(text)}</pre></details>"


def _picture(title, path):
    """Return a picture as HTML that holds it."""
    data = base64.b64encode(Path(path).read_bytes()).decode()
    return f'<p>{escape(title)}</p>\n<img alt="{escape(title)}" src="data:image/png;base64,{data}">'
