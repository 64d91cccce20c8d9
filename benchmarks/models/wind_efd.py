"""energy-fault-detector's anomaly scores, in an environment of their own.

    python benchmarks/models/wind_efd.py IN.npz OUT.npz

IN holds, for each of N frames, `reference` `[N, T, C]` with `normal` `[N, T]` and `half`
`[T]` (0 or 1), and `spans` `[S, R, C]` with `frame` `[S]` and `halves` `[S, R]`;
`columns` names the C columns, `code` is the size of the code. One detector per frame and
half learns the normal steps of the other half. OUT gets `reference` `[N, T]`, each step's
score from the detector that has not seen it, and `spans` `[S, R]`, where a half of -1
stands for the mean of both. The settings are those of the package's quick start, with
layers of 50 and 25 units instead of 200, 100 and 50, since a farm has few sensors and a
code of 20 would copy them.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pandas as pd
from energy_fault_detector import FaultDetector
from energy_fault_detector.config import generate_quickstart_config


def frame(values, columns):
    index = pd.date_range("2014-01-01", periods=len(values), freq="10min")
    return pd.DataFrame(values, index, columns)


def main(source, out):
    arrays = dict(np.load(source))
    columns, code = [str(c) for c in arrays["columns"]], int(arrays["code"])
    angles = [name for name in columns if name == "nacelle"]
    config = generate_quickstart_config(
        angle_columns=angles or None, code_size=code, layers=[50, 25]
    )
    reference = np.zeros(arrays["normal"].shape)
    spans = np.zeros(arrays["spans"].shape[:2])
    for n, (values, normal) in enumerate(
        zip(arrays["reference"], arrays["normal"], strict=True)
    ):
        own = np.flatnonzero(arrays["frame"] == n)
        rows = frame(arrays["spans"][own].reshape(-1, values.shape[1]), columns)
        each = []
        for half in (0, 1):
            use = normal & (arrays["half"] != half)
            detector = FaultDetector(config)
            table = frame(values[use], columns)
            detector.fit(table, pd.Series(True, index=table.index), save_models=False)
            rest = arrays["half"] == half
            scores = detector.predict_anomaly_score(frame(values[rest], columns))
            reference[n, rest] = scores.to_numpy()
            each.append(detector.predict_anomaly_score(rows).to_numpy())
        halves = arrays["halves"][own].ravel()
        joined = np.where(halves == 0, each[0], np.mean(each, 0))
        joined = np.where(halves == 1, each[1], joined)
        spans[own] = joined.reshape(len(own), -1)
    np.savez(out, reference=reference, spans=spans)


if __name__ == "__main__":
    main(*sys.argv[1:])
