"""What the comparisons score, and which of them this environment can make."""

from importlib.metadata import PackageNotFoundError, version

import pytest

PROMPT = [257, 117, 115, 101, 114, 198, 72, 105, 258]
RESPONSES = [[104, 101, 108, 108, 111, 46, 258], [104, 105, 258], [89, 101, 115, 44, 32, 105, 116, 32, 105, 115]]


def stack(**wanted: str) -> None:
    """Skips a comparison whose framework is not in this environment, and says which one has it."""
    for package, wants in wanted.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if not found.startswith(wants):
            pytest.skip(f"needs {package} {wants} (found {found}); tests/parity/run makes both environments")
