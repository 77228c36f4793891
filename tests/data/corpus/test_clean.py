"""The whole filter on a small crawl with one plant for each step."""

import gzip
import json
from pathlib import Path

import pytest

from duologue.data.corpus.classify import WEB, LineClassifier
from duologue.data.corpus.clean import CleanConfig, clean
from duologue.data.corpus.sources import read_documents
from duologue.errors import InputError

STORY = (
    "The old harbour lies below the castle, and in winter the fishing boats are drawn up on the sand. "
    "Every morning the children of the village walk along the sea wall to the school on the hill, "
    "where a teacher from the city tells them about rivers, mountains and the history of the coast. "
)
OTHER = (
    "Bread needs flour, water, salt and time. Mix them in a large bowl until no dry flour is left, cover the bowl "
    "with a cloth and let the dough rest over night in a cool place. In the morning fold it twice and bake it hot. "
)
GERMAN = "Der alte Hafen liegt unter der Burg, und im Winter liegen die Fischerboote auf dem Sand. " * 4
JUNK = "BUY NOW cheap watches click here free shipping best price SALE $9.99 order online !!! " * 5
ABUSE = "You are a stupid fucking bitch and a worthless piece of shit. " * 8


def page(text: str) -> str:
    body = f"<nav>Home | About</nav><article><p>{text}</p></article>"
    return f"<html><head><title>t</title></head><body>{body}</body></html>"


def record(url: str, body: bytes, kind: str = "text/html; charset=utf-8", text: bool = False) -> bytes:
    """A response of a crawl, or a record of a WET file, gzipped as CommonCrawl does."""
    if not text:
        body = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + body
    head = {
        "WARC-Type": "conversion" if text else "response", "WARC-Record-ID": f"<urn:uuid:{url}>",
        "WARC-Target-URI": url, "WARC-Date": "2023-10-01T00:00:00Z", "Content-Length": str(len(body)),
        "Content-Type": "text/plain" if text else "application/http; msgtype=response",
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return gzip.compress(f"WARC/1.0\r\n{lines}\r\n".encode() + body + b"\r\n\r\n")


def write_warc(path: Path, pages: list[tuple[str, str]]) -> None:
    text = ".wet" in path.name
    path.write_bytes(
        b"".join(record(f"https://x.example/{name}", body.encode(), text=text) for name, body in pages)
    )


def rows(folder: Path) -> dict[str, dict]:
    lines = [
        line
        for path in sorted(folder.glob("*.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    found = [json.loads(line) for line in lines]
    return {row["metadata"]["url"].rpartition("/")[2]: row for row in found}


def test_each_filter_takes_what_it_is_for(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    write_warc(crawl / "0.warc.gz", [
        ("good", page(STORY + "Write to jane@mail.example.org about it.")), ("german", page(GERMAN)),
        ("junk", page(JUNK)), ("abuse", page(ABUSE)),
    ])  # fmt: skip
    near = STORY + "Write to john@mail.example.org about it."
    write_warc(crawl / "1.wet.gz", [("near", near), ("bread", OTHER * 2)])
    examples = [(STORY, "books"), (OTHER, "books")] * 20 + [(JUNK + str(n), WEB) for n in range(20)]
    LineClassifier.fit(examples).save(tmp_path / "quality.npz")
    out = tmp_path / "out"
    report = clean([crawl], out, CleanConfig(quality=tmp_path / "quality.npz"))
    kept = rows(out / "documents")
    assert set(kept) == {"good", "bread"}
    assert "<email>" in kept["good"]["text"] and "Home | About" not in kept["good"]["text"]
    assert kept["bread"]["metadata"]["quality"] > 0.5 and kept["bread"]["metadata"]["class"] == "books"
    for step, name in (
        ("language", "german"),
        ("quality", "junk"),
        ("toxicity", "abuse"),
        ("near-duplicates", "near"),
    ):
        assert set(rows(out / "dropped" / step)) == {name}
        assert report[step]["dropped"] == 1
    assert report["read"]["documents"] == 6 and report["private"]["email"] == 2
    again = json.loads((out / "report.json").read_text())
    assert (
        clean([crawl], out, CleanConfig(quality=tmp_path / "quality.npz")) == again
    )  # nothing is done twice
    with pytest.raises(InputError, match="other sources or settings"):
        clean([crawl], out, CleanConfig())


def test_what_is_damaged_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_warc(tmp_path / "0.warc.gz", [("good", page(STORY)), ("lost", page(OTHER * 40))])
    whole = (tmp_path / "0.warc.gz").read_bytes()
    (tmp_path / "0.warc.gz").write_bytes(whole[:-60])
    (tmp_path / "1.jsonl").write_text(
        '{"text": "' + OTHER * 2 + '", "url": "https://x.example/bread"}\n{"words": 1}\n'
    )
    clean([tmp_path], tmp_path / "out", CleanConfig())
    assert {"good", "bread"} <= set(rows(tmp_path / "out/documents"))
    said = "".join(path.read_text() for path in sorted((tmp_path / "out").glob("*.errors")))
    assert "0.warc.gz" in said and "1.jsonl, line 2" in said


def test_other_encodings_are_read(tmp_path: Path) -> None:
    said = {"iso-8859-15": "Müller zahlt 5 €", "shift_jis": "日本語"}
    pages = [(f"text/html; charset={charset}", text.encode(charset)) for charset, text in said.items()]
    pages.append(("image/png", b"PNG"))
    (tmp_path / "x.warc.gz").write_bytes(
        b"".join(record("https://x.example/", body, kind) for kind, body in pages)
    )
    assert [text.text for text in read_documents(tmp_path / "x.warc.gz")] == list(said.values())


def test_nothing_left_is_said(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text(json.dumps({"text": GERMAN, "url": "https://x.example/hafen"}) + "\n")
    with pytest.raises(InputError, match="no document is left: .*dropped has what each filter took"):
        clean([tmp_path / "0.jsonl"], tmp_path / "out", CleanConfig())
    assert rows(tmp_path / "out/dropped/language")
