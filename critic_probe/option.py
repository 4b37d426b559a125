"""How the command line spells a field of a dataclass, so that options are declared once for it and for Python."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from critic_probe.errors import CriticProbeError, parameter

_Group = TypeVar("_Group")


@dataclass(frozen=True)
class Option:
    """Stands in a field's `Annotated` type; a field without one is no option of the command line.

    Attributes:
        help: One sentence.
        names: As users type it; made of the field's name where empty.
        metavar: What stands for the value in the help; made of the type where None.
        min: The least value.
        parameter: What Python calls it, where that is not the field's name; messages name it so (`errors.parameter`).
        parse: Reads the text; raises CriticProbeError where it cannot. None reads it as the field's type.
        panel: The heading that it stands under in the help.
        writes: Whether it names a file that is written.
    """

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    min: float | None = None
    parameter: str | None = None
    parse: Callable[[str], Any] | None = None
    panel: str | None = None
    writes: bool = False


def option_of(kind: Any) -> Option | None:
    """The option of a field, of the field's type."""
    first = getattr(kind, "__metadata__", (None,))[0]
    return first if isinstance(first, Option) else None


def words(kind: Any) -> tuple[str, ...]:
    """The words that a field takes, of its type where that is a `Literal`, or one or None; else none."""
    plain = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    union = isinstance(plain, UnionType) or get_origin(plain) is Union
    kinds = [each for each in (get_args(plain) if union else [plain]) if each is not type(None)]
    return get_args(kinds[0]) if len(kinds) == 1 and get_origin(kinds[0]) is Literal else ()


def checked(group: _Group) -> _Group:
    """A dataclass, if every field that takes one of a few words has one of them.

    Raises:
        CriticProbeError: One has not.
    """
    kinds = get_type_hints(type(group), include_extras=True)
    for field in fields(group):  # type: ignore[arg-type]
        known, value = words(kinds[field.name]), getattr(group, field.name)
        if known and value is not None and value not in known:
            option = option_of(kinds[field.name])
            name = parameter((option and option.parameter) or field.name)
            raise CriticProbeError(f"{name} '{value}' is unknown; choose from {', '.join(known)}")
    return group
