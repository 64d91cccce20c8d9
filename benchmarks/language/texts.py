"""The texts that SmolLM2 is calibrated and tested on, and what a rounded copy loses."""

from collections.abc import Callable

import numpy as np

LENGTH, CALIBRATION, TEST = 256, 32, 16


def spread_out(tokens: list[int], count: int):
    """`[count, LENGTH + 1]` tokens, evenly spread."""
    import torch

    starts = np.linspace(0, len(tokens) - LENGTH - 1, count).astype(int)
    return torch.tensor([tokens[i : i + LENGTH + 1] for i in starts])


def material(tests: int, few: int):
    """The model, the windows to calibrate with, and those of each text."""
    from deepseek_learn.zoo import smollm2

    model, tokenizer = smollm2.load()
    return model, *windows(lambda text: tokenizer.encode(text).ids, tests, few)


def windows(encode: Callable[[str], list[int]], tests: int, few: int):
    """The windows to calibrate with, and those of each text, as tokens."""
    from deepseek_learn import data

    mails = data.load("mail")
    verses = bytes(data.english_verses().test.numpy()).decode()

    def tokens(part, most: int) -> list[int]:
        texts = [text for text in part.frame["text"] if len(text) > 200][-most:]
        return encode("\n\n".join(texts))

    texts = {
        "emails": spread_out(tokens(mails.test, 200), tests),
        "verses": spread_out(encode(verses), tests),
    }
    return spread_out(tokens(mails.train, 400), few)[:, :-1], texts


def logits(model, tokens):
    """What a model of ours or of transformers answers, in float32."""
    answer = model(tokens)
    return getattr(answer, "logits", answer).float()


class Losses:
    """What a model's answers lose against those of another one, on some texts."""

    def __init__(self, model, texts: dict):
        self.texts = texts
        self.reference = self.answers(model)

    def answers(self, model) -> dict:
        """Text → log-probabilities `[N, T, V]`."""
        import torch

        with torch.inference_mode():
            return {
                name: torch.cat(
                    [logits(model, row[None, :-1]).log_softmax(-1) for row in rows]
                )
                for name, rows in self.texts.items()
            }

    def of(self, answers: dict) -> dict:
        """Text → its divergence in each window; and its perplexity."""
        result = {}
        for name, log_p in answers.items():
            q, targets = self.reference[name], self.texts[name][:, 1:, None]
            pairs = zip(q, log_p, strict=True)
            kl = [float((a.exp() * (a - b)).sum(-1).mean()) for a, b in pairs]
            result[name] = kl
            nats = -log_p.gather(-1, targets).mean()
            result[f"{name}, perplexity"] = float(nats.exp())
        return result
