"""`critic-probe score`: every response's score under every read-out."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from critic_probe.bundled import Critics, find_pairs
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.pairs import CandidateFile, Fields, Pairs
from critic_probe.report.targets import ROWS, check_rows

if TYPE_CHECKING:
    from critic_probe.measures.steps import Steps

PANEL = panels.LOOK
EXAMPLES = (
    "critic-probe score -c bundled:mean -o scores.parquet",
    "critic-probe score pairs.jsonl -c bundled:mean --best-of 2 -o scores.jsonl",
    "critic-probe compare scores.parquet",
)


@dataclass(frozen=True, kw_only=True)
class ResponseFields(options.PairFields):
    """The fields of a file of responses."""

    response_field: Annotated[
        str | None,
        options.of_pairs(
            "The field that holds a response, or a list of them.", metavar="NAME", parameter="fields.response"
        ),
    ] = None
    label_field: Annotated[
        str | None,
        options.of_pairs(
            "The field that says how good each response is: 1 and 0, or any number. Default: labels, label or correct.",
            metavar="NAME",
            parameter="fields.label",
        ),
    ] = None

    def names(self) -> Fields:
        """The names that were given."""
        return replace(super().names(), response=self.response_field, label=self.label_field)

    def pairs(self, file: str | None, critics: Critics) -> Pairs:
        """The responses of a file, or those of the bundled pairs."""
        return find_pairs(file, self.names(), critics, self.on_bad_row, CandidateFile)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What marks the steps that a process reward model scores."""

    step_separator: Annotated[
        str | None,
        options.of_reading(
            r"Of a process reward model: the text that ends a step, such as \n\n; each is scored at its last token.",
            metavar="TEXT",
        ),
    ] = None
    step_token: Annotated[
        list[str] | None,
        options.of_reading(
            "Of a process reward model: the token that ends a step, by text or id; repeatable.", metavar="TEXT|ID"
        ),
    ] = None
    step_sigmoid: Annotated[
        bool, options.of_reading("Steps have logits: the sigmoid is the probability that a step is right.")
    ] = False

    def steps(self) -> "Steps | None":
        """The steps that were asked for."""
        from critic_probe.measures.steps import Steps

        if self == Marks():
            return None
        text = self.step_separator
        separator = None if text is None else text.replace(r"\n", "\n").replace(r"\t", "\t")
        return Steps(separator, tuple(self.step_token or ()), self.step_sigmoid)


@dataclass(frozen=True, kw_only=True)
class Rows(options.Tables):
    """Where the scores go."""

    output: Annotated[
        list[str] | None,
        options.of_output(
            "Write a row a response: .parquet, .jsonl or .csv; or what is printed: .json. Repeatable.",
            names=("--output", "-o"),
            metavar="FILE",
            writes=True,
        ),
    ] = None
    values: Annotated[bool, options.of_output("Also write each token's value, as a list.")] = False
    best_of: Annotated[
        int | None,
        options.of_output("Which of the first N responses to each prompt is the best.", metavar="N", min=2),
    ] = None


@with_options
def command(
    responses: Annotated[
        str | None,
        typer.Argument(
            help="Responses, conversations, pairs, candidate sets or rollouts: .jsonl, .json, .csv, .parquet, or - for "
            "JSONL on stdin. Default: the bundled pairs."
        ),
    ] = None,
    *,
    loading: options.Loading,
    scoring: options.Scaling,
    fields: ResponseFields,
    marks: Marks,
    dry_run: options.DryRun = False,
    output: Rows,
) -> None:
    """Score every response under every read-out, a row each."""
    paths = [Path(path) for path in output.output or ()]
    for path in paths:
        check_rows(path)
    critics, read, settings = session.prepared(responses, fields, loading, scoring)
    steps = marks.steps()
    from critic_probe.measures.price import price
    from critic_probe.measures.score import Score
    from critic_probe.report.rows import ScoreRows
    from critic_probe.workbench import benches, run

    if dry_run:
        session.show_price(price(critics.load(), read, replace(settings, cache=None), [Score()]), output.json)
        return
    wanted = [path for path in paths if path.suffix.lower() in ROWS]
    with ExitStack() as stack:
        progress = stack.enter_context(session.progress(resumable=not scoring.no_cache))
        rows = stack.enter_context(ScoreRows(wanted)) if wanted else None
        made = stack.enter_context(benches(critics.load(), read, settings, progress))
        measure = Score(rows, values=output.values, steps=steps, candidates=output.best_of)
        result: Any = measure.result(run(made, [measure]))
        if rows is not None:
            rows.write(result.signature)
    rest = replace(output, output=[str(path) for path in paths if path not in wanted])
    session.finish(result, critics, rest, default_pairs=responses is None, show=output.show)
