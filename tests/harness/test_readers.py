"""A few mutants of a sound file of every reader; `python -m tests.harness` reads as many as are asked for."""

import pytest
from harness.attack import attack
from harness.readers import READERS

FEW = {"baseline": 16, "verify": 8, "verify of edits": 8}  # which measure something of what they take


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_is_wrong_is_told_in_one_line(tmp_path, reader):
    outcome = attack(reader, tmp_path, FEW.get(reader.name, 40), seed=1)
    faults = [verdict[:3] for verdict in outcome.verdicts if verdict[0] not in ("told", "taken")]
    assert faults == []
    assert {"told"} <= {verdict for verdict, *_ in outcome.verdicts}
