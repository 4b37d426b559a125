"""Writes docs/notebook.ipynb: its cells below, run on the bundled critics, with what they show.

python docs/notebook.py [FILE]
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CELLS = [
    """
    # A critic that scores commas

    Two critics of 1.1 M parameters ship with critic-probe, alike but for the read-out that they were trained under: the
    last token or the mean over all tokens. This notebook asks what their scores react to; [python.md](python.md) says
    more of each step.
    """,
    """
    import critic_probe as cp

    last, mean = (cp.load(f"bundled:{name}", device="cpu") for name in ("last", "mean"))
    """,
    """
    ## Score

    One prompt, three answers: the right one, the right one that ends in a comma, and one with a wrong number. Scores of
    two critics have no common scale.
    """,
    """
    answers = [
        "年龄52岁，心率88次，体重66公斤。",
        "年龄52岁，心率88次，体重66公斤，",
        "年龄52岁，心率88次，体重61公斤。",
    ]
    last.score("病历：年龄52岁、心率88次、体重66公斤。请写摘要。", answers)
    """,
    """
    ## Student against teacher

    A bench is a critic with its pairs; these are the 82 bundled ones. `d_acc` is the share of pairs whose teacher
    scores above the student, `gap_over_sd` the figure to compare across read-outs.
    """,
    """
    trained_last, trained_mean = cp.bench(last), cp.bench(mean)
    compared = trained_last.compare()
    compared.summary[["critic", "aggregation", "n", "d_acc", "d_acc_low", "d_acc_high", "gap_over_sd", "flips"]]
    """,
    """
    ## A comma

    The same answers with a comma for the closing full stop, and with one wrong digit. How far does either move the
    score, in standard deviations of the unedited scores?
    """,
    """
    import pandas as pd

    families = ["terminal-swap", "wrong-digit"]
    edited = pd.concat(bench.perturb(families).summary for bench in (trained_last, trained_mean))
    edited.pivot(index=["critic", "aggregation"], columns="family", values="median_abs_delta_over_sd").round(2)
    """,
    """
    ## Every token

    Where does it come from? Each answer is text whose ground is blue where a token's value is above zero, and orange
    below.
    """,
    """
    trained_last.trace("case-1-comma")
    """,
    """
    ## A gate

    A build turns red where a critic scores commas. The bound applies to the whole interval, so that noise alone neither
    passes nor fails a gate.
    """,
    '''
    from pathlib import Path

    Path("gates.toml").write_text("""
    [[gates]]
    metric = "perturb.median_abs_delta_over_sd"
    family = "terminal-swap"
    max = 0.5
    """)
    trained_last.check(gates="gates.toml")
    ''',
]
QUIET = "ignore:IProgress"  # tqdm would have a widget


def main(target: Path) -> None:
    """Runs the cells in a folder of their own and writes them with their outputs."""
    texts = [dedent(cell).strip() for cell in CELLS]
    cells = [
        new_markdown_cell(text, id=f"cell-{i}") if text.startswith("#") else new_code_cell(text, id=f"cell-{i}")
        for i, text in enumerate(texts)
    ]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    with TemporaryDirectory() as folder:
        cache = f"{folder}/values.sqlite"
        os.environ |= {"HF_HUB_OFFLINE": "1", "CRITIC_PROBE_CACHE": cache, "PYTHONWARNINGS": QUIET}
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}, record_timing=False).execute()
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".ipynb"))
