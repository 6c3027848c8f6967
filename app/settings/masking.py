"""Masking for display: secrets, and passwords inside URLs, are hidden."""

import json
import re
from collections.abc import Mapping
from datetime import date
from math import isfinite
from urllib.parse import unquote

MASK = "********"

_REVEALING = r"(?:password|passwd|pwd|passphrase|secret|token|(?:^|[_-])key|apikey)"
_SECRET_NAME = re.compile(rf"{_REVEALING}$", re.IGNORECASE)
_SECRET_ASSIGNED = re.compile(rf"{_REVEALING}\s*=", re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"({_REVEALING}=)[^&]+", re.IGNORECASE)
_PAIR = re.compile(r"(?<=[?&])(?P<name>[^?&=]+)=(?P<value>[^&]*)")
_LONGEST_SHOWN = 200

# URLs inside other text. A password may contain spaces and quotes, so the pattern for PostgreSQL's
# URLs goes up to the @.
_URL = re.compile(
    r"""postgresql(?:\+\w+)?://[^\s:@/]*:[^\n@]{1,200}@[^\s"'<>]*|\b[a-z][a-z0-9+.-]{0,30}://[^\s"'<>]+""",
    re.IGNORECASE,
)
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\+(["']).*?\\+\2"""
_ASSIGNMENT = re.compile(
    rf"""((?:password|passwd|pwd|passphrase|secret|token|[_-]key|apikey)\\*["']?\s*[=:]\s*)"""
    rf"""(?:{re.escape(MASK)}|{_QUOTED}|["'][^\n]*|\S+)""",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"""\b(authorization["']?\s*[=:]\s*["']?(?:\w+\s+)?|bearer\s+)[^\s"',;)]+""", re.IGNORECASE
)


def masked_url(url: str) -> str:
    """Mask the secrets of a URL: the password, secret query parameters, an HTTP URL's userinfo.

    Any text is accepted; of an invalid URL it may mask too much. Only a database's user name is
    kept, because in an HTTP URL it is often a key.
    """
    if "://" not in url and _SECRET_ASSIGNED.search(url):
        return MASK
    # The second substitution masks secrets nested in another parameter's value.
    shown = _SECRET_VALUE.sub(rf"\1{MASK}", _PAIR.sub(_masked_pair, url))
    scheme, separator, location = shown.partition("://") if "://" in shown else ("", "", shown)
    userinfo, at, host = location.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    named = scheme.startswith(("postgresql", "sqlite"))
    if not at:
        # An @ that was masked with a secret may have been the one before the host.
        return shown if "@" not in url else f"{scheme}{separator}{MASK}"
    if named and not colon:
        return shown
    return f"{scheme}{separator}{user + ':' if named else ''}{MASK}@{host}"


def _masked_pair(pair: re.Match[str]) -> str:
    if not pair["value"] or not _SECRET_NAME.search(unquote(pair["name"])):
        return pair[0]
    return f"{pair['name']}={MASK}"


def masked_text(text: str) -> str:
    """Mask the secrets in a text such as a message or a traceback.

    URLs are masked by :func:`masked_url`, and so are values named like a secret (``password=...``,
    ``"api_key": ...``, ``Authorization: ...``).
    """
    shown = _URL.sub(lambda url: masked_url(url[0]), text)
    return _ASSIGNMENT.sub(rf"\1{MASK}", _CREDENTIALS.sub(rf"\1{MASK}", shown))


def is_secret_name(name: str) -> bool:
    """Whether a name looks like that of a secret."""
    return bool(_SECRET_NAME.search(name))


def masked(value: object, *, secret: bool = False) -> object:
    """Convert ``value`` for display, as JSON types; ``secret`` masks all of it."""
    if isinstance(value, list | tuple):
        return [_masked_item(item, secret=secret) for item in value]
    if isinstance(value, dict) and not secret and _holds_only_numbers(value):
        return {masked_url(str(name)): _masked_item(number, secret=False) for name, number in value.items()}
    return _masked_item(value, secret=secret)


def _holds_only_numbers(values: Mapping[object, object]) -> bool:
    """Whether all values are numbers and no name is a secret's, so that nothing needs masking."""
    return all(
        isinstance(value, int | float) and not _SECRET_NAME.search(str(name)) for name, value in values.items()
    )


def _masked_item(value: object, *, secret: bool) -> object:
    if value is None:
        return None
    if secret:
        return MASK
    if isinstance(value, int):
        # Python refuses to convert an integer of thousands of digits to text.
        return value if value.bit_length() <= _LONGEST_SHOWN else "a huge number"
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return masked_url(str(value)) if isinstance(value, str | date) else MASK


def as_text(value: object) -> str:
    """Write ``value`` on one line: plain printable text as it is, all else as JSON; cut if long."""
    plain = isinstance(value, str) and value.isprintable() and value.strip() == value != ""
    text = str(value) if plain else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
