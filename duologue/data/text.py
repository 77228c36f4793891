"""Spoken words of a written text: lower case, numbers read out, no punctuation."""

import re

_SHORT = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "etc": "et cetera"}


def _read_number(match: re.Match[str]) -> str:
    from num2words import num2words

    digits = match.group().replace(",", "")
    return f" {num2words(float(digits) if '.' in digits else int(digits))} "


def spoken_words(text: str) -> list[str]:
    """ "It's 12,5 Mr. Ray's - uh-huh!" -> ["it's", ...]: words of a-z and inner apostrophes; numbers become words."""
    text = text.lower().replace("\u2019", "'")
    text = (
        text.replace("%", " percent ").replace("&", " and ").replace("+", " plus ").replace("=", " equals ")
    )
    if any(c.isdigit() for c in text):
        text = re.sub(r"\d[\d,]*(?:\.\d+)?", _read_number, text)
    words = [str(word).strip("'") for word in re.findall(r"[a-z']+", text)]
    return " ".join(_SHORT.get(word, word) for word in words if word).split()
