"""Traps: files that are damaged, foreign or unusual."""

import zlib
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    generate_uid,
)

from deepseek_learn.solutions.nodules.dicom.writing import change

from .trap import Truth, phantom, save, series, trap, write_raw


@trap("an empty folder", refused="contains no file")
def empty_folder(folder: Path) -> list[Truth]:
    folder.mkdir(parents=True, exist_ok=True)
    return []


@trap("a folder without DICOM files", refused="no DICOM image")
def no_dicom(folder: Path) -> list[Truth]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scan.nii").write_bytes(bytes(1000))
    return []


@trap("text, an icon cache and an empty file among the slices", warning="not DICOM")
def foreign_files(folder: Path) -> list[Truth]:
    save(series(), folder)
    (folder / "Thumbs.db").write_bytes(b"x" * 500)
    (folder / "README.txt").write_text("Scan of the chest")
    (folder / "empty").touch()
    return [Truth(phantom())]


@trap("a file breaks off in its header", refused="damaged")
def header_truncated(folder: Path) -> list[Truth]:
    return _cut(folder, 3, 200)


@trap("a file breaks off after half of its header", refused="no SeriesInstanceUID")
def half_header(folder: Path) -> list[Truth]:
    return _cut(folder, 3, 700)


@trap("a file breaks off in its pixels", refused="bytes of pixels")
def file_truncated(folder: Path) -> list[Truth]:
    return _cut(folder, 3, -500)


@trap("the last slice's file breaks off in its pixels", refused="bytes of pixels")
def last_file_truncated(folder: Path) -> list[Truth]:
    save(series(), folder, shuffle=False)
    path = folder / "IM0023"
    path.write_bytes(path.read_bytes()[:-2000])
    return []


def _cut(folder: Path, index: int, length: int) -> list[Truth]:
    path = save(series(), folder)[index]
    path.write_bytes(path.read_bytes()[:length])
    return []


@trap("one file was overwritten with zeros after its start", refused="damaged")
def zeros_in_file(folder: Path) -> list[Truth]:
    path = save(series(), folder)[5]
    content = path.read_bytes()
    path.write_bytes(content[:160] + bytes(len(content) - 160))
    return []


@trap("a deflated file that expands to 300 MiB", refused="expands to more than")
def deflate_bomb(folder: Path) -> list[Truth]:
    datasets = series()
    paths = save(datasets, folder, DeflatedExplicitVRLittleEndian)
    content = paths[0].read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = (
        deflate.compress(b"\x08\0\x05\0CS\0\0" + bytes(300 * 2**20)) + deflate.flush()
    )
    paths[0].write_bytes(content[:start] + bomb)
    return []


@trap("a folder contains a link to itself", warning="Linked folders")
def link_to_itself(folder: Path) -> list[Truth]:
    save(series(), folder)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return [Truth(phantom())]


@trap("links to the slices beside the slices", warning="Duplicates")
def links_to_slices(folder: Path) -> list[Truth]:
    for path in save(series(), folder)[:5]:
        (folder / f"link to {path.name}").symlink_to(path)
    return [Truth(phantom())]


@trap("files without the preamble and without meta information")
def no_preamble(folder: Path) -> list[Truth]:
    folder.mkdir(parents=True, exist_ok=True)
    for index, dataset in enumerate(series()):
        del dataset.file_meta
        dcmwrite(folder / f"{index}.dcm", dataset, implicit_vr=True, little_endian=True)
    return [Truth(phantom())]


@trap("names of files and folders with spaces, line breaks and other alphabets")
def unusual_names(folder: Path) -> list[Truth]:
    place = folder / "Brust CT\n胸部" / "naïve 🫁"
    for path in save(series(), place):
        path.rename(place / f"{path.name} é 片.JPG")
    return [Truth(phantom())]


@trap("the patient's name in Japanese and Greek")
def names_not_ascii(folder: Path) -> list[Truth]:
    name = "Yamada^Tarou=山田^太郎=Διονυσιος"
    save(change(series(), SpecificCharacterSet="ISO_IR 192", PatientName=name), folder)
    return [Truth(phantom())]


@trap("an unknown character set, and a name that does not fit it")
def character_set_unknown(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        dataset.SpecificCharacterSet = "ISO_IR 999"
        dataset.add_new(0x00081030, "LO", b"M\xfcller")
    save(datasets, folder)
    return [Truth(phantom())]


@trap("private elements of the scanner's maker")
def private_elements(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        block = dataset.private_block(0x0019, "MAKER HEADER", create=True)
        block.add_new(1, "UN", b"\0\1\2\3")
        block.add_new(2, "DS", "3.5")
    save(datasets, folder)
    return [Truth(phantom())]


def _directory(folder: Path, names: list[str]) -> None:
    """Write a DICOMDIR that lists images."""
    records = []
    for name in names:
        record = Dataset()
        change([record], DirectoryRecordType="IMAGE", ReferencedFileID=[name])
        records.append(record)
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.FileSetID = "SCAN"
    directory.DirectoryRecordSequence = records
    dcmwrite(
        folder / "DICOMDIR", directory, implicit_vr=False, enforce_file_format=True
    )


@trap("a DICOMDIR beside the slices")
def dicomdir(folder: Path) -> list[Truth]:
    _directory(folder, [path.name for path in save(series(), folder)])
    return [Truth(phantom())]


@trap("the DICOMDIR lists images that are not there", warning="DICOMDIR lists 2")
def dicomdir_lists_more(folder: Path) -> list[Truth]:
    names = [path.name for path in save(series(), folder)]
    _directory(folder, [*names, "IM0024", "IM0025"])
    return [Truth(phantom())]


@trap("the file of the last slice ends before it says what it is", refused="damaged")
def last_file_cut_early(folder: Path) -> list[Truth]:
    save(series(), folder, shuffle=False)
    path = folder / "IM0023"
    path.write_bytes(path.read_bytes()[:380])
    return []


@trap("the file of the last slice is empty", warning="IM0023")
def last_file_empty(folder: Path) -> list[Truth]:
    save(series(), folder, shuffle=False)
    (folder / "IM0023").write_bytes(b"")
    return [Truth(phantom()[:23])]


@trap("the last slice is a link that leads nowhere", warning="IM0023")
def last_file_dangling(folder: Path) -> list[Truth]:
    save(series(), folder, shuffle=False)
    (folder / "IM0023").unlink()
    (folder / "IM0023").symlink_to("/nowhere/IM0023")
    return [Truth(phantom()[:23])]


@trap("an unreadable number in an element that is not used")
def unused_element_malformed(folder: Path) -> list[Truth]:
    datasets = change(series(), PatientWeight="70")
    for dataset in datasets:
        write_raw(dataset, "PatientWeight", "inf kg")
    save(datasets, folder)
    return [Truth(phantom())]
