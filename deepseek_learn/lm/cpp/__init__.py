"""The C++ library that reads prompts and runs the operations of one token.

- `step.cpp`, with `hybrid.cpp`: the operations, which `program.py` lists for a model;
- `causal.cpp`: attention over a prompt, which `causal.py` calls.
"""
