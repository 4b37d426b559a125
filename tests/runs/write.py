"""Logs in every format that runs leave behind, as the frameworks' own code writes them."""

import csv
import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Figures = Mapping[str, float]

VERL = {
    "critic/score/mean": 0.5,
    "critic/score/max": 2.0,
    "critic/score/min": -1.0,
    "critic/rewards/mean": 0.4,
    "critic/values/mean": 0.3,
    "critic/returns/mean": 0.6,
    "critic/vf_loss": 0.7,
    "critic/vf_explained_var": 0.1,
    "critic/grad_norm": 1.5,
    "critic/lr": 1e-5,
    "actor/grad_norm": 0.25,
    "actor/lr": 1e-6,
    "response_length/mean": 120.0,
    "response_length/clip_ratio": 0.125,
}
"""What a step of verl's PPO logs, some of it."""

GAD = {
    "critic/d_acc": 0.75,
    "critic/d_loss": 0.5,
    "critic/score_diff": 1.5,
    "critic/teacher_score_mean": 2.0,
    "critic/student_score_mean": 0.5,
    "critic/temperature": 5.0,
    "critic/grad_norm": 1.25,
}
"""What a step of a discriminator in a fork of verl logs."""


class Block(NamedTuple):
    """A block of a scoring-detail log: each sample is prompt, student, teacher."""

    step: int
    samples: Sequence[tuple[str, "Scored", "Scored"]]


class Scored(NamedTuple):
    text: str
    score: float
    ids: Sequence[int] | None = None

    @property
    def length(self) -> int:
        return len(self.ids) if self.ids is not None else len(self.text)


def scoring(blocks: Iterable[Block], *, emoji: bool = True, tokens: bool = True) -> str:
    """A scoring-detail log in one of its dialects."""
    marks = ("📊 ", "📝 样本", "❓ 问题: ", "🎓 Student:", "👨‍🏫 Teacher:", "📈 ")
    title, sample, prompt, student, teacher, mean = (
        marks if emoji else ("[CRITIC] ", "[SAMPLE]", "[PROMPT]: ", "[STUDENT]", "[TEACHER]", "[STATS] ")
    )
    lines: list[str] = []
    for block in blocks:
        lines += ["=" * 100, f"{title}Critic 打分详情 - Step {block.step}", "=" * 100]
        for number, (asked, *sides) in enumerate(block.samples, start=1):
            lines += ["", f"{sample} #{number}", f"{prompt}{asked}", ""]
            for name, side in zip((student, teacher), sides, strict=True):
                lines += [name, f"  Score: {side.score:7.4f} | Length: {side.length:3d}", f"  Text: {side.text}"]
                lines += [f"  Tokens: {list(side.ids)}"] if tokens and side.ids is not None else []
            lines += ["", f"Teacher - Student = {sides[1].score - sides[0].score:.4f}", "-" * 100]
        scores = [[sides[i].score for _, *sides in block.samples] for i in (0, 1)]
        means = [sum(side) / len(side) for side in scores]
        above = sum(t > s for s, t in zip(*scores, strict=True)) / len(scores[0])
        lines += [
            f"{mean}Student 平均分: {means[0]:.4f}",
            f"{mean}Teacher 平均分: {means[1]:.4f}",
            f"{mean}平均分差: {means[1] - means[0]:.4f}",
            f"{mean}Teacher > Student: {above:.1%}",
            *(
                f"{mean}{n} 分数范围: [{min(s):.4f}, {max(s):.4f}]"
                for n, s in zip(("Student", "Teacher"), scores, strict=True)
            ),
            f"{mean}相同答案数量: 0/{len(scores[0])}, 平均分差: 0.0000",
            "=" * 100,
            "",
        ]
    return "\n".join(lines)


def console(step: int, figures: Mapping[str, Any], *, process: str = "") -> str:
    """A line of verl's console logger, with Ray's prefix where a process is named."""
    line = " - ".join([f"step:{step}", *(f"{name}:{value!r}" for name, value in figures.items())])
    return f"\x1b[36m({process})\x1b[0m {line}" if process else line


def file_logger(steps: Mapping[int, Figures]) -> str:
    """verl's `file` logger: orjson writes null for NaN and infinities."""
    lines = [
        json.dumps({"step": step, "data": {k: v if math.isfinite(v) else None for k, v in figures.items()}})
        for step, figures in steps.items()
    ]
    return "".join(f"{line}\n" for line in lines)


def rollouts(step: int, rows: Iterable[tuple[str, str, float]]) -> str:
    """verl's dump of a step below `rollout_data_dir`."""
    entries = [{"input": i, "output": o, "gts": None, "score": s, "step": step} for i, o, s in rows]
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def metrics(steps: Mapping[int, Figures]) -> str:
    """`metrics.jsonl` of a warm-up."""
    return "".join(json.dumps({"step": step, **figures}) + "\n" for step, figures in steps.items())


def trainer_state(history: Iterable[Mapping[str, Any]]) -> str:
    """transformers' `trainer_state.json`."""
    state = {"best_metric": None, "epoch": 1.0, "global_step": 2, "is_world_process_zero": True}
    return json.dumps({**state, "log_history": list(history), "max_steps": 10, "stateful_callbacks": {}}, indent=2)


def events(folder: Path, steps: Mapping[int, Figures]) -> Path:
    """A TensorBoard event file, by torch's own writer."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for step, figures in steps.items():
            for name, value in figures.items():
                writer.add_scalar(name, value, step)
    return next(folder.glob("events.out.tfevents.*"))


def table(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> Path:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def wandb_blocks(records: Iterable[bytes]) -> bytes:
    """Messages in the blocks of a `.wandb` file, as LevelDB's logs have them."""
    made = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        first = True
        while first or record:
            room = 32768 - len(made) % 32768
            if room < 7:
                made += bytes(room)
                continue
            part, record = record[: room - 7], record[room - 7 :]
            kind = (1 if first else 4) if not record else (2 if first else 3)
            made += struct.pack("<LHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            first = False
    return bytes(made)
