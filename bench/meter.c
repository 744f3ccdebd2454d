/* bench/meter.c - see meter.h. */
#include "meter.h"

#include "pki.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t
meter_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The first number of a file; with a key, the number behind that word. */
static uint64_t
number_in(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char word[64] = "";
	uint64_t n = 0;
	int got = 0;

	if (f == NULL)
		fail(path, 0);
	if (key == NULL)
		got = fscanf(f, "%" SCNu64, &n) == 1;
	else
		while (fscanf(f, "%63s %" SCNu64, word, &n) == 2 && !(got = strcmp(word, key) == 0))
			continue;
	fclose(f);
	if (!got)
		fail(path, 0);
	return n;
}

/* The scheduler's own account: nanoseconds, where utime and stime go by ticks of 10 ms. */
static uint64_t
pids_ns(const char *list)
{
	uint64_t sum = 0;
	char path[64];
	char *end;

	while (*list != '\0') {
		snprintf(path, sizeof path, "/proc/%ld/schedstat", strtol(list, &end, 10));
		sum += number_in(path, NULL);
		list = *end == ',' ? end + 1 : end;
	}
	return sum;
}

uint64_t
meter_cpu_ns(const char *spec)
{
	if (strncmp(spec, "v1:", 3) == 0)
		return number_in(spec + 3, NULL);
	if (strncmp(spec, "v2:", 3) == 0)
		return number_in(spec + 3, "usage_usec") * 1000;
	if (strncmp(spec, "pids:", 5) == 0)
		return pids_ns(spec + 5);
	fail("--meter is none of v1:, v2:, pids:", 0);
}
