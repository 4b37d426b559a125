"""What processes print: verl's console lines and scoring details, alone or among anything else."""

import re
from collections.abc import Iterator
from itertools import zip_longest

from critic_probe.runs.readers.log import MOST_STEP, Log
from critic_probe.runs.readers.scoring import OPENS, Scoring, pieces
from critic_probe.runs.record import Figures, Sample

_ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_RAY = re.compile(rb"^\([\w .:]{1,80} pid=\d+[^)\n]{0,80}\) ?")
_STEP = re.compile(rb"step:(?<![\w/-]step:)(-?\d{1,15}) - ")  # a pattern that opens with a literal is found at once
_NUMBER = re.compile(
    r"(?:np\.\w{1,16}\()?([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf))\)?(?=\s|$)"
)
_WORDS = {"True": 1.0, "False": 0.0}
_MOST_PROCESSES = 4096


def read_text(log: Log) -> Iterator[Figures | Sample]:
    """The console lines and scoring details of a text; nothing where it has none.

    Lines that Ray prefixes with `(WorkerDict pid=...)` are told apart by process.
    """
    processes: dict[bytes, Scoring] = {}
    ended = True
    for number, block, ended in log.blocks():
        bare = not (block.startswith(b"(") or b"\n(" in block or b"\x1b" in block or b"\r" in block)
        stepped = ended and b"step:" in block
        if bare and not (stepped or processes or OPENS in block):
            continue
        for piece in pieces(block) if bare else block.split(b"\n"):
            prefix, piece = (b"", piece) if bare else _process(piece)
            start = 0
            while start <= len(piece):
                scoring = processes.get(prefix)
                if scoring is not None and scoring.adds(piece[start:]):
                    number += piece.count(b"\n", start) + 1
                    break
                stop = piece.find(b"\n", start) % (len(piece) + 1)  # its end where no other line follows
                content, start = piece[start:stop], stop + 1
                if scoring is None and OPENS in content and len(processes) < _MOST_PROCESSES:
                    scoring = processes[prefix] = Scoring(log)
                if scoring is not None:
                    yield from scoring.take(number, content, ended)
                if stepped and not (scoring and scoring.in_text) and b"step:" in content:
                    yield from _console(log, content)
                number += 1
    for scoring in processes.values():
        yield from scoring.end()
    if log.found and not ended:
        log.cut()


def _process(content: bytes) -> tuple[bytes, bytes]:
    """The prefix that names a line's process, and the line without it and without colours."""
    content = _ANSI.sub(b"", content.rstrip(b"\r"))
    match = _RAY.match(content)
    return (match[0], content[match.end() :]) if match else (b"", content)


def _console(log: Log, content: bytes) -> Iterator[Figures]:
    """The figures of `step:N - key:value - key:value`, once or more on a line."""
    starts = list(_STEP.finditer(content))
    for start, following in zip_longest(starts, starts[1:]):
        step = int(start[1])
        if abs(step) >= MOST_STEP:
            continue
        text = content[start.end() : following.start() if following else None].decode(errors="replace")
        if figures := _bare(text) or _figures(log, text):
            log.format = log.format or "console lines"
            log.found += len(figures)
            yield log.names.figures(step, figures)


def _bare(text: str) -> dict[str, float]:
    """The figures of a text of bare numbers, each behind a name without colons; nothing for any other text.

    A zero marks where a part begins: where one stands within a name or a value, names and values do not match.
    """
    cells = text.replace(" - ", ":\0").split(":")
    try:
        return dict(zip("".join(cells[::2]).split("\0"), map(float, cells[1::2]), strict=True))
    except ValueError:
        return {}


def _figures(log: Log, text: str) -> dict[str, float]:
    """The figures of any text, part by part."""
    figures: dict[str, float] = {}
    for part in text.split(" - "):
        name, colon, value = part.rpartition(":")
        try:
            figures[name] = float(value)
        except ValueError:
            if colon:
                _figure(log, figures, part)
    return figures


def _figure(log: Log, figures: dict[str, float], part: str) -> None:
    """A figure that is no bare number: NumPy's repr, a truth value, or a number with other output behind it."""
    for name, colon, value in (part.rpartition(":"), part.partition(":")):
        if colon and (match := _NUMBER.match(value)):
            figures[name] = float(match[1])
            return
        if colon and value in _WORDS:
            figures[name] = _WORDS[value]
            return
    log.left_out("figure", "no number on a console line, or one that other output runs into")
