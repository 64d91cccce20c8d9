"""Copy a CT study without what identifies the patient (DICOM PS3.15, basic profile).

The profile lists what has to go. This module does the opposite: a list says what may stay,
so an element that nobody thought of is dropped. Text stays only if it is one of a few known
words, and the pixels are written anew, so that nothing hides in unused bits, in trailing
bytes or in the comments of a compressed image.
"""

import secrets
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from . import mixture
from .allowed import KERNEL, NEEDED, NUMBERS, SEQUENCES, WORDS, digits, numeric, word
from .files import MULTI_FRAME, read_dataset, read_folder
from .header import SeriesError, Slice
from .pixels import AIR, SliceDecoder, check, remarks, rescale
from .series import by_series, images

UIDS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
)
EMPTY = (  # an image has to have these, but they may be empty
    "AccessionNumber",
    "Manufacturer",
    "PatientBirthDate",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
PER_FRAME = "PerFrameFunctionalGroupsSequence"
IDENTIFYING = (
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "OtherPatientIDs",
    "DeviceSerialNumber",
    "PatientTelephoneNumbers",
)
MARGIN, BRIGHT = 0.1, 200  # of the image; HU


@dataclass(frozen=True)
class Anonymization:
    """What `anonymize` did.

    Attributes:
        files: the number of files written.
        left_out: the names of the files that are not CT images.
        warnings: what a person should look at, one sentence each.
    """

    files: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


def anonymize(
    folder: str | Path, out: str | Path, *, key: str | None = None
) -> Anonymization:
    """Copy the CT images in a folder without what identifies the patient.

    UIDs and the patient's ID are replaced consistently, dates and free text are removed,
    images and series are numbered anew, and the pixels are written uncompressed. Only CT
    images are copied. Text that is part of an image stays. Bright text at its border gets a
    warning; look at the images before you share them in any case.

    Args:
        out: a new or empty folder outside of `folder`.
        key: a secret with which the same UIDs and IDs are made again another time; by
            default, a random one.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if `out` is not an empty folder or lies in `folder`, or if `key` is "".
        SeriesError: if there is no CT image, or if `load_series` would refuse one of the
            series because of its pixels or of a mixture. Nothing is then written.
    """
    source, target = Path(folder), Path(out)
    if key == "":
        raise ValueError("key must not be empty.")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"out must not be in the folder that is copied; got {str(out)!r}."
        )
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(f"out must be a new or an empty folder; {str(out)!r} is not.")
    contents = read_folder(source)
    if contents.damaged:
        raise SeriesError(next(iter(contents.damaged.values())))
    slices = images(contents)
    if not slices:
        raise SeriesError(f"{str(folder)!r} contains no CT image.")
    copier = _Copier(key or secrets.token_hex(16))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".anonymous-") as place:
        files = 0
        for series in by_series(slices).values():
            mixture.check(series)
            for path in dict.fromkeys(each.path for each in series):
                own = [each for each in series if each.path == path]
                copier.copy(own, Path(place) / f"IM{files:05d}.dcm")
                files += 1
        target.mkdir(exist_ok=True)
        for path in sorted(Path(place).iterdir()):
            shutil.move(path, target / path.name)
    copied = {each.path for each in slices}
    left_out = dict.fromkeys(
        s.path.name for s in contents.slices if s.path not in copied
    )
    notes = (*copier.notes, *copier.decoder.remarks, *remarks(slices))
    return Anonymization(files, (*contents.others, *left_out), notes)


@dataclass
class _Copier:
    """Writes anonymous files; numbers series, acquisitions, kernels and agents."""

    secret: str
    decoder: SliceDecoder = field(default_factory=SliceDecoder)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    instances: int = 0

    def copy(self, slices: Sequence[Slice], path: Path) -> None:
        first = slices[0]
        dataset = read_dataset(first.path)
        if dataset is None:
            raise SeriesError(f"{first.name} has changed while it was being read.")
        result = self._filtered(dataset, _identity(first))
        if PER_FRAME in result:  # without the frames that are not copied
            groups = result[PER_FRAME].value
            frames = [groups[each.frame] for each in slices if each.frame is not None]
            setattr(result, PER_FRAME, frames)
        self._identify(first, dataset, result)
        self._write_pixels(slices, result)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcmwrite(path, result, enforce_file_format=True)

    def _filtered(self, dataset: Dataset, identity: set[str]) -> Dataset:
        result = Dataset()
        for tag in dataset.keys():  # noqa: SIM118 - iterating would decode all elements
            try:
                element = dataset[tag]
                known = element.VR in dictionary_VR(tag).split(" or ")
            except Exception:  # what cannot be decoded, or is private, does not stay
                continue
            name = element.keyword
            if not known or element.value is None:
                continue
            if name in SEQUENCES:
                items = [self._filtered(item, identity) for item in element.value]
                result.add(DataElement(tag, "SQ", items))
            elif name in NEEDED | NUMBERS:
                revealing = name in NUMBERS and digits(element.value) & identity
                if numeric(element) and not revealing:
                    result.add(element)
            elif name in WORDS:
                value = word(name, element.value)
                if value:
                    setattr(result, name, value)
            elif name == "ConvolutionKernel":
                texts = [element.value] if element.VM == 1 else element.value
                kernels = [self._kernel(str(text)) for text in texts]
                result.ConvolutionKernel = kernels
            elif name == "ContrastBolusAgent" and str(element.value).strip():
                result.ContrastBolusAgent = f"AGENT {self._number(name, element.value)}"
            elif name in (
                "AcquisitionNumber",
                "SeriesNumber",
                "FrameAcquisitionNumber",
            ):
                setattr(result, name, self._number(name, element.value))
            elif name == "SOPClassUID":
                result.add(element)
        return result

    def _kernel(self, text: str) -> str:
        known = KERNEL.fullmatch(text.strip())
        return text.strip() if known else f"KERNEL {self._number('kernel', text)}"

    def _number(self, kind: str, value: object) -> int:
        """Return a number that is the same for equal values, in order of appearance."""
        key = kind, " ".join(str(value).split()).casefold()
        count = sum(each == kind for each, _ in self.numbers)
        return self.numbers.setdefault(key, count + 1)

    def _identify(self, first: Slice, dataset: Dataset, result: Dataset) -> None:
        """Set the new identifiers, and what an anonymous image has to say of itself."""
        for name in EMPTY:
            if name not in result:
                setattr(result, name, None)
        for name in UIDS:
            value = first.text(name)
            if value:
                setattr(result, name, self._uid(value))
        patient = self._uid("patient " + _patient(first))
        self.instances += 1
        result.InstanceNumber = self.instances
        result.PatientID = f"P{patient[-16:]}"  # long enough for millions of patients
        result.PatientName = f"Anonymous^{result.PatientID}"
        result.PatientIdentityRemoved = "YES"
        result.DeidentificationMethod = "deepseek_learn: only listed elements stay"
        profile = codes.DCM.BasicApplicationConfidentialityProfile
        code = Dataset()
        code.CodeValue, code.CodeMeaning = profile.value, profile.meaning
        code.CodingSchemeDesignator = profile.scheme_designator
        result.DeidentificationMethodCodeSequence = [code]
        result.file_meta = FileMetaDataset()
        result.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
        result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if first.text("BurnedInAnnotation").upper() == "YES":
            self._note("The header says that text is part of the images.")
        if "SECONDARY" in first.text("ImageType").upper():
            self._note("Some images are secondary ones, which often show text.")

    def _uid(self, text: str) -> UID:
        return generate_uid(entropy_srcs=[self.secret, text])

    def _write_pixels(self, slices: Sequence[Slice], result: Dataset) -> None:
        frames = []
        for each in slices:
            check(each)
            raw, stored = self.decoder.stored(each)
            slope, intercept = rescale(each)
            values, hu = stored.astype(raw.dtype), stored * slope + intercept
            outside = self.decoder.padding(each, raw, stored)
            if outside is not None:
                padding = int(each.numbers("PixelPaddingValue", 1)[0])
                values[outside] = padding % 2 ** (8 * raw.dtype.itemsize)
                hu[outside] = AIR
            frames.append(values.astype(f"<u{raw.dtype.itemsize}").tobytes())
            if _bright_margin(hu):
                self._note(
                    "Bright pixels near the border of an image may be text: look at the "
                    "images before you share them."
                )
        known = slices[0].text("LossyImageCompression") == "01"
        if known or slices[0].path in self.decoder.lossy:
            result.LossyImageCompression = "01"
        content = b"".join(frames)
        if result.SOPClassUID in MULTI_FRAME:
            result.NumberOfFrames = len(frames)
        result.PixelData = content + b"\0" * (len(content) % 2)
        wide = int(slices[0].numbers("BitsAllocated", 1)[0]) > 8
        result["PixelData"].VR = "OW" if wide else "OB"

    def _note(self, text: str) -> None:
        self.notes[text] = None


def _patient(each: Slice) -> str:
    """Return what tells the patient from others: the ID, or else the name, or the study."""
    name = f"{each.text('PatientName')} {each.text('PatientBirthDate')}".strip()
    identity = each.text("PatientID") or name or each.text("StudyInstanceUID")
    return identity.casefold()


def _identity(each: Slice) -> set[str]:
    """Return the runs of at least four digits of what identifies the patient."""
    return {d for name in IDENTIFYING for d in digits(each.text(name))}


def _bright_margin(hu: np.ndarray) -> bool:
    """Return whether there are bright pixels near the image's border."""
    rows, columns = (max(1, int(MARGIN * size)) for size in hu.shape)
    border = np.ones(hu.shape, bool)
    border[rows:-rows, columns:-columns] = False
    return bool((hu[border] > BRIGHT).any())
