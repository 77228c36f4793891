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
        ("50 😀 %", "fifty percent"),
        ("- … 😀", ""),
        ("$2.5, $0.99 or $1.01", "two dollars and fifty cents, ninety nine cents or one dollar and one cent"),
        ("$2.5 million, £0.01, ¥500, 5 €, 50¢", "two point five million dollars, one penny, five hundred yen, five "
         "euros, fifty cents"),
        ("$5-10, $5M and $2.999", "five to ten dollars, five million dollars and two point nine nine nine dollars"),
        ("½ of 1½ or 2 1/2, ⅔ or 3/8.", "one half of one and a half or two and a half, two thirds or three eighths."),
        ("m², 5 km², 10⁶, 10⁻³, x³", "m squared, five square kilometers, ten to the sixth, ten to the minus three, x "
         "cubed"),
        ("1 km at 90 km/h, 1 ft, 5ft", "one kilometer at ninety kilometers per hour, one foot, five feet"),
        ("20°C, 1 °F, ℃; -5 or −.5", "twenty degrees Celsius, one degree Fahrenheit, degrees Celsius; minus five or "
         "minus zero point five"),
        ("50 % or 5‰ of 4 + 5 = 9", "fifty percent or five per mille of four plus five equals nine"),
        ("10–15 or 1.5-2.5, but 3-2", "ten to fifteen or one point five to two point five, but three two"),
        ("5:00 or 5:00 pm, 5:05, 17:30", "five o'clock or five pm, five oh five, seventeen thirty"),
        ("3x4, 3 × 4, #5", "three times four, three times four, number five"),
        ("covid-19, A4, 24/7", "covid-nineteen, A four, twenty four seven"),
        ("From 1998 to 2005, in 1900, 1905 and 2015.", "From nineteen ninety eight to two thousand and five, in "
         "nineteen hundred, nineteen oh five and twenty fifteen."),
        ("1,150 or 1150 dollars, $1150 or 1150.5", "one thousand one hundred and fifty or one thousand one hundred and "
         "fifty dollars, one thousand one hundred and fifty dollars or one thousand one hundred and fifty point five"),
        ("The 1990s, the '60s and the 1900's", "The nineteen nineties, the 'sixties and the nineteen hundreds"),
        ("Wait - what … no–no!", "Wait what... no no!"),
    ],
)  # fmt: skip
def test_read_aloud(text: str, said: str) -> None:
    assert read_aloud(text) == said
    assert read_aloud(said) == said


def test_training_text_has_the_words_of_its_sound() -> None:
    said = "the twenty first cafe two dollars and fifty cents for one half"
    assert " ".join(spoken_words("The 21st café: $2.50 for ½")) == said


@pytest.mark.parametrize(
    "text", ["9" * 50_000, "1" + ",111" * 20_000, "9 " * 30_000, "9:59-" * 10_000, "½" * 20_000]
)
def test_digits_without_end_are_read_in_time_that_grows_with_them(text: str) -> None:
    """A long one is read digit by digit."""
    assert len(read_aloud(text).split()) >= len(text) / 5
