# SPDX-License-Identifier: BSD-3-Clause
"""
report.py RESULTS.json DOCUMENT.md: puts the results of a run, and the cost model filled from them, between the marks
of a document ("<!-- results -->" to "<!-- end of results -->", the same with "model").
"""

import json
import re
import sys

import cases
import output

COLUMNS = ["spinfs", "c", "c-pool64", "rust", "rust-pool64", "raw", "loopback"]
SHARED = 685 / 557  # what a read costs when two cores share the open file, to what it costs one core alone (measured apart)


def cell(records, case, daemon):
    values = output.sample(records, case, daemon, case.metric)
    if not values:
        return "-"
    mark = "" if values.steady else " *"
    return output.shown(records, case, daemon, case.metric) + mark


def results(host, chosen, records, problems):
    lines = [output.about(host), *output.summary(chosen, records), "\n### Medians\n",
             "A star: the rounds spread over more than 15 % of their median. Other rows (engines, queues, reactors) and all "
             "latencies are in `results.md` of the run.\n",
             "| case | unit | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for case in chosen:
        unit = "us" if case.metric.endswith("_ns") else case.unit
        row = [cell(records, case, daemon).removesuffix(" us") for daemon in COLUMNS]
        if any(value != "-" for value in row):
            lines.append(f"| {case.name} | {unit} | " + " | ".join(row) + " |")
    if problems:
        lines += ["\nNot complete:\n"] + [f"- {name}: {problem}" for name, problem in problems.items()]
    return lines


def value(records, by_name, name, daemon, metric):
    if name not in by_name:
        return None
    values = output.sample(records, by_name[name], daemon, metric)
    return values.median if values else None


def model(chosen, records):
    """The formulas' parts as measured, what they predict for what was measured, too, and for larger hosts."""
    by_name = {case.name: case for case in chosen}

    def get(name, daemon, metric="ops_s"):
        return value(records, by_name, name, daemon, metric)

    raw, ours, ceiling = (get("randread-32", who) for who in ("raw", "spinfs", "loopback"))
    raw_1m, trip, p50 = get("read-1m", "raw", "bytes_s"), get("randread-1", "loopback", "p50_ns"), \
        get("randread-1", "spinfs", "p50_ns")
    if not raw or not ours or not ceiling:
        return ["The run has no randread-32 of spinfs, the bare loop and the loopback device."]
    s, o = 1e9 / raw, 1e9 / ours - 1e9 / raw
    lines = [f"- *s* = {s:.0f} ns, *o* = {o:.0f} ns (4 KiB cached reads), one core of load makes {ceiling / 1e6:.2f} M requests "
             "a second"]
    if trip and p50:
        lines += [f"- *r* = {trip:.0f} ns (loopback, 1 in flight); so 1 in flight takes *s* + *o* + *r* = {s + o + trip:.0f} ns; "
                  f"measured {p50:.0f} ns"]
    if raw_1m:
        lines += [f"- one core copies {raw_1m / 1e9:.1f} GB/s in blocks of 1 MiB"]
    for label, case, above, below, metric in (
            ("8 queues on one reactor of 1 queue: predicted 1.00", "queues-8", "8 queues", "1 queue", "ops_s"),
            ("2 reactors of 1 on one open file, by operations per CPU second: predicted "
             f"{(s + o) / (s * SHARED + o):.2f}", "reactors-2", "2 reactors", "1 reactor", "ops_per_cpu_s")):
        if case in by_name:
            pairs, _ = output.paired(output.by_round(records, by_name[case], above, metric),
                                     output.by_round(records, by_name[case], below, metric))
            lines += [f"- {label}, measured {pairs.median:.2f}" if pairs else f"- {label}, not measured"]
    lines += ["\n| reactors | cores of load | 4 KiB reads a second, a file each | one file for all | 1 MiB reads, GB/s |",
              "|---|---|---|---|---|"]
    for n in (1, 2, 4, 8, 16):
        rate, shared = n * 1e9 / (s + o), n * 1e9 / (s * (SHARED if n > 1 else 1) + o)
        large = f"{n * raw_1m / 1e9:.0f}" if raw_1m else "-"
        lines.append(f"| {n} | {-(-rate // ceiling):.0f} | {rate / 1e6:.2f} M | {shared / 1e6:.2f} M | {large}, or half the "
                     "memory bandwidth |")
    lines += ["\n| guests on one reactor, 4 in flight each | reads a second, each | median latency |", "|---|---|---|"]
    for guests in (1, 4, 16, 64):
        lines.append(f"| {guests} | {1e3 / (s + o) / guests:.3f} M | {4 * guests * (s + o) / 1e3:.1f} us |")
    return lines


def put(text, mark, lines):
    pattern = re.compile(f"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.S)
    if not pattern.search(text):
        sys.exit(f"report.py: the document has no <!-- {mark} -->")
    return pattern.sub(lambda m: m.group(1) + "\n".join(lines).strip() + "\n" + m.group(2), text)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    with open(sys.argv[1]) as file:
        head, *records = json.load(file)
    seen = {record["case"] for record in records}
    chosen = [case for case in cases.all_cases() if case.name in seen]
    with open(sys.argv[2]) as file:
        text = file.read()
    text = put(text, "results", results(head["host"], chosen, records, head["problems"]))
    text = put(text, "model", model(chosen, records))
    with open(sys.argv[2], "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
