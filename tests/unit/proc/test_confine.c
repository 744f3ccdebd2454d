/* unit/proc/test_confine.c - the table of confinement is complete, and a process that has entered it gets for
 * each attempt what the table says. Without root, as a developer runs it. */
#include "test.h"

#include "proc/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const enum role confined[] = { ROLE_KEYHOLDER, ROLE_WORKER, ROLE_CONTROL, ROLE_AUTH, ROLE_STORE }; /* not spawn */

static bool
has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

static void
test_table(void)
{
	unsigned p, r;
	bool free_one;

	for (r = 0; r < ROLE_COUNT; r++) {
		free_one = r == ROLE_PARENT || r == ROLE_SPAWN; /* what they execute would inherit it */
		CU_ASSERT_EQUAL(confine_user((enum role)r) == NULL, free_one);
		for (p = 0; p < PROBE_COUNT; p++)
			CU_ASSERT_EQUAL(confine_expects((enum role)r, (enum probe)p),
				free_one ? (r == ROLE_SPAWN && p == PROBE_PTRACE ? EPERM : 0)
					 : p == PROBE_EXECVE ? PROBE_KILLED
					 : r == ROLE_STORE && p == PROBE_OPEN ? EACCES : EPERM);
	}
	for (p = 0; p < PROBE_COUNT; p++)
		CU_ASSERT_STRING_NOT_EQUAL(probe_name(p), "unknown");
	CU_ASSERT_STRING_EQUAL(probe_name(PROBE_COUNT), "unknown");
}

static char folder[] = "/tmp/postern-confine-XXXXXX"; /* of the role that has some */

static int
open_at(int fd, const char *path)
{
	int got = open(path, O_RDONLY | O_DIRECTORY);

	if (got >= 0 && got != fd) {
		got = dup2(got, fd) == fd ? 0 : -1;
	}
	return got < 0 ? -1 : 0;
}

/* Runs f in a process that has entered the role. Returns how it ended, as of waitpid(). */
static int
in_role(enum role role, int (*f)(unsigned), unsigned arg)
{
	struct diag diag = { "" };
	struct buf limits;
	int status = 0, fds[2], fd;
	pid_t pid;

	if ((pid = fork()) == 0) {
		/* what a child finds as its channel: the connect probe uses it */
		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) != 0 || dup2(fds[0], ROLE_FD_PARENT) < 0)
			_exit(101);
		for (fd = ROLE_FD_FOLDER; fd < ROLE_FD_FOLDER + (int)role_folders(role); fd++)
			if (open_at(fd, folder) != 0)
				_exit(103);
		buf_init(&limits, 4096);
		if (confine_enter(role, 0, 0, -1, &limits, &diag) != 0) {
			fprintf(stderr, "\n%s\n", diag.text);
			_exit(102);
		}
		_exit(f(arg));
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return status;
}

static int
probe(unsigned what)
{
	return confine_probe((enum probe)what);
}

static void
test_probes(void)
{
	int status, want;
	unsigned p;
	size_t i;

	if (SANITIZED) {
		fprintf(stderr, "\nskipped: no system-call filter with sanitizers\n");
		return;
	}
	for (i = 0; i < PT_COUNT(confined); i++)
		for (p = 0; p < PROBE_COUNT; p++) {
			status = in_role(confined[i], probe, p);
			want = confine_expects(confined[i], (enum probe)p);
			if (want == PROBE_KILLED ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS
				: !WIFEXITED(status) || WEXITSTATUS(status) != want)
				fprintf(stderr, "\n%s: %s: %x\n", role_name(confined[i]), probe_name(p),
					(unsigned)status);
			if (want == PROBE_KILLED) {
				CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
			} else {
				CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == want);
			}
		}
}

/* Below its folders the store may do what a store does, above and beside them nothing. */
static int
uses_folders(unsigned arg)
{
	int fd;

	(void)arg;
	if (mkdirat(ROLE_FD_FOLDER, "a", 0700) != 0 ||
	    (fd = openat(ROLE_FD_FOLDER, "a/file", O_RDWR | O_CREAT, 0600)) < 0 || write(fd, "x", 1) != 1 ||
	    fdatasync(fd) != 0 || ftruncate(fd, 0) != 0 ||
	    renameat(ROLE_FD_FOLDER, "a/file", ROLE_FD_FOLDER, "moved") != 0 ||
	    linkat(ROLE_FD_FOLDER, "moved", ROLE_FD_FOLDER, "a/link", 0) != 0 ||
	    unlinkat(ROLE_FD_FOLDER, "a/link", 0) != 0 || unlinkat(ROLE_FD_FOLDER, "moved", 0) != 0 ||
	    unlinkat(ROLE_FD_FOLDER, "a", AT_REMOVEDIR) != 0)
		return 1;
	if (openat(ROLE_FD_FOLDER, "../postern-confine-beside", O_RDWR | O_CREAT, 0600) >= 0 || errno != EACCES)
		return 2;
	if (openat(ROLE_FD_FOLDER, "../../etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
		return 3;
	if (symlinkat("/etc/passwd", ROLE_FD_FOLDER, "link") == 0 ||
	    mknodat(ROLE_FD_FOLDER, "fifo", S_IFIFO | 0600, 0) == 0 || fchmod(ROLE_FD_FOLDER, 0777) == 0)
		return 4;
	return 0;
}

static void
test_folders(void)
{
	int status;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	if (!SANITIZED && has_landlock()) {
		status = in_role(ROLE_STORE, uses_folders, 0);
		CU_ASSERT_TRUE(WIFEXITED(status));
		CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
	}
}

/* Nobody else may be signalled by whatever call; the process itself may, or abort() would not end it. */
static int
signals_others(unsigned arg)
{
	(void)arg;
	if (syscall(SYS_tgkill, getppid(), getppid(), 0) == 0 || errno != EPERM)
		return 1;
	if (syscall(SYS_tkill, getppid(), 0) == 0 || errno != EPERM)
		return 2;
	if (syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, NULL) == 0 || errno != EPERM)
		return 3;
	/* a descriptor that signals its owner is a way around kill() */
	if (fcntl(STDERR_FILENO, F_SETOWN, getppid()) == 0 || errno != EPERM)
		return 5;
	if (fcntl(STDERR_FILENO, F_SETSIG, SIGUSR1) == 0 || errno != EPERM)
		return 6;
	return syscall(SYS_tgkill, getpid(), gettid(), 0) == 0 ? 0 : 4;
}

static int
aborts(unsigned arg)
{
	(void)arg;
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void
test_signals(void)
{
	int status;
	size_t i;

	if (SANITIZED)
		return;
	for (i = 0; i < PT_COUNT(confined); i++) {
		status = in_role(confined[i], signals_others, 0);
		CU_ASSERT_TRUE(WIFEXITED(status));
		CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
		status = in_role(confined[i], aborts, 0);
		CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}

/* Other ways to the same ends. */
#define WAY_CLONE3 7
static int
ways_around(unsigned arg)
{
	static const int calls[] = { SYS_openat2, SYS_creat, SYS_mkdir, SYS_unlink, SYS_fork, SYS_vfork,
		SYS_clone, SYS_clone3, SYS_socketpair, SYS_bind, SYS_listen, SYS_chroot, SYS_mount, SYS_unshare,
		SYS_prctl, SYS_seccomp, SYS_setuid, SYS_process_vm_readv, SYS_pidfd_open, SYS_io_uring_setup,
		SYS_bpf, SYS_userfaultfd, SYS_memfd_secret, SYS_name_to_handle_at };

	errno = 0;
	return syscall(calls[arg], 0, 0, 0, 0, 0, 0) == -1 ? errno : 0;
}

static void
test_ways_around(void)
{
	unsigned k;
	size_t i;
	int status, want;

	if (SANITIZED)
		return;
	for (i = 0; i < PT_COUNT(confined); i++)
		for (k = confined[i] == ROLE_STORE ? 1 : 0; k < 24; k++) { /* openat2 is the store's, below its folders */
			/* they start threads by clone(), and the C library tries clone3() first */
			want = (confined[i] == ROLE_AUTH || confined[i] == ROLE_STORE) && k == WAY_CLONE3 ? ENOSYS : EPERM;
			status = in_role(confined[i], ways_around, k);
			if (!WIFEXITED(status) || WEXITSTATUS(status) != want)
				fprintf(stderr, "\n%s: way %u: %x\n", role_name(confined[i]), k,
					(unsigned)status);
			CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == want);
		}
}

/* The role with threads: threads and nothing else, memory that may be written or executed but not both. */
static void *
thread(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static int
threads(unsigned arg)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ran = 0;
	pthread_t t;

	(void)arg;
	if (pthread_create(&t, NULL, thread, &ran) != 0 || pthread_join(t, NULL) != 0 || ran != 1)
		return 1;
	if (fork() >= 0 || errno != EPERM)
		return 2;
	if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0 || errno != EPERM)
		return 3;
	if (mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0 || errno != EPERM)
		return 4;
	if (setpriority(PRIO_PROCESS, (id_t)getppid(), 19) == 0 || errno != EPERM)
		return 5;
	if (sched_yield() != 0 || (syscall(SYS_sched_setattr, 0, NULL, 0) == 0 || errno == EPERM))
		return 7;
	if (syscall(SYS_sched_setattr, getppid(), NULL, 0) == 0 || errno != EPERM)
		return 8;
	return setpriority(PRIO_PROCESS, 0, 19) == 0 ? 0 : 6;
}

static void
test_threads(void)
{
	int status;

	if (SANITIZED)
		return;
	status = in_role(ROLE_AUTH, threads, 0);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
	status = in_role(ROLE_WORKER, threads, 0);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static int
opens(unsigned arg)
{
	(void)arg;
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

/* Landlock denies by itself: also where no filter is. */
static void
test_landlock(void)
{
	int status;

	if (!has_landlock()) {
		fprintf(stderr, "\nskipped: the kernel has no landlock\n");
		return;
	}
	status = in_role(ROLE_WORKER, opens, 0);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), SANITIZED ? EACCES : EPERM);
}

static int
is_said(unsigned arg)
{
	struct rlimit core;
	struct buf limits;
	struct diag diag;
	struct span s;
	int i = 0;

	(void)arg;
	/* the core limit holds already; entering again shows what is said */
	if (getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur != 0)
		return 1;
	buf_init(&limits, 4096);
	(void)!confine_enter(ROLE_WORKER, 0, 0, -1, &limits, &diag);
	s = buf_span(&limits);
	if (s.n == 0 || memmem(s.p, s.n, "not started by root", 19) == NULL || s.p[s.n - 1] != '\n')
		i = 2;
	buf_fini(&limits);
	return i;
}

/* What is missing is said, a line each. */
static void
test_limitations(void)
{
	int status;

	if (!SANITIZED) /* with the filter no second entry is possible */
		return;
	status = in_role(ROLE_WORKER, is_said, 0);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

static void
test_end(void)
{
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static const struct test_row rows[] = {
	{ "the table is complete", test_table },
	{ "the store's folders", test_folders }, /* first: it makes the folder */
	{ "each role's probes", test_probes },
	{ "signals", test_signals },
	{ "other ways to the same ends", test_ways_around },
	{ "threads", test_threads },
	{ "landlock by itself", test_landlock },
	{ "what is missing is said", test_limitations },
	{ "end", test_end },
};
TEST_MAIN("proc/confine", rows)
