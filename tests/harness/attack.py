"""What a reader makes of mutants."""

import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.mutate import mutants
from harness.reader import Reader

from critic_probe.errors import CriticProbeError

PATIENCE = 20.0  # seconds until a reader hangs


class Hang(BaseException):
    """Not an `Exception`, which readers may take for a damaged file."""


@dataclass
class Outcome:
    """By mutant: verdict, kind of mutant, reason of a fault, content; and the longest time in seconds."""

    verdicts: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    slowest: float = 0.0


def attack(reader: Reader, count: int, seed: int) -> Outcome:
    """Lets a reader read so many mutants of its sound file, which it must take itself; in memory, where it may be."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as directory:
        file = reader.make(Path(directory))
        sample = file.read_bytes()
        reader.read(file)
        outcome = Outcome()
        for mutant in mutants(sample, reader.form, count, seed, typed=reader.typed):
            file.write_bytes(mutant.content)
            begun = time.perf_counter()
            verdict, reason = _verdict(reader, file, must=mutant.must and not reader.lenient)
            outcome.slowest = max(outcome.slowest, time.perf_counter() - begun)
            outcome.verdicts.append((verdict, mutant.kind, reason, mutant.content))
    return outcome


def _verdict(reader: Reader, file: Path, *, must: bool) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(), _bounded():
            warnings.simplefilter("ignore")
            reader.read(file)
    except CriticProbeError as error:
        return (
            ("told", "")
            if "\n" not in str(error) and len(str(error)) < 5000
            else ("traceback", f"not one line: {str(error)[:100]!r}")
        )
    except Hang:
        return "hang", ""
    except Exception as error:
        [*_, last] = [f for f in traceback.extract_tb(error.__traceback__) if "critic_probe" in f.filename] or [None]
        where = "" if last is None else f" at {Path(last.filename).name}:{last.lineno}"
        return "traceback", f"{type(error).__name__}: {str(error)[:100]}{where}"
    return ("silent", "") if must else ("taken", "")


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
