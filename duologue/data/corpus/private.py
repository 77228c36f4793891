"""Personal data in text: found by patterns, replaced by what it was."""

import ipaddress
import re
from collections.abc import Callable

EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
IP = re.compile(
    r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"
    r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){4,7}[0-9A-Fa-f:]{1,15}(?![\w:])"
)
CARD = re.compile(r"(?<![\d.-])(?:(?:\d{4}[ -]){3}\d{4}|\d{4}[ -]\d{6}[ -]\d{5}|\d{13,19})(?![\d-])")
SOCIAL = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
# With a country code, or in the North American form with its separators: bare runs of digits are left alone.
PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:\+?1[ .-])?\(\d{3}\)\s?\d{3}[ .-]\d{4}|(?:1[ .-])?\d{3}[.-]\d{3}[.-]\d{4})(?![\w-])"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")


def remove_private(text: str) -> tuple[str, dict[str, int]]:
    """The text with e-mail addresses, public IP addresses, card, account, social security and phone numbers replaced by
    <email> and so on, and how many of each there were."""
    counts: dict[str, int] = {}
    for name, pattern, valid in _KINDS:

        def replace(match: re.Match[str], name: str = name, valid: Callable[[str], bool] = valid) -> str:
            if not valid(match[0]):
                return match[0]
            counts[name] = counts.get(name, 0) + 1
            return f"<{name}>"

        text = pattern.sub(replace, text)
    return text, counts


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _luhn(number: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812)."""
    digits = [int(c) for c in number if c.isdigit()][::-1]
    total = sum(d if k % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for k, d in enumerate(digits))
    return 13 <= len(digits) <= 19 and total % 10 == 0 and len(set(digits)) > 1


def _iban(number: str) -> bool:
    """The check digits of account numbers (ISO 13616)."""
    plain = number.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", EMAIL, lambda found: True),
    ("account", IBAN, _iban),
    ("card", CARD, _luhn),
    ("ip", IP, _public),
    ("social security number", SOCIAL, lambda found: True),
    ("phone", PHONE, lambda found: 8 <= sum(c.isdigit() for c in found) <= 15),
)
