"""Lung nodules in CT scans: DICOM in, findings as DICOM out. Not for diagnosis."""
