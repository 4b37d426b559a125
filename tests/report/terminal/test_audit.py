from dataclasses import replace

from printing import line_of, printed


def test_every_claim_with_its_figure_its_verdict_and_what_is_true_instead(audit):
    shown = printed(audit)
    for row in audit.claims.itertuples():
        line = line_of(shown, row.says, row.critic)
        assert line.startswith(f"{row.critic} {row.verdict} {row.figure:.3g}")
        assert line.endswith(f"n = {row.n}")
        if row.told:
            assert f"-> {row.verdict}: {row.told}" in shown
    assert shown.index("What was claimed") < shown.index("What training") < shown.index("What else was measured")


def test_what_training_was_expected_to_give_stands_beside_what_it_gave(audit):
    shown = printed(audit).split("What training was expected to give, and gave (")[1]
    assert shown.startswith(f"{audit.training.seeds[0]} seeds: mean [least, most])")
    for row in audit.training.itertuples():
        line = line_of(shown, f"{row.name}: {row.what}", f"{row.trained} / {row.read}")
        ends = f" [{row.low:.3g}, {row.high:.3g}]" if row.low < row.high else ""
        assert line.startswith(f"{row.trained} / {row.read} {row.verdict} {row.figure:.3g}{ends}")
    assert "under the last token it saw 3.06; n = " in line_of(shown, "case 1:", "expected -0.3 to 0.3")
    assert line_of(shown, "complete: ", "expected").startswith("expected 0 to inf; under the last token it saw -2.33;")


def test_nothing_trained_takes_no_room(audit):
    untrained = replace(audit, training=audit.training[:0])
    assert "What training was expected to give" not in printed(untrained)
    assert untrained.read_aloud()[-1].startswith("Nothing was trained here")


def test_other_figures_stand_under_their_critics(audit):
    shown = printed(audit).split("What else was measured")[1]
    row = audit.figures[audit.figures.low < audit.figures.high].iloc[0]
    line = line_of(shown, row.claim, row["name"])
    assert line.startswith(f"{row['name']} {row.value:.3g} [{row.low:.3g}, {row.high:.3g}]")
