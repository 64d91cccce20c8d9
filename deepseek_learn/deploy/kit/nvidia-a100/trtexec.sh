#!/usr/bin/env bash
# Builds model.plan for this GPU with TensorRT's own tool and times it. TensorRT 11 always uses
# the precision of the model and has no flag for it; TensorRT 10 does so with --stronglyTyped.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
options=(--onnx="$here/model.onnx" --saveEngine="$here/model.plan")
help="$(trtexec --help 2>&1 || true)"
case "$help" in
  *--stronglyTyped*) options+=(--stronglyTyped) ;;
esac
exec trtexec "${options[@]}" "$@"
