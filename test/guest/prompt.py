#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a program at a terminal and types a line at each prompt.

usage: prompt.py SECONDS LINE... -- PROGRAM ARGUMENT...

Prints what the terminal shows. Exit status: the program's, or 124 where it has not ended after SECONDS; 1 where it ended
before everything was typed."""
import os
import pty
import select
import signal
import sys
import time

PROMPT = b"# "


def main():
    split = sys.argv.index("--")
    end = time.monotonic() + float(sys.argv[1])
    lines, command = sys.argv[2:split], sys.argv[split + 1:]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    unread = b""
    while True:
        left = end - time.monotonic()
        if left <= 0:
            os.killpg(pid, signal.SIGTERM)  # a pty's child leads its session and group
            os.waitpid(pid, 0)
            return 124
        if not select.select([terminal], [], [], left)[0]:
            continue
        try:
            text = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            text = b""
        if not text:
            break
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        unread += text
        if lines and PROMPT in unread:
            unread = b""
            os.write(terminal, lines.pop(0).encode() + b"\n")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status else bool(lines)


sys.exit(main())
