"""A message names a parameter as whoever reads it would write it: as an option, or as Python's argument."""

import ast
import json
import re
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from critic_probe import face, pytest_plugin
from critic_probe.cli import app
from critic_probe.cli.declare import with_options
from critic_probe.cli.score import ResponseFields
from critic_probe.encoding import find_convention, read_date, template_arguments
from critic_probe.errors import CriticProbeError, parameter

PACKAGE = Path(__file__).parents[2] / "critic_probe"


@pytest.mark.parametrize(
    ("refused", "name", "option", "message"),
    [
        (lambda: find_convention("tlr"), "convention", "--as", "'tlr' is no known convention"),
        (lambda: template_arguments(["x"]), "arguments", "--template-arg", "'x' is not KEY=VALUE"),
        (lambda: read_date("today"), "date", "--date", "'today' is no day"),
    ],
)
def test_python_reads_the_parameter_and_the_command_line_the_option(refused, name, option, message):
    with pytest.raises(CriticProbeError, match=f"^{name} {message}"):
        refused()
    done = CliRunner().invoke(app, ["compare", option, message.split("'")[1]])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"critic-probe: error: {option} {message}")


def test_the_pytest_plugin_names_what_its_fixtures_take():
    with pytest.raises(pytest.fail.Exception, match=r"^template_arg 'x' is not KEY=VALUE"), pytest_plugin._told():
        template_arguments(["x"])


def test_a_cure_is_written_as_it_is_given(make_critic):
    critic = make_critic(max_position_embeddings=16)
    with pytest.raises(CriticProbeError, match=r"shorten them, or use on_too_long='skip'$"):
        face.bench(face.load(critic, device="cpu")).compare()
    done = CliRunner().invoke(app, ["compare", "-c", str(critic), "--device", "cpu"])
    assert done.stderr.endswith("shorten them, or use --on-too-long skip\n")


@pytest.mark.parametrize(("command", "option"), [(["compare"], "--eos"), (["perturb", "--punct"], "--eos-policy")])
def test_a_command_spells_its_own_option(command, option, make_critic):
    critic = make_critic()
    settings = critic / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text("utf-8")) | {"eos_token": None}), "utf-8")
    done = CliRunner().invoke(app, [*command, "-c", str(critic), option, "include"])
    assert f"{option} include: the tokenizer names no EOS token; use {option} exclude" in done.stderr
    with pytest.raises(CriticProbeError, match=r"^eos='include': the tokenizer names no EOS token; use eos='exclude'$"):
        face.bench(face.load(critic, device="cpu"), eos="include").compare()


def trees() -> Iterator[tuple[str, ast.AST]]:
    for file in PACKAGE.rglob("*.py"):
        yield str(file.relative_to(PACKAGE)), ast.parse(file.read_text(encoding="utf-8"))


def texts(tree: ast.AST) -> Iterator[str]:
    """What a file may say: its strings that are more than a word, no docstrings, nothing that stands in backticks."""
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    silent |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [] if id(node) in silent else [node]
        text = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        if " " in text:
            yield re.sub("`.*?`", "", text)


def test_no_message_below_the_command_line_spells_an_option():
    speaks_of_commands = ("cli/", "studies/", "pytest_plugin.py")
    said = {
        name: text
        for name, tree in trees()
        if not name.startswith(speaks_of_commands)
        for text in texts(tree)
        if re.search(r"(?<!\S)--[a-z]", text)
    }
    assert not said


def options(command: click.Command) -> Iterator[str]:
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)
    for each in command.params:
        yield from each.opts


def test_every_parameter_that_a_message_names_is_an_option():
    named = {f"fields.{side}" for side in ("prompt", "student", "teacher")}
    for _, tree in trees():
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        named |= {
            call.args[0].value
            for call in calls
            if isinstance(call.func, ast.Name)
            and call.func.id == "parameter"
            and isinstance(call.args[0], ast.Constant)
        }
    spelled = []

    def command(*, fields: ResponseFields) -> None:  # a reader of responses names its own field too
        spelled.extend(map(parameter, named))

    run = with_options(command)
    run(**{name: given.default for name, given in signature(run).parameters.items()})
    assert len(named) > 25
    assert set(spelled) <= set(options(get_command(app)))
