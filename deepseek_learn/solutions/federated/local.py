"""The same app in one process: Flower's strategies and messages without its network."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from .client import client
from .server import run
from .settings import Settings, Site


class LocalGrid(Grid):
    """A grid whose hospitals are called one after the other.

    Args:
        app: what each hospital runs.
        sites: the configuration of each hospital's node.
        run_config: the settings of the run.
    """

    def __init__(
        self,
        app: ClientApp,
        sites: Sequence[Mapping[str, Any]],
        run_config: Mapping[str, Any],
    ):
        self.app = app
        self.contexts = {
            number: Context(1, number, dict(site), RecordDict(), dict(run_config))
            for number, site in enumerate(sites, 1)
        }
        self.answers: dict[str, Message] = {}
        self.keys = itertools.count()
        if TaskIdentity._run_id is None:  # not inside of Flower
            TaskIdentity.run_id, TaskIdentity.node_id = 1, 0
            TaskIdentity.task_id = 1

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("A local grid has one run.")

    @property
    def run(self) -> Any:
        raise NotImplementedError("A local grid has one run.")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return [*self.contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the hospitals answer, and return the keys of their answers."""
        keys = []
        for message in messages:
            key = str(next(self.keys))
            self.answers[key] = self._answer(message)
            keys.append(key)
        return keys

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self.answers.pop(key) for key in message_ids]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        try:
            return self.app(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:  # as a SuperNode does
            reason = f"{type(error).__name__}: {error}"
            failed = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason)
            return Message(failed, reply_to=message)


def simulate(
    sites: Sequence[Mapping[str, Any]], app: ClientApp = client, **settings: Any
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Run a federated training in this process.

    Args:
        sites: the configuration of each hospital, such as `{"hospital": "north"}`.
        settings: of `settings.Settings`.

    Returns:
        The model and the record: a row per round and hospital.

    Raises:
        ValueError: if a setting or a site is not right, or a hospital is there twice.
        UntrustedModelError: if most hospitals do not stand behind the model.
    """
    own = [Site.of(site).hospital for site in sites]
    if len(set(own)) < len(own) or not own:
        raise ValueError(f"sites must be different hospitals; got {own}.")
    config = {"hospitals": len(own)} | settings
    run_settings = Settings.of(config)
    with _quiet():
        return run(LocalGrid(app, sites, config), run_settings)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Flower logs about each round."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
