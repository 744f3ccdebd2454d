/* store/local_admin.c - what an operator asks of the local engine, in threads: it may take as long as a disk does. */
#include "store/local.h"

#include "store/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct users_job {
	struct crew_job job;
	struct local *l;
	char after[STORE_USER_MAX + 1];
	size_t max;
	store_users_cb *cb;
	void *arg;
	int rc;
	char **names; /* owned */
	size_t n, cap;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Who goes beyond twice what is asked for, loses the higher half: memory does not grow with the users. */
static void
users_cut(struct users_job *j)
{
	if (j->n == 0)
		return;
	qsort(j->names, j->n, sizeof *j->names, by_name);
	while (j->n > j->max)
		free(j->names[--j->n]);
}

static int
users_add(struct users_job *j, const char *name)
{
	if (j->names == NULL && (j->names = calloc(2 * j->max, sizeof *j->names)) == NULL)
		return PT_ENOMEM;
	if ((j->names[j->n] = strdup(name)) == NULL)
		return PT_ENOMEM;
	if (++j->n == 2 * j->max)
		users_cut(j);
	return 0;
}

static bool
is_user(struct local *l, const struct dirent *e)
{
	int fd;

	if ((e->d_type != DT_DIR && e->d_type != DT_UNKNOWN) || !maildir_user_ok(span_str(e->d_name)) ||
	    (fd = maildir_user_open(l->conf.mail_fd, e->d_name, false)) < 0)
		return false;
	close(fd);
	return true;
}

static void
users_run(struct crew_job *pj)
{
	struct users_job *j = (struct users_job *)pj;
	struct dirent *e;
	DIR *dir;
	int fd = openat(j->l->conf.mail_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		j->rc = maildir_error(errno);
		if (fd >= 0)
			close(fd);
		return;
	}
	while (j->rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, j->after) > 0 && is_user(j->l, e))
			j->rc = users_add(j, e->d_name);
	if (j->rc == 0 && errno != 0)
		j->rc = PT_EIO;
	closedir(dir);
	users_cut(j);
}

static void
users_done(struct crew_job *pj)
{
	struct users_job *j = (struct users_job *)pj;
	size_t i;

	j->cb(j->arg, local_rc(j->rc), (const char *const *)j->names, j->n);
	for (i = 0; i < j->n; i++)
		free(j->names[i]);
	free(j->names);
	free(j);
}

void
local_users(struct store_backend *be, const char *after, size_t max, store_users_cb *cb, void *arg)
{
	struct local *l = (struct local *)be;
	struct users_job *j = calloc(1, sizeof *j);

	if (j == NULL) {
		cb(arg, STORE_TEMP, NULL, 0);
		return;
	}
	j->job = (struct crew_job){ .run = users_run, .done = users_done, .lane = CREW_READ };
	j->l = l;
	snprintf(j->after, sizeof j->after, "%s", after);
	j->max = max;
	j->cb = cb;
	j->arg = arg;
	crew_submit(l->crew, &j->job, NULL, 0);
}
