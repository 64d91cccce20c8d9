#!/usr/bin/env bash
# Compiles the engine on this machine and writes it to ./engine.
#   ./build.sh [cmake options, such as -DORT_INCLUDE=/opt/onnxruntime/include]
# README.md explains where to get the headers.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=/dev/null
source "$here/settings.sh"

options=("$@")
if [ "$RUNTIME" = openvino ]; then
  folder="$(python3 -c 'import os, openvino; print(os.path.dirname(openvino.__file__))')"
  options+=(-DENGINE_OPENVINO=ON "-DOpenVINO_DIR=$folder/cmake")
fi
build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
cmake -S "$here/source" -B "$build" ${options[@]+"${options[@]}"}
cmake --build "$build"
cp "$build/engine" "$here/engine.new"
mv "$here/engine.new" "$here/engine"
echo "built $here/engine"
