/* bench/disk.c - the least a durable reply can cost: what a file system needs for one appended message and one flush.
 *
 *   disk DIR OCTETS SECONDS
 *
 * Writes so many octets behind the last ones into a file of 64 MiB that is there already, as a journal is, flushes with
 * fdatasync(2), and so on. The file is made by the first call, DIR/disk.tmp; the others find it. Prints one JSON object: how often, and
 * percentiles of the time of one such write and flush. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_OCTETS (64u << 20)
#define SAMPLES_MAX (1u << 20)

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static _Noreturn void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Written, not only allocated: a flush must not have to note which blocks are used. */
static int
open_file(const char *dir)
{
	static const char zeros[1 << 20];
	char path[4096];
	unsigned i;
	int fd;

	snprintf(path, sizeof path, "%s/disk.tmp", dir);
	if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
		fail(path);
	if (lseek(fd, 0, SEEK_END) == (off_t)FILE_OCTETS)
		return fd;
	for (i = 0; i < FILE_OCTETS / sizeof zeros; i++)
		if (pwrite(fd, zeros, sizeof zeros, (off_t)i * (off_t)sizeof zeros) != (ssize_t)sizeof zeros)
			fail(path);
	if (fsync(fd) != 0)
		fail(path);
	return fd;
}

int
main(int argc, char **argv)
{
	static uint32_t samples[SAMPLES_MAX];
	uint64_t until, at;
	size_t n = 0, octets;
	off_t off = 0;
	char *p;
	int fd;

	if (argc != 4 || (octets = strtoul(argv[2], NULL, 10)) == 0 || octets > FILE_OCTETS) {
		fprintf(stderr, "usage: disk DIR OCTETS SECONDS\n");
		return 64;
	}
	if ((p = malloc(octets)) == NULL)
		fail("memory");
	memset(p, 'x', octets);
	fd = open_file(argv[1]);
	for (until = now_ns() + (uint64_t)(strtod(argv[3], NULL) * 1e9); now_ns() < until && n < SAMPLES_MAX;) {
		if (off + (off_t)octets > (off_t)FILE_OCTETS)
			off = 0;
		at = now_ns();
		if (pwrite(fd, p, octets, off) != (ssize_t)octets || fdatasync(fd) != 0)
			fail("flush");
		samples[n++] = (uint32_t)((now_ns() - at) / 1000);
		off += (off_t)octets;
	}
	qsort(samples, n, sizeof *samples, compare);
	printf("{\"flushes\": %zu, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32 "}\n", n, samples[n / 2],
		samples[(n - 1) * 99 / 100]);
	return 0;
}
