"""All families by name, the users' own among them, and what they make of a response."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import get_args

from critic_probe.errors import CriticProbeError
from critic_probe.probes import completeness, controls, facts, identity, layout, punctuation
from critic_probe.probes.case import Case, Family, Group, Kind, Skip, Subject

ENTRY_POINTS = "critic_probe.families"
GROUPS: tuple[Group, ...] = get_args(Group)

BUILT_IN: dict[str, Family] = {
    family.name: family
    for module in (punctuation, layout, identity, completeness, controls, facts)
    for family in module.FAMILIES
}


def all_families() -> dict[str, Family]:
    """The built-in families and those that installed packages offer as entry points of `critic_probe.families`.

    Raises:
        CriticProbeError: An entry point cannot be imported, is no `Family`, or takes a name that is taken.
    """
    families = dict(BUILT_IN)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            family = point.load()
        except Exception as error:
            raise CriticProbeError(f"family '{point.name}' ({point.value}) cannot be loaded: {error}") from error
        if not isinstance(family, Family):
            raise CriticProbeError(f"family '{point.name}' ({point.value}) is no critic_probe.probes.Family")
        if family.group not in GROUPS or family.kind not in get_args(Kind):
            raise CriticProbeError(
                f"family '{family.name}': group must be one of {', '.join(GROUPS)}, kind one of "
                f"{', '.join(get_args(Kind))}"
            )
        if family.name in families:
            raise CriticProbeError(f"family '{family.name}' ({point.value}) takes a name that is taken; rename it")
        families[family.name] = family
    return families


def choose(families: Mapping[str, Family], groups: Iterable[str], names: Iterable[str]) -> list[Family]:
    """The families of these groups and names, in the order in which they are listed.

    Raises:
        CriticProbeError: A name is unknown.
    """
    wanted, groups = set(names), set(groups)
    if unknown := sorted(wanted - set(families)):
        raise CriticProbeError(f"'{unknown[0]}' is not a known family; choose from {', '.join(families)}")
    return [family for family in families.values() if family.group in groups or family.name in wanted]


def outcomes(families: Sequence[Family], subject: Subject, most: int | None = None) -> list[Case | Skip]:
    """What the families make of a response.

    Args:
        families: Asked in order.
        subject: The response.
        most: Keep at most this many cases, drawn by the subject's seed; every skip is kept.

    Raises:
        CriticProbeError: A family failed on the response.
    """
    made: list[Case | Skip] = []
    for family in families:
        try:
            made += family.outcomes(subject)
        except CriticProbeError:
            raise
        except Exception as error:
            raise CriticProbeError(f"family '{family.name}' failed: {type(error).__name__}: {error}") from error
    cases = [index for index, outcome in enumerate(made) if isinstance(outcome, Case)]
    if most is None or len(cases) <= most:
        return made
    kept = set(subject.rng("max-per-response").sample(cases, most))
    return [outcome for index, outcome in enumerate(made) if isinstance(outcome, Skip) or index in kept]
