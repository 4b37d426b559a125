"""What the command line takes: each option once, told in the help, and refused by its name."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from critic_probe.checkpoint.gguf import backbones
from critic_probe.cli import app
from critic_probe.cli.declare import with_options
from critic_probe.cli.options import Scoring
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option, checked
from critic_probe.scoring.cache import cache_path

ROOT = Path(__file__).parents[2]


def test_the_written_commands_are_those_of_the_command_line(tmp_path):
    subprocess.run([sys.executable, ROOT / "docs/commands.py", tmp_path / "commands.md"], check=True)
    now = (tmp_path / "commands.md").read_text(encoding="utf-8")
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == now, "run python docs/commands.py"


@dataclass(frozen=True, kw_only=True)
class Paint:
    colour: Annotated[Literal["red", "blue"], Option("The colour.", names=("--colour", "-c"), panel="Paint")] = "red"
    coats: Annotated[int, Option("How many.", min=1)] = 2
    gloss: Annotated[float, Option("How bright.", parse=lambda text: float(text.rstrip("%")) / 100)] = 50.0


@dataclass(frozen=True, kw_only=True)
class OneCoat(Paint):
    coats: int = 1


def painting(group: type) -> typer.Typer:
    made = typer.Typer()

    def paint(wall: str, *, paint: group, dry: Annotated[bool, Option("Wait.")] = False) -> None:
        typer.echo(f"{wall} {paint} {dry}")

    made.command()(with_options(paint))
    return made


@pytest.mark.parametrize(
    ("group", "arguments", "expected"),
    [
        (Paint, [], Paint(gloss=0.5)),
        (Paint, ["-c", "blue", "--coats", "3", "--gloss", "20%"], Paint(colour="blue", coats=3, gloss=0.2)),
        (OneCoat, ["--colour", "blue"], OneCoat(colour="blue", gloss=0.5)),
    ],
)
def test_a_command_is_given_its_options_as_a_dataclass(group, arguments, expected):
    done = CliRunner().invoke(painting(group), ["north", *arguments, "--dry"])
    assert done.stdout == f"north {expected} True\n", done.stderr


@pytest.mark.parametrize(
    ("group", "arguments", "told"),
    [
        (Paint, ["--colour", "green"], "critic-probe: error: --colour 'green' is unknown; choose from red, blue\n"),
        (Paint, ["--coats", "0"], "--coats"),
        (OneCoat, ["--coats", "1"], "No such option"),
    ],
)
def test_what_a_command_does_not_take_is_refused(group, arguments, told):
    done = CliRunner().invoke(painting(group), ["north", *arguments])
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize("command", ["audit", "completeness", "doctor", "diff", "inspect", "tokens", "trace", "verify"])
def test_a_command_refuses_an_option_that_it_would_not_follow(command):
    lacks = {
        "audit": "--aggregation",
        "completeness": "--max-per-response",
        "doctor": "--on-too-long",
        "diff": "--step",
        "inspect": "--device",
        "tokens": "--aggregation",
        "trace": "--on-too-long",
        "verify": "--dtype",
    }
    done = CliRunner().invoke(app, [command, lacks[command], "1"])
    assert done.exit_code == 2
    assert re.search(rf"No such option.*{lacks[command]}", done.stderr, re.S)


def test_every_option_says_what_it_does():
    def parameters(command):
        for inner in getattr(command, "commands", {}).values():
            yield from parameters(inner)
        yield from command.params

    silent = [parameter.opts for parameter in parameters(get_command(app)) if not parameter.help]
    assert not silent


def test_an_unknown_word_is_refused_in_python_too():
    with pytest.raises(CriticProbeError, match=r"^value_position 'after' is unknown; choose from at, before"):
        checked(Scoring(value_position="after"))


@pytest.mark.skipif(sys.platform != "linux", reason="the places of the XDG specification")
def test_kept_files_lie_in_the_users_cache_directory(monkeypatch, tmp_path):
    monkeypatch.delenv("CRITIC_PROBE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_path() == tmp_path / "xdg/critic-probe/values.sqlite"
    assert backbones() == tmp_path / "xdg/critic-probe/backbones"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_path() == tmp_path / "home/.cache/critic-probe/values.sqlite"
