"""Every result that is shown, measured once: the bundled critics on a few of the bundled pairs and a hostile one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.measures import compare as comparing
from critic_probe.measures import diff as differing
from critic_probe.measures import doctor as examining
from critic_probe.measures import perturb as perturbing
from critic_probe.measures import tokens as reading
from critic_probe.measures import trace as tracing
from critic_probe.measures import verify as verifying
from critic_probe.pairs import Fields, Pair, read_pairs
from critic_probe.probes import all_families, choose
from critic_probe.report.files import read_result, to_json
from critic_probe.workbench import Settings

HOSTILE = "[bold]x[/bold] \x1b[31mred \u202eevil </script>"
SETTINGS = Settings((parse("last"), parse("mean")))
FINDINGS = Path(__file__).parents[2] / "docs" / "findings"


def quiet(*_):
    return lambda: None


@pytest.fixture(scope="session")
def critics(fixtures):
    return [load_critic(fixtures / "critics" / name, name=f"bundled:{name}", device="cpu") for name in ("last", "mean")]


@pytest.fixture(scope="session")
def pairs(fixtures):
    kept = read_pairs(fixtures / "pairs.jsonl", Fields())[::4]
    return [*kept, Pair(HOSTILE, f"问{HOSTILE}", f"坏{HOSTILE}，", f"好{HOSTILE}。", HOSTILE)]


@pytest.fixture(scope="session")
def compare(critics, pairs):
    return comparing.compare(critics, pairs, SETTINGS, quiet)


@pytest.fixture(scope="session")
def perturb(critics, pairs):
    families = choose(all_families(), ["punct", "layout", "eos", "controls"], [])
    return perturbing.perturb(critics, pairs, SETTINGS, perturbing.Plan(families, most=3), quiet)


@pytest.fixture(scope="session")
def completeness(critics, pairs):
    plan = perturbing.Plan(choose(all_families(), ["completeness"], []))
    return replace(perturbing.perturb(critics, pairs, SETTINGS, plan, quiet), command="completeness")


@pytest.fixture(scope="session")
def trace(critics, pairs):
    return tracing.trace(critics, pairs[-1], SETTINGS)


@pytest.fixture(scope="session")
def tokens(critics, pairs):
    return reading.tokens(critics, pairs, SETTINGS, quiet)


@pytest.fixture(scope="session")
def diff(compare, perturb):
    return differing.diff(compare, perturb)


@pytest.fixture(scope="session")
def doctor(fixtures, pairs):
    path = fixtures / "critics" / "last"
    return examining.doctor(path, lambda: pairs, SETTINGS, quiet, name="bundled:last", device="cpu")


@pytest.fixture(scope="session")
def verify(compare, critics, pairs):
    record = json.loads(json.dumps(to_json(compare)))
    settings = {critic.name: SETTINGS for critic in critics}
    return verifying.verify(record, critics, pairs, settings, perturbing.Plan([]), sample=2, seed=0)


@pytest.fixture(scope="session")
def audit(tmp_path_factory):
    """What `audit` found of the bundled critics, with what `audit --train` gave of critics trained from scratch."""
    data = json.loads((FINDINGS / "tiny.json").read_text(encoding="utf-8"))
    data["training"] = json.loads((Path(__file__).parent / "trained.json").read_text(encoding="utf-8"))
    path = tmp_path_factory.mktemp("audit") / "audit.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return read_result(path)


RESULTS = (
    "compare",
    "perturb",
    "completeness",
    "trace",
    "tokens",
    "diff",
    "doctor",
    "verify",
    "audit",
)


@pytest.fixture(params=RESULTS)
def result(request):
    """Each of them in turn."""
    return request.getfixturevalue(request.param)
