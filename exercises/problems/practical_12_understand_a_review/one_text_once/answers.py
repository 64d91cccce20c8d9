"""Answers to `one_text_once`: the starter, right ones and wrong ones."""

# %% starter
def distinct(texts, labels):
    ...

# %% solution
import unicodedata


def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = "".join(c for c in normal if c.isalnum())
        first.setdefault(key, place)
        kinds.setdefault(key, set()).add(label)
    return [place for key, place in first.items() if key and len(kinds[key]) == 1]

# %% right: with pandas
import unicodedata

import pandas as pd


def distinct(texts, labels):
    keys = [
        "".join(filter(str.isalnum, unicodedata.normalize("NFKC", t).lower()))
        for t in texts
    ]
    frame = pd.DataFrame({"key": keys, "label": labels})
    agree = frame.groupby("key")["label"].transform("nunique") == 1
    return frame.index[agree & ~frame["key"].duplicated() & (frame["key"] != "")]

# %% right: sorted pairs, as an array
import unicodedata

import numpy as np


def distinct(texts, labels):
    def clean(text):
        text = unicodedata.normalize("NFKC", text).casefold()
        return "".join([c for c in text if c.isalnum()])

    rows = [(clean(t), i) for i, t in enumerate(texts)]
    result = []
    for k, i in rows:
        same = [j for other, j in rows if other == k]
        if k and same[0] == i and len({labels[j] for j in same}) == 1:
            result.append(i)
    return np.array(result, dtype=int)

# %% wrong: exact copies only
def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        first.setdefault(text, place)
        kinds.setdefault(text, set()).add(label)
    return [p for t, p in first.items() if any(map(str.isalnum, t)) and len(kinds[t]) == 1]

# %% wrong: without NFKC
def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        key = "".join(c for c in text.lower() if c.isalnum())
        first.setdefault(key, place)
        kinds.setdefault(key, set()).add(label)
    return [place for key, place in first.items() if key and len(kinds[key]) == 1]

# %% wrong: capitals differ
import unicodedata


def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        key = "".join(c for c in unicodedata.normalize("NFKC", text) if c.isalnum())
        first.setdefault(key, place)
        kinds.setdefault(key, set()).add(label)
    return [place for key, place in first.items() if key and len(kinds[key]) == 1]

# %% wrong: contradictions stay
import unicodedata


def distinct(texts, labels):
    first = {}
    for place, text in enumerate(texts):
        normal = unicodedata.normalize("NFKC", text).lower()
        first.setdefault("".join(c for c in normal if c.isalnum()), place)
    return [place for key, place in first.items() if key]

# %% wrong: a contradiction drops only the later text
import unicodedata


def distinct(texts, labels):
    seen, result = {}, []
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = "".join(c for c in normal if c.isalnum())
        if key and key not in seen:
            seen[key] = label
            result.append(place)
    return result

# %% wrong: one for each label
import unicodedata


def distinct(texts, labels):
    seen, result = set(), []
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = "".join(c for c in normal if c.isalnum())
        if key and (key, label) not in seen:
            seen.add((key, label))
            result.append(place)
    return result

# %% wrong: the last one stays
import unicodedata


def distinct(texts, labels):
    last, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = "".join(c for c in normal if c.isalnum())
        last[key] = place
        kinds.setdefault(key, set()).add(label)
    return sorted(p for key, p in last.items() if key and len(kinds[key]) == 1)

# %% wrong: the empty text counts
import unicodedata


def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = "".join(c for c in normal if c.isalnum())
        first.setdefault(key, place)
        kinds.setdefault(key, set()).add(label)
    return [place for key, place in first.items() if len(kinds[key]) == 1]

# %% wrong: digits do not count
import unicodedata


def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = "".join(c for c in normal if c.isalpha())
        first.setdefault(key, place)
        kinds.setdefault(key, set()).add(label)
    return [place for key, place in first.items() if key and len(kinds[key]) == 1]

# %% wrong: the underscore counts
import re
import unicodedata


def distinct(texts, labels):
    first, kinds = {}, {}
    for place, (text, label) in enumerate(zip(texts, labels)):
        normal = unicodedata.normalize("NFKC", text).lower()
        key = re.sub(r"\W", "", normal)
        first.setdefault(key, place)
        kinds.setdefault(key, set()).add(label)
    return [place for key, place in first.items() if key and len(kinds[key]) == 1]
