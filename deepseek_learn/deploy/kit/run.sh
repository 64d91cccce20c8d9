#!/usr/bin/env bash
# Runs the model: ./run.sh --input IMAGE_OR_NPY [other options, see ./engine --help]
# The environment variable ORT_LIBRARY selects the ONNX Runtime library, and PROVIDER selects the
# execution provider, such as cpu.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=/dev/null
source "$here/settings.sh"

# Prints the path of the ONNX Runtime library: ORT_LIBRARY, the library in lib/, or the one in the
# Python package. If none of them exists, the engine searches the system's library path.
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
paths = glob.glob(os.path.join(folder, "capi", "libonnxruntime.so.*"))
paths += glob.glob(os.path.join(folder, "capi", "libonnxruntime.*dylib"))
print(sorted(paths)[0])
PYTHON
}

if [ ! -x "$here/engine" ]; then
  echo "run.sh: the engine has not been built yet; run ./build.sh first." >&2
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
