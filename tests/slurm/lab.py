"""A Slurm of two nodes on this machine, for tests: ``lab.py start``, ``lab.py stop``, ``lab.py kill n1``.

Debian, as root; installs slurm-wlm and munge where they are missing. Each node is a slurmd in a PID namespace of its
own, so that killing its first process ends all of the node's at once, as a power cut does. ``start`` brings back what
is not running.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Slurm's daemons are
LAB = Path("/run/fieldwork-slurm-tests")  # of root, and gone with a reboot, as its processes are
NODES = ("n1", "n2")
CONFIGURATION = Path("/etc/slurm/slurm.conf")  # no other place: the plugin's jobs are not told of SLURM_CONF
SETTINGS = """\
ClusterName=fieldwork
SlurmctldHost={host}(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={lab}/state
SlurmdSpoolDir={lab}/%n
SlurmctldPidFile={lab}/slurmctld.pid
SlurmdPidFile={lab}/slurmd.%n.pid
SlurmctldLogFile={lab}/slurmctld.log
SlurmdLogFile={lab}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
MinJobAge=300
ReturnToService=2
SlurmdTimeout=15
KillWait=5
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=2 RealMemory=6000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=fleeting Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what} did not come up within {seconds} s; see {LAB}/*.log")
        time.sleep(0.2)


def process(name, word):
    """The process of a PID file, if it is there and its command line has the word."""
    try:
        pid = int((LAB / f"{name}.pid").read_text())
        return pid if word in Path(f"/proc/{pid}/cmdline").read_text() else None
    except (OSError, ValueError):
        return None


def start():
    """Install what is missing, and start what is not running."""
    install()
    configure()
    start_munge()
    start_controller()
    for node in NODES:
        start_node(node)
    wait_until(lambda: states().count("idle") == len(NODES), "the nodes")
    print(run("sinfo", "-N"))


def install():
    if all(map(shutil.which, ("slurmctld", "slurmd", "sbatch", "munged"))):
        return
    policy = Path("/usr/sbin/policy-rc.d")  # keeps Debian from starting the services
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-qq", env=environment)
        packages = ("slurm-wlm", "munge")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, env=environment)
    finally:
        if ours:
            policy.unlink()


def configure():
    for folder in (LAB, LAB / "state", *(LAB / node for node in NODES)):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (LAB, LAB / "state"):
        shutil.chown(folder, "slurm", "slurm")
    settings = SETTINGS.format(host=socket.gethostname().split(".")[0], lab=LAB)
    ours = LAB / "slurm.conf"
    if os.path.lexists(CONFIGURATION) and CONFIGURATION.resolve() != ours:
        sys.exit(f"{CONFIGURATION} belongs to another Slurm; nothing was started")
    ours.write_text(settings)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.unlink(missing_ok=True)
    CONFIGURATION.symlink_to(ours)


def answers(command):
    return subprocess.run(command, shell=True, capture_output=True).returncode == 0


def start_munge():
    if answers("munge -n | unmunge"):
        return
    run("install", "-d", "-o", "munge", "-g", "munge", "-m", "755", "/run/munge")
    if not Path("/etc/munge/munge.key").exists():
        run("runuser", "-u", "munge", "--", "mungekey", "--create")
    run("runuser", "-u", "munge", "--", "munged")
    (LAB / "munged.pid").write_text(Path("/run/munge/munged.pid").read_text())
    wait_until(lambda: answers("munge -n | unmunge"), "munge")


def start_controller():
    if not process("slurmctld", "slurmctld"):
        run("slurmctld", "-f", str(CONFIGURATION))
    wait_until(lambda: answers("scontrol ping"), "slurmctld")


def start_node(node):
    if process(f"node.{node}", f"-N\0{node}\0"):
        return
    # The shell is the first process of the namespace; it waits for what slurmd's steps leave behind.
    inner = ["bash", "-c", '"$@" & wait $!', "node", "slurmd", "-D", "-f", str(CONFIGURATION), "-N", node]
    with open(LAB / f"node.{node}.log", "a") as log:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inner],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    (LAB / f"node.{node}.pid").write_text(str(outer.pid))


def states():
    return run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()


def kill(node):
    """Cut a node's power."""
    if pid := process(f"node.{node}", f"-N\0{node}\0"):
        os.kill(pid, signal.SIGKILL)


def end(name, word):
    """End the process of a PID file, by force if it takes more than 10 s."""
    if pid := process(name, word):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while process(name, word) and time.monotonic() < deadline:
            time.sleep(0.1)
        if process(name, word):
            os.kill(pid, signal.SIGKILL)


def stop():
    """End the nodes, the controller, and munge where it was started here."""
    for node in NODES:
        kill(node)
    end("slurmctld", "slurmctld")
    end("munged", "munged")
    if CONFIGURATION.is_symlink() and CONFIGURATION.resolve() == LAB / "slurm.conf":
        CONFIGURATION.unlink()
    shutil.rmtree(LAB, ignore_errors=True)


def is_ours():
    """Return True if the Slurm that is running is this one, whose nodes may be killed."""
    return CONFIGURATION.resolve() == LAB / "slurm.conf" and process("slurmctld", "slurmctld") is not None


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start"]:
            start()
        case ["stop"]:
            stop()
        case ["kill", node] if node in NODES:
            kill(node)
        case _:
            sys.exit(__doc__)
