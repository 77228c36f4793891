"""The text normaliser: how a written text is spoken, in lower case, with numbers read out and no punctuation.

`spoken_words` does plain numbers and signs, for texts that are trained on; `plain_words` reads out everything people
write (times, money, units, sums, years), so that two writings of one sentence compare equal; `read_aloud` keeps
capitals and punctuation, for a model that knows words but no digits.
"""

import re
import unicodedata

from duologue.errors import InputError

_SHORT = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "etc": "et cetera"}
_SIGNS = {"%": " percent ", "&": " and ", "+": " plus ", "=": " equals ", "\u2019": "'"}
_ONES, _TENS = (
    names.split()
    for names in (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen",
        "- - twenty thirty forty fifty sixty seventy eighty ninety",
    )
)
_LARGE = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"))


def number_words(number: int) -> str:
    """1250 -> "one thousand two hundred and fifty"; from 10**12 on digit by digit."""
    if number >= 10**12:
        return " ".join(_ONES[int(digit)] for digit in str(number))
    for size, name in _LARGE:
        if number >= size:
            head, rest = divmod(number, size)
            joint = " and " if 0 < rest < 100 else " "
            return f"{number_words(head)} {name}" + (joint + number_words(rest) if rest else "")
    if number >= 100:
        head, rest = divmod(number, 100)
        return f"{_ONES[head]} hundred" + (f" and {number_words(rest)}" if rest else "")
    if number >= 20:
        head, rest = divmod(number, 10)
        return _TENS[head] + (f" {_ONES[rest]}" if rest else "")
    return _ONES[number]


def _read_number(match: re.Match[str]) -> str:
    whole, _, decimals = match.group().replace(",", "").partition(".")
    tail = " point " + " ".join(_ONES[int(digit)] for digit in decimals) if decimals else ""
    return f" {number_words(int(whole))}{tail} "


def spoken_words(text: str) -> list[str]:
    """ "It's 1,250 - Mr. Ray!" -> it's one thousand two hundred and fifty mister ray: words of a-z and inner '."""
    text = text.lower()
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    text = re.sub(r"\d[\d,]*(?:\.\d+)?", _read_number, text)
    words = [str(word).strip("'") for word in re.findall(r"[a-z']+", text)]
    return " ".join(_SHORT.get(word, word) for word in words if word).split()


_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def ordinal_words(number: int) -> str:
    """21 -> "twenty first"."""
    *head, last = number_words(number).split()
    if last not in _ORDINALS:
        last = f"{last.removesuffix('y')}ie" if last.endswith("y") else last
    return " ".join([*head, _ORDINALS.get(last, f"{last}th")])


def read_aloud(text: str) -> str:
    """ "It's 1,250%!" -> "It's one thousand two hundred and fifty percent!": digits and signs as words. "" for a text
    without a letter or digit."""
    if not any(map(str.isalnum, text)):
        return ""
    number = r"\d+(?:,\d{3})*(?:\.\d+)?"
    text = re.sub(rf"([$£€])({number})", _money, text)
    text = re.sub(r"(\d+)(?:st|nd|rd|th)\b", lambda match: ordinal_words(int(match[1])), text)
    text = re.sub(r"(?<=\d)[/-](?=\d)|(?<=[a-zA-Z])(?=\d)|(?<=\d)(?=[a-zA-Z])", " ", text)
    text = re.sub(number, lambda match: _read_number(match).strip(), text)
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    return re.sub(r" (?=[.,;:!?)])", "", " ".join(text.split()))


_UNITS = {
    "km": "kilometers", "kg": "kilograms", "cm": "centimeters", "mm": "millimeters", "ml": "milliliters",
    "mph": "miles per hour", "ft": "feet", "lb": "pounds", "lbs": "pounds", "oz": "ounces",
}  # fmt: skip
_MONEY = {"$": ("dollars", "cents"), "£": ("pounds", "pence"), "€": ("euros", "cents")}
_SAME = {"ok": "okay", "alright": "all right", "cannot": "can not"}
_NUMBER = r"\d[\d,]*(?:\.\d+)?"


def plain_words(text: str) -> str:
    """Text as spoken: lower case, no punctuation, "4+10" as "four plus ten", "$5" as "five dollars".

    Years, ordinals, times of day, money, units, ranges and simple sums are read out the way people do; the "and"
    inside a number is dropped.
    """
    # Compatibility forms: "½" becomes "1⁄2" and full-width signs become plain ones, but "²" must not become "2".
    text = unicodedata.normalize("NFKC", text.lower().replace("²", " squared ").replace("³", " cubed "))
    text = text.replace("\u2019", "'").replace("\u2212", "-").replace("\u2044", "/")
    text = re.sub(r"\b([ap])\.m\.|\b(p)m\b|(?<=\d)\s?(a)m\b", r" \1\2\3 m", text)  # but not "I am"
    if re.search(r"\d", text):
        text = _read_out(text)
    words: list[str] = []
    for word in " ".join(spoken_words(text)).split():
        words.extend(_SAME.get(word, word).split())
    return re.sub(r"\b(hundred|thousand|million) and (?=" + _NUMBER_WORD + ")", r"\1 ", " ".join(words))


_NUMBER_WORD = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)"
)


def _read_out(text: str) -> str:
    """The signs around digits as words, and the numbers that are not plain cardinals."""
    text = re.sub(rf"([$£€])\s?({_NUMBER})", _money, text)
    text = re.sub(r"°\s?c\b", " degrees celsius", re.sub(r"°\s?f\b", " degrees fahrenheit", text))
    text = text.replace("°", " degrees ")
    text = re.sub(r"\b(\d{1,2}):00\b(?!\s?[ap] m)", r"\1 o'clock", text)
    text = re.sub(r"\b(\d{1,2}):00\b", r"\1", text)
    text = re.sub(r"\b(\d{1,2}):0(\d)\b", r"\1 oh \2", text)
    text = re.sub(r"\b(\d{1,2}):(\d\d)\b", r"\1 \2", text)
    text = re.sub(r"(?<=\d)\s*[x×*]\s*(?=\d)", " times ", text)
    text = re.sub(r"\b1/2\b", "one half", re.sub(r"\b1/4\b", "one quarter", text))
    text = re.sub(r"\b3/4\b", "three quarters", text)
    text = re.sub(r"(?<=\d)\s*[÷/]\s*(?=\d)", " divided by ", text)
    text = re.sub(r"\d+(?:-\d+){2,}", lambda m: m[0].replace("-", " "), text)  # counted
    text = re.sub(r"(\d+)\s*[-–]\s*(\d+)(\s*=| is\b| equals\b)?", _between, text)
    text = re.sub(r"(?<![\w.])-(?=\d)", " minus ", text)
    text = re.sub(rf"({_NUMBER})\s?({'|'.join(_UNITS)})\b", lambda m: f"{m[1]} {_UNITS[m[2]]}", text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", lambda m: ordinal_words(int(m[1])), text)
    text = re.sub(r"\b(\d{2}|\d{4})'?s\b", _decade, text)
    return re.sub(
        r"(?<![\d.,])(1[1-9]\d\d|20[1-9]\d)(?!\d|[.,]\d)", lambda m: _words(int(m[1]), "year"), text
    )


def _between(match: re.Match[str]) -> str:
    """ "10-8" is a difference, and so is "3-5 =": else a range goes up, "10-15"."""
    minus = match[3] or int(match[1]) >= int(match[2])
    return f"{match[1]} {'minus' if minus else 'to'} {match[2]}{match[3] or ''}"


def _money(match: re.Match[str]) -> str:
    whole, _, part = match[2].partition(".")
    name, small = _MONEY[match[1]]
    unit = name.removesuffix("s") if whole == "1" else name
    return f"{whole} {unit}" + (f" and {int(part)} {small}" if part.strip("0") else "")


def _decade(match: re.Match[str]) -> str:
    words = _words(int(match[1]), "year" if len(match[1]) == 4 else "cardinal")
    return words.removesuffix("y") + "ies" if words.endswith("y") else words + "s"


def _words(number: int, form: str) -> str:
    try:
        from num2words import num2words
    except ImportError:
        raise InputError("num2words is missing: pip install 'duologue[eval]'") from None
    return num2words(number, to=form)
