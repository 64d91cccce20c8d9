"""Factory inspection: find defective parts after seeing good ones only.

`solutions.load("factory").run(folder, out)` learns from the images in `folder/good` and
judges all other images in `folder`.
"""
