"""Answers to `paired_difference`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    ...

# %% solution
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% right: in plain Python
import statistics
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = [float(x) - float(y) for x, y in zip(a, b)]
    mean = statistics.fmean(d)
    half = T_975[len(d) - 1] * statistics.stdev(d) / len(d) ** 0.5
    return [mean, mean - half, mean + half]

# %% right: PyTorch in float32
import torch
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = torch.tensor(a).float() - torch.tensor(b).float()
    half = T_975[len(d) - 1] * d.std() / len(d) ** 0.5
    return d.mean() + half * torch.tensor([0.0, -1.0, 1.0])

# %% wrong: not paired
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = T_975[n - 1] * np.sqrt(a.var(ddof=1) + b.var(ddof=1)) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: 1.96, as if n were large
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = 1.96 * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: the population's standard deviation
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=0) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: n degrees of freedom
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = T_975[n] * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: b - a instead of a - b
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = b - a
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: absolute differences
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = np.abs(a - b)
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: the spread of one seed
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1)
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: divided by n
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    d = a - b
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1) / n
    return d.mean(), d.mean() - half, d.mean() + half

# %% wrong: subtracted in place
import numpy as np

# 97.5 % points of Student's t, by degrees of freedom
T_975 = {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646}
T_975 |= {8: 2.3060, 9: 2.2622, 10: 2.2281, 11: 2.2010, 12: 2.1788}


def paired_difference(a, b):
    a -= b
    d = a
    n = len(d)
    half = T_975[n - 1] * d.std(ddof=1) / np.sqrt(n)
    return d.mean(), d.mean() - half, d.mean() + half
