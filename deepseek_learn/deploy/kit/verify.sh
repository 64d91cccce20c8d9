#!/usr/bin/env bash
# Replays the stored inputs, compares with the stored outputs, and prints the latency.
# Exit status 0: equal within the tolerance; 1: different; 2: it did not run.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=/dev/null
source "$here/settings.sh"
exec "$here/run.sh" --selfcheck "$here/check" --tolerance "$TOLERANCE" --batch "$BATCH" \
  --repeat 50 "$@"
