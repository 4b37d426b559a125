"""Results on a terminal: rich tables that hold at 80 columns, in a pipe and without colour.

Rows stand under a heading (a critic, a pair, a kind of edit), so that long names have a line of their own and the
numbers keep their columns. Text from a file is neutralised and never read as markup.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from critic_probe.errors import Notice
from critic_probe.measures.compare import CompareResult
from critic_probe.measures.diff import DiffResult
from critic_probe.measures.perturb import PerturbResult
from critic_probe.measures.tokens import TokensResult
from critic_probe.measures.trace import TraceResult
from critic_probe.report.heat import BLUES, ORANGES, aligned, ground, line_view, share_of
from critic_probe.studies.audit import AuditResult
from critic_probe.text import neutralise
from critic_probe.workbench import Signature

Record = dict[str, Any]

_WIDE = 100  # columns from which two sides stand beside each other
_ROOMY = 120  # columns from which tables have two blanks between cells
_IDS = 5  # a warning names at most this many pairs
_PROMPT = 400  # characters of a prompt that are shown
_MISSING = "–"
_CLAIM_STYLES = {"holds": "green", "does not hold": "bold red", "cannot tell": "bold yellow"}
_VERDICT_STYLES = {"student": "dark_orange", "tie": "dim"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_TOKEN_COLUMNS: tuple[tuple[str, JustifyMethod, int], ...] = (
    ("#", "right", 3),
    ("text", "left", 8),
    ("id", "right", 5),
    ("value", "right", 5),
    ("running\nmean", "right", 5),
    ("", "left", 5),
    ("read by", "left", 5),
)


def print_compare(result: CompareResult, console: Console, rows: int) -> None:
    """Prints student against teacher: accuracy beside its baselines, categories, disputed pairs, then more statistics.

    Args:
        result: What the comparison found.
        console: Where to print.
        rows: How many pairs to show.
    """
    _print(
        console,
        _compare_summary(result, console),
        _categories(result, console),
        _pairs(result, console, rows),
        _statistics(result, console),
        _lengths(result, console),
        _contrasts(result, console),
        _reading(result.reading),
        _warnings(result.notices),
        _signature(result.signature),
    )


def print_perturb(result: PerturbResult, console: Console, rows: int) -> None:
    """Prints what edits do to scores: the summary, the worst cases and what was not measured.

    Args:
        result: What the edits did.
        console: Where to print.
        rows: How many of the worst cases to show.
    """
    _print(
        console,
        _headline(result, console),
        *(_by_kind(result, kind, title, console) for kind, title in _KINDS),
        _cases(result, console, rows),
        _not_measured(result, console),
        _reading(result.reading),
        _warnings(result.notices),
        _signature(result.signature),
    )


def print_trace(result: TraceResult, console: Console, view: str = "table") -> None:
    """Prints the value of every token of one pair, student and teacher side by side where there is room.

    Args:
        result: The values.
        console: Where to print.
        view: `table`, a row a token; or `line`, each response as text on grounds that show the values.
    """
    shown = _tokens if view == "table" else _heat
    _print(
        console,
        _block("Prompt", Text(neutralise(_cut(result.prompt, _PROMPT), newlines=True), overflow="fold")),
        *(shown(rows, console) for rows in _groups(_records(result.tokens), "critic")),
        _scores(result, console),
        _reading(result.reading),
        _warnings(result.notices),
        _signature(result.signature),
    )


def print_diff(result: DiffResult, console: Console, rows: int) -> None:
    """Prints one critic against another: verdicts, families of edits, and the pairs that flipped.

    Args:
        result: What was found.
        console: Where to print.
        rows: How many families of each read-out, and how many flipped pairs, to show.
    """
    pairs = _table(console, "d_acc", "flips/n", "p (Holm)", "change of gap/SD")
    for row in _records(result.pairs):
        margin = _interval(row["margin"], row["margin_low"], row["margin_high"])
        cells = (_old_new(row, "d_acc"), _share(row["flips"], row["n"]), _p(row["p_holm"]), margin)
        pairs.add_row(_plain(row["aggregation"]), *cells)
    families = _table(console, "|delta|\n/SD", "change", "p\n(Holm)", "right order", "p\n(Holm)")
    for of_aggregation in _groups(_records(result.families), "aggregation"):
        families.add_row(_heading(of_aggregation[0]["aggregation"]))
        for row in of_aggregation[: max(rows, 0)]:
            change = _interval(row["difference"], row["low"], row["high"])
            tested = (_old_new(row, "right"), _p(row["right_p_holm"]))
            families.add_row(_label(row["family"]), _old_new(row), change, _p(row["p_holm"]), *tested)
    flipped = _table(console, "verdict", "gap/SD")
    for of_aggregation in _groups(_records(result.flipped), "aggregation"):
        flipped.add_row(_heading(of_aggregation[0]["aggregation"], f"{len(of_aggregation)} pairs"))
        for row in of_aggregation[: max(rows, 0)]:
            verdict = f"{row['old_verdict']} -> {row['new_verdict']}"
            flipped.add_row(_label(row["id"]), verdict, _old_new(row, "gap_over_sd", signed=True))
    _print(
        console,
        _block("Verdicts (exact McNemar; margins by bootstrap over prompts)", pairs),
        _block("What the score reacts to, the largest change first", families),
        _block("Pairs that flipped", flipped) if len(result.flipped) else None,
        _reading(result.reading),
        _warnings(result.notices),
        _signature(result.signature),
    )


def _old_new(row: Record, name: str = "", *, signed: bool = False) -> str:
    ends = [row[f"{end}_{name}" if name else end] for end in ("old", "new")]
    return _MISSING if any(map(_missing, ends)) else " -> ".join(_number(value, signed=signed) for value in ends)


def print_tokens(result: TokensResult, console: Console) -> None:
    """Prints values along responses: accuracy by position, dependence of tokens, values by token class.

    Args:
        result: What was found.
        console: Where to print.
    """
    positions = _table(console, *result.positions.aggregation.unique())
    for of_critic in _groups(_records(result.positions), "critic"):
        positions.add_row(_heading(of_critic[0]["critic"]))
        for rows in _groups(of_critic, "share"):
            cells = [_interval(r["d_acc"], r["d_acc_low"], r["d_acc_high"]) for r in rows]
            positions.add_row(_label(f"{rows[0]['share']:.0%}"), *cells)
    dependence = _table(
        console, "tokens", "lag 1", "effective\ntokens", "Var(mean) over\nsigma^2/N", "too short\nor constant"
    )
    for row in _records(result.dependence):
        cells = [_number(row[name], 1) for name in ("tokens", "lag1", "effective_tokens", "variance_ratio")]
        dependence.add_row(_plain(row["critic"]), *cells, _share(row["too_short"] + row["constant"], row["responses"]))
    classes = _table(console, "side", "n", "mean", "SD", "mean, in SD of\nits response")
    decimals = _decimals(result.classes["mean"], result.classes["sd"])
    for rows in _groups(_records(result.classes), "critic"):
        classes.add_row(_heading(rows[0]["critic"]))
        for row in rows:
            cells = [_number(row[name], decimals) for name in ("mean", "sd")]
            scaled = _number(row["mean_over_response_sd"], signed=True)
            classes.add_row(_label(row["token_class"]), row["side"], _number(row["n"], 0), *cells, scaled)
    _print(
        console,
        _block("d_acc when read after a share of each response's tokens", positions),
        _block("How dependent the values of one response are", dependence),
        _block("Value by kind of token", classes),
        _reading(result.reading),
        _warnings(result.notices),
        _signature(result.signature),
    )


def print_audit(result: AuditResult, console: Console) -> None:
    """Prints every claim with its figure, verdict, what is true instead and how to reproduce it; then other figures.

    Args:
        result: What was measured.
        console: Where to print.
    """
    _print(
        console,
        _block("What was claimed, and what was measured", *chain.from_iterable(_claims(result))),
        _before_after(result),
        _audit_figures(result, console),
        _reading(result.reading),
        _warnings(result.notices),
        _signature(result.signature),
    )


def _claims(result: AuditResult) -> Iterator[list[RenderableType]]:
    rows = _records(result.claims)
    width = max((len(_line(row["critic"])) for row in rows), default=0)
    for of_claim in _groups(rows, "claim"):
        first = of_claim[0]
        measured = Table.grid(Column(min_width=width), Column(min_width=13), "", "", padding=(0, 2, 0, 0))
        for row in of_claim:
            verdict = Text(row["verdict"], style=_CLAIM_STYLES[row["verdict"]])
            measured.add_row(_plain(row["critic"]), verdict, _estimate(row, "figure"), f"n = {_number(row['n'], 0)}")
        told = dict.fromkeys((row["verdict"], row["told"]) for row in of_claim if row["told"])
        yield [
            Text(),
            _heading(first["says"]),
            _label(f"{first['measured']}; holds if {first['holds_if']}"),
            Padding(measured, (0, 0, 0, 2)),
            *(_label(f"-> {verdict}: {words}") for verdict, words in told),
            _label(f"$ {first['reproduce']}"),
        ]


def _before_after(result: AuditResult) -> RenderableType | None:
    rows = _records(result.training)
    if not rows:
        return None
    blocks: list[RenderableType] = []
    for of_name in _groups(rows, "name"):
        first = of_name[0]
        saw = "" if _missing(first["before"]) else f"; under the last token it saw {first['before']:.2f}"
        bounds = " to ".join(f"{first[end]:g}" for end in ("expected_low", "expected_high"))
        table = Table.grid(*(Column(min_width=width) for width in (18, 13, 20, 20)), "", padding=(0, 2, 0, 0))
        for row in of_name:
            ends = "" if _missing(row["over_sd_low"]) else f" [{row['over_sd_low']:.2f}, {row['over_sd_high']:.2f}]"
            in_sd = "" if _missing(row["over_sd"]) else f"{row['over_sd']:.2f}{ends} SD"
            case = "" if _missing(row["the_case"]) else f"the case {row['the_case']:.3g}"
            verdict = Text(row["verdict"], style=_CLAIM_STYLES[row["verdict"]])
            table.add_row(f"{row['trained']} / {row['read']}", verdict, _estimate(row, "figure"), in_sd, case)
        blocks += [
            Text(),
            _heading(f"{first['name']}: {first['what']}"),
            _label(f"expected {bounds}{saw}; n = {first['n']}; trained / read:"),
            Padding(table, (0, 0, 0, 2)),
        ]
    seeds = f"{rows[0]['seeds']} seeds: mean [least, most]" if rows[0]["seeds"] > 1 else "one seed, 95 % intervals"
    return _block(f"What training was expected to give, and gave ({seeds})", *blocks)


def _audit_figures(result: AuditResult, console: Console) -> RenderableType | None:
    rows = _records(result.figures)
    if not rows:
        return None
    critics = list(dict.fromkeys(row["critic"] for row in rows))
    table = _table(console, *(Column(_line(critic), justify="right", overflow="fold") for critic in critics))
    for of_claim in _groups(rows, "claim"):
        table.add_row(_heading(of_claim[0]["claim"]))
        for of_name in _groups(of_claim, "name"):
            by_critic = {row["critic"]: _estimate(row, "value") for row in of_name}
            table.add_row(_label(of_name[0]["name"]), *(by_critic.get(critic, _MISSING) for critic in critics))
    return _block("What else was measured", table)


def _estimate(row: Record, name: str) -> str:
    """Three digits, since an audit's figures run from rounding errors to whole scores."""
    if _missing(row[name]):
        return _MISSING
    if _missing(row["low"]) or row["low"] == row["high"]:
        return f"{row[name]:.3g}"
    return f"{row[name]:.3g} [{row['low']:.3g}, {row['high']:.3g}]"


def signature_line(signature: Signature) -> str:
    """Everything that determined the figures in one line: two results compare if their lines agree."""
    rest = dict(signature)
    critics = rest.pop("critics", [])

    def of_critics(key: str) -> str:
        return ",".join(dict.fromkeys(_short(critic[key]) for critic in critics if critic.get(key) is not None))

    def named(word: str, value: Any) -> str:
        return f"{word} {_short(value)}" if value not in (None, "") else ""

    families = rest.pop("families", ())
    told = ",".join(families)
    rest["families"] = told if len(families) <= _IDS else f"{len(families)}:{zlib.crc32(told.encode()):08x}"
    names = [
        f"{critic.get('name', '')}@{_short(critic.get('fingerprint'))} {_tagged('head', critic.get('head'))}"
        for critic in critics
    ]
    parts = [
        named("critic-probe", rest.pop("version", None)),
        named("critics", ", ".join(names)) if len(names) != 1 else f"critic {names[0]}",
        named("read-outs", rest.pop("aggregations", None)),
        named("eos", f"{rest.pop('eos', '')} ({of_critics('eos_ids')})".removesuffix(" ()")),
        _short(rest.pop("value_position", "")),
        named("tokenizer", of_critics("tokenizer")),
        named("template", of_critics("template")),
        *(of_critics(key) for key in ("dtype", "device", "attention")),
        named("engine", of_critics("engine")),
        *(named(key, rest.pop(key, None)) for key in ("torch", "transformers", "data")),
        *(named(key, value) for key, value in rest.items()),
    ]
    return _line(" | ".join(part for part in parts if part))


# Compare


def _compare_summary(result: CompareResult, console: Console) -> RenderableType | None:
    rows, baselines = _records(result.summary), _records(result.baselines)
    if not rows:
        return None
    gap = _decimals(result.summary["mean_gap"], result.summary["sd"])
    table = _table(
        console, "d_acc", "ties/n", "mean\ngap", "SD", "gap\n/SD", "separ-\nation", Column("flips", justify="left")
    )
    for of_critic in _groups(rows, "critic"):
        table.add_row(_heading(of_critic[0]["critic"]))
        for row in of_critic:
            table.add_row(
                _label(row["aggregation"]),
                _interval(row["d_acc"], row["d_acc_low"], row["d_acc_high"]),
                _share(row["ties"], row["n"]),
                _number(row["mean_gap"], gap, signed=True),
                _number(row["sd"], gap),
                _number(row["gap_over_sd"], signed=True),
                _number(row["separation"], signed=True),
                _flips(row["flips"], row["flips_p"]),
            )
    if baselines:
        table.add_row(_heading("baselines"))
    for row in baselines:
        table.add_row(
            _label(row["baseline"]),
            _interval(row["accuracy"], row["low"], row["high"]),
            _share(row["ties"], row["n"]),
        )
    return _block("Teacher over student (gap = teacher - student)", table)


def _statistics(result: CompareResult, console: Console) -> RenderableType | None:
    rows = _records(result.statistics)
    if not rows:
        return None
    named = _namer(result.statistics)
    first = _table(console, "d_acc,\nties wrong-right", "soft\nd_acc", "AUC", "dz", "gap/SD", label="")
    second = _table(console, "|d|\n<0.1", "over-\nlap", "satu-\nrated", "grad.\nleft", "beyond best\nbaseline")
    for row in rows:
        label = _plain(named(row))
        interval = f"[{_number(row['gap_over_sd_low'])}, {_number(row['gap_over_sd_high'])}]"
        bounds = f"{_number(row['d_acc_ties_wrong'])}-{_number(row['d_acc_ties_right'])}"
        first.add_row(label, bounds, *(_number(row[name]) for name in ("soft_d_acc", "auc", "dz")), interval)
        beyond = _interval(row.get("beyond"), row.get("beyond_low"), row.get("beyond_high"))
        shares = ("hard_samples_ratio", "score_overlap", "saturated", "gradient_weight")
        second.add_row(label, *(_number(row[name]) for name in shares), beyond)
    return _block(f"Statistics (T = {rows[0]['temperature']:g})", first, Text(), second)


def _lengths(result: CompareResult, console: Console) -> RenderableType | None:
    rows = _records(result.lengths)
    if not rows:
        return None
    named = _namer(result.lengths)
    table = _table(console, "rho", "d_acc,\nsame length", "n", "teacher\nlonger", "n", "teacher\nshorter", "n", "logit")
    for row in rows:
        cells = [_interval(row["matched_d_acc"], row["matched_low"], row["matched_high"]), _number(row["matched_n"], 0)]
        for name in ("teacher_longer", "teacher_shorter"):
            cells += [_number(row[f"{name}_d_acc"]), _number(row[f"{name}_n"], 0)]
        rho = _number(row["within_prompt_spearman"], signed=True)
        table.add_row(_plain(named(row)), rho, *cells, _number(row["length_controlled"]))
    title = "Length (rho: with the score, within a prompt; logit: d_acc at equal length)"
    return _block(title, table)


def _contrasts(result: CompareResult, console: Console) -> RenderableType | None:
    rows = _records(result.contrasts)
    if not rows:
        return None
    table = _table(console, "flips", "p", "p (Holm)", "margin in gap/SD")
    for row in rows:
        a, b = (f"{row[f'{other}critic']}/{row[f'{other}aggregation']}" for other in ("", "other_"))
        margin = _interval(row["margin"], row["margin_low"], row["margin_high"])
        table.add_row(_plain(f"{a} - {b}"), _number(row["flips"], 0), _p(row["p"]), _p(row["p_holm"]), margin)
    return _block("One against another (exact McNemar; margin by bootstrap over prompts)", table)


def _p(p: float) -> str:
    if _missing(p):
        return _MISSING
    return "< 0.001" if p < 0.001 else _number(p, 3)


def _categories(result: CompareResult, console: Console) -> RenderableType | None:
    rows = _records(result.categories)
    if not rows:
        return None
    gap = _decimals(result.categories["mean_gap"])
    named = _namer(result.categories)
    table = _table(console, "d_acc", "ties/n", "mean\ngap", "gap\n/SD", Column("", justify="left"))
    largest = _largest(result.categories["gap_over_sd"])
    for of_category in _groups(rows, "category"):
        table.add_row(_heading(of_category[0]["category"]))
        for row in of_category:
            table.add_row(
                _label(named(row)),
                _interval(row["d_acc"], row["d_acc_low"], row["d_acc_high"]),
                _share(row["ties"], row["n"]),
                _number(row["mean_gap"], gap, signed=True),
                _number(row["gap_over_sd"], signed=True),
                _effect(row["gap_over_sd"], largest),
            )
    return _block("By category", table)


def _pairs(result: CompareResult, console: Console, limit: int) -> RenderableType | None:
    records = _records(result.pairs)
    pairs = _groups(records, "id")
    shown = pairs[: max(limit, 0)]
    if not shown:
        return None
    score = _decimals(result.pairs["student_score"], result.pairs["teacher_score"], result.pairs["gap"])
    named = _namer(result.pairs)
    reads_token = any(_token_read(row) is not None for rows in shown for row in rows)
    table = _table(console, "S", "T", "gap", "gap\n/SD", Column("verdict", justify="left"))
    if reads_token:
        table.add_column("token read\nS | T", overflow="fold")
    for rows in shown:
        table.add_row(_heading(rows[0]["id"], rows[0]["category"]))
        for row in rows:
            table.add_row(
                _label(named(row)),
                _number(row["student_score"], score),
                _number(row["teacher_score"], score),
                _above_floor(row, "gap", score),
                _above_floor(row, "gap_over_sd"),
                Text(row["verdict"], style=_VERDICT_STYLES.get(row["verdict"], "")),
                *([_token_read(row) or ""] if reads_token else []),
            )
    return _block(f"Most disputed pairs ({len(shown)} of {len(pairs)}; S student, T teacher)", table)


def _token_read(row: Record) -> Text | None:
    tokens = (row["student_token_read"], row["teacher_token_read"])
    if all(_missing(token) for token in tokens):
        return None
    return Text(" | ".join(_MISSING if _missing(token) else _quoted(token) for token in tokens))


def _flips(flips: Any, p: Any) -> Text:
    if _missing(flips):
        return Text(_MISSING)
    if _missing(p):
        return Text(f"{int(flips)}")
    return Text(f"{int(flips)} (p < 0.001)" if p < 0.001 else f"{int(flips)} (p = {p:.3f})")


# Perturb


_KINDS = (
    ("identity", "Identities: the same response once more (must move by nothing)"),
    ("invariance", "Invariances: the meaning stays, so should the score (|Δ|/SD)"),
    ("directional", "Completeness: the same facts, complete against terse"),
    ("control", "Controls: the answer gets worse, so should the score"),
    ("meaning-changing", "Punctuation that changes the meaning: must be seen"),
)


def _headline(result: PerturbResult, console: Console) -> RenderableType | None:
    rows = [row for row in _records(result.headline) if row["controls"] or row["invariances"]]
    if not rows:
        return None
    raw = _decimals(result.headline["control_median_abs_delta"], result.headline["invariance_median_abs_delta"])
    bar = Column("", justify="left")
    moves = _table(console, "controls\nmedian |Δ|", "\n/SD", bar, "harmless\nmedian |Δ|", "\n/SD", bar)
    largest = _largest(result.headline["control_median_over_sd"], result.headline["invariance_median_over_sd"])
    ratios = _table(console, "signal to noise", "punct. over\nwrong fact", "controls right")
    with_controls = not all(_missing(row["controls_right"]) for row in rows)
    for of_critic in _groups(rows, "critic"):
        for table in (moves, ratios):
            table.add_row(_heading(of_critic[0]["critic"]))
        for row in of_critic:
            label = _label(row["aggregation"])
            moves.add_row(
                label,
                _number(row["control_median_abs_delta"], raw),
                _number(row["control_median_over_sd"]),
                _effect(row["control_median_over_sd"], largest).lstrip("+"),
                _number(row["invariance_median_abs_delta"], raw),
                _number(row["invariance_median_over_sd"]),
                _effect(row["invariance_median_over_sd"], largest).lstrip("+"),
            )
            ratios.add_row(
                label,
                *(
                    _interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
                    for name in ("signal_to_noise", "punct_over_wrong_fact", "controls_right")
                ),
            )
    return _block(
        "What the score reacts to (Δ = edited - original; SD of the unedited scores)",
        moves,
        *((Text(), ratios) if with_controls else ()),
    )


def _by_kind(result: PerturbResult, kind: str, title: str, console: Console) -> RenderableType | None:
    frame = result.summary[result.summary.kind == kind]
    rows = _records(frame)
    if not rows:
        return None
    named = _namer(result.summary)
    raw = _decimals(frame["median_abs_delta"], frame["p95_abs_delta"])
    ordered, wide = kind not in ("identity", "invariance"), console.width >= _WIDE

    def cells(row: Record) -> dict[str, str]:
        """Cells by heading; those that only a wide console has room for are left out of a narrow one."""
        found = {"n": _number(row["n"], 0)}
        if wide or not ordered:
            found["median\n|Δ|"] = _number(row["median_abs_delta"], raw)
        if ordered:
            found["mean\nΔ/SD"] = _number(row["mean_delta_over_sd"], signed=True)
            found["right order"] = _interval(row["figure"], row["low"], row["high"])
            found["ending\nrestored"] = _number(row["right_order_ending_restored"])
        else:
            scaled = _number(row["median_abs_delta_over_sd"])
            found["median |Δ|\n/SD"] = _interval(row["figure"], row["low"], row["high"]) if row["preset"] else scaled
            found["p95\n/SD"] = _number(row["p95_abs_delta_over_sd"])
        if wide:
            found["max\n/SD"] = _number(row["max_abs_delta_over_sd"])
            found["below\nfloor"] = _number(row["below_floor"])
        if wide or not ordered:
            found["flip\nrate"] = _number(row["flip_rate"])
        return found | {"MDE": _number(row["detectable"]), "verdict": row["verdict"]}

    table = _table(console, *cells(rows[0]))
    for of_edit in _groups(rows, "family", "position"):
        position = of_edit[0]["position"]
        table.add_row(_heading(of_edit[0]["family"], "" if position == "whole" else position))
        for row in of_edit:
            table.add_row(_label(named(row)), *cells(row).values())
    floor = rows[0]["preset"]
    demand = f"; must be {'above' if ordered else 'below'} {floor:g}" if floor else ""
    return _block(title + demand, table)


def _cases(result: PerturbResult, console: Console, limit: int) -> RenderableType | None:
    shown = _records(result.cases.head(max(limit, 0)))
    if not shown:
        return None
    score = _decimals(*(result.cases[name] for name in ("original_score", "variant_score", "delta")))
    named = _namer(result.cases)
    table = _table(console, "original", "edited", "Δ", "Δ/SD", Column("flip", justify="left"), label="edit")
    for row in shown:
        what = ", ".join(str(row[name]) for name in ("family", "position", "kind") if not _missing(row[name]))
        table.add_row(
            Group(_heading(row["id"], f"{row['side']}, {named(row)}"), _plain(what), _edit(row)),
            _number(row["original_score"], score),
            _number(row["variant_score"], score),
            _above_floor(row, "delta", score),
            _above_floor(row, "delta_over_sd"),
            "" if _missing(row["flip"]) else "yes" if row["flip"] else "no",
        )
    return _block(f"Worst cases ({len(shown)} of {len(result.cases)})", table)


def _edit(row: Record) -> Text:
    """The edit in its context, `[-removed-]{+added+}`: legible without colour."""
    left, removed, added, right = (
        "" if _missing(row[name]) else _line(row[name]) for name in ("left", "removed", "added", "right")
    )
    return Text.assemble(
        left,
        (f"[-{removed}-]" if removed else "", "red strike"),
        (f"{{+{added}+}}" if added else "", "green"),
        right,
        overflow="fold",
    )


def _not_measured(result: PerturbResult, console: Console) -> RenderableType | None:
    rows = _records(result.not_measured)
    if not rows:
        return None
    table = _table(console, "count", Column("reason", overflow="fold"), label="family")
    critics = _groups(rows, "critic")
    for of_critic in critics:
        if len(critics) > 1:
            table.add_row(_heading(of_critic[0]["critic"]))
        for row in of_critic:
            table.add_row(_plain(row["family"]), _number(row["count"], 0), _plain(row["reason"]))
    return _block("Not measured", table)


# Trace


def _tokens(rows: Sequence[Record], console: Console) -> RenderableType:
    decimals = _decimals(*([row[name] for row in rows] for name in ("value", "running_mean")))
    largest = max((abs(row["value"]) for row in rows if math.isfinite(row["value"])), default=0.0)
    sides = {
        side: [_token(row, decimals, largest) for row in rows if row["side"] == side] for side in ("student", "teacher")
    }
    sides = {side: cells for side, cells in sides.items() if cells}
    if console.width < _WIDE:
        tables = [_block("", _token_table([side], cells, console)) for side, cells in sides.items()]
    else:
        tables = [_token_table(list(sides), [list(chain(*cells)) for cells in _side_by_side(rows, sides)], console)]
    critic = _line(rows[0]["critic"])
    return _block(f"Value of every token: {critic}", *tables)


def _side_by_side(rows: Sequence[Record], sides: dict[str, list[list[Text]]]) -> Iterator[list[list[Text]]]:
    """The cells of both sides, equal tokens in one row."""
    texts = [[str(row["token_id"]) for row in rows if row["side"] == side] for side in sides]
    absent = [Text()] * len(_TOKEN_COLUMNS)
    if len(texts) == 1:
        yield from ([cells] for cells in next(iter(sides.values())))
        return
    for indices in aligned(*texts):
        yield [absent if i is None else cells[i] for i, cells in zip(indices, sides.values(), strict=True)]


def _heat(rows: Sequence[Record], console: Console) -> RenderableType:
    return _block(f"Value of every token: {_line(rows[0]['critic'])}", line_view(rows, console.width))


def _token_table(sides: Sequence[str], rows: Iterable[Sequence[Text]], console: Console) -> Table:
    table = _frame(console)
    for side in sides:
        for name, justify, width in _TOKEN_COLUMNS:
            table.add_column(
                f"{side}\n{name}" if name == "text" else name,
                justify=justify,
                min_width=width,
                overflow="fold",
                no_wrap=name not in ("text", "read by"),
            )
    for cells in rows:
        table.add_row(*cells)
    return table


def _token(row: Record, decimals: int, largest: float) -> list[Text]:
    value = row["value"]
    share = share_of(value, largest)
    return [
        Text(str(row["index"]), style="dim"),
        Text(_quoted(row["text"])) if row["group"] == row["index"] else Text(" ·", style="dim"),
        Text(str(row["token_id"]), style="dim"),
        Text(_number(value, decimals), style=ground(value, share)),
        Text(_number(row["running_mean"], decimals)),
        Text(_bar(value, share), style=(BLUES if value > 0 else ORANGES)[-1] if share else ""),
        Text(row["read_by"], style="bold"),
    ]


def _bar(value: float, share: float) -> str:
    """A sign and a bar of four cells at most."""
    if not share:
        return ""
    cells, eighths = divmod(round(share * 32), 8)
    return ("+" if value > 0 else "-") + "█" * cells + _EIGHTHS[eighths].strip()


def _effect(value: Any, largest: float) -> str:
    """An effect size as a bar on one scale with those beside it."""
    return "" if _missing(value) else _bar(value, share_of(value, largest))


def _largest(*columns: pd.Series) -> float:
    found = pd.concat(columns).abs().max()
    return 0.0 if _missing(found) else float(found)


def _scores(result: TraceResult, console: Console) -> RenderableType | None:
    rows = _records(result.scores)
    if not rows:
        return None
    decimals = _decimals(result.scores["score"])
    table = _table(console, "student", "teacher")
    for of_critic in _groups(rows, "critic"):
        table.add_row(_heading(of_critic[0]["critic"]))
        for scores in _groups(of_critic, "aggregation"):
            by_side = {row["side"]: row["score"] for row in scores}
            table.add_row(
                _label(scores[0]["aggregation"]),
                *(_number(by_side.get(side), decimals) for side in ("student", "teacher")),
            )
    return _block("Scores", table)


# Below every result


def _reading(sentences: Sequence[str]) -> RenderableType | None:
    return _block("How to read it", *(_item(Text(neutralise(s))) for s in sentences)) if sentences else None


def _warnings(notices: Sequence[Notice]) -> RenderableType | None:
    return _block("Warnings", *(_item(_warning(notice)) for notice in notices)) if notices else None


def _warning(notice: Notice) -> Text:
    ids = ", ".join(_line(identity) for identity in notice.ids[:_IDS])
    more = f", ... and {len(notice.ids) - _IDS} more" if len(notice.ids) > _IDS else ""
    return Text.assemble(
        (notice.code, "bold yellow"),
        f": {neutralise(notice.message)}",
        (f" ({ids}{more})" if ids else "", "dim"),
        overflow="fold",
    )


def _signature(signature: Signature) -> RenderableType:
    return Text(signature_line(signature), style="dim", overflow="fold")


# Pieces


def _print(console: Console, *blocks: RenderableType | None) -> None:
    shown = [block for block in blocks if block is not None]
    for block in shown[:-1]:
        console.print(block)
        console.print()
    console.print(shown[-1])


def _block(title: str, *content: RenderableType) -> RenderableType:
    return Group(Text(title, style="bold", overflow="fold"), *content)


def _frame(console: Console) -> Table:
    gap = 1 if console.width >= _ROOMY else 0
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0), header_style="")


def _table(console: Console, *columns: str | Column, label: str = "") -> Table:
    """A table of numbers behind a column of labels, the only one that gives way when room is short."""
    table = _frame(console)
    table.add_column(label, overflow="fold")
    for column in columns:
        if isinstance(column, Column):
            table.add_column(
                column.header, justify=column.justify, overflow=column.overflow, no_wrap=column.overflow != "fold"
            )
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _heading(name: Any, detail: Any = "") -> Text:
    text = Text(_line(name), style="bold", overflow="fold")
    if not _missing(detail) and detail != "":
        text.append(f", {_line(detail)}", style="not bold")
    return text


def _label(name: Any) -> RenderableType:
    return Padding(_plain(name), (0, 0, 0, 2))


def _item(text: Text) -> RenderableType:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row("-", text)
    return line


def _plain(text: Any) -> Text:
    return Text(_line(text), overflow="fold")


def _quoted(token: str) -> str:
    return f"'{_line(token)}'"


def _line(text: Any) -> str:
    return neutralise(str(text), newlines=True)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"


def _records(frame: pd.DataFrame) -> list[Record]:
    return [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]


def _groups(rows: Iterable[Record], *keys: str) -> list[list[Record]]:
    """The rows that agree in `keys` brought together, in the order in which they first appear."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(key)) for key in keys), []).append(row)
    return list(groups.values())


def _namer(frame: pd.DataFrame) -> Callable[[Record], str]:
    """How a row's read-out is called: with its critic only where there are several."""
    several = frame["critic"].nunique() > 1
    return lambda row: f"{row['critic']}/{row['aggregation']}" if several else str(row["aggregation"])


# Numbers


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _decimals(*columns: Iterable[Any]) -> int:
    """Two; more where the largest magnitude is small, fewer where it is in the thousands.

    One number serves columns that are read together.
    """
    sizes = [abs(value) for column in columns for value in column if not _missing(value) and math.isfinite(value)]
    largest = max(sizes, default=0.0)
    exponent = math.floor(math.log10(largest)) if largest else 0
    return min(max(2 - exponent, min(2, 4 - exponent), 0), 6)


def _number(value: Any, decimals: int = 2, *, signed: bool = False) -> str:
    if _missing(value):
        return _MISSING
    # The sign of what rounds to nothing is kept, because the verdict follows it; only a true zero has none.
    sign = "+" if signed and value else ""
    if math.isfinite(value) and abs(value) >= 1e6:
        return f"{value:{sign}.2e}"
    return f"{value or 0:{sign}.{decimals}f}"


def _above_floor(row: Record, name: str, decimals: int = 2) -> str:
    """A difference, or `< floor` where arithmetic alone can make it."""
    below = abs(row[name.removesuffix("_over_sd")]) <= row["floor"]
    return "< floor" if below else _number(row[name], decimals, signed=True)


def _interval(value: Any, low: Any, high: Any) -> str:
    if _missing(value):
        return _MISSING
    return f"{value:.2f} [{_number(low)}, {_number(high)}]"


def _share(part: Any, whole: Any) -> str:
    return f"{_number(part, 0)}/{_number(whole, 0)}"


def _tagged(tag: str, value: Any) -> str:
    return f"{tag}:{_short(value)}" if value not in (None, "") else ""


def _short(value: Any) -> str:
    """A hash by its first twelve digits, a list by its items."""
    if isinstance(value, list | tuple):
        return ",".join(_short(item) for item in value)
    text = "" if value is None else str(value)
    return text[:12] if len(text) >= 32 and all(c in "0123456789abcdef" for c in text) else text
