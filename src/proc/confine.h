/* proc/confine.h - what each role gives up before it touches anything from outside.
 *
 * One table says it all (confine.c): user, empty root, landlock, system calls. Landlock and the
 * system-call filter hold with and without root; another user and an empty root need root. What the
 * kernel or the uid does not allow is reported, not hidden. */
#ifndef PROC_CONFINE_H
#define PROC_CONFINE_H

#include "proc/role.h"
#include "util/buf.h"
#include "util/diag.h"

#include <stdbool.h>
#include <sys/types.h>

/* Name of the account that a role runs as when the parent is root; NULL: it stays root, with few capabilities. */
const char *confine_user(enum role role);

/* Confines this process for good. uid and gid: what to become, 0 when the parent is not root (uid and root
 * stay). root_fd: the empty folder. Appends one line to limitations for each thing that is missing. An
 * error means that the process must not go on. */
int confine_enter(enum role role, uid_t uid, gid_t gid, int root_fd, struct buf *limitations,
		  struct diag *diag) PT_MUST_USE;

/* The parent's own: no new privileges, and as root only the capabilities that it needs. */
int confine_parent(struct diag *diag) PT_MUST_USE;

#define PROBES(X)                                                                                  \
	X(OPEN, "open a file")                                                                     \
	X(CONNECT, "connect a socket")                                                             \
	X(SOCKET, "make a socket")                                                                 \
	X(PTRACE, "trace its parent")                                                              \
	X(KILL, "signal its parent")                                                               \
	X(EXECVE, "run a program")

enum probe {
#define PROBE_ENUM(name, text) PROBE_##name,
	PROBES(PROBE_ENUM)
#undef PROBE_ENUM
	PROBE_COUNT
};

const char *probe_name(unsigned probe);

/* What the table says of a role and an attempt: the errno it must end with, or PROBE_KILLED. */
#define PROBE_KILLED 10000
int confine_expects(enum role role, enum probe probe);

/* Tries it: 0 when it worked, else errno. What succeeds is undone. */
int confine_probe(enum probe probe);

#endif
