"""What `slurm` and `netns` share: namespaces in which everything ends with the test, a small training, and cases."""
import argparse
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/faults"))
from small_training import lines_of_metrics as steps_of, make_training, state_of, write_config  # noqa: E402

TRAIN = """steps: {steps}, global_batch_size: 32, micro_batch_size: 4, hang_timeout_seconds: {timeout},
        checkpoint: {{every_steps: 20, keep: 3}}"""
# Open MPI's: ranks of one machine that has to look like several, and leave its cores to others while they wait.
MPI = {"OMPI_MCA_btl": "tcp,self", "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
       "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


# Of a network of its own; the C library finds names only where there is an address besides the loopback's.
ALONE = """hostname cluster; mount --bind "$0/hosts" /etc/hosts; mount -t tmpfs none /dev/shm
mkdir -p /run/netns; mount -t tmpfs none /run/netns
ip link set lo up; ip link add here type veth peer name nowhere; ip addr add 192.0.2.1/24 dev here; ip link set here up; ip link set nowhere up
"""


class Skipped(Exception):
    pass


class Failed(Exception):
    pass


def expect(holds, text):
    if not holds:
        raise Failed(text)


def need(programs):
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        raise Skipped(f"no {', '.join(missing)}")


def main(document, work, needs, cases):
    """Runs work(options, folder, cases) in namespaces of its own: processes, mounts, network, host name. They end with it."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gta", default=str(REPOSITORY / "build/release/bin/gta"), help="the program")
    parser.add_argument("--keep", metavar="FOLDER", help="where everything that was written stays")
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(cases)}; all of them where none is named")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in options.cases:
        if name not in cases:
            parser.error(f"there is no case '{name}'")
    if options.inside:
        sys.exit(inside(options, work, cases))
    options.gta = str(pathlib.Path(options.gta).resolve())
    try:
        if os.getuid() != 0:
            raise Skipped("namespaces and daemons need root")
        need(["unshare", "setpriv", "ip", *needs])
        if subprocess.run(["unshare", "--mount", "--pid", "--net", "--uts", "--fork", "true"], capture_output=True).returncode:
            raise Skipped("this machine makes no namespaces")
    except Skipped as why:
        print(f"skipped: {why}")
        sys.exit(0)
    if not os.access(options.gta, os.X_OK):
        parser.error(f"no program at {options.gta}: build it, or name it with --gta")
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, lambda number, _: sys.exit(128 + number))
    folder = tempfile.mkdtemp(prefix="gta-cluster-")  # short: sockets lie in it
    os.chmod(folder, 0o755)
    # Whatever ends `unshare` ends the first process of its namespace, and with it all others.
    namespaces = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--kill-child",
                  "--mount-proc"]
    process = subprocess.Popen([*namespaces, sys.executable, sys.argv[0], *options.cases, "--gta", options.gta, "--inside", folder],
                               start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        code = 130
    finally:
        process.kill()
        process.wait()
        if options.keep:
            subprocess.run(["cp", "-aT", folder, options.keep])
        for _ in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):
                break
            time.sleep(0.1)
    sys.exit(code)


def inside(options, work, cases):
    child = os.fork()
    while child:  # the first process takes in those whose parent is gone
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)
    ctypes.CDLL(None).setsid()
    folder = pathlib.Path(options.inside)
    (folder / "hosts").write_text("127.0.0.1 localhost cluster\n")
    subprocess.run(["sh", "-ec", ALONE, folder], check=True)
    os.environ |= MPI | {"TMPDIR": str(folder)}
    os.chdir(folder)
    chosen = Cases(options.cases)
    try:
        make_training(options.gta, folder, TRAIN.format(steps=400, timeout=20))
        work(options, folder, chosen)
    except Exception:
        traceback.print_exc()
        return 1
    return chosen.report()


class Cases:
    def __init__(self, chosen):
        self.chosen, self.begun, self.counts = chosen, time.monotonic(), {"passed": 0, "failed": 0, "skipped": 0}

    def run(self, name, case):
        """One line of it. case() returns what was done and seen."""
        if self.chosen and name not in [*self.chosen, "alone"]:  # which the others are compared with
            return
        begun = time.monotonic()
        try:
            how, text = "passed", case()
        except Skipped as why:
            how, text = "skipped", f"skipped: {why}"
        except Failed as why:
            how, text = "failed", f"FAILED: {why}"
        except Exception:  # of the test
            how, text = "failed", f"FAILED: {traceback.format_exc()}"
        self.counts[how] += 1
        print(f"{name:18} {time.monotonic() - begun:6.1f} s  {text}", flush=True)

    def report(self):
        print(", ".join(f"{count} {how}" for how, count in self.counts.items()), f"in {time.monotonic() - self.begun:.0f} s")
        return 1 if self.counts["failed"] else 0


def wait_for(what, holds, seconds):
    """What it returns, as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        expect(time.monotonic() < end, f"waited {seconds} s for {what}")
        time.sleep(0.05)
    return found


def ranks_of(run):
    """Processes that train in a folder, by rank."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            values = dict(entry.partition(b"=")[::2] for entry in (path / "environ").read_bytes().split(b"\0"))
            living = (path / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            continue
        rank = values.get(b"PMIX_RANK")
        if living and rank and command[0].endswith(b"/gta") and str(run).encode() in command:
            found[int(path.name)] = int(rank)
    return {rank: pid for pid, rank in sorted(found.items())}


def wait_for_step(run, step, seconds=90):
    wait_for(f"step {step} of {run.name}", lambda: steps_of(run) >= step, seconds)


def expect_equal(gta, run, undisturbed):
    """That a run ended as the other one, with a checkpoint that is whole."""
    inspected = subprocess.run([gta, "inspect", str(run)], capture_output=True, text=True)
    expect(inspected.returncode == 0, f"gta inspect says {inspected.stderr}")
    expect(state_of(run) == state_of(undisturbed), "weights, moments or losses are not those of the undisturbed run")
    return "the weights, moments and losses of the undisturbed run"
