"""Scoring-detail logs: blocks of a step with two full samples and the statistics of a micro-batch, in two dialects.

A block opens with a title that holds `Critic 打分详情 - Step N`. Its samples (`样本 #k` or `[SAMPLE] #k`) have a
student's and a teacher's section, each with `Score: | Length:`, `Text:` over any number of lines and in newer logs
`Tokens:`, and close with `Teacher - Student =`. What decorates a line, emoji or brackets, decides nothing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from critic_probe.runs.names import OF_SAMPLES, OTHER, SCORING
from critic_probe.runs.readers.log import LONGEST, MOST_STEP, Log, from_json
from critic_probe.runs.record import Column, Figures, Sample, Side


def _pattern(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


OPENS = "打分详情".encode()

_START = r"^\W{0,40}?"  # what decorates a line: blanks, brackets, and the bytes of emoji
_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf))"
_TITLE = _pattern(r"打分详情\W{0,20}Step\W{0,3}(\d{1,15})")
_OF_BATCH = r"平均分|相同答案"
_OPENS_MARK = _START + rf"(?:样本|\[?SAMPLE|Student|STUDENT|学生|Teacher|TEACHER|教师|Tokens:|={{60}}|{_OF_BATCH})"
_MARK = _pattern(_OPENS_MARK)
_LINE_OF_MARK = _pattern(rf"\n(?={_OPENS_MARK.removeprefix('^')})")
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
_SAMES = "identical_answers"
_COLUMNS = {
    key: (Column(name, f"{OF_SAMPLES}{key}", definition),)
    for key, (name, definition) in (SCORING | {_SAMES: (f"{OTHER}/{OF_SAMPLES}{_SAMES}", "")}).items()
}
_ROUNDING = 4e-3  # of a difference that bf16 rounded, and of four decimals

_GIVEN_UP = 20  # whole blocks after which one that never closed is taken for dead
_MIXED = "not complete before another begins, as where several processes write one file or a run restarts"


@dataclass
class _Part:
    """A side while its lines come in."""

    score: float
    length: int
    text: list[bytes] = field(default_factory=list)  # some lines each
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


def pieces(block: bytes) -> list[bytes]:
    """Lines cut into runs of which but the first one may be anything but a model's text."""
    text = b"\n" + block
    starts = {match.end() for match in _LINE_OF_MARK.finditer(text)}
    at = text.find(OPENS)
    while at >= 0:
        starts.add(text.rfind(b"\n", 0, at) + 1)
        at = text.find(OPENS, at + 1)
    return [text[start : stop - 1] for start, stop in pairwise([*sorted(starts | {1}), len(text) + 1])]


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

    def adds(self, content: bytes) -> bool:
        """Adds lines of a piece that can be nothing but a model's text; False for any other."""
        draft = self._draft
        if draft is None or draft.text is None or draft.header or OPENS in content or _MARK.match(content):
            return False
        draft.add(content)
        return True

    def take(self, number: int, content: bytes, ended: bool) -> Iterable[Figures | Sample]:
        """What a line completes that `adds` does not; see `Log.lines`."""
        draft = self._draft
        if not content.strip(b"=-") and (draft is None or (draft.text is None and not draft.header)):
            return ()
        if OPENS in content and (title := _TITLE.search(content)):
            self._begin(int(title[1]))
        elif self._step is None:
            return ()
        elif b"#" in content and (sample := _SAMPLE.match(content)):
            self._drop(_MIXED)
            self._whole &= self._open and int(sample[1]) == len(self._held) + 1
            self._draft = _Draft(self._log.place(number))
        elif draft is None or (_MEAN in content and _ENDS.match(content)):
            self._drop(_MIXED)
            return self._statistics(content, ended, self._step)
        else:
            self._within(draft, content, self._step)
        return ()

    def end(self) -> list[Sample]:
        """What is whole at the file's end."""
        if self._draft is not None:
            self._log.left_out("sample", "cut by the end of the file")
        return self._release()

    def _begin(self, step: int) -> None:
        self._drop(_MIXED)
        self._unclosed += self._open
        self._whole = False
        self._release()  # of a block that has not closed
        self._step, self._open, self._whole, self._ends = step, True, True, []
        self._log.format = self._log.format or "scoring details"

    def _drop(self, why: str) -> None:
        """Leaves out the sample that is open, if one is, and its block with it."""
        if self._draft is not None:
            self._log.left_out("sample", why)
            self._whole = False
        self._draft = None

    def _release(self) -> list[Sample]:
        """The samples of the block, if it is whole and no other is open."""
        held, self._held = self._held, []
        if self._whole and not self._unclosed:
            self._log.found += len(held)
            return held
        for _ in held:
            self._log.left_out("sample", _MIXED)
        return []

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
        own = content.lstrip().startswith((b"Text:", b"Tokens:"))  # and no other mark stands before that
        if draft.side and b"=" in content and (gap := _GAP.match(content)):
            if why := draft.fault(float(gap[1])):
                self._drop(why)
            else:
                self._held.append(self._sample(draft, step))
                self._draft = None
        elif not own and _STRAY.match(content):
            draft.broken = _MIXED
        elif not own and (side := _SIDE.match(content)):
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
            draft.text = draft.sides[draft.side].text
            draft.text.append(content[text.end() :])
        else:
            if score:
                draft.broken = _MIXED
            draft.add(content)

    def _sample(self, draft: _Draft, step: int) -> Sample:
        student, teacher = (draft.sides[name] for name in ("student", "teacher"))
        prompt, *answers = (b"\n".join(part).split(b"\n") for part in (draft.prompt, student.text, teacher.text))
        while prompt and _blank(prompt[0]):
            prompt.pop(0)
        for lines in (prompt, *answers):
            while lines and _blank(lines[-1]):
                lines.pop()
            self._whole &= not any(line.startswith(b"=") and _WIDE.match(line) for line in lines)
        return Sample(
            step,
            self._text(prompt, _PROMPT) or None,
            None,
            Side(self._text(answers[0]), student.ids, student.score, student.length),
            Side(self._text(answers[1]), teacher.ids, teacher.score, teacher.length),
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

    def _statistics(self, content: bytes, ended: bool, step: int) -> list[Figures | Sample]:
        """A line between samples: what closes a block."""
        completed: list[Figures | Sample] = []
        figures = self._figures(content) if ended else {}
        if figures:
            completed += self._release()
        if self._whole and not self._unclosed:
            completed += [Figures(_COLUMNS[key], (step,), (value,)) for key, value in figures.items()]
            self._log.found += len(figures)
        if "gap" in figures:
            self._close()
        elif _GAP.match(content) or _SCORE.search(content):  # of a sample that is none of these
            self._whole = False
        return completed

    def _figures(self, content: bytes) -> dict[str, float]:
        """The batch's figures on a line, by the keys of `SCORING`."""
        if above := _ABOVE.search(content):
            return {"above": float(above[1]) / 100}
        if _RANGE in content and (bounds := _BOUNDS.search(content)):
            self._ends += [float(bounds[1]), float(bounds[2])]
            return {"score_min": min(self._ends), "score_max": max(self._ends)} if len(self._ends) == 4 else {}
        if _SAME in content and (ratio := _RATIO.search(content)):
            return {_SAMES: float(ratio[1])}
        if _MEAN in content and (number := _LAST_NUMBER.search(content.rpartition(b":")[2])):
            which = "gap" if _GAP_OF_MEANS in content else _side_of(content)
            return {which: float(number[1])} if which else {}
        return {}


def _blank(line: bytes) -> bool:
    """Whether a line is empty or a rule, which no text begins or ends with."""
    return not line.strip() or bool(_RULE.match(line))


def _ids(given: bytes) -> tuple[int, ...] | None:
    """A list of tokens; None where it is cut or no list of ids."""
    try:
        ids = from_json(given)
        total = sum(ids)
    except (ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(ids, list) and type(total) is int and total < MOST_STEP and b"-" not in given
    return tuple(ids) if whole else None


def _side_of(content: bytes) -> str:
    return next((key for key, words in _SIDES if any(word in content for word in words)), "")
