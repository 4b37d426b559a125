"""One checkpoint of a run, measured: all that is asked of it in one loop, and kept for the next time."""

import hashlib
import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
import torch
import transformers

from critic_probe.bundled import Critics
from critic_probe.checkpoint.critic import resolve_device
from critic_probe.checkpoint.layout import Layout, fingerprint
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.gates.baseline import record
from critic_probe.gates.changes import changes
from critic_probe.gates.figures import TRACK, figures
from critic_probe.gates.gate import Gate, Plan
from critic_probe.gates.measure import judge, measure
from critic_probe.measures.compare import Compare
from critic_probe.measures.variants import SIDES
from critic_probe.pairs import Pairs
from critic_probe.probes import all_families, drawn
from critic_probe.runs.checkpoints import Checkpoint
from critic_probe.runs.figures import FIGURES, check_gates
from critic_probe.scoring.cache import Cache
from critic_probe.text import listed
from critic_probe.version import __version__
from critic_probe.workbench import Progress, Settings, benches, hash_of, prompt_hash, run

# What every step is asked, whatever the gates name; the last one where a response says facts tersely.
_FOLLOWED = (Gate("compare.d_acc"), Gate("perturb.strongest_harmless"))
_COMPLETE = Gate("completeness.right_order", family="to-complete")
_FIGURE = ["metric", "aggregation", "family", "value", "low", "high", "n", "prompts"]
_BESIDE = (".json", ".jinja", ".txt", ".py", ".model", ".toml", ".md")  # files that say how weights are read


@dataclass(frozen=True)
class Asked:
    """What every checkpoint of a run is asked.

    Attributes:
        pairs: Held out from the training.
        train: Pairs that it was trained on; None where they are not given.
        settings: How text becomes a score.
        gates: What figures are held against: those of each step and, as `track.NAME`, those of the run.
        unnamed: The read-outs that a gate bounds which names none.
        most: At most so many edits a response; None for all.
        seed: Draws them.
        loading: What `load_critic` takes beside the path.

    Raises:
        CriticProbeError: A prompt of `pairs` is one of `train` too, or a gate bounds what is no figure of a run.
    """

    pairs: Pairs
    train: Pairs | None
    settings: Settings
    gates: Plan
    unnamed: tuple[str, ...]
    most: int | None
    seed: int
    loading: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_gates(self.of_run, self.train is not None)
        if self.train is None:
            return
        held_out = {prompt_hash(pair): pair.id for pair in self.pairs}
        if both := [held_out[name] for name in {prompt_hash(pair): None for pair in self.train} if name in held_out]:
            raise CriticProbeError(
                f"{len(both)} of {len(held_out)} prompts were trained on too, and are not held out: "
                f"{listed(both)}; take them out of one of the files"
            )

    @property
    def of_run(self) -> Plan:
        """The gates on the run."""
        return self.gates.of(lambda metric: metric.startswith(TRACK))

    @property
    def of_steps(self) -> Plan:
        """The gates on each step."""
        return self.gates.of(lambda metric: not metric.startswith(TRACK))

    @cached_property
    def plan(self) -> Plan:
        """The gates, and with them what every step is asked."""
        edits = drawn(all_families()[_COMPLETE.family], self.pairs, SIDES, self.seed)
        complete = () if next(edits, None) is None else (_COMPLETE,)
        return Plan(self.gates.source, (*self.of_steps.gates, *_FOLLOWED, *complete))

    @cached_property
    def _told(self) -> tuple[Any, ...]:
        """Of `key` what is the same for every checkpoint."""
        families = [(family.name, family.description) for family in all_families().values()]
        files = [
            (hash_of(pairs), hashlib.sha256(repr([pair.meta for pair in pairs]).encode()).hexdigest())
            for pairs in (self.pairs, self.train)
            if pairs is not None
        ]
        return (
            __version__,
            torch.__version__,
            transformers.__version__,
            torch.get_float32_matmul_precision(),
            resolve_device(self.loading.get("device", "auto")),
            sorted((name, str(value)) for name, value in self.loading.items()),
            replace(self.settings, cache=None),
            files,
            self.of_steps.gates,
            self.unnamed,
            (self.most, self.seed, families),
        )

    def key(self, step: int, layout: Layout) -> str:
        """Everything beside its weights that a checkpoint's figures, and what is said of them, depend on."""
        digest = hashlib.sha256(repr((step, self._told)).encode())
        for folder in dict.fromkeys((layout.path, layout.home, layout.base or layout.home)):
            for file in sorted(folder.iterdir()):
                if file.suffix in _BESIDE and file.is_file():
                    digest.update(file.name.encode() + file.read_bytes())
        return f"track/2:{digest.hexdigest()}"


@dataclass(frozen=True)
class Step:
    """A checkpoint's figures, and the scores and edits that they are made of, as plain values.

    Attributes:
        step: Of the training.
        directory: Its checkpoint's, by its name in the run's.
        measured: A baseline without its edits; see `gates.baseline.record`.
        figures: Of `FIGURES`, by metric, aggregation and family: value, low, high, n cases of so many prompts.
        strongest: By read-out the harmless edits that move most.
        train: By read-out what `compare` says of the pairs that were trained on; empty without any.
        gates: What the gates say; see `gates.gate.evaluate`.
        notices: What is to be known of it.
        signature: What determined it.
        input: See `Measured`.
        kept: All of it, packed, edits among them: they are many.
    """

    step: int
    directory: str
    measured: dict[str, Any]
    figures: list[dict[str, Any]]
    strongest: dict[str, list[str]]
    train: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    notices: list[Notice]
    signature: dict[str, Any]
    input: dict[str, Any] | None
    kept: str
    _before: list[Any] = field(default_factory=list, compare=False, repr=False)

    def figures_of(self, aggregation: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Its figures under a read-out, by metric and family."""
        return {(row["metric"], row["family"]): row for row in self.figures if row["aggregation"] == aggregation}

    def since(self, other: "Step", names: Collection[str]) -> dict[str, pd.Series]:
        """What changed from another step to this one, of some figures; see `gates.changes`. The last answer is kept."""
        if not self._before or self._before[0] is not other:
            old, new = (_unpacked(step.kept)["measured"] for step in (other, self))
            self._before[:] = [other, {name: row for name, row in changes(old, new).items() if name in names}]
        changed: dict[str, pd.Series] = self._before[1]
        return changed


def step_of(checkpoint: Checkpoint, layout: Layout, asked: Asked, progress: Progress) -> Step:
    """A checkpoint's figures: from the cache where it has them, else the critic is loaded once and asked everything.

    Args:
        checkpoint: As it was found.
        layout: What it holds, whole.
        asked: What every checkpoint is asked.
        progress: Told of every pair scored.

    Raises:
        CriticProbeError: It cannot be read, or not be asked, or was written to meanwhile.
    """
    if asked.settings.cache is None:
        return _read(checkpoint, _measured(checkpoint, layout, asked, progress))
    key = asked.key(checkpoint.step, layout)
    with closing(Cache(asked.settings.cache, f"track {fingerprint(layout)}")) as cache:
        if (kept := cache.known(key)) is None:
            kept = cache.setting(key, _measured(checkpoint, layout, asked, progress))
    return _read(checkpoint, kept)


def _read(checkpoint: Checkpoint, kept: str) -> Step:
    told = _unpacked(kept)
    del told["measured"]["cases"]
    notices = [Notice(**notice) for notice in told.pop("notices")]
    return Step(checkpoint.step, checkpoint.path.name, notices=notices, kept=kept, **told)


def _packed(told: Mapping[str, Any]) -> str:
    """JSON, in which NaN stays what it is, as a tenth of its text."""
    return b85encode(zlib.compress(json.dumps(told, default=_plain).encode())).decode()


def _unpacked(kept: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(zlib.decompress(b85decode(kept)))
    return told


def _measured(checkpoint: Checkpoint, layout: Layout, asked: Asked, progress: Progress) -> str:
    """The figures, packed."""
    name = f"step {checkpoint.step}"
    critic = next(Critics({name: checkpoint.path}, False, {**asked.loading, "layout": layout}).load())
    with benches([critic], asked.pairs, asked.settings, progress) as made:
        results, signature = measure(asked.plan, made, asked.most, asked.seed)
    signed = {**signature, **results["perturb"].signature}
    judged = judge(asked.of_steps, results, signature, asked.unnamed)
    headline, table = results["perturb"].headline, figures(results)
    followed = table[table.metric.isin([metric for metric, *_ in FIGURES.values()]) & (table.category == "")]
    train: list[dict[str, Any]] = []
    if asked.train is not None:
        compared = Compare()
        with benches([critic], asked.train, asked.settings, progress) as made:
            train = compared.result(run(made, [compared])).summary.to_dict("records")
    if checkpoint.changed:
        raise CriticProbeError(f"{checkpoint.path}: was written to while it was read")
    told: dict[str, Any] = {
        "measured": record(results, table, signed, (asked.most, asked.seed)),
        "figures": followed[_FIGURE].to_dict("records"),
        "strongest": dict(zip(headline.aggregation, headline.strongest, strict=True)),
        "train": train,
        "gates": judged.gates.to_dict("records"),
        "notices": [{"code": n.code, "message": n.message, "ids": list(n.ids)} for n in _noticed(results, judged)],
        "signature": signed,
        "input": judged.input,
    }
    return _packed(told)


def _noticed(results: Mapping[str, Any], judged: Any) -> list[Notice]:
    """What is told of a step, each once."""
    edits = [results[name] for name in ("compare", "perturb", "completeness") if name in results]
    said = [*judged.notices, *(notice for result in edits for notice in result.notices)]
    return list({(n.code, n.message, *n.ids): n for n in said}.values())


def _plain(value: Any) -> Any:
    if value is pd.NA:
        return None
    return value.tolist() if hasattr(value, "tolist") else str(value)
