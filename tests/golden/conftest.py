"""`pytest tests/golden --golden-update` writes anew what no longer holds."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="write golden outputs that differ anew")
