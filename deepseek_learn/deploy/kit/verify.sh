#!/usr/bin/env bash
# Runs the model on the stored inputs, compares its outputs with the stored outputs, and prints
# the latency. The exit status is 0 if the outputs match within the tolerance, 1 if they differ,
# and 2 if the model could not be run.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=/dev/null
source "$here/settings.sh"
exec "$here/run.sh" --selfcheck "$here/check" --tolerance "$TOLERANCE" --batch "$BATCH" \
  --repeat 50 "$@"
