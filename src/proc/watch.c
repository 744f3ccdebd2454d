/* proc/watch.c - see watch.h. What is in the files, and whether a change is one, is for who asked. */
#include "proc/watch.h"

#include "proc/credset.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel follows */
#define WEAKNESS_MAX 512
/* Not IN_MODIFY: who writes in place is met when the file is closed, and not before. */
#define MASK                                                                                       \
	(IN_CLOSE_WRITE | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |        \
		IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

struct place { /* a name in a folder, on the way to a file */
	int wd;
	char *name;
};

struct watch {
	struct ev_loop *loop;
	watch_f *f;
	void *arg;
	int fd; /* -1: no inotify */
	struct ev_io io;
	struct ev_timer quiet, look;
	uint64_t first_ms; /* of the changes not told yet; 0: there are none */
	uint64_t seen;     /* digest of all signatures when last looked at */
	char **paths;
	size_t npaths;
	struct place *places;
	size_t nplaces;
	char weakness[WEAKNESS_MAX]; /* "": none */
};

/* --- looking ---------------------------------------------------------------------------------- */

/* Of where each path leads to. */
static uint64_t
digest(const struct watch *w)
{
	uint64_t h = 0;
	size_t i;

	for (i = 0; i < w->npaths; i++)
		h = file_sig_digest(h, w->paths[i]);
	return h;
}

/* File systems whose files others may change without this kernel's knowing. */
static bool
is_remote(const char *path)
{
	static const uint32_t types[] = {
		0x6969,     /* NFS */
		0xff534d42, /* CIFS */
		0xfe534d42, /* SMB 2 */
		0x517b,     /* SMB */
		0x65735546, /* FUSE, and so sshfs, virtiofs */
		0x01021997, /* 9p */
		0x00c36400, /* Ceph */
		0x5346414f, /* AFS */
		0x0bd00bd0, /* Lustre */
		0x01161970, /* GFS2 */
		0x7461636f, /* OCFS2 */
	};
	struct statfs st;
	size_t i;

	if (statfs(path, &st) != 0)
		return false;
	for (i = 0; i < PT_COUNT(types); i++)
		if ((uint32_t)st.f_type == types[i])
			return true;
	return false;
}

__attribute__((format(printf, 2, 3))) static void
weak(struct watch *w, const char *fmt, ...)
{
	va_list ap;

	if (w->weakness[0] != '\0')
		return;
	va_start(ap, fmt);
	vsnprintf(w->weakness, sizeof w->weakness, fmt, ap);
	va_end(ap);
}

/* --- the way to a file ------------------------------------------------------------------------ */

static int
note(struct watch *w, const char *folder, const char *name)
{
	struct place *more;
	int wd = -1;
	size_t i;

	if (w->fd >= 0 && (wd = inotify_add_watch(w->fd, folder, MASK)) < 0 && errno != ENOENT)
		weak(w, "the kernel does not tell of changes in %s (%s)", folder, strerror(errno));
	if (wd < 0)
		return 0;
	for (i = 0; i < w->nplaces; i++)
		if (w->places[i].wd == wd && strcmp(w->places[i].name, name) == 0)
			return 0;
	if ((more = reallocarray(w->places, w->nplaces + 1, sizeof *more)) == NULL)
		return PT_ENOMEM;
	w->places = more;
	more[w->nplaces] = (struct place){ wd, strdup(name) };
	if (more[w->nplaces].name == NULL)
		return PT_ENOMEM;
	w->nplaces++;
	return 0;
}

/* at becomes its own parent, or what name is in it. False: too long. */
static bool
descend(char at[PATH_MAX], const char *name)
{
	char *slash;

	if (strcmp(name, "..") == 0) {
		slash = strrchr(at, '/');
		*(slash == at ? at + 1 : slash) = '\0';
		return true;
	}
	return (strcmp(at, "/") == 0 || strlcat(at, "/", PATH_MAX) < PATH_MAX) &&
		strlcat(at, name, PATH_MAX) < PATH_MAX;
}

/* Notes every folder that the kernel looks into on its way along path, and the name that it looks for. A part that is
 * not there is the end: its folder tells when it comes. */
static int
follow(struct watch *w, const char *path)
{
	char at[PATH_MAX] = "/", rest[PATH_MAX], link[PATH_MAX], next[PATH_MAX], *name, *more;
	unsigned links = 0;
	ssize_t n;
	int rc;

	if (strlcpy(rest, path, sizeof rest) >= sizeof rest)
		return 0;
	for (more = rest; (name = strsep(&more, "/")) != NULL;) {
		if (name[0] == '\0' || strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") != 0 && (rc = note(w, at, name)) != 0)
			return rc;
		strlcpy(next, at, sizeof next);
		if (!descend(next, name))
			return 0;
		if ((n = readlink(next, link, sizeof link - 1)) <= 0) { /* no link, or not there */
			strlcpy(at, next, sizeof at);
			continue;
		}
		link[n] = '\0';
		if (++links > LINKS_MAX || (more != NULL && (strlcat(link, "/", sizeof link) >= sizeof link ||
						    strlcat(link, more, sizeof link) >= sizeof link)))
			return 0;
		if (link[0] == '/')
			strlcpy(at, "/", sizeof at);
		strlcpy(rest, link, sizeof rest);
		more = rest;
	}
	return 0;
}

static bool
has_wd(const struct place *places, size_t n, int wd)
{
	while (n > 0)
		if (places[--n].wd == wd)
			return true;
	return false;
}

static void
free_places(struct place *places, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		free(places[i].name);
	free(places);
}

/* Links may lead elsewhere now, and folders may be others. */
static int
follow_all(struct watch *w)
{
	struct place *old = w->places;
	size_t i, nold = w->nplaces;
	int rc = 0;

	w->places = NULL;
	w->nplaces = 0;
	w->weakness[0] = '\0';
	if (w->fd < 0)
		weak(w, "the kernel does not tell of changed files");
	for (i = 0; i < w->npaths && rc == 0; i++) {
		rc = follow(w, w->paths[i]);
		if (is_remote(w->paths[i]))
			weak(w, "%s is on a file system of another machine", w->paths[i]);
	}
	for (i = 0; i < nold; i++)
		if (!has_wd(w->places, w->nplaces, old[i].wd) && !has_wd(old, i, old[i].wd))
			(void)inotify_rm_watch(w->fd, old[i].wd);
	free_places(old, nold);
	return rc;
}

/* --- telling ---------------------------------------------------------------------------------- */

static void
look_later(struct watch *w)
{
	if (w->npaths > 0)
		ev_timer_set(&w->look, w->weakness[0] != '\0' ? WATCH_FAST_MS : WATCH_SLOW_MS);
	else
		ev_timer_clear(&w->look);
}

static void
touched(struct watch *w)
{
	uint64_t now = ev_now_ms(), left = WATCH_QUIET_MS;

	w->seen = digest(w);
	if (w->first_ms == 0)
		w->first_ms = now;
	if (now + left > w->first_ms + WATCH_LATEST_MS)
		left = w->first_ms + WATCH_LATEST_MS > now ? w->first_ms + WATCH_LATEST_MS - now : 0;
	ev_timer_set(&w->quiet, left);
}

static void
quiet(void *arg)
{
	struct watch *w = arg;
	uint64_t seen = digest(w);

	/* who writes slowly is waited for */
	if (seen != w->seen && ev_now_ms() < w->first_ms + WATCH_LATEST_MS) {
		touched(w);
		return;
	}
	w->seen = seen;
	w->first_ms = 0;
	if (follow_all(w) != 0)
		weak(w, "memory is short");
	look_later(w);
	w->f(w->arg);
}

static void
look(void *arg)
{
	struct watch *w = arg;
	uint64_t seen = digest(w);

	look_later(w);
	if (seen != w->seen)
		touched(w);
}

static bool
matters(const struct watch *w, const struct inotify_event *e)
{
	size_t i;

	if (e->mask & IN_Q_OVERFLOW)
		return true;
	for (i = 0; i < w->nplaces; i++)
		if (w->places[i].wd == e->wd &&
		    (e->len == 0 || strcmp(w->places[i].name, e->name) == 0))
			return true;
	return false;
}

static void
events(void *arg, unsigned what)
{
	union {
		struct inotify_event e;
		char octets[16 * 1024];
	} u;
	const struct inotify_event *e;
	struct watch *w = arg;
	bool any = false;
	ssize_t n, at;

	(void)what;
	/* once: a folder in which very much happens must not hold us; the rest comes next time */
	if ((n = read(w->fd, &u, sizeof u)) <= 0)
		return;
	for (at = 0; at < n; at += (ssize_t)(sizeof *e + e->len)) {
		e = (const struct inotify_event *)(const void *)(u.octets + at);
		any = any || matters(w, e);
	}
	if (any)
		touched(w);
}

/* --- begin and end ---------------------------------------------------------------------------- */

struct watch *
watch_new(struct ev_loop *loop, bool inotify, watch_f *f, void *arg)
{
	struct watch *w = calloc(1, sizeof *w);

	if (w == NULL)
		return NULL;
	w->loop = loop;
	w->f = f;
	w->arg = arg;
	w->fd = inotify ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
	if (w->fd >= 0) {
		ev_io_init(&w->io, loop, w->fd, events, w);
		ev_io_want(&w->io, EV_IO_READ);
	}
	ev_timer_init(&w->quiet, loop, quiet, w);
	ev_timer_init(&w->look, loop, look, w);
	return w;
}

static void
forget_paths(struct watch *w)
{
	while (w->npaths > 0)
		free(w->paths[--w->npaths]);
	free(w->paths);
	w->paths = NULL;
}

int
watch_paths(struct watch *w, const char *const *paths, size_t n)
{
	char **copy = calloc(n + 1, sizeof *copy);
	int rc;

	forget_paths(w);
	if ((w->paths = copy) == NULL)
		return PT_ENOMEM;
	for (; w->npaths < n; w->npaths++)
		if ((copy[w->npaths] = strdup(paths[w->npaths])) == NULL)
			return PT_ENOMEM;
	rc = follow_all(w);
	w->seen = digest(w);
	look_later(w);
	return rc;
}

const char *
watch_weakness(const struct watch *w)
{
	return w->npaths > 0 && w->weakness[0] != '\0' ? w->weakness : NULL;
}

void
watch_free(struct watch **wp)
{
	struct watch *w = *wp;

	if (w == NULL)
		return;
	if (w->fd >= 0) {
		ev_io_fini(&w->io);
		close(w->fd);
	}
	ev_timer_fini(&w->quiet);
	ev_timer_fini(&w->look);
	forget_paths(w);
	free_places(w->places, w->nplaces);
	free(w);
	*wp = NULL;
}
