"""Characters: what ends a text, what is punctuation, and how text from a file is made safe to print."""

import unicodedata
from collections.abc import Iterable

TERMINAL_MARKS = frozenset("。！？.!?…‼⁇．｡")
CLOSERS = frozenset("”’」』）)]】》〉〕｝}\"'»*_")  # * and _ close Markdown's emphasis

# Cf holds every bidi control, zero-width character and the BOM. The joiner that builds emoji is kept where it
# stands between two symbols, because escaping it would tear one picture into several.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_JOINER = "\u200d"


def listed(names: Iterable[object], most: int = 5) -> str:
    """The first names and a count of the rest: `a, b, c, d, e and 7 more`."""
    given = [str(name) for name in names]
    return ", ".join(given[:most]) + (f" and {len(given) - most} more" if len(given) > most else "")


def reader(critic: object, aggregation: object) -> str:
    """What a critic under one read-out is called."""
    return f"{critic}/{aggregation}"


def neutralise(text: str, *, newlines: bool = False) -> str:
    """Text from a file, safe to print: what a terminal would obey is shown instead.

    Control characters (ANSI escapes among them), bidi controls, zero-width characters and lone surrogates become
    visible escapes such as `\\x1b` and `\\u202e`. Neutralising twice changes nothing more.

    Args:
        text: Any string.
        newlines: Keep newlines and tabs; otherwise they become `⏎` and `⇥`, so that the text stays on one line.
    """
    shown = []
    for index, char in enumerate(text):
        if char in "\n\t":
            shown.append(char if newlines else {"\n": "⏎", "\t": "⇥"}[char])
        elif unicodedata.category(char) not in _ESCAPED or (char == _JOINER and _joins_symbols(text, index)):
            shown.append(char)
        else:
            code = ord(char)
            shown.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(shown)


def _joins_symbols(text: str, index: int) -> bool:
    neighbours = text[index - 1 : index] + text[index + 1 : index + 2]
    return len(neighbours) == 2 and all(unicodedata.category(char) in ("So", "Sk", "Mn") for char in neighbours)


def closing_mark_index(text: str) -> int | None:
    """Index of the terminal mark that ends the text, behind which only closers and blanks stand; None without one."""
    index = last_before_closers(text)
    return index if index >= 0 and text[index] in TERMINAL_MARKS else None


def last_before_closers(text: str) -> int:
    """Index of the last character that is neither a closer nor blank; -1 without one."""
    index = len(text) - 1
    while index >= 0 and (text[index].isspace() or text[index] in CLOSERS):
        index -= 1
    return index


def ends_in_terminal(text: str) -> bool:
    """Whether the text ends in a full stop, question mark, exclamation mark or ellipsis."""
    return closing_mark_index(text) is not None


def is_punctuation(text: str) -> bool:
    """Whether the text holds punctuation or symbols, perhaps with blanks between, and nothing else."""
    return bool(text.strip()) and all(char.isspace() or unicodedata.category(char)[0] in "PS" for char in text)


def is_cjk(char: str) -> bool:
    """Whether a character is Han, kana or Hangul, after which a full-width mark is the usual one."""
    names = ("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA ", "HANGUL ")
    return char.isalnum() and unicodedata.name(char, "").startswith(names)


def is_chinese(text: str) -> bool:
    """Whether a text is Chinese rather than English: at least one Han, kana or Hangul for two Latin letters."""
    cjk = sum(map(is_cjk, text))
    return cjk > 0 and 2 * cjk >= sum(char.isalpha() and char.isascii() for char in text)
