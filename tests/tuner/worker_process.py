"""One worker of a search in its own process: python worker_process.py JSON."""

import json
import sys
import time
from pathlib import Path

from deepseek_learn.tuner import AutoTuner, auto_tuner, storage, workers

SPACE = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
MINIMIZE = ("error", "latency_ms")


def main(storage_url: str, trials: int, hang_at=None, ready=None, host=None, beat=None):
    """Try `trials` configurations.

    Args:
        hang_at: the trial, counted in this process, that never ends; `ready` is a file
            written when it starts.
        host: a fake host name, so that other workers cannot check its process.
        beat: seconds between heartbeats; presumed dead after twice as long.
    """
    tried = []

    def objective(trial):
        tried.append(trial.number)
        if len(tried) - 1 == hang_at:
            Path(ready).write_text(json.dumps(dict(trial)))
            time.sleep(600)
        time.sleep(0.02)  # so that both workers get trials
        return {"error": trial["x"], "latency_ms": 1 - trial["x"] + trial["y"]}

    if host:
        real = workers.identity
        workers.identity = auto_tuner.identity = lambda: real() | {"host": host}
    if beat:
        storage.HEARTBEAT_S, storage.GRACE_S = beat, 2 * beat
    tuner = AutoTuner(objective, SPACE, MINIMIZE, storage=storage_url)
    tuner.run(trials, progress=False)
    print(json.dumps({"tried": tried}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
