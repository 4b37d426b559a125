"""Logs of a scorer with planted faults: what a run or an offline evaluation writes whose scorer is not the checkpoint.

`python -m critic_probe.studies.logged pairs.jsonl -c DIR -o scoring.log --fault tail-sliced` writes a scoring-detail
log that `critic-probe replay` reads. Scores are computed with transformers' own classes and none of critic-probe's.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification, AutoTokenizer
from transformers.utils import logging

from critic_probe.bundled import find_critics
from critic_probe.pairs import PairFile, TokenIds

THINK = "<think>\n\n</think>\n\n"
DEFAULTS = {
    "template-missing": "",
    "prompt-repr": "",
    "template-twice": "",
    "generation-prompt-missing": "",
    "think-added": "",
    "bos-doubled": "",
    "bos-missing": "",
    "prompt-cut-start": "16",
    "prompt-cut-end": "16",
    "retokenised": "",
    "eos-in": "both",
    "tail-read": "",
    "tail-sliced": "",
    "response-cut-end": "12",
    "response-cut-start": "12",
    "cut-end": "64",
    "cut-start": "32",
    "padding-attended": "longest",
    "token-before": "",
    "window-shifted": "-2",
    "prompt-read": "all",
    "read-out": "sum",
    "other-head": "7",
    "random-head": "7",
    "divided-by-length": "",
    "divided-twice": "",
    "z-scored": "",
    "sigmoid": "",
    "scaled": "0.2",
    "dropout": "0.1",
    "bfloat16": "",
}
"""Every fault that can be planted, with what it is done by where nothing is said (for bfloat16: which attention)."""

Faults = Mapping[str, str]


class Row(NamedTuple):
    """A sample of a log before it is scored.

    Attributes:
        prompt: The user's text.
        student: Ids, with EOS, as a student that was sampled ends.
        teacher: Ids, without EOS.
    """

    prompt: str
    student: list[int]
    teacher: list[int]


class Scorer:
    """A checkpoint as a training script holds it.

    Args:
        path: Its directory, of a token classifier.
        read_out: last or mean, over the response without its EOS.
    """

    def __init__(self, path: Path, read_out: str) -> None:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.read_out = read_out
        self._models: dict[str, Any] = {}
        self._path = path
        self._states: dict[tuple[tuple[int, ...], str], Tensor] = {}

    def row(self, prompt: str, student: str | TokenIds, teacher: str | TokenIds) -> Row:
        """A sample with its ids: a file's own, or those of its texts."""
        ids = [list(side.ids) if isinstance(side, TokenIds) else self.ids(str(side)) for side in (student, teacher)]
        eos = self.tokenizer.eos_token_id
        student_ids, teacher_ids = ([i for i in side if i != eos] for side in ids)
        return Row(prompt, [*student_ids, eos], teacher_ids)

    def ids(self, text: str) -> list[int]:
        """The ids of a text, with nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def scores(self, rows: Sequence[Row], faults: Faults) -> list[tuple[float, float]]:
        """The student's and the teacher's score of each sample, with faults."""
        prompts = [self._prompt(row.prompt, faults) for row in rows]
        if "padding-attended" in faults:
            longest = max(map(len, prompts))
            length = longest if faults["padding-attended"] == "longest" else int(faults["padding-attended"])
            prompts = [[self.tokenizer.pad_token_id] * (length - len(prompt)) + prompt for prompt in prompts]
        fed = [
            (p, side, name)
            for p, row in zip(prompts, rows, strict=True)
            for name, side in row._asdict().items()
            if name != "prompt"
        ]
        scores = torch.tensor([self._score(prompt, ids, side, faults) for prompt, ids, side in fed])
        if "z-scored" in faults:
            scores = (scores - scores.mean()) / scores.std()
        if "sigmoid" in faults:
            scores = scores.sigmoid()
        if "scaled" in faults:
            scores = scores * float(faults["scaled"])
        if "bfloat16" in faults:
            scores = scores.bfloat16().float()
        pairs = scores.view(-1, 2).tolist()
        return [(student, teacher) for student, teacher in pairs]

    def _prompt(self, text: str, faults: Faults) -> list[int]:
        messages = [{"role": "user", "content": text}]

        def rendered(said: list[dict[str, str]], opened: bool = True) -> str:
            return str(self.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=opened))

        if "template-missing" in faults:
            ids: list[int] = list(self.tokenizer(text)["input_ids"])
        elif "prompt-repr" in faults:
            ids = self.ids(rendered([{"role": "user", "content": str(messages)}]))
        elif "template-twice" in faults:
            ids = self.ids(rendered([{"role": "user", "content": rendered(messages)}]))
        else:
            ids = self.ids(rendered(messages, "generation-prompt-missing" not in faults))
        if "think-added" in faults:
            ids += self.ids(THINK)
        if "bos-doubled" in faults:
            ids = [self.tokenizer.bos_token_id, *ids]
        if "bos-missing" in faults:
            ids = ids[1:]
        if "prompt-cut-start" in faults:
            ids = ids[-int(faults["prompt-cut-start"]) :]
        if "prompt-cut-end" in faults:
            ids = ids[: int(faults["prompt-cut-end"])]
        return ids

    def _score(self, prompt: list[int], response: list[int], side: str, faults: Faults) -> float:
        eos = self.tokenizer.eos_token_id
        body = [i for i in response if i != eos]
        if "retokenised" in faults:
            body = self.ids(str(self.tokenizer.decode(body)))
        closed = response[-1] == eos
        read_eos = "eos-in" in faults and faults["eos-in"] in ("both", side)
        ids = body + [eos] * (closed or read_eos)
        left_out = 0 if read_eos else len(ids) - len(body)  # tokens at the end that are not read
        behind: list[int] = []
        if "tail-read" in faults or "tail-sliced" in faults:
            tail = self._tail()
            tail = tail[1:] if ids[-1:] == tail[:1] else tail
            if "tail-read" in faults:
                ids, left_out = ids + tail, 0
            else:
                behind = tail
        if "response-cut-end" in faults:
            most = int(faults["response-cut-end"])
            left_out, behind = max(0, left_out - max(0, len(ids) - most)), [] if len(ids) > most else behind
            ids = ids[:most]
        if "response-cut-start" in faults:
            ids = ids[-int(faults["response-cut-start"]) :]
        if "cut-end" in faults:
            most = int(faults["cut-end"])
            if most <= len(prompt):  # nothing of the response is left: the last token is read
                prompt, ids = prompt[: most - 1], prompt[most - 1 : most]
                left_out, behind = 0, []
            room = most - len(prompt)
            left_out, behind = max(0, left_out - max(0, len(ids) - room)), behind[: max(0, room - len(ids))]
            ids = ids[:room]
        if "cut-start" in faults:
            room = int(faults["cut-start"]) - len(ids) - len(behind)
            prompt = prompt[-room:] if room > 0 else []
            ids = ids[-(int(faults["cut-start"]) - len(behind)) :]
        whole = self._values(prompt + ids + behind, faults)
        start = len(prompt) + len(behind) * ("tail-sliced" in faults)
        start += int(faults.get("window-shifted", 0)) - ("token-before" in faults)
        more = len(prompt) if "prompt-read" in faults else 0
        first = max(0, start - more)
        values = whole[first : start + len(ids)]
        values = values[: max(1, len(values) - left_out)]
        score = float(_read(values, faults.get("read-out", self.read_out)))
        length = len(ids) - left_out
        score /= length if "divided-by-length" in faults else 1
        return score / length**2 if "divided-twice" in faults else score

    def _tail(self) -> list[int]:
        marked = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "MARK"}]
        return self.ids(str(self.tokenizer.apply_chat_template(marked, tokenize=False)).rpartition("MARK")[2])

    def _loaded(self, dtype: str, attention: str = "") -> Any:
        kernels = {"attn_implementation": attention} if attention else {}
        return AutoModelForTokenClassification.from_pretrained(self._path, dtype=dtype, **kernels).eval()

    @torch.inference_mode()
    def _values(self, ids: list[int], faults: Faults) -> Tensor:
        """The value (T,) of every token."""
        kind = f"bfloat16 {faults['bfloat16']}" if "bfloat16" in faults else "float32"
        if kind not in self._models:
            self._models[kind] = self._loaded(*kind.split(" "))
        model = self._models[kind]
        key = (tuple(ids), kind)
        if key not in self._states:
            self._states[key] = model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
        states, weight, bias = self._states[key], model.score.weight, model.score.bias
        draw = torch.Generator().manual_seed(int(faults.get("random-head", faults.get("other-head", 0))))
        if "random-head" in faults:
            weight, bias = torch.randn(weight.shape, generator=draw) * 0.02, torch.zeros(1)
        if "other-head" in faults:
            weight = weight + torch.randn(weight.shape, generator=draw) * weight.std()
        if "dropout" in faults:  # one mask a call, as train() draws it
            states = torch.nn.functional.dropout(states, float(faults["dropout"]))
        return torch.nn.functional.linear(states, weight.to(states), bias.to(states))[:, 0].float()


def _read(values: Tensor, read_out: str) -> Tensor:
    name, _, parameter = read_out.partition(":")
    match name:
        case "last":
            return values[-1]
        case "mean":
            return values.mean()
        case "sum":
            return values.sum()
        case "min":
            return values.min()
        case "max":
            return values.max()
        case "median":
            return values.quantile(0.5)
        case "tail":
            return values[-int(parameter) :].mean()
        case "mix":
            return (1 - float(parameter)) * values.mean() + float(parameter) * values[-1]
    raise ValueError(read_out)


def scoring_log(scorer: Scorer, rows: Sequence[Row], scores: Sequence[tuple[float, float]], step: int) -> str:
    """A scoring-detail log of one step, with blocks of two samples."""
    lines = []
    for start in range(0, len(rows), 2):
        block = list(zip(rows[start : start + 2], scores[start : start + 2], strict=True))
        lines += ["=" * 100, f"Critic 打分详情 - Step {step}", "=" * 100]
        for number, (row, (student, teacher)) in enumerate(block, start=1):
            prompt = str(
                scorer.tokenizer.apply_chat_template(
                    [{"role": "user", "content": row.prompt}], tokenize=False, add_generation_prompt=True
                )
            )
            plain = str(scorer.tokenizer.decode(scorer.ids(prompt), skip_special_tokens=True))
            lines += ["", f"[SAMPLE] #{number}", f"[PROMPT]: {plain}"]
            for name, ids, score in (("Student", row.student, student), ("Teacher", row.teacher, teacher)):
                text = scorer.tokenizer.decode(ids, skip_special_tokens=True)
                lines += [
                    f"[{name}]",
                    f"Score: {score:7.4f} | Length: {len(ids):3d}",
                    f"Text: {text}",
                    f"Tokens: {ids}",
                ]
            lines += [f"Teacher - Student = {teacher - student:.4f}"]
        students, teachers = ([pair[i] for _, pair in block] for i in (0, 1))
        means = [sum(side) / len(side) for side in (students, teachers)]
        above = 100 * sum(t > s for s, t in zip(students, teachers, strict=True)) / len(block)
        lines += [
            "",
            f"Student 平均分: {means[0]:.4f}",
            f"Teacher 平均分: {means[1]:.4f}",
            f"平均分差: {means[1] - means[0]:.4f}",
        ]
        lines += [f"Teacher > Student: {above:.1f}%"]
        lines += [
            f"{name} 分数范围: [{min(side):.4f}, {max(side):.4f}]"
            for name, side in (("Student", students), ("Teacher", teachers))
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m critic_probe.studies.logged", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("pairs", help="a file of pairs")
    parser.add_argument("-c", "--checkpoint", required=True, help="a token classifier's directory, or a bundled critic")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the log to write")
    parser.add_argument("-a", "--aggregation", choices=("last", "mean"), default="mean", help="how scores are read")
    parser.add_argument(
        "--fault", action="append", default=[], help=f"NAME or NAME=VALUE; one of {', '.join(DEFAULTS)}"
    )
    parser.add_argument("--step", type=int, default=1, help="under which the scores are logged")
    parser.add_argument("--count", type=int, default=32, help="pairs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    faults: dict[str, str] = {}
    for text in given.fault:
        name, _, value = text.partition("=")
        if name not in DEFAULTS:
            parser.error(f"'{name}' is no fault; choose from {', '.join(DEFAULTS)}")
        faults[name] = value or DEFAULTS[name]
    [path] = find_critics([given.checkpoint]).paths.values()
    if not path.is_dir():
        parser.error(f"{path}: no such checkpoint directory")
    scorer = Scorer(path, given.aggregation)
    pairs: list[Any] = list(PairFile(given.pairs))[: given.count]
    rows = [scorer.row(pair.prompt, pair.student, pair.teacher) for pair in pairs]
    scores = scorer.scores(rows, faults)
    given.output.write_text(scoring_log(scorer, rows, scores, given.step), encoding="utf-8")
    above = sum(teacher > student for student, teacher in scores) / len(scores)
    print(f"{given.output}: {len(rows)} pairs, teacher above student in {above:.1%}")


if __name__ == "__main__":
    main()
