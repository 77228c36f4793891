import pytest

from duologue.data.text import number_words, spoken_words


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
