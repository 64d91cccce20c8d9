"""Save a compressed transformers model to a folder, all of it or nothing, and upload it."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from .container import writing
from .layers import packed_layers, refuse_adapters

# one of several weight files, or their index
SHARD = re.compile(r"model(-\d{5}-of-\d{5}\.safetensors|\.safetensors(\.index\.json)?)")
CARD = """---
library_name: transformers
tags:
- dpg
- quantized
---
# {title}

A {kind} compressed with deepseek_learn: {count} weight matrices are stored with {bits:.2f}
bits per weight on average. The model has {size:.1f} MB.

```python
import deepseek_learn.dpg.hf  # registers the format
from transformers import {kind}

model = {kind}.from_pretrained("{title}")
```

Without the import, transformers refuses to load the model. It cannot be trained: its
weights are packed integers.
"""


def save(model: Any, save_directory: str | Path, **options: Any) -> None:
    """Save a model: the `save_pretrained` of compressed models.

    The files are written next to their places and renamed at the end. A model card is
    added if the folder has none.

    Args:
        options: those of transformers, such as `max_shard_size`. `push_to_hub` uploads
            the folder to the repository `repo_id`, or one of the folder's name.

    Raises:
        NotADirectoryError: if `save_directory` is a file.
        ValueError: if the model has an adapter that `lora.add` added.
        OSError: if the files cannot be written; the folder's files are then as before.
    """
    if not getattr(model, "_hf_peft_config_loaded", False):  # which saves it alone
        refuse_adapters(model)
    folder = Path(save_directory)
    upload, repository = options.pop("push_to_hub", False), options.pop("repo_id", None)
    title = repository or folder.resolve().name

    def write(place: Path) -> None:
        type(model).save_pretrained(model, place, **options)
        if not (folder / "README.md").exists():
            (place / "README.md").write_text(card(model, title), "utf-8")

    replace_files(folder, write)
    if upload:
        _upload(folder, title, {})


def replace_files(folder: Path, write: Callable[[Path], None]) -> Path:
    """Write a model's files into a temporary folder, and rename them into another one.

    Raises:
        NotADirectoryError: if `folder` is a file.
        OSError: if the files cannot be written; the folder's files are then as before.
    """
    if folder.is_file():
        raise NotADirectoryError(f"the model needs a folder; got a file: {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        with writing(folder):
            write(Path(temporary))
        new = sorted(Path(temporary).iterdir(), key=lambda path: path.suffix == ".json")
        names = {path.name for path in new}
        for path in new:  # the configuration, which says how to read the others, last
            os.replace(path, folder / path.name)
    if any(SHARD.fullmatch(name) for name in names):
        for path in folder.iterdir():  # shards of an earlier save
            if SHARD.fullmatch(path.name) and path.name not in names:
                path.unlink()
    return folder


def push(model: Any, repo_id: str, **options: Any) -> Any:
    """Upload a model to the Hub with its card: the `push_to_hub` of compressed models.

    Args:
        options: `private`, `token`, `commit_message`, `revision` and `create_pr` as in
            huggingface_hub; the others are those of `save`.
    """
    names = ("private", "token", "commit_message", "revision", "create_pr")
    how = {name: options.pop(name) for name in names if name in options}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / repo_id.rpartition("/")[2]
        save(model, place, repo_id=repo_id, **options)
        return _upload(place, repo_id, how)


def _upload(folder: Path, repo_id: str, how: dict[str, Any]) -> Any:
    api = HfApi(token=how.pop("token", None))
    url = api.create_repo(repo_id, private=how.pop("private", None), exist_ok=True)
    return api.upload_folder(repo_id=url.repo_id, folder_path=folder, **how)


def card(model: Any, title: str) -> str:
    """Return the text of a model card: what the model is, and how to load it."""
    packed = {id(x.matrix): x.matrix for x in packed_layers(model).values()}.values()
    weights = sum(matrix.rows * matrix.columns for matrix in packed)
    bits = sum((matrix.codes().bits * matrix.columns).sum().item() for matrix in packed)
    state = model.state_dict().values()
    size = sum({t.data_ptr(): t.nbytes for t in state}.values()) / 1e6
    return CARD.format(
        title=title,
        kind=type(model).__name__,
        count=len(packed),
        bits=bits / weights,
        size=size,
    )
