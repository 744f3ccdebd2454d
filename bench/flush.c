/* bench/flush.c - preloaded: counts flushes in the file BENCH_FLUSH_COUNT (fsync, fdatasync, syncfs: 64-bit numbers), and makes each
 * take BENCH_FLUSH_US microseconds longer, as a slower disk would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t *counts;
static long delay_us;

/* At the start, before a process gives up opening files. */
__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("BENCH_FLUSH_COUNT"), *us = getenv("BENCH_FLUSH_US");
	int fd;

	delay_us = us == NULL ? 0 : atol(us);
	if (path == NULL || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
		return;
	counts = mmap(NULL, 3 * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		counts = NULL;
	close(fd);
}

static int
flushed(int which, const char *name, int fd)
{
	int (*real)(int);
	struct timespec t = { delay_us / 1000000, delay_us % 1000000 * 1000 };
	int rc;

	*(void **)&real = dlsym(RTLD_NEXT, name);
	rc = real(fd);
	if (delay_us > 0)
		(void)ppoll(NULL, 0, &t, NULL); /* a call that the store's filter lets pass */
	if (counts != NULL)
		counts[which]++;
	return rc;
}

int
fsync(int fd)
{
	return flushed(0, "fsync", fd);
}

int
fdatasync(int fd)
{
	return flushed(1, "fdatasync", fd);
}

int
syncfs(int fd)
{
	return flushed(2, "syncfs", fd);
}
