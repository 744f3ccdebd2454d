/* proc/launch.c - starting children: fork and exec with a role, fixed descriptors and an end of the log.
 *
 * What each of them then needs to work is helpers.c's and workers.c's business. */
#include "proc/parent.h"

#include "proc/confine.h"
#include "proc/storage.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_GATHERED (208 * 1024) /* octets; the kernel doubles it */
#define TITLE_ROOM 128            /* octets of environment that a process title may overwrite */

extern char **environ;

/* --- exec ------------------------------------------------------------------------------------- */

/* In the child, between fork and exec: nothing but descriptors. */
__attribute__((noreturn)) static void
exec_role(const struct parent *p, enum role role, const int want[ROLE_FD_MAX - ROLE_FD_PARENT], int nwant, uid_t uid, gid_t gid)
{
	char name[] = "posternd", u[16], g[16];
	char room[TITLE_ROOM] = "POSTERN_TITLE=";
	char *argv[] = { name, (char *)(uintptr_t)"-r", (char *)(uintptr_t)role_name(role),
		(char *)(uintptr_t)"-u", u, (char *)(uintptr_t)"-g", g, NULL };
	char *env[5] = { room }, **e;
	int safe[ROLE_FD_MAX - ROLE_FD_PARENT], i, n = 1, null;

	/* a process title is written over arguments and environment: make room for it */
	memset(room + strlen(room), '-', sizeof room - strlen(room) - 1);
	snprintf(u, sizeof u, "%u", (unsigned)uid);
	snprintf(g, sizeof g, "%u", (unsigned)gid);
	/* nothing of our surroundings but what a sanitizer's runtime reads (and no SSLKEYLOGFILE) */
	for (e = environ; *e != NULL && n < 4; e++)
		if (strncmp(*e, "ASAN_OPTIONS=", 13) == 0 || strncmp(*e, "UBSAN_OPTIONS=", 14) == 0)
			env[n++] = *e;
	for (i = 0; i < nwant; i++) /* away from the fixed places first */
		if ((safe[i] = fcntl(want[i], F_DUPFD_CLOEXEC, 16)) < 0)
			_exit(71);
	for (i = 0; i < nwant; i++)
		if (dup2(safe[i], ROLE_FD_PARENT + i) < 0)
			_exit(71);
	/* in the background nobody may keep the starter's terminal or pipe */
	if ((null = open("/dev/null", O_RDWR)) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(p->foreground ? STDERR_FILENO : null, STDOUT_FILENO) < 0 ||
	    dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
		_exit(71);
	if (null > STDERR_FILENO)
		close(null);
	fexecve(p->exe_fds[role], argv, env);
	dprintf(STDERR_FILENO, "posternd: cannot start the %s: %s\n", role_name(role), strerror(errno));
	_exit(71);
}

static int
account(const struct parent *p, enum role role, uid_t *uid, gid_t *gid)
{
	const struct passwd *pw;

	*uid = 0;
	*gid = 0;
	if (!p->is_root || confine_user(role) == NULL)
		return 0;
	if ((pw = getpwnam(confine_user(role))) == NULL) {
		log_msg(LOG_L_ERROR, "the account %s does not exist: run \"postern setup\" as root",
			confine_user(role));
		return PT_ENOENT;
	}
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	return 0;
}

int
launch_log_end(struct parent *p, int *control_end)
{
	int fds[2];

	*control_end = -1;
	if (p->helpers[ROLE_CONTROL] == NULL || chan_pair(fds) != 0)
		return -1;
	/* as much as anybody may: lines gather there (control_log.c) */
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){ LOG_GATHERED }, sizeof(int));
	*control_end = fds[1];
	return fds[0];
}

static int
open_folders(const struct parent *p, uid_t uid, gid_t gid, int fds[STORAGE_FOLDERS], struct diag *diag)
{
	const struct generation *g = p->staging != NULL ? p->staging : p->current;

	if (g == NULL || g->conf == NULL || g->conf->mail == NULL)
		return PT_EUNAVAIL;
	return storage_open(g->conf, uid, gid, fds, diag);
}

int
launch(struct parent *p, enum role role, uint32_t slot, uint64_t generation, struct proc **proc_out,
       struct diag *diag)
{
	int fds[2] = { -1, -1 }, null = -1, log_end = -1, control_end = -1, rc;
	int want[ROLE_FD_MAX - ROLE_FD_PARENT] = { -1, -1, -1, -1, -1, -1, -1 }, nwant = 3;
	struct proc *proc;
	uid_t uid;
	gid_t gid;
	pid_t pid;

	*proc_out = NULL;
	if ((rc = account(p, role, &uid, &gid)) != 0 || (rc = chan_pair(fds)) != 0)
		return rc;
	if ((null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0) {
		rc = PT_EIO;
		goto out;
	}
	if (role_folders(role) > 0 && (rc = open_folders(p, uid, gid, want + nwant, diag)) != 0)
		goto out;
	nwant += (int)role_folders(role);
	if (role != ROLE_CONTROL)
		log_end = launch_log_end(p, &control_end);
	want[0] = fds[1];
	want[1] = log_end >= 0 ? log_end : null;
	want[2] = p->root_fd >= 0 ? p->root_fd : null;
	if ((pid = fork()) < 0) {
		rc = diag_set(diag, PT_EIO, "cannot fork: %s", strerror(errno));
		goto out;
	}
	if (pid == 0)
		exec_role(p, role, want, nwant, uid, gid);
	proc = supervise_adopt(p, role, slot, pid, generation, PROC_STARTING, fds[0]);
	fds[0] = -1;
	if (control_end >= 0)
		SEND(p->helpers[ROLE_CONTROL], log_sender, control_end, .role = (uint8_t)role, .pid = (uint32_t)pid,
			.slot = slot);
	*proc_out = proc;
	rc = 0;
out:
	if (fds[0] >= 0)
		close(fds[0]);
	close(fds[1]);
	if (null >= 0)
		close(null);
	if (log_end >= 0)
		close(log_end);
	if (control_end >= 0)
		close(control_end);
	if (role_folders(role) > 0)
		storage_close(want + 3);
	return rc;
}

