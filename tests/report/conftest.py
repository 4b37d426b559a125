"""Small results made by hand, with the text that a hostile file could hold."""

import math

import pandas as pd
import pytest

from critic_probe.errors import Notice
from critic_probe.measures.compare import CompareResult
from critic_probe.measures.perturb import PerturbResult
from critic_probe.measures.trace import TraceResult

HOSTILE = "[bold]x[/bold] \x1b[31mred \u202eevil </script>"
LONG_NAME = "a-critic-with-a-rather-long-name-step-500"

SIGNATURE = {
    "version": "0.1.0",
    "critics": [
        {
            "name": "tiny-last",
            "fingerprint": "ab12" * 16,
            "head": "cd34" * 16,
            "tokenizer": "ef56" * 16,
            "template": "chat:1a2b3c",
            "eos_ids": [151643, 151645],
            "dtype": "float32",
            "device": "cpu",
            "attention": "sdpa",
            "engine": "reference",
        }
    ],
    "aggregations": ["last", "mean"],
    "eos": "exclude",
    "value_position": "at",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "data": "0099" * 16,
}
NOTICES = [
    Notice("eos-one-side", f"Only students end in EOS {HOSTILE}", [f"pair-{i}" for i in range(12)]),
    Notice("too-few", "Eight pairs are too few."),
]
READING = ["d_acc is the share of pairs that the critic orders as the data does."]


def _table(rows: list[tuple[object, ...]], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


@pytest.fixture
def compare() -> CompareResult:
    summary = _table(
        [
            ("tiny-last", "last", 80, 0.8875, 0.80, 0.94, 3, 3.06, 2.417, 1.266, 0.871, math.nan, math.nan),
            ("tiny-last", "mean", 80, 0.5125, 0.4, 0.62, 0, -0.0449, 0.5, -0.0898, -0.31, 12.0, 0.0031),
            (LONG_NAME, "last", 80, 1.0, 0.95, 1.0, 0, 10.32, 5.0, 2.064, 1.9, math.nan, math.nan),
            (LONG_NAME, "mix:0.25", 80, 0.6, 0.5, 0.7, 1, 0.7, 0.9, 0.77, 0.2, 31.0, 1e-7),
        ],
        columns="critic aggregation n d_acc d_acc_low d_acc_high ties mean_gap sd gap_over_sd separation flips flips_p",
    )
    shown = (0.7, 0.8, 0.72, 0.77, 0.9, 2.0, 3.0, 0.8, 1.2, 0.1, 0.2, None, 0, 5.0, 0.3, 0.2, 0.01, 0.11, 0.02, 0.2)
    statistics = _table(
        [("tiny-last", name, 40, *shown) for name in ("last", "mean")],
        columns="critic aggregation n d_acc_ties_wrong d_acc_ties_right soft_d_acc auc dz mean_gap_low mean_gap_high "
        "gap_over_sd_low gap_over_sd_high hard_samples_ratio score_overlap within_prompt_sd prompts_with_sets "
        "temperature saturated gradient_weight bf16_quantum beyond beyond_low beyond_high",
    )
    lengths = _table(
        [("tiny-last", "last", 1.1, 0.25, 12, 0.9, 0.7, 0.97, 14, 0.8, 0.6, 0.9, 14, 0.6, 0.4, 0.8, 0.83, "")],
        columns="critic aggregation length_ratio within_prompt_spearman matched_n matched_d_acc matched_low "
        "matched_high teacher_longer_n teacher_longer_d_acc teacher_longer_low teacher_longer_high teacher_shorter_n "
        "teacher_shorter_d_acc teacher_shorter_low teacher_shorter_high length_controlled not_controlled",
    )
    contrasts = _table(
        [("tiny-last", "last", "tiny-last", "mean", 40, 6, 0.03, 0.4, 0.1, 0.7, 0.06)],
        columns="critic aggregation other_critic other_aggregation n flips p margin margin_low margin_high p_holm",
    )
    categories = _table(
        [
            ("tiny-last", read_out, category, 40, 0.75, 0.6, 0.86, 1, 2.5, 1.03)
            for read_out in ("last", "mean")
            for category in ("标点", HOSTILE)
        ],
        columns="critic aggregation category n d_acc d_acc_low d_acc_high ties mean_gap gap_over_sd",
    )
    baselines = _table(
        [("longer wins", 80, 0.55, 0.44, 0.66, 2), ("ends in terminal punctuation wins", 80, 0.81, 0.71, 0.88, 60)],
        columns="baseline n accuracy low high ties",
    )
    pairs = _table(
        [
            ("tiny-last", identity, category, read_out, s, t, t - s, (t - s) / 2.417, verdict, *tokens, dispute)
            for identity, category, dispute in [("病例-017", "标点", 3.0), (HOSTILE, None, 2.0), ("plain", "x", 1.0)]
            for read_out, s, t, verdict, tokens in [
                ("last", -0.56, 2.5, "teacher", ("，", "。\n")),
                ("mean", 0.125, 0.125 - 1e-9, "student", (None, None)),
            ]
        ],
        columns="critic id category aggregation student_score teacher_score gap gap_over_sd verdict "
        "student_token_read teacher_token_read dispute",
    ).assign(floor=[1e-5, 1e-10] * 3)
    return CompareResult(
        summary, statistics, lengths, contrasts, categories, baselines, pairs, NOTICES, SIGNATURE, READING
    )


@pytest.fixture
def perturb() -> PerturbResult:
    figures = (0.31, 1.22, 1.5, 0.128, 0.505, 0.62, -0.2, -0.083, 6, 0.15, 0.07, 0.29, 0.1)
    summary = _table(
        [
            (
                "tiny-last",
                read_out,
                family,
                "punct",
                position,
                kind,
                sign,
                40,
                *figures,
                *ordered,
                12,
                0.4,
                *judged,
                word,
            )
            for read_out in ("last", "mean")
            for family, position, kind, sign, ordered, judged, word in [
                (
                    "punctuation",
                    "terminal",
                    "invariance",
                    0,
                    (math.nan,) * 4,
                    (0.128, 0.07, 0.29, 0.2, 0.05),
                    "cannot tell",
                ),
                ("truncated", "whole", "control", -1, (0.8, 0.65, 0.9, 0.55), (0.8, 0.65, 0.9, 0.75, 0.1), "pass"),
            ]
        ],
        columns="critic aggregation family group position kind sign n median_abs_delta p95_abs_delta max_abs_delta "
        "median_abs_delta_over_sd p95_abs_delta_over_sd max_abs_delta_over_sd mean_delta mean_delta_over_sd flips "
        "flip_rate flip_low flip_high below_floor right_order right_order_low right_order_high "
        "right_order_ending_restored ending_n ending_effect_over_sd figure low high preset detectable verdict",
    )
    headline = _table(
        [
            ("tiny-last", name, 40, 80, 3.06, 0.31, 1.27, 0.13, 9.87, 4.0, 15.0, 0.2, 0.1, 0.4, 0.8, 0.65, 0.9)
            for name in ("last", "mean")
        ],
        columns="critic aggregation controls invariances control_median_abs_delta invariance_median_abs_delta "
        "control_median_over_sd "
        "invariance_median_over_sd signal_to_noise signal_to_noise_low signal_to_noise_high punct_over_wrong_fact "
        "punct_over_wrong_fact_low punct_over_wrong_fact_high controls_right controls_right_low controls_right_high",
    )
    contrasts = _table(
        [("tiny-last", "last", "tiny-last", "mean", "truncated", 40, 0.2, 0.1, 0.3, 0.01, 6, 0.03, 0.02)],
        columns="critic aggregation other_critic other_aggregation family n difference low high p right_flips right_p "
        "p_holm",
    )
    teacher_edit = ("teacher", "punctuation", "end", "invariance")
    student_edit = ("student", "layout", None, "invariance")
    cases = _table(
        [
            (
                "tiny-last",
                "病例-017",
                *teacher_edit,
                "last",
                2.5,
                -0.56,
                -3.06,
                -1.266,
                True,
                "…已确诊",
                "。",
                "，",
                "",
            ),
            ("tiny-last", HOSTILE, *student_edit, "mean", 0.5, 0.75, 0.25, 0.1, False, HOSTILE, "", "\n", "[red]后文…"),
        ],
        columns="critic id side family position kind aggregation original_score variant_score delta delta_over_sd "
        "flip left removed added right",
    ).assign(floor=1e-5)
    not_measured = _table(
        [("tiny-last", "punctuation", "the response has no full stop to replace", 7)],
        columns="critic family reason count",
    )
    return PerturbResult(summary, headline, contrasts, cases, not_measured, NOTICES, SIGNATURE, READING)


@pytest.fixture
def trace() -> TraceResult:
    texts = {
        "student": [("已", 0), ("癌", 1), ("癌", 1), (" [bold]ok[/bold]", 3), ("\x1b[31m", 4), ("，", 5)],
        "teacher": [("已", 0), ("</script>", 1), ("。\n", 2)],
    }
    tokens = _table(
        [
            (
                critic,
                side,
                index,
                150000 + index,
                text,
                value,
                value / 2,
                group,
                "last" if index == len(side_texts) - 1 else "",
            )
            for critic in ("tiny-last", "tiny-mean")
            for side, side_texts in texts.items()
            for index, ((text, group), value) in enumerate(
                zip(side_texts, (-4.0, 0.01, 1.5, 4.0, -2.25, 0.0), strict=False)
            )
        ],
        columns="critic side index token_id text value running_mean group read_by",
    ).assign(id="病例-017")
    scores = _table(
        [
            (critic, "病例-017", side, aggregation, score)
            for critic in ("tiny-last", "tiny-mean")
            for side, score in (("student", -0.5), ("teacher", 2.875))
            for aggregation in ("last", "mean")
        ],
        columns="critic id side aggregation score",
    )
    return TraceResult(tokens, scores, f"患者的诊断是什么？\n{HOSTILE}", NOTICES, SIGNATURE, READING)
