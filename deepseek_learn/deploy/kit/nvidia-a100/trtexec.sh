#!/usr/bin/env bash
# The same model with TensorRT's own tool: builds model.plan for this GPU and times it.
# TensorRT 11 has no precision flags and follows the model; TensorRT 10 needs the flag.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
options=(--onnx="$here/model.onnx" --saveEngine="$here/model.plan")
help="$(trtexec --help 2>&1 || true)"
case "$help" in
  *--stronglyTyped*) options+=(--stronglyTyped) ;;
esac
exec trtexec "${options[@]}" "$@"
