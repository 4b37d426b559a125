"""Each serving fault is named, alone and in pairs, over each protocol, and none on a sound server."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from printing import printed
from served import FAULTS, ServedCritic, bos_critic, serving
from typer.testing import CliRunner

from benchmarks import serving as benchmark
from benchmarks.serving import FEW
from critic_probe.cli import app
from critic_probe.encoding import find_convention
from critic_probe.errors import CriticProbeError
from critic_probe.report.files import read_result
from critic_probe.serving.client import PROTOCOLS, Endpoint
from critic_probe.serving.served import Served


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return bos_critic(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(path) -> ServedCritic:
    return ServedCritic(path)


@pytest.fixture(scope="module")
def checkpoint(path) -> Served:
    """What the checkpoint gives under every factor; computed once."""
    return benchmark.checkpoint(path, pairs=FEW)


def named(result) -> set[str]:
    """The factors that are named, and the checks that fail beside agreement."""
    failed = set(result.checks.check[result.checks.verdict == "fail"])
    return {*result.factors.factors[result.factors.named]} | (failed - {"agreement"})


def test_no_fault_is_named_on_a_sound_server(checkpoint, server):
    result = benchmark.held(checkpoint, server, [])
    assert result.agrees
    assert not result.named
    assert set(result.checks.verdict) == {"ok"}
    assert len(result.unseen) == 1  # each factor would have moved these scores, but for a cut behind their end
    assert result.unseen[0].startswith("a cut at")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_alone(fault, checkpoint, server):
    result = benchmark.held(checkpoint, server, [fault])
    assert not result.agrees
    told = " ".join(result.named)
    same = {"token-before", "tail-stripped"}  # the tail's last token is a line break: these are one fault here
    wanted = same if fault in same else {"dtype-bfloat16" if fault == "bfloat16" else fault}
    if fault == "random-head":
        assert "drawn afresh" in told
    else:
        assert named(result) == wanted
    if fault in ("cut-end", "cut-start"):
        assert "to 64 tokens" in told
    rows = result.factors[result.factors.named]
    assert (rows.residual < rows.residual_before / 10).all()
    assert (rows.agrees == rows.moved).all()


TWO = [
    ("sigmoid", "bos-missing"),
    ("bos-doubled", "tail-lost"),
    ("template-twice", "eos-added"),
    ("hidden-unit", "cut-end"),
    ("other-head", "eos-added"),
    ("bfloat16", "cut-start"),
    ("bos-missing", "bfloat16"),
    ("hidden-unit", "bfloat16"),
    ("hidden-unit", "softmax"),
]


@pytest.mark.parametrize("faults", TWO, ids="+".join)
def test_pairs_of_faults_are_named(faults, checkpoint, server):
    result = benchmark.held(checkpoint, server, faults)
    [both] = named(result)
    assert set(both.replace("dtype-", "").split(" + ")) == set(faults)


HEADS = [
    ("other-head", "cut-end"),
    ("random-head", "cut-start"),
    ("other-head", "bfloat16"),
    ("random-head", "bfloat16"),
]


@pytest.fixture(scope="module")
def more(path) -> Served:
    """The same over twice as many pairs, since half of them must settle a head."""
    return benchmark.checkpoint(path)


@pytest.mark.parametrize("faults", HEADS, ids="+".join)
def test_heads_are_named_beside_cuts_and_types(faults, more, server):
    result = benchmark.held(more, server, faults)
    [both] = named(result)
    wanted = {fault.replace("bfloat16", "dtype-bfloat16").replace("random-head", "other-head") for fault in faults}
    assert set(both.split(" + ")) == wanted
    assert ("drawn afresh" in result.named[0]) == ("random-head" in faults)


def test_an_eos_that_training_had_is_missed(path, server):
    checkpoint = benchmark.checkpoint(path, pairs=FEW, convention=replace(find_convention("hf"), closing="tail+eos"))
    assert benchmark.held(checkpoint, server, []).agrees
    assert "eos-lost" in named(benchmark.held(checkpoint, server, ["eos-lost"]))


def test_a_sigmoid_over_small_scores_is_as_good_as_another_head(checkpoint, server):
    told = benchmark.held(checkpoint, server, ["sigmoid", "random-head"]).named[0]
    assert "a head drawn afresh over the same states and a sigmoid over the score" in told


@pytest.mark.parametrize("behind", ["cut-end", "order", "other-head"])
def test_a_softmax_over_one_number_hides_what_is_behind_it(behind, checkpoint, server):
    result = benchmark.held(checkpoint, server, ["softmax", behind])
    [told] = result.named
    assert "it answers 1 whatever is asked, and nothing behind that can be told" in told
    checks = result.checks.set_index("check")
    assert checks.verdict[["order", "batch-mates"]].tolist() == ["not run", "not run"]
    assert checks.evidence["order"] == "every answer is 1, whatever is asked"


@pytest.mark.parametrize("faults", [[], ["sigmoid", "batch-mates"]], ids=["sound", "faulty"])
def test_it_is_shown_at_any_width_and_read_back(faults, checkpoint, server, tmp_path):
    result = benchmark.held(checkpoint, server, faults)
    for width in (60, 80, 200):
        for full in (False, True):
            shown = printed(result, width, full=full)
            assert max(map(len, shown.splitlines())) <= width
            assert "…" not in shown
    assert ("Residual under each factor" in printed(result, 80, full=True)) == bool(faults)
    result.save(tmp_path / "result.json")
    assert printed(read_result(tmp_path / "result.json"), 80) == printed(result, 80)


@pytest.mark.parametrize("other", ["order", "batch-mates"])
def test_what_happens_in_company_is_named_beside_what_happens_alone(other, checkpoint, server):
    assert named(benchmark.held(checkpoint, server, ["sigmoid", other])) == {"sigmoid", other}


def test_half_precision_is_agreement_where_the_checkpoint_is_stored_in_it(path, server):
    result = benchmark.held(benchmark.checkpoint(path, "bfloat16", FEW), server, ["bfloat16"])
    assert result.agrees
    assert "bfloat16's floor" in result.checks.set_index("check").evidence["agreement"]


def test_another_model_is_no_fault_of_serving(checkpoint, tmp_path):
    result = benchmark.held(checkpoint, ServedCritic(bos_critic(tmp_path, seed=1)), [])
    assert not result.agrees
    assert not result.factors.named.any()
    assert "no factor fits and the scores are uncorrelated" in result.named[0]


def test_of_a_critic_too_wide_to_fit_a_head_a_fresh_one_is_told(tmp_path):
    wide = bos_critic(tmp_path, hidden=32)
    checkpoint = benchmark.checkpoint(wide, pairs=FEW)
    assert not checkpoint.can_fit_heads
    [told] = benchmark.held(checkpoint, ServedCritic(wide), ["random-head"]).named
    assert "a head drawn afresh" in told


def test_a_hidden_state_in_place_of_a_score_is_told_by_its_width(checkpoint, server):
    checks = benchmark.held(checkpoint, server, ["hidden-unit"]).checks.set_index("check")
    assert checks.verdict["one-number"] == "warn"
    assert "last of 8 numbers" in checks.evidence["one-number"]


@pytest.mark.parametrize(
    ("speaks", "protocol", "version", "where"),
    [
        ("vllm", "vllm-classify", "vLLM 0.33.0", ""),
        ("vllm-pooling", "vllm-pooling", "vLLM 0.33.0", ""),
        ("vllm", "vllm-pooling", "vLLM 0.33.0", "/pooling"),
        ("sglang", "sglang", "SGLang 0.5.23", ""),
        ("openrlhf", "openrlhf", "", ""),
        ("openrlhf", "openrlhf", "", "/get_reward"),
        ("json", "json", "", "/score"),
    ],
)
def test_each_protocol_is_known_and_gives_the_scores(speaks, protocol, version, where, server):
    texts = ["<|bos|>a text", "<|bos|>another one"]
    with serving(server, (), speaks) as url:
        client = Endpoint(url + where)
        assert (client.protocol.name, client.version) == (protocol, version)
        scores = [
            a.score for a in client.scores([t.removeprefix("<|bos|>") if client.protocol.bos else t for t in texts])
        ]
        client.close()
    assert scores == [server.score(server.ids(text, frozenset(), False), frozenset())[0] for text in texts]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"id": p.id, "prompt": p.prompt, "student": p.student, "teacher": p.teacher} for p in FEW]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def doctor(path: Path, pairs: Path, url: str, *options: str):
    words = ["doctor", "-c", str(path), str(pairs), "--endpoint", url, "--device", "cpu", *options]
    return CliRunner().invoke(app, words, env={"COLUMNS": "80"})


def test_the_command_asks_a_server(path, server, pairs):
    with serving(server, (), "openrlhf") as url:
        sound = doctor(path, pairs, url)
    assert sound.exit_code == 0
    assert "The served critic is the checkpoint" in sound.stdout
    assert len(sound.stdout.splitlines()) <= 40
    with serving(server, ["sigmoid"]) as url:
        faulty = doctor(path, pairs, url, "--protocol", "vllm-pooling", "--json")
    assert faulty.exit_code == 1
    data = json.loads(faulty.stdout)
    assert data["schema"] == "critic-probe/endpoint/1"
    assert "a sigmoid over the score" in data["named"][0]
    assert data["signature"]["protocol"] == "vllm-pooling"
    assert len(data["scores"]) == 2 * len(FEW)


def test_a_server_reads_one_token(path, pairs):
    told = doctor(path, pairs, "http://localhost:1", "-a", "mean")
    assert told.exit_code == 2
    assert "leave --aggregation out" in told.stderr


@pytest.mark.parametrize(
    ("speaks", "options", "message"),
    [
        (
            "nothing",
            ("--protocol", "vllm-classify"),
            "/classify: 404, no such path; this is vLLM 0.33.0, critic-probe asks as vLLM",
        ),
        ("nothing", (), "404 for /classify (vLLM 0.33.0), /pooling (vLLM 0.33.0); this is vLLM 0.33.0"),
        ("no-json", (), "the answer is no JSON (<html>welcome</html>)"),
        ("short", (), "1 texts were sent and 0 answers came back"),
        ("odd", (), "the answer is not as vLLM 0.33.0 writes it (KeyError: 'probs'"),
    ],
)
def test_an_answer_that_cannot_be_read_is_told_in_one_line(speaks, options, message, path, server, pairs):
    with serving(server, (), speaks) as url:
        told = doctor(path, pairs, url, *options)
    assert told.exit_code == 2
    assert message in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_key_goes_to_the_server_and_nowhere_else(path, server, pairs, monkeypatch, tmp_path):
    output = tmp_path / "result.json"
    with serving(server, (), "sglang", key="sesame") as url:
        refused = doctor(path, pairs, url)
        assert refused.exit_code == 2
        assert "401, the server wants a key; put it into the environment as CRITIC_PROBE_ENDPOINT_KEY" in refused.stderr
        monkeypatch.setenv("CRITIC_PROBE_ENDPOINT_KEY", "sesame")
        known = doctor(path, pairs, url, "--full", "-o", str(output))
        assert known.exit_code == 0, known.stderr
        with serving(server, (), "sglang", moved=url) as elsewhere:
            moved = doctor(path, pairs, elsewhere)
        assert moved.exit_code == 2
        assert f"307, it has moved to {url}/version; give the URL there" in moved.stderr
        monkeypatch.setenv("CRITIC_PROBE_ENDPOINT_KEY", "sesam")
        wrong = doctor(path, pairs, url)
        assert "401, the server refuses the key of CRITIC_PROBE_ENDPOINT_KEY" in wrong.stderr
    assert "sesam" not in "".join([known.output, output.read_text(), moved.output, wrong.output])


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("http://me:sesame@localhost:1", "", "a URL with a password is printed and stored; put a key into"),
        ("http://localhost:1", "sesame\x07", "CRITIC_PROBE_ENDPOINT_KEY: holds what no HTTP header can"),
    ],
)
def test_a_key_that_cannot_be_sent_is_told_without_it(url, key, message, monkeypatch):
    monkeypatch.setenv("CRITIC_PROBE_ENDPOINT_KEY", key)
    with pytest.raises(CriticProbeError, match=message) as error:
        Endpoint(url)
    assert "sesame" not in str(error.value)


def test_a_server_that_is_not_there_is_told_before_a_critic_is_loaded(tmp_path, path, pairs):
    told = doctor(path, pairs, "http://127.0.0.1:9")
    assert told.exit_code == 2
    assert "http://127.0.0.1:9" in told.stderr
    assert "cannot be reached" in told.stderr
    assert "is no URL" in doctor(path, pairs, "localhost:8000").stderr


def test_the_command_line_knows_every_protocol():
    from critic_probe.cli.doctor import Server
    from critic_probe.option import words

    assert words(Server.__annotations__["protocol"]) == ("auto", *PROTOCOLS)
    with pytest.raises(CriticProbeError, match="'smoke' is unknown; choose from auto, vllm-classify"):
        Endpoint("http://localhost:1", "smoke")


def test_too_few_prompts_claim_nothing(path, server, tmp_path):
    file = tmp_path / "few.jsonl"
    rows = [{"id": str(i), "prompt": f"q{i}", "student": "a", "teacher": "b"} for i in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(server) as url:
        told = doctor(path, file, url)
    assert told.exit_code == 2
    assert "at least 4 prompts" in told.stderr
