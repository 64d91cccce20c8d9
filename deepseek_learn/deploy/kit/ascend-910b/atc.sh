#!/usr/bin/env bash
# The same model with Huawei's own compiler: model.om. SOC is "Ascend" plus the chip name
# that `npu-smi info` prints: Ascend910B3 for 910B3. The bare chip name works, too.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
if [ -z "${SOC:-}" ]; then
  echo "atc.sh: set SOC to Ascend and the chip's name in npu-smi info: SOC=Ascend910B3 for 910B3." >&2
  exit 2
fi
SOC="Ascend${SOC#Ascend}"
exec atc --framework=5 --model="$here/model.onnx" --output="$here/model" \
  --soc_version="$SOC" --precision_mode=allow_fp32_to_fp16 --log=error "$@"
