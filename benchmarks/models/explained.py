"""Ground truth on small networks against the explanations of DPG, DeepOpt and the wizard.

Each function yields `(right, explanation)`, one per statement. The ground truth is
measured: one layer rounded at a time, one layer left in float at a time, or the kind of
a parameter by construction.
"""

import dataclasses
import re
from collections.abc import Iterator
from itertools import combinations, count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_learn import DeepOpt, dpg
from deepseek_learn.catalog import set_language
from deepseek_learn.deploy import Quantizer, guard, to_onnx
from deepseek_learn.deploy.accuracy import AccuracyError
from deepseek_learn.deploy.runtimes import runner
from deepseek_learn.optim import tune

Statement = tuple[bool, str]
STEPS, ALONE, OUTLIER = 150, 3, 100.0


def digits() -> dict[str, tuple[Tensor, Tensor]]:
    """Part → images `[N, 1, 8, 8]` and labels of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(bunch.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    places = {"train": order[:1200], "held out": order[1200:]}
    return {part: (images[place], labels[place]) for part, place in places.items()}


def network(seed: int, parts: dict) -> nn.Module:
    """Two convolutions and three linear layers of random widths, trained briefly."""
    torch.manual_seed(seed)
    a, b, c, d = (int(w) for w in torch.randint(1, 5, (4,)) * 16)
    model = nn.Sequential(
        *(nn.Conv2d(1, a, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(16 * b, c), nn.ReLU(), nn.Linear(c, d), nn.ReLU()),
        nn.Linear(d, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    x, y = parts["train"]
    for _ in range(STEPS):
        rows = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.eval()


def of_dpg(networks: int) -> Iterator[Statement]:
    """Where do the bits go? Right: that layer, rounded alone, does the most (least) harm.

    Layers tied for the most (least) bits are all named; then one of them must.

    Harm: the divergence from the float32 output on held-out images, divided by the
    layer's number of weights, with `ALONE` bits in this layer and no other rounded.
    """
    parts = digits()
    x = parts["held out"][0]
    for seed in range(networks):
        model = network(seed, parts)
        small = dpg.compress(model, parts["train"][0][:256].split(32))
        harm = {name: harm_of(model, name, x) for name in small.allocation.bits}
        statement = small.why()
        for word, pick in (("most", max), ("fewest", min)):
            names = re.search(rf"{word} in (.+?) \(", statement)[1]
            right = pick(harm, key=harm.get) in names.split(", ")
            yield right, f"{seed}: {word} in {names}"


@torch.inference_mode()
def harm_of(model: nn.Module, name: str, x: Tensor) -> float:
    """Divergence per weight when only this layer is rounded to nearest."""
    low = dpg.uniform(model, ALONE)
    bits = {n: b if n == name else b.new_full(b.shape, 32) for n, b in low.bits.items()}
    rounded = dpg.simulate(model, dataclasses.replace(low, bits=bits))
    reference, log_probabilities = (
        m(x).double().log_softmax(1) for m in (model, rounded)
    )
    divergence = (
        (reference.exp() * (reference - log_probabilities)).sum(1).mean().item()
    )
    return divergence / model.get_submodule(name).weight.numel()


def of_wizard(networks: int) -> Iterator[Statement]:
    """Which layers stay in float? Right: no other set of the same size would save more.

    In each network one hidden channel is scaled up by `OUTLIER` and its readers are scaled
    down: the output is the same, but INT8 loses accuracy. Ground truth: for every set of
    layers of the same size, the probability of the correct class with these in float and
    all others in INT8, on the same images. Networks with no layer in float make no
    statement and are replaced by others.
    """
    parts = digits()
    x, y = parts["held out"]
    calibration = list(parts["train"][0][:256].split(32))

    def metric(predict) -> float:
        return 100 * predict(x).softmax(1)[torch.arange(len(y)), y].mean().item()

    statements = 0
    for seed in count():
        model = network(seed, parts)
        plant(model, seed)
        quantizer = Quantizer(to_onnx(model, x[:1]), calibration)
        guarded = guarded_by(quantizer, metric)
        if statements == networks:
            return
        if guarded.in_float:
            names = re.search(r"stay in float: (.*?)\. ", guarded.why() + " ")[1]
            layers = tuple(names.split(", "))
            scores = {
                choice: metric(answer_of(quantizer.int8(in_float=choice)))
                for choice in combinations(guarded.layers, len(layers))
            }
            right = set(max(scores, key=scores.get)) == set(layers)
            yield right, f"{seed}: {names} in float"
            statements += 1


def guarded_by(quantizer: Quantizer, metric):
    """The guard's statement, even when it refuses the result."""
    try:
        return guard(quantizer, metric, 0.1, runner)
    except AccuracyError as error:
        return error.guard


def answer_of(proto):
    run = runner(proto)
    return lambda x: torch.from_numpy(run(x)[0])


@torch.no_grad()
def plant(model: nn.Sequential, seed: int) -> None:
    """Scale one hidden channel up and its readers down; the output stays the same."""
    layers = [m for m in model if isinstance(m, nn.Conv2d | nn.Linear)]
    place = seed % (len(layers) - 1)
    writer, reader = layers[place : place + 2]
    channel = seed % len(writer.weight)
    writer.weight[channel] *= OUTLIER
    writer.bias[channel] *= OUTLIER
    width = reader.weight.shape[1] // len(writer.weight)  # per flattened channel
    reader.weight[:, channel * width : (channel + 1) * width] /= OUTLIER


# torchvision's models → the parameters of their heads
HEADS = {
    "resnet18": "fc", "resnet50": "fc", "vgg11": "classifier.6",
    "alexnet": "classifier.6", "densenet121": "classifier",
    "mobilenet_v2": "classifier.1", "mobilenet_v3_small": "classifier.3",
    "efficientnet_b0": "classifier.1", "regnet_y_400mf": "fc",
    "shufflenet_v2_x0_5": "fc", "squeezenet1_0": "classifier.1", "mnasnet0_5":
    "classifier.1", "convnext_tiny": "classifier.2", "vit_b_32": "heads.head",
    "swin_t": "head", "swin_v2_t": "head", "maxvit_t": "classifier.5",
    "googlenet": "fc", "inception_v3": "fc", "resnext50_32x4d": "fc",
}  # fmt: skip
TABLES = ("pos_embedding", "class_token", "relative_position_bias_table")
RULES = {"head": "adamw", "table": "adamw", "vector": "adamw", "matrix": "matrix"}


def of_deepopt() -> Iterator[Statement]:
    """Which rule for which parameter? Right: correct for all of a kind in a real model.

    Kinds: the head, tables such as position embeddings, vectors and grouped kernels
    (AdamW); all other kernels and matrices are orthogonalized.
    """
    import torchvision

    for name, head in HEADS.items():
        aux = {"aux_logits": False, "init_weights": False}
        options = aux if name in ("googlenet", "inception_v3") else {}
        model = getattr(torchvision.models, name)(**options)
        truth = {p: kind_of(model, p, head) for p, _ in model.named_parameters()}
        roles = DeepOpt(model).plan().set_index("parameter")["role"]
        for kind, rule in RULES.items():
            parameters = [p for p, true_kind in truth.items() if true_kind == kind]
            wrong = [p for p in parameters if roles[p] != rule]
            if parameters:
                yield not wrong, f"{name}: {kind}" + f", not {wrong[:2]}" * bool(wrong)


def kind_of(model: nn.Module, parameter: str, head: str) -> str:
    place, _, attribute = parameter.rpartition(".")
    module, value = model.get_submodule(place), model.get_parameter(parameter)
    if attribute in TABLES:
        return "table"
    if value.dim() < 2 or value[0].numel() < 2 or getattr(module, "groups", 1) > 1:
        return "vector"
    return "head" if place == head else "matrix"


def of_search(table, axes: dict, searches: int) -> Iterator[Statement]:
    """Is there a better neighbor? Right: if the table of trained networks agrees."""
    generator = torch.Generator().manual_seed(0)
    for seed in range(searches):
        start = {
            name: values[int(torch.randint(len(values), (), generator=generator))]
            for name, values in axes.items()
        }

        def loss(settings) -> float:
            return table.lookup(settings)["errors"][-1]

        search = tune(axes, start, loss, 6 + seed)
        beside = list(neighbors(search.best, axes))
        if "no better neighbor" in search.why():
            right = all(loss(settings) >= search.loss for settings in beside)
        else:
            settings_tried = search.trials.drop(columns="loss").to_dict("records")
            right = any(settings not in settings_tried for settings in beside)
        ends = [n for n, v in axes.items() if search.best[n] in (v[0], v[-1])]
        match = re.search(r"at the end of (.*):", search.why())
        right &= (match[1].split(", ") if match else []) == ends
        yield right, f"{seed}: {search.best}"


def neighbors(best: dict, axes: dict) -> Iterator[dict]:
    for name, values in axes.items():
        i = values.index(best[name])
        for value in [*values[max(i - 1, 0) : i], *values[i + 1 : i + 2]]:
            yield best | {name: value}


def in_english() -> None:
    """Select English, the language of the sentences parsed here."""
    set_language("en")
