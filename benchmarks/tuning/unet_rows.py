"""The ledger's rows for the confirmed configurations of `tuner_unet.py`.

A configuration is a dictionary: its settings, "errors" on the test fields by seed and
their mean "error", "validation", "energy_j" and "latency_ms".
"""

import statistics
from functools import partial

from harness.interval import spread
from harness.runs import end_time

from deepseek_learn.ledger.rows import Row

SLACK = 1.10  # on the energy: an estimate by processor time moves by several per cent


def noise(confirmed: list[dict]) -> float:
    """Two standard errors of a difference of two means, from the pooled deviation.

    For only two it is 2 sqrt((s1**2 + s2**2) / n), which assumes no common deviation.
    """
    variance = statistics.fmean(statistics.variance(c["errors"]) for c in confirmed)
    return 2 * (variance * 2 / len(confirmed[0]["errors"])) ** 0.5


def as_cheap(one: dict, other: dict) -> bool:
    """Whether `one` is no slower than `other` and costs hardly more to train."""
    cheap = one["energy_j"] <= SLACK * other["energy_j"]
    return one["latency_ms"] <= other["latency_ms"] and cheap


def answers(guides: list[dict], options: list[dict]) -> list[dict | None]:
    """The best match for each of the guide's configurations; None: none as cheap."""
    as_cheap_as = [[c for c in options if as_cheap(c, guide)] for guide in guides]
    return [min(c, key=lambda c: c["validation"], default=None) for c in as_cheap_as]


def summarize(
    guides: list[dict], confirmations: list[dict], study: dict, peer: float, source: str
) -> list[Row]:
    """The rows of the ledger."""
    margin = noise([*guides, *confirmations])
    pairs = list(zip(guides, answers(guides, confirmations), strict=True))
    gains = [guide["error"] - answer["error"] for guide, answer in pairs if answer]
    wins = sum(gain > margin for gain in gains)
    note = f"pooled noise {100 * margin:.2f} points; energy: {source}"
    widths = ", ".join(str(guide["width"]) for guide in guides)
    combination = f"lr 0.001, batch 32 (U-Net of width {widths})"
    widths_row = partial(
        Row,
        claim="C11",
        unit="widths",
        better="higher",
        target=len(guides),
        n=len(guides[0]["errors"]),
        note=note,
    )
    return [
        widths_row(
            source="guide",
            what=f"on the Pareto front: {combination}",
            measured=len(guides) - wins,
        ),
        widths_row(
            source="ours",
            what=f"the tuner's answer is at least as good as {combination}",
            measured=sum(gain >= 0 for gain in gains),
            low=sum(gain >= margin for gain in gains),
            high=sum(gain >= -margin for gain in gains),
            interval="± 2 pooled standard errors",
        ),
        *(gain_row(note, *pair) for pair in pairs),
        best_row(min(confirmations, key=lambda c: c["validation"]), peer),
        time_row(study),
    ]


def gain_row(noise_note: str, guide: dict, answer: dict | None) -> Row:
    """A row with the interval of these two alone; the pooled noise decides."""
    row = partial(
        Row,
        claim="C11",
        source="ours",
        what=f"IoU on the test fields: the tuner's answer minus {in_words(guide)}",
        unit="points",
        better="higher",
        n=len(guide["errors"]),
    )
    if answer is None:
        return row(measured=None, note="the front had none as cheap")
    gain = 100 * (guide["error"] - answer["error"])
    margin = 100 * noise([guide, answer])
    shares = [answer[k] / guide[k] for k in ("latency_ms", "energy_j")]
    return row(
        measured=gain,
        low=gain - margin,
        high=gain + margin,
        interval="± 2 standard errors of these two",
        note=f"{in_words(answer)}: {shares[0]:.2f} of the latency, {shares[1]:.2f} of "
        f"the energy; {noise_note}",
    )


def best_row(best: dict, peer: float) -> Row:
    scores = spread(
        [1 - e for e in best["errors"]], "range over seeds", statistics.mean
    )
    return Row(
        claim="C11",
        source="ours",
        what="IoU on the test fields: best on validation of the tuner's front",
        unit="IoU",
        better="higher",
        peer="best threshold",
        peer_measured=1 - peer,
        note=in_words(best),
        **vars(scores),
    )


def time_row(study: dict) -> Row:
    states = ", ".join(f"{n} {state}" for state, n in study["states"].items())
    return Row(
        claim="C11",
        source="ours",
        what="time of the search",
        unit="min",
        better="lower",
        measured=study["seconds"] / 60,
        note=f"{states}; {len(study['front'])} on the front",
    ).at(end_time(study))


def in_words(config: dict) -> str:
    return (
        f"lr {config['lr']:.2g}, batch {config['batch_size']}, width {config['width']}"
    )
