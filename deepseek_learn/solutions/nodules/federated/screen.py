"""Look at each hospital's answer before it is averaged, and keep a record of it.

`ScreenedGrid` stands between Flower's strategy and the hospitals. An answer that is not
finite, that belongs to another model, or whose update is far larger than the others' is
left out of the round, and the record says why.
"""

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from . import compact

LARGEST = 10.0  # times the median norm of the others' updates
REFUSED = 100  # the code of an answer that was left out
METRICS, LONGEST_NAME = ("loss", "epsilon", "delta"), 100  # what a record may contain


class ScreenedGrid(Grid):
    """A grid that passes on the answers that may be averaged.

    Args:
        grid: Flower's, which is connected to the hospitals.
        record: a file to which a JSON line per round and hospital is appended; None for
            none.
        least: the least number of hospitals in a round. With fewer answers, the round is
            void: nothing is passed on, and the model stays as it is.
        equal: whether each hospital counts as one, not as its patients.
        max_patients: the largest number of patients that a hospital may claim.
    """

    def __init__(
        self,
        grid: Grid,
        record: str | Path | None = None,
        least: int = 2,
        equal: bool = False,
        max_patients: int = 10_000,
    ):
        self.grid, self.least, self.equal = grid, least, equal
        self.max_patients = max_patients
        self.record = None if record is None else Path(record)
        self.rows: list[dict[str, Any]] = []

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
        self, requests: list[Message], answers: list[Message], seconds: float
    ) -> list[Message]:
        sent, number = model_of(requests[0]), round_of(requests[0])
        judged = [(self._judge(each, sent), each) for each in answers]
        # in a fixed order, since the order of a sum changes its rounding
        judged.sort(key=lambda pair: (str(pair[0].get("hospital")), pair[0]["node"]))
        rows, answers = [row for row, _ in judged], [each for _, each in judged]
        norms = [row["norm"] for row in rows]
        for row in rows:
            others = [
                n for n, other in zip(norms, rows, strict=True) if other is not row
            ]
            usual = float(np.median([n for n in others if n] or [math.inf]))
            if row["norm"] is not None and row["norm"] > LARGEST * usual:
                row["refused"] = (
                    f"its update has a norm of {row['norm']:.3g}, more than "
                    f"{LARGEST:g} times the median of the others' ({usual:.3g})"
                )
        silent = {m.metadata.dst_node_id for m in requests}
        silent -= {m.metadata.src_node_id for m in answers}
        rows += [
            {"node": node, "refused": "no answer", "norm": None}
            for node in sorted(silent)
        ]
        good = [
            answer
            for answer, row in zip(answers, rows, strict=False)
            if row["refused"] is None
        ]
        void = len(good) < self.least
        for row in rows:
            self.write(row | {"round": number, "void": void, "seconds": seconds})
        return [] if void else good

    def _judge(self, answer: Message, sent: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return the row of an answer; put decoded arrays into one that may be used."""
        row: dict[str, Any] = {"node": answer.metadata.src_node_id, "norm": None}
        if answer.has_error():
            return row | {"refused": _last_line(answer.error.reason)}
        content = answer.content
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
            examples = self._examples(metrics["num-examples"])
            squared = sum(((state[n] - sent[n]) ** 2).sum() for n in sent)
            norm = float(torch.as_tensor(squared).sqrt())
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            return row | {"refused": str(error).rstrip(".") or type(error).__name__}
        weight = MetricRecord({"num-examples": 1 if self.equal else examples})
        ordered = ArrayRecord({name: state[name] for name in sent})
        answer.content = RecordDict({"arrays": ordered, "metrics": weight})
        return row | {"num-examples": examples, "refused": None, "norm": norm}

    def _examples(self, value: Any) -> int:
        """Return the number of patients, on which the weight in the average depends."""
        if not (isinstance(value, int | float) and 1 <= value <= self.max_patients):
            raise ValueError(
                f"its number of patients is {value!r}, not from 1 to {self.max_patients}"
            )
        return int(value)

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


def _last_line(reason: str | None) -> str:
    lines = (reason or "").strip().splitlines()
    return lines[-1].strip() if lines else "an error without a reason"


def refusal(message: Message, reason: str) -> Message:
    """Return a hospital's answer that it will not train, in one sentence."""
    return Message(Error(REFUSED, reason), reply_to=message)
