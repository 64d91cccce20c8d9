"""Read the CSV files that sensors and control systems write."""

import warnings
from pathlib import Path

import pandas as pd


def read_table(path: Path, error: type[ValueError]) -> pd.DataFrame:
    """Read a CSV file as text, with decimal points.

    Raises:
        ValueError: of the given type, if it is not one.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        options = {"sep": separator, "encoding": "utf-8-sig", "dtype": str}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, index_col=False, **options)
    except UnicodeDecodeError as cause:
        raise error(
            f"{path.name} is not text in UTF-8; is it UTF-16, or compressed?"
        ) from cause
    except (ValueError, OSError, pd.errors.ParserWarning) as cause:
        reason = str(cause).strip().splitlines()[0]
        raise error(f"{path.name} is not a readable CSV file: {reason}") from cause
    if separator != ",":
        frame = frame.apply(lambda column: column.str.replace(",", ".", regex=False))
    return frame
