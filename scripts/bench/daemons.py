# SPDX-License-Identifier: BSD-3-Clause
"""The daemons that are compared, each started afresh for each measurement and pinned to its CPUs."""

import contextlib
import glob
import json
import os
import signal
import subprocess
import time

from measure import MeasureError


def _spinfs(host, sock, share, engine="auto", reactors=None, handles="prefer", pinned=False, **_):
    cpus = reactors or str(host.daemon_cpu)
    return [f"{host.build}/app/spinfsd/spinfsd", "--socket-path", sock, "--shared-dir", share, "--tag", "bench",
            "--sandbox", "none", "--seccomp", "none", "--allow-direct-io", "--cpus", cpus, "--engine", engine,
            "--request-queues", "8", "--inode-file-handles", handles, "--log-level", "warn",
            "--control-socket", sock + ".ctl", *(["--pin-memory"] if pinned else [])]


def _c(host, sock, share, pool=0, **_):
    return ["/usr/lib/qemu/virtiofsd", f"--socket-path={sock}", f"--thread-pool-size={pool}", "-f",
            "-o", f"source={share},cache=auto,sandbox=chroot,allow_direct_io,log_level=err"]


def _rust(host, sock, share, pool=0, **_):
    root = f"{host.build}/bench-peers/rust"
    libraries = glob.glob(f"{root}/usr/lib/*-linux-gnu")[0]
    loader = glob.glob(f"{libraries}/ld-linux-*.so.*")[0]
    return [loader, "--library-path", libraries, f"{root}/usr/libexec/virtiofsd", "--socket-path", sock,
            "--shared-dir", share, "--tag", "bench", "--cache", "auto", "--sandbox", "none", "--seccomp", "none",
            "--allow-direct-io", "--thread-pool-size", str(pool), "--log-level", "error"]


# name: command, its settings
VARIANTS = {
    "spinfs": (_spinfs, {}),
    "spinfs-libaio": (_spinfs, {"engine": "libaio"}),
    "spinfs-workers": (_spinfs, {"engine": "workers"}),
    "spinfs-pinned": (_spinfs, {"pinned": True}),
    "spinfs-nohandle": (_spinfs, {"handles": "never"}),
    "c": (_c, {"pool": 0}),
    "c-pool64": (_c, {"pool": 64}),
    "rust": (_rust, {"pool": 0}),
    "rust-pool64": (_rust, {"pool": 64}),
}


def family(variant):
    return variant.split("-")[0]


def peers_of(host):
    return [v for v in VARIANTS if family(v) in host.peers]


def _wait_socket(process, sockets, log):
    deadline = time.monotonic() + 20
    while not all(os.path.exists(s) for s in sockets):
        if process.poll() is not None or time.monotonic() > deadline:
            with open(log, errors="replace") as text:
                raise MeasureError(f"did not start: {text.read()[-400:]}")
        time.sleep(0.002)


def cpu_ns(pid):
    """What all threads of a process have used, by its CPU-time clock (see clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2)


class Throttle:
    """A control group whose reads of the disk below @folder are slow. @how says which kind, or why there is none."""

    READS_S = 400

    def __init__(self, folder):
        device = os.stat(folder).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        self.group, self.how = None, "not slowed down, no control group here can"
        if os.path.exists(f"/sys/dev/block/{number}/partition"):  # limits are for whole disks
            with open(f"/sys/dev/block/{number}/../dev") as text:
                number = text.read().strip()
        for how, root, file, line in (
                ("io.max", "/sys/fs/cgroup", "io.max", f"{number} riops={self.READS_S}"),
                ("blkio.throttle", "/sys/fs/cgroup/blkio", "blkio.throttle.read_iops_device",
                 f"{number} {self.READS_S}")):
            if self._make(f"{root}/spinfs-bench-{os.getpid()}", file, line):
                self.how = f"{how}, {self.READS_S} reads a second"
                break

    def _make(self, group, file, line):
        if not os.path.exists(f"{os.path.dirname(group)}/cgroup.procs"):
            return False
        try:
            os.mkdir(group)
            with open(f"{group}/{file}", "r+") as limit:
                limit.write(line)
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(group)
            return False
        self.group = group
        return True

    def add(self, pids):
        for pid in pids if self.group else []:
            with open(f"{self.group}/cgroup.procs", "w") as file:
                file.write(str(pid))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(100 if self.group else 0):  # the last process may not be gone yet
            with contextlib.suppress(OSError):
                os.rmdir(self.group)
                break
            time.sleep(0.02)


class Daemon:
    """
    A running daemon: with Daemon(host, "c", share) as d: ... d.sockets[0]. @config: keys of a device of spinfs, for what has
    no option; @reactor: keys of its reactor.
    """

    def __init__(self, host, variant, share, devices=1, cpus=None, config=None, reactor=None, **settings):
        self.host, self.variant, self.share, self.devices = host, variant, share, devices
        self.config, self.reactor = config, reactor
        self.cpus = str(host.daemon_cpu) if cpus is None else cpus
        self.settings = settings
        self.processes, self.sockets = [], []

    def _start(self, command, sockets):
        environment = dict(os.environ, MALLOC_ARENA_MAX="1")
        log = f"{self.host.scratch}/daemon.log"
        with open(log, "w") as output:
            process = subprocess.Popen(["numactl", f"--physcpubind={self.cpus}", "--localalloc"] + command,
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        self.processes.append(process)
        _wait_socket(process, sockets, log)

    def _config(self):
        """One spinfs with several devices on one reactor, or with what has no option."""
        path = f"{self.host.scratch}/spinfsd.json"
        device = self.config or {"fs": {"driver": "passthrough", "options": {"shared_dir": self.share}}}
        with open(path, "w") as file:
            json.dump({"version": 1, "sandbox": "none", "seccomp": "none",
                       "control_socket": self.sockets[0] + ".ctl", "log": {"level": "warn"},
                       "reactors": [{"name": "r0", "cpu": self.host.daemon_cpu, **(self.reactor or {})}],
                       "devices": [{"tag": f"bench{i}", "socket": {"path": s}, **device}
                                   for i, s in enumerate(self.sockets)]}, file)
        return path

    def __enter__(self):
        command, defaults = VARIANTS[self.variant]
        settings = {**defaults, **self.settings}
        self.host.serial += 1
        self.sockets = [f"{self.host.scratch}/s{self.host.serial}-{i}" for i in range(self.devices)]
        self.began = time.monotonic()
        try:
            if family(self.variant) == "spinfs" and (self.devices > 1 or self.config or self.reactor):
                self._start([f"{self.host.build}/app/spinfsd/spinfsd", "--config", self._config()], self.sockets)
            else:  # the peers serve one guest a process
                for sock in self.sockets:
                    self._start(command(self.host, sock, self.share, **settings), [sock])
        except BaseException:
            self.__exit__()
            raise
        self.ready_s = time.monotonic() - self.began
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for sock in self.sockets:
            for path in (sock, sock + ".ctl", sock + ".pid"):
                if os.path.exists(path):
                    os.unlink(path)

    def stats(self):
        """Counters of spinfs."""
        done = subprocess.run([f"{self.host.build}/app/spinfs-ctl/spinfs-ctl", "--socket", self.sockets[0] + ".ctl",
                               "stats", "--json"], capture_output=True, text=True, timeout=10, check=True)
        return json.loads(done.stdout)

    def pids(self):
        """The daemon's processes and their children."""
        found, todo = [], [p.pid for p in self.processes]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for path in glob.glob(f"/proc/{pid}/task/*/children"):
                with open(path) as text:
                    todo += [int(word) for word in text.read().split()]
        return found

    def cpu_ns(self):
        return sum(cpu_ns(pid) for pid in self.pids())

    def pss_bytes(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as text:
                total += sum(int(line.split()[1]) << 10 for line in text if line.startswith("Pss:"))
        return total
