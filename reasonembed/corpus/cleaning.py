"""Bytes to text and text to clean text: encodings, Unicode form, invisible characters, blanks.

`decode` takes the bytes of a file, `clean` one paragraph; neither knows formats or files.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from reasonembed.errors import DataError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
"""UTF-32 stands before UTF-16, whose mark begins its own."""

LAST_RESORT = "cp1252"
"""What undeclared Western text that is not UTF-8 almost always is; the WHATWG standard's fallback, too."""

_NOT_TEXT = frozenset({"utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})
"""Codecs of Python that no honest file declares."""

MAX_CONTROL_SHARE = 0.02
"""Share of control characters above which bytes are no text: text has next to none, random bytes 11%."""

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
"""Escape is not among them: Japanese mail switches alphabets with it."""

_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # control characters, except those that separate words
    "\u00ad\u200b\u2060\ufeff\u180e"  # soft hyphen, zero-width space, word joiner, byte order mark
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of writing direction
    "\ufff9-\ufffb"
    "]"
)
"""U+200C and U+200D stay: Persian, Hindi and others write words with them."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")


def decode(data: bytes, *, declared: str | None = None) -> str:
    """Bytes of a text file to text.

    A byte order mark decides; then valid UTF-8 with a character beyond ASCII, which no other encoding gives by
    chance; then what the file declares; then UTF-8; at last cp1252, whose undefined bytes become U+FFFD.

    Args:
        data: The bytes.
        declared: The encoding that the file names itself, such as `shift_jis`.

    Raises:
        DataError: The bytes hold NUL or many control characters: no text.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if b"\0" in data:
        raise DataError("binary content (a NUL byte), no text")
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls > MAX_CONTROL_SHARE * len(data):
        raise DataError(f"binary content ({controls:,} control characters in {len(data):,} bytes), no text")
    text = _decoded(data, "utf-8")
    if text is None or data.isascii():
        known = declared and _codec(declared)
        text = (_decoded(data, known) if known else None) or text or data.decode(LAST_RESORT, "replace")
    return text


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError):
        return None


def _codec(label: str) -> str | None:
    """Python's name of a declared encoding; Latin-1 is read as cp1252, as browsers do."""
    try:
        name = codecs.lookup(label.strip().strip("\"'")).name
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return None
    return None if name in _NOT_TEXT else LAST_RESORT if name in ("iso8859-1", "ascii") else name


def clean(text: str, *, layout: bool = False) -> str:
    """Text in Unicode form NFC, without invisible characters, surrogates and runs of blanks.

    Args:
        text: A paragraph.
        layout: Keep line ends and indentation (code, tables).

    Returns:
        The clean text, without blanks around it; lines end in a line feed.
    """
    if not layout:
        text = " ".join(text.split())
    if not text.isprintable():  # as all that is invisible, and surrogates
        text = _SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text))
    text = unicodedata.normalize("NFC", text)
    if not layout:
        return " ".join(text.split())
    lines = _LINE_END.sub("\n", text).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")
