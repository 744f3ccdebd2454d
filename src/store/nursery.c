/* store/nursery.c - see nursery.h. */
#include "store/nursery.h"

#include "store/local.h"
#include "store/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_ROOM 32
#define TRIES 8 /* names for a new folder */
#define COST_SHARE 8 /* of the newest file in the cost of late */

struct nursery_folder {
	int fd;
	unsigned users; /* files being made in it, and one while it is the nursery's */
	char name[NAME_ROOM]; /* "": the top */
};

struct nursery {
	int top_fd; /* borrowed */
	nursery_clock_f *clock;
	pthread_mutex_t lock; /* for what follows */
	struct nursery_folder *now;
	uint64_t cost;     /* ns */
	unsigned made;     /* in now */
	unsigned patience; /* made before it is judged */
};

static uint64_t
thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Folders in it are spread from now on. false: not on this file system. */
static bool
mark_top(int fd)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
		return false;
	if ((flags & FS_TOPDIR_FL) != 0)
		return true;
	flags |= FS_TOPDIR_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

/* Killed processes leave theirs, with files that no record needs: those are made anew. */
static void
sweep(int top_fd)
{
	int fd = openat(top_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *dir;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)) != NULL)
		if (strncmp(e->d_name, NURSERY_PREFIX, strlen(NURSERY_PREFIX)) == 0)
			tree_remove(top_fd, e->d_name, 1);
	closedir(dir);
}

/* Where it lies depends on its name. NULL: there is none. */
static struct nursery_folder *
folder_new(int top_fd)
{
	struct nursery_folder *f = calloc(1, sizeof *f);
	uint32_t number;
	int i, made = -1;

	if (f == NULL)
		return NULL;
	for (i = 0; i < TRIES && made != 0; i++) {
		if (getrandom(&number, sizeof number, 0) != sizeof number)
			break;
		snprintf(f->name, sizeof f->name, NURSERY_PREFIX "%08x", number);
		if ((made = mkdirat(top_fd, f->name, 0700)) != 0 && errno != EEXIST)
			break;
	}
	f->fd = made == 0 ? openat(top_fd, f->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	f->users = 1;
	if (f->fd >= 0)
		return f;
	if (made == 0)
		(void)unlinkat(top_fd, f->name, AT_REMOVEDIR);
	free(f);
	return NULL;
}

/* Under the lock. */
static void
folder_left(struct nursery *n, struct nursery_folder *f)
{
	if (--f->users > 0)
		return;
	if (f->name[0] != '\0') {
		close(f->fd);
		(void)unlinkat(n->top_fd, f->name, AT_REMOVEDIR);
	}
	free(f);
}

struct nursery *
nursery_open(int top_fd, nursery_clock_f *clock)
{
	struct nursery *n = calloc(1, sizeof *n);

	if (n == NULL)
		return NULL;
	n->top_fd = top_fd;
	n->clock = clock != NULL ? clock : thread_ns;
	n->patience = NURSERY_LOOK_FIRST;
	PT_ASSERT(pthread_mutex_init(&n->lock, NULL) == 0);
	sweep(top_fd);
	if (mark_top(top_fd))
		n->now = folder_new(top_fd);
	if (n->now == NULL && (n->now = calloc(1, sizeof *n->now)) != NULL) {
		n->now->fd = top_fd;
		n->now->users = 1;
	}
	if (n->now == NULL)
		nursery_close(&n);
	return n;
}

void
nursery_close(struct nursery **np)
{
	struct nursery *n = *np;

	if (n == NULL)
		return;
	if (n->now != NULL) {
		PT_ASSERT(n->now->users == 1);
		folder_left(n, n->now);
	}
	pthread_mutex_destroy(&n->lock);
	free(n);
	*np = NULL;
}

/* Under the lock: perhaps it is quick elsewhere. */
static void
look_elsewhere(struct nursery *n)
{
	struct nursery_folder *next = folder_new(n->top_fd);

	n->patience = n->patience < NURSERY_LOOK_MAX / 2 ? n->patience * 2 : NURSERY_LOOK_MAX;
	n->made = 0;
	if (next == NULL)
		return;
	folder_left(n, n->now);
	n->now = next;
	n->cost = 0;
}

static void
account(struct nursery *n, const struct nursery_folder *in, uint64_t ns)
{
	if (in != n->now || in->name[0] == '\0')
		return;
	n->cost = (n->cost * (COST_SHARE - 1) + ns) / COST_SHARE;
	if (n->made < n->patience) {
		n->made++;
		return;
	}
	if (n->cost > NURSERY_SLOW_NS)
		look_elsewhere(n);
	else
		n->patience = n->made = NURSERY_LOOK_FIRST;
}

/* Somebody has removed the folder: another takes its place. Under the lock. false: that cannot be. */
static bool
replaced(struct nursery *n, struct nursery_folder *f)
{
	struct nursery_folder *next;

	if (f->name[0] == '\0')
		return false;
	if (f == n->now) { /* else another thread has seen it */
		if ((next = folder_new(n->top_fd)) == NULL)
			return false;
		folder_left(n, n->now);
		n->now = next;
		n->cost = 0;
	}
	return true;
}

/* 0, or errno; *again: with another folder it may be done. */
static int
make_once(struct nursery *n, const char *name, struct nursery_file *f, bool *again)
{
	uint64_t began, ns;
	int error;

	pthread_mutex_lock(&n->lock);
	f->in = n->now;
	f->in->users++;
	pthread_mutex_unlock(&n->lock);
	f->folder = f->in->fd;
	began = n->clock();
	f->fd = openat(f->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	error = f->fd < 0 ? errno : 0;
	ns = n->clock() - began;
	pthread_mutex_lock(&n->lock);
	account(n, f->in, ns);
	*again = error == ENOENT && replaced(n, f->in);
	if (error != 0)
		folder_left(n, f->in);
	pthread_mutex_unlock(&n->lock);
	return error;
}

int
nursery_make(struct nursery *n, const char *name, struct nursery_file *f)
{
	bool again;
	int error = make_once(n, name, f, &again);

	if (again)
		error = make_once(n, name, f, &again);
	return error == 0 ? 0 : maildir_error(error);
}

void
nursery_done(struct nursery *n, struct nursery_file *f, const char *name)
{
	if (f->fd >= 0)
		close(f->fd);
	if (name != NULL)
		(void)unlinkat(f->folder, name, 0);
	pthread_mutex_lock(&n->lock);
	folder_left(n, f->in);
	pthread_mutex_unlock(&n->lock);
}
