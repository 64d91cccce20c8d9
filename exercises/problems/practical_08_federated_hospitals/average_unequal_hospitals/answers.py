"""Answers to `average_unequal_hospitals`: the starter, right ones and wrong ones."""

# %% starter
def average(models, patients):
    ...

# %% solution
def average(models, patients):
    total = sum(patients)
    return {
        name: sum(n / total * model[name] for n, model in zip(patients, models))
        for name in models[0]
    }

# %% right: stacked
import torch


def average(models, patients):
    weights = torch.tensor(patients, dtype=torch.float32)
    weights /= weights.sum()
    result = {}
    for name in models[0]:
        stacked = torch.stack([model[name] for model in models])
        result[name] = torch.tensordot(weights, stacked, 1)
    return result

# %% right: step by step, in the first hospital's names
def average(models, patients):
    result, seen = {}, 0
    for model, count in zip(models, patients):
        seen += count
        for name, value in model.items():
            old = result.get(name, value)
            result[name] = old + (value - old) * count / seen
    return result

# %% right: with numpy
import numpy as np
import torch


def average(models, patients):
    return {
        name: torch.from_numpy(
            np.asarray(np.average(np.stack([m[name].numpy() for m in models]), axis=0,
                                  weights=patients), np.float32)
        )
        for name in models[0]
    }

# %% wrong: all hospitals alike
def average(models, patients):
    return {
        name: sum(model[name] for model in models) / len(models) for name in models[0]
    }

# %% wrong: not divided by the total
def average(models, patients):
    return {
        name: sum(n * model[name] for n, model in zip(patients, models))
        for name in models[0]
    }

# %% wrong: divided by the largest
def average(models, patients):
    return {
        name: sum(n * model[name] for n, model in zip(patients, models)) / max(patients)
        for name in models[0]
    }

# %% wrong: tensors matched by their position
def average(models, patients):
    total = sum(patients)
    names = list(models[0])
    columns = zip(*(model.values() for model in models))
    return {
        name: sum(n / total * value for n, value in zip(patients, column))
        for name, column in zip(names, columns)
    }

# %% wrong: in place
def average(models, patients):
    total, result = sum(patients), models[0]
    for name in result:
        result[name] *= patients[0] / total
        for n, model in zip(patients[1:], models[1:]):
            result[name] += n / total * model[name]
    return result

# %% wrong: a list
def average(models, patients):
    total = sum(patients)
    return [
        sum(n / total * model[name] for n, model in zip(patients, models))
        for name in models[0]
    ]

# %% wrong: a single hospital's own dictionary
def average(models, patients):
    if len(models) == 1:
        return models[0]
    total = sum(patients)
    return {
        name: sum(n / total * model[name] for n, model in zip(patients, models))
        for name in models[0]
    }

# %% wrong: a single hospital's own tensors
def average(models, patients):
    if len(models) == 1:
        return dict(models[0])
    total = sum(patients)
    return {
        name: sum(n / total * model[name] for n, model in zip(patients, models))
        for name in models[0]
    }
