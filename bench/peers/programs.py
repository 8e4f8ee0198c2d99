"""What the comparisons of this folder share: where this tree is, its program and the peers', and how they are run."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
GTA = ROOT / "build/release/bin/gta"
SELF = os.path.basename(sys.argv[0])


def refuse(message):
    print(f"{SELF}: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def require_gta(path):
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        refuse(f"{path} does not exist: build it (cmake --build --preset release --target gta) or give --gta")


def run(command, folder=None):
    """The command's standard output; its standard error is shown only when it fails."""
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        print(f"{SELF}: error: exit code {done.returncode} of: {' '.join(command)}", file=sys.stderr)
        raise SystemExit(1)
    return done.stdout
