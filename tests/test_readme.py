"""The figures in the README are those of the committed results."""

import re

import pytest

from deepseek_learn.ledger.results import REPOSITORY, read_result

AUTOROUND = "DPG's divergence over that of autoround, 4 bits"
OVER = "time over llama.cpp's"
EXPERTS = (
    "64 tokens through 64 experts of 128, 6 per token, width 512, one thread: the "
    "reference's time over ours"
)
FASTEST = "one thread: time over the fastest's"
FIGURES = [
    ("AMD", "lm_speed", f"SmolLM2, a token after 512, one thread: {OVER}", "0.41"),
    ("Intel", "lm_speed", f"SmolLM2, a token after 512, one thread: {OVER}", "0.46"),
    ("Intel", "lm_speed", f"SmolLM2, a prompt of 512, one thread: {OVER}", "0.37"),
    ("AMD", "lm_speed", f"SmolLM2, a token after 128, one thread: {OVER}", "0.54"),
    ("Intel", "lm_speed", f"SmolLM2, a token after 128, one thread: {OVER}", "0.53"),
    ("AMD", "lm_weights", f"SmolLM2, emails: {AUTOROUND}", "0.35"),
    ("AMD", "lm_weights", f"SmolLM2, verses: {AUTOROUND}", "0.41"),
    ("AMD", "lm_engines", f"SmolLM2, a token after 512, {FASTEST}", "0.65"),
    ("AMD", "lm_engines", f"SmolLM2, a prompt of 512, {FASTEST}", "1.36"),
    ("AMD", "lm_speed", EXPERTS, "2.6"),
    ("Intel", "lm_speed", EXPERTS, "2.0"),
    (
        "AMD",
        "lm_weights",
        "SmolLM2, verses: DPG's divergence over that of torchao int4, 4 bits",
        "1.11",
    ),
]


@pytest.mark.parametrize(("maker", "name", "what", "figure"), FIGURES)
@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_a_figure_in_the_readme_is_a_committed_one(readme, maker, name, what, figure):
    result = read_result(REPOSITORY / "benchmarks" / "results" / f"{name}.json")
    rows = [row for row in result.rows if row.what == what and row.machine]
    measured = [r.measured for r in rows if r.machine["cpu"].startswith(maker)]
    digits = len(figure.partition(".")[2])
    assert figure in [f"{value:.{digits}f}" for value in measured]
    text = (REPOSITORY / readme).read_text(encoding="utf-8")
    assert f" {figure}" in text.replace("\n", " ")


def rows_of(name):
    return read_result(REPOSITORY / "benchmarks" / "results" / f"{name}.json").rows


@pytest.mark.parametrize(
    ("readme", "behind", "pace"),
    [
        ("README.md", "0.2 points", "a fiftieth"),
        ("README.zh.md", "0.2 个百分点", "五十分之一"),
    ],
)
def test_the_readme_says_of_the_tuner_what_held_out_problems_say(readme, behind, pace):
    """Level with GPSampler after 30 and 60 trials, behind after 100."""
    rows = {row.what: row for row in rows_of("tuner_peers")}
    what = (
        "mean over 3 problems held out, {} trials: GeneticSampler minus the best of all"
    )
    for trials in (30, 60, 100):
        row = rows[what.format(trials)]
        assert row.note == "the best: GPSampler"
        assert (row.low < 0 < row.high) == (trials < 100)
    assert f"{-100 * row.measured:.1f}" == behind[:3]
    pace_row = rows[
        "mean over 3 problems held out: GPSampler's processor time over "
        "GeneticSampler's"
    ]
    assert pace_row.measured == pytest.approx(50, rel=0.1)
    text = (REPOSITORY / readme).read_text(encoding="utf-8")
    assert behind in text
    assert pace in text


@pytest.mark.parametrize("page", ["nodules", "industries"])
@pytest.mark.parametrize("folder", ["book", "zh/book"])
def test_the_pages_round_the_detectors_score_once(folder, page):
    [row] = [row for row in rows_of("find_nodules") if row.what == "CPM, phantoms"]
    text = (REPOSITORY / folder / f"{page}.md").read_text(encoding="utf-8")
    assert re.search(rf"CPM \|? ?{row.measured:.3f}\b", text)
