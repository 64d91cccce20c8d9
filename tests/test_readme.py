"""The figures in the README are those of the committed results."""

import pytest

from deepseek_learn.ledger.results import REPOSITORY, read_result

AUTOROUND = "DPG's divergence over that of autoround, 4 bits"
TRIALS, FOUND = "mean over 7 problems, 60 trials", "of the most that anybody found"
OVER = "time over llama.cpp's"
EXPERTS = (
    "64 tokens through 64 experts of 128, 6 per token, width 512, one thread: the "
    "reference's time over ours"
)
FIGURES = [
    ("AMD", "lm_decode", f"SmolLM2, a token after 512, one thread: {OVER}", "0.41"),
    ("Intel", "lm_decode", f"SmolLM2, a token after 512, one thread: {OVER}", "0.46"),
    ("Intel", "lm_decode", f"SmolLM2, a prompt of 512, one thread: {OVER}", "0.37"),
    ("AMD", "lm_decode", f"SmolLM2, a token after 128, one thread: {OVER}", "0.54"),
    ("Intel", "lm_decode", f"SmolLM2, a token after 128, one thread: {OVER}", "0.53"),
    ("AMD", "lm_weights", f"SmolLM2, emails: {AUTOROUND}", "0.40"),
    ("AMD", "lm_weights", f"SmolLM2, verses: {AUTOROUND}", "0.48"),
    ("AMD", "lm_speed", EXPERTS, "2.6"),
    ("Intel", "lm_speed", EXPERTS, "2.0"),
    ("AMD", "tuner_peers", f"{TRIALS}: GeneticSampler, {FOUND}", "0.88"),
    ("AMD", "tuner_peers", f"{TRIALS}: GPSampler, {FOUND}", "0.83"),
    (
        "AMD",
        "lm_weights",
        "SmolLM2, verses: DPG's divergence over that of torchao int4, 4 bits",
        "1.31",
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
