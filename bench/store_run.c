/* bench/store_run.c - see store_run.h. */
#include "config.h"

#include "store_run.h"

#include "pki.h"
#include "meter.h"

#include "ipc/msg.h"
#include "proc/confine.h"
#include "proc/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_S 120 /* for hangs */

/* In the order in which the store finds them (proc/storage.h). */
static void
folders_open(const char *dir, uid_t uid, gid_t gid, int fds[STORAGE_FOLDERS])
{
	static const char *const names[STORAGE_FOLDERS] = { [STORAGE_JOURNAL] = "state/journal",
		[STORAGE_KEYS] = "state/kv", [STORAGE_QUEUE] = "state/queue", [STORAGE_MAIL] = "mail" };
	char path[4096];
	int i;

	snprintf(path, sizeof path, "%s/state", dir);
	(void)mkdir(path, 0755);
	for (i = 0; i < STORAGE_FOLDERS; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		(void)mkdir(path, 0700);
		if ((fds[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
		    (uid != 0 && fchown(fds[i], uid, gid) != 0))
			fail(path, 0);
	}
}

static int
configuration(const char *dir)
{
	int fd = memfd_create("configuration", MFD_CLOEXEC);

	if (fd < 0 || dprintf(fd, "hostname localhost\nstate \"%s/state\"\nmail \"%s/mail\"\n", dir, dir) < 0 ||
	    lseek(fd, 0, SEEK_SET) != 0)
		fail("the store's configuration", 0);
	return fd;
}

/* What may come along: the preloaded library of the slow rows. */
static void
environment(char *env[8])
{
	static const char *const kept[] = { "LD_PRELOAD=", "BENCH_FLUSH_" };
	extern char **environ;
	char **e;
	size_t i;
	int n = 0;

	for (e = environ; *e != NULL; e++)
		for (i = 0; i < PT_COUNT(kept) && n < 6; i++)
			if (strncmp(*e, kept[i], strlen(kept[i])) == 0)
				env[n++] = *e;
	env[n] = NULL;
}

__attribute__((noreturn)) static void
become_store(const char *program, const int *want, int n, uid_t uid, gid_t gid)
{
	char u[16], g[16], *env[8];
	char *argv[] = { (char *)(uintptr_t)"postern-store", (char *)(uintptr_t)"-r", (char *)(uintptr_t)"store",
		(char *)(uintptr_t)"-u", u, (char *)(uintptr_t)"-g", g, NULL };
	int safe[8], i;

	snprintf(u, sizeof u, "%u", (unsigned)uid);
	snprintf(g, sizeof g, "%u", (unsigned)gid);
	environment(env);
	for (i = 0; i < n; i++)
		if ((safe[i] = fcntl(want[i], F_DUPFD_CLOEXEC, 64)) < 0)
			_exit(71);
	for (i = 0; i < n; i++)
		if (dup2(safe[i], ROLE_FD_PARENT + i) < 0)
			_exit(71);
	execve(program, argv, env);
	_exit(71);
}

/* Waits for a frame of the store's; others are passed over. */
static void
await_frame(struct store_run *r, enum msg_type type, struct frame *f)
{
	struct pollfd p = { .fd = chan_fd(r->chan), .events = POLLIN };
	int rc;

	for (;;) {
		if (poll(&p, 1, START_S * 1000) <= 0)
			fail("the store says nothing", 0);
		if ((rc = chan_recv(r->chan, f)) == PT_EAGAIN)
			continue;
		if (rc != 0)
			fail("the store ended while it started", 0);
		if (f->type == type)
			return;
		frame_fini(f);
	}
}

void
store_run_start(struct store_run *r, const char *program, const char *dir)
{
	struct msg_config config = { .generation = 1 };
	struct msg_cred_ack ack;
	struct passwd *pw = geteuid() == 0 ? getpwnam(confine_user(ROLE_STORE)) : NULL;
	uid_t uid = pw == NULL ? 0 : pw->pw_uid;
	gid_t gid = pw == NULL ? 0 : pw->pw_gid;
	int fds[2], folders[STORAGE_FOLDERS], log[2], conf_fd, root, i;
	char path[4096];
	struct frame f;

	conf_fd = configuration(dir);
	folders_open(dir, uid, gid, folders);
	snprintf(path, sizeof path, "%s/empty", dir);
	(void)mkdir(path, 0755);
	if (chan_pair(fds) != 0 || chan_pair(log) != 0 ||
	    (root = open(geteuid() == 0 ? path : "/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
		fail("descriptors for the store", 0);
	r->started_ns = meter_now_ns();
	if ((r->pid = fork()) == 0)
		become_store(program, (int[]){ fds[1], log[1], root, folders[STORAGE_JOURNAL], folders[STORAGE_KEYS],
			folders[STORAGE_QUEUE], folders[STORAGE_MAIL] }, 3 + STORAGE_FOLDERS, uid, gid);
	close(fds[1]);
	close(log[1]);
	close(root);
	for (i = 0; i < STORAGE_FOLDERS; i++)
		close(folders[i]);
	r->log_fd = log[0];
	if (r->pid < 0 || (r->chan = chan_new(fds[0])) == NULL || msg_config_encode(&config, 0, &f) != 0 ||
	    chan_send(r->chan, &f, conf_fd) != 0)
		fail("cannot start the store", 0);
	close(conf_fd);
	await_frame(r, MSG_T_CRED_ACK, &f);
	if (msg_cred_ack_decode(&f, &ack) != 0 || !ack.ok)
		fail("the store cannot open its folders", 0);
	r->ready_ns = meter_now_ns();
}

int
store_run_channel(struct store_run *r)
{
	struct msg_channel m = { .role = ROLE_WORKER, .generation = 1 };
	struct frame f;
	int fds[2];

	if (chan_pair(fds) != 0 || msg_channel_encode(&m, 0, &f) != 0 || chan_send(r->chan, &f, fds[1]) != 0)
		fail("no channel to the store", 0);
	close(fds[1]);
	return fds[0];
}

static void
ended(struct store_run *r)
{
	int status;

	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	chan_free(&r->chan);
	close(r->log_fd);
	r->pid = -1;
}

void
store_run_kill(struct store_run *r)
{
	(void)kill(r->pid, SIGKILL);
	ended(r);
}

void
store_run_stop(struct store_run *r)
{
	struct msg_stop m = { .timeout_ms = 60000 };
	struct frame f;

	if (msg_stop_encode(&m, 0, &f) != 0 || chan_send(r->chan, &f, -1) != 0)
		fail("the store has ended by itself", 0);
	ended(r);
}

static uint64_t
run_ns(pid_t pid, const char *task)
{
	char path[128];
	uint64_t ns = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)pid, task);
	if ((f = fopen(path, "re")) == NULL)
		return 0;
	if (fscanf(f, "%" SCNu64, &ns) != 1)
		ns = 0;
	fclose(f);
	return ns;
}

static bool
is_apply(pid_t pid, const char *task)
{
	char path[128], name[32] = "";
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/comm", (int)pid, task);
	if ((f = fopen(path, "re")) == NULL)
		return false;
	if (fscanf(f, "%31s", name) != 1)
		name[0] = '\0';
	fclose(f);
	return strncmp(name, "apply", 5) == 0;
}

struct store_cpu
store_run_cpu(const struct store_run *r)
{
	struct store_cpu c = { 0, 0 };
	char path[64];
	struct dirent *e;
	uint64_t ns;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)r->pid);
	if ((dir = opendir(path)) == NULL)
		fail(path, 0);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		c.all_ns += ns = run_ns(r->pid, e->d_name);
		if (!is_apply(r->pid, e->d_name))
			c.front_ns += ns;
	}
	closedir(dir);
	return c;
}

uint64_t
pss_kib(pid_t pid)
{
	char path[64], word[64];
	uint64_t n, pss = 0;
	FILE *f;
	char line[256];

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	if ((f = fopen(path, "re")) == NULL)
		return 0;
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "%63s %" SCNu64, word, &n) == 2 && strcmp(word, "Pss:") == 0)
			pss = n;
	fclose(f);
	return pss;
}

void
store_await(struct store *s, const bool *flag)
{
	struct pollfd p;

	while (!*flag) {
		p = (struct pollfd){ .fd = store_fd(s), .events = (short)(POLLIN | (store_wants_write(s) ? POLLOUT : 0)) };
		if (poll(&p, 1, START_S * 1000) <= 0)
			fail("the store does not answer", 0);
		if (store_dispatch(s) != 0)
			fail("the store has gone", 0);
	}
}
