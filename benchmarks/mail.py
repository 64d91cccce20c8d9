"""Unwanted mail: how much is found, how much wanted mail is lost, and what leaks.

    python benchmarks/mail.py [--quick] [--anew] [--part PART ...]

Protocol. `data.mail` at two cut dates (`CUTS`): a model learns from the mails until two
weeks before the cut, its border comes from these two weeks (half a percent of their wanted
mails would be lost), and the mails from the cut to the next one are the test. *Lost* is the
part of wanted mails beyond the border, *found* that of unwanted ones, in %; intervals
resample days 1,000 times. Ours is `solutions.mail.train`: a text reader and a counter, each
with a border at one percent; a mail is unwanted beyond both, and *unsure* beyond one. One
seed.

*cuts*: ours; its two parts alone, each with a border at half a percent; their sum, each
divided by its spread before the cut; ours with DPG (4 bits, groups of 64, calibrated on 256
training mails; the borders of ours); the teacher; linear SVMs on TF-IDF of words (1 to 2)
and of characters (2 to 5 within words), C = 1; multinomial naive Bayes on counts of words;
the character SVM with its border at zero; ours without a teacher.
*disguised*: unwanted test mails with three words in ten changed in one of four ways
(`solutions.mail.disguise`), read by ours and the character SVM, with what `plain` undoes
and without.
*leaks*: the character SVM on random rows instead of later ones (as many to learn from, for
the border and to test), on the time's split with the mailing list's name before each mail,
and with the month; and a table that knows only the mailing list.
*drift*: 200 streams of the second cut's verdicts of ours, drawn with 10 % unwanted mails,
1,300 mails without a change, and 600 mails followed by 900 with 20 %: how many streams
alarm falsely, and the median number of mails until the alarm.

Targets, stated before the run: at most 0.5 % lost and at least 93 % found (stretch 95) at
both cuts. Settings were chosen at the first cut, whose test mails were scored by about 150
models and sums of models for it. Those since the second cut were scored twice before this
run, by designs that had been best at the first cut: the sum lost 3.6 % of the wanted mails
(55 of 1,527) and found 94.9 % of the others; with a vote of the text reader bounded to
2p - 1, it lost 4.3 %. The text reader alone lost 5.8 %, most of them headlines that the
owner of the mailbox had begun to receive in September, the counter 0.9 %. Then both were
made to agree, with borders chosen at the first cut, and after a review the rules that read
a mail were repaired (parts, encodings, signatures); 210 of the 4,782 texts changed. This is
the third look at the second cut, so it flatters.
`--quick`: the first cut, 600 mails, a reader without a teacher.

Added later: the zoo's reader of this design had scored the mails since the second cut just
before this run (1.2 % lost, 92.9 % found); two trainings differ a little, since sums are
rounded in another order. So these mails were looked at four times.

*everyday*: the zoo's reader, as `solve mail` uses it, on 37 invented mails as people get
them today (`tables/everyday_mails.toml`): how many of the 23 ordinary ones and of the 14
others have each verdict. They are few and were written by one person: an impression, no
estimate. And how many mails before the second cut do not look English to it, and are
therefore unsure whatever the reader says.

Added later: since choices were made on the mails of both cuts, what reaches its target is
information, and what misses it stays missed.
"""

import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from harness.interval import Estimate, bootstrap_of
from harness.script import Run, Script
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC

from deepseek_learn import dpg
from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.mail import disguise, train
from deepseek_learn.solutions.mail.boxes import Message
from deepseek_learn.solutions.mail.corpus import CUTS, mail_lines, periods
from deepseek_learn.solutions.mail.drift import changes
from deepseek_learn.solutions.mail.solution import MailReading
from deepseek_learn.solutions.mail.text import looks_english, plain
from deepseek_learn.solutions.runner import Item
from deepseek_learn.solutions.teacher import Teacher, padded

PARTS = ("cuts", "leaks", "drift", "everyday")
EVERYDAY = Path(__file__).parent / "tables" / "everyday_mails.toml"
SCRIPT = Script(
    __file__,
    __doc__,
    quick="600 mails, one cut",
    anew=True,
    parts=PARTS,
    of_the_machine=False,
)
OURS, TEXT, COUNTER = "ours", "the text reader alone", "the counter alone"
SUM, DPG, UNSURE = "the sum of both", "ours with DPG", "ours, unwanted or unsure"
TEACHER, LABELS, BAYES = "the teacher", "ours without a teacher", "naive Bayes"
WORDS, CHARACTERS, ZERO = "SVM, words", "SVM, characters", "SVM, characters, border 0"
QUICK, DISGUISED, STREAMS = 600, 0.3, 200
TOKEN = r"[\w:]+|[$!%]+"
Model = Callable[[Sequence[str]], np.ndarray]  # mails → scores
Days = list[list]  # [day, wanted, lost, unwanted, found]


class Mails:
    """The mails, and what has to be computed once."""

    def __init__(self, quick: bool):
        frame = mail_lines()
        self.quick = quick
        self.cuts = CUTS[:1] if quick else CUTS
        if quick:
            frame = frame[:: len(frame) // QUICK].reset_index(drop=True)
        self.frame = frame
        self.texts, self.labels = frame["text"].tolist(), frame["label"].to_numpy()
        self.days = frame["time"].dt.strftime("%Y-%m-%d").to_numpy()

    @cached_property
    def teacher(self) -> Teacher:
        return Teacher(self.texts)

    def rows(self, cut: str) -> list[np.ndarray]:
        """The positions to learn from, for the border, and to test."""
        parts = periods(self.frame["time"], cut)
        return [np.flatnonzero(parts == n) for n in ("train", "validation", "test")]

    def text(self, rows: np.ndarray) -> list[str]:
        return [self.texts[row] for row in rows]

    def counted(self, beyond: np.ndarray, rows: np.ndarray) -> Days:
        """What is beyond the border, by day."""
        label = self.labels[rows]
        table = pd.DataFrame(
            {
                "wanted": label == 0,
                "lost": beyond & (label == 0),
                "unwanted": label == 1,
                "found": beyond & (label == 1),
            }
        )
        sums = table.groupby(self.days[rows]).sum()
        return [[str(day), *map(int, row)] for day, *row in sums.itertuples()]


def svm(vectorizer: TfidfVectorizer, texts: Sequence[str], labels: np.ndarray) -> Model:
    model = LinearSVC(C=1.0, random_state=0)
    model.fit(vectorizer.fit_transform(texts), labels)
    return lambda own: model.decision_function(vectorizer.transform(own))


def characters(texts: Sequence[str], labels: np.ndarray) -> Model:
    kinds = {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 3}
    return svm(TfidfVectorizer(sublinear_tf=True, **kinds), texts, labels)


def words(texts: Sequence[str], labels: np.ndarray) -> Model:
    kinds = {"token_pattern": TOKEN, "ngram_range": (1, 2), "min_df": 2}
    return svm(TfidfVectorizer(sublinear_tf=True, **kinds), texts, labels)


def bayes(texts: Sequence[str], labels: np.ndarray) -> Model:
    counter = CountVectorizer(token_pattern=TOKEN, min_df=2)
    model = MultinomialNB().fit(counter.fit_transform(texts), labels)

    def scores(own: Sequence[str]) -> np.ndarray:
        chances = model.predict_log_proba(counter.transform(own))
        return chances[:, 1] - chances[:, 0]

    return scores


def learned(mails: Mails, cut: str, logits: np.ndarray | None):
    own, before, _ = mails.rows(cut)
    soft = logits[own] if logits is not None else None
    reader, tokenizer = train.learn(mails.text(own), mails.labels[own], soft)
    train.set_borders(reader, tokenizer, mails.text(before), mails.labels[before])
    return reader, tokenizer


def compressed(reader, tokenizer, texts: Sequence[str]):
    rows = np.random.default_rng(0).choice(
        len(texts), min(256, len(texts)), replace=False
    )
    tokens = padded(train.encode(tokenizer, [texts[row] for row in rows]))
    return dpg.compress(reader, tokens.split(32), bits=4, group_size=64).model.eval()


def cut_date(mails: Mails, cut: str) -> dict:
    own, before, rows = mails.rows(cut)
    logits = None
    if not mails.quick:
        asked = np.concatenate([own, before, rows])
        options = {"asked": asked, "epochs": train.TEACHING}
        logits = mails.teacher.learn(own, mails.labels, **options)
    reader, tokenizer = learned(mails, cut, logits)

    texts, labels = mails.text(own), mails.labels[own]
    linear = characters(texts, labels)
    models: dict[str, Model] = {
        WORDS: words(texts, labels),
        CHARACTERS: linear,
        BAYES: bayes(texts, labels),
    }
    scores = {
        name: (m(mails.text(before)), m(mails.text(rows))) for name, m in models.items()
    }
    both = [train.odds(reader, tokenizer, mails.text(r)) for r in (before, rows)]
    for number, name in enumerate((TEXT, COUNTER)):
        scores[name] = both[0][:, number], both[1][:, number]
    scores[SUM] = tuple((each / both[0].std(0)).sum(1) for each in both)
    margins = train.margins(reader, tokenizer, mails.text(rows))
    packed = compressed(reader, tokenizer, texts)
    beyond = {
        OURS: margins.min(1) > 0,
        UNSURE: margins.max(1) > 0,
        DPG: train.margins(packed, tokenizer, mails.text(rows)).min(1) > 0,
        ZERO: scores[CHARACTERS][1] > 0,
    }
    if logits is not None:
        scores[TEACHER] = logits[before], logits[rows]
        other = train.margins(*learned(mails, cut, None), mails.text(rows))
        beyond[LABELS] = other.min(1) > 0
    borders = {}
    for name, (earlier, now) in scores.items():
        borders[name] = train.border(earlier, mails.labels[before])
        beyond[name] = now > borders[name]
    return {
        "days": {name: mails.counted(own, rows) for name, own in beyond.items()},
        "disguised": disguised(
            mails,
            rows,
            {
                OURS: lambda own: train.margins(reader, tokenizer, own).min(1) > 0,
                CHARACTERS: lambda own: linear(own) > borders[CHARACTERS],
            },
        ),
        "verdicts": [
            [int(a), int(b)]
            for a, b in zip(beyond[OURS], mails.labels[rows], strict=True)
        ],
        "odds": [each.round(3).tolist() for each in both],
        "parameters": sum(each.numel() for each in reader.parameters()),
    }


def disguised(mails: Mails, rows: np.ndarray, models: dict) -> dict:
    """Model → kind → what is found of the unwanted mails, by day."""
    rows = rows[mails.labels[rows] == 1]
    result: dict[str, dict[str, Days]] = {}
    for kind in disguise.KINDS:
        rng = np.random.default_rng(0)
        texts = [
            disguise.disguised(text, rng, (kind,), DISGUISED)
            for text in mails.text(rows)
        ]
        for name, beyond in models.items():
            for how, own in (("as it is", texts), ("plain", [*map(plain, texts)])):
                days = mails.counted(np.asarray(beyond(own)), rows)
                result.setdefault(name, {})[f"{kind.replace('_', ' ')}, {how}"] = days
    return result


def leaks(mails: Mails) -> dict:
    """Kind of leak → cut → lost and found, by day."""
    frame, result = mails.frame, {}
    listed = np.array([f"list:{name or 'none'} " for name in frame["list"]], object)
    month = np.array([f"month:{t:%Y%m} " for t in frame["time"]], object)
    texts = np.array(mails.texts, object)
    for cut in mails.cuts:
        split = mails.rows(cut)
        every = np.concatenate(split)
        order = np.random.default_rng(0).permutation(every)
        places = np.cumsum([len(part) for part in split])[:-1]
        kinds = {
            f"{CHARACTERS}, random rows": (texts, np.split(order, places)),
            f"{CHARACTERS}, the list's name": (listed + texts, split),
            f"{CHARACTERS}, the month": (month + texts, split),
        }
        for name, (own, parts) in kinds.items():
            first, before, rows = parts
            model = characters(own[first], mails.labels[first])
            border = train.border(model(own[before]), mails.labels[before])
            days = mails.counted(model(own[rows]) > border, rows)
            result.setdefault(name, {})[cut] = days
        first, before, rows = split
        known = np.concatenate([first, before])
        shares = pd.Series(mails.labels[known]).groupby(listed[known]).mean()
        beyond = np.array([shares.get(name, 0) > 0.5 for name in listed[rows]])
        result.setdefault("only the list", {})[cut] = mails.counted(beyond, rows)
    return result


def drift(verdicts: Sequence[Sequence[int]]) -> dict:
    """How many streams alarm falsely, and the delays after a change, in mails."""
    table = np.array(verdicts)
    kinds = [table[table[:, 1] == label, 0] for label in (0, 1)]

    def stream(rng: np.random.Generator, *parts: tuple[int, float]) -> np.ndarray:
        labels = np.concatenate([rng.random(count) < share for count, share in parts])
        own = [rng.choice(kinds[int(label)]) for label in labels]
        return np.array(own, bool)

    false, delays, early = 0, [], 0
    for seed in range(STREAMS):
        rng = np.random.default_rng(seed)
        false += bool(changes(stream(rng, (1300, 0.1))))
        found = changes(stream(rng, (600, 0.1), (900, 0.2)))
        early += bool(found and found[0].alarm < 600)
        later = [change.alarm - 600 for change in found if change.alarm >= 600]
        delays.append(later[0] if later else 900)
    return {"false": false, "early": early, "delays": delays}


def everyday(mails: Mails) -> dict:
    """Verdicts on everyday mails, by kind; and mails that do not look English."""
    solution = MailReading(words=False)
    reader = solution.learn(EVERYDAY.parent, progress=False)
    counts: dict[str, dict[str, int]] = {"wanted": {}, "unwanted": {}}
    for row in tomllib.loads(EVERYDAY.read_text("utf-8"))["mail"]:
        kind = "html" if row["html"] else "plain"
        head = (
            f"From: {row['sender']}\nSubject: {row['subject']}\n"
            f"Content-Type: text/{kind}; charset=utf-8\n\n"
        )
        message = Message("mail.eml", (head + row["body"]).encode())
        item = Item(message.name, "", message)
        (facts,) = solution.judged([item], reader, EVERYDAY.parent)
        own = counts[row["kind"]]
        own[facts["verdict"]] = own.get(facts["verdict"], 0) + 1
    before = np.concatenate(mails.rows(CUTS[-1])[:2])
    foreign = np.array([not looks_english(mails.texts[row]) for row in before])
    label = mails.labels[before]
    share = [[int(foreign[label == k].sum()), int((label == k).sum())] for k in (0, 1)]
    return {"verdicts": counts, "not_english": share}


# --- rows


def rate(days: Days, kind: str) -> Estimate:
    """The part that is lost or found, in %, resampling the days."""
    columns = (1, 2) if kind == "lost" else (3, 4)
    table = np.array([[day[c] for c in columns] for day in days if day[columns[0]]])
    count, _ = table.sum(0)
    return bootstrap_of(
        lambda rows: 100 * table[rows, 1].sum() / table[rows, 0].sum(),
        len(table),
        "95 % bootstrap of days",
        int(count),
    )


CHOICES = "settings were chosen at the first cut, the design after looks at the second"
KINDS = {
    "lost": ("wanted mail lost", 0.5, "lower"),
    "found": ("unwanted mail found", 93.0, "higher"),
}


def rates(
    what: str, days: Days, cut: str, kinds: Sequence[str] = tuple(KINDS)
) -> Iterator[Row]:
    for kind in kinds:
        name, goal, better = KINDS[kind]
        fields = {"claim": "C15", "source": "ours", "unit": "%", "better": better}
        fields |= {"what": f"mail from {cut}: {name}, {what}"}
        if what == OURS:
            fields |= {"target": goal, "choices": CHOICES}
        yield Row(**fields | vars(rate(days, kind)))


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(2)
    mails, runs = Mails(run.quick), run.finished_runs(anywhere=True)
    results = {
        cut: runs.once({"of": "cut", "cut": cut}, partial(cut_date, mails, cut))
        for cut in (mails.cuts if {"cuts", "drift"} & {*run.parts} else ())
    }
    if "cuts" in run.parts:
        for cut, result in results.items():
            for name, days in result["days"].items():
                yield from rates(name, days, cut)
            for name, kinds in result["disguised"].items():
                for kind, days in kinds.items():
                    what = f"{name}, disguised: {kind}"
                    yield from rates(what, days, cut, ("found",))
    if "leaks" in run.parts:
        found = runs.once({"of": "leaks"}, lambda: {"cuts": leaks(mails)})["cuts"]
        for name, cuts in found.items():
            for cut, days in cuts.items():
                yield from rates(name, days, cut)
    if "drift" in run.parts:
        result = results[mails.cuts[-1]]
        own = runs.once({"of": "drift"}, partial(drift, result["verdicts"]))
        fields = {"claim": "C15", "source": "ours", "better": "lower"}
        value = Estimate(100 * own["false"] / STREAMS, n=STREAMS)
        what = "mail: streams of 1,300 without a change that alarm"
        yield Row(**fields | {"what": what, "unit": "%"} | vars(value))
        value = Estimate(float(np.median(own["delays"])), n=STREAMS)
        what = "mail: median delay until a doubled share is noticed"
        yield Row(**fields | {"what": what, "unit": "mails"} | vars(value))
    if "everyday" in run.parts and not run.quick:
        yield from everyday_rows(
            runs.once({"of": "everyday"}, partial(everyday, mails))
        )


def everyday_rows(result: dict) -> Iterator[Row]:
    fields = {"claim": "C15", "source": "ours"}
    for kind, counts in result["verdicts"].items():
        count = sum(counts.values())
        for said in ("wanted", "unsure", "unwanted"):
            yield Row(
                what=f"mail: everyday mails, {kind}: {said}",
                unit="mails",
                better="higher" if said == kind else "lower",
                measured=counts.get(said, 0),
                n=count,
                **fields,
            )
    kinds = ("wanted", "unwanted")
    for kind, (hits, count) in zip(kinds, result["not_english"], strict=True):
        yield Row(
            what=f"mail: does not look English, {kind}, before the second cut",
            unit="%",
            better="lower",
            measured=100 * hits / count,
            n=count,
            **fields,
        )


if __name__ == "__main__":
    SCRIPT.main(measure)
