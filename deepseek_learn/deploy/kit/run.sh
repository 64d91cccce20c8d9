#!/usr/bin/env bash
# Runs the model: ./run.sh --input PICTURE_OR_NPY [other options, see ./engine --help]
# ORT_LIBRARY=FILE names ONNX Runtime's library, PROVIDER=cpu another execution provider.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=/dev/null
source "$here/settings.sh"

# The library of ONNX Runtime: the one named, the one beside the model, or that of the
# Python package. With none of them the engine asks the system.
library() {
  if [ -n "${ORT_LIBRARY:-}" ]; then
    echo "$ORT_LIBRARY"
    return
  fi
  for file in "$here"/lib/libonnxruntime.*; do
    if [ -e "$file" ]; then
      echo "$file"
      return
    fi
  done
  python3 - <<'PYTHON' 2>/dev/null || true
import glob, importlib.util, os
folder = os.path.dirname(importlib.util.find_spec("onnxruntime").origin)
found = glob.glob(os.path.join(folder, "capi", "libonnxruntime.so.*"))
found += glob.glob(os.path.join(folder, "capi", "libonnxruntime.*dylib"))
print(sorted(found)[0])
PYTHON
}

if [ ! -x "$here/engine" ]; then
  echo "run.sh: there is no engine yet; run ./build.sh first." >&2
  exit 2
fi
options=(--provider "$PROVIDER")
if [ "$RUNTIME" = openvino ] || [ "$PROVIDER" = tensorrt ]; then
  options+=(--precision "$PRECISION")
fi
if [ "$RUNTIME" = onnxruntime ]; then
  file="$(library)"
  if [ -n "$file" ]; then
    options+=(--library "$file")
  fi
fi
exec "$here/engine" "$here/model.onnx" "${options[@]}" "$@"
