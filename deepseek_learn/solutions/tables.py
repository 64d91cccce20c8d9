"""Read the CSV files that sensors, control systems and spreadsheets write."""

import csv
import io
import warnings
from pathlib import Path

import pandas as pd

SEPARATORS = ",;\t|"


def read_table(
    path: Path,
    error: type[ValueError],
    text: str | None = None,
    *,
    numbers: bool = True,
) -> pd.DataFrame:
    """Read a CSV file as text, with decimal points.

    Args:
        text: its content, if it is not in UTF-8.
        numbers: whether it contains numbers. Where another sign than the comma separates
            the cells, a comma in a cell then becomes a decimal point.

    Raises:
        ValueError: of the given type, if it is not one.
    """
    try:
        text = path.read_text("utf-8-sig") if text is None else text
    except UnicodeDecodeError as cause:
        raise error(
            f"{path.name} is not text in UTF-8; is it UTF-16, or compressed?"
        ) from cause
    except OSError as cause:
        raise error(f"{path.name} cannot be read: {cause.strerror}.") from cause
    text = text.lstrip("\r\n")
    if text[:4].lower() == "sep=":  # a spreadsheet's own first line
        text = text.partition("\n")[2]
    if not text.strip():
        raise error(f"{path.name} is not a readable CSV file: it is empty.")
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, index_col=False
            )
    except (ValueError, pd.errors.ParserWarning) as cause:
        reason = _reason(text, separator)
        raise error(f"{path.name} is not a readable CSV file: {reason}.") from cause
    if numbers and separator != ",":
        frame = frame.apply(lambda column: column.str.replace(",", ".", regex=False))
    return frame


def _reason(text: str, separator: str) -> str:
    rows, width = csv.reader(io.StringIO(text), delimiter=separator), 0
    try:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                return (
                    f"line {rows.line_num} has {len(row)} cells, the first {width}; a cell "
                    f"that contains {separator!r} needs quotation marks"
                )
    except csv.Error:
        pass
    return "a quotation mark opens a cell that never ends"
