"""The files of LUNA16: MetaImage scans, annotations and candidates as CSV.

With the real data, the same commands that run on phantoms run on patients: `read_scan`
reads a scan, `annotations` what the readers found, `write_candidates` what the challenge's
script evaluates. LUNA16's coordinates are (x, y, z) in mm, LPS, as DICOM's.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...files import atomic_write
from .dicom.geometry import check_spacing
from .dicom.header import SeriesError
from .finding import Finding
from .volume import Volume

TYPES = {"MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_FLOAT": "f4"}
NEEDED = ("DimSize", "ElementType", "ElementDataFile", "NDims")


def read_scan(path: str | Path) -> Volume:
    """Read a MetaImage scan (`.mhd` with its `.raw` or `.zraw`) in HU.

    Raises:
        FileNotFoundError: if the header or the data file is missing.
        SeriesError: if the header is malformed or the data do not fit it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} does not exist.")
    header = _header(path)
    size = _numbers(path, header, "DimSize", 3, int)
    spacing = _numbers(path, header, "ElementSpacing", 3)
    origin = _numbers(path, header, _either(header, "Offset", "Position", "Origin"), 3)
    matrix = _numbers(
        path, header, _either(header, "TransformMatrix", "Orientation", "Rotation"), 9
    )
    if (size <= 0).any() or (spacing <= 0).any():
        raise SeriesError(f"{path.name}: DimSize and ElementSpacing must be positive.")
    check_spacing(f"{path.name}: ElementSpacing", spacing[:2])
    directions = matrix.reshape(3, 3)  # row i is the direction of axis i (x, y, z)
    if not np.allclose(directions @ directions.T, np.eye(3), atol=1e-3):
        raise SeriesError(f"{path.name}: TransformMatrix is not a rotation.")
    values = _values(path, header, size)
    return Volume(
        hu=values.reshape(size[::-1]).astype(np.float32),
        spacing_mm=tuple(map(float, spacing[::-1])),  # type: ignore[arg-type]
        origin_mm=tuple(map(float, origin)),  # type: ignore[arg-type]
        directions=directions[::-1].copy(),
        series_uid=path.stem,
    )


def files(path: Path) -> tuple[Path, ...]:
    """Return the files of a scan that exist: its header, and the data that it names."""
    try:
        data = _data_file(path, _header(path))
    except SeriesError:
        return (path,)
    return (path, data) if data.is_file() else (path,)


def _data_file(path: Path, header: Mapping[str, str]) -> Path:
    name = header["ElementDataFile"]
    if name.upper() in ("LOCAL", "LIST") or "%" in name:
        raise SeriesError(f"{path.name}: the data must be in one file of their own.")
    return path.parent / Path(name).name


def _header(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8", errors="replace").splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line]
    header = {name.strip(): value.strip() for name, _, value in pairs}
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise SeriesError(
            f"{path.name} is not a MetaImage header: {missing[0]} is missing."
        )
    if header["NDims"] != "3" or header["ElementType"] not in TYPES:
        raise SeriesError(
            f"{path.name}: only three-dimensional images of {', '.join(TYPES)} are read; "
            f"got NDims {header['NDims']} and {header['ElementType']}."
        )
    if header.get("ElementNumberOfChannels", "1") != "1":
        raise SeriesError(f"{path.name}: only images with one channel are read.")
    return header


def _either(header: Mapping[str, str], *names: str) -> str:
    return next((name for name in names if name in header), names[0])


def _numbers(
    path: Path, header: Mapping[str, str], name: str, count: int, kind: type = float
) -> np.ndarray:
    default = {"TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0"}
    text = header.get(name, default.get(name, ""))
    try:
        numbers = np.array([kind(word) for word in text.split()])
    except ValueError:
        numbers = np.array([])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise SeriesError(f"{path.name}: {name} must be {count} numbers; got {text!r}.")
    return numbers


def _values(path: Path, header: Mapping[str, str], size: np.ndarray) -> np.ndarray:
    big = header.get(
        "BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False")
    )
    kind = np.dtype((">" if big == "True" else "<") + TYPES[header["ElementType"]])
    expected = int(np.prod(size)) * kind.itemsize
    source = _data_file(path, header)
    if not source.is_file():
        raise FileNotFoundError(
            f"{str(source)!r}, the data of {path.name}, is missing."
        )
    content = source.read_bytes()
    if header.get("CompressedData") == "True":
        try:
            content = zlib.decompressobj().decompress(content, expected + 1)
        except zlib.error as error:
            raise SeriesError(f"{source.name} is damaged: {error}.") from error
    if len(content) != expected:
        raise SeriesError(
            f"{source.name} has {len(content):,} bytes of data; {path.name} states "
            f"{expected:,}."
        )
    return np.frombuffer(content, kind)


def annotations(path: str | Path) -> dict[str, np.ndarray]:
    """Read `annotations.csv` or `annotations_excluded.csv`.

    Returns:
        For each series UID, its findings as (z, y, x, diameter) in mm, of shape `[N, 4]`.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if a column is missing or a value is not a number.
    """
    columns = ["coordZ", "coordY", "coordX", "diameter_mm"]
    table = _table(path, ["seriesuid", *columns])
    return {
        uid: group[columns].to_numpy(float) for uid, group in table.groupby("seriesuid")
    }


def _table(path: str | Path, columns: list[str]) -> pd.DataFrame:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} does not exist.")
    table = pd.read_csv(path, dtype={"seriesuid": str})
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{path.name} has no column {missing[0]!r}.")
    for name in columns[1:]:
        numbers = pd.to_numeric(table[name], errors="coerce")
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise ValueError(
                f"{path.name}, row {row + 2}: {name} is not a number: {table[name][row]!r}."
            )
        table[name] = numbers
    return table


def series_uids(path: str | Path) -> list[str]:
    """Read `seriesuids.csv`: one UID per line, which decides the number of scans.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is empty or lists a UID twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} does not exist.")
    uids = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    uids = uids[1:] if uids[:1] == ["seriesuid"] else uids
    if not uids or len(set(uids)) != len(uids):
        raise ValueError(f"{path.name} must list at least one UID, each once.")
    return uids


def write_candidates(
    path: str | Path, findings: Mapping[str, Sequence[Finding]]
) -> None:
    """Write findings as the challenge's script reads them.

    Args:
        findings: for each series UID, its findings.
    """
    rows = [
        [uid, *each.center_mm, each.probability]
        for uid, found in findings.items()
        for each in found
    ]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "probability"]
    with atomic_write(path) as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False)


def marks(findings: Sequence[Finding]) -> np.ndarray:
    """Return findings as (score, z, y, x) in mm, of shape `[N, 4]`, for `measure.judge`."""
    rows = [[each.probability, *each.center_mm[::-1]] for each in findings]
    return np.array(rows, float).reshape(-1, 4)
