"""Answers to `deal_people_to_folds`: the starter, right ones and wrong ones."""

# %% starter
def folds(people, count):
    ...

# %% solution
import numpy as np


def folds(people, count):
    dealt = np.array_split(np.unique(people), count)
    return [np.flatnonzero(np.isin(people, own)) for own in dealt]

# %% right: like cards
import numpy as np


def folds(people, count):
    names = np.random.default_rng(0).permutation(np.unique(people))
    place = {name: i % count for i, name in enumerate(names)}
    own = np.array([place[name] for name in people])
    return [np.where(own == i)[0] for i in range(count)]

# %% right: with plain lists
def folds(people, count):
    seen, result = {}, [[] for _ in range(count)]
    for position, person in enumerate(people.tolist()):
        fold = seen.setdefault(person, len(seen) % count)
        result[fold].append(position)
    return result

# %% wrong: windows at random
import numpy as np


def folds(people, count):
    order = np.random.default_rng(0).permutation(len(people))
    return np.array_split(order, count)

# %% wrong: runs of windows
import numpy as np


def folds(people, count):
    return np.array_split(np.arange(len(people)), count)

# %% wrong: sorted by person, cut anywhere
import numpy as np


def folds(people, count):
    return np.array_split(np.argsort(people, kind="stable"), count)

# %% wrong: the person's number decides
import numpy as np


def folds(people, count):
    return [np.flatnonzero(people % count == i) for i in range(count)]

# %% wrong: who is in the training part
import numpy as np


def folds(people, count):
    dealt = np.array_split(np.unique(people), count)
    return [np.flatnonzero(~np.isin(people, own)) for own in dealt]

# %% wrong: people, not windows
import numpy as np


def folds(people, count):
    return np.array_split(np.unique(people), count)

# %% wrong: one person per fold, the rest nowhere
import numpy as np


def folds(people, count):
    return [np.flatnonzero(people == own) for own in np.unique(people)[:count]]

# %% wrong: one fold per person
import numpy as np


def folds(people, count):
    return [np.flatnonzero(people == own) for own in np.unique(people)]

# %% wrong: equal numbers of windows
import numpy as np


def folds(people, count):
    names, sizes = np.unique(people, return_counts=True)
    total, result = np.zeros(count), [[] for _ in range(count)]
    for i in np.argsort(-sizes):
        fold = int(total.argmin())
        total[fold] += sizes[i] ** 3
        result[fold].extend(np.flatnonzero(people == names[i]))
    return result
