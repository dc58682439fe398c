# SPDX-License-Identifier: BSD-3-Clause
"""Cases that are more than one run of spinfs-perf on each daemon."""

import contextlib
import glob
import os
import shutil
import subprocess
import threading
import time

import measure
from daemons import Daemon, Throttle
from measure import MeasureError
from relay import Relay


def _families(host):
    return ["spinfs"] + [f for f in ("c", "rust") if f in host.peers]


def _listing(host, cold, args):
    entries = measure.entries(host)
    results = {}
    args = {"workload": "readdirplus-known", "files": entries, "bs": "32K", **args}
    for name in _families(host):
        with host.attempt(name):
            if not host.cache.get("entries"):  # made once, by the first daemon
                with Daemon(host, name, host.share) as daemon:
                    measure.perf(host, ["--socket", daemon.sockets[0]],
                                 {**args, "workload": "readdirplus", "ops": 1, "time": 60})
                host.cache["entries"] = True
            if cold:
                measure.drop_caches(host)
            else:
                measure.settle()
            with Daemon(host, name, host.share) as daemon:
                result = measure.perf(host, ["--socket", daemon.sockets[0]], args)
            results[name] = listed(result, entries)
    with host.attempt("raw"):
        if cold:
            measure.drop_caches(host)
        result = measure.raw(host, args)
        results["raw"] = listed(result, entries)
    return results


def listed(result, entries):
    """Of a listing that was skipped the CPU time is not known apart."""
    return {**result, "entries_s": result["ops_s"] * entries, "ops_per_cpu_s": result["ops_per_cpu_s"] or None}


def listing_cold(host, case, number):
    """One listing by a daemon that was just started, the caches dropped."""
    return _listing(host, True, {"ops": 1, "time": 60})


def listing_known(host, case, number):
    """
    Three listings by one daemon after a first one, which is not measured: the guest knows all nodes by then, and the host's
    caches are warm.
    """
    return _listing(host, False, {"ops": 3, "skip": 1, "time": 60})


def no_system_call(host, case, number):
    """The driver mem answers a GETATTR from memory; what is left on the loopback device is the client and the wires."""
    measure.settle()
    results, load = {}, {"workload": "getattr"}
    config = {"fs": {"driver": "mem", "options": {"size_mib": 64}}}
    with host.attempt("spinfs"), Daemon(host, "spinfs", host.share, config=config) as daemon:
        results["spinfs"] = measure.perf(host, ["--socket", daemon.sockets[0]], load)
    results["loopback"] = measure.perf(host, ["--loopback"], load)
    return {name: {**result, "p50_ns": result["latency_ns"]["p50"]} for name, result in results.items()}


def counters(host, case, number):
    """The daemon's own counters over the middle of a run: two looks, since connecting and preparing counts, too."""
    loads = {"spinfs": {"workload": "randread", "bs": 4096, "iodepth": 32},
             "spinfs read-1m": {"workload": "read", "bs": "1M", "iodepth": 4},
             "spinfs write-1m": {"workload": "write", "bs": "1M", "iodepth": 4}}
    results = {}
    for label, load in loads.items():
        with host.attempt(label), Daemon(host, "spinfs", host.share) as daemon:
            looks = []

            def look(daemon=daemon, looks=looks):
                time.sleep(0.6)
                looks.append(daemon.stats()["devices"][0])
                time.sleep(0.5)
                looks.append(daemon.stats()["devices"][0])

            thread = threading.Thread(target=look)
            thread.start()
            result = measure.perf(host, ["--socket", daemon.sockets[0]], {**load, "time": 1.2, "ramp": 0.2})
            thread.join()
            if len(looks) < 2:
                raise MeasureError("no counters")
            sums = [{key: sum(q[key] for q in one["queues"]) for key in ("requests", "eventfd_reads", "kicks")}
                    for one in looks]
            more = {key: sums[1][key] - sums[0][key] for key in sums[0]}
            if not more["requests"]:
                raise MeasureError("no requests between two looks at the counters")
            results[label] = {**result, **more, "bytes_copied": looks[1]["bytes_copied"] - looks[0]["bytes_copied"]}
    return results


def lost_kicks(host, case, number):
    """A reactor that never spins sleeps before each request of a client with one in flight. A lost kick ends the run."""
    count = 20000 if host.short else 1000000
    with host.attempt("spinfs"), Daemon(host, "spinfs", host.share, reactor={"spin_us": 0}) as daemon:
        looks = [daemon.stats()["reactors"][0]["sleeps"]]

        def look():
            while not over.wait(0.2):
                with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                    looks.append(daemon.stats()["reactors"][0]["sleeps"])

        over = threading.Event()
        thread = threading.Thread(target=look)
        thread.start()
        try:
            result = measure.perf(host, ["--socket", daemon.sockets[0]],
                                  {"workload": "getattr", "ops": count, "time": 150})
        finally:
            over.set()
            thread.join()
        slow = result["latency_ns"]["max"] / 1e9
        return {"spinfs": {**result, "lost": result["errors"] + (count - result["ops"] if slow > 1 else 0),
                           "sleeps": looks[-1] - looks[0]}}
    return {}


COUNT_CALLS = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter"]


def system_calls(host, case, number):
    """Counted by perf(1) over the middle of a run."""
    results = {}
    args = {"workload": "randread", "bs": 4096, "iodepth": 32, "direct": True, "time": 3, "ramp": 0.5}
    for name in _families(host):
        with host.attempt(name), Daemon(host, name, host.share) as daemon:
            count = []

            def look(pids=",".join(map(str, daemon.pids())), count=count):
                time.sleep(1.5)
                command = [*COUNT_CALLS, "-p", pids, "--", "sleep", "1"]
                count.append(subprocess.run(command, capture_output=True, text=True, check=False).stderr)

            thread = threading.Thread(target=look)
            thread.start()
            result = measure.perf(host, ["--socket", daemon.sockets[0]], args)
            thread.join()
            results[name] = {**result, "calls_op": calls_counted(count[0]) / result["ops_s"]}
    with host.attempt("raw"):
        results["raw"] = bare_calls(host, {**args, "ramp": 0, "io_uring": True})
    return results


def bare_calls(host, args):
    """The bare loop's, from its beginning to its end."""
    counts = f"{host.scratch}/calls"
    result = measure.raw(host, args, under=[*COUNT_CALLS, "-o", counts])
    with open(counts) as text:
        return {**result, "calls_op": calls_counted(text.read()) / result["ops"]}


def calls_counted(text):
    """The number in what perf(1) printed."""
    count = [line.split(",")[0] for line in text.splitlines() if "sys_enter" in line]
    if not count or not count[0].isdigit():
        raise MeasureError("perf cannot count system calls here")
    return int(count[0])


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
    ("lists", "a quiet guest's median beside listings of 3,000 objects", "p50_ns", None),
    ("opens", "a quiet guest's p99.9 beside 10,000 opens", "p999_ns", 2.0),
]
NEIGHBOURS = {
    "1m": "read,bs=1M,iodepth=1024",
    "fsync": "fsync,iodepth=8",
    "misses": "randread,iodepth=16,files=4,size=64M",
    "lists": "readdirplus-known,bs=4K,iodepth=4,files=3000",
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


def _noisy_args(host, kind, daemon):
    neighbour = NEIGHBOURS[kind]
    if kind == "1m" and _available_gib() < 6:  # the requests' memory is the guest's
        neighbour = neighbour.replace("1024", "64")
    return {"noisy": f"{daemon.sockets[1]}:{neighbour}"}


def _available_gib():
    with open("/proc/meminfo") as text:
        return next(int(line.split()[1]) for line in text if line.startswith("MemAvailable:")) / 2**20


def noisy(host, case, number):
    """The quiet guest alone, then beside the neighbour: for spinfs on one reactor, for C two processes on one CPU."""
    kind = case.args["kind"]
    quiet = {"workload": "randread", "bs": 4096, "size": "256M"}
    if kind == "1m":
        quiet["ramp"] = 6  # a GiB of the neighbour's buffers is touched for the first time
    results = {}
    misses = kind == "misses"
    if misses and not host.cache.get("misses"):  # the neighbour's files, before the disk is slow
        for at in range(4):
            measure.make_file(f"{host.share}/perf-data/f{at:06}", 64 << 20)
        host.cache["misses"] = True
    for name in [f for f in _families(host) if f != "rust"]:
        for label in ("quiet", "noisy"):
            measure.settle()
            with host.attempt(f"{name} {label}"), Throttle(host.share) if misses else contextlib.nullcontext() as slow, \
                    Daemon(host, name, host.share, devices=2) as daemon:
                args = dict(quiet)
                if label == "noisy":
                    args.update(_noisy_args(host, kind, daemon))
                if misses:
                    slow.add(daemon.pids())
                    host.notes["throttled disk"] = slow.how
                with Evictor(f"{host.share}/perf-data" if misses else "/nonexistent"):
                    result = measure.perf(host, ["--socket", daemon.sockets[0]], args)
                latency = result["latency_ns"]
                result.update({f"{p}_ns": latency[p] for p in ("p50", "p99", "p999")})
                result["noise_ops_s"] = result["guests"][-1]["ops_s"] if label == "noisy" else None
                results[name + (" quiet" if label == "quiet" else "")] = result
    return results


def idle(host, case, number):
    """
    A connected guest that says nothing, all processes of the daemon; then a request each 250 ms: how long the one after a
    pause takes.
    """
    results = {}
    for name in _families(host):
        with host.attempt(name):
            with Daemon(host, name, host.share) as daemon:
                used = []

                def look(daemon=daemon, used=used):
                    time.sleep(1.5)
                    used.append((time.monotonic(), daemon.cpu_ns()))
                    time.sleep(2)
                    used.append((time.monotonic(), daemon.cpu_ns()))

                thread = threading.Thread(target=look)
                thread.start()
                with contextlib.suppress(MeasureError):  # nothing to report, and that is meant
                    measure.perf(host, ["--socket", daemon.sockets[0]],
                                 {"workload": "getattr", "rate": 0.1, "files": 2, "time": 3.5, "ramp": 0.5})
                thread.join()
            with Daemon(host, name, host.share) as daemon:
                result = measure.perf(host, ["--socket", daemon.sockets[0]],
                                      {"workload": "getattr", "rate": 4, "time": 3, "ramp": 0.3})
            share = (used[1][1] - used[0][1]) / 1e9 / (used[1][0] - used[0][0])
            results[name] = {**result, "p50_ns": result["latency_ns"]["p50"], "cpu_share": share}
    return results


INODE_FDS_MAX = 1024  # the default of spinfs


def inode_memory(host, case, number):
    """
    What more inodes take from a quarter of them on, when tables of a fixed size are in memory; and all that is taken, by all
    inodes.
    """
    results = {}
    many = min(measure.entries(host), 60000)
    few = many // 4
    for name in _families(host) + ["spinfs-nohandle"]:
        looks = []
        with host.attempt(name):
            for count in (many, 1, few, many):  # the first one makes the files
                with Daemon(host, name, host.share) as daemon:
                    looks.append(measure.perf(host, ["--socket", daemon.sockets[0]],
                                              {"workload": "getattr", "files": count, "time": 0.3, "ramp": 0.1}))
            none, some, full = ({key: look[key] for key in ("daemon_pss_bytes", "daemon_fds")} for look in looks[1:])
            results[name] = {**looks[3], "fds_more": full["daemon_fds"] - none["daemon_fds"] - INODE_FDS_MAX,
                             "bytes_inode": (full["daemon_pss_bytes"] - some["daemon_pss_bytes"]) / (many - few),
                             "bytes_whole": (full["daemon_pss_bytes"] - none["daemon_pss_bytes"]) / many}
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
  --runtime=3 --output-format=terse --terse-version=3 >/tmp/out || exit
awk -F ';' '{ print "value", $8 }' /tmp/out
""",
    "fio-read": """
fio --name=job --filename=/mnt/perf-data/f000000 --size=128m --rw=read --bs=1m --direct=1 --thread --time_based \\
  --runtime=3 --output-format=terse --terse-version=3 >/tmp/out || exit
awk -F ';' '{ print "value", $7 * 1024 }' /tmp/out
""",
    "dbench": """
mkdir -p /mnt/guest
dbench -c /usr/share/dbench/client.txt -D /mnt/guest -t 5 4 >/tmp/out 2>&1 || exit
awk '/^Throughput/ { print "value", $2 }' /tmp/out
""",
    "untar": """
mkdir -p /mnt/guest
begin=$(cut -d ' ' -f 1 /proc/uptime)
tar -C /mnt/guest -xf /mnt/headers.tar && sync || exit
cut -d ' ' -f 1 /proc/uptime | awk -v begin="$begin" '{ print "value", 1 / ($1 - begin) }'
""",
}
GUEST_PROGRAMS = ["fio", "dbench"]


def _guest_values(host, kind, name):
    """All jobs in one boot: {job: value}."""
    script = f"{host.scratch}/guest-script"
    with open(script, "w") as file:
        for job, text in GUEST_SCRIPTS.items():
            file.write("(" + text.replace("value", job) + ")\n")
    shutil.rmtree(f"{host.share}/guest", ignore_errors=True)
    measure.settle()
    with Daemon(host, name, host.share) as daemon:
        with Relay(host, daemon.sockets[0], "bench") if kind == "uml" and name != "spinfs" \
                else contextlib.nullcontext(daemon.sockets[0]) as sock:
            command = [os.path.join(os.path.dirname(__file__), "guest.sh"), kind, sock, str(host.load_cpu), script,
                       *GUEST_PROGRAMS]
            lines = [line.split() for line in measure.run(command, timeout=400).splitlines()]
    return {words[0]: float(words[1]) for words in lines if len(words) == 2 and words[0] in GUEST_SCRIPTS}


def guest(host, case, number):
    """
    The job in a guest on each daemon, by the guest's own clock; all jobs of a guest are done in one boot. User-Mode Linux
    and the peers do not understand each other without a relay, which is not in the path of the data.
    """
    kind, job = case.args["kind"], case.args["job"]
    if not os.path.exists(f"{host.share}/headers.tar"):
        measure.run(["tar", "-C", "/usr/include", "-cf", f"{host.share}/headers.tar", "linux"])
    measure.raw(host, {"workload": "randread", "time": 0.1, "ramp": 0})  # the file is there
    results = {}
    for name in _families(host):
        key = (kind, number, name)
        with host.attempt(name):
            if key not in host.cache:
                host.cache[key] = {}
                host.cache[key] = _guest_values(host, kind, name)
            if job not in host.cache[key]:
                raise MeasureError("the guest printed no value")
            results[name] = {"value": host.cache[key][job]}
    return results
