"""Every benchmark script in turn; at the end, which failed and which were skipped.

    python benchmarks/harness/all.py [--quick ...] [NAME.py[+--option] ...]

Options are passed to every script, `+--option` to that script alone; without names, all
scripts run. A script that lacks something (a package, headers, a program) ends with exit
code 3 and one sentence. The exit code is 1 if any script failed.
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
SKIPPED = 3  # a script's exit code: something it needs is missing here


def run(script: Path, options: list[str]) -> tuple[int, str]:
    """Run one script; its exit code and the last line that it wrote to stderr."""
    command, last = [sys.executable, str(script), *options], ""
    print(f"{script.name} {' '.join(options)}".strip(), flush=True)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
    return process.returncode, last


def main(words: list[str], folder: Path = BENCHMARKS) -> int:
    options = [word for word in words if word.startswith("-")]
    names = [word for word in words if not word.startswith("-")]
    failed, skipped = [], []
    for name in names or sorted(path.name for path in folder.glob("*.py")):
        script, *own = name.split("+")
        code, last = run(folder / script, [*own, *options])
        if code == SKIPPED:
            skipped.append(f"{script}: {last.removeprefix('skipped: ')}")
        elif code:
            failed.append(f"{script} (exit code {code}): {last}")
    for title, lines in (("Skipped", skipped), ("Failed", failed)):
        if lines:
            print(f"{title}:\n" + "\n".join(f"  {line}" for line in lines), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
