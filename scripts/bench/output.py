# SPDX-License-Identifier: BSD-3-Clause
"""Tables and plots of what was measured."""

import os
import subprocess

from daemons import family
from stats import SPREAD_MAX, Sample, paired, quartile, ratio

LOSS_MAX = 0.05  # against an earlier run
CPUS = "cpus"    # whose round trip a record has, in place of a daemon


def number(value):
    if value is None:
        return "-"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[unit]:.3g} {unit}"
    return f"{value:.4g}"


def sample(records, case, daemon, metric):
    return Sample([r.get(metric) for r in records if r["case"] == case.name and r["daemon"] == daemon])


def daemons_of(records, case):
    seen = []
    for record in records:
        if record["case"] == case.name and record["daemon"] not in (CPUS, *seen):
            seen.append(record["daemon"])
    return sorted(seen, key=lambda name: (name.startswith(("raw", "loopback")), not name.startswith("spinfs"), name))


def medians(records, case):
    table = {}
    for daemon in daemons_of(records, case):
        values = sample(records, case, daemon, case.metric)
        if values:
            table[daemon] = values
    return table


def by_round(records, case, daemon, metric):
    return {r["round"]: r.get(metric) for r in records if r["case"] == case.name and r["daemon"] == daemon}


def resolve(records, case, who):
    """The daemon that "peer" and the like stand for: with "peer" the best of the peers."""
    name, metric = who
    if name != "peer":
        return name
    peers = [d for d in daemons_of(records, case) if family(d) in ("c", "rust")]
    found = [(sample(records, case, d, metric).median, d) for d in peers if sample(records, case, d, metric)]
    lower = metric.endswith("_ns")
    return (min if lower else max)(found)[1] if found else "no peer"


def shown(records, case, name, metric):
    values = sample(records, case, name, metric)
    if not values:
        return "-"
    return f"{values.median / 1000:.4g} us" if metric.endswith("_ns") else number(values.median)


def judge(records, case, target):
    """What a target came to: a dictionary of words for a table, and "refused", "met", "missed", "reported" or "-"."""
    name = resolve(records, case, target.above)
    row = {"label": target.label, "of": shown(records, case, name, target.above[1]), "against": "", "value": "-"}
    sense = {">=": "at least", "<=": "at most"}[target.sense]
    row["target"] = "" if target.limit is None else f"{sense} {target.limit:g}"
    if target.below is None:
        values = sample(records, case, name, target.above[1])
        value = values.median if values else None
        row["value"] = "not measured" if value is None else number(value)
        if values and target.limit is not None and on_both_sides(values, target):
            value, row["value"] = None, f"refused: {row['value']} with a spread of {values.spread:.0%}"
    else:
        other = resolve(records, case, target.below)
        row["against"] = f"{other}: {shown(records, case, other, target.below[1])}"
        values, why = paired(by_round(records, case, name, target.above[1]),
                             by_round(records, case, other, target.below[1]))
        value = None if why else values.median
        row["value"] = why or f"{value:.3g}"
    if value is None:
        row["verdict"] = "refused" if row["value"].startswith("refused") else "-"
    elif target.limit is None:
        row["verdict"] = "reported"
    else:
        row["verdict"] = "met" if meets(value, target) else "MISSED"
    return row


def meets(value, target):
    return value >= target.limit if target.sense == ">=" else value <= target.limit


def on_both_sides(values, target):
    """Too unsteady for a verdict: a figure that nothing is divided by may spread, but not over its limit."""
    return not values.steady and meets(quartile(values.values, 0.25), target) != meets(quartile(values.values, 0.75),
                                                                                       target)


def refused(records, case):
    return any(judge(records, case, target)["verdict"] == "refused" for target in case.targets)


TARGET_HEAD = ["measure | value | ours | against | target | ", "---|---|---|---|---|---|"]


def target_row(row):
    return f"{row['label']} | {row['value']} | {row['of']} | {row['against']} | {row['target']} | {row['verdict']} |"


def summary(cases, records):
    """Every target of the run in one table."""
    rows = [(case, judge(records, case, target)) for case in cases for target in case.targets]
    count = {verdict: sum(row["verdict"] == verdict for _, row in rows)
             for verdict in ("met", "MISSED", "refused", "reported", "-")}
    lines = ["\n## Targets\n",
             f"{count['met']} met, {count['MISSED']} missed, {count['refused']} refused (the ratios of the rounds spread over "
             f"more than {SPREAD_MAX:.0%} of their median), {count['reported']} reported without a target, {count['-']} not "
             "measured.\n", "| case | " + TARGET_HEAD[0] + "|", "|---|" + TARGET_HEAD[1]]
    return lines + [f"| {case.name} | {target_row(row)}" for case, row in rows]


def case_rows(records, case, problem):
    lines = [f"\n### {case.name}: {case.title}\n"]
    if problem:
        lines.append(f"Not complete: {problem}\n")
    table = medians(records, case)
    if not table:
        return lines
    lines += [f"| daemon | {case.unit or case.metric} | rounds | spread | p50 us | p99 us | p99.9 us | ops per CPU s |",
              "|---|---|---|---|---|---|---|---|"]
    for daemon, values in table.items():
        latency = [sample(records, case, daemon, key) for key in ("p50_ns", "p99_ns", "p999_ns")]
        cpu = sample(records, case, daemon, "ops_per_cpu_s")
        steady = "" if values.steady else f" (over {SPREAD_MAX:.0%})"
        lines.append(f"| {daemon} | {number(values.median)} | {len(values.values)} | {values.spread:.0%}{steady} | "
                     + " | ".join(f"{s.median / 1000:.2f}" if s else "-" for s in latency)
                     + f" | {number(cpu.median) if cpu else '-'} |")
    trips = sample(records, case, CPUS, "spin_round_trip_ns").values
    if trips:
        lines.append(f"\nFrom one CPU's cache to the other's and back before each round: {min(trips)} to {max(trips)} ns.")
    if case.targets:
        lines += ["", "| " + TARGET_HEAD[0] + "|", "|" + TARGET_HEAD[1]]
    return lines + ["| " + target_row(judge(records, case, target)) for target in case.targets]


def about(host):
    """What was measured where, and how the figures are to be read."""
    trip = host["eventfd_round_trip_ns"] / 1000
    text = (f"{host['cpu']}, {host['cpus']} CPUs, Linux {host['kernel']}, {host['filesystem']}, commit {host['commit']}, "
            f"{host['date']}. Round trip between the two CPUs: {trip:.1f} us by an eventfd, "
            f"{host.get('spin_round_trip_ns', 0)} ns through a cache line that both look at. Medians over the rounds; spread is "
            "the interquartile range as a share of the median. A ratio is the median of the rounds' ratios, and refused where "
            f"these spread over more than {SPREAD_MAX:.0%} of it. \"raw\" is the bare core, \"loopback\" the ceiling of the "
            "load generator. `inline_blocking` is auto in every row, `idle` adaptive with its 50 us of spinning (without "
            "in lost-kicks), and all that is not named has its default.")
    return text + "".join(f"\n\n{what.capitalize()}: {how}." for what, how in host.get("notes", {}).items())


def markdown(host, cases, records, problems):
    lines = ["# Results\n", about(host)]
    lines += summary(cases, records)
    for case in cases:
        lines += case_rows(records, case, problems.get(case.name))
    return "\n".join(lines) + "\n"


def comparison(cases, old, new):
    """A table against an earlier run, and whether anything of ours lost more than LOSS_MAX."""
    lines = ["\n## Against the earlier run\n", "| case | daemon | then | now | ratio | |", "|---|---|---|---|---|---|"]
    worse = False
    for case in cases:
        for daemon, now in medians(new, case).items():
            then = sample(old, case, daemon, case.metric)
            value, why = ratio(now, then)
            if why:
                verdict, shown = "", why
            else:
                loss = value - 1 if case.metric_lower else 1 - value
                lost = loss > LOSS_MAX and daemon.startswith("spinfs")
                worse |= lost
                verdict, shown = "LOSS" if lost else "", f"{value:.3f}"
            before = number(then.median) if then else "-"
            lines.append(f"| {case.name} | {daemon} | {before} | {number(now.median)} | {shown} | {verdict} |")
    return "\n".join(lines) + "\n", worse


# --- plots ---

def gnuplot(out, name, commands, blocks):
    """One picture; @blocks: title to rows of data. Nothing where there is nothing to draw."""
    blocks = {title: rows for title, rows in blocks.items() if rows}
    if not blocks:
        return
    data = "".join(f"$d{i} << EOD\n" + "".join(" ".join(map(str, row)) + "\n" for row in rows) + "EOD\n"
                   for i, rows in enumerate(blocks.values()))
    style = "with boxes fill solid" if "boxes" in commands else "with linespoints"
    columns = "using 1:2:xtic(3)" if "boxes" in commands else "using 1:2"
    drawn = ", ".join(f"$d{i} {columns} {style} title \"{title}\"" for i, title in enumerate(blocks))
    script = (f"set terminal svg size 800,500\nset output \"{os.path.join(out, name)}.svg\"\nset key outside\n"
              f"set grid\n{data}{commands.replace('boxes', '')}\nplot {drawn}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=False)


def by_parameter(cases, records, names, argument, metric, scale=1.0):
    units = {"K": 1 << 10, "M": 1 << 20}
    blocks = {}
    for case in (c for c in cases if c.name in names):
        at = str(case.args[argument])
        at = int(at[:-1]) * units[at[-1]] if at[-1] in units else int(at)
        for daemon in daemons_of(records, case):
            values = sample(records, case, daemon, metric)
            if values and daemon in ("spinfs", "c", "rust", "raw"):
                blocks.setdefault(daemon, []).append((at, values.median * scale))
    return {daemon: sorted(rows) for daemon, rows in blocks.items() if len(rows) > 1}


def distribution(records, case_name):
    """Share of requests that took longer, over time, of the last round."""
    blocks = {}
    for record in records:
        if record["case"] != case_name or "histogram_ns" not in record or record["daemon"] == "loopback":
            continue
        total = sum(count for _, count in record["histogram_ns"])
        rows, left = [], total
        for upper, count in record["histogram_ns"]:
            left -= count
            if left > 0:
                rows.append((upper / 1000, left / total))
        blocks[record["daemon"]] = rows
    return blocks


def plots(out, cases, records):
    depths = ["randread-1", "randread-32", "randread-128"] + [c.name for c in cases if c.plot == "depth"]
    gnuplot(out, "iops-depth",
            "set logscale x 2\nset xlabel 'in flight'\nset ylabel 'operations a second'\nset yrange [0:]",
            by_parameter(cases, records, depths, "iodepth", "ops_s"))
    blocks = [c.name for c in cases if c.plot == "block"]
    gnuplot(out, "throughput-block", "set logscale x 2\nset xlabel 'bytes'\nset ylabel 'GB/s'\nset yrange [0:]",
            by_parameter(cases, records, blocks, "bs", "bytes_s", 1e-9))
    for name in ("randread-1", "randread-32"):
        gnuplot(out, f"latency-{name}", "set logscale xy\nset xlabel 'us'\nset ylabel 'share that took longer'",
                distribution(records, name))
    rows = {}
    shown_cases = [c for c in cases if c.metric == "ops_s" and sample(records, c, "spinfs", "ops_per_cpu_s")]
    for at, case in enumerate(shown_cases):
        for shift, daemon in enumerate(("spinfs", "c", "rust")):
            values = sample(records, case, daemon, "ops_per_cpu_s")
            if values:
                label = case.name if shift == 0 else "\"\""
                rows.setdefault(daemon, []).append((at + shift * 0.28, values.median, label))
    gnuplot(out, "ops-cpu", "boxes\nset boxwidth 0.26\nset logscale y\nset xtics rotate by -45\n"
            "set ylabel 'operations a CPU second of the daemon'", rows)
