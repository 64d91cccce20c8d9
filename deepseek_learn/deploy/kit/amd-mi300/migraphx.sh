#!/usr/bin/env bash
# The same model through AMD's own tool: compared with its reference, and its speed.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
migraphx-driver verify "$here/model.onnx" --gpu
exec migraphx-driver perf "$here/model.onnx" --gpu "$@"
