"""Mutants of a sound file of every reader; `python -m tests.harness` reads more of them."""

import pytest
from harness.attack import attack
from harness.readers import READERS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_is_wrong_is_told_in_one_line(reader):
    outcome = attack(reader, reader.few or 2000, seed=1)
    faults = [verdict[:3] for verdict in outcome.verdicts if verdict[0] not in ("told", "taken")]
    assert faults == []
    assert reader.lenient or "told" in {verdict for verdict, *_ in outcome.verdicts}
