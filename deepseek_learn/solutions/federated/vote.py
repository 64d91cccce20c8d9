"""Ask the hospitals whether a finished model is better than the one they began with.

The server has no patients, so it cannot judge a model. Each hospital compares both models
on its own patients and answers with one bit. A hospital with a ledger does not vote, since
nobody would account for what its vote tells about its patients.
"""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ...errors import DeepSeekLearnError
from .settings import Settings

BETTER = "better"


class UntrustedModelError(DeepSeekLearnError):
    """Raised at the end of a run whose model most hospitals do not stand behind.

    Attributes:
        state: the model, for whoever looks into what went wrong.
        record: the server's record, a row per round and hospital.
    """

    def __init__(
        self, message: str, state: dict[str, torch.Tensor], record: list[dict]
    ):
        super().__init__(message)
        self.state, self.record = state, record


def vote(
    grid: Grid,
    settings: Settings,
    start: dict[str, torch.Tensor],
    final: dict[str, torch.Tensor],
) -> tuple[int, int]:
    """Return how many hospitals find the final model better, and how many find it worse."""
    content = RecordDict(
        {
            "start": ArrayRecord(start),
            "arrays": ArrayRecord(final),
            "config": ConfigRecord({}),
        }
    )
    messages = [
        Message(content, node, MessageType.EVALUATE) for node in grid.get_node_ids()
    ]
    votes = [
        _read(each)
        for each in grid.send_and_receive(messages, timeout=settings.timeout)
    ]
    return votes.count(True), votes.count(False)


def _read(answer: Message) -> bool | None:
    """Return a hospital's vote, or None if it does not vote."""
    if answer.has_error():
        return None
    records = answer.content.metric_records
    value = records["metrics"].get(BETTER) if "metrics" in records else None
    return bool(value) if value in (0, 1) else None
