# SPDX-License-Identifier: BSD-3-Clause
"""The machine, and one run of spinfs-perf on it."""

import contextlib
import json
import os
import platform
import resource
import subprocess
import time


PREPARATION_S = 60  # files are made, queues drain: longer only where a daemon hangs


class MeasureError(Exception):
    pass


class Host:
    """What a run goes by: folders, CPUs, durations."""

    def __init__(self, build, scratch, peers, daemon_cpu, load_cpu, quick, time_s=None):
        self.build, self.scratch, self.peers = build, scratch, peers
        self.daemon_cpu, self.load_cpu, self.quick = daemon_cpu, load_cpu, quick
        self.serial = 0
        self.failures = []
        self.notes = {}  # what a reader of the results should know
        self.tsc_mhz = tsc_mhz()
        self.time_s, self.ramp_s = (0.5, 0.2) if quick else (1.0, 0.25)
        if time_s:
            self.time_s, self.ramp_s = time_s, min(time_s / 2, 0.25)
        self.short = time_s is not None and time_s < 0.5  # whether it works, not how fast: less of everything
        self.cache = {}  # of cases that are measured together
        self.perf = f"{build}/app/spinfs-perf/spinfs-perf"
        self.share = f"{scratch}/share"
        os.makedirs(self.share, exist_ok=True)
        self.changing = self.share  # where files are made, renamed and removed

    @contextlib.contextmanager
    def attempt(self, name):
        """What goes wrong with one daemon is noted, and the others are measured."""
        try:
            yield
        except Exception as error:  # whatever it is: an hour's figures are not lost for one of them
            what = "" if isinstance(error, MeasureError) else f"{type(error).__name__}: "
            self.failures.append(f"{name}: {what}{str(error).strip()[-300:]}")

    def round_trip(self):
        """Between the two CPUs. A hypervisor moves them: two that share a cache now may not in a minute."""
        return json.loads(run([self.perf, "--round-trip", "--cpus", str(self.load_cpu), "--daemon-cpus",
                               str(self.daemon_cpu)]))

    def describe(self, root):
        with open("/proc/cpuinfo") as text:
            model = next((line.split(":")[1].strip() for line in text if line.startswith("model name")),
                         platform.machine())
        commit = run(["git", "-C", root, "describe", "--always", "--dirty"], check=False).strip()
        filesystem = run(["stat", "-f", "-c", "%T", self.share]).strip()
        return {"kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(), "commit": commit,
                "filesystem": filesystem, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "daemon_cpu": self.daemon_cpu, "load_cpu": self.load_cpu, "tsc_mhz": self.tsc_mhz,
                "load_average": os.getloadavg()[0], **self.round_trip()}


def entries(host):
    """Files of the cases with many: a peer needs a descriptor for each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(5000 if host.short else 100000, limit * 3 // 4)


def tsc_mhz():
    with open("/proc/cpuinfo") as text:
        for line in text:
            if line.startswith("bogomips"):
                return float(line.split(":")[1]) / 2
    return 0.0


def run(command, check=True, timeout=300):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                          check=False)
    if check and done.returncode:
        raise MeasureError((done.stderr or done.stdout).strip()[-300:])
    return done.stdout


def options(args):
    """{"bs": 4096, "direct": True} as words of a command line."""
    words = []
    for key, value in args.items():
        for one in value if isinstance(value, list) else [value]:
            words.append("--" + key.replace("_", "-"))
            if one is not True:
                words.append(str(one))
    return words


def perf(host, target, args, cpu=None, under=()):
    """Runs spinfs-perf: @target is ["--socket", ...], ["--raw", ...] or ["--loopback"]; @under: a program that runs it. Its result."""
    merged = {"time": host.time_s, "ramp": host.ramp_s, "cpus": host.load_cpu if cpu is None else cpu, **args}
    command = ["numactl", f"--physcpubind={merged['cpus']}", "--localalloc", *under, host.perf, *target,
               *options(merged), "--json", "-"]
    if target == ["--loopback"]:
        command = [host.perf, *target, *options({**merged, "daemon_cpus": host.daemon_cpu}), "--json", "-"]
    return json.loads(run(command, timeout=merged["time"] + merged["ramp"] + PREPARATION_S))


def raw(host, args, folder=None, under=()):
    """The bare core: the daemon's CPU, the same files."""
    return perf(host, ["--raw", folder or host.share], args, host.daemon_cpu, under)


def settle():
    """What an earlier run wrote is on the disk, so that it does not get there during this one."""
    os.sync()


def drop_caches(host):
    settle()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
    except OSError:
        evict(f"{host.share}/perf-data")


def evict(folder):
    """Drops the pages of the folder's files from the page cache."""
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        fd = os.open(f"{folder}/{name}", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def warm(host):
    """Reads the files of data once."""
    folder = f"{host.share}/perf-data"
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        with open(f"{folder}/{name}", "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def make_file(path, size):
    """A file of data of at least @size bytes."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "ab") as file:
        while file.tell() < size:
            file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
