"""What processes print: verl's console lines and scoring details, alone or among anything else."""

import re
from collections.abc import Iterator

from critic_probe.runs.readers.log import MOST_STEP, Line, Log
from critic_probe.runs.readers.scoring import OPENS, Scoring
from critic_probe.runs.record import Sample, Scalar

_ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_RAY = re.compile(rb"^\([\w .:]{1,80} pid=\d+[^)\n]{0,80}\) ?")
_STEP = re.compile(rb"(?<![\w/-])step:(-?\d{1,15}) - ")
_NUMBER = re.compile(
    r"(?:np\.\w{1,16}\()?([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf))\)?(?=\s|$)"
)
_WORDS = {"True": 1.0, "False": 0.0}
_MOST_PROCESSES = 4096


def read_text(log: Log) -> Iterator[Scalar | Sample]:
    """The console lines and scoring details of a text; nothing where it has none.

    Lines that Ray prefixes with `(WorkerDict pid=...)` are told apart by process.
    """
    processes: dict[bytes, Scoring] = {}
    line = Line(0, b"", True)
    for line in log.lines():
        number, content, ended = line
        prefix = b""
        if content.startswith(b"(") or b"\x1b" in content:
            content = _ANSI.sub(b"", content)
            if match := _RAY.match(content):
                prefix, content = match[0], content[match.end() :]
            line = Line(number, content, ended)
        scoring = processes.get(prefix)
        if scoring is None and OPENS in content and len(processes) < _MOST_PROCESSES:
            scoring = processes[prefix] = Scoring(log)
        if scoring is not None:
            if completed := scoring.take(line):
                yield from completed
            if scoring.in_text:
                continue
        if b"step:" in content and (starts := list(_STEP.finditer(content))):
            yield from _console(log, line, starts)
    for scoring in processes.values():
        yield from scoring.end()
    if log.found and not line.ended:
        log.cut()


def _console(log: Log, line: Line, starts: list[re.Match[bytes]]) -> Iterator[Scalar]:
    """The figures of `step:N - key:value - key:value`, once or more on a line."""
    if not line.ended:
        return
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        step = int(start[1])
        if abs(step) >= MOST_STEP:
            continue
        text = line.content[start.end() : following.start() if following else None].decode(errors="replace")
        figures: dict[str, float] = {}
        for part in text.split(" - "):
            name, colon, value = part.rpartition(":")
            try:
                figures[name] = float(value)
            except ValueError:
                if colon:
                    _figure(log, figures, part)
        if figures:
            log.format = log.format or "console lines"
            log.found += len(figures)
            yield from log.names.scalars(step, figures, log.place(line.number))


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
