# SPDX-License-Identifier: BSD-3-Clause
"""Runs the cases round by round and writes what came out; started by scripts/bench.sh."""

import argparse
import fnmatch
import json
import os
import sys
import time

import cases
import measure
import output

BUDGET_S = {True: 270, False: 3300}  # nothing is begun after so long
MORE_ROUNDS = 4                      # where a comparison was refused and there is time
MORE_S = {True: 240, False: 2700}    # none of these ends after so long


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build")
    parser.add_argument("--scratch")
    parser.add_argument("--journaled")
    parser.add_argument("--out")
    parser.add_argument("--peers", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--compare")
    parser.add_argument("--cpus", default="0,1")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--time", type=float)
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def selected(options):
    every = cases.all_cases()
    if options.only:
        every = [c for c in every if any(fnmatch.fnmatch(c.name, pattern) for pattern in options.only)]
        if not every:
            sys.exit("bench.sh: no such case; --list names them")
        return every
    return [c for c in every if c.quick] if options.quick else every


def run_case(host, case, rounds, records, deadline):
    """These rounds of a case. What went wrong, or None."""
    host.failures = []
    for number in rounds:
        if time.monotonic() > deadline:
            host.failures.append("out of time")
            break
        results = {}
        with host.attempt(case.name):
            results = {output.CPUS: host.round_trip()} if case.rounds_max > 1 else {}
            results.update(case.run(host, case, number))
        for daemon, result in results.items():
            records.append({"case": case.name, "daemon": daemon, "round": number, **result})
        if not results.keys() - {output.CPUS}:
            break
    return "; ".join(dict.fromkeys(" ".join(failure.split()) for failure in host.failures)) or None


def run_all(host, chosen, rounds, records, problems):
    """The cases, then more rounds of those where a comparison was refused. Problems by case."""
    begin = time.monotonic()
    deadline = begin + BUDGET_S[host.quick]
    left = [cases.estimate(host, case, rounds) for case in chosen]
    print(f"{len(chosen)} cases, {rounds} rounds, windows of {host.time_s} s after {host.ramp_s} s: about "
          f"{sum(left) / 60:.0f} minutes; nothing is begun after {BUDGET_S[host.quick] / 60:.0f}", flush=True)
    for at, case in enumerate(chosen):
        problem = run_case(host, case, range(min(rounds, case.rounds_max)), records, deadline)
        if problem:
            problems[case.name] = problem
        spent = (time.monotonic() - begin) / 60
        print(f"[{at + 1}/{len(chosen)}, {spent:.1f} min, {sum(left[at + 1:]) / 60:.0f} to go] "
              + summary_line(case, records, problem), flush=True)
    for case in chosen if rounds > 1 else []:
        first = min(rounds, case.rounds_max)
        enough = time.monotonic() - begin + cases.estimate(host, case, MORE_ROUNDS) < MORE_S[host.quick]
        if case.name not in problems and 1 < first and enough and output.refused(records, case):
            problem = run_case(host, case, range(first, first + MORE_ROUNDS), records, deadline)
            if problem:
                problems[case.name] = problem
            print("more rounds, since too unsteady: " + summary_line(case, records, problem), flush=True)


def summary_line(case, records, problem):
    table = output.medians(records, case)
    parts = [f"{daemon} {output.number(sample.median)}" for daemon, sample in table.items()]
    return f"{case.name}: {', '.join(parts)} {case.unit}" + (f" ({problem})" if problem else "")


def main():
    options = arguments()
    if options.list:
        for case in cases.all_cases():
            print(f"{case.name:22} {case.title}")
        return 0
    daemon_cpu, load_cpu = (int(word) for word in options.cpus.split(","))
    peers = [p for p in options.peers.split(",") if p]
    host = measure.Host(options.build, options.scratch, peers, daemon_cpu, load_cpu, options.quick, options.time)
    if options.journaled:
        host.changing = options.journaled
        host.notes["Cases that make, rename and remove files"] = (
            "on an ext4 with a journal, from an image file: the disk's own has none")
    os.makedirs(options.out, exist_ok=True)
    description = host.describe(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    print(f"{description['cpu']}, Linux {description['kernel']}, commit {description['commit']}, "
          f"round trip {description['eventfd_round_trip_ns'] / 1000:.1f} us by an eventfd, "
          f"{description['spin_round_trip_ns']} ns by spinning", flush=True)
    measure.raw(host, {"workload": "randread", "time": 0.2, "ramp": 0})  # makes the file of data
    measure.warm(host)

    records, problems, chosen = [], {}, selected(options)
    try:
        run_all(host, chosen, options.rounds, records, problems)
    except KeyboardInterrupt:
        problems["the run"] = "interrupted"
    description["notes"] = host.notes

    path = f"{options.out}/results.json"
    with open(path, "w") as file:
        json.dump([{"host": description, "problems": problems}] + records, file, separators=(",", ":"))
        file.write("\n")
    text = output.markdown(description, chosen, records, problems)
    worse = False
    if options.compare:
        with open(options.compare) as file:
            added, worse = output.comparison(chosen, json.load(file)[1:], records)
        text += added
    with open(f"{options.out}/results.md", "w") as file:
        file.write(text)
    output.plots(options.out, chosen, records)
    print("\n" + text + f"\nwritten: {path}, {options.out}/results.md and plots")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
