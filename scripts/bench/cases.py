# SPDX-License-Identifier: BSD-3-Clause
"""The cases: what is measured on whom, and what should come out."""

from dataclasses import dataclass, field

import daemons
import measure
import special


@dataclass
class Target:
    """
    above / below, each ("who", "metric"); who is a daemon, "raw", or "peer": the best of the peers. Without below, above
    itself. Without a limit the figure is only reported.
    """
    label: str
    above: tuple
    below: tuple = None
    sense: str = ">="
    limit: float = None


@dataclass
class Case:
    name: str
    title: str
    run: object                       # run(host, case, number of the round): {daemon: {metric: value}}
    metric: str = "ops_s"
    unit: str = "ops/s"
    targets: list = field(default_factory=list)
    quick: bool = False
    args: dict = field(default_factory=dict)
    raw_args: dict = None             # None: no bare loop
    raw_more: dict = field(default_factory=dict)  # further bare loops, by their names: the calls of another way
    variants: tuple = ("spinfs", "peers")
    cold: bool = False
    changes: bool = False             # files are made, renamed and removed
    metric_lower: bool = False        # less is better
    rounds_max: int = 1000
    plot: str = None
    round_s: float = None             # how long a round takes, where that does not follow from the variants


def chosen(host, case):
    """The variants that this run has; with --quick only one setting of each daemon."""
    names = []
    for variant in case.variants:
        if host.quick and variant in ("pools", "spinfs-libaio", "spinfs-workers"):
            continue
        if variant == "peers":
            names += [f for f in ("c", "rust") if f in host.peers]
        elif variant == "pools":
            names += [v for v in daemons.peers_of(host) if v.endswith("64")]
        else:
            names.append(variant)
    return names


MEASUREMENT_S = 0.25  # what a measurement takes beside its window: a daemon's start, files, the disk's peace


def estimate(host, case, rounds):
    """Seconds that a case is going to take, roughly."""
    rounds = min(rounds, case.rounds_max)
    if case.round_s is not None:
        return rounds * case.round_s
    runs = len(chosen(host, case)) + len(raw_loops(case))
    window = host.ramp_s + case.args.get("time", host.time_s)
    return rounds * runs * (window + MEASUREMENT_S) + 2


def raw_loops(case):
    return {**({} if case.raw_args is None else {"raw": case.raw_args}), **case.raw_more}


def perf_case(host, case, number):
    """All daemons once, each round beginning with another one, and the bare loops among them."""
    bare = raw_loops(case)
    names = chosen(host, case) + list(bare)
    names = names[number % len(names):] + names[:number % len(names)]
    folder = host.changing if case.changes else host.share
    results = {}
    for name in names:
        if case.cold:
            measure.drop_caches(host)
        else:
            measure.settle()
        if name in bare:
            results[name] = measure.raw(host, bare[name], folder)
            continue
        with host.attempt(name), daemons.Daemon(host, name, folder) as daemon:
            results[name] = measure.perf(host, ["--socket", daemon.sockets[0]], case.args)
    if number == 0 and not case.cold:
        args = {k: v for k, v in case.args.items() if k not in ("rate", "ops")}
        results["loopback"] = measure.perf(host, ["--loopback"], args)
    for result in results.values():
        result.update(derived(result, case))
    compare_raw(host, results)
    return results


def compare_raw(host, results):
    """What follows from a daemon's figures and the bare loop's together."""
    raw = results.get("raw")
    if not raw or not raw["op_ns"]:
        return
    # The last of those in flight waits for the others, and one of them, or itself, may be the slow one.
    for result in results.values():
        result["tail_allowed_ns"] = raw["p999_ns"] + (result["iodepth"] - 1) * raw["op_ns"]
        if "cpu_ns_op" in result and result is not raw:
            result["own_cycles"] = (result["cpu_ns_op"] - raw["op_ns"]) * host.tsc_mhz / 1e3


def derived(result, case):
    """Figures that follow from a result: what one operation costs, and the tail in medians."""
    latency = result["latency_ns"]
    values = {"p50_ns": latency["p50"], "p99_ns": latency["p99"], "p999_ns": latency["p999"]}
    values["op_ns"] = 1e9 / result["ops_s"] if result["ops_s"] else None
    if result["daemon_cpu_s"] and result["ops"]:
        values["cpu_ns_op"] = result["daemon_cpu_s"] * 1e9 / result["ops"]
    if "files" in case.args:
        values["entries_s"] = result["ops_s"] * case.args["files"]
    values["interrupts_op"] = result["interrupts"] / max(result["ops"], 1)
    return values


def of_raw(limit, metric="ops_s"):
    return Target("of the bare core", ("spinfs", metric), ("raw", metric), ">=", limit)


def of_peer(limit, metric="ops_s"):
    return Target("of the best peer", ("spinfs", metric), ("peer", metric), ">=", limit)


def data(workload, bs, depth, direct=False, **more):
    args = {"workload": workload, "bs": bs, "iodepth": depth, "size": "256M", **more}
    if direct:
        args["direct"] = True
    return args


def names(workload, depth, **more):
    return {"workload": workload, "iodepth": depth, **more}


EVERY = ("spinfs", "peers", "pools")
ENGINES = ("spinfs", "spinfs-libaio", "spinfs-workers", "peers", "pools")


def perf(name, title, args, raw_args=None, targets=(), **more):
    return Case(name, title, perf_case, args=args, raw_args=raw_args, targets=list(targets), **more)


def limit_of(label, metric, limit, who="spinfs"):
    return Target(label, (who, metric), None, "<=", limit)


def bare_of_peer(metric="ops_s", who="raw", label="the bare core of the best peer"):
    """What a daemon that answers from the filesystem each time cannot be above."""
    return Target(label, (who, metric), ("peer", metric))


def unpinned(args):
    """The bare core with buffers that are not registered, as a guest's memory is not: all of it would be pinned."""
    return {"raw-unpinned": {**args, "io_uring": True, "unpinned": True}}


def factor(metric="ops_s"):
    return Target("of the best peer", ("spinfs", metric), ("peer", metric))


def data_cases():
    sync_read, uring = data("randread", 4096, 1), {"io_uring": True}
    lower = {"metric": "p50_ns", "unit": "ns", "metric_lower": True}
    of_pinned = Target("of the bare core, the guest's memory pinned, too", ("spinfs-pinned", "ops_per_cpu_s"),
                       ("raw", "ops_per_cpu_s"), ">=", 0.90)
    of_unpinned = Target("of the bare core without registered buffers", ("spinfs", "ops_per_cpu_s"),
                         ("raw-unpinned", "ops_per_cpu_s"))
    return [
        perf("randread-32", "4 KiB cached randread, 32 in flight (P3, P11)",
             data("randread", 4096, 32, histogram=True), sync_read,
             [of_raw(0.90), of_peer(1.5),
              Target("p99.9 of a queue of 32 before the bare loop", ("spinfs", "p999_ns"), ("raw-queue", "p999_ns"), "<=", 1.5),
              Target("p99.9 of the bare loop's p99.9 and 31 mean times", ("spinfs", "p999_ns"),
                     ("spinfs", "tail_allowed_ns")),
              limit_of("own TSC cycles a read, system call excluded", "own_cycles", 250)],
             raw_more={"raw-queue": data("randread", 4096, 32)}, variants=ENGINES, quick=True),
        perf("randread-128", "4 KiB cached randread, 128 in flight (P4)", data("randread", 4096, 128), sync_read,
             [of_raw(0.92), factor()], variants=EVERY, quick=True),
        perf("randread-1", "4 KiB cached randread, 1 in flight: median (P1, P2)",
             data("randread", 4096, 1, histogram=True), sync_read,
             [Target("of the bare call's cost", ("spinfs", "p50_ns"), ("raw", "op_ns"), "<=", 1.85), factor("p50_ns"),
              Target("p99.9 of its own median", ("spinfs", "p999_ns"), ("spinfs", "p50_ns"), "<=", 4)],
             variants=EVERY, quick=True, **lower),
        perf("getattr-1", "getattr, 1 in flight: median", names("getattr", 1), names("getattr", 1), [factor("p50_ns")],
             quick=True, **lower),
        Case("nosyscall-1", "a request that needs no system call, 1 in flight: median (getattr of the driver mem)",
             special.no_system_call, quick=True, round_s=3,
             targets=[limit_of("median, ns", "p50_ns", 800),
                      Target("of a device that answers at once", ("spinfs", "p50_ns"), ("loopback", "p50_ns"))], **lower),
        perf("read-1m", "1 MiB sequential read, 4 in flight (P6)", data("read", "1M", 4), data("read", "1M", 1),
             [of_raw(0.95, "bytes_s"), of_peer(1.0, "bytes_s")], metric="bytes_s", unit="B/s", variants=EVERY,
             quick=True),
        perf("randwrite-32", "4 KiB buffered randwrite, 32 in flight (P7)", data("randwrite", 4096, 32),
             data("randwrite", 4096, 1), [of_raw(0.90), of_peer(1.2)], variants=ENGINES, quick=True),
        perf("direct-read-32", "O_DIRECT 4 KiB randread, 32 in flight (P5)", data("randread", 4096, 32, True),
             {**data("randread", 4096, 32, True), **uring},
             [of_raw(0.90, "ops_per_cpu_s"), of_pinned, of_unpinned,
              Target("of the bare core, operations a second", ("spinfs", "ops_s"), ("raw", "ops_s"))],
             raw_more=unpinned(data("randread", 4096, 32, True)), variants=(*ENGINES, "spinfs-pinned"), quick=True),
        perf("direct-write-32", "O_DIRECT 4 KiB randwrite, 32 in flight", data("randwrite", 4096, 32, True),
             {**data("randwrite", 4096, 32, True), **uring}, [of_raw(0.90, "ops_per_cpu_s"), of_pinned, of_unpinned],
             raw_more=unpinned(data("randwrite", 4096, 32, True)), variants=(*ENGINES, "spinfs-pinned")),
        perf("cold-read-32", "4 KiB randread of a cold file, 32 in flight", data("randread", 4096, 32),
             {**data("randread", 4096, 32), **uring}, [factor()], variants=ENGINES, cold=True),
        perf("fsync-8", "4 KiB write and fdatasync, 8 in flight", data("fsync", 4096, 8), data("fsync", 4096, 1),
             [factor()], variants=EVERY),
        perf("mixed-32", "4 KiB 70/30 mix, 32 in flight", data("mixed", 4096, 32), data("mixed", 4096, 1), [factor()],
             rounds_max=5),
    ]


def name_cases():
    return [
        perf("getattr-32", "getattr, 32 in flight (P8)", names("getattr", 32), names("getattr", 1),
             [of_peer(2.0), bare_of_peer()],
             variants=EVERY, quick=True),
        perf("lookup-32", "lookup of known names, 32 in flight (P8)", names("lookup", 32), names("lookup", 1),
             [of_peer(2.5), bare_of_peer()], variants=EVERY, quick=True),
        perf("lookupforget-32", "lookup, each forgotten to zero, 32 in flight (P8)", names("lookupforget", 32),
             names("lookup", 1), [of_peer(2.0)], variants=EVERY),
        perf("open-32", "open + flush + release, 32 in flight", names("open", 32), names("open", 1),
             [of_peer(2.5), bare_of_peer(),
              bare_of_peer(who="raw-handle", label="open_by_handle_at and close of the best peer")],
             raw_more={"raw-handle": names("open-handle", 1)}, variants=EVERY, quick=True),
        perf("visit-32", "lookup + open + getattr + flush + release + forget, 32 in flight", names("visit", 32),
             names("visit", 1), [factor()]),
        perf("create-32", "create + flush + release + unlink + forget, 32 in flight (P9)", names("create", 32),
             names("create", 1),
             [of_raw(0.85), of_peer(4.0), bare_of_peer(),
              Target("the bare core with attributes and file handle, 32 files at a time, of the bare core",
                     ("raw-entry", "ops_s"), ("raw", "ops_s")),
              bare_of_peer(who="raw-entry", label="the same of the best peer")],
             raw_more={"raw-entry": names("create-entry", 32)}, variants=ENGINES, quick=True, changes=True),
        perf("rename-32", "rename there and back, 32 in flight", names("rename", 32), names("rename", 1), [factor()],
             changes=True),
        perf("smallfiles-16", "small files' whole lives, 16 in flight", names("smallfiles", 16), names("smallfiles", 1),
             [factor()], changes=True),
        perf("untar-8", "untar of a tree of headers, 8 in flight", names("untar", 8), names("untar", 1), [factor()],
             changes=True),
        Case("readdirplus-cold", "readdirplus of 100,000 entries, first listing (P10)", special.listing_cold,
             metric="entries_s", unit="entries/s", round_s=10,
             targets=[of_peer(2.0, "entries_s"), bare_of_peer("entries_s")]),
        Case("readdirplus-known", "readdirplus of 100,000 known entries (P10)", special.listing_known,
             metric="entries_s", unit="entries/s", round_s=14,
             targets=[of_peer(3.0, "entries_s"), bare_of_peer("entries_s")]),
    ]


def shared_cases():
    """What many queues, reactors and guests do to each other."""
    return [
        Case("queues-8", "8 queues on one reactor against 1", special.queues, variants=("spinfs",), round_s=4,
             targets=[Target("of one queue", ("8 queues", "ops_s"), ("1 queue", "ops_s"), ">=", 0.95)]),
        Case("reactors-2", "2 queues on 2 reactors, by operations per CPU second", special.reactors, round_s=4,
             metric="ops_per_cpu_s", unit="ops/CPU s",
             targets=[Target("of one reactor", ("2 reactors", "ops_per_cpu_s"), ("1 reactor", "ops_per_cpu_s"),
                             ">=", 0.90)]),
        Case("guests-16", "16 guests on one reactor: slowest of fastest (P16)", special.guests_16, metric="fairness",
             unit="", targets=[Target("slowest of fastest", ("spinfs", "fairness"), None, ">=", 0.85)], round_s=4),
        *[Case(f"noisy-{kind}", title, special.noisy, args={"kind": kind}, metric=metric, unit="ns", metric_lower=True,
               targets=[Target("of quiet", ("spinfs", metric), ("spinfs quiet", metric), "<=", limit),
                        Target("the same for C", ("c", metric), ("c quiet", metric))], round_s=9)
          for kind, title, metric, limit in special.NOISE],
    ]


def cost_cases():
    """What a daemon takes."""
    return [
        Case("counters", "eventfd reads while it polls (P13), bytes copied (P6)", special.counters,
             metric="eventfd_reads", unit="", metric_lower=True, rounds_max=3, round_s=4,
             targets=[limit_of("eventfd reads, 32 in flight", "eventfd_reads", 0),
                      limit_of("bytes copied by the daemon, 1 MiB reads", "bytes_copied", 0, "spinfs read-1m"),
                      limit_of("bytes copied by the daemon, 1 MiB writes", "bytes_copied", 0, "spinfs write-1m")]),
        Case("syscalls", "system calls a request, O_DIRECT reads, 32 in flight (P12)", special.system_calls,
             metric="calls_op", unit="calls", metric_lower=True, rounds_max=1, round_s=14,
             targets=[limit_of("system calls a request", "calls_op", 0.1), limit_of("the bare loop's", "calls_op", None, "raw")]),
        perf("interrupts-32", "interrupts a request, 32 in flight (P13)", data("randread", 4096, 32, completion="irq"),
             None, [limit_of("interrupts a request", "interrupts_op", 0.125)],
             metric="interrupts_op", unit="calls", metric_lower=True, rounds_max=3),
        Case("idle", "idle in adaptive mode: CPU, and the first request (P19)", special.idle, metric="p50_ns",
             unit="ns", metric_lower=True, round_s=24,
             targets=[limit_of("share of a core, all processes, a silent guest", "cpu_share", 0.01),
                      Target("first request of C's", ("spinfs", "p50_ns"), ("c", "p50_ns"), "<=", 1.2)]),
        Case("lost-kicks", "a million requests, each of which finds the reactor asleep: lost ones (P19)",
             special.lost_kicks, metric="lost", unit="", metric_lower=True, rounds_max=1, round_s=40,
             targets=[limit_of("lost kicks", "lost", 0), Target("sleeps", ("spinfs", "sleeps"), None)]),
        Case("inode-memory", "memory and descriptors a cached inode (P20)", special.inode_memory, metric="bytes_inode",
             unit="bytes", metric_lower=True, rounds_max=3, round_s=10,
             targets=[limit_of("bytes an inode, with file handle", "bytes_inode", 256),
                      limit_of("bytes an inode, without", "bytes_inode", 160, "spinfs-nohandle"),
                      Target("bytes an inode, tables of a fixed size included", ("spinfs", "bytes_whole")),
                      limit_of("descriptors beyond inode_fds_max", "fds_more", 0)]),
        Case("start", "start: socket ready, first reply, resident memory (P21)", special.start, metric="ready_ms",
             unit="ms", metric_lower=True, rounds_max=5, quick=True, round_s=4,
             targets=[limit_of("ready, ms", "ready_ms", 200), limit_of("connect to first reply, ms", "reply_ms", 20),
                      limit_of("resident idle, MiB (proportional set of all processes)", "resident_mib", 16)]),
    ]


def all_cases():
    sync_read = data("randread", 4096, 1)
    return [
        *data_cases(), *name_cases(), *shared_cases(), *cost_cases(),
        *[perf(f"depth-{depth}", f"4 KiB cached randread, {depth} in flight", data("randread", 4096, depth), sync_read,
               plot="depth", rounds_max=3) for depth in (2, 4, 8, 16, 64)],
        *[perf(f"block-{bs}", f"{bs} random reads, 16 in flight", data("randread", bs, 16), data("randread", bs, 1),
               metric="bytes_s", unit="B/s", plot="block", rounds_max=3) for bs in ("4K", "16K", "64K", "256K", "1M")],
        *[Case(f"guest-{kind}-{job}", f"{what} in a guest ({kind})", special.guest, args={"kind": kind, "job": job},
               metric="value", unit=unit, rounds_max=rounds, targets=[factor("value")],
               round_s=round_s / len(special.GUEST_JOBS))
          for kind, rounds, round_s in (("uml", 5, 50), ("qemu", 5, 70))
          for job, what, unit in special.GUEST_JOBS],
    ]
