"""Dataclasses of options as parameters of a command: an option is declared once, in the dataclass that holds it."""

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from rich.markup import escape

from critic_probe.cli import options
from critic_probe.cli.session import exit_codes
from critic_probe.errors import Spelling, spelled
from critic_probe.option import Option, checked, option_of, words
from critic_probe.report.targets import refuse_inputs
from critic_probe.training import options as training

_Group = TypeVar("_Group")
_TEXTS = ("TEXT", "TEXT|ID", "ID", "NAME")  # what stands for a value that names no file
_SHARED = (training.Options, options.Loading, options.Scoring, options.PairFields, options.Gating)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command as Typer takes it, for one whose parameters may be dataclasses of options.

    Every field whose type carries an `Option` becomes an option; the others keep their defaults, so that a subclass
    takes an option away by stating its field anew without one. What users are meant to see ends in exit code 2, and
    names parameters as the command's options.
    """
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in types.items() if is_dataclass(kind)}
    spelling = _spelling([*_SHARED, *groups.values()], types)
    flat: list[Parameter] = []
    of_groups: dict[str, Any] = {}
    for given in signature(command).parameters.values():
        if given.name not in groups:
            flat.append(_parameter(given.name, given.name, types[given.name], given.default))
            continue
        for field, kind in _optional(groups[given.name]).items():
            default = getattr(groups[given.name], field, Parameter.empty)
            of_groups[f"{given.name}_{field}"] = kind
            flat.append(_parameter(f"{given.name}_{field}", field, kind, default))

    each = {p.name: option_of(types[p.name] if p.name in types else of_groups[p.name]) for p in flat}
    written = [name for name, option in each.items() if option is not None and option.writes]
    read = [name for name, option in each.items() if option is None or not (option.writes or option.metavar in _TEXTS)]

    @wraps(command)
    def run(**values: Any) -> None:
        with exit_codes(), spelled(spelling):
            refuse_inputs([values[name] for name in written], [values[name] for name in read])
            for name, group in groups.items():
                values[name] = _filled(group, {field: values.pop(f"{name}_{field}") for field in _optional(group)})
            command(**values)

    run.__signature__ = Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return run


def _spelling(groups: Iterable[Any], types: dict[str, Any]) -> Spelling:
    """How a command writes a parameter: as its own option, else as the option that other commands have."""
    names = {
        option.parameter or field: _names(field, option)[0]
        for kinds in (*map(_optional, groups), types)
        for field, kind in kinds.items()
        if (option := option_of(kind))
    }

    def spell(name: str, value: object) -> str:
        option = names.get(name) or _names(name, Option(""))[0]
        return option if value is None or isinstance(value, bool) else f"{option} {value}"

    return spell


def as_words(group: Any) -> list[str]:
    """The words of a command line that ask for these options; those at their defaults are left out."""
    words: list[str] = []
    declared: Any = type(group)
    for field, kind in _optional(declared).items():
        value = getattr(group, field)
        if value != getattr(declared, field, None):
            name = max(_names(field, kind.__metadata__[0]), key=len)
            values = value if isinstance(value, list | tuple) else [value]
            words += [name] if value is True else [word for each in values for word in (name, str(each))]
    return words


def _filled(group: Any, values: dict[str, Any]) -> Any:
    for field, kind in _optional(group).items():
        if (parse := kind.__metadata__[0].parse) is not None:
            values[field] = parse(values[field])
    return checked(group(**values))


@cache
def _optional(group: Any) -> dict[str, Any]:
    """The fields that are options, with their `Annotated` types."""
    types = get_type_hints(group, include_extras=True)
    return {f.name: types[f.name] for f in fields(group) if option_of(types[f.name])}


def _parameter(name: str, field: str, kind: Any, default: Any) -> Parameter:
    if option := option_of(kind):
        known = words(kind)
        shown = typer.Option(
            *_names(field, option),
            help=escape(option.help),  # typer reads it as rich's markup
            metavar=option.metavar or (f"[{'|'.join(known)}]" if known else None),
            min=option.min,
            rich_help_panel=option.panel,
        )
        optional = str | None if default is None else str
        kind = Annotated[optional if known or option.parse else kind.__origin__, shown]
        default = str(default) if option.parse else default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _names(field: str, option: Option) -> tuple[str, ...]:
    return option.names or (f"--{field.replace('_', '-')}",)
