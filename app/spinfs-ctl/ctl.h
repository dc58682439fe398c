/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures for people. A member that is missing or of another type reads 0 or "-".
 */
#ifndef CTL_H
#define CTL_H

#include <jansson.h>
#include <stdio.h>

/** The daemon in one line, each device in one. @status: the answer of the method status. */
void ctl_print_status(const json_t *status, FILE *out);

/** Tables: a line each reactor, device, queue, operation. @stats: the answer of the method stats. */
void ctl_print_stats(const json_t *stats, FILE *out);

#endif
