/* tests/e2e/faults.c - linked into the installed store: its calls on files fail when a test says so.
 *
 * The test and the store share the file `control` in the folder `faults` beside the executed program, which the store maps before
 * it is confined; faults.py has the same layout. A rule for each call says which error it gives, how often, how many times
 * at most, and on files of which folder; it counts what it has seen and what it has spoiled, and outlives the process. A call that
 * is spoiled does nothing but fail; sockets, pipes and memory never are. The sequence of the choices
 * is the seed's. Threads take their turns from it in whatever order they come. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAGIC 0x31534c5541465450ull /* "PTFAULS1" */
#define FDS_MAX 65536

enum call { /* in the order of faults.py */
	OPEN, READ, WRITE, FDATASYNC, FSYNC, SYNCFS, RENAME, LINK, MKDIR, TRUNCATE, CALLS
};

enum where { ANYWHERE, JOURNAL, ELSEWHERE };

struct rule {
	_Atomic uint32_t error; /* 0: none */
	_Atomic uint32_t odds;  /* of 65536 */
	_Atomic uint32_t left;  /* times */
	_Atomic uint32_t where;
	_Atomic uint64_t seen, met;
};

struct control {
	uint64_t magic;
	_Atomic uint64_t seed, turn;
	_Atomic uint64_t journal; /* the folder's inode */
	struct rule rules[CALLS];
};

_Static_assert(sizeof(struct control) == 32 + CALLS * 32, "faults.py knows it");

static struct control *control; /* NULL: nothing fails */
static _Atomic uint8_t in_journal[FDS_MAX]; /* by descriptor: it was opened there */

static void *
real(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (f == NULL)
		abort();
	return f;
}

#define REAL(name) ((__typeof__(&name))real(#name))

__attribute__((constructor)) static void
begin(void)
{
	char path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	void *p;
	int fd;

	if (n <= 0)
		return;
	path[n] = '\0';
	strcpy(strrchr(path, '/'), "/faults/control");
	if ((fd = REAL(open)(path, O_RDWR | O_CLOEXEC)) < 0)
		return;
	p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED && ((struct control *)p)->magic == MAGIC)
		control = p;
}

/* splitmix64: a step of it is as random as the next, from any seed. */
static uint64_t
mixed(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static bool
take_one(struct rule *r)
{
	uint32_t left = atomic_load(&r->left);

	while (left > 0)
		if (atomic_compare_exchange_weak(&r->left, &left, left - 1))
			return true;
	return false;
}

/* True: the call fails now, errno is set. */
static bool
spoiled(enum call call, bool journal)
{
	struct rule *r = &control->rules[call];
	uint32_t error = atomic_load(&r->error), where = atomic_load(&r->where);

	if (error == 0 || (where != ANYWHERE && (where == JOURNAL) != journal))
		return false;
	atomic_fetch_add(&r->seen, 1);
	if (mixed(atomic_load(&control->seed) + atomic_fetch_add(&control->turn, 1)) % 65536 >= atomic_load(&r->odds) ||
	    !take_one(r))
		return false;
	atomic_fetch_add(&r->met, 1);
	errno = (int)error;
	return true;
}

static bool
is_journal(int dir)
{
	struct stat st;

	return dir != AT_FDCWD && fstat(dir, &st) == 0 && st.st_ino == atomic_load(&control->journal);
}

static bool
spoiled_fd(enum call call, int fd)
{
	int saved = errno;
	struct stat st;
	bool counts;

	if (control == NULL || fd < 0 || fd >= FDS_MAX)
		return false;
	counts = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) && st.st_nlink > 0;
	errno = saved;
	return counts && spoiled(call, atomic_load(&in_journal[fd]) || st.st_ino == atomic_load(&control->journal));
}

static bool
spoiled_at(enum call call, int dir)
{
	int saved = errno;
	bool journal;

	if (control == NULL)
		return false;
	journal = is_journal(dir);
	errno = saved;
	return spoiled(call, journal);
}

static int
opened(int dir, int fd)
{
	int saved = errno;

	if (control != NULL && fd >= 0 && fd < FDS_MAX)
		atomic_store(&in_journal[fd], is_journal(dir));
	errno = saved;
	return fd;
}

/* --- the calls ---------------------------------------------------------------------------------------------- */

int
openat(int dir, const char *name, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return spoiled_at(OPEN, dir) ? -1 : opened(dir, REAL(openat)(dir, name, flags, mode));
}

/* openat2() has no name in libc. Six arguments are read whatever was passed: registers, on the machines that we know. */
long
syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number != SYS_openat2)
		return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	return spoiled_at(OPEN, (int)a[0]) ? -1 : opened((int)a[0], (int)REAL(syscall)(number, a[0], a[1], a[2], a[3]));
}

ssize_t
read(int fd, void *p, size_t n)
{
	return spoiled_fd(READ, fd) ? -1 : REAL(read)(fd, p, n);
}

ssize_t
pread(int fd, void *p, size_t n, off_t off)
{
	return spoiled_fd(READ, fd) ? -1 : REAL(pread)(fd, p, n, off);
}

ssize_t
write(int fd, const void *p, size_t n)
{
	return spoiled_fd(WRITE, fd) ? -1 : REAL(write)(fd, p, n);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t off)
{
	return spoiled_fd(WRITE, fd) ? -1 : REAL(pwrite)(fd, p, n, off);
}

ssize_t
copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	if (spoiled_fd(READ, in) || spoiled_fd(WRITE, out))
		return -1;
	return REAL(copy_file_range)(in, in_off, out, out_off, n, flags);
}

int
fdatasync(int fd)
{
	return spoiled_fd(FDATASYNC, fd) ? -1 : REAL(fdatasync)(fd);
}

int
fsync(int fd)
{
	return spoiled_fd(FSYNC, fd) ? -1 : REAL(fsync)(fd);
}

int
syncfs(int fd)
{
	return spoiled_fd(SYNCFS, fd) ? -1 : REAL(syncfs)(fd);
}

int
ftruncate(int fd, off_t n)
{
	return spoiled_fd(TRUNCATE, fd) ? -1 : REAL(ftruncate)(fd, n);
}

int
renameat(int dir, const char *name, int dir2, const char *name2)
{
	return spoiled_at(RENAME, dir) ? -1 : REAL(renameat)(dir, name, dir2, name2);
}

int
renameat2(int dir, const char *name, int dir2, const char *name2, unsigned flags)
{
	return spoiled_at(RENAME, dir) ? -1 : REAL(renameat2)(dir, name, dir2, name2, flags);
}

int
linkat(int dir, const char *name, int dir2, const char *name2, int flags)
{
	return spoiled_at(LINK, dir) ? -1 : REAL(linkat)(dir, name, dir2, name2, flags);
}

int
mkdirat(int dir, const char *name, mode_t mode)
{
	return spoiled_at(MKDIR, dir) ? -1 : REAL(mkdirat)(dir, name, mode);
}
