"""Functions that tests run in two real processes, connected by gloo."""

import functools
import os
import socket
import traceback

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from deepseek_learn import DeepOpt

from .conftest import Net, batches, learn


class Pair:
    """Two processes in one group, which serve one call after another."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = mp.get_context("spawn")
        self.answers = context.Queue()
        self.calls = [context.Queue() for _ in range(2)]
        self.workers = [
            context.Process(target=_serve, args=(r, port, c, self.answers), daemon=True)
            for r, c in enumerate(self.calls)
        ]
        for worker in self.workers:
            worker.start()

    def __call__(self, function, arguments):
        for calls in self.calls:
            calls.put((function, arguments))
        result = dict(self.answers.get(timeout=300) for _ in self.workers)
        problems = [answer for answer in result.values() if isinstance(answer, str)]
        assert not problems, problems[0]
        return [result[rank] for rank in range(2)]

    def end(self):
        for worker in self.workers:
            worker.terminate()
            worker.join(60)


@functools.cache
def pair() -> Pair:
    return Pair()


def in_two(function, *arguments):
    """What `function(rank, *arguments)` returns in each of two processes."""
    try:
        return pair()(function, arguments)
    except BaseException:
        end()  # the other process may still wait for the one that failed
        raise


def end():
    """End the two processes, if there are any."""
    if pair.cache_info().currsize:
        pair().end()
        pair.cache_clear()


def _serve(rank, port, calls, answers):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    while True:
        function, arguments = calls.get()
        try:
            answers.put((rank, function(rank, *arguments)))
        except BaseException:
            answers.put((rank, traceback.format_exc()))


def halves(rank, count):
    """Each rank's half of every batch."""
    for x, y in batches(count):
        yield x[2 * rank : 2 * rank + 2], y[2 * rank : 2 * rank + 2]


def weights(model):
    full = [getattr(p, "full_tensor", lambda p=p: p)() for p in model.parameters()]
    return [p.detach().clone().numpy() for p in full]


def parallel(rank, state):
    """Data-parallel training: the weights, and the loss on this half."""
    torch.manual_seed(0)
    model = Net()
    copy = torch.nn.parallel.DistributedDataParallel(model)
    losses = learn(copy, DeepOpt(model, state=state), halves(rank, 6))
    return weights(model), losses[-1]


def sharded(rank, state):
    """FSDP2: the full weights, and the shapes of this process's state."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = Net()
    mesh = init_device_mesh("cpu", (2,))
    for part in (model.qkv, model.conv, model):
        fully_shard(part, mesh=mesh)
    optimizer = DeepOpt(model, state=state)
    learn(model, optimizer, halves(rank, 6))
    kept = optimizer.state[model.more.weight]["momentum"].shape
    return weights(model), tuple(kept)


def uneven(rank, state):
    """FSDP2 where shards differ in size, saved and resumed halfway."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    result = []
    for halfway in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 7),
            torch.nn.Tanh(), torch.nn.Linear(7, 3),
        )  # fmt: skip
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
        optimizer = DeepOpt(model, state=state)
        for step in range(6):
            if halfway and step == 3:
                saved = optimizer.state_dict()
                optimizer = DeepOpt(model, lr=0.5, state=state)
                optimizer.load_state_dict(saved)
            generator = torch.Generator().manual_seed(step)
            x = torch.randn(4, 6, generator=generator)[2 * rank : 2 * rank + 2]
            model(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        result.append(weights(model))
    return result


def cut_in_columns(rank):
    """Shards along the second axis are rejected."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    layer = torch.nn.Linear(8, 6, bias=False)
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(layer, mesh=mesh, shard_placement_fn=lambda p: Shard(1))
    try:
        DeepOpt(layer, roles={"weight": "matrix"})
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}


def sharded_not_finite(rank):
    """A gradient that is not finite on one process only: every process skips."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = Net()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = DeepOpt(model, nonfinite="skip")
    learn(model, optimizer, halves(rank, 1))
    before = weights(model)
    if rank == 1:
        model.mix.weight.grad.to_local().fill_(float("nan"))
    optimizer.step()
    same = all((a == b).all() for a, b in zip(before, weights(model), strict=True))
    return optimizer.skipped, same


def flattened(rank):
    """The old FullyShardedDataParallel flattens: rejected."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = FullyShardedDataParallel(Net(), device_id=torch.device("cpu"))
    try:
        DeepOpt(model)
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}
