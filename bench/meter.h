/* bench/meter.h - what the server has used. */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdint.h>

/* CPU of the server so far, user and system, in nanoseconds. spec names where it is read:
 * "v1:FILE" a cpuacct.usage, "v2:FILE" a cpu.stat, "pids:N,N,..." the run time of these processes.
 * What cannot be read ends the program: a dead server must not look like a free one. */
uint64_t meter_cpu_ns(const char *spec);

uint64_t meter_now_ns(void); /* CLOCK_MONOTONIC */

#endif
