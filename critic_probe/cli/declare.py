"""Dataclasses of options as parameters of a command: an option is declared once, in the dataclass that holds it."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from critic_probe.cli.session import exit_codes
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option

_Group = TypeVar("_Group")


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command as Typer takes it, for one whose parameters may be dataclasses of options.

    Every field whose type carries an `Option` becomes an option; the others keep their defaults, so that a subclass
    takes an option away by stating its field anew without one. What users are meant to see ends in exit code 2.
    """
    types = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in types.items() if is_dataclass(kind)}
    flat: list[Parameter] = []
    for given in signature(command).parameters.values():
        if given.name not in groups:
            flat.append(_parameter(given.name, given.name, types[given.name], given.default))
            continue
        for field, kind in _optional(groups[given.name]).items():
            default = getattr(groups[given.name], field, Parameter.empty)
            flat.append(_parameter(f"{given.name}_{field}", field, kind, default))

    @wraps(command)
    def run(**values: Any) -> None:
        with exit_codes():
            for name, group in groups.items():
                values[name] = _filled(group, {field: values.pop(f"{name}_{field}") for field in _optional(group)})
            command(**values)

    run.__signature__ = Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return run


def checked(group: _Group) -> _Group:
    """The options, if every one that takes one of a few words has one of them.

    Raises:
        CriticProbeError: One has not.
    """
    for field, kind in _optional(type(group)).items():
        words, value = _words(kind), getattr(group, field)
        if words and value is not None and value not in words:
            name = _names(field, kind.__metadata__[0])[0]
            raise CriticProbeError(f"{name} '{value}' is unknown; choose from {', '.join(words)}")
    return group


def spelled(group: Any) -> list[str]:
    """The words of a command line that ask for these options; those at their defaults are left out."""
    words: list[str] = []
    for field, kind in _optional(type(group)).items():
        value = getattr(group, field)
        if value != getattr(type(group), field, None):
            name = max(_names(field, kind.__metadata__[0]), key=len)
            values = value if isinstance(value, list | tuple) else [value]
            words += [name] if value is True else [word for each in values for word in (name, str(each))]
    return words


def _filled(group: Any, values: dict[str, Any]) -> Any:
    for field, kind in _optional(group).items():
        if (parse := kind.__metadata__[0].parse) is not None:
            values[field] = parse(values[field])
    return checked(group(**values))


def _optional(group: Any) -> dict[str, Any]:
    """The fields that are options, with their `Annotated` types."""
    types = get_type_hints(group, include_extras=True)
    return {f.name: types[f.name] for f in fields(group) if isinstance(_first(types[f.name]), Option)}


def _parameter(name: str, field: str, kind: Any, default: Any) -> Parameter:
    option = _first(kind)
    if isinstance(option, Option):
        words = _words(kind)
        shown = typer.Option(
            *_names(field, option),
            help=option.help,
            metavar=option.metavar or (f"[{'|'.join(words)}]" if words else None),
            min=option.min,
            rich_help_panel=option.panel,
        )
        optional = str | None if default is None else str
        kind = Annotated[optional if words or option.parse else kind.__origin__, shown]
        default = str(default) if option.parse else default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _first(kind: Any) -> Any:
    return getattr(kind, "__metadata__", (None,))[0]


def _words(kind: Any) -> tuple[str, ...]:
    """The words that an option takes, of a `Literal` or of one that may be None."""
    union = isinstance(kind.__origin__, UnionType) or get_origin(kind.__origin__) is Union
    kinds = [each for each in (get_args(kind.__origin__) if union else [kind.__origin__]) if each is not type(None)]
    return get_args(kinds[0]) if len(kinds) == 1 and get_origin(kinds[0]) is Literal else ()


def _names(field: str, option: Option) -> tuple[str, ...]:
    return option.names or (f"--{field.replace('_', '-')}",)
