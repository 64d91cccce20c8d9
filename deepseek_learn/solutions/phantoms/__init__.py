"""Phantoms: generated chests with the shapes of real nodules, as a CT scanner sees them.

- `chest`, `trees`: a chest without nodules, its vessels and bronchi.
- `nodule_shapes`: the shapes and ratings of 1,193 real nodules (LIDC-IDRI).
- `phantom`: a chest with nodules, scanned.
- `scans`: which nodules are in which scan, split by patient.

The nodule detector (`solutions.nodules`) and the hospitals of `solutions.federated` learn
from them. Every figure from a phantom is a figure of phantoms.
"""
