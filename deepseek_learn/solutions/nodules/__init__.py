"""Lung nodules in CT scans: DICOM in, findings as DICOM out. Not for diagnosis.

The detector has only seen phantoms: generated chests with the shapes of real nodules.
"""
