"""What each text filter catches, against what was planted in a crawl made of real pages.

    python benchmarks/text_corpus.py OUT --pages DIR ... --foreign DIR ... --curated DIR ...

--pages: folders of English HTML, --foreign: of HTML in other languages, --curated: of good documents (.html or .txt).
Debian's documentation packages have a few hundred MB of each (linux-doc, postgresql-doc, python3-doc, gimp-help-*,
debian-handbook). OUT/crawl/*.warc.gz is the crawl, OUT/clean what `duologue data text clean` made of it.
"""

import argparse
import gzip
import json
import random
import re
import string
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

from duologue.data.corpus.classify import WEB, LineClassifier
from duologue.data.corpus.clean import CleanConfig, clean
from duologue.data.corpus.examples import class_examples

CAUGHT_BY = {"foreign": "language", "junk": "quality", "toxic": "toxicity"}
MENU = "".join(
    f"<p>{line}</p>"
    for line in ("Subscribe to our newsletter for weekly offers", "All rights reserved by the publisher of this site",
                 "We use cookies to improve your experience", "Share this page with your friends on social media")
)  # fmt: skip
INSULTS = ["idiot", "moron", "bastard", "asshole", "bitch", "shithead", "scum", "fucker"]
PERSONAL = ("write to jane.roe%d@mail-example.net or call +1 (415) 555-%04d about it, "
            "the card is 4539 1488 0343 6467")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    for name in ("pages", "foreign", "curated"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=100_000, help="pages of each folder at most")
    parser.add_argument("--files", type=int, default=8, help="WARC files")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(0)
    pages = [p for folder in options.pages for p in html_files(folder, options.limit, rng)]
    foreign = [p for folder in options.foreign for p in html_files(folder, options.limit // 10, rng)]
    if not (options.out / "crawl").exists():
        write_crawl(options.out / "crawl", pages, foreign, options.files, rng)
    model = quality_model(options.out, options.curated, random.Random(1))
    began = time.perf_counter()
    config = CleanConfig(quality=model)
    report = clean([options.out / "crawl"], options.out / "clean", config, options.workers)
    print(f"{time.perf_counter() - began:.0f} s, {options.workers} processes")
    print(json.dumps(report, indent=1))
    judge(options.out / "clean")


def html_files(folder: Path, limit: int, rng: random.Random) -> list[Path]:
    found = sorted(p for p in folder.rglob("*.html") if p.is_file() and 2_000 < p.stat().st_size < 1_000_000)
    return rng.sample(found, min(limit, len(found)))


def write_crawl(out: Path, pages: list[Path], foreign: list[Path], files: int, rng: random.Random) -> None:
    """Each page once; and one in twenty of every kind of plant."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    records = [("", read(path)) for path in pages]
    originals = [page for _, page in records if len(re.sub(r"<[^>]+>", "", page)) > 4_000]
    each = max(10, len(pages) // 20)
    for k, page in enumerate(rng.sample(originals, min(2 * each, len(originals)))):
        kind = "exact" if k % 2 else "near"  # one of the two is to go, whichever is met first
        records.append((f"{kind}-{k}", page if kind == "exact" else reworded(page, rng)))
        records[records.index(("", page))] = (f"original-{kind}-{k}", page)
    words = [w for page in originals[:50] for w in re.sub(r"<[^>]+>", " ", page).split() if w.isalpha()]
    records += [("foreign", read(path)) for path in foreign]
    records += [("junk", junk(words, rng)) for _ in range(each)]
    records += [("toxic", toxic(words, rng)) for _ in range(each)]
    rng.shuffle(records)
    out.mkdir(parents=True)
    for number in range(files):
        with (out / f"{number:03d}.warc.gz").open("wb") as file:
            writer = WARCWriter(file, gzip=True)
            for k, (planted, page) in enumerate(records[number::files]):
                if k % 5 == 0 and "</body>" in page:
                    page = page.replace("</body>", f"{MENU}</body>")
                if k % 10 == 0 and "<p>" in page:
                    page = page.replace("<p>", f"<p>{PERSONAL % (k, k % 10_000)} ", 1)
                headers = StatusAndHeaders(
                    "200 OK", [("Content-Type", "text/html; charset=utf-8")], "HTTP/1.1"
                )
                url = f"https://site{number}.example/{k}?planted={planted}"
                record = writer.create_warc_record(
                    url, "response", BytesIO(page.encode()), http_headers=headers
                )
                writer.write_record(record)


def read(path: Path) -> str:
    return path.read_text(errors="replace")


def reworded(page: str, rng: random.Random) -> str:
    """The page with one word in eighty another."""
    parts = re.split(r"(<[^>]+>|\s+)", page)
    swap = [k for k, part in enumerate(parts) if part.isalpha() and part.islower()]
    for k in rng.sample(swap, len(swap) // 80):
        parts[k] = rng.choice(("again", "about", "other", "thing"))
    return "".join(parts)


def junk(words: list[str], rng: random.Random) -> str:
    """Key words for search engines, random letters, prices."""
    lines = []
    for _ in range(rng.randrange(15, 40)):
        kind = rng.randrange(3)
        if kind == 0:
            lines.append(", ".join(rng.choices(words, k=25)) + " cheap buy online free shipping best price")
        elif kind == 1:
            lines.append(
                " ".join("".join(rng.choices(string.ascii_letters + string.digits, k=12)) for _ in range(12))
            )
        else:
            lines.append(
                " | ".join(
                    f"{rng.choice(words)} ${rng.randrange(1, 999)}.99 SALE click here" for _ in range(9)
                )
            )
    return html(lines)


def toxic(words: list[str], rng: random.Random) -> str:
    lines = []
    for _ in range(20):
        insult = " ".join(rng.choices(INSULTS, k=3))
        one, other = rng.choices(words, k=2)
        lines.append(
            f"You are such a {insult} and I hate every {one} that you wrote about {other}, "
            f"shut up you fucking {rng.choice(INSULTS)}."
        )
    return html(lines)


def html(lines: list[str]) -> str:
    body = "".join(f"<p>{line}</p>" for line in lines)
    return f"<html><head><title>page</title></head><body><article>{body}</article></body></html>"


def quality_model(out: Path, curated: list[Path], rng: random.Random) -> Path:
    """Curated documents against junk of another draw than the planted."""
    from trafilatura import extract

    classes: dict[str, list[Path]] = {}
    for folder in curated:
        files = sorted(p for p in folder.rglob("*") if p.suffix in (".html", ".txt") and p.is_file())
        texts = [
            read(p) if p.suffix == ".txt" else extract(read(p))
            for p in rng.sample(files, min(150, len(files)))
        ]
        classes[folder.name] = [write_jsonl(out / f"{folder.name}.jsonl", [t for t in texts if t])]
    words = [w for places in classes.values() for w in places[0].read_text().split() if w.isalpha()]
    pages = [extract(junk(words, rng)) or "" for _ in range(300)]
    classes[WEB] = [write_jsonl(out / "web.jsonl", pages)]
    LineClassifier.fit(class_examples(classes, 20_000)).save(out / "quality.npz")
    return out / "quality.npz"


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def judge(out: Path) -> None:
    """Precision and recall of each step on what was planted for it, and what was lost of the rest."""
    dropped = {step.name: labels(step) for step in sorted((out / "dropped").iterdir())}
    kept = labels(out / "documents")
    print(f"kept: {kinds(kept)}")
    for step, found in dropped.items():
        print(f"{step} dropped: {kinds(found)}")
    everywhere = kept + [label for found in dropped.values() for label in found]
    for kind, step in CAUGHT_BY.items():
        hits, met = dropped[step].count(kind), everywhere.count(kind)
        print(
            f"{step}: {hits} of {len(dropped[step])} dropped were planted, of {met} planted {kept.count(kind)} are left"
        )
    for kind in ("exact", "near"):
        pairs = {label.removeprefix("original-") for label in everywhere if f"{kind}-" in label}
        both = sum(pair in kept and f"original-{pair}" in kept for pair in pairs)
        paired = sum(f"{kind}-" in label for label in dropped["near-duplicates"])
        print(
            f"{kind} copies: {len(pairs)} pairs, {both} still both there; near-duplicates dropped {paired} of them"
        )
    text = "".join(texts(out / "documents"))
    print(f"copies of a menu line left: {text.count('Subscribe to our newsletter for weekly offers')}")
    print(
        f"planted e-mail addresses left: {text.count('mail-example.net')}, card numbers: {text.count('4539 1488')}"
    )


def kinds(found: list[str]) -> dict[str, int]:
    return dict(Counter(re.sub(r"-\d+$", "", label) or "page" for label in found))


def labels(folder: Path) -> list[str]:
    return [row["metadata"]["url"].partition("planted=")[2] for row in rows(folder)]


def texts(folder: Path) -> list[str]:
    return [row["text"] for row in rows(folder)]


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("*.gz")) for line in gzip.open(path, "rt")]


if __name__ == "__main__":
    main()
