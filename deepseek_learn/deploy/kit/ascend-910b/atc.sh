#!/usr/bin/env bash
# The same model through Huawei's own compiler: model.om. SOC is the name of the chip that
# `npu-smi info` prints: Ascend910B1 to Ascend910B4.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
if [ -z "${SOC:-}" ]; then
  echo "atc.sh: set SOC to the chip's name, such as SOC=Ascend910B3 (see: npu-smi info)." >&2
  exit 2
fi
exec atc --framework=5 --model="$here/model.onnx" --output="$here/model" \
  --soc_version="$SOC" --precision_mode=allow_fp32_to_fp16 --log=error "$@"
