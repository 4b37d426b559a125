"""Scoring-detail logs: blocks of a step with two full samples and the statistics of a micro-batch, in two dialects.

A block opens with a title that holds `Critic 打分详情 - Step N`. Its samples (`样本 #k` or `[SAMPLE] #k`) have a
student's and a teacher's section, each with `Score: | Length:`, `Text:` over any number of lines and in newer logs
`Tokens:`, and close with `Teacher - Student =`. What decorates a line, emoji or brackets, decides nothing.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from critic_probe.runs.names import OF_SAMPLES, OTHER, SCORING
from critic_probe.runs.readers.log import LONGEST, MOST_STEP, Line, Log
from critic_probe.runs.record import Sample, Scalar, Side


def _pattern(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


OPENS = "打分详情".encode()

_START = r"^\W{0,40}?"  # what decorates a line: blanks, brackets, and the bytes of emoji
_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf))"
_TITLE = _pattern(r"打分详情\W{0,20}Step\W{0,3}(\d{1,15})")
_OF_BATCH = r"平均分|相同答案"
_MARK = _pattern(_START + rf"(?:样本|\[?SAMPLE|Student|STUDENT|学生|Teacher|TEACHER|教师|Tokens:|={{60}}|{_OF_BATCH})")
_SAMPLE = _pattern(_START + r"(?:样本|\[?SAMPLE\]?)\s{0,3}#(\d{1,9})")
_SIDE = _pattern(
    _START + r"(?:(?P<student>Student|STUDENT|学生)|(?P<teacher>Teacher|TEACHER|教师))(?![\w>]|\s{1,4}[->])"
)
_SCORE = _pattern(r"Score:\s{0,8}" + _NUMBER + r"\s{0,8}\|\s{0,8}Length:\s{0,8}(\d{1,9})")
_GAP = _pattern(_START + r"Teacher\s?-\s?Student\s?=\s{0,8}" + _NUMBER)
_TEXT = _pattern(_START + r"Text:[ \t]?")
_TOKENS = _pattern(_START + r"Tokens:(?=\s{0,4}\[)")
_PROMPT = _pattern(_START + r"(?:Prompt|PROMPT|Question|问题|提示)\]?\s{0,4}(?::|：)[ \t]?")
_RULE = _pattern(r"^\s*(?:[=\-]{20,}|(?:─){20,}|(?:═){20,})\s*$")

_WIDE = _pattern(r"^={100}\s{0,4}$")  # what a block opens with

_MEAN, _GAP_OF_MEANS, _RANGE, _SAME = (word.encode() for word in ("平均分", "平均分差", "分数范围", "相同答案"))
_SIDES = (
    ("student_mean", (b"Student", "学生".encode())),
    ("teacher_mean", (b"Teacher", "教师".encode())),
)
_STRAY = _pattern(_START + rf"(?:{_OF_BATCH}|Teacher\s?>\s?Student|(?:Student|Teacher|学生|教师)\W{{0,8}}?分数范围)")
_ENDS = _pattern(_START + r"(?:Student|STUDENT|学生|Teacher|TEACHER|教师)\W{0,8}?平均分")
_ABOVE = _pattern(r"Teacher\s{0,3}>\s{0,3}Student\W{0,8}?" + _NUMBER + r"\s?%")
_LAST_NUMBER = _pattern(_NUMBER + r"\s*$")
_BOUNDS = _pattern(r"\[\s{0,8}" + _NUMBER + r"\s{0,8},\s{0,8}" + _NUMBER + r"\s{0,8}\]")
_RATIO = _pattern(r"(\d{1,9})\s?/\s?(\d{1,9})")
_ROUNDING = 4e-3  # of a difference that bf16 rounded, and of four decimals

_GIVEN_UP = 20  # whole blocks after which one that never closed is taken for dead
_MIXED = "not complete before another begins, as where several processes write one file or a run restarts"


@dataclass
class _Part:
    """A side while its lines come in."""

    score: float
    length: int
    lines: list[bytes] = field(default_factory=list)
    ids: tuple[int, ...] | None = None


@dataclass
class _Draft:
    """A sample while its lines come in."""

    place: str
    prompt: list[bytes] = field(default_factory=list)
    sides: dict[str, _Part] = field(default_factory=dict)
    side: str = ""
    opening: str = ""  # the side that the lines of `header` open if a score follows
    header: list[bytes] = field(default_factory=list)
    text: list[bytes] | None = None  # where lines go
    size: int = 0
    broken: str = ""

    def __post_init__(self) -> None:
        self.text = self.prompt

    def add(self, content: bytes) -> None:
        """A line of a text."""
        self.size += len(content)
        if self.size > LONGEST:
            self.broken = f"longer than {LONGEST >> 20} MiB"
        elif self.text is not None:
            self.text.append(content)

    def open(self, score: re.Match[bytes]) -> None:
        """The side that was announced begins with its score."""
        if self.opening in self.sides:
            self.broken = _MIXED
        self.side, self.header, self.text = self.opening, [], None
        self.sides[self.side] = _Part(float(score[1]), int(score[2]))

    def fault(self, gap: float) -> str:
        """Why it is no sample, by its own figures; "" where it is one."""
        if self.broken or len(self.sides) < 2:
            return self.broken or _MIXED
        difference = self.sides["teacher"].score - self.sides["student"].score
        if abs(difference - gap) > _ROUNDING * max(1, abs(gap)):
            return "their difference is not that of their scores"
        return ""


class Scoring:
    """The blocks of one process.

    A block counts whole: its samples are given when it closes, and none of them where a line in it is of another block.
    While a block that was begun has not closed, lines of others may be its; it is given up after twenty whole blocks.

    Args:
        log: The file.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._step: int | None = None
        self._draft: _Draft | None = None
        self._held: list[Sample] = []  # of the block, until it closes
        self._ends: list[float] = []  # of both sides' ranges
        self._open = False
        self._whole = True  # whether no line in the block was of another one
        self._unclosed = 0
        self._whole_blocks = 0
        self._headers: set[bytes] = set()  # lines that opened a side

    @property
    def in_text(self) -> bool:
        """Whether the next line may be a model's text."""
        return self._draft is not None and self._draft.text is not None

    def take(self, line: Line) -> Iterable[Scalar | Sample]:
        """What a line completes."""
        content, draft = line.content, self._draft
        if OPENS in content and (title := _TITLE.search(content)):
            self._begin(int(title[1]))
        elif self._step is None:
            return ()
        elif draft is not None and draft.text is not None and not draft.header and not _MARK.match(content):
            draft.add(content)
        elif sample := _SAMPLE.match(content):
            self._drop(_MIXED)
            self._whole &= self._open and int(sample[1]) == len(self._held) + 1
            self._draft = _Draft(self._log.place(line.number))
        elif draft is None or _ENDS.match(content):
            self._drop(_MIXED)
            return self._statistics(line, self._step)
        else:
            self._within(draft, content, self._step)
        return ()

    def end(self) -> Iterator[Sample]:
        """What is whole at the file's end."""
        if self._draft is not None:
            self._log.left_out("sample", "cut by the end of the file")
        yield from self._release()

    def _begin(self, step: int) -> None:
        self._drop(_MIXED)
        self._unclosed += self._open
        self._whole = False
        list(self._release())  # of a block that has not closed
        self._step, self._open, self._whole, self._ends = step, True, True, []
        self._log.format = self._log.format or "scoring details"

    def _drop(self, why: str) -> None:
        """Leaves out the sample that is open, if one is, and its block with it."""
        if self._draft is not None:
            self._log.left_out("sample", why)
            self._whole = False
        self._draft = None

    def _release(self) -> Iterator[Sample]:
        """The samples of the block, if it is whole and no other is open."""
        held, self._held = self._held, []
        if self._whole and not self._unclosed:
            self._log.found += len(held)
            yield from held
            return
        for _ in held:
            self._log.left_out("sample", _MIXED)

    def _close(self) -> None:
        """The block's own end, or that of another."""
        if not self._open:
            self._unclosed = max(0, self._unclosed - 1)
            self._whole_blocks = 0
            return
        self._open = False
        self._whole_blocks = self._whole_blocks + 1 if self._whole else 0
        if self._whole_blocks >= _GIVEN_UP:
            self._unclosed = 0

    def _within(self, draft: _Draft, content: bytes, step: int) -> None:
        """A line of a sample that may be a mark."""
        score = _SCORE.search(content)
        if draft.header and score:
            self._headers.add(draft.header[0])
            draft.open(score)
            return
        if draft.header and not content.strip():
            draft.header.append(content)
            return
        header, draft.header = draft.header, []
        if header and header[0] in self._headers:
            draft.broken = _MIXED
        for line in header:  # it was text
            draft.add(line)
        if draft.side and (gap := _GAP.match(content)):
            if why := draft.fault(float(gap[1])):
                self._drop(why)
            else:
                self._held.append(self._sample(draft, step))
                self._draft = None
        elif _STRAY.match(content):
            draft.broken = _MIXED
        elif side := _SIDE.match(content):
            draft.opening, draft.header = "student" if side["student"] else "teacher", [content]
            if score:
                draft.open(score)
        elif draft.side and (tokens := _TOKENS.match(content)):
            if draft.text is None:
                draft.broken = _MIXED
            draft.text = None
            draft.sides[draft.side].ids = _ids(content[tokens.end() :])
            if draft.sides[draft.side].ids is None:
                self._log.note("some of its lists of tokens are cut, and left out")
        elif draft.side and draft.text is None and (text := _TEXT.match(content)):
            draft.text = draft.sides[draft.side].lines
            draft.text.append(content[text.end() :])
        else:
            if score:
                draft.broken = _MIXED
            draft.add(content)

    def _sample(self, draft: _Draft, step: int) -> Sample:
        student, teacher = (draft.sides[name] for name in ("student", "teacher"))
        while draft.prompt and _blank(draft.prompt[0]):
            draft.prompt.pop(0)
        for lines in (draft.prompt, student.lines, teacher.lines):
            while lines and _blank(lines[-1]):
                lines.pop()
            self._whole &= not any(map(_WIDE.match, lines))
        return Sample(
            step,
            self._text(draft.prompt, _PROMPT) or None,
            None,
            Side(self._text(student.lines), student.ids, student.score, student.length),
            Side(self._text(teacher.lines), teacher.ids, teacher.score, teacher.length),
            draft.place,
        )

    def _text(self, lines: list[bytes], label: re.Pattern[bytes] | None = None) -> str:
        """Lines as text, without a label."""
        data = b"\n".join(lines)
        if label and (match := label.match(data)):
            data = data[match.end() :].lstrip(b"\n")
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._log.note("some texts are broken UTF-8; what is broken became U+FFFD")
            return data.decode(errors="replace")

    def _statistics(self, line: Line, step: int) -> Iterator[Scalar | Sample]:
        """A line between samples: what closes a block."""
        figures = self._figures(line.content) if line.ended else {}
        if figures:
            yield from self._release()
        if self._whole and not self._unclosed:
            for key, value in figures.items():
                logged = f"{OF_SAMPLES}{key}"
                name, definition = SCORING.get(key, (f"{OTHER}/{logged}", ""))
                self._log.found += 1
                yield Scalar(step, name, value, logged, definition, self._log.place(line.number))
        if "gap" in figures:
            self._close()
        elif _GAP.match(line.content) or _SCORE.search(line.content):  # of a sample that is none of these
            self._whole = False

    def _figures(self, content: bytes) -> dict[str, float]:
        """The batch's figures on a line, by the keys of `SCORING`."""
        if above := _ABOVE.search(content):
            return {"above": float(above[1]) / 100}
        if _RANGE in content and (bounds := _BOUNDS.search(content)):
            self._ends += [float(bounds[1]), float(bounds[2])]
            return {"score_min": min(self._ends), "score_max": max(self._ends)} if len(self._ends) == 4 else {}
        if _SAME in content and (ratio := _RATIO.search(content)):
            return {"identical_answers": float(ratio[1])}
        if _MEAN in content and (number := _LAST_NUMBER.search(content)):
            which = "gap" if _GAP_OF_MEANS in content else _side_of(content)
            return {which: float(number[1])} if which else {}
        return {}


def _blank(line: bytes) -> bool:
    """Whether a line is empty or a rule, which no text begins or ends with."""
    return not line.strip() or bool(_RULE.match(line))


def _ids(given: bytes) -> tuple[int, ...] | None:
    """A list of tokens; None where it is cut or no list of ids."""
    try:
        ids = json.loads(given)
        total = sum(ids)
    except (ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(ids, list) and type(total) is int and total < MOST_STEP and b"-" not in given
    return tuple(ids) if whole else None


def _side_of(content: bytes) -> str:
    return next((key for key, words in _SIDES if any(word in content for word in words)), "")
