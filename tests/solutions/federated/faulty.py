"""A client app whose hospitals misbehave as their own configuration says (`fault`)."""

import time
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from deepseek_learn.solutions.federated.client import client as honest
from deepseek_learn.solutions.federated.robust_aggregation import round_of

client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    config = dict(context.node_config)
    fault, mark = config.pop("fault", ""), config.pop("mark", "")
    if mark:
        Path(mark).touch()  # the training has begun
    if fault == "slow":
        time.sleep(300)
    own = Context(
        context.run_id, context.node_id, config, context.state, context.run_config
    )
    if fault in ("", "slow"):
        return honest(message, own)
    if "then" in fault:
        fault = fault.split(", then ")[round_of(message) - 1]
    sent = message.content["arrays"].to_torch_state_dict()
    state = {
        "nan": {name: value * float("nan") for name, value in sent.items()},
        "other": {"weight": torch.ones(3)},
    }[fault]
    content = {
        "arrays": ArrayRecord(state),
        "metrics": MetricRecord({"num-examples": 5}),
    }
    return Message(RecordDict(content), reply_to=message)
