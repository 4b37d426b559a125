"""A critic in pytest: `pytest --critic-checkpoint DIR` gives tests its scores and gates on its figures.

pytest loads this file in every run where the package is installed, so it imports nothing heavy until a fixture is used.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from critic_probe.bundled import Critics
    from critic_probe.checkpoint import Critic


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--critic-checkpoint`."""
    group = parser.getgroup("critic-probe")
    group.addoption(
        "--critic-checkpoint",
        metavar="DIR",
        help="The critic that the fixtures critic, critic_scores and critic_gate use; bundled:last or bundled:mean for "
        "the ones that ship. Default: $CRITIC_PROBE_CHECKPOINT.",
    )
    group.addoption("--critic-base", metavar="DIR", help="The model under --critic-checkpoint, where it is an adapter.")


@pytest.fixture(scope="session")
def _held(request: pytest.FixtureRequest) -> "Critics":
    from critic_probe import bundled

    class Held(bundled.Critics):
        def load(self) -> "Iterator[Critic]":
            yield loaded

    given = request.config.getoption("--critic-checkpoint")
    with _told():
        named = bundled.find_critics([given] if given else None, base=request.config.getoption("--critic-base"))
        if named.bundled:
            pytest.fail("no critic: give --critic-checkpoint DIR, or set CRITIC_PROBE_CHECKPOINT", pytrace=False)
        [loaded] = named.load()
    return Held(named.paths, named.bundled, named.loading)


@pytest.fixture(scope="session")
def critic(_held: "Critics") -> "Critic":
    """The critic of `--critic-checkpoint`, loaded once: `critic.values(ids)` are its values, (S,)."""
    return next(_held.load())


@pytest.fixture(scope="session")
def critic_scores(_held: "Critics") -> "Callable[..., pd.DataFrame]":
    """`critic_scores(pairs, *aggregations, **settings)`: the table `pairs` of `compare`, a row a read-out and pair.

    `pairs` is a file, or None for the bundled pairs; `settings` are `eos`, `value_position`, `template`, `convention`
    (there `--as`), `template_arg`, `date` and `on_too_long`, as on the command line. Columns: id, category,
    aggregation, student_score, teacher_score, gap, gap_over_sd, floor, verdict (teacher, student, tie) and more.
    """

    def scores(pairs: Any = None, *aggregations: str, **settings: str) -> "pd.DataFrame":
        from critic_probe.measures.compare import compare

        with _told():
            read, chosen = _prepared(_held, pairs, aggregations, settings)
            return compare(_held.load(), read, chosen).pairs

    return scores


@pytest.fixture(scope="session")
def critic_gate(_held: "Critics") -> Callable[..., None]:
    """`critic_gate(metric, pairs=None, ..., on_unclear="fail", **settings)`: fails the test unless the gate passes.

    The keywords between are a gate's of `check`: min, max, at, aggregation, family, position, category; `seed` and
    `max_per_response` draw edits.
    """

    def gate(
        metric: str,
        pairs: Any = None,
        *,
        on_unclear: str = "fail",
        max_per_response: int | None = None,
        seed: int = 0,
        **given: Any,
    ) -> None:
        from critic_probe.gates.gate import Plan, failing, read_gate
        from critic_probe.gates.measure import judge, measure
        from critic_probe.probes import all_families
        from critic_probe.report.verdicts import sentences
        from critic_probe.workbench import benches

        with _told():
            settings = {key: given.pop(key) for key in _SETTINGS if key in given}
            made = read_gate({"metric": metric, **given}, "critic_gate", all_families())
            plan = Plan("critic_gate", (made,))
            read, chosen = _prepared(_held, pairs, plan.aggregations(("last", "mean")), settings)
            with benches(_held.load(), read, chosen) as bench:
                results, signature = measure(plan, bench, max_per_response, seed)
            rows = judge(plan, results, signature, [a.name for a in chosen.aggregations]).gates
        wrong = rows[rows.verdict.isin(failing(on_unclear))]
        if len(wrong):
            pytest.fail("\n".join(sentences(wrong)), pytrace=False)

    return gate


_OWN = {"arguments": "template_arg", "base": "--critic-base"}  # where Python calls a parameter otherwise
_SETTINGS = ("eos", "value_position", "template", "convention", "template_arg", "date", "on_too_long")


def _prepared(critics: "Critics", pairs: Any, aggregations: Any, settings: dict[str, Any]) -> tuple[Any, Any]:
    from critic_probe.bundled import find_pairs
    from critic_probe.cli.options import Scoring
    from critic_probe.option import checked
    from critic_probe.pairs import Fields

    read = find_pairs(None if pairs is None else str(pairs), Fields(), critics)
    return read, checked(Scoring(**settings)).settings(aggregations)


@contextmanager
def _told() -> "Iterator[None]":
    """Turns the error that users are meant to see into a failure without a traceback, as these fixtures write it."""
    from critic_probe.errors import CriticProbeError, as_argument, spelled

    try:
        with spelled(lambda name, value: as_argument(_OWN.get(name, name), value)):
            yield
    except CriticProbeError as error:
        pytest.fail(str(error), pytrace=False)
