"""Look at each hospital's answer before it is averaged, and keep a record of it.

`ScreenedGrid` stands between Flower's strategy and the hospitals. An answer that is not
finite, that belongs to another model, or whose update is far larger than the others' is
left out of the round, and the record says why. Of the other updates, none is longer than
the median when it is averaged, and none counts for more patients than were registered.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from . import compact
from .settings import Settings

LARGEST = 10.0  # times the median norm of the others' updates
REFUSED = 100  # the code of an answer that was left out
LOST = (  # no answer, but Flower's note that there will be none
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
)
METRICS, LONGEST_NAME = ("loss", "epsilon", "delta"), 100  # what a record may contain


@dataclass
class HospitalReply:
    """A hospital's answer, its row of the record, and the model that it sent."""

    message: Message
    row: dict[str, Any]
    state: dict[str, torch.Tensor]

    @property
    def good(self) -> bool:
        return self.row["refused"] is None


class ScreenedGrid(Grid):
    """A grid that passes on the answers that may be averaged.

    Args:
        grid: Flower's, which is connected to the hospitals.
        settings: of the run.
        record: a file to which a JSON line per round and hospital is appended; None for
            none.

    Attributes:
        void: whether the last round was void, because fewer than `settings.least`
            answers were good, or not most of them. Then nothing was passed on, and the
            model stayed as it was.
    """

    def __init__(self, grid: Grid, settings: Settings, record: Path | None = None):
        self.grid, self.settings, self.record = grid, settings, record
        self.private = settings.clipped_by != "nobody"
        # Flower's wrappers add the noise for all hospitals
        self.least = settings.hospitals if self.private else settings.least
        self.rows: list[dict[str, Any]] = []
        self.void = False

    def set_run(self, run: Any) -> None:
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        return self.grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self.grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        return self.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the answers that may be averaged."""
        requests = list(messages)
        if not requests:
            return []
        start = time.monotonic()
        answers = list(self.grid.send_and_receive(requests, timeout=timeout))
        seconds = time.monotonic() - start
        if requests[0].metadata.message_type != "train":
            return [each for each in answers if not each.has_error()]
        return self._screened(requests, answers, seconds)

    def _screened(
        self, requests: list[Message], messages: list[Message], seconds: float
    ) -> list[Message]:
        sent, number = model_of(requests[0]), round_of(requests[0])
        answers = [self._judge(each, sent) for each in messages]
        # in a fixed order, since the order of a sum changes its rounding
        answers.sort(key=lambda each: (str(each.row.get("hospital")), each.row["node"]))
        _refuse_doubles(answers)
        if not self.private:
            # with privacy, each is clipped to the same norm, whatever the others sent
            _refuse_far(answers)
        good = [each for each in answers if each.good]
        limit = self._limit([each.row["norm"] for each in good])
        for each in good:
            self._admit(each, sent, limit)
        lost = sum(m.has_error() and m.error.code in LOST for m in messages)
        self.void = len(good) < max(self.least, (len(answers) - lost) // 2 + 1)
        silent = {m.metadata.dst_node_id for m in requests}
        silent -= {m.metadata.src_node_id for m in messages}
        rows = [each.row for each in answers] + [
            {"node": node, "refused": "no answer", "norm": None}
            for node in sorted(silent)
        ]
        for row in rows:
            self.write(row | {"round": number, "void": self.void, "seconds": seconds})
        return [] if self.void else [each.message for each in good]

    def _judge(self, message: Message, sent: dict[str, torch.Tensor]) -> HospitalReply:
        """Read an answer, and refuse it if it does not fit the model that was sent."""
        row: dict[str, Any] = {"node": message.metadata.src_node_id, "norm": None}
        answer = HospitalReply(message, row, {})
        if message.has_error():
            row["refused"] = _last_line(message.error.reason)
            return answer
        content = message.content
        try:
            name = dict(content.config_records.get("hospital", {})).get("hospital")
            row["hospital"] = str(name)[:LONGEST_NAME]
            arrays = content.array_records["arrays"]
            metrics = content.metric_records["metrics"]
            row |= {n: float(str(metrics[n])) for n in METRICS if n in metrics}
            row["bytes"] = arrays.count_bytes()
            state: dict[str, torch.Tensor] = arrays.to_torch_state_dict()
            if compact.CODES in state:
                state = compact.decode(state, sent)
            _fits(state, sent)
            patients = self._patients(metrics["num-examples"], row["hospital"])
            answer.state = {name: state[name] for name in sent}
            row |= {"num-examples": patients, "norm": _norm(answer.state, sent)}
            row["refused"] = None
        except Exception as error:  # whatever a hospital's bytes cause, the run goes on
            row["refused"] = str(error).rstrip(".") or type(error).__name__
        return answer

    def _patients(self, claim: Any, hospital: str) -> int:
        """Return how many patients a hospital may count for: no more than registered."""
        number = isinstance(claim, int | float) and math.isfinite(claim)
        if not number or claim < 1:
            raise ValueError(f"its number of patients is {claim!r}, not 1 or more")
        registered = self.settings.patients_of()
        if registered and hospital not in registered:
            raise ValueError(f"{hospital} is not registered")
        return min(int(claim), registered.get(hospital, int(claim)))

    def _limit(self, norms: list[float]) -> float:
        """Return the norm that no update in the average may exceed.

        With privacy it is a constant: the median depends on every hospital's patients, so
        without one of them, the updates of all others would change as well.
        """
        if self.private:
            return self.settings.clip
        if self.settings.strategy != "fedmedian":
            return math.inf
        return float(np.median([norm for norm in norms if norm] or [math.inf]))

    def _admit(
        self, answer: HospitalReply, sent: dict[str, torch.Tensor], limit: float
    ) -> None:
        """Put into an answer what is averaged: the clipped model and its weight."""
        norm, state = answer.row["norm"], answer.state
        if norm > limit:
            answer.row["scale"] = limit / norm
            state = {
                n: v + ((state[n].double() - v) * limit / norm).to(v.dtype)
                for n, v in sent.items()
            }
        by_patients = self.settings.by_patients
        weight = answer.row["num-examples"] if by_patients else 1
        metrics = MetricRecord({"num-examples": weight})
        arrays = ArrayRecord(state)
        answer.message.content = RecordDict({"arrays": arrays, "metrics": metrics})

    def write(self, row: dict[str, Any]) -> None:
        """Append a row to the record."""
        self.rows.append(row)
        if self.record is not None:
            with self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def model_of(message: Message) -> dict[str, torch.Tensor]:
    """Return the model in a message."""
    return message.content.array_records["arrays"].to_torch_state_dict()


def round_of(message: Message) -> int:
    """Return the number of the round that a message of the server belongs to."""
    config = message.content.config_records["config"]
    return sum(int(str(config[name])) for name in ("server-round", "rounds-before"))


def _fits(state: dict[str, torch.Tensor], sent: dict[str, torch.Tensor]) -> None:
    """Check that arrays are those of the model that was sent, and finite."""
    if state.keys() != sent.keys():
        odd = sorted(state.keys() ^ sent.keys())
        raise ValueError(f"it sent another model: {', '.join(odd[:3])} does not fit")
    for name, value in state.items():
        if value.dtype != sent[name].dtype:
            raise ValueError(f"it sent another model: {name} is of {value.dtype}")
        if value.shape != sent[name].shape:
            raise ValueError(
                f"it sent another model: {name} has shape {list(value.shape)}, not "
                f"{list(sent[name].shape)}"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} is not finite")


def _norm(state: dict[str, torch.Tensor], sent: dict[str, torch.Tensor]) -> float:
    """Return the norm of an update; in float64, where the squares cannot overflow."""
    norms = [torch.linalg.vector_norm(state[n].double() - v) for n, v in sent.items()]
    return float(torch.stack(norms).norm())


def _refuse_doubles(answers: list[HospitalReply]) -> None:
    """Refuse answers under the same name: nobody knows who of them may bear it."""
    times = Counter(each.row["hospital"] for each in answers if each.good)
    for each in answers:
        if each.good and times[each.row["hospital"]] > 1:
            each.row["refused"] = (
                f"{times[each.row['hospital']]} nodes answered as {each.row['hospital']}"
            )


def _refuse_far(answers: list[HospitalReply]) -> None:
    """Refuse updates that are far longer than the others'."""
    good = [each for each in answers if each.good]
    norms = [each.row["norm"] for each in good]
    for index, each in enumerate(good):
        others = [n for n in norms[:index] + norms[index + 1 :] if n]
        usual = float(np.median(others or [math.inf]))
        if norms[index] > LARGEST * usual:
            each.row["refused"] = (
                f"its update has a norm of {norms[index]:.3g}, more than {LARGEST:g} "
                f"times the median of the others' ({usual:.3g})"
            )


def _last_line(reason: str | None) -> str:
    lines = (reason or "").strip().splitlines()
    return lines[-1].strip() if lines else "an error without a reason"


def refusal(message: Message, reason: str) -> Message:
    """Return a hospital's answer that it will not train, in one sentence."""
    return Message(Error(REFUSED, reason), reply_to=message)
