"""Answers to `a_board_of_your_own`: the starter, right ones and wrong ones."""

# %% starter
def my_board(kit):
    ...

# %% solution
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% right: in sh, by readlink
def my_board(kit):
    kit.script("install.sh", """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
test -n "$BOARD" || { echo "BOARD is not set" >&2; exit 2; }
exec scp -r "$here" "$BOARD:model"
""")
    kit.notes.append("install.sh copies the folder to the BOARD.")

# %% right: from within the folder
def my_board(kit):
    kit.script("install.sh", """#!/bin/bash
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
[[ -v BOARD ]] || { >&2 echo "Which board? Set BOARD."; exit 2; }
scp -r . "$BOARD:model"
""")
    kit.notes.append("Run install.sh.")

# %% wrong: copies the caller's directory
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$PWD" "$BOARD:model"
""")

# %% wrong: breaks at a space in the path
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r $here "$BOARD:model"
""")

# %% wrong: does not refuse
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: refuses silently
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: no note in the README
def my_board(kit):
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: no shebang line
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: a nonexistent interpreter
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/no/such/shell
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: waits for keyboard input
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then read BOARD
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: refuses on stdout
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host."
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: refuses without naming BOARD
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: say pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: refuses in two lines
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "Sorry." >&2; echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: copies before it refuses
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
scp -r "$here" ":model"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: copies twice
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
scp -r "$here" "$BOARD:model"
""")

# %% wrong: changes directory before it resolves its own path
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
cd /; here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
scp -r "$here" "$BOARD:model"
""")

# %% wrong: does nothing
def my_board(kit):
    kit.notes.append("Copy the folder: `BOARD=pi@host ./install.sh`.")
    kit.script("install.sh", """#!/usr/bin/env bash
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${BOARD:-}" ]; then
  echo "install.sh: set BOARD, such as BOARD=pi@host." >&2
  exit 2
fi
""")

# %% wrong: not executable
def my_board(kit):
    kit.notes.append("install.sh")
    (kit.folder / "install.sh").write_text("scp")
