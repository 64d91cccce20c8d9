"""What the server does: the Flower app that runs the rounds."""

import json
from dataclasses import asdict
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

from ....errors import DamagedFileError
from ....files import atomic_write
from .screen import ScreenedGrid
from .settings import Settings
from .tasks import TASKS

STATE, RECORD = "state.json", "rounds.jsonl"
DELTA = 1e-3  # of the hospitals' privacy

server = ServerApp()


@server.main()
def serve(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    run(grid, Settings.of(context.run_config))


def run(grid: Grid, settings: Settings) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Run the rounds that are still to do and return the model and the record.

    After each round, the model is written to `settings.out`, so a server that is killed
    repeats at most one round.
    """
    out = Path(settings.out) if settings.out else None
    torch.manual_seed(settings.seed)
    state, done = TASKS[settings.task].network().state_dict(), 0
    accountant = _accountant(settings)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        state, done = _resumed(out, settings, state, accountant)
    record = None if out is None else out / RECORD
    clipped = accountant is not None
    screened = ScreenedGrid(
        grid,
        record,
        settings.hospitals if clipped else settings.least,  # as Flower's wrappers do
        equal=clipped,
        max_patients=settings.max_patients,
    )
    final = {"arrays": ArrayRecord(state)}

    def keep(number: int, arrays: ArrayRecord) -> None:
        """Write what a round has led to."""
        if number == 0:
            return
        final["arrays"] = arrays
        if accountant is not None:
            spent = accountant.get_privacy_spent()
            facts = {"epsilon": spent.epsilon, "delta": spent.delta}
            screened.write({"round": done + number, "hospital": "all of them", **facts})
        if out is not None:
            model = arrays.to_torch_state_dict()
            _keep(out, settings, model, done + number, accountant)

    if done < settings.rounds:
        try:
            _strategy(settings, accountant).start(
                grid=screened,
                initial_arrays=final["arrays"],
                num_rounds=settings.rounds - done,
                timeout=settings.timeout,
                train_config=ConfigRecord({"rounds-before": done}),
                evaluate_fn=keep,
            )
        except PrivacyBudgetExhausted as error:
            screened.write({"hospital": "all of them", "refused": str(error)})
    return final["arrays"].to_torch_state_dict(), screened.rows


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
    state: dict[str, torch.Tensor],
    accountant: RdpAccountant | None,
) -> tuple[dict[str, torch.Tensor], int]:
    if not (out / STATE).exists():
        return state, 0
    try:
        facts = json.loads((out / STATE).read_text(encoding="utf-8"))
        before, done = dict(facts["settings"]), int(facts["round"])
        loaded = load_file(out / facts["model"])  # in alphabetical order
        model = {name: loaded[name] for name in state}
    except (ValueError, TypeError, KeyError, OSError, SafetensorError) as error:
        raise DamagedFileError(
            f"{out} holds a run that cannot be read: choose another folder."
        ) from error
    if before != asdict(settings) | {"rounds": before.get("rounds")}:
        raise ValueError(
            f"{out} holds the model of a run with other settings; choose another folder."
        )
    if accountant is not None:
        accountant.load_state_dict(facts["accountant"])
    return model, done


def _keep(
    out: Path,
    settings: Settings,
    state: dict[str, torch.Tensor],
    number: int,
    accountant: RdpAccountant | None,
) -> None:
    """Write the model of a round; the state file names it, and comes last."""
    name = f"model_{number % 2}.safetensors"  # the one before stays until then
    with atomic_write(out / name) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, temporary)
    facts = {"round": number, "model": name, "settings": asdict(settings)}
    if accountant is not None:
        facts["accountant"] = accountant.state_dict()
    with atomic_write(out / STATE) as temporary:
        temporary.write_text(json.dumps(facts))
