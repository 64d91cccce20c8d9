"""Answers to `past_and_future`: the starter, right ones and wrong ones."""

# %% starter
def split(days, threads, cut, weeks):
    ...

# %% solution
def split(days, threads, cut, weeks):
    first = {}
    for day, thread in zip(days, threads):
        first[thread] = min(day, first.get(thread, day))
    parts = []
    for day, thread in zip(days, threads):
        if day >= cut:
            parts.append("test" if first[thread] >= cut else "dropped")
        else:
            parts.append("border" if day >= cut - 7 * weeks else "train")
    return parts

# %% right: numpy
import numpy as np


def split(days, threads, cut, weeks):
    days, threads = np.asarray(days), np.asarray(threads)
    parts = np.where(days < cut - 7 * weeks, "train", "border").astype(object)
    old = np.isin(threads, threads[days < cut])
    parts[(days >= cut) & old] = "dropped"
    parts[(days >= cut) & ~old] = "test"
    return parts

# %% right: pandas
import pandas as pd


def split(days, threads, cut, weeks):
    frame = pd.DataFrame({"day": list(days), "thread": list(threads)})
    begins = frame.groupby("thread")["day"].transform("min")
    parts = pd.Series("train", index=frame.index)
    parts[frame["day"] >= cut - 7 * weeks] = "border"
    parts[frame["day"] >= cut] = "test"
    parts[(frame["day"] >= cut) & (begins < cut)] = "dropped"
    return parts

# %% wrong: threads are forgotten
def split(days, threads, cut, weeks):
    start = cut - 7 * weeks
    return [
        "train" if day < start else "border" if day < cut else "test" for day in days
    ]

# %% wrong: only threads of the training part
def split(days, threads, cut, weeks):
    start = cut - 7 * weeks
    old = {thread for day, thread in zip(days, threads) if day < start}
    parts = []
    for day, thread in zip(days, threads):
        if day >= cut:
            parts.append("dropped" if thread in old else "test")
        else:
            parts.append("border" if day >= start else "train")
    return parts

# %% wrong: days for weeks
def split(days, threads, cut, weeks):
    old = {thread for day, thread in zip(days, threads) if day < cut}
    parts = []
    for day, thread in zip(days, threads):
        if day >= cut:
            parts.append("dropped" if thread in old else "test")
        else:
            parts.append("border" if day >= cut - weeks else "train")
    return parts

# %% wrong: the day of the cut is before it
def split(days, threads, cut, weeks):
    old = {thread for day, thread in zip(days, threads) if day <= cut}
    parts = []
    for day, thread in zip(days, threads):
        if day > cut:
            parts.append("dropped" if thread in old else "test")
        else:
            parts.append("border" if day >= cut - 7 * weeks else "train")
    return parts

# %% wrong: old mails are dropped, too
def split(days, threads, cut, weeks):
    late = {thread for day, thread in zip(days, threads) if day >= cut}
    parts = []
    for day, thread in zip(days, threads):
        if day >= cut:
            parts.append("test")
        elif thread in late:
            parts.append("dropped")
        else:
            parts.append("border" if day >= cut - 7 * weeks else "train")
    return parts

# %% wrong: a week of eight days
def split(days, threads, cut, weeks):
    first = {}
    for day, thread in zip(days, threads):
        first[thread] = min(day, first.get(thread, day))
    parts = []
    for day, thread in zip(days, threads):
        if day >= cut:
            parts.append("test" if first[thread] >= cut else "dropped")
        else:
            parts.append("border" if day >= cut - 8 * weeks else "train")
    return parts
