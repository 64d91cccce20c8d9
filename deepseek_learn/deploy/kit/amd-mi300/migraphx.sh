#!/usr/bin/env bash
# The same model with AMD's own tool: verified against its reference, then timed.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
migraphx-driver verify "$here/model.onnx" --gpu
exec migraphx-driver perf "$here/model.onnx" --gpu "$@"
