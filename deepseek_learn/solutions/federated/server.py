"""What the server does: the Flower app that runs the rounds."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.exception import PrivacyBudgetExhausted
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedProx,
    Strategy,
)
from flwr.supercore.privacy_accounting import (
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...errors import DamagedFileError
from ...files import atomic_write
from .robust_aggregation import ScreenedGrid
from .sealed import unseal, write_sealed
from .settings import Settings
from .tasks import TASKS
from .vote import UntrustedModelError, vote

STATE, RECORD = "state.json", "rounds.jsonl"
DELTA = 1e-3  # of the hospitals' privacy

server = ServerApp()


@dataclass
class FederationState:
    """What a run has led to so far.

    Attributes:
        state: the model.
        rounds: the number of rounds that led to it.
        accepted: whether the hospitals have voted for it.
    """

    state: dict[str, torch.Tensor]
    rounds: int = 0
    accepted: bool = False


@server.main()
def serve(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    run(grid, Settings.of(context.run_config))


def run(grid: Grid, settings: Settings) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Run the rounds that are still to do and return the model and the record.

    After each round, the model is written to `settings.out`, so a server that is killed
    repeats at most one round. Rounds at the end that are void are not written, and are
    repeated if the run is started again.

    Raises:
        UntrustedModelError: if the last round was void, or if at least half of the
            hospitals that vote find the model worse than the one that training began with.
    """
    out = Path(settings.out) if settings.out else None
    torch.manual_seed(settings.seed)
    start = TASKS[settings.task].network().state_dict()
    accountant = _accountant(settings)
    progress = FederationState(start)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        progress = _resumed(out, settings, start, accountant)
    record, done = None if out is None else out / RECORD, progress.rounds
    screened = ScreenedGrid(grid, settings, record)

    def keep(number: int, arrays: ArrayRecord) -> None:
        """Write what a round has led to."""
        if number == 0 or screened.void:
            return
        progress.state, progress.rounds = arrays.to_torch_state_dict(), done + number
        if accountant is not None:
            spent = accountant.get_privacy_spent()
            facts = {"epsilon": spent.epsilon, "delta": spent.delta}
            screened.write({"round": done + number, "hospital": "all of them", **facts})
        if out is not None:
            _keep(out, settings, progress, accountant)

    if done < settings.rounds:
        try:
            _strategy(settings, accountant).start(
                grid=screened,
                initial_arrays=ArrayRecord(progress.state),
                num_rounds=settings.rounds - done,
                timeout=settings.timeout,
                train_config=ConfigRecord({"rounds-before": done}),
                evaluate_fn=keep,
            )
        except PrivacyBudgetExhausted as error:
            screened.write({"hospital": "all of them", "refused": str(error)})
    if screened.void:
        reason = _void(screened.rows)
        raise UntrustedModelError(reason, progress.state, screened.rows)
    if not progress.accepted and accountant is None:
        better, worse = vote(grid, settings, start, progress.state)
        if worse and worse >= better:
            raise UntrustedModelError(
                f"{worse} of {better + worse} hospitals find the model worse than the one "
                "that training began with: some labels or updates contradict the others, "
                "so no model is returned.",
                progress.state,
                screened.rows,
            )
        progress.accepted = True
        if out is not None:
            _keep(out, settings, progress, accountant)
    return progress.state, screened.rows


def _void(rows: list[dict]) -> str:
    """Return why the last round was void."""
    number = max(row["round"] for row in rows if "void" in row)
    last = [row for row in rows if "void" in row and row["round"] == number]
    reasons = [str(row["refused"]).rstrip(".") for row in last if row["refused"]]
    return (
        f"Round {number}, the last one, is void, so no model is returned: "
        f"{len(reasons)} of {len(last)} hospitals took no part ({reasons[0]})."
    )


def _accountant(settings: Settings) -> RdpAccountant | None:
    """Return who accounts for the hospitals' privacy."""
    if settings.clipped_by == "nobody":
        return None
    config = PrivacyConfig(
        DELTA,
        settings.hospitals,
        NeighboringRelation.ADD_OR_REMOVE_ONE,
        SamplingMethod.NO_AMPLIFICATION,
        settings.max_epsilon or None,
    )
    return RdpAccountant(config)


def _strategy(settings: Settings, accountant: RdpAccountant | None) -> Strategy:
    options: dict[str, Any] = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": settings.hospitals,
        "min_available_nodes": settings.hospitals,
    }
    strategy: Strategy = FedAvg(**options)
    if settings.strategy == "fedmedian":
        strategy = FedMedian(**options)
    if settings.strategy == "fedprox":
        strategy = FedProx(**options, proximal_mu=settings.proximal)
    if settings.clipped_by == "nobody":
        return strategy
    protect = {
        "server": DifferentialPrivacyServerSideFixedClipping,
        "hospitals": DifferentialPrivacyClientSideFixedClipping,
    }[settings.clipped_by]
    numbers = (settings.noise, settings.clip, settings.hospitals)
    return protect(strategy, *numbers, accountant=accountant)


def _resumed(
    out: Path,
    settings: Settings,
    start: dict[str, torch.Tensor],
    accountant: RdpAccountant | None,
) -> FederationState:
    if not (out / STATE).exists():
        return FederationState(start)
    try:
        facts = unseal((out / STATE).read_text(encoding="utf-8"))
        before, model = dict(facts["settings"]), out / facts["model"]
        if _digest(model) != facts["model_sha256"]:
            raise ValueError(f"{model} is not the model that was written")
        loaded = load_file(model)  # in alphabetical order
        state = {name: loaded[name] for name in start}
        progress = FederationState(state, int(facts["round"]), bool(facts["accepted"]))
    except (ValueError, TypeError, KeyError, OSError, SafetensorError) as error:
        raise DamagedFileError(
            f"{out} holds a run that cannot be read ({error}): choose another folder."
        ) from error
    if before != asdict(settings) | {"rounds": before.get("rounds")}:
        raise ValueError(
            f"{out} holds the model of a run with other settings; choose another folder."
        )
    if accountant is not None:
        accountant.load_state_dict(facts["accountant"])
    progress.accepted &= progress.rounds == settings.rounds
    return progress


def _keep(
    out: Path,
    settings: Settings,
    progress: FederationState,
    accountant: RdpAccountant | None,
) -> None:
    """Write the model of a round; the state file names it, and comes last."""
    name = f"model_{progress.rounds % 2}.safetensors"  # the one before stays until then
    with atomic_write(out / name) as temporary:
        state = {k: v.contiguous() for k, v in progress.state.items()}
        save_file(state, temporary)
    facts = {
        "round": progress.rounds,
        "model": name,
        "model_sha256": _digest(out / name),
        "accepted": progress.accepted,
        "settings": asdict(settings),
    }
    if accountant is not None:
        facts["accountant"] = accountant.state_dict()
    write_sealed(out / STATE, facts)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
