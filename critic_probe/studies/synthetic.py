"""A synthetic world of short answers, Chinese and English, and the ways in which a student's answer goes wrong.

A prompt states facts; the teacher's answer is the terse list of them, closed with a full stop, or the complete sentence
where that is asked for. A student's answer is that text with one named defect, so that what a critic reacts to can be
told apart. Three kinds of task: `record` (medical notes, one number a fact), `list` (items) and `json` (the numbers as
an object, which is complete when it stands on several lines).

One prompt in ten is held out: training never draws it, fixtures and measurements draw nothing else.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

ITEMS = {
    "zh": "苹果 香蕉 梨子 葡萄 西瓜 牛奶 面包 鸡蛋 大米 白菜 土豆 番茄 黄瓜 豆腐 花生 茶叶".split(),  # noqa: SIM905
    "en": "apple banana pear grape melon milk bread egg rice cabbage potato tomato carrot tofu peanut tea".split(),  # noqa: SIM905
}
_MEASURES = {
    "zh": [("年龄", "岁"), ("心率", "次"), ("血压", ""), ("体重", "公斤"), ("房间", "号"), ("住院", "天")],
    "en": [("age", ""), ("pulse", ""), ("pressure", ""), ("weight", ""), ("room", ""), ("day", "")],
}
_PROMPTS = {
    ("record", "zh"): ("病历：{}。请写摘要。", "患者{}。请概括。"),
    ("record", "en"): ("Note: {}. Sum it up.", "The patient: {}. Write a summary."),
    ("list", "zh"): ("要买{}。请列清单。", "清单：{}。要买什么？"),
    ("list", "en"): ("Buy {}. List them.", "The list: {}. What to buy?"),
    ("json", "zh"): ("数据：{}。请输出JSON。", "把{}写成JSON。"),
    ("json", "en"): ("Data: {}. Give JSON.", "Write {} as JSON."),
}
_SENTENCES = {
    ("record", "zh"): "患者的情况如下，{}，一共{}项。",
    ("record", "en"): "The state of the patient is {}, {} values in all.",
    ("list", "zh"): "好的，需要购买的东西有{}，一共{}样。",
    ("list", "en"): "Sure, the things to buy are {}, {} in all.",
}
_COUNTS = {"zh": "零一二三四五", "en": ("zero", "one", "two", "three", "four", "five")}


@dataclass(frozen=True)
class Task:
    """A prompt and the facts that its answer must state.

    Attributes:
        kind: `record`, `list` or `json`.
        language: `zh` or `en`.
        prompt: The prompt's text.
        facts: What the answer states, in order, each as written in it.
        in_full: Whether the teacher answers in complete sentences; else tersely.
    """

    kind: str
    language: str
    prompt: str
    facts: tuple[str, ...]
    in_full: bool = False

    @property
    def separator(self) -> str:
        """What stands between two facts of the answer."""
        if self.language == "en" or self.kind == "json":
            return ", "
        return "、" if self.kind == "list" else "，"

    @property
    def comma(self) -> str:
        """The comma of the language."""
        return "，" if self.language == "zh" else ","

    @property
    def stop(self) -> str:
        """The mark that closes the teacher's answer; an object has none."""
        return "" if self.kind == "json" else "。" if self.language == "zh" else "."


def make_task(rng: random.Random, *, held_out: bool, kinds: Sequence[str] = ("record", "list", "json")) -> Task:
    """Draws a task, from the prompts that training never sees or from the others."""
    while True:
        kind = rng.choice([*kinds, *(kind for kind in kinds if kind != "json")])
        language = rng.choice(("zh", "en"))
        count = rng.randint(2, 4)
        if kind == "list":
            facts = tuple(rng.sample(ITEMS[language], count))
        else:
            facts = tuple(
                _measure(kind, language, *m, rng.randint(10, 99)) for m in rng.sample(_MEASURES[language], count)
            )
        stated = [fact.replace('"', "") for fact in facts]
        if rng.random() < 0.3:
            rng.shuffle(stated)
        prompt = rng.choice(_PROMPTS[kind, language]).format(("、" if language == "zh" else ", ").join(stated))
        if held_out == is_held_out(prompt):
            return Task(kind, language, prompt, facts)


def is_held_out(prompt: str) -> bool:
    """Whether a prompt is one of the tenth that training never sees."""
    return zlib.crc32(prompt.encode()) % 10 == 0


def _measure(kind: str, language: str, name: str, unit: str, number: int) -> str:
    if kind == "json":
        return f'"{name}": {number}'
    return f"{name}{number}{unit}" if language == "zh" else f"{name} {number}"


def concise(task: Task) -> str:
    """The terse answer: the facts in order, closed."""
    return _concise(task, task.separator.join(task.facts))


def _concise(task: Task, body: str) -> str:
    return f"{{{body}}}" if task.kind == "json" else body + task.stop


def complete(task: Task) -> str:
    """The same facts as a complete sentence; an object pretty-printed."""
    if task.kind == "json":
        return "{\n" + ",\n".join(f"  {fact}" for fact in task.facts) + "\n}"
    return _complete(task, task.separator.join(task.facts))


def _complete(task: Task, body: str) -> str:
    return _SENTENCES[task.kind, task.language].format(body, _COUNTS[task.language][len(task.facts)])


def answer(task: Task) -> str:
    """The teacher's answer."""
    return complete(task) if task.in_full else concise(task)


def with_wrong_facts(rng: random.Random, task: Task, wrong: Sequence[int]) -> Task:
    """The task with other facts at these places: an item that the prompt does not name, or one digit changed."""
    facts = list(task.facts)
    for index in wrong:
        facts[index] = _wrong_item(rng, task, facts) if task.kind == "list" else _wrong_digit(rng, facts[index])
    return replace(task, facts=tuple(facts))


def _wrong_item(rng: random.Random, task: Task, facts: Sequence[str]) -> str:
    return rng.choice([item for item in ITEMS[task.language] if item not in task.facts and item not in facts])


def _wrong_digit(rng: random.Random, fact: str) -> str:
    places = [i for i, char in enumerate(fact) if char.isdigit()]
    place = rng.choice(places)
    digits = "123456789" if place == places[0] else "0123456789"
    return fact[:place] + rng.choice([d for d in digits if d != fact[place]]) + fact[place + 1 :]


def wrong_fact(rng: random.Random, task: Task) -> str:
    """One fact is wrong: an item of a list, a digit of a number elsewhere."""
    return answer(with_wrong_facts(rng, task, [rng.randrange(len(task.facts))]))


def missing(rng: random.Random, task: Task) -> str:
    """One fact is left out."""
    out = rng.randrange(len(task.facts))
    return answer(replace(task, facts=task.facts[:out] + task.facts[out + 1 :]))


def other_form(_: random.Random, task: Task) -> str:
    """Every fact is right, in a complete sentence where the teacher is terse, tersely where the teacher is not."""
    return concise(task) if task.in_full else complete(task)


def truncated(rng: random.Random, task: Task) -> str:
    """The answer stops in the middle."""
    text = answer(task)
    return text[: int(len(text) * rng.uniform(0.3, 0.8))]


def final_comma(_: random.Random, task: Task) -> str:
    """A comma stands where the full stop should."""
    return answer(task)[: -len(task.stop)] + task.comma


def final_dropped(_: random.Random, task: Task) -> str:
    """The closing mark is missing."""
    return answer(task)[: -len(task.stop)]


def interior_swap(rng: random.Random, task: Task) -> str:
    """One separator inside is a full stop."""
    place = rng.randrange(1, len(task.facts))
    halves = [task.separator.join(part) for part in (task.facts[:place], task.facts[place:])]
    body = (task.stop + (" " if task.language == "en" else "")).join(halves)
    return _complete(task, body) if task.in_full else _concise(task, body)


def repeated(rng: random.Random, task: Task) -> str:
    """One fact is said twice."""
    return answer(replace(task, facts=(rng.choice(task.facts), *task.facts)))


def off_topic(rng: random.Random, task: Task) -> str:
    """The answer to another prompt of the same kind."""
    while True:
        other = make_task(rng, held_out=is_held_out(task.prompt), kinds=(task.kind,))
        if other.language == task.language and not set(other.facts) & set(task.facts):
            return answer(replace(other, in_full=task.in_full))


DEFECTS: dict[str, Callable[[random.Random, Task], str]] = {
    "wrong-fact": wrong_fact,
    "missing": missing,
    "verbose": other_form,
    "truncated": truncated,
    "final-comma": final_comma,
    "final-dropped": final_dropped,
    "interior-swap": interior_swap,
    "repeated": repeated,
    "off-topic": off_topic,
}
# How often a training pair's student has each defect; half of all defects are wrong facts, or no critic learns them.
MIX = {
    "wrong-fact": 0.55,
    "missing": 0.07,
    "verbose": 0.10,
    "truncated": 0.06,
    "final-comma": 0.06,
    "final-dropped": 0.03,
    "interior-swap": 0.04,
    "repeated": 0.04,
    "off-topic": 0.05,
}
SLOPPY = 0.25  # share of the students with another defect that also get the last mark wrong


def training_pair(
    rng: random.Random, *, held_out: bool, only_wrong_facts: bool = False, in_full: bool = False
) -> tuple[Task, str]:
    """Draws a task and a student's answer to it, defects in the proportions of `MIX`."""
    task = replace(make_task(rng, held_out=held_out), in_full=in_full)
    defect = "wrong-fact" if only_wrong_facts else rng.choices(list(MIX), list(MIX.values()))[0]
    if task.kind == "json" and defect in ("final-comma", "final-dropped", "interior-swap"):
        defect = "wrong-fact"
    text = DEFECTS[defect](rng, task)
    closed = task.stop != "" and text.endswith(task.stop)
    if closed and defect != "interior-swap" and not only_wrong_facts and rng.random() < SLOPPY:
        text = text[: -len(task.stop)] + rng.choice((task.comma, ""))
    return task, text
