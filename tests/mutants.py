"""Plants one fault after the other in a copy of the package and lists those that no test notices.

`python -m tests.mutants [WORD ...]` from the repository's root; words choose mutants by file or text.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTIONS = "tests/training/test_warmup_options.py"
EDGES = "tests/cli/test_edges.py"
GOLDEN = "tests/golden/test_golden.py"
LOADS = "tests/cli/test_loads.py"
COMMANDS = "tests/measures/test_commands.py"
READ = "        training,\n        progressive="  # where an option of `warmup` is lost

# (file in critic_probe/, text, what it becomes, the tests that must fail)
MUTANTS = [
    *(
        ("cli/warmup.py", READ, READ.replace("training,", f"training, {name}={default},"), OPTIONS)
        for name, default in (
            ("head_learning_rate", "None"),
            ("gradient_accumulation", "1"),
            ("max_grad_norm", "1.0"),
            ("weight_decay", "0.01"),
            ("temperature", "5.0"),
            ("range_penalty", "0.0"),
            ("bf16", "False"),
            ("gradient_checkpointing", "False"),
        )
    ),
    ("training/warmup.py", "DTYPES[options.save_dtype]", 'DTYPES["float32"]', OPTIONS),
    ("cli/compare.py", "settings, progress, temperature)", "settings, progress)", f"{GOLDEN} -k read-outs"),
    ("gates/figures.py", '    "tokens": _tokens,', '    "tokens": lambda *_: iter(()),', f"{GOLDEN} -k gates"),
    ("gates/measure.py", '["completeness"]', '["controls"]', "tests/cli/test_check.py -k completeness"),
    ("workbench/survey.py", "> 2 * trained", "> 200 * trained", f"{EDGES} -k longer"),
    ("workbench/survey.py", "lone.append(pair.id)", "pass", f"{EDGES} -k eos"),
    ("bundled.py", "if path.resolve() in {", "if path.resolve() in {} and {", f"{EDGES} -k given_once"),
    ("cli/__init__.py", "sys.exit(3)", "sys.exit(1)", f"{EDGES} -k exits_with_3"),
    ("cli/__init__.py", "isinstance(ended.__context__, BrokenPipeError)", "False", f"{EDGES} -k pipe"),
    *(
        ("workbench/loop.py", before, after, tests)
        for before, after, tests in (
            ("zip(group.responses, values,", "zip(group.responses, values[::-1],", f"{COMMANDS} -k tabulates"),
            ("measures:\n            measure.begin", "measures[:1]:\n            measure.begin", f"{LOADS} -k check"),
            ("@cached_property\n    def survey", "@property\n    def survey", f"{LOADS} -k compare"),
            ("if not self.released:", "if True:", f"{LOADS} -k again"),
            ("position(values) for values in known", "position(values) * 2 for values in known", f"{LOADS} -k again"),
            ("self._largest = max(", "_ = max(", "tests/test_tolerance.py -k follows"),
        )
    ),
    ("cli/report.py", "if scoring.no_cache:", "if False:", f"{LOADS} -k no-cache"),
    ("measures/tokens.py", "bench.floor(name)", "bench.floors[name]", "tests/measures/test_tokens.py -k floors"),
    *(
        (file, f"def {name}(", f"def {name}(*_):\n    raise ValueError\n\n\ndef _{name}(", tests)
        for file, name, tests in (
            ("report/terminal/diff.py", "print_diff", f"{GOLDEN} -k columns[diff]"),
            ("report/terminal/tokens.py", "print_tokens", f"{GOLDEN} -k columns[tokens]"),
            ("report/terminal/verify.py", "print_verify", f"{GOLDEN} -k columns[verify]"),
            ("report/terminal/selftest.py", "print_selftest", f"{GOLDEN} -k columns[selftest]"),
            ("report/terminal/audit.py", "_before_after", f"{EDGES} -k training_gave"),
        )
    ),
]


def survives(file: str, before: str, after: str, tests: str) -> bool:
    """Whether the tests pass with the fault in a copy of the repository."""
    text = (ROOT / "critic_probe" / file).read_text(encoding="utf-8") if (ROOT / "critic_probe" / file).exists() else ""
    if text.count(before) != 1:
        sys.exit(f"critic_probe/{file}: {before!r} stands there {text.count(before)} times, not once; mend the mutant")
    with tempfile.TemporaryDirectory() as copy:
        for name in ("critic_probe", "fixtures", "tests", "pyproject.toml"):
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, Path(copy) / name)
        (Path(copy) / "critic_probe" / file).write_text(text.replace(before, after), encoding="utf-8")
        chosen, _, words = tests.partition(" -k ")
        command = [sys.executable, "-m", "pytest", "-x", "-q", chosen, *(["-k", words] if words else [])]
        run = subprocess.run(command, cwd=copy, env=os.environ | {"PYTHONPATH": copy}, capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"{tests}: could not be run\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.returncode == 0


def main() -> None:
    chosen = [m for m in MUTANTS if len(sys.argv) == 1 or any(word in " ".join(m) for word in sys.argv[1:])]
    survivors = []
    for mutant in chosen:
        alive = survives(*mutant)
        print("SURVIVES" if alive else "killed", mutant[0], repr(mutant[1]), flush=True)
        survivors += [mutant] * alive
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
