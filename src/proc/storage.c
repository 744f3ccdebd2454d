/* proc/storage.c - see storage.h. The parent opens these folders and never looks into them. */
#include "proc/parent.h"

#include "proc/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
storage_close(int fds[STORAGE_FOLDERS])
{
	int i;

	for (i = 0; i < STORAGE_FOLDERS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static int
open_folder(const char *path, uid_t uid, gid_t gid, int *fd_out, struct diag *diag)
{
	struct stat st;
	bool made;

	made = mkdir(path, 0700) == 0;
	if (!made && errno != EEXIST)
		return diag_set(diag, PT_EIO, "cannot make the folder %s: %s", path, strerror(errno));
	if ((*fd_out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return diag_set(diag, PT_EIO, "cannot open the folder %s: %s", path, strerror(errno));
	/* one that is there belongs to whom it belongs; that it cannot be used is said here */
	if (made && uid != 0 && fchown(*fd_out, uid, gid) != 0)
		return diag_set(diag, PT_EPERM, "cannot give the folder %s to its user: %s", path, strerror(errno));
	if (fstat(*fd_out, &st) != 0)
		return diag_set(diag, PT_EIO, "%s: %s", path, strerror(errno));
	if (st.st_uid != (uid != 0 ? uid : geteuid()))
		return diag_set(diag, PT_EPERM, "the folder %s belongs to user %u; the store is user %u: chown it",
			path, (unsigned)st.st_uid, (unsigned)(uid != 0 ? uid : geteuid()));
	return 0;
}

int
storage_open(const struct conf *conf, uid_t uid, gid_t gid, int fds[STORAGE_FOLDERS], struct diag *diag)
{
	static const char *const names[] = { [STORAGE_JOURNAL] = "journal", [STORAGE_KEYS] = "kv",
		[STORAGE_QUEUE] = "queue" };
	char path[4096 + 16];
	int i, rc = 0;

	for (i = 0; i < STORAGE_FOLDERS; i++)
		fds[i] = -1;
	for (i = 0; i < STORAGE_FOLDERS && rc == 0; i++) {
		if (i == STORAGE_MAIL)
			snprintf(path, sizeof path, "%s", conf->mail);
		else
			snprintf(path, sizeof path, "%s/%s", conf->state, names[i]);
		rc = open_folder(path, uid, gid, &fds[i], diag);
	}
	if (rc != 0)
		storage_close(fds);
	return rc;
}

bool
storage_wanted(const struct conf *conf)
{
	return conf->mail != NULL;
}
