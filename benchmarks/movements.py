"""Movements of 30 people: windows, streams, new wearers, and another sensor.

    python benchmarks/movements.py [--quick] [--anew]

Protocol. HAPT (`data.movements`), five folds by person. A figure is the mean of the folds;
its interval resamples the people within each fold 1,000 times. Seeds 0 to 2 for our network
(`solutions.movement.train`, 4,000 steps), whose figures are those of the mean over the
seeds; one seed for the others.

*windows*: accuracy in the six activities (the transitions left out), and macro-F1 in all
twelve classes. Peers: an RBF-SVM on the same statistics (C and gamma chosen on three inner
folds of the training people), and a 1-D CNN with SC-attention, trained in the same way.
*leak*: the same with windows dealt at random to five folds, for the network and the SVM;
and how the accuracy of people differs (standard deviation) under both splits.
*stream*: windows every 1.28 s over whole recordings; the label is that of at least half of
the samples. Windows without a label are decoded and not counted. Raw, with a sticky chain,
and with the transitions of the training people, offline and with 0, 1 and 2 windows of
delay (1.28 s each). Peer: logistic regression on the statistics, with the same chains.
*wearer*: ten seconds of each activity of a person (the first run of each; these runs leave
the test), accuracy in the activities before and after; also when the examples come from the
same recording, since people wore the sensor anew for the second one. The worst five are
those before.
*external*: the test windows turned by 30 degrees about a random axis, at 25 Hz (every
second sample, then interpolated), with a gain of 0.9 or 1.1 per channel, and all three.

Targets, stated before the run: accuracy at least 97.0 % (stretch 97.5), macro-F1 at least
89; stream at least 92 offline and 90 with one window of delay; a new wearer: + 0.8 point on
the mean, + 2 for the worst five, and nobody loses more than 1. Before this run, 21 settings
of the network had been compared on these folds (seed 0), and 40 ways to adapt: there are no
other people. `--quick`: 60 steps, one seed, the first fold alone.

Added later: since choices were made on these people, what reaches its target is
information, and what misses it stays missed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np
import torch
from harness.interval import Estimate, bootstrap_of
from harness.script import Run, Script
from models.movement_cnn import MovementCnn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.movement import train
from deepseek_learn.solutions.movement.adapt import Wearer, example_windows
from deepseek_learn.solutions.movement.decode import (
    ViterbiDecoder,
    window_labels,
    windows,
)
from deepseek_learn.solutions.movement.hapt import (
    ACTIVITIES,
    FOLDS,
    Recording,
    folds,
    movements,
    recordings,
)
from deepseek_learn.zoo.nets.movement_net import MovementNet, WindowStatistics

SCRIPT = Script(
    __file__, __doc__, quick="60 steps, one fold", anew=True, of_the_machine=False
)
SEEDS, OURS, SVM, CNN = (0, 1, 2), "ours", "RBF-SVM", "1-D CNN with SC-attention"
LOGISTIC, DELAYS = "logistic regression", (None, 0, 1, 2)
CHOICES = (
    "21 settings of the network and 40 ways to adapt were compared on these people"
)
GRID = {"svc__C": [3, 10, 30], "svc__gamma": [0.001, 0.003]}
Predict = Callable[[Tensor], np.ndarray]  # windows [N, 6, 128] → scores [N, 12]


def people_of(fold: int, inside: bool) -> list[int]:
    return [p for p, own in folds().items() if (own == fold) == inside]


@cache
def whole():
    return movements().whole()


def features(x: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return torch.cat([WindowStatistics()(part) for part in x.split(512)]).numpy()


def network(build: Callable, fold: int, seed: int, steps: int):
    torch.manual_seed(seed)
    return train.learn(build(), people_of(fold, False), steps=steps, seed=seed)


def answer(model) -> Predict:
    def predict(x: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([model(part) for part in x.split(512)]).numpy()

    return predict


def peer(kind: str, x: Tensor, y: np.ndarray, people: np.ndarray) -> Predict:
    """An SVM or a logistic regression on the statistics of windows."""
    if kind == SVM:
        pipeline = make_pipeline(StandardScaler(), SVC())
        model = GridSearchCV(pipeline, GRID, cv=GroupKFold(3))
        model.fit(features(x), y, groups=people)
        return lambda x: model.decision_function(features(x))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(features(x), y)
    return lambda x: model.predict_log_proba(features(x))


def fitted(name: str, fold: int) -> Predict:
    """What a peer learns from the people outside a fold."""
    part = whole().subset(~np.isin(whole().groups, people_of(fold, True)))
    return peer(name, *part.batch()[:1], part.labels.numpy(), part.groups)


def by_fold(run: Run, name: str, seed: int, make: Callable[[int], dict]) -> list[dict]:
    runs = run.finished_runs(anywhere=True)
    count = 1 if run.quick else FOLDS
    return [
        runs.once({"of": name, "seed": seed, "fold": fold}, partial(make, fold))
        for fold in range(count)
    ]


def judged(name: str, seed: int, steps: int, fold: int) -> dict:
    """All that is measured of a model on the people of a fold."""
    model = None
    if name in (OURS, CNN):
        model = network(MovementNet if name == OURS else MovementCnn, fold, seed, steps)
    predict = answer(model) if model else fitted(name, fold)
    own = whole().subset(np.isin(whole().groups, people_of(fold, True)))
    x, y, who = own.inputs, own.labels.numpy(), own.groups
    facts = {"windows": per_person(predict(x), y, who)}
    if name != CNN:
        facts["stream"] = streams(predict, fold)
    if name in (OURS, SVM):
        facts["external"] = {
            change: per_person(predict(alter(x)), y, who)
            for change, alter in CHANGES.items()
        }
    if name == OURS:
        facts["wearers"] = wearers(model, fold)
    return facts


def per_person(scores: np.ndarray, y: np.ndarray, who: np.ndarray) -> dict:
    """Person → the confusion matrix of twelve classes, and hits among the activities."""
    basic = y < ACTIVITIES
    hit = scores[:, :ACTIVITIES].argmax(1) == y
    result = {}
    for person in sorted(set(who.tolist())):
        own = who == person
        table = np.zeros((12, 12), int)
        np.add.at(table, (y[own], scores[own].argmax(1)), 1)
        counts = [int(hit[own & basic].sum()), int((own & basic).sum())]
        result[str(person)] = {"table": table.tolist(), "activities": counts}
    return result


def streams(predict: Predict, fold: int) -> dict:
    """Chain → person → the confusion matrix of the counted windows."""
    known = [r for r in recordings() if r.person in people_of(fold, False)]
    chains = {
        "raw": None,
        "sticky": ViterbiDecoder.sticky(),
        "learned": ViterbiDecoder.learned(known),
    }
    result: dict = {}
    for recording in recordings():
        if recording.person not in people_of(fold, True):
            continue
        scores = predict(torch.from_numpy(windows(recording.signal)))
        labels = window_labels(recording.label)
        for chain, decoder in chains.items():
            for delay in DELAYS if decoder else [None]:
                states = scores.argmax(1)
                if decoder:
                    states = decoder.decode(scores, delay)
                key = chain if delay is None else f"{chain}, delay {delay}"
                own = result.setdefault(key, {})
                table = np.array(
                    own.get(str(recording.person), np.zeros((12, 12), int))
                )
                counted = labels >= 0
                np.add.at(table, (labels[counted], states[counted]), 1)
                own[str(recording.person)] = table.tolist()
    return result


def turned(x: Tensor) -> Tensor:
    turn = train.rotations(np.full(len(x), 30.0), np.random.default_rng(0))
    matrix = torch.from_numpy(turn)
    return torch.cat([matrix @ x[:, :3], matrix @ x[:, 3:]], 1)


def slower(x: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(
        x[:, :, ::2], size=x.shape[2], mode="linear", align_corners=False
    )


def louder(x: Tensor) -> Tensor:
    gain = np.random.default_rng(0).choice([0.9, 1.1], (len(x), 6, 1))
    return x * torch.from_numpy(gain.astype(np.float32))


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "turned by 30 degrees": turned,
    "at 25 Hz": slower,
    "gain of 10 %": louder,
    "all three": lambda x: louder(slower(turned(x))),
}


def leaky(name: str, steps: int, fold: int) -> dict:
    """The same with windows dealt at random."""
    data = whole()
    deal = np.random.default_rng(0).permutation(len(data)) % FOLDS
    known, test = data.subset(deal != fold), data.subset(deal == fold)
    if name == SVM:
        predict = peer(SVM, known.inputs, known.labels.numpy(), known.groups)
    else:
        torch.manual_seed(0)
        single = [
            Recording(0, x.numpy(), np.full(x.shape[1], int(y)))
            for x, y in zip(known.inputs, known.labels, strict=True)
        ]
        model = train.learn(MovementNet(), [0], steps=steps, recorded=single)
        predict = answer(model)
    people = per_person(predict(test.inputs), test.labels.numpy(), test.groups)
    return {"people": people}


def wearers(model, fold: int) -> dict:
    """Person → hits before and after, and windows; for examples of either kind."""
    result: dict = {"person": {}, "wearing": {}}
    for person in people_of(fold, True):
        own = [r for r in recordings() if r.person == person]
        for kind, parts in {"person": [own], "wearing": [[r] for r in own]}.items():
            rows = [adapted(model, part) for part in parts]
            result[kind][str(person)] = np.sum([r for r in rows if r], 0).tolist()
    return result


def adapted(model, recorded: Sequence[Recording]) -> list[int] | None:
    """Hits before and after, and windows; None without examples of all activities."""
    examples, rest, seen = [], [], set()
    for recording in recorded:
        for label, low, high in recording.runs():
            if label >= ACTIVITIES:
                continue
            if label not in seen and high - low >= 300:
                seen.add(label)
                cut = example_windows(recording.signal, low, high)
                examples.append((cut, np.full(len(cut), label)))
            elif high - low >= 128:
                cut = windows(recording.signal[:, low:high])
                rest.append((cut, np.full(len(cut), label)))
    if len(seen) < ACTIVITIES or not rest:
        return None
    (x, y), (test, truth) = (
        [torch.from_numpy(np.concatenate(each)) for each in zip(*part, strict=True)]
        for part in (examples, rest)
    )
    wearer = Wearer.of(model, x, y)
    before = torch.from_numpy(answer(model)(test))
    after = wearer.logits(model, test)
    hits = [int((z[:, :ACTIVITIES].argmax(1) == truth).sum()) for z in (before, after)]
    return [*hits, len(truth)]


# --- rows


def accuracy(people: Sequence[dict]) -> float:
    hits, count = np.sum([each["activities"] for each in people], 0)
    return 100 * hits / count


def macro_f1(tables: Sequence) -> float:
    table = np.sum([np.array(each) for each in tables], 0)
    truth, said, hit = table.sum(1), table.sum(0), np.diag(table)
    there = truth > 0
    return 100 * float(np.mean(2 * hit[there] / (truth + said)[there]))


def f1_of_windows(people: Sequence[dict]) -> float:
    return macro_f1([each["table"] for each in people])


def estimate(seeds: Sequence[Sequence[dict]], statistic: Callable) -> Estimate:
    """The mean of folds and seeds, resampling the people of each fold.

    Args:
        seeds: for each seed and fold, person → what is known.
    """
    people = [(k, person) for k, fold in enumerate(seeds[0]) for person in fold]
    folds = np.array([fold for fold, _ in people])

    def mean(rows: np.ndarray) -> float:
        values = []
        for fold in range(len(seeds[0])):
            chosen = [people[i][1] for i in rows[folds[rows] == fold]]
            values += [statistic([seed[fold][p] for p in chosen]) for seed in seeds]
        return float(np.mean(values))

    return bootstrap_of(mean, len(people), RESAMPLED, strata=folds)


RESAMPLED = "95 % bootstrap of people"


def row(what: str, value: Estimate, target: float | None = None, **more) -> Row:
    fields = {"claim": "C15", "source": "ours", "unit": "%", "better": "higher"}
    fields |= {"what": f"movements: {what}", "target": target}
    fields |= {"choices": None if target is None else CHOICES}
    return Row(**fields | more | vars(value))


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    steps = 60 if run.quick else train.STEPS
    seeds = (0,) if run.quick else SEEDS
    results = {
        name: [
            by_fold(run, name, seed, partial(judged, name, seed, steps)) for seed in own
        ]
        for name, own in {OURS: seeds, SVM: (0,), CNN: (0,), LOGISTIC: (0,)}.items()
    }
    yield from window_rows(results)
    for name in (OURS, SVM):
        facts = by_fold(run, f"{name}, leak", 0, partial(leaky, name, steps))
        leaked = [fold["people"] for fold in facts]
        value = estimate([leaked], accuracy)
        yield row(f"accuracy in six activities with a random split, {name}", value)
        if name == OURS:
            yield from spread_rows(results[OURS][0], leaked)
    yield from stream_rows(results)
    for kind in ("person", "wearing"):
        own = [[fold["wearers"][kind] for fold in seed] for seed in results[OURS]]
        yield from wearer_rows(kind, own)


def window_rows(results: dict) -> Iterator[Row]:
    for name, seeds in results.items():
        own = [[fold["windows"] for fold in seed] for seed in seeds]
        goals = (97.0, 89.0) if name == OURS else (None, None)
        value = estimate(own, accuracy)
        yield row(f"accuracy in six activities, {name}", value, goals[0])
        value = estimate(own, f1_of_windows)
        yield row(f"macro-F1 in twelve classes, {name}", value, goals[1])
    for name in (OURS, SVM):
        for change in CHANGES:
            own = [[f["external"][change] for f in seed] for seed in results[name]]
            what = f"accuracy in six activities, {change}, {name}"
            yield row(what, estimate(own, accuracy))


def spread_rows(folded: list[dict], leaked: list[dict]) -> Iterator[Row]:
    """How much people differ, by person and with the random split."""
    honest = [accuracy([each]) for fold in folded for each in fold["windows"].values()]
    people = sorted({person for fold in leaked for person in fold})
    mixed = [accuracy([f[p] for f in leaked if p in f]) for p in people]
    for split, values in {"by person": honest, "random": mixed}.items():
        what = f"standard deviation of people's accuracy, split {split}, {OURS}"
        spread = Estimate(float(np.std(values)), n=len(values))
        yield row(what, spread, unit="points", better="lower")


def stream_rows(results: dict) -> Iterator[Row]:
    goals = {"learned": 92.0, "learned, delay 1": 90.0}
    for name in (OURS, LOGISTIC):
        for chain in results[name][0][0]["stream"]:
            own = [[f["stream"][chain] for f in seed] for seed in results[name]]
            target = goals.get(chain) if name == OURS else None
            what = f"macro-F1 of the stream, {chain}, {name}"
            yield row(what, estimate(own, macro_f1), target)


def wearer_rows(kind: str, seeds: list) -> Iterator[Row]:
    """Gains of a new wearer, in the mean over the seeds."""
    people = [person for fold in seeds[0] for person in fold]
    counts = np.array(
        [[each for fold in seed for each in fold.values()] for seed in seeds], float
    )  # seeds, people, 3
    before, after = (100 * (counts[:, :, i] / counts[:, :, 2]).mean(0) for i in (0, 1))
    gain, worst = after - before, np.argsort(before)[:5]
    mean = bootstrap_of(lambda rows: gain[rows].mean(), len(gain), RESAMPLED)
    main = kind == "person"
    words = "new wearer" if main else "new wearer, examples from the same wearing"
    more = {"unit": "points"}
    yield row(f"{words}: gain in accuracy", mean, 0.8 if main else None, **more)
    value = Estimate(float(gain[worst].mean()), n=5)
    yield row(f"{words}: gain of the worst five", value, 2.0 if main else None, **more)
    value = Estimate(float(-gain.min()), n=len(people))
    yield row(
        f"{words}: largest loss of anybody", value, 1.0 if main else None,
        unit="points", better="lower",
    )  # fmt: skip


if __name__ == "__main__":
    SCRIPT.main(measure)
