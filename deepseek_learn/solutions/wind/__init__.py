"""Watch a wind farm: turbines against their neighbors, from the records of its SCADA.

`solutions.load("wind").run(folder, out, healthy_until="2015-01-01")` learns from the
records before a date and watches those from that date on.
Lesson: `notebooks/practical/10_watch_a_wind_farm.ipynb`.
"""
