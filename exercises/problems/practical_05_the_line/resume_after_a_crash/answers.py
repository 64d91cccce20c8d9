"""Answers to `resume_after_a_crash`: the starter, right ones and wrong ones."""

# %% starter
import hashlib
import json


def remaining(log, parts):
    ...

# %% solution
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.split(b"\n")[:-1]:
        verdict = json.loads(line)
        known.add((verdict["name"], verdict["sha256"]))
    return [
        name
        for name, content in parts
        if (name, hashlib.sha256(content).hexdigest()) not in known
    ]

# %% right: from one line feed to the next
import hashlib
import json


def remaining(log, parts):
    verdicts, start = [], 0
    while (end := log.find(b"\n", start)) >= 0:
        verdicts.append(json.loads(log[start:end].decode("utf-8")))
        start = end + 1
    answer = []
    for name, content in parts:
        digest = hashlib.sha256(content).hexdigest()
        if not any(v["name"] == name and v["sha256"] == digest for v in verdicts):
            answer.append(name)
    return answer

# %% right: with a file object, as a generator
import hashlib
import io
import json


def remaining(log, parts):
    whole = [row for row in io.BytesIO(log) if row.endswith(b"\n")]
    known = {tuple(map(json.loads(row).get, ("name", "sha256"))) for row in whole}
    for name, content in parts:
        if (name, hashlib.sha256(content).hexdigest()) not in known:
            yield name

# %% wrong: counts the incomplete line if it can be read
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.split(b"\n"):
        try:
            verdict = json.loads(line)
        except ValueError:
            continue
        known.add((verdict["name"], verdict["sha256"]))
    return [n for n, c in parts if (n, hashlib.sha256(c).hexdigest()) not in known]

# %% wrong: stumbles over the incomplete line
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.split(b"\n"):
        if line:
            verdict = json.loads(line)
            known.add((verdict["name"], verdict["sha256"]))
    return [n for n, c in parts if (n, hashlib.sha256(c).hexdigest()) not in known]

# %% wrong: always drops the last line
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.splitlines()[:-1]:
        verdict = json.loads(line)
        known.add((verdict["name"], verdict["sha256"]))
    return [n for n, c in parts if (n, hashlib.sha256(c).hexdigest()) not in known]

# %% wrong: by name alone
import json


def remaining(log, parts):
    known = {json.loads(line)["name"] for line in log.split(b"\n")[:-1]}
    return [name for name, content in parts if name not in known]

# %% wrong: by content alone
import hashlib
import json


def remaining(log, parts):
    known = {json.loads(line)["sha256"] for line in log.split(b"\n")[:-1]}
    return [n for n, c in parts if hashlib.sha256(c).hexdigest() not in known]

# %% wrong: name and content, but not on the same line
import hashlib
import json


def remaining(log, parts):
    verdicts = [json.loads(line) for line in log.split(b"\n")[:-1]]
    names = {each["name"] for each in verdicts}
    known = {each["sha256"] for each in verdicts}
    digest = {name: hashlib.sha256(content).hexdigest() for name, content in parts}
    return [n for n, _ in parts if n not in names or digest[n] not in known]

# %% wrong: only the last verdict on a name
import hashlib
import json


def remaining(log, parts):
    known = {}
    for line in log.split(b"\n")[:-1]:
        verdict = json.loads(line)
        known[verdict["name"]] = verdict["sha256"]
    return [n for n, c in parts if known.get(n) != hashlib.sha256(c).hexdigest()]

# %% wrong: skips as many parts as there are lines
def remaining(log, parts):
    return [name for name, _ in parts[log.count(b"\n") :]]

# %% wrong: lines of text end at other characters, too
import hashlib
import json


def remaining(log, parts):
    known = set()
    text = log[: log.rfind(b"\n") + 1].decode()
    for line in text.splitlines():
        verdict = json.loads(line)
        known.add((verdict["name"], verdict["sha256"]))
    return [n for n, c in parts if (n, hashlib.sha256(c).hexdigest()) not in known]

# %% wrong: looks for the name as text
import hashlib


def remaining(log, parts):
    answer = []
    rows = log[: log.rfind(b"\n") + 1].split(b"\n")
    for name, content in parts:
        digest = hashlib.sha256(content).hexdigest().encode()
        if not any(f'"{name}"'.encode() in row and digest in row for row in rows):
            answer.append(name)
    return answer

# %% wrong: in any order
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.split(b"\n")[:-1]:
        verdict = json.loads(line)
        known.add((verdict["name"], verdict["sha256"]))
    todo = {n for n, c in parts if (n, hashlib.sha256(c).hexdigest()) not in known}
    return sorted(todo)

# %% wrong: decodes half a character
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.decode().split("\n")[:-1]:
        verdict = json.loads(line)
        known.add((verdict["name"], verdict["sha256"]))
    return [n for n, c in parts if (n, hashlib.sha256(c).hexdigest()) not in known]

# %% wrong: one name per content
import hashlib
import json


def remaining(log, parts):
    known = {}
    for line in log.split(b"\n")[:-1]:
        verdict = json.loads(line)
        known[verdict["sha256"]] = verdict["name"]
    return [n for n, c in parts if known.get(hashlib.sha256(c).hexdigest()) != n]

# %% wrong: only the first verdict on a name
import hashlib
import json


def remaining(log, parts):
    known = {}
    for line in log.split(b"\n")[:-1]:
        verdict = json.loads(line)
        known.setdefault(verdict["name"], verdict["sha256"])
    return [n for n, c in parts if known.get(n) != hashlib.sha256(c).hexdigest()]

# %% wrong: pairs in place of names
import hashlib
import json


def remaining(log, parts):
    known = set()
    for line in log.split(b"\n")[:-1]:
        verdict = json.loads(line)
        known.add((verdict["name"], verdict["sha256"]))
    digests = [(name, hashlib.sha256(content).hexdigest()) for name, content in parts]
    return [pair for pair in digests if pair not in known]
