/* proc/confine.c - the table of confinement, and how it is put on. */
#include "proc/confine.h"

#include "auth/pool.h"
#include "store/store_types.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Newer than the headers of Debian 12: the rights of landlock's later ABIs. */
#define LL_FS_ABI1 0x1fffull      /* EXECUTE .. MAKE_SYM */
#define LL_FS_REFER (1ull << 13)  /* ABI 2 */
#define LL_FS_TRUNCATE (1ull << 14) /* ABI 3 */
#define LL_FS_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define LL_NET_BOTH 3ull          /* ABI 4: bind and connect TCP */
#define LL_SCOPE_BOTH 3ull        /* ABI 6: abstract unix sockets, signals */

struct ll_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WITH_SECCOMP 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WITH_SECCOMP 0 /* the sanitizers' runtime makes calls of its own */
#endif
#endif
#ifndef WITH_SECCOMP
#define WITH_SECCOMP 1
#endif

/* What every child needs: memory, clocks, its channels, its own end. */
#define CALLS_COMMON                                                                               \
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvmsg),     \
		SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(close),          \
		SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl),                  \
		SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),                   \
		SCMP_SYS(getrandom), SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap),              \
		SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(getpid),            \
		SCMP_SYS(gettid), SCMP_SYS(fstat),                               \
		SCMP_SYS(newfstatat), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),            \
		SCMP_SYS(rt_sigaction), SCMP_SYS(exit), SCMP_SYS(exit_group),                      \
		SCMP_SYS(restart_syscall), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(lseek),       \
		SCMP_SYS(pread64)

static const int calls_keyholder[] = { CALLS_COMMON, SCMP_SYS(memfd_create), SCMP_SYS(ftruncate) };
static const int calls_worker[] = { CALLS_COMMON, SCMP_SYS(memfd_create), SCMP_SYS(accept4), SCMP_SYS(accept),
	SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getpeername),
	SCMP_SYS(getsockname), SCMP_SYS(ioctl), SCMP_SYS(fstatfs) };
static const int calls_control[] = { CALLS_COMMON, SCMP_SYS(accept4), SCMP_SYS(accept),
	SCMP_SYS(shutdown), SCMP_SYS(getsockopt) };

static const int calls_store[] = { CALLS_COMMON, SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(pwrite64),
	SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range), SCMP_SYS(syncfs), SCMP_SYS(ftruncate), SCMP_SYS(renameat),
	SCMP_SYS(renameat2), SCMP_SYS(linkat), SCMP_SYS(unlinkat), SCMP_SYS(mkdirat), SCMP_SYS(getdents64),
	SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(utimensat), SCMP_SYS(fstatfs), SCMP_SYS(flock),
	SCMP_SYS(dup), SCMP_SYS(copy_file_range), SCMP_SYS(fchdir), SCMP_SYS(eventfd2), SCMP_SYS(epoll_create1),
	SCMP_SYS(memfd_create),
	SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch) };

static const int calls_auth[] = { CALLS_COMMON, SCMP_SYS(shutdown) };

static const unsigned caps_parent[] = { CAP_SETUID, CAP_SETGID, CAP_SYS_CHROOT, CAP_KILL, CAP_NET_BIND_SERVICE,
	CAP_DAC_OVERRIDE, CAP_CHOWN, CAP_FOWNER };
static const unsigned caps_spawn[] = { CAP_SETUID, CAP_SETGID, CAP_KILL };

/* The table. A role with an account has no capability and makes no socket; the store alone opens
 * files, below its folders. Those without one stay what
 * the parent is, with these capabilities alone, and have no filter, because what they execute would inherit it:
 * the parent the next binary, spawn other people's programs. */
static const struct confinement {
	const char *user; /* account when started by root; NULL: stays */
	const int *calls; /* all others fail with EPERM; execve kills */
	size_t ncalls;
	bool threads; /* starts threads of its own, never processes */
	bool files;   /* asks whether somebody else writes into a file; marks a folder of its own */
	const unsigned *caps; /* kept as root */
	size_t ncaps;
	uint64_t file_octets; /* of each file that it writes; 0: no limit */
} roles[ROLE_COUNT] = {
	[ROLE_PARENT] = { NULL, NULL, 0, false, false, caps_parent, PT_COUNT(caps_parent), 0 },
	[ROLE_KEYHOLDER] = { "_posternk", calls_keyholder, PT_COUNT(calls_keyholder), false, false, NULL, 0, 0 },
	[ROLE_WORKER] = { "_postern", calls_worker, PT_COUNT(calls_worker), false, false, NULL, 0, STORE_MESSAGE_MAX },
	[ROLE_CONTROL] = { "_posternc", calls_control, PT_COUNT(calls_control), false, false, NULL, 0, 0 },
	[ROLE_SPAWN] = { NULL, NULL, 0, false, false, caps_spawn, PT_COUNT(caps_spawn), 0 },
	[ROLE_AUTH] = { "_posterna", calls_auth, PT_COUNT(calls_auth), true, false, NULL, 0, 0 },
	[ROLE_STORE] = { "_posternq", calls_store, PT_COUNT(calls_store), true, true, NULL, 0, 0 },
};

const char *
confine_user(enum role role)
{
	return roles[role].user;
}

static int
enter_root_and_user(uid_t uid, gid_t gid, int root_fd, struct diag *diag)
{
	if (fchdir(root_fd) != 0 || chroot(".") != 0 || chdir("/") != 0)
		return diag_set(diag, PT_EPERM, "cannot enter the empty root folder: %s",
			strerror(errno));
	if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
		return diag_set(diag, PT_EPERM, "cannot become user %u, group %u: %s", (unsigned)uid,
			(unsigned)gid, strerror(errno));
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
		return diag_set(diag, PT_EPERM, "could take root's rights back");
	return 0;
}

/* What a role may do below its folders: everything with files and folders, nothing with devices, links or programs. */
static int
allow_folders(int ruleset, enum role role, uint64_t handled)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = handled &
		(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
			LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
			LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LL_FS_REFER |
			LL_FS_TRUNCATE) };
	unsigned i;

	for (i = 0; i < role_folders(role); i++) {
		rule.parent_fd = ROLE_FD_FOLDER + (int)i;
		if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
			return PT_EPERM;
	}
	return 0;
}

/* Denies the whole file system but the role's folders, TCP and signals. */
static int
enter_landlock(enum role role, struct buf *limitations)
{
	struct ll_attr attr = { 0 };
	size_t size = sizeof attr.handled_access_fs;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int fd;

	if (abi < 1)
		return buf_printf(limitations, "the kernel has no landlock: file access is "
			"denied by the system-call filter alone\n");
	attr.handled_access_fs = LL_FS_ABI1;
	if (abi >= 2)
		attr.handled_access_fs |= LL_FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= LL_FS_TRUNCATE;
	if (abi >= 5)
		attr.handled_access_fs |= LL_FS_IOCTL_DEV;
	if (abi >= 4) {
		attr.handled_access_net = LL_NET_BOTH;
		size = offsetof(struct ll_attr, scoped);
	}
	if (abi >= 6) {
		attr.scoped = LL_SCOPE_BOTH;
		size = sizeof attr;
	}
	if ((fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0)) < 0)
		return PT_EPERM;
	if (allow_folders(fd, role, attr.handled_access_fs) != 0 ||
	    syscall(SYS_landlock_restrict_self, fd, 0) != 0) {
		close(fd);
		return PT_EPERM;
	}
	close(fd);
	return 0;
}

/* Calls that are allowed with some arguments only. */
static int
add_limited(scmp_filter_ctx ctx)
{
	/* not F_SETOWN or F_SETSIG: with them a descriptor signals whom its owner likes */
	static const int commands[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_ADD_SEALS,
		F_GET_SEALS };
	/* abort() signals the process itself; all workers share a user, and more do without root */
	const struct scmp_arg_cmp itself = { .arg = 0, .op = SCMP_CMP_EQ,
		.datum_a = (scmp_datum_t)getpid() };
	struct scmp_arg_cmp command = { .arg = 1, .op = SCMP_CMP_EQ };
	size_t i;

	for (i = 0; i < PT_COUNT(commands); i++) {
		command.datum_a = (scmp_datum_t)commands[i];
		if (seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, &command) != 0)
			return PT_EPERM;
	}
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &itself) == 0
		? 0 : PT_EPERM;
}

/* What starting a thread takes. clone() for threads alone; of clone3() the filter cannot see the flags, so the
 * C library has to do without it. */
static int
add_threads(scmp_filter_ctx ctx)
{
	static const int calls[] = { SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_getaffinity),
		SCMP_SYS(sched_yield) };
	const struct scmp_arg_cmp thread = { .arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = CLONE_THREAD,
		.datum_b = CLONE_THREAD };
	const struct scmp_arg_cmp no_code = { .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC,
		.datum_b = 0 };
	const struct scmp_arg_cmp own_priority[] = {
		{ .arg = 0, .op = SCMP_CMP_EQ, .datum_a = PRIO_PROCESS },
		{ .arg = 1, .op = SCMP_CMP_EQ, .datum_a = 0 },
	};
	const struct scmp_arg_cmp itself = { .arg = 0, .op = SCMP_CMP_EQ, .datum_a = 0 };
	const struct scmp_arg_cmp own_name = { .arg = 0, .op = SCMP_CMP_EQ, .datum_a = PR_SET_NAME };
	size_t i;

	for (i = 0; i < PT_COUNT(calls); i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0) != 0)
			return PT_EPERM;
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, &thread) == 0 &&
		seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
		seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_code) == 0 &&
		seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setpriority), 2, own_priority) == 0 &&
		seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sched_setattr), 1, &itself) == 0 &&
		seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, &own_name) == 0
		? 0 : PT_EPERM;
}

static int
add_files(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp lease = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = F_SETLEASE };
	const struct scmp_arg_cmp get = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = FS_IOC_GETFLAGS };
	const struct scmp_arg_cmp set = { .arg = 1, .op = SCMP_CMP_EQ, .datum_a = FS_IOC_SETFLAGS };

	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, &lease) == 0 &&
		seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, &get) == 0 &&
		seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, &set) == 0 ? 0 : PT_EPERM;
}

static int
enter_seccomp(const struct confinement *c)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	size_t i;
	int rc = PT_EPERM;

	if (ctx == NULL)
		return PT_ENOMEM;
	for (i = 0; i < c->ncalls; i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, c->calls[i], 0) != 0)
			goto out;
	if (add_limited(ctx) != 0 || (c->threads && add_threads(ctx) != 0) || (c->files && add_files(ctx) != 0))
		goto out;
	if (seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execve), 0) != 0 ||
	    seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execveat), 0) != 0)
		goto out;
	if (seccomp_load(ctx) == 0)
		rc = 0;
out:
	seccomp_release(ctx);
	return rc;
}

static int keep_capabilities(const struct confinement *c, struct diag *diag);

/* A role that stays what the parent is. */
static int
confine_parts(const struct confinement *c, struct diag *diag)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return diag_set(diag, PT_EPERM, "no_new_privs: %s", strerror(errno));
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return keep_capabilities(c, diag);
}

int
confine_enter(enum role role, uid_t uid, gid_t gid, int root_fd, struct buf *limitations,
	      struct diag *diag)
{
	struct rlimit none = { 0, 0 }, most = { roles[role].file_octets, roles[role].file_octets };
	int rc;

	(void)setrlimit(RLIMIT_CORE, &none); /* a core would hold keys and mail */
	if (roles[role].file_octets > 0)
		(void)setrlimit(RLIMIT_FSIZE, &most); /* of the store's, which are open for writing alone */
	if (roles[role].user == NULL)
		return confine_parts(&roles[role], diag);
	if (uid != 0) {
		if ((rc = enter_root_and_user(uid, gid, root_fd, diag)) != 0)
			return rc;
	} else if ((rc = buf_printf(limitations, "not started by root: all processes share one user "
			    "and see the file system's root\n")) != 0) {
		return rc;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return diag_set(diag, PT_EPERM, "no_new_privs: %s", strerror(errno));
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if ((rc = enter_landlock(role, limitations)) != 0)
		return diag_set(diag, rc, "landlock: %s", strerror(errno));
	if (!WITH_SECCOMP)
		return buf_printf(limitations, "built with sanitizers: no system-call filter\n");
	if ((rc = enter_seccomp(&roles[role])) != 0)
		return diag_set(diag, rc, "cannot load the system-call filter");
	return 0;
}

/* The bounding set, too, where there is the right to do that: the parent has it, and gives it up here. */
static int
keep_capabilities(const struct confinement *c, struct diag *diag)
{
	size_t i;

	if (geteuid() != 0)
		return 0;
	capng_clear(CAPNG_SELECT_BOTH);
	for (i = 0; i < c->ncaps; i++) {
		if (!capng_have_capability(CAPNG_PERMITTED, c->caps[i]) && prctl(PR_CAPBSET_READ, c->caps[i],
			    0, 0, 0) != 1)
			continue; /* a container may not give it to root */
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, c->caps[i]);
	}
	if (capng_apply(CAPNG_SELECT_BOTH) != 0)
		return diag_set(diag, PT_EPERM, "cannot give up capabilities");
	return 0;
}

int
confine_parent(struct diag *diag)
{
	struct rlimit nice = { POOL_NICE_LIMIT, POOL_NICE_LIMIT };

	(void)setrlimit(RLIMIT_NICE, &nice); /* who may not does without (auth/pool.c) */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return diag_set(diag, PT_EPERM, "no_new_privs: %s", strerror(errno));
	return keep_capabilities(&roles[ROLE_PARENT], diag);
}

const char *
probe_name(unsigned probe)
{
	static const char *const names[PROBE_COUNT] = {
#define PROBE_NAME(name, text) [PROBE_##name] = text,
		PROBES(PROBE_NAME)
#undef PROBE_NAME
	};

	return probe < PROBE_COUNT ? names[probe] : "unknown";
}

int
confine_expects(enum role role, enum probe probe)
{
	if (roles[role].user == NULL) /* what it may do, and its parent's memory is not among that */
		return role == ROLE_SPAWN && probe == PROBE_PTRACE ? EPERM : 0;
	if (role == ROLE_STORE && probe == PROBE_OPEN)
		return EACCES; /* by landlock: below its folders it may */
	return probe == PROBE_EXECVE ? PROBE_KILLED : EPERM;
}

static int
result(long r, int fd)
{
	int e = r < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return e;
}

int
confine_probe(enum probe probe)
{
	char *const argv[] = { (char *)(uintptr_t)"true", NULL };
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/run/postern-probe" };
	int fd;

	switch (probe) {
	case PROBE_OPEN:
		fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* what is there with an empty root, too */
		return result(fd, fd);
	case PROBE_CONNECT:
		return result(connect(ROLE_FD_PARENT, (struct sockaddr *)&un, sizeof un), -1);
	case PROBE_SOCKET:
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		return result(fd, fd);
	case PROBE_PTRACE:
		return result(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL), -1);
	case PROBE_KILL:
		return result(kill(getppid(), 0), -1);
	case PROBE_EXECVE:
		return result(execve("/bin/true", argv, NULL), -1);
	case PROBE_COUNT:
		break;
	}
	return EINVAL;
}
