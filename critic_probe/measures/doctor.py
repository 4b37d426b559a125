"""Whether a critic's values are what its framework computed: every known way to get an absurd score, one line each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from critic_probe.checkpoint import Anatomy, Check, Critic, audit, dissect, load_critic
from critic_probe.checkpoint.audit import weights_check
from critic_probe.checkpoint.likeness import weights_base
from critic_probe.encoding import EncodedPair, missing_input, shown_input
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.measures.checks import value_checks
from critic_probe.measures.config_fit import config_fit
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.wording import counted
from critic_probe.pairs import Pairs
from critic_probe.workbench import Ask, Bench, Progress, Settings, Values, hash_of, signature, silent

CHECKS = (
    "weights",
    "weight-files",
    "weights-finite",
    "config-base",
    "weights-base",
    "head-present",
    "head-shape",
    "head-config",
    "head-finite",
    "head-untrained",
    "dropout",
    "causal",
    "pad-token",
    "stop-ids",
    "vocabulary",
    "template",
    "template-tail",
    "input",
    "thinking",
    "pairs",
    "prompt-repr",
    "truncation",
    "round-trip",
    "eos-one-side",
    "read-token",
    "values-finite",
    "same-ids",
    "batch-mates",
    "batch-order",
    "right-padding",
    "left-padding",
    "packed",
    "dtype",
    "swapped-sides",
    "noise-floor",
    "ties",
    "collapsed",
    "outliers",
    "identical-text",
    "eos-delta",
    "config-fit",
)
"""Every check, in the order of the report."""

MOST_PAIRS = 200  # whose values are looked at; texts are looked at in all


@dataclass(frozen=True, repr=False)
class DoctorResult(Measured):
    """Whether a critic's values can be trusted.

    Attributes:
        checks: One row per check: check, verdict (ok, warn, fail, not run), evidence, cure.
    """

    command = "doctor"
    tables = ("checks",)
    main = "checks"

    checks: pd.DataFrame

    def answer(self) -> list[Statement]:
        """How many checks say what, and what those say that found something."""
        counts = self.checks.verdict.value_counts().to_dict()
        verbs = {
            "fail": ("found a fault", "found a fault"),
            "warn": ("warns", "warn"),
            "not run": ("was not run", "were not run"),
            "ok": ("found nothing", "found nothing"),
        }
        answers = counted((counts.get(word, 0), *of_word) for word, of_word in verbs.items())
        trusted = "Do not trust these values" if "fail" in counts else "No check found these values wrong"
        return [Statement(f"{trusted}: of {len(self.checks)} checks {answers}.", {w: counts.get(w, 0) for w in verbs})]


def doctor(
    path: Path,
    read: Callable[[], Pairs],
    settings: Settings,
    progress: Progress = silent,
    *,
    name: str | None = None,
    **options: Any,
) -> DoctorResult:
    """Examines one critic on pairs.

    Args:
        path: The checkpoint.
        read: Reads the pairs; an error of it is a finding.
        settings: How text becomes a score; pairs too long are skipped and reported.
        progress: Told of every pair scored.
        name: How the report calls the critic.
        options: `base`, `step`, `device`, `dtype`, `device_map` and `trust_remote_code` of `load_critic`.
    """
    measure = Doctor()
    critic = bench = None
    pairs: Pairs = []
    try:
        wanted = {key: options.get(key) for key in ("base", "step", "head_row") if options.get(key) is not None}
        measure.note(*audit(dissect(path, trust_remote_code=bool(options.get("trust_remote_code")), **wanted)))
        critic = load_critic(path, name=name, **options)
        measure.note(*_loaded(critic))
    except CriticProbeError as error:
        measure.failed(error, "weights")
    try:
        pairs = read()
        measure.note(*_read(pairs))
        if critic is not None:
            bench = Bench(critic, pairs, settings, progress)
            bench.survey.faults.settle("pairs", len(pairs))
            bench.measure([measure])
            bench.close()
    except CriticProbeError as error:
        measure.failed(error, "pairs")
    return measure.report(settings, pairs, bench)


class Doctor:
    """The measurement behind `doctor`, for a loop that it shares with others.

    Attributes:
        results: Each critic with what was found, once its turn is over.
    """

    label = "doctor"
    needs_floors = False

    def __init__(self) -> None:
        self._input: dict[str, Any] | None = None
        self.results: list[tuple[str, DoctorResult]] = []
        self._found: dict[str, Check] = {}

    def note(self, *checks: Check) -> None:
        """Checks that were made; a later one of the same name counts."""
        self._found.update({check.check: check for check in checks})

    def failed(self, error: CriticProbeError, otherwise: str) -> None:
        """The refusal that every other command would end in, under the check that it belongs to."""
        what, _, cure = str(error).rpartition("; ")
        self.note(Check(error.check or otherwise, "fail", what or cure, cure if what else ""))

    def begin(self, bench: Bench) -> None:
        """A critic's turn begins."""
        critic = bench.critic
        self._found = {}
        self.note(*audit(Anatomy(critic.layout, critic.backbone.config, critic.tokenizer, critic.head)))
        self.note(*_loaded(critic), *_read(bench.pairs))
        self._texts = _Texts(critic.tokenizer)
        self._asked = 0
        self._input = None
        self._kept: list[tuple[EncodedPair, list[Tensor]]] = []

    def ask(self, bench: Bench, pair: EncodedPair) -> Ask | None:
        """The values of the first pairs."""
        self._texts.add(pair)
        if not self._asked:
            self.note(*_first_input(bench, pair))
            self._input = shown_input(pair, bench.encoder)
        self._asked += 1
        if self._asked > MOST_PAIRS:
            return None
        return Ask((), lambda values: self._take(pair, values))

    def _take(self, pair: EncodedPair, values: Values) -> None:
        self._kept.append((pair, [values[ids] for ids in pair.group.responses]))

    def end(self, bench: Bench) -> None:
        """Every pair of a critic was seen."""
        self.note(_truncation(bench), *self._texts.checks(), _finite(bench))
        if bench.convention.reads != "read-outs" and self._found["template-tail"].verdict == "warn":
            evidence = f"the template's tail closes an answer, as {bench.convention.name} has it"
            self.note(Check("template-tail", "ok", evidence))
        if self._kept:
            pairs = [pair for pair, _ in self._kept]
            self.note(*value_checks(bench, pairs, [values for _, values in self._kept]))
            self.note(bench.critic.where_loaded(config_fit, pairs))
        self.results.append((bench.name, self.report(bench.settings, bench.pairs, bench)))

    def report(self, settings: Settings, pairs: Pairs, bench: Bench | None) -> DoctorResult:
        """All checks in the order of `CHECKS`; those that nothing was noted of did not run."""
        checks = [self._found.get(name) or Check(name, "not run", "needs a check that failed") for name in CHECKS]
        facts = [] if bench is None else [bench.record()]
        for fact in facts:
            fact.pop("noise_floor", None)  # what was measured here is in the checks
        return DoctorResult(
            checks=pd.DataFrame(checks, columns=Check._fields),
            notices=[] if bench is None else bench.left_out,
            signature=signature(settings, hash_of(pairs), facts),
            input=self._input,
        )


def _loaded(critic: Critic) -> Iterator[Check]:
    yield weights_check(critic.layout, critic.dtype)
    yield weights_base(critic.layout)
    yield Check("weights", "ok", f"{len(critic.layout.tensors)} tensors, all of them the config's")
    yield Check("causal", "ok", "changing the last token moves no earlier value")


def _read(pairs: Pairs) -> Iterator[Check]:
    yield Check("pairs", "ok", f"{len(pairs)} pairs")
    yield Check("prompt-repr", "ok", "prompts are text or messages")


def _finite(bench: Bench) -> Check:
    if bad := list(dict.fromkeys(bench.engine.bad)):
        evidence = f"{len(bad)} pairs have values that are NaN or infinite ({', '.join(bad[:3])})"
        return Check(
            "values-finite", "fail", evidence, f"see which tensor it is without {parameter('on_bad_row', 'skip')}"
        )
    return Check("values-finite", "ok", "every value is a finite number")


def _first_input(bench: Bench, pair: EncodedPair) -> Iterator[Check]:
    """Whether the first pair's texts all reach the critic, and what the template adds or switches."""
    where = f"pair {pair.pair.id}, read as {bench.convention.name} ({bench.read_because})"
    if missing := missing_input(pair, bench.encoder):
        shown = ", ".join(repr(text[:40]) for text in missing[:3])
        yield Check(
            "input",
            "fail",
            f"{where}: {shown} of the row is not in what is fed",
            f"see {parameter('show_input', 'first')}",
        )
    else:
        yield Check("input", "ok", f"{where}: every text of the row is in what is fed, as often as it is said")
    if (both := bench.encoder.thinking(pair.pair)) is None:
        yield Check("thinking", "ok", "the template has no switch for thinking")
        return
    on, off = (repr(text[-60:]) for text in both)
    evidence = f"prompts end in {on} with enable_thinking=true and in {off} with false"
    yield Check(
        "thinking", "warn", evidence, f"give the one of training: {parameter('arguments')} enable_thinking=false"
    )


def _truncation(bench: Bench) -> Check:
    limit, too_long = bench.encoder.context_length, bench.survey.too_long
    if not too_long:
        return Check("truncation", "ok", f"all pairs fit the context of {limit} tokens; nothing is cut")
    return Check(
        "truncation",
        "fail",
        f"{len(too_long)} of {len(bench.pairs)} pairs are longer than the context of {limit} tokens "
        f"({', '.join(too_long[:3])}): a framework would have cut their answers",
        f"shorten them, or leave them out with {parameter('on_too_long', 'skip')}",
    )


class _Texts:
    """What the texts of pairs show, gathered pair by pair."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pairs = 0
        self._changed: list[str] = []
        self._other_ids: list[str] = []
        self._one_side: list[str] = []

    def add(self, pair: EncodedPair) -> None:
        self._pairs += 1
        for side, given in ((pair.student, pair.pair.student), (pair.teacher, pair.pair.teacher)):
            ids = [i for i, out in zip(side.ids, side.left_out, strict=True) if not out]
            text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if isinstance(given, str) and text != given:
                self._changed.append(pair.pair.id)
            elif not isinstance(given, str) and self._tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
                self._other_ids.append(pair.pair.id)
        if pair.student.eos[-1] != pair.teacher.eos[-1]:
            self._one_side.append(pair.pair.id)

    def checks(self) -> Iterator[Check]:
        changed, other_ids, one_side = self._changed, self._other_ids, self._one_side
        if changed:
            yield Check(
                "round-trip",
                "warn",
                f"{len(set(changed))} pairs have a side whose ids decode to another text ({', '.join(changed[:3])}): "
                "the tokenizer normalises or drops characters, so edits of those cannot be seen",
                "look at the tokenizer's normalizer; give ids where you have them",
            )
        else:
            carried = f"; {len(set(other_ids))} pairs carry ids that are not their text's own" if other_ids else ""
            yield Check("round-trip", "ok", f"every response decodes to its text{carried}")
        if one_side:
            yield Check(
                "eos-one-side",
                "warn",
                f"in {len(one_side)} of {self._pairs} pairs only one side ends in EOS ({', '.join(one_side[:3])})",
                f"close both or neither; {parameter('read_outs')} last and mean leave EOS out",
            )
        else:
            yield Check("eos-one-side", "ok", "both sides of every pair end alike")
