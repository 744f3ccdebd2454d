/* tests/crash/powerloss.c - preloaded into a program: records what it writes and which flushes have come to their
 * end, so that powerloss.py can afterwards take away what a loss of power might have taken.
 *
 * POWERLOSS names a folder on the file system that is recorded; without it the folder `powerloss` beside the
 * executed program is meant. There: `log`, the recording, and `graves/`, where files stay whose last name is removed.
 * Only regular files and folders count. What a program writes through a shared mapping is not seen; the
 * store does not do that.
 *
 * POWERLOSS_FLUSH_US makes each flush take longer, by half to three halves of so many microseconds, so that several of different threads
 * are under way at once and do not end in the order in which they began.
 *
 * POWERLOSS_NOFLUSH=1, or a file `noflush` in that folder, makes every flush a lie: it returns 0 and does nothing, and is not
 * recorded. A suite that passes then shows nothing. */
#include "powerloss.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct powerloss_header *header; /* NULL: nothing is recorded */
static struct powerloss_record *records;
static int graves_fd = -1;
static bool lies;
static uint64_t slow_us;

#define REAL(name) ((__typeof__(&name))real(#name))

/* The kernel itself, past our own functions and the one below that programs call for what libc has no name for. */
static long (*raw)(long, ...);

static void *
real(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (f == NULL)
		abort();
	return f;
}

__attribute__((constructor)) static void
begin(void)
{
	const char *dir = getenv("POWERLOSS"), *us = getenv("POWERLOSS_FLUSH_US");
	char path[PATH_MAX + 32];
	ssize_t n;
	void *p;
	int fd;

	raw = REAL(syscall);
	lies = getenv("POWERLOSS_NOFLUSH") != NULL;
	slow_us = us == NULL ? 0 : strtoull(us, NULL, 10);
	if (dir == NULL) {
		if ((n = readlink("/proc/self/exe", path, PATH_MAX)) <= 0)
			return;
		path[n] = '\0';
		*strrchr(path, '/') = '\0';
		strcat(path, "/powerloss");
	} else
		snprintf(path, PATH_MAX, "%s", dir);
	strcat(path, "/log");
	if ((fd = (int)raw(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC)) < 0)
		return;
	strcpy(strrchr(path, '/'), "/noflush");
	lies = lies || raw(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
	p = mmap(NULL, sizeof *header + (size_t)POWERLOSS_RECORDS * sizeof *records, PROT_READ | PROT_WRITE,
		MAP_SHARED, fd, 0);
	raw(SYS_close, fd);
	if (p == MAP_FAILED)
		return;
	strcpy(strrchr(path, '/'), "/graves");
	graves_fd = (int)raw(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	header = p;
	records = (struct powerloss_record *)(void *)(header + 1);
	if (header->magic != POWERLOSS_MAGIC)
		header = NULL;
}

/* --- records ---------------------------------------------------------------------------------- */

static struct powerloss_record *
take(enum powerloss_kind kind)
{
	struct powerloss_record *r;
	uint64_t n;

	if (header == NULL)
		return NULL;
	if ((n = atomic_fetch_add(&header->next, 1)) >= POWERLOSS_RECORDS)
		abort(); /* a recording with a hole proves nothing */
	r = &records[n];
	r->kind = kind;
	r->thread = (uint64_t)gettid();
	r->process = (uint64_t)getpid();
	return r;
}

static void
whole(struct powerloss_record *r)
{
	if (r != NULL)
		atomic_store(&r->whole, 1);
}

/* What the record is of has returned. A flush of another thread that has begun before need not cover it. */
static void
ended(struct powerloss_record *r)
{
	if (r != NULL)
		atomic_store(&r->end, atomic_load(&header->next));
}

static void
done(struct powerloss_record *r, bool ok)
{
	if (r == NULL)
		return;
	ended(r);
	if (ok)
		atomic_store(&r->done, 1);
	else
		r->failed = 1;
}

/* A record of a file that is open; NULL: not one that counts. */
static struct powerloss_record *
take_fd(enum powerloss_kind kind, int fd, struct stat *st)
{
	int saved = errno;
	struct powerloss_record *r = NULL;

	if (header != NULL && fstat(fd, st) == 0 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) &&
	    st->st_nlink > 0 && (r = take(kind)) != NULL) { /* a memfd has no name */
		r->dev = st->st_dev;
		r->ino = st->st_ino;
	}
	errno = saved;
	return r;
}

static uint64_t
dir_of(int fd, const char *name)
{
	struct stat st;

	if (name[0] == '/')
		return 0;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) != 0)
		return 0;
	return st.st_ino;
}

static void
set_name(char out[POWERLOSS_NAME], const char *name)
{
	if (strlen(name) >= POWERLOSS_NAME) {
		/* absolute paths of a test's folder may be long: they do not happen where it counts */
		fprintf(stderr, "powerloss: name too long: %s\n", name);
		abort();
	}
	strcpy(out, name);
}

static struct powerloss_record *
take_name(enum powerloss_kind kind, int dir, const char *name)
{
	int saved = errno;
	struct powerloss_record *r = take(kind);

	if (r != NULL) {
		r->dir = dir_of(dir, name);
		set_name(r->name, name);
	}
	errno = saved;
	return r;
}

/* Keeps a file whose name is about to go; its number, 0: there is none. */
static uint64_t
bury(int dir, const char *name)
{
	int saved = errno;
	char grave[24];
	uint64_t n;

	if (header == NULL || graves_fd < 0)
		return 0;
	n = atomic_fetch_add(&header->graves, 1) + 1;
	snprintf(grave, sizeof grave, "%llu", (unsigned long long)n);
	if (raw(SYS_linkat, dir, name, graves_fd, grave, 0) != 0)
		n = 0;
	errno = saved;
	return n;
}

/* --- data ------------------------------------------------------------------------------------- */

static size_t
total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	while (n-- > 0)
		sum += iov[n].iov_len;
	return sum;
}

static struct powerloss_record *
note_write(int fd, off_t off, size_t n)
{
	struct stat st;
	struct powerloss_record *r = take_fd(POWERLOSS_WRITE, fd, &st);
	int flags;

	if (r == NULL)
		return NULL;
	if (off < 0) {
		flags = fcntl(fd, F_GETFL);
		off = flags & O_APPEND ? st.st_size : lseek(fd, 0, SEEK_CUR);
	}
	r->a = (uint64_t)off;
	r->b = n;
	whole(r);
	return r;
}

#define NOTED(type, note, call)                                                                    \
	do {                                                                                       \
		struct powerloss_record *r_ = note;                                                \
		type rc_ = call;                                                                   \
		ended(r_);                                                                         \
		return rc_;                                                                        \
	} while (0)

ssize_t
write(int fd, const void *p, size_t n)
{
	NOTED(ssize_t, note_write(fd, -1, n), REAL(write)(fd, p, n));
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	NOTED(ssize_t, note_write(fd, -1, total(iov, n)), REAL(writev)(fd, iov, n));
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t off)
{
	NOTED(ssize_t, note_write(fd, off, n), REAL(pwrite)(fd, p, n, off));
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t off)
{
	NOTED(ssize_t, note_write(fd, off, n), REAL(pwrite64)(fd, p, n, off));
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	NOTED(ssize_t, note_write(fd, off, total(iov, n)), REAL(pwritev)(fd, iov, n, off));
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int n, off64_t off)
{
	NOTED(ssize_t, note_write(fd, off, total(iov, n)), REAL(pwritev64)(fd, iov, n, off));
}

static struct powerloss_record *
note_truncate(int fd, off_t size)
{
	struct stat st;
	struct powerloss_record *r = take_fd(POWERLOSS_TRUNCATE, fd, &st);

	if (r == NULL)
		return NULL;
	r->a = (uint64_t)st.st_size;
	r->b = (uint64_t)size;
	whole(r);
	return r;
}

int
ftruncate(int fd, off_t size)
{
	NOTED(int, note_truncate(fd, size), REAL(ftruncate)(fd, size));
}

int
ftruncate64(int fd, off64_t size)
{
	NOTED(int, note_truncate(fd, size), REAL(ftruncate64)(fd, size));
}

ssize_t
copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	NOTED(ssize_t, note_write(out, out_off != NULL ? *out_off : -1, n),
		REAL(copy_file_range)(in, in_off, out, out_off, n, flags));
}

ssize_t
sendfile(int out, int in, off_t *off, size_t n)
{
	NOTED(ssize_t, note_write(out, -1, n), REAL(sendfile)(out, in, off, n));
}

/* --- flushes ---------------------------------------------------------------------------------- */

static void
slow(void)
{
	static _Atomic uint64_t turns;
	uint64_t us = slow_us / 2 + (slow_us > 0 ? (atomic_fetch_add(&turns, 1) + 1) * 0x9e3779b97f4a7c15ull % slow_us : 0);
	struct timespec t = { (time_t)(us / 1000000), (long)(us % 1000000 * 1000) };
	int saved = errno;

	if (us > 0)
		(void)ppoll(NULL, 0, &t, NULL); /* a call that the store's filter lets pass */
	errno = saved;
}

static int
flush(enum powerloss_kind kind, int fd, int (*f)(int))
{
	struct powerloss_record *r;
	struct stat st;
	int rc;

	if (lies) {
		slow();
		return 0;
	}
	r = take_fd(kind, fd, &st);
	whole(r);
	rc = f(fd);
	slow();
	done(r, rc == 0);
	return rc;
}

int
fsync(int fd)
{
	return flush(POWERLOSS_FLUSH, fd, REAL(fsync));
}

int
fdatasync(int fd)
{
	return flush(POWERLOSS_FLUSH, fd, REAL(fdatasync));
}

int
syncfs(int fd)
{
	return flush(POWERLOSS_SYNCFS, fd, REAL(syncfs));
}

/* --- names ------------------------------------------------------------------------------------ */

static int
open_noted(int dir, const char *name, int flags, mode_t mode)
{
	struct powerloss_record *r = NULL;
	struct stat st;
	int fd, saved;

	if (raw == NULL)
		raw = REAL(syscall); /* another library's constructor was first */
	if (header == NULL || (flags & O_CREAT) == 0)
		return (int)raw(SYS_openat, dir, name, flags, mode);
	if (raw(SYS_newfstatat, dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		r = take_name(POWERLOSS_CREATE, dir, name);
	fd = (int)raw(SYS_openat, dir, name, flags, mode);
	saved = errno;
	whole(r);
	done(r, fd >= 0);
	errno = saved;
	return fd;
}

#define MODE_OF(flags, mode)                                                                       \
	do {                                                                                       \
		va_list ap_;                                                                       \
		va_start(ap_, flags);                                                              \
		(mode) = (flags) & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(ap_, int) : 0;           \
		va_end(ap_);                                                                       \
	} while (0)

int
open(const char *name, int flags, ...)
{
	mode_t mode;

	MODE_OF(flags, mode);
	return open_noted(AT_FDCWD, name, flags, mode);
}

int
open64(const char *name, int flags, ...)
{
	mode_t mode;

	MODE_OF(flags, mode);
	return open_noted(AT_FDCWD, name, flags, mode);
}

int
openat(int dir, const char *name, int flags, ...)
{
	mode_t mode;

	MODE_OF(flags, mode);
	return open_noted(dir, name, flags, mode);
}

int
openat64(int dir, const char *name, int flags, ...)
{
	mode_t mode;

	MODE_OF(flags, mode);
	return open_noted(dir, name, flags, mode);
}

/* openat2() has no name in libc. Six arguments are read whatever was passed: registers, on the machines that we know. */
long
syscall(long number, ...)
{
	struct powerloss_record *r = NULL;
	long a[6], rc;
	struct stat st;
	va_list ap;
	int saved;

	va_start(ap, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (raw == NULL)
		raw = REAL(syscall);
	if (number == SYS_openat2 && header != NULL &&
	    (((const struct open_how *)a[2])->flags & O_CREAT) != 0 &&
	    raw(SYS_newfstatat, a[0], a[1], &st, AT_SYMLINK_NOFOLLOW) != 0)
		r = take_name(POWERLOSS_CREATE, (int)a[0], (const char *)a[1]);
	rc = raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	saved = errno;
	whole(r);
	done(r, rc >= 0);
	errno = saved;
	return rc;
}

int
linkat(int dir, const char *name, int dir2, const char *name2, int flags)
{
	struct powerloss_record *r = take_name(POWERLOSS_LINK, dir, name);
	int rc;

	if (r != NULL) {
		r->dir2 = dir_of(dir2, name2);
		set_name(r->name2, name2);
	}
	rc = REAL(linkat)(dir, name, dir2, name2, flags);
	whole(r);
	done(r, rc == 0);
	return rc;
}

int
link(const char *name, const char *name2)
{
	return linkat(AT_FDCWD, name, AT_FDCWD, name2, 0);
}

int
renameat2(int dir, const char *name, int dir2, const char *name2, unsigned flags)
{
	struct powerloss_record *r = take_name(POWERLOSS_RENAME, dir, name);
	int rc;

	if (r != NULL) {
		r->dir2 = dir_of(dir2, name2);
		set_name(r->name2, name2);
		r->b = bury(dir2, name2);
	}
	rc = REAL(renameat2)(dir, name, dir2, name2, flags);
	whole(r);
	done(r, rc == 0);
	return rc;
}

int
renameat(int dir, const char *name, int dir2, const char *name2)
{
	return renameat2(dir, name, dir2, name2, 0);
}

int
rename(const char *name, const char *name2)
{
	return renameat2(AT_FDCWD, name, AT_FDCWD, name2, 0);
}

/* Numbers are given again when a folder has gone. */
static uint64_t
folder_of(int dir, const char *name)
{
	int saved = errno;
	struct stat st;

	if (raw(SYS_newfstatat, dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		st.st_ino = 0;
	errno = saved;
	return st.st_ino;
}

int
unlinkat(int dir, const char *name, int flags)
{
	bool folder = (flags & AT_REMOVEDIR) != 0;
	struct powerloss_record *r = take_name(folder ? POWERLOSS_RMDIR : POWERLOSS_UNLINK, dir, name);
	int rc;

	if (r != NULL && !folder)
		r->b = bury(dir, name);
	if (r != NULL && folder)
		r->ino = folder_of(dir, name);
	if (folder) /* another folder can have its number before a process that is killed here has said that it is gone */
		whole(r);
	rc = REAL(unlinkat)(dir, name, flags);
	whole(r);
	done(r, rc == 0);
	return rc;
}

int
unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int
rmdir(const char *name)
{
	return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int
mkdirat(int dir, const char *name, mode_t mode)
{
	struct powerloss_record *r = take_name(POWERLOSS_MKDIR, dir, name);
	int rc;

	rc = REAL(mkdirat)(dir, name, mode);
	whole(r);
	done(r, rc == 0);
	return rc;
}

int
mkdir(const char *name, mode_t mode)
{
	return mkdirat(AT_FDCWD, name, mode);
}
