#!/usr/bin/env bash
# Runs the model with AMD's own tool, which verifies it against a reference and then times it.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
migraphx-driver verify "$here/model.onnx" --gpu
exec migraphx-driver perf "$here/model.onnx" --gpu "$@"
