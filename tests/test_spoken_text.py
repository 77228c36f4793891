import pytest

from duologue.spoken_text import number_words, read_aloud, spoken_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Pour hot water over the leaves, and wait.", "pour hot water over the leaves and wait"),
        ("I'm 'fine', y\u2019all -- uh-huh!", "i'm fine y'all uh huh"),
        ("Mr. Ray, Dr. Fox, etc.", "mister ray doctor fox et cetera"),
        ("4+10=14 & 50%", "four plus ten equals fourteen and fifty percent"),
        ("It is 1,250.75", "it is one thousand two hundred and fifty point seven five"),
        ("", ""),
    ],
)
def test_text_is_brought_to_words(text, words):
    assert spoken_words(text) == words.split()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (101, "one hundred and one"),
        (1001, "one thousand and one"),
        (12_345, "twelve thousand three hundred and forty five"),
        (2_000_000, "two million"),
        (10**9 + 10**6, "one billion one million"),
        (10**12, "one" + " zero" * 12),
    ],
)
def test_numbers_are_read_out(number, words):
    assert number_words(number) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, Ann!", "Hello, Ann!"),
        ("It costs $1,250.50.", "It costs one thousand two hundred and fifty dollars and fifty cents."),
        ("On the 21st, 3rd, 5th and 80th.", "On the twenty first, third, fifth and eightieth."),
        ("50% of R&D", "fifty percent of R and D"),
        ('"2.5"', '"two point five"'),
        (
            "Call 555-0199 or 12/5!",
            "Call five hundred and fifty five one hundred and ninety nine or twelve five!",
        ),
        ("- … 😀", ""),
    ],
)
def test_read_aloud(text: str, said: str) -> None:
    assert read_aloud(text) == said
