"""Reading documents: WARC and WET files of CommonCrawl, and .jsonl of {"text"}, plain or gzipped."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duologue.data.strict_json import read_lines
from duologue.errors import InputError

ARCHIVES = (".warc", ".warc.gz", ".wet", ".wet.gz")
TABLES = (".jsonl", ".jsonl.gz")
HTML = ("text/html", "application/xhtml+xml")


@dataclass
class Text:
    """One document, and what is known of it."""

    id: str
    text: str
    about: dict[str, Any] = field(default_factory=dict)
    html: bool = False


def find_files(*places: Path) -> list[Path]:
    """The documents' files among `places`, and below those that are folders. InputError if there are none."""
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"there is no file {place}")
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        found += [path for path in inside if path.name.lower().endswith(ARCHIVES + TABLES)]
    if not found:
        kinds = ", ".join(ARCHIVES + TABLES)
        raise InputError(f"{' '.join(map(str, places))}: there are no documents here ({kinds})")
    return found


def read_documents(path: Path) -> Iterator[Text]:
    """The documents of one file. InputError, after those that could be read, where it is damaged."""
    return _archive(path) if path.name.lower().endswith(ARCHIVES) else _table(path)


def _table(path: Path) -> Iterator[Text]:
    number = 1
    try:
        for number, line in read_lines(path):
            if line.strip():
                row = json.loads(line)
                text, about = row.pop("text"), row.pop("metadata", {})
                yield Text(str(row.pop("id", f"{path.name}:{number}")), text, about | row)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f'{path}, line {number}: expected an object like {{"text": ...}}') from None


def _archive(path: Path) -> Iterator[Text]:
    """`response` records that are HTML, and the `conversion` records of WET files (text already)."""
    from duologue.data.corpus.classify import need

    need("warcio")
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    number = 0
    try:
        with path.open("rb") as file:
            for number, record in enumerate(ArchiveIterator(file), 1):
                if record.rec_type not in ("response", "conversion"):
                    continue
                html = record.rec_type == "response"
                kind = _content_type(record, html)
                if kind and kind not in (HTML if html else ("text/plain",)):
                    continue
                body = record.content_stream().read()
                if getattr(record.raw_stream, "limit", 0) > 0:
                    raise EOFError("the file ends inside it")
                text = _decoded(body, record.http_headers)
                headers = record.rec_headers
                about = {
                    "url": headers.get_header("WARC-Target-URI"),
                    "date": headers.get_header("WARC-Date"),
                }
                yield Text(headers.get_header("WARC-Record-ID") or f"{path.name}:{number}", text, about, html)
    except (ArchiveLoadFailed, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}, record {number}: damaged ({error})") from None


def _content_type(record: Any, html: bool) -> str:
    named = record.rec_headers.get_header("WARC-Identified-Payload-Type")
    if not named and html and record.http_headers:
        named = record.http_headers.get_header("Content-Type")
    return (named or "").partition(";")[0].strip().lower()


def _decoded(body: bytes, headers: Any) -> str:
    """Text of bytes: UTF-8, else what the server said, else what it looks like."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        pass
    said = (headers.get_header("Content-Type") or "") if headers else ""
    charset = said.lower().partition("charset=")[2].strip(" \"';")
    try:
        return body.decode(charset or "windows-1252")
    except (UnicodeDecodeError, LookupError):
        return body.decode("utf-8", "replace")
