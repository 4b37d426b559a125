"""Damages a sound file of every reader and counts what the reader makes of it: `python -m tests.harness --count 2000`.

A mutant is told (a `CriticProbeError` of one line), taken, or a fault: a traceback, something wrong that is taken in
silence, or a hang. Exits with 1 where there is a fault.
"""

import argparse
import resource
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

from harness.attack import attack
from harness.readers import READERS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--count", type=int, default=2000, help="Mutants a reader.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", help="A reader's name; all by default.")
    parser.add_argument("--keep", type=Path, help="A directory for the mutants that are faults.")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    words = ("mutants", "told", "taken", "traceback", "silent", "hang", "slowest")
    print(f"{'reader':24}" + "".join(f"{word:>10}" for word in words), flush=True)
    faults = 0
    for reader in READERS:
        if arguments.reader and reader.name not in arguments.reader:
            continue
        outcome = attack(reader, arguments.count, arguments.seed)
        n = Counter(verdict for verdict, *_ in outcome.verdicts)
        counts = [len(outcome.verdicts), *(n[word] for word in words[1:-1])]
        print(
            f"{reader.name:24}" + "".join(f"{count:10,}" for count in counts) + f"{outcome.slowest:9.2f}s", flush=True
        )
        reasons = Counter(
            (verdict, f"{kind}: {reason}")
            for verdict, kind, reason, _ in outcome.verdicts
            if verdict in ("traceback", "silent", "hang")
        )
        for (verdict, reason), count in reasons.most_common(12):
            print(f"    {count:5} {verdict}: {reason}")
        faults += sum(reasons.values())
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            for number, (verdict, *_, content) in enumerate(outcome.verdicts):
                if verdict in ("traceback", "silent", "hang"):
                    (arguments.keep / f"{reader.name}-{number}").write_bytes(content)
    sys.exit(bool(faults))
