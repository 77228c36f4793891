"""Spoken words of a written text: lower case, numbers read out, no punctuation."""

import re

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
