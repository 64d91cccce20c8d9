"""Dataset cards, which describe the origin, license and pitfalls of a dataset."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..catalog import Text, spoken, text


@dataclass(frozen=True)
class DataCard:
    """The origin, license and known pitfalls of a dataset.

    A field of type `Text` is either a string or a mapping from languages to strings.
    The card in `Splits.card` contains only the selected language.

    >>> from deepseek_learn import data
    >>> card = data.digits().card
    >>> card.name, card.license
    ('digits', 'CC BY 4.0 (data), BSD-3-Clause (scikit-learn)')
    """

    name: str
    title: Text
    origin: Text
    license: Text
    citation: str
    size: Text
    split: Text
    traps: tuple[Text, ...]

    def to_frame(self) -> pd.DataFrame:
        card = spoken(self)
        rows = vars(card) | {"traps": "\n".join(f"• {trap}" for trap in card.traps)}
        facts = {text(f"card.{field}"): value for field, value in rows.items()}
        return pd.DataFrame({"": facts})

    def _repr_html_(self) -> str:
        html = self.to_frame().to_html(header=False, escape=True)
        return html.replace("\\n", "<br>")


def read_card(name: str) -> DataCard:
    """Read a dataset's card from `cards/NAME.toml`."""
    content = (Path(__file__).parent / "cards" / f"{name}.toml").read_text("utf-8")
    facts = tomllib.loads(content)
    return DataCard(name=name, **facts | {"traps": tuple(facts["traps"])})
