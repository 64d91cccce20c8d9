"""What a hospital answers: the Flower app of its SuperNode."""

import logging
import zlib
from typing import Any

import torch
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.clientapp.typing import ClientAppCallable
from torch import nn

from ...errors import DeepSeekLearnError
from ...machine import one_thread
from . import compact
from .learning import mean_loss, rate, train, train_privately
from .ledger import PrivacyLedger
from .privacy import BudgetSpentError, Spending
from .robust_aggregation import model_of, refusal, round_of
from .settings import Settings, Site
from .tasks import TASKS
from .vote import BETTER

LOG = logging.getLogger(__name__)
CONTRADICTION = 0.3  # AUROC; swapped labels turn 0.7 into it


def clipped(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Clip the whole update with Flower's modifier, if the server asks for it."""
    if "clipping_norm" in message.content["config"]:
        return fixedclipping_mod(message, context, answer)
    return answer(message, context)


client = ClientApp()


@client.train(mods=[clipped])
def train_round(message: Message, context: Context) -> Message:
    """Train the model that the server sent on the hospital's patients."""
    try:
        site, settings = Site.of(context.node_config), Settings.of(context.run_config)
    except ValueError as error:  # says nothing about patients
        return refusal(message, str(error))
    try:
        content = _answer(message, site, settings)
    except BudgetSpentError as error:  # says what the ledger says
        return refusal(message, f"{site.hospital}: {error}")
    except (DeepSeekLearnError, ValueError, OSError, RuntimeError, TypeError) as error:
        if not site.ledger:
            return refusal(message, f"{site.hospital}: {error}")
        LOG.warning("%s does not train: %s", site.hospital, error)
        withheld = "it does not train; its own log says why"
        return refusal(message, f"{site.hospital}: {withheld}")
    return Message(RecordDict(content), reply_to=message)


@client.evaluate()
def compare(message: Message, context: Context) -> Message:
    """Vote whether the final model fits the hospital's patients better than the first."""
    try:
        site, settings = Site.of(context.node_config), Settings.of(context.run_config)
        if site.ledger:
            return refusal(message, f"{site.hospital} has a ledger and does not vote.")
        task, losses = TASKS[settings.task], []
        own = task.read(site.hospital, site.data)
        for name in ("start", "arrays"):
            model = task.network()
            state = message.content.array_records[name].to_torch_state_dict()
            model.load_state_dict(state)
            with one_thread():
                losses.append(mean_loss(model, own, settings.patients, task))
    except (DeepSeekLearnError, ValueError, OSError, RuntimeError, TypeError) as error:
        return refusal(message, str(error))
    better = int(losses[1] <= losses[0])  # no comparison with NaN is true
    content = RecordDict({"metrics": MetricRecord({BETTER: better})})
    return Message(content, reply_to=message)


def _answer(
    message: Message, site: Site, settings: Settings
) -> dict[str, ArrayRecord | MetricRecord | ConfigRecord]:
    task = TASKS[settings.task]
    own = task.read(site.hospital, site.data)
    sent, number = model_of(message), round_of(message)
    if not all(torch.isfinite(value).all() for value in sent.values()):
        raise ValueError("The model that was sent is not finite.")
    model = task.network()
    model.load_state_dict(sent)
    if task.agreement is not None and not site.ledger and number > 1:
        _check_labels(task.agreement(model, own), site.hospital)
    metrics: dict[str, Any] = {"num-examples": len(own)}
    with one_thread():  # in tests, several hospitals share a machine
        metrics |= _trained(model, own, site, settings, number)
    state = {name: value.detach() for name, value in model.state_dict().items()}
    if settings.int8:
        state = compact.encode(state, sent)
    return {
        "arrays": ArrayRecord(state),
        "metrics": MetricRecord(metrics),
        "hospital": ConfigRecord({"hospital": site.hospital}),
    }


def _check_labels(agreement: float, hospital: str) -> None:
    """Refuse labels that contradict what the other hospitals taught the model.

    With a ledger, there is no such check: its result would tell about patients without
    being accounted for.
    """
    if agreement < CONTRADICTION:
        raise ValueError(
            f"The labels of {hospital} contradict the model (AUROC {agreement:.2f}): are 0 "
            "and 1 swapped, here or in most other hospitals?"
        )


def _trained(
    model: nn.Module, own: Any, site: Site, settings: Settings, number: int
) -> dict[str, float]:
    """Train in place and return what the server may know about it."""
    local, task = settings.local(), TASKS[settings.task]
    if not site.ledger:
        seed = round_seed(settings.seed, site.hospital, number)
        return {"loss": train(model, own, local, seed, task)}
    ledger, q = PrivacyLedger(site.ledger), rate(own, local)
    if ledger.hospital != site.hospital:
        raise ValueError(f"{site.ledger} is the ledger of {ledger.hospital}.")
    rounds, steps = settings.rounds, local.steps
    noise = ledger.noise(q, (rounds - number + 1) * steps, rounds * steps)
    spent = ledger.charge(Spending(noise, q, local.steps))
    train_privately(model, own, local, noise, task=task)
    # a loss would not be private
    return {"epsilon": spent, "delta": ledger.budget.delta}


def round_seed(seed: int, hospital: str, number: int) -> int:
    """Return the seed of a hospital's batches in a round: the same on every machine."""
    return zlib.crc32(f"{seed} {hospital} {number}".encode())
