"""What a random split flatters on ELPV: cells of one solar module on both sides.

    python benchmarks/data_leak.py [--quick]

Protocol. All 2,624 photographs at 224 x 224; features: the mean over positions of
EfficientNet-Lite0's last layer (trained on ImageNet, never on ELPV), standardized; model:
logistic regression (C = 0.01, fixed beforehand) for "defective" (probability 2/3 or 1).
`data.leak` with 20 seeds: 60 % train, 15 % unused, 25 % test, stratified by cell type and
label, once at random and once with whole modules on one side. The modules are inferred
(`data/elpv.py`: 44 consecutive blocks, as many as published; one border is uncertain by
ten cells). Score: AUROC, and accuracy at 0.5, each in points of 100. The interval is
Student's over seeds, corrected for overlapping training parts (Nadeau & Bengio 2003).

Target, a prediction stated before the run: the random split flatters both scores by at
least 1 point. The two scores behind each difference are given for information.
"""

import argparse

import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepseek_learn import data, zoo
from deepseek_learn.ledger.results import write_result

SEEDS, QUICK_SEEDS, TARGET = 20, 3, 1.0
INTERVAL = "95 % corrected t"


def features(dataset: data.ImageDataset) -> pd.DataFrame:
    """File name → EfficientNet-Lite0's features of the image, `[N, 1280]`."""
    model, parts = zoo.load("efficientnet_lite0"), []
    with torch.inference_mode():
        for rows in torch.arange(len(dataset)).split(32):
            images = dataset.batch(rows)[0].expand(-1, 3, -1, -1)  # gray → [B, 3, H, W]
            parts.append(model.features(images).mean((2, 3)))
    return pd.DataFrame(torch.cat(parts).numpy(), index=dataset.frame["file"])


def scorer(inputs: pd.DataFrame, metric: str):
    """`fit_and_score` of `data.leak` for logistic regression on the features."""

    def fit_and_score(train, validation, test) -> float:
        regression = LogisticRegression(C=0.01, max_iter=1000)
        model = make_pipeline(StandardScaler(), regression)
        model.fit(inputs.loc[train.frame["file"]].to_numpy(), train.labels.numpy())
        x, y = inputs.loc[test.frame["file"]].to_numpy(), test.labels.numpy()
        if metric == "AUROC":
            return 100 * roc_auc_score(y, model.decision_function(x))
        return 100 * model.score(x, y)

    return fit_and_score


def rows(metric: str, leak: data.Leak):
    """The difference with its target, then the two scores for information."""
    names = {
        "difference": f"ELPV, {metric}: random split minus split by module",
        "random": f"ELPV, {metric} under the random split",
        "grouped": f"ELPV, {metric} under the split by module",
    }
    for key, name in names.items():
        mean, low, high = leak.summary.loc[key, ["mean", "low", "high"]]
        yield {
            "claim": "C13",
            "source": "ours",
            "what": name,
            "unit": "points",
            "target": TARGET if key == "difference" else None,
            "better": "higher",
            "measured": float(mean),
            "low": float(low),
            "high": float(high),
            "interval": INTERVAL,
            "n": len(leak.scores),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 seeds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    dataset = data.elpv(size=224).whole()
    inputs = features(dataset)
    strata = dataset.frame["type"] + dataset.labels.numpy().astype(str)
    measured = []
    for metric in ("AUROC", "accuracy"):
        leak = data.leak(
            dataset,
            scorer(inputs, metric),
            seeds=range(QUICK_SEEDS if quick else SEEDS),
            stratify=strata.to_numpy(),
        )
        print(f"{metric}: {leak.why()}", flush=True)
        measured += rows(metric, leak)
    mode, command = "quick" if quick else "full", "python benchmarks/data_leak.py"
    path = write_result(
        "data_leak", measured, command, mode, protocol=__doc__, of_the_machine=False
    )
    print(path)


if __name__ == "__main__":
    main()
