"""critic-probe from Python: load a critic, put pairs before it, and measure.

    import critic_probe as cp

    critic = cp.load("bundled:mean")
    critic.score("2+2?", ["Four.", "Four"])
    bench = cp.bench(critic, "pairs.jsonl")
    bench.compare()

What comes out is what the command line prints: the same figures, notices and signatures, and its refusals as
`CriticProbeError`. A result shows itself, saves itself and is HTML in a notebook. Scores are in the critic's own unit;
what compares across critics and read-outs is over the SD of the scores. `docs/python.md` shows all of it at work,
`docs/statistics.md` has every estimator with its source.

All that users call stands in this one file, longer than others, because it is read as one page.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from critic_probe import bundled, checkpoint, workbench
from critic_probe.aggregation import parse
from critic_probe.encoding import find_convention, read_date
from critic_probe.errors import CriticProbeError
from critic_probe.gates.gate import load_gates
from critic_probe.gates.measure import CheckResult, judge, measure, measure_report
from critic_probe.measures.compare import Compare, CompareResult
from critic_probe.measures.diff import DiffResult
from critic_probe.measures.diff import diff as compared
from critic_probe.measures.perturb import Perturb, PerturbResult
from critic_probe.measures.tokens import Tokens, TokensResult
from critic_probe.measures.trace import TraceResult
from critic_probe.measures.trace import trace as traced
from critic_probe.measures.variants import SIDES, Plan
from critic_probe.objective import TEMPERATURE
from critic_probe.option import checked
from critic_probe.pairs import Fields, Pair, PairFile, Pairs, Prompt, as_pairs
from critic_probe.probes import GROUPS, all_families, choose
from critic_probe.runs.follow import Followed
from critic_probe.runs.steps import Asked
from critic_probe.runs.track import TrackResult
from critic_probe.scoring.cache import cache_path
from critic_probe.workbench import Settings, run

if TYPE_CHECKING:
    import pandas as pd

Given = str | Path | Sequence[Mapping[str, Any]] | Sequence[Pair]
"""Pairs as Python has them: a file, rows under the names that files use, or `Pair`s; a table of rows too."""
READ_OUTS = ("last", "mean")
_LOADING = {
    "base": None,
    "device": "auto",
    "dtype": "auto",
    "device_map": None,
    "head_row": None,
    "trust_remote_code": False,
}


class Critic(checkpoint.Critic):
    """A loaded critic that scores text: `checkpoint.Critic` with what stands above it.

    `values(ids)` is the value (T,) at every token of a sequence (T,), in float32 on the CPU.
    """

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"Critic({self.name!r}, {self.layout.format}, {dtype} on {self.device})"

    def score(
        self, prompt: Prompt, responses: Sequence[str], read_outs: Sequence[str] = READ_OUTS, **reading: Any
    ) -> "pd.DataFrame":
        """Scores responses to one prompt; what they share is computed once.

        Args:
            prompt: Text, or messages with role and content.
            responses: Any number R of answers to it.
            read_outs: As `-a` on the command line: last, mean, tail:4, ...
            reading: `convention`, `eos`, `value_position`, `template`, `arguments` and `date`, as in `bench`.

        Returns:
            R rows: `response`, its number of `tokens` (a closing EOS among them), and a column a read-out: the score in
            the critic's own unit.

        Raises:
            CriticProbeError: A response is empty or too long, or an option is unknown.
        """
        import pandas as pd

        from critic_probe.encoding import Group, encode_pair

        desk = workbench.Bench(self, [], _settings(read_outs, cache=False, **reading))
        pairs = [encode_pair(Pair(str(i), prompt, text, text), desk.encoder) for i, text in enumerate(responses)]
        for pair in pairs:
            if not desk.fits(pair.length):
                raise CriticProbeError(
                    f"{self.name}: response {pair.pair.id} with its prompt is {pair.length} tokens, longer than the "
                    f"context of {self.context_length}; nothing is cut: shorten it"
                )
        if not pairs:
            raise CriticProbeError("no responses to score; give at least one")
        groups = [Group(pair.prompt_ids, (pair.student.ids,)) for pair in pairs]
        values = [of_one for [of_one] in desk.values(groups)]
        return pd.DataFrame(
            {"response": pair.student.text, "tokens": len(pair.student.ids)}
            | {a.name: desk.score(v, pair.student, a) for a in desk.settings.aggregations}
            for pair, v in zip(pairs, values, strict=True)
        )


class Bench(workbench.Bench):
    """A critic with its pairs, and every measurement of the two.

    Each measurement goes through the pairs anew and takes from the cache what was computed before; without a cache it
    is computed again.
    """

    def __repr__(self) -> str:
        read_outs = ", ".join(aggregation.name for aggregation in self.settings.aggregations)
        return f"Bench({self.name!r}, {len(self.pairs)} pairs, {read_outs}, read as {self.convention.name})"

    def compare(self, temperature: float = TEMPERATURE) -> CompareResult:
        """Student against teacher under every read-out, as `critic-probe compare`.

        Args:
            temperature: T of the loss softplus(-d/T), for saturation and the gradient left, in the unit of scores; 5 is
                that of GAD.

        Returns:
            Tables of accuracy, gaps, their intervals and contrasts; `pairs` has a row a read-out and pair.

        Raises:
            CriticProbeError: A pair cannot be scored honestly.
        """
        measurement = Compare(temperature)
        return measurement.result(run([self], [measurement]))

    def perturb(
        self,
        families: Sequence[str] = ("punct", "controls"),
        most: int | None = None,
        seed: int = 0,
        sides: Sequence[str] = SIDES,
    ) -> PerturbResult:
        """What edits of the responses do to their scores, as `critic-probe perturb`.

        Args:
            families: Groups (punct, layout, eos, completeness, controls), single families by name, or both.
            most: At most so many edits a response, drawn by the seed; None for all.
            seed: Decides what an edit leaves to chance.
            sides: The sides that are edited, `student`, `teacher` or both.

        Returns:
            Figures by family, and `cases`, a row a read-out and edit: `delta` is edited - original in the unit of
            scores, `delta_over_sd` the same over the SD of the unedited scores.

        Raises:
            CriticProbeError: A family is unknown, no edit applies to any response, or a pair cannot be scored honestly.
        """
        groups = [name for name in families if name in GROUPS]
        chosen = choose(all_families(), groups, [name for name in families if name not in GROUPS])
        measurement = Perturb(Plan(chosen, tuple(sides), most, seed))
        return measurement.result(run([self], [measurement]))

    def completeness(self, seed: int = 0) -> PerturbResult:
        """Complete answers against terse ones that state the same facts, as `critic-probe completeness`.

        Args:
            seed: Decides what an edit leaves to chance.

        Returns:
            As `perturb`, of the families of completeness.

        Raises:
            CriticProbeError: No response can be told otherwise, or a pair cannot be scored honestly.
        """
        measurement = Perturb(Plan(choose(all_families(), ["completeness"], []), seed=seed), "completeness")
        return measurement.result(run([self], [measurement]))

    def tokens(self) -> TokensResult:
        """When a verdict is known, and how dependent token values are, as `critic-probe tokens`.

        Returns:
            Accuracy by share of the response read, the autocorrelation of values (Box and Jenkins 1970) with effective
            numbers of tokens (Geyer 1992), and values by kind of token.

        Raises:
            CriticProbeError: A pair cannot be scored honestly.
        """
        measurement = Tokens()
        return measurement.result(run([self], [measurement]))

    def trace(self, pair: str) -> TraceResult:
        """The value of every token of one pair, as `critic-probe trace`.

        Args:
            pair: Its id.

        Returns:
            `tokens`, a row a side and token with its value and the running mean, and `scores`, a row a side and
            read-out; in a notebook, text on grounds that show the values.

        Raises:
            CriticProbeError: There is no such pair, or it cannot be scored honestly.
        """
        chosen = next((each for each in self.pairs if each.id == pair), None)
        if chosen is None:
            raise CriticProbeError(f"no pair has the id '{pair}'; ids are those of the file, or row-1, row-2, ...")
        return traced([self.critic], chosen, self.settings)

    def check(
        self,
        profile: str | None = None,
        gates: str | Path | None = None,
        on_unclear: Literal["pass", "fail"] = "fail",
        most: int | None = None,
        seed: int = 0,
    ) -> CheckResult:
        """Whether the critic's figures hold what gates demand, as `critic-probe check`.

        Args:
            profile: Gates that ship, by name.
            gates: A TOML file of gates, or a pyproject.toml with `[tool.critic-probe]`.
            on_unclear: Whether a gate that cannot be told counts as pass or fail.
            most: At most so many edits a response, drawn by the seed; None for all.
            seed: Draws them.

        Returns:
            `passed`, and `gates`, a row a gate and figure that it bounds with interval and verdict.

        Raises:
            CriticProbeError: A gate is unknown, or bounds a read-out that this bench has not.
        """
        plan = load_gates(profile, None if gates is None else Path(gates), all_families())
        names = [aggregation.name for aggregation in self.settings.aggregations]
        if missing := set(plan.aggregations(names)) - set(names):
            raise CriticProbeError(f"gates name {', '.join(sorted(missing))}; make the bench with these read_outs too")
        results, signature = measure(plan, [self], most, seed)
        return judge(plan, results, signature, names, on_unclear)

    def report(self, path: str | Path, profile: str | None = None, most: int | None = None, seed: int = 0) -> Path:
        """Writes one page with verdict, gates, pictures, and every pair down to its tokens, as `critic-probe report`.

        Args:
            path: A `.html` file.
            profile: The gates that the page shows, by name.
            most: At most so many edits a response, drawn by the seed; None for all.
            seed: Draws them.

        Returns:
            The path.

        Raises:
            CriticProbeError: It cannot be written, or what draws it is not installed.
        """
        from critic_probe.report.html import write_page
        from critic_probe.report.targets import check_folder

        check_folder(Path(path))
        plan = load_gates(profile, None, all_families())
        names = [aggregation.name for aggregation in self.settings.aggregations]
        shown, checked = measure_report(plan, [self], names, most, seed)
        write_page(Path(path), shown, checked.source, checked.gates)
        return Path(path)


def load(path: str | Path, *, name: str | None = None, **loading: Any) -> Critic:
    """A critic from whatever its training framework wrote, or a bundled one.

    Args:
        path: A directory, or `bundled:last`, `bundled:mean`, `bundled:smollm2-last`, `bundled:smollm2-mean`.
        name: How results call it; by default as the command line would.
        loading: `base`, `step`, `device`, `dtype`, `device_map`, `trust_remote_code`: see
            `critic_probe.checkpoint.load_critic`.

    Returns:
        The critic in eval mode, whose values are what the training framework would compute, never of a fresh head.

    Raises:
        CriticProbeError: There is no such critic, no head, config and weights disagree, or the model is no decoder.
    """
    [critic] = bundled.find_critics([str(path)], **loading).load()
    known = {field.name: getattr(critic, field.name) for field in dataclasses.fields(critic)}
    return Critic(**known | ({} if name is None else {"name": name}))


def bench(
    critic: checkpoint.Critic,
    pairs: "Given | pd.DataFrame | None" = None,
    read_outs: Sequence[str] = READ_OUTS,
    *,
    fields: Fields = Fields(),  # noqa: B008 (frozen)
    on_bad_row: Literal["error", "skip"] = "error",
    cache: bool = True,
    **reading: Any,
) -> Bench:
    """A critic with pairs, ready to be measured.

    Args:
        critic: The loaded critic.
        pairs: A file, rows, `Pair`s or a table; None for the bundled pairs.
        read_outs: The first is the one that others are compared with.
        fields: The names of the fields that hold prompt, student and teacher, where they are not those in use.
        on_bad_row: `skip` leaves rows with a fault, and pairs without a finite value, out and counts them.
        cache: Whether values are kept for later measurements, runs and commands.
        reading: As on the command line `convention` (there `--as`: a name or a TOML file), `eos` (exclude, include),
            `value_position` (at, before), `template` (auto, chat, raw), `arguments` (of the template, a dictionary),
            `date` (YYYY-MM-DD), `on_too_long` (error, skip) and `engine` (auto, tree, reference).

    Returns:
        The bench; nothing is scored before it is asked for a measurement.

    Raises:
        CriticProbeError: A row is no pair, or a read-out or an option is unknown.
    """
    own = {critic.name: critic.layout.path}
    return Bench(critic, _pairs(pairs, own, fields, on_bad_row), _settings(read_outs, cache=cache, **reading))


def score(
    critic: checkpoint.Critic,
    prompt: Prompt,
    responses: Sequence[str],
    read_outs: Sequence[str] = READ_OUTS,
    **reading: Any,
) -> "pd.DataFrame":
    """Scores responses to one prompt.

    Args:
        critic: The loaded critic, also one of `critic_probe.checkpoint.load_critic`.
        prompt: Text, or messages with role and content.
        responses: Any number R of answers to it.
        read_outs: As `-a` on the command line.
        reading: As `Critic.score`.

    Returns:
        R rows, as `Critic.score`.

    Raises:
        CriticProbeError: A response is empty or too long, or a read-out is unknown.
    """
    return Critic.score(critic, prompt, responses, read_outs, **reading)  # type: ignore[arg-type]


def compare(critic: checkpoint.Critic, pairs: "Given | pd.DataFrame | None" = None, **options: Any) -> CompareResult:
    """Student against teacher: `bench(critic, pairs).compare()`.

    Args:
        critic: The loaded critic.
        pairs: As `bench`.
        options: Those of `bench`.

    Raises:
        CriticProbeError: A pair cannot be scored honestly, or an option is unknown.
    """
    return bench(critic, pairs, **options).compare()


def check(
    critic: checkpoint.Critic,
    pairs: "Given | pd.DataFrame | None" = None,
    profile: str | None = None,
    **options: Any,
) -> CheckResult:
    """Whether a critic's figures hold what a profile's gates demand: `bench(critic, pairs).check(profile)`.

    Args:
        critic: The loaded critic.
        pairs: As `bench`.
        profile: Gates that ship, by name; None for `default`, or those of ./pyproject.toml.
        options: Those of `bench`.

    Raises:
        CriticProbeError: The profile is unknown, or a pair cannot be scored honestly.
    """
    return bench(critic, pairs, **options).check(profile)


def diff(
    old: checkpoint.Critic,
    new: checkpoint.Critic,
    pairs: "Given | pd.DataFrame | None" = None,
    *,
    most: int | None = None,
    seed: int = 0,
    **options: Any,
) -> DiffResult:
    """One critic against another on the same pairs and edits, as `critic-probe diff`.

    Args:
        old: The critic to compare with.
        new: The critic that is compared.
        pairs: As `bench`.
        most: At most so many edits a response, drawn by the seed; None for all.
        seed: Draws them.
        options: Those of `bench`.

    Returns:
        Paired tests by read-out and by family, and the pairs that flipped; every difference is new - old, in SD of each
        critic's own scores.

    Raises:
        CriticProbeError: Both have one name, or a pair cannot be scored honestly.
    """
    if old.name == new.name:
        raise CriticProbeError(f"both critics are called '{old.name}'; load one of them with another name")
    families = choose(all_families(), ["punct", "completeness", "controls"], [])
    pairwise, edits = Compare(), Perturb(Plan(families, most=most, seed=seed))
    done = run([bench(each, pairs, **options) for each in (old, new)], [pairwise, edits])
    return compared(pairwise.result(done), edits.result(done))


def track(
    run: str | Path,
    pairs: "Given | pd.DataFrame | None" = None,
    read_outs: Sequence[str] = READ_OUTS,
    *,
    train: "Given | pd.DataFrame | None" = None,
    profile: str | None = None,
    gates: str | Path | None = None,
    most: int | None = None,
    seed: int = 0,
    fields: Fields = Fields(),  # noqa: B008 (frozen)
    on_bad_row: Literal["error", "skip"] = "error",
    cache: bool = True,
    **options: Any,
) -> TrackResult:
    """The checkpoints of a training run beside each other, as `critic-probe track`.

    Args:
        run: The directory in which training writes `global_step_N` or `checkpoint-N`.
        pairs: As `bench`, held out from the training.
        read_outs: As `bench`.
        train: Pairs that were trained on.
        profile: Gates on each step that ship, by name.
        gates: A TOML file of gates, on each step and, as `track.NAME`, on the run.
        most: At most so many edits a response, drawn by the seed; None for all.
        seed: Draws them.
        fields: As `bench`.
        on_bad_row: As `bench`.
        cache: Whether steps are kept for a later call.
        options: What `load` takes beside `name` and `step`, and what `bench` takes to read.

    Returns:
        `steps`, a row a step and read-out; `best`, the step that the rule takes; `changes`; `gates`; and `failed`,
        whether a gate on the run does not hold.

    Raises:
        CriticProbeError: No checkpoint can be scored, a prompt is in both files, or a gate is unknown.
    """
    if not Path(run).is_dir():
        raise CriticProbeError(f"{run}: no such directory; give the one in which training writes its checkpoints")
    plan = load_gates(profile, None if gates is None else Path(gates), all_families())
    unnamed = tuple(parse(name).name for name in _listed(read_outs))
    loading = {name: options.pop(name, default) for name, default in _LOADING.items()}
    settings = _settings([*unnamed, *plan.aggregations(unnamed)], cache=cache, **options)
    own = {str(run): Path(run)}
    held_out = _pairs(pairs, own, fields, on_bad_row)
    trained = None if train is None else _pairs(train, own, fields, on_bad_row)
    followed = Followed(Path(run), Asked(held_out, trained, settings, plan, unnamed, most, seed, loading))
    for _ in followed.look():
        pass
    return followed.result()


def _listed(read_outs: Sequence[str]) -> Sequence[str]:
    if isinstance(read_outs, str):
        raise CriticProbeError(f"read_outs is '{read_outs}'; give a list of names")
    return read_outs


def _settings(read_outs: Sequence[str], *, cache: bool, **reading: Any) -> Settings:
    known = [field.name for field in dataclasses.fields(Settings) if field.name not in ("aggregations", "cache")]
    if unknown := [name for name in reading if name not in known]:
        raise CriticProbeError(f"'{unknown[0]}' is unknown; choose from {', '.join(known)}")
    if isinstance(reading.get("convention"), str):
        reading["convention"] = find_convention(reading["convention"])
    if isinstance(reading.get("date"), str):
        reading["date"] = read_date(reading["date"])
    parsed = tuple(dict.fromkeys(parse(name) for name in _listed(read_outs)))
    return checked(Settings(parsed, cache=cache_path() if cache else None, **reading))


def _pairs(given: Any, critics: dict[str, Path], fields: Fields, on_bad_row: Literal["error", "skip"]) -> Pairs:
    if isinstance(given, PairFile):
        return given
    if given is None or isinstance(given, str | Path):
        path = None if given is None else str(given)
        return bundled.find_pairs(path, fields, bundled.Critics(critics, False, {}), on_bad_row)
    rows = given.to_dict("records") if hasattr(given, "to_dict") else list(given)
    if rows and all(isinstance(row, Pair) for row in rows):
        return rows
    return as_pairs(rows, fields, on_bad_row=on_bad_row)
