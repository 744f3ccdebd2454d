/* store/local_graves.c - what a record takes away and a replay may still need: it lies in .tmp until a checkpoint has everything.
 *
 * A message that was expunged, because a copy of it may not be on the disk yet; and a deleted mailbox, where the process ended
 * before all of it was removed. Each has the LSN of its record in its name. In threads, and before the first of them. */
#include "store/local.h"

#include "store/hex.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GONE "gone-" /* <lsn>-<mailbox id>-<uid> */

void
grave_name(char out[GRAVE_ROOM], uint64_t lsn, struct span id, uint32_t uid)
{
	snprintf(out, GRAVE_ROOM, GONE "%016llx-%.*s-%08x", (unsigned long long)lsn, (int)id.n, (const char *)id.p, uid);
}

/* What follows the LSN; NULL: no grave. */
static const char *
grave_parse(const char *name, uint64_t *lsn_out)
{
	size_t n = strlen(GONE);

	if (strncmp(name, GONE, n) != 0 || strlen(name) < n + 17 || !hex_get((const uint8_t *)name + n, 16, lsn_out))
		return NULL;
	return name + n + 17;
}

struct names *
graves_read(int tmp_fd)
{
	struct names *n = names_new();
	struct dirent *e;
	const char *what;
	uint64_t lsn;
	DIR *dir;
	int fd, rc = 0;

	if (n == NULL)
		return NULL;
	fd = openat(tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		names_free(&n);
		return NULL;
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if ((what = grave_parse(e->d_name, &lsn)) != NULL &&
		    (rc = names_add(n, span_str(what), 0, 0)) == 0)
			names_find(n, span_str(what))->size = lsn;
	if (rc == 0 && errno != 0)
		rc = PT_EIO;
	closedir(dir);
	if (rc != 0)
		names_free(&n);
	return n;
}

/* A mailbox that was deleted, and of which something is left: the process ended in between. */
static bool
is_deleted(const char *name, uint64_t *lsn_out)
{
	size_t n = strlen(DELETED);

	return strncmp(name, DELETED, n) == 0 && strlen(name) > n + 16 &&
		hex_get((const uint8_t *)name + n, 16, lsn_out);
}

void
graves_clear(int tmp_fd, uint64_t below)
{
	int fd = openat(tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	uint64_t lsn;
	DIR *dir;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)) != NULL)
		if (grave_parse(e->d_name, &lsn) != NULL && lsn < below)
			(void)unlinkat(fd, e->d_name, 0);
		else if (is_deleted(e->d_name, &lsn) && lsn < below)
			tree_remove(fd, e->d_name, 3);
	closedir(dir);
}

void
tree_remove(int dir_fd, const char *name, int depth)
{
	struct dirent *e;
	DIR *dir;
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) != 0 && depth > 0)
			tree_remove(fd, e->d_name, depth - 1);
	}
	closedir(dir);
	(void)unlinkat(dir_fd, name, AT_REMOVEDIR);
}
