"""A Llama of width 768, trained here: its weights never were in few bits.

    python benchmarks/language/own_decoder.py

trains it (about half an hour on two cores that multiply in bfloat16) and keeps it under
`zoo_runs/`; `load` does so if need be. 256 divides its columns, which the K-quants of
llama.cpp and the IQ-K of ik_llama.cpp need. It sees the training parts of the mails and of
the verses.
"""

import math
import sys
import tempfile
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parents[2] / "zoo_runs" / "own_decoder"
VOCABULARY, LENGTH, BATCH, EPOCHS, RATE, SEED = 4096, 256, 16, 5, 1e-3, 0
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 768,
    "intermediate_size": 1536,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


def texts(part: str) -> dict[str, str]:
    """The mails and the verses of one part, as one text each."""
    from deepseek_learn import data

    frame = getattr(data.load("mail"), part).frame
    verses = getattr(data.english_verses(), part)
    return {
        "emails": "\n\n".join(text for text in frame["text"] if len(text) > 200),
        "verses": bytes(verses.numpy()).decode(),
    }


def tokenizer_of(documents: list[str]):
    """A byte-level BPE of `VOCABULARY` tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def train(model, tokens: torch.Tensor) -> None:
    """AdamW with warm-up and a cosine, all windows in another order each epoch."""
    windows = tokens[: len(tokens) // LENGTH * LENGTH].view(-1, LENGTH)
    steps = EPOCHS * (len(windows) // BATCH)
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(
        weights, RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            step / 100, 0.1 + 0.45 * (1 + math.cos(math.pi * step / steps))
        ),
    )
    generator = torch.Generator().manual_seed(SEED)
    order = torch.cat(
        [
            torch.randperm(len(windows), generator=generator)[
                : len(windows) // BATCH * BATCH
            ]
            for _ in range(EPOCHS)
        ]
    )
    for step, chosen in enumerate(order.split(BATCH)):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(windows[chosen], labels=windows[chosen]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step} of {steps}: {loss.item():.3f} nats", flush=True)


def load():
    """The model of transformers and its tokenizer, trained if no earlier call did."""
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    if not FOLDER.exists():
        torch.manual_seed(SEED)
        parts = list(texts("train").values())
        tokenizer = tokenizer_of(parts)
        model = LlamaForCausalLM(LlamaConfig(**SIZES))
        ids = [token for text in parts for token in tokenizer.encode(text).ids]
        train(model, torch.tensor(ids))
        FOLDER.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as name:
            unfinished = Path(name) / FOLDER.name
            model.save_pretrained(unfinished)
            tokenizer.save(str(unfinished / "tokenizer.json"))
            if not FOLDER.exists():  # another process may have trained it meanwhile
                unfinished.rename(FOLDER)
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    return LlamaForCausalLM.from_pretrained(FOLDER).eval(), tokenizer


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.path.insert(0, str(FOLDER.parents[1]))
    load()
