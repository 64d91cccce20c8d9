"""Spam filtering on later emails."""

import numpy as np

from .task import Draw, tasks, texts

LEARN, TEST = 1200, 800
LETTERS = 600  # of an email


@tasks.register("mail", title={"en": "Keep the mail clean", "zh": "拦截垃圾邮件"})
def mail(rng: np.random.Generator, _: bytes | None = None) -> Draw:
    """Emails in two classes, 1 for spam; the test set is later than a random date."""
    from ....solutions.mail.corpus import mail_lines

    frame = mail_lines()
    time = frame["time"].to_numpy()
    cut = np.sort(time)[int(rng.uniform(0.5, 0.7) * len(frame))]
    later = time >= cut
    # a thread that continues after the date belongs to the test set only
    later_threads = set(frame["thread"].to_numpy()[later])
    early = ~later & ~frame["thread"].isin(later_threads).to_numpy()
    learn = rng.permutation(np.flatnonzero(early))[:LEARN]
    test = rng.permutation(np.flatnonzero(later))[:TEST]
    words, label = frame["text"].str[:LETTERS], frame["label"].to_numpy(np.int64)
    return Draw(texts(words, learn), label[learn], texts(words, test), label[test])
