"""Lung nodules in CT scans: DICOM in, findings as DICOM out. Not for diagnosis.

`solutions.load("nodules").run(folder, out)` screens all scans in a folder. The detector has
only seen phantoms: generated chests with the shapes of real nodules.
Lessons: `notebooks/practical/06_read_a_ct.ipynb` and `07_find_nodules.ipynb`.
"""
