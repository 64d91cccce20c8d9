"""Read movements from a sensor at the waist: recordings in, who did what when out.

`solutions.load("movement").run(folder, out)` reads CSV files with acceleration and angular
velocity. Not a medical device.
Lesson: `notebooks/practical/11_read_a_movement.ipynb`.
"""
