#!/usr/bin/env bash
# The same model through TensorRT's own tool: model.plan for this very GPU, and its speed.
# TensorRT 11 has no precision flags, the model says it all; TensorRT 10 is told to obey.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
options=(--onnx="$here/model.onnx" --saveEngine="$here/model.plan")
help="$(trtexec --help 2>&1 || true)"
case "$help" in
  *--stronglyTyped*) options+=(--stronglyTyped) ;;
esac
exec trtexec "${options[@]}" "$@"
