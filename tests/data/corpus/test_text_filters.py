"""Lines that repeat, personal data, classes of pages: the filters by themselves."""

import json
from pathlib import Path

import pytest

from duologue.data.corpus.classify import WEB, LineClassifier, line_groups
from duologue.data.corpus.examples import repeated_lines
from duologue.data.corpus.lines import BloomFilter, DuplicateLines, in_blocks
from duologue.data.corpus.private import remove_private
from duologue.errors import InputError

MENU = "Home\nAbout us\nContact\nAll rights reserved, 2019"


def test_bloom_filter_forgets_nothing_and_seldom_errs() -> None:
    bloom = BloomFilter(2000, error=1e-2)
    assert not any(bloom.add(f"line {n}") for n in range(100))
    for n in range(100, 2000):
        bloom.add(f"line {n}")
    assert all(bloom.add(f"line {n}") for n in range(2000))
    assert sum(bloom.add(f"other {n}") for n in range(500)) < 25


def test_only_blocks_of_repeated_lines_go() -> None:
    clean = DuplicateLines()
    assert clean(f"{MENU}\nOne story.") == f"{MENU}\nOne story."
    assert clean(f"Another story.\n{MENU.replace('2019', '2020')}") == "Another story."
    # Two repeated lines in a row are no block, and a line that a document repeats itself is its own.
    assert clean("Home\nAbout us\nA third one.") == "Home\nAbout us\nA third one."
    assert clean("la\nla\nla\nla") == "la\nla\nla\nla"
    assert in_blocks([True, True, True, False, True, True], 3) == [True] * 3 + [False] * 3


def test_a_classifier_of_repeated_lines_takes_the_first_copy_too(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    words = ["harbour", "castle", "river", "mountain", "village", "school", "winter", "garden"]
    story = "A {0} ran past {0} while nobody looked at the {0}."
    names = [f"{a} {b}" for a in words for b in words]
    pages = [json.dumps({"text": f"{story.format(name)}\n{MENU}"}) for name in names[:60]]
    path.write_text("\n".join(pages))
    judge = LineClassifier.fit(repeated_lines([path], 1000), epochs=20)
    clean = DuplicateLines(looks_repeated=lambda lines: judge.of("repeated", lines))
    assert clean(f"{story.format('winter garden')}\n{MENU}") == story.format("winter garden")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("write to jane.roe+x@mail.example.co.uk now", "write to <email> now"),
        ("from 8.8.8.8, not 192.168.0.1 or 1.2.3.4.5", "from <ip>, not 192.168.0.1 or 1.2.3.4.5"),
        ("call +44 20 7946 0958 or (415) 555-2671 or 415-555-2671", "call <phone> or <phone> or <phone>"),
        ("card 4539 1488 0343 6467, order 4539 1488 0343 6468", "card <card>, order 4539 1488 0343 6468"),
        ("4539 1488 0343 6467 2 of 3, 378282246310005", "<card> 2 of 3, <card>"),
        (
            "GB82 WEST 1234 5698 7654 32 but GB83 WEST 1234 5698 7654 32",
            "<account> but GB83 WEST 1234 5698 7654 32",
        ),
        ("123-45-6789 and 000-45-6789", "<social security number> and 000-45-6789"),
        ("in 1999-2004, version 3.14.15, at 10:30, 1,234,567 people", None),
    ],
)
def test_personal_data(said: str, left: str | None) -> None:
    text, counts = remove_private(said)
    assert text == (said if left is None else left)
    assert sum(counts.values()) == text.count("<")


def pairs() -> list[tuple[str, str]]:
    kinds = {
        "books": "The history of the town begins in the year {}, when the church was built.",
        "stackexchange": "How do I sort list {}? You should call its sort method, as the manual says.",
        WEB: "BUY NOW cheap watches ${} click here free shipping !!!",
    }
    return [(text.format(n), kind) for kind, text in kinds.items() for n in range(80)]


def test_quality_is_the_mean_of_line_groups_by_length(tmp_path: Path) -> None:
    LineClassifier.fit(pairs()).save(tmp_path / "model.npz")
    judge = LineClassifier.load(tmp_path / "model.npz")
    good = "The history of the town begins when the church was built. " * 5
    bad = "BUY NOW cheap watches click here free shipping !!! " * 5
    assert judge.quality(good).score > 0.9 and judge.quality(good).kind == "books"
    assert judge.quality(bad).score < 0.1 and judge.quality(bad).kind == WEB
    both = judge.quality(f"{good}\n{bad}")
    a, b = both.groups
    assert both.score == pytest.approx((a * len(good) + b * len(bad)) / (len(good) + len(bad)), abs=0.02)
    assert judge.quality("  \n").score == 0


def test_short_lines_are_judged_together() -> None:
    text = "\n".join(["word " * 10] * 9)
    groups = line_groups(text, least=200)
    assert [group.count("\n") + 1 for group in groups] == [4, 5] and "\n".join(groups) == text
    assert line_groups("short") == ["short"] and line_groups(" \n ") == []


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="no classifier"):
        LineClassifier.load(tmp_path / "x.npz")
    with pytest.raises(InputError, match="two classes"):
        LineClassifier.fit([("a", "b")])
