#!/usr/bin/env bash
# The same model through TensorRT's own tool: model.plan for this very GPU, and its speed.
# TensorRT 11 has no precision flags, the model says it all; TensorRT 10 is told to obey.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
options=(--onnx="$here/model.onnx" --saveEngine="$here/model.plan")
if trtexec --help 2>&1 | grep -q -- --stronglyTyped; then
  options+=(--stronglyTyped)
fi
exec trtexec "${options[@]}" "$@"
