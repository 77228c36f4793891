"""The text normaliser: how a written text is spoken, in lower case, with numbers read out and no punctuation.

`read_aloud` keeps capitals and punctuation, for a model that knows words but no digits; `spoken_words` are its bare
words, for texts that are trained on. `plain_words` reads sums too, and drops "and" inside a number, so that
two writings of one sentence compare equal.
"""

import re
import unicodedata

_SHORT = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "etc": "et cetera"}
_SIGNS = {
    "%": " percent ", "‰": " per mille ", "&": " and ", "+": " plus ", "=": " equals ", "×": " times ",
    "÷": " divided by ", "±": " plus or minus ", "≈": " about ", "@": " at ", "\u2019": "'",
}  # fmt: skip
_UNITS = {
    "km": "kilometers", "kg": "kilograms", "cm": "centimeters", "mm": "millimeters", "ml": "milliliters",
    "mph": "miles per hour", "km/h": "kilometers per hour", "ft": "feet", "lb": "pounds", "lbs": "pounds",
    "oz": "ounces",
}  # fmt: skip
_ONE = {"feet": "foot", "miles per hour": "mile per hour", "kilometers per hour": "kilometer per hour"}
_MONEY = {  # one, many; and of the hundredths
    "$": ("dollar", "dollars", "cent", "cents"), "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"), "¥": ("yen", "yen"), "₩": ("won", "won"),
    "₹": ("rupee", "rupees", "paisa", "paise"), "¢": ("cent", "cents"),
}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "bn": "billion"}
# Bounded, because each is tried at every digit of a text: a text of digits alone must not take minutes.
_NUMBER = r"\d{1,15}(?:,\d{3}){0,4}(?:\.\d{1,15})?"
# Four digits by themselves, without a plural after them ("2015 dollars").
_YEAR = r"(?<![\d.,:/$€£-])(?:1[1-9]|20)\d\d(?![\d:/%°-]|[.,]\d|\s?[a-zA-Z]*s\b)"
_ANY_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
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
        return _digit_by_digit(str(number))
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
    head = number_words(int(whole)) if len(whole) <= 12 else _digit_by_digit(whole)
    return f"{head} point {_digit_by_digit(decimals)}" if decimals else head


def _digit_by_digit(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def year_words(year: int) -> str:
    """Of four digits: 1998 -> "nineteen ninety eight", 2005 -> "two thousand and five"."""
    century, rest = divmod(year, 100)
    if century % 10 == 0 and rest < 10:
        return number_words(year)
    last = "hundred" if not rest else f"oh {_ONES[rest]}" if rest < 10 else number_words(rest)
    return f"{number_words(century)} {last}"


def _decade(match: re.Match[str]) -> str:
    words = (year_words if len(match[1]) == 4 else number_words)(int(match[1]))
    return words.removesuffix("y") + "ies" if words.endswith("y") else words + "s"


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
    """ "It's 1,250%!" -> "It's one thousand two hundred and fifty percent!": digits and signs as words. What has no
    letter or digit is left out."""
    text = re.sub(rf"(?<![\d.,-])({_NUMBER})-({_NUMBER})(?![\d-])", _range, _beside_digits(text))
    text = re.sub("[–—]", " ", re.sub(r"(?<=\d)\s?–\s?(?=\d)", " to ", text))
    text = re.sub(r"(?<!\d)(\d{1,12})(?:st|nd|rd|th)\b", lambda match: ordinal_words(int(match[1])), text)
    text = re.sub(r"(?<![\d.,:/-])(\d\d|\d{4})'?s\b", _decade, text)
    text = re.sub(_YEAR, lambda match: year_words(int(match[0])), text)
    text = re.sub(r"(?<=\d)[/:-](?=\d)|(?<=[a-zA-Z])(?=\d)|(?<=\d)(?=[a-zA-Z])", " ", text)
    text = re.sub(_ANY_NUMBER, _read_number, text)
    for sign, word in (_SIGNS | {sign: f" {names[1]} " for sign, names in _MONEY.items()}).items():
        text = text.replace(sign, word)
    text = re.sub(r"(?<=\w) (?=[.,;:!?)])", "", " ".join(text.split()))
    return " ".join(word for word in text.split() if any(map(str.isalnum, word)))


def spoken_words(text: str) -> list[str]:
    """ "It's 1,250 - Mr. Ray!" -> it's one thousand two hundred and fifty mister ray: words of a-z and inner '."""
    text = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", read_aloud(text).lower()))  # é -> e
    words = [str(word).strip("'") for word in re.findall(r"[a-z']+", text)]
    return " ".join(_SHORT.get(word, word) for word in words if word).split()


def _beside_digits(text: str) -> str:
    """Signs and units that mean something beside digits, as words: "$2.50" -> "2 dollars and 50 cents", "½" -> "one
    half". The digits stay."""
    units = "|".join(sorted(_UNITS, key=len, reverse=True))
    text = re.sub(rf"(?<![\d.])({_NUMBER})\s?({units})(²|³)?(?![\w/])", _unit, text, flags=re.IGNORECASE)
    text = re.sub(r"(?:(\d{1,9})\s?)?([¼-¾⅐-⅞])", lambda match: _fraction(match[1], *_parts(match[2])), text)
    text = re.sub(rf"⁻?[{_SUPERSCRIPTS}]{{1,9}}", _power, text)
    text = unicodedata.normalize("NFKC", text)  # wide and small forms, "℃", spaces of all kinds
    text = text.replace("\u2019", "'").replace("\u2212", "-")
    text = re.sub(r"(?<![\d/.,])(?:(\d{1,9})\s)?(\d)/(\d|10)(?![\d/])", _small_fraction, text)
    scale = r"(?:\s?(thousand|million|billion|trillion|k|m|bn)\b)?"
    signs = f"[{''.join(_MONEY)}]"
    amount = rf"({signs})\s?({_NUMBER})(?:\s?[-–]\s?\1?({_NUMBER}))?{scale}"
    text = re.sub(amount, lambda m: _money(m[1], m[2], m[3], m[4]), text, flags=re.IGNORECASE)
    text = re.sub(rf"({_NUMBER})\s?({signs})(?!\d)", lambda match: _money(match[2], match[1]), text)
    text = re.sub(r"(\b1\s?)?°(?:\s?(C|F)\b)?", _degrees, text, flags=re.IGNORECASE)
    text = re.sub(
        r"(?<![\d:])(\d{1,2}):(\d\d)(?![\d:])(?=(\s*[ap]\s?\.?m\b)?)", _time, text, flags=re.IGNORECASE
    )
    text = re.sub(r"(?<=\d)\s*[x×*]\s*(?=\d)", " times ", text)
    text = re.sub(r"#(?=\d)", "number ", text)
    return re.sub(r"(?<![\w.])\.(?=\d)", "0.", re.sub(r"(?<![\w.])-(?=\.?\d)", "minus ", text))


def _unit(match: re.Match[str]) -> str:
    name = _UNITS[match[2].lower()]
    name = _ONE.get(name, name.removesuffix("s")) if match[1] == "1" else name
    return f"{match[1]} {'' if not match[3] else 'square ' if match[3] == '²' else 'cubic '}{name}"


def _parts(fraction: str) -> list[int]:
    """The numbers of "½": [1, 2]."""
    return [int(part) for part in unicodedata.normalize("NFKC", fraction).split("\u2044")]


def _fraction(whole: str | None, above: int, below: int) -> str:
    part = {2: "half", 4: "quarter"}.get(below) or ordinal_words(below)
    if above > 1:
        part += "s"
    head = number_words(above) if above > 1 or not whole else "a"
    return (f"{whole} and " if whole else "") + f"{head} {part}"


def _small_fraction(match: re.Match[str]) -> str:
    """Of "3/4" but not of "12/5", which may be a date or a ratio."""
    above, below = int(match[2]), int(match[3])
    return _fraction(match[1], above, below) if 0 < above < below else match[0]


def _power(match: re.Match[str]) -> str:
    number = unicodedata.normalize("NFKC", match[0]).replace("\u2212", "-")
    if number.startswith("-"):
        return f" to the minus {number[1:]} "
    return {"2": " squared ", "3": " cubed "}.get(number) or f" to the {ordinal_words(int(number))} "


def _money(sign: str, amount: str, until: str | None = None, scale: str | None = None) -> str:
    one, many, *hundredths = _MONEY[sign]
    whole, _, part = amount.partition(".")
    if until or scale or len(part) > 2 or (part and not hundredths):
        words = _SCALES.get((scale or "").lower(), (scale or "").lower())
        return " ".join(filter(None, (amount, until and f"to {until}", words, many)))
    said = (
        [f"{whole} {one if whole == '1' else many}"]
        if int(whole.replace(",", "")) or not part.strip("0")
        else []
    )
    if part.strip("0"):
        small = int(part.ljust(2, "0"))
        said.append(f"{small} {hundredths[small > 1]}")
    return " and ".join(said)


def _degrees(match: re.Match[str]) -> str:
    scale = {"c": " Celsius", "f": " Fahrenheit", "": ""}[(match[2] or "").lower()]
    return f"{match[1] or ''} {'degree' if match[1] else 'degrees'}{scale} "


def _time(match: re.Match[str]) -> str:
    hour, minutes = match[1], match[2]
    if minutes == "00":
        return hour if match[3] else f"{hour} o'clock"
    return f"{hour} {'oh ' if minutes[0] == '0' else ''}{int(minutes)}"


def _range(match: re.Match[str]) -> str:
    """What rises is a range; scores, telephone numbers and dates are read number by number."""
    low, high = match[1], match[2]
    rises = float(low.replace(",", "")) < float(high.replace(",", ""))
    telephone = high.startswith("0") or (len(low), len(high)) == (3, 4)
    return f"{low} to {high}" if rises and not telephone else f"{low} {high}"


_SAME = {"ok": "okay", "alright": "all right", "cannot": "can not"}


def plain_words(text: str) -> str:
    """Text as spoken: lower case, no punctuation, "4+10" as "four plus ten", "$5" as "five dollars".

    Years, ordinals, times of day, money, units, ranges and simple sums are read out the way people do; the "and"
    inside a number is dropped.
    """
    text = text.lower().replace("\u2019", "'")
    text = re.sub(r"\b([ap])\.m\.|\b(p)m\b|(?<=\d)\s?(a)m\b", r" \1\2\3 m", text)  # but not "I am"
    if any(map(str.isnumeric, text)):
        text = _read_out(_beside_digits(text))
    words: list[str] = []
    for word in " ".join(spoken_words(text)).split():
        words.extend(_SAME.get(word, word).split())
    return re.sub(r"\b(hundred|thousand|million) and (?=" + _NUMBER_WORD + ")", r"\1 ", " ".join(words))


_NUMBER_WORD = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)"
)


def _read_out(text: str) -> str:
    """Sums and differences."""
    text = re.sub(r"(?<=\d)\s*[÷/]\s*(?=\d)", " divided by ", text)
    text = re.sub(r"\d+(?:-\d+){2,}", lambda m: m[0].replace("-", " "), text)  # counted
    return re.sub(r"(\d+)\s*[-–]\s*(\d+)(\s*=| is\b| equals\b)?", _between, text)


def _between(match: re.Match[str]) -> str:
    """ "10-8" is a difference, and so is "3-5 =": else a range goes up, "10-15"."""
    minus = match[3] or int(match[1]) >= int(match[2])
    return f"{match[1]} {'minus' if minus else 'to'} {match[2]}{match[3] or ''}"
