"""Take personal data and secrets out of text that goes to a log.

Meant for messages of libraries and vendors, which may repeat what they were sent. It errs on the side of removing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"AIza[A-Za-z0-9_-]{30,}"  # Google API key
    r"|ya29\.[A-Za-z0-9_.-]{20,}"  # Google access token
    r"|sk-[A-Za-z0-9_-]{16,}"
    r"|key_[A-Za-z0-9]{32,}"  # Runway
    r"|r8_[A-Za-z0-9]{30,}"  # Replicate
    r"|hf_[A-Za-z0-9]{30,}"  # Hugging Face
    r"|whsec_[A-Za-z0-9+/=_-]{16,}"  # Standard Webhooks
    r"|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}"
    r"|AKIA[A-Z0-9]{16}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON Web Token
    r")"
)
_CREDENTIAL = re.compile(r"\b(Bearer|Basic|Token)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_URL_USER = re.compile(r"(?<=://)[^\s/?#@]{1,256}@")
_URL_QUERY = re.compile(r"([a-z][a-z0-9+.-]{1,15}://[^\s?#\"'<>]{1,2048}+)[?#][^\s\"'<>]+", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}(?:'[\w.%+-]{1,64})?@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9])", re.IGNORECASE)
_CARD = re.compile(r"(?<![0-9A-Za-z])[0-9](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
_PHONE = re.compile(
    r"(?<![\w+.-])(?:"
    r"(?:\+|00)[1-9](?:[ ./-]?(?:\([0-9]{1,4}\)|[0-9])){6,14}"
    r"|\([0-9]{2,5}\)[ ]?[0-9](?:[ ./-]?[0-9]){4,9}"
    r"|[0-9]{3}[ .-][0-9]{3}[ .-][0-9]{4}"
    r"|0[1-9][0-9]{1,4}(?:[ /-][0-9]{2,8}){1,4}"
    r")(?![\w-])"
)


def redact(text: str) -> str:
    """Return *text* with e-mail addresses, phone, card and account numbers, keys and URL queries replaced."""
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return text


def _card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match.group() if char.isdigit()]
    return "[card]" if _luhn(digits) else match.group()


def _luhn(digits: list[int]) -> bool:
    """Whether the check digit is right. Source: ISO/IEC 7812-1, annex B."""
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (doubled + sum(digits[-1::-2])) % 10 == 0


def _iban(match: re.Match[str]) -> str:
    """Cut the account number out; words in capitals that follow it are not a part of it."""
    compact = match.group().replace(" ", "").upper()
    for length in range(len(compact), 14, -1):
        if _has_iban_checksum(compact[:length]):
            return "[iban]" + _after(match.group(), length)
    return match.group()


def _after(text: str, count: int) -> str:
    """Return what follows the first *count* characters that are not blanks."""
    for position, char in enumerate(text):
        if count == 0:
            return text[position:]
        count -= char != " "
    return ""


def _has_iban_checksum(iban: str) -> bool:
    """Whether it is 1 modulo 97. Source: ISO 13616."""
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


_STEPS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_PRIVATE_KEY, "[key]"),
    (_URL_USER, "[user]@"),
    (_URL_QUERY, r"\1?[query]"),
    (_KEY, "[key]"),
    (_CREDENTIAL, r"\1\2[key]"),
    (_EMAIL, "[email]"),
    (_IBAN, _iban),
    (_CARD, _card),
    (_PHONE, "[phone]"),
)
