/* store/local_names.c - which messages a mailbox's folder has, under whatever name they have by now: read once, then kept in
 * step by who changes it. Found by base name and by UID. */
#include "store/local.h"

#include "store/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct names {
	struct name **by_base, **by_uid; /* a name without a UID is not in the second */
	size_t size, n;
};

static size_t
name_hash(struct span base)
{
	size_t h = 14695981039346656037ull, i;

	for (i = 0; i < base.n; i++)
		h = (h ^ base.p[i]) * 1099511628211ull;
	return h;
}

static void
chain_uid(struct names *n, struct name *e)
{
	struct name **at = &n->by_uid[e->uid % n->size];

	if (e->uid == 0)
		return;
	e->uid_next = *at;
	*at = e;
}

static void
unchain_uid(struct names *n, struct name *e)
{
	struct name **at = &n->by_uid[e->uid % n->size];

	if (e->uid == 0)
		return;
	while (*at != e)
		at = &(*at)->uid_next;
	*at = e->uid_next;
}

static void
chain_base(struct names *n, struct name *e)
{
	struct name **at = &n->by_base[name_hash(span_str(e->base)) % n->size];

	e->base_next = *at;
	*at = e;
}

static int
names_grow(struct names *n)
{
	struct names big = { .size = n->size == 0 ? 64 : n->size * 2, .n = n->n };
	struct name *e, *next;
	size_t i;

	big.by_base = calloc(big.size, sizeof *big.by_base);
	big.by_uid = calloc(big.size, sizeof *big.by_uid);
	if (big.by_base == NULL || big.by_uid == NULL) {
		free(big.by_base);
		free(big.by_uid);
		return PT_ENOMEM;
	}
	for (i = 0; i < n->size; i++)
		for (e = n->by_base[i]; e != NULL; e = next) {
			next = e->base_next;
			chain_base(&big, e);
			chain_uid(&big, e);
		}
	free(n->by_base);
	free(n->by_uid);
	*n = big;
	return 0;
}

struct name *
names_find(const struct names *n, struct span base)
{
	struct name *e;

	if (n->size == 0)
		return NULL;
	for (e = n->by_base[name_hash(base) % n->size]; e != NULL; e = e->base_next)
		if (span_equal(span_str(e->base), base))
			return e;
	return NULL;
}

struct name *
names_find_uid(const struct names *n, uint32_t uid)
{
	struct name *e = n->size == 0 || uid == 0 ? NULL : n->by_uid[uid % n->size];

	while (e != NULL && e->uid != uid)
		e = e->uid_next;
	return e;
}

void
names_set_uid(struct names *n, struct name *e, uint32_t uid)
{
	unchain_uid(n, e);
	e->uid = uid;
	chain_uid(n, e);
}

void
names_ours(struct name *e, uint32_t flags, uint8_t where)
{
	e->ours = e->ours || (e->flags == flags && ((e->where ^ where) & INDEX_NEW) == 0);
}

void
names_remove(struct names *n, struct name *e)
{
	struct name **at = &n->by_base[name_hash(span_str(e->base)) % n->size];

	while (*at != e)
		at = &(*at)->base_next;
	*at = e->base_next;
	unchain_uid(n, e);
	n->n--;
	free(e);
}

int
names_add(struct names *n, struct span base, uint32_t flags, uint8_t where)
{
	struct name *e = names_find(n, base);
	struct maildir_name m;
	int rc;

	if (e != NULL) { /* twice: in cur/ it is further on its way */
		if (where == 0) {
			e->flags = flags;
			e->where = where;
		}
		return 0;
	}
	if (n->n >= n->size && (rc = names_grow(n)) != 0)
		return rc;
	if ((e = calloc(1, sizeof *e + base.n + 1)) == NULL)
		return PT_ENOMEM;
	memcpy(e->base, base.p, base.n);
	e->flags = flags;
	e->where = where;
	if (maildir_name_parse(base, &m)) {
		e->uid = m.has_uid ? m.uid : 0;
		e->has_size = m.has_size;
		e->size = m.size;
		e->has_virtual = m.has_virtual;
		e->virt = m.virt;
	}
	chain_base(n, e);
	chain_uid(n, e);
	n->n++;
	return 0;
}

int
names_each(struct names *n, names_each_f *f, void *arg)
{
	struct name *e;
	size_t i;
	int rc = 0;

	for (i = 0; i < n->size && rc == 0; i++)
		for (e = n->by_base[i]; e != NULL && rc == 0; e = e->base_next)
			rc = f(arg, e);
	return rc;
}

void
names_free(struct names **np)
{
	struct names *n = *np;
	struct name *e, *next;
	size_t i;

	if (n == NULL)
		return;
	for (i = 0; i < n->size; i++)
		for (e = n->by_base[i]; e != NULL; e = next) {
			next = e->base_next;
			free(e);
		}
	free(n->by_base);
	free(n->by_uid);
	free(n);
	*np = NULL;
}

/* Paths are made of base and flags, and in new/ there are no flags. What others name otherwise gets the name that it must have: a
 * file that was put into cur/ as it was in new/, letters that are not in the order of the alphabet, and what mutt leaves
 * in new/ with flags, which goes into cur/. false: it is not here, or not under a name of its own. */
static bool
mend_name(int dir_fd, int fd, const char *name, const struct maildir_name *m, uint8_t where)
{
	char full[MAILDIR_NAME_MAX + 1];
	int cur;

	if (where != 0 && !m->has_info)
		return true;
	memcpy(full, name, m->base);
	full[m->base] = '\0';
	if (where == 0 || m->flags != 0)
		maildir_info(m->flags, full + m->base);
	if (where == 0 || m->flags == 0)
		return strcmp(full, name) == 0 || renameat2(fd, name, fd, full, RENAME_NOREPLACE) == 0;
	if ((cur = openat(dir_fd, "cur", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) >= 0) {
		(void)!renameat2(fd, name, cur, full, RENAME_NOREPLACE);
		close(cur);
	}
	return false; /* cur/ is read next */
}

static int
names_read_part(struct names *n, int dir_fd, const char *part, uint8_t where)
{
	struct maildir_name m;
	struct dirent *e;
	DIR *dir;
	int fd = openat(dir_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : PT_EIO;
	if ((dir = fdopendir(fd)) == NULL) {
		close(fd);
		return PT_ENOMEM;
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if ((e->d_type == DT_REG || e->d_type == DT_UNKNOWN) &&
		    maildir_name_parse(span_str(e->d_name), &m) &&
		    mend_name(dir_fd, fd, e->d_name, &m, where))
			rc = names_add(n, (struct span){ (const uint8_t *)e->d_name, m.base }, m.flags, where);
	if (rc == 0 && errno != 0) /* what is not named here would be taken for removed */
		rc = PT_EIO;
	closedir(dir);
	return rc;
}

struct names *
names_new(void)
{
	return calloc(1, sizeof(struct names));
}

int
names_read(int dir_fd, struct names **out)
{
	struct names *n = names_new();
	int rc;

	*out = NULL;
	if (n == NULL)
		return PT_ENOMEM;
	/* new/ first: what moves from there to cur/ meanwhile is seen in one of them */
	if ((rc = names_read_part(n, dir_fd, "new", INDEX_NEW)) != 0 ||
	    (rc = names_read_part(n, dir_fd, "cur", 0)) != 0)
		names_free(&n);
	*out = n;
	return rc;
}
