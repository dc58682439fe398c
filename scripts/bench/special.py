# SPDX-License-Identifier: BSD-3-Clause
"""Cases that are more than one run of spinfs-perf on each daemon."""

import glob
import os
import shutil
import subprocess
import threading
import time

import measure
from daemons import Daemon
from measure import MeasureError


def _families(host):
    return ["spinfs"] + [f for f in ("c", "rust") if f in host.peers]


def listing_cold(host, case, number):
    """One listing by a daemon that was just started, the caches dropped."""
    args = {"workload": "readdirplus-known", "files": measure.entries(), "bs": "32K", "ops": 1, "time": 60}
    results = {}
    for name in _families(host):
        with host.attempt(name):
            with Daemon(host, name, host.share) as daemon:  # makes the files in the first round
                measure.perf(host, ["--socket", daemon.sockets[0]], {**args, "workload": "readdirplus"})
            measure.drop_caches(host)
            with Daemon(host, name, host.share) as daemon:
                result = measure.perf(host, ["--socket", daemon.sockets[0]], args)
            results[name] = {**result, "entries_s": result["ops_s"] * args["files"]}
    return results


def system_calls(host, case, number):
    """Counted by perf(1) over the middle of a run."""
    results = {}
    args = {"workload": "randread", "bs": 4096, "iodepth": 32, "direct": True, "time": 3, "ramp": 0.5}
    for name in _families(host):
        with host.attempt(name), Daemon(host, name, host.share) as daemon:
            count = []

            def look(pids=",".join(map(str, daemon.pids())), count=count):
                time.sleep(1.5)
                command = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", pids, "--", "sleep", "1"]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                count += [line.split(",")[0] for line in done.stderr.splitlines() if "sys_enter" in line]

            thread = threading.Thread(target=look)
            thread.start()
            result = measure.perf(host, ["--socket", daemon.sockets[0]], args)
            thread.join()
            if not count or not count[0].isdigit():
                raise MeasureError("perf cannot count system calls here")
            results[name] = {**result, "calls_op": int(count[0]) / result["ops_s"]}
    return results


def queues(host, case, number):
    base = {"workload": "randread", "bs": 4096, "size": "256M"}
    results = {}
    for label, count in (("1 queue", 1), ("8 queues", 8)):
        measure.settle()
        with host.attempt(label), Daemon(host, "spinfs", host.share) as daemon:
            results[label] = measure.perf(host, ["--socket", daemon.sockets[0]],
                                          {**base, "queues": count, "iodepth": 32 // count})
    return results


def reactors(host, case, number):
    """Load and daemon share the same two CPUs, so only CPU time tells."""
    both = f"{host.daemon_cpu},{host.load_cpu}"
    results = {}
    for label, cpus in (("1 reactor", str(host.daemon_cpu)), ("2 reactors", both)):
        measure.settle()
        with host.attempt(label), Daemon(host, "spinfs", host.share, cpus=both, reactors=cpus) as daemon:
            results[label] = measure.perf(host, ["--socket", daemon.sockets[0]],
                                          {"workload": "randread", "bs": 4096, "iodepth": 32, "queues": 2,
                                           "cpus": both})
    return results


def guests_16(host, case, number):
    measure.settle()
    with host.attempt("spinfs"), Daemon(host, "spinfs", host.share, devices=16) as daemon:
        result = measure.perf(host, ["--socket", daemon.sockets[0].removesuffix("-0") + "-%d"],
                              {"workload": "randread", "bs": 4096, "iodepth": 4, "guests": 16})
        rates = [guest["ops_s"] for guest in result["guests"]]
        return {"spinfs": {**result, "fairness": min(rates) / max(rates)}}
    return {}


# kind, title, metric of the quiet guest, limit
NOISE = [
    ("1m", "a quiet guest's p99 beside 1 MiB reads (P17)", "p99_ns", 3.0),
    ("fsync", "a quiet guest's p99 beside an fsync storm (P18)", "p99_ns", 1.5),
    ("misses", "a quiet guest's p99 beside cache misses (P18)", "p99_ns", 1.5),
    ("opens", "a quiet guest's p99.9 beside 10,000 opens", "p999_ns", 2.0),
]
NEIGHBOURS = {
    "1m": "read,bs=1M,iodepth=64",
    "fsync": "fsync,iodepth=8",
    "misses": "randread,iodepth=16,files=8",
    "opens": "hoard,iodepth=16,files=10000",
}


class Evictor:
    """Keeps the neighbour's files out of the page cache; the quiet guest's file, f000000, stays."""

    def __init__(self, folder):
        self.files = sorted(glob.glob(f"{folder}/f*"))[1:]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._work)

    def _work(self):
        fds = [os.open(path, os.O_RDONLY) for path in self.files]
        while not self.over.wait(0.05):
            for fd in fds:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for fd in fds:
            os.close(fd)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def noisy(host, case, number):
    """The quiet guest alone, then beside the neighbour: for spinfs on one reactor, for C two processes on one CPU."""
    kind = case.args["kind"]
    quiet = {"workload": "randread", "bs": 4096, "size": "256M"}
    results = {}
    for name in [f for f in _families(host) if f != "rust"]:
        for label in ("quiet", "noisy"):
            measure.settle()
            with host.attempt(f"{name} {label}"), Daemon(host, name, host.share, devices=2) as daemon:
                args = dict(quiet)
                if label == "noisy":
                    args["noisy"] = f"{daemon.sockets[1]}:{NEIGHBOURS[kind]}"
                with Evictor(f"{host.share}/perf-data" if kind == "misses" else "/nonexistent"):
                    result = measure.perf(host, ["--socket", daemon.sockets[0]], args)
                latency = result["latency_ns"]
                result.update({"p99_ns": latency["p99"], "p999_ns": latency["p999"]})
                results[name + (" quiet" if label == "quiet" else "")] = result
    return results


def idle(host, case, number):
    """A request each half second: what the pauses cost, and how long the one after a pause takes."""
    results = {}
    seconds = 4
    for name in _families(host):
        with host.attempt(name), Daemon(host, name, host.share) as daemon:
            result = measure.perf(host, ["--socket", daemon.sockets[0]],
                                  {"workload": "getattr", "rate": 2, "time": seconds, "ramp": 1})
            results[name] = {**result, "p50_ns": result["latency_ns"]["p50"],
                             "cpu_share": result["daemon_cpu_s"] / seconds}
    return results


def inode_memory(host, case, number):
    results = {}
    few, many = 1000, measure.entries()
    for name in _families(host):
        looks = []
        with host.attempt(name):
            for count in (many, few, many):  # the first one makes the files
                with Daemon(host, name, host.share) as daemon:
                    looks.append(measure.perf(host, ["--socket", daemon.sockets[0]],
                                              {"workload": "getattr", "files": count, "time": 0.3, "ramp": 0.1}))
            grown = looks[2]["daemon_pss_bytes"] - looks[1]["daemon_pss_bytes"]
            fds = looks[2]["daemon_fds"] - looks[1]["daemon_fds"]
            results[name] = {**looks[2], "bytes_inode": grown / (many - few), "fds_inode": fds / (many - few)}
    return results


def start(host, case, number):
    results = {}
    for name in _families(host):
        with host.attempt(name), Daemon(host, name, host.share) as daemon:
            time.sleep(0.5)
            resident = daemon.pss_bytes()
            result = measure.perf(host, ["--socket", daemon.sockets[0]],
                                  {"workload": "getattr", "files": 2, "ops": 1, "time": 5})
            results[name] = {**result, "ready_ms": daemon.ready_s * 1e3, "resident_mib": resident / 2**20,
                             "reply_ms": result["guests"][0]["attach_ns"] / 1e6}
    return results


# --- real guests ---

GUEST_JOBS = [
    ("fio-randread", "fio: 4 KiB O_DIRECT randread", "ops/s"),
    ("fio-read", "fio: 1 MiB reads", "B/s"),
    ("dbench", "dbench, 4 clients", "MB/s"),
    ("untar", "untar of the kernel headers", "1/s"),
]
GUEST_SCRIPTS = {
    "fio-randread": """
fio --name=job --filename=/mnt/perf-data/f000000 --size=128m --rw=randread --bs=4k --direct=1 --thread --time_based \\
  --runtime=4 --output-format=terse --terse-version=3 >/tmp/out || exit
awk -F ';' '{ print "value", $8 }' /tmp/out
""",
    "fio-read": """
fio --name=job --filename=/mnt/perf-data/f000000 --size=128m --rw=read --bs=1m --direct=1 --thread --time_based \\
  --runtime=4 --output-format=terse --terse-version=3 >/tmp/out || exit
awk -F ';' '{ print "value", $7 * 1024 }' /tmp/out
""",
    "dbench": """
mkdir -p /mnt/guest
dbench -c /usr/share/dbench/client.txt -D /mnt/guest -t 8 4 >/tmp/out 2>&1 || exit
awk '/^Throughput/ { print "value", $2 }' /tmp/out
""",
    "untar": """
mkdir -p /mnt/guest
begin=$(cut -d ' ' -f 1 /proc/uptime)
tar -C /mnt/guest -xf /mnt/headers.tar && sync || exit
cut -d ' ' -f 1 /proc/uptime | awk -v begin="$begin" '{ print "value", 1 / ($1 - begin) }'
""",
}
GUEST_PROGRAMS = {"fio-randread": ["fio"], "fio-read": ["fio"], "dbench": ["dbench"], "untar": []}


def guest(host, case, number):
    """
    The job in a guest on each daemon, by the guest's own clock. User-Mode Linux works with spinfs alone: it asks the
    daemon for the tag, which C's cannot tell, and sends a memory table that the Rust daemon refuses.
    """
    kind, job = case.args["kind"], case.args["job"]
    script = f"{host.scratch}/guest-script"
    with open(script, "w") as file:
        file.write(GUEST_SCRIPTS[job])
    if not os.path.exists(f"{host.share}/headers.tar"):
        measure.run(["tar", "-C", "/usr/include", "-cf", f"{host.share}/headers.tar", "linux"])
    measure.raw(host, {"workload": "randread", "time": 0.1, "ramp": 0})  # the file is there
    results = {}
    for name in ["spinfs"] if kind == "uml" else _families(host):
        shutil.rmtree(f"{host.share}/guest", ignore_errors=True)
        measure.settle()
        with host.attempt(name), Daemon(host, name, host.share) as daemon:
            command = [os.path.join(os.path.dirname(__file__), "guest.sh"), kind, daemon.sockets[0],
                       str(host.load_cpu), script, *GUEST_PROGRAMS[job]]
            values = [line.split()[1] for line in measure.run(command, timeout=400).splitlines()
                      if line.startswith("value ")]
            if not values:
                raise MeasureError("the guest printed no value")
            results[name] = {"value": float(values[0])}
    return results

