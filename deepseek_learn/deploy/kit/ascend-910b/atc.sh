#!/usr/bin/env bash
# Compiles the model to model.om with Huawei's own compiler. Set SOC to "Ascend" plus the chip
# name that `npu-smi info` prints: Ascend910B3 for 910B3. The chip name alone works, too.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
if [ -z "${SOC:-}" ]; then
  echo "atc.sh: set SOC to Ascend plus the chip name from npu-smi info: SOC=Ascend910B3 for 910B3." >&2
  exit 2
fi
SOC="Ascend${SOC#Ascend}"
exec atc --framework=5 --model="$here/model.onnx" --output="$here/model" \
  --soc_version="$SOC" --precision_mode=allow_fp32_to_fp16 --log=error "$@"
