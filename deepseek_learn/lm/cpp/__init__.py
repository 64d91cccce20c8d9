"""The C++ library that reads prompts and runs the operations of one token.

- `step.cpp`, with `attend.cpp` and `hybrid.cpp`: the operations. `program.py` and
  `hybrid.py` list them for a model, as the structs in `operations.py`;
- `causal.cpp`: attention over a prompt, which `causal.py` calls.
"""
