#!/usr/bin/env bash
# Replays the stored inputs and compares with the stored answers, and prints the speed.
# Exit status 0: the same within the tolerance; 1: not the same; 2: it did not run.
set -euo pipefail
here="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=/dev/null
source "$here/settings.sh"
exec "$here/run.sh" --selfcheck "$here/check" --tolerance "$TOLERANCE" --batch "$BATCH" \
  --repeat 50 "$@"
