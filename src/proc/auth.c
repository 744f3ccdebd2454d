/* proc/auth.c - postern-auth: the process that knows who is who.
 *
 * Holds: the users (addresses, aliases, password hashes) of every live generation, a channel to the parent, one to
 * each worker, the state of SASL exchanges, a few threads for passwords. Gave up: user, root folder, files, network,
 * exec. It reads files by descriptors that the parent opened, and answers workers; what a worker sends is
 * what a stranger may have written. Two programs' worth of libraries (SASL, crypt) are here so that they
 * are not where the network is. */
#include "config.h"

#include "proc/auth.h"

#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
on_secret(void *self, void *peer, struct frame *f)
{
	struct msg_auth_secret m;
	struct auth *a = self;

	(void)peer;
	if (msg_auth_secret_decode(f, &m) != 0 ||
	    pread(f->fd, a->server.secret, sizeof a->server.secret, 0) != (ssize_t)sizeof a->server.secret)
		return PT_EPROTO;
	return 0;
}

static int
on_channel(void *self, void *peer, struct frame *f)
{
	struct msg_channel m;
	struct auth *a = self;

	(void)peer;
	if (msg_channel_decode(f, &m) != 0 || m.role != ROLE_WORKER)
		return PT_EPROTO;
	return auth_worker_new(a, frame_take_fd(f), m.generation) == PT_EPROTO ? PT_EPROTO : 0;
}

static int
on_stop(void *self, void *peer, struct frame *f)
{
	struct msg_stop m;
	struct auth *a = self;

	(void)peer;
	if (msg_stop_decode(f, &m) != 0)
		return PT_EPROTO;
	a->stopping = true;
	if (a->nworkers == 0)
		exit(0);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_LOG_END, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_log_end },
	{ MSG_T_AUTH_SECRET, 1u << ROLE_PARENT, IPC_ANY_STATE, on_secret },
	{ MSG_T_CONFIG, 1u << ROLE_PARENT, IPC_ANY_STATE, auth_on_config },
	{ MSG_T_CRED_BEGIN, 1u << ROLE_PARENT, IPC_ANY_STATE, auth_on_cred_begin },
	{ MSG_T_CRED_FILE, 1u << ROLE_PARENT, IPC_ANY_STATE, auth_on_cred_file },
	{ MSG_T_CRED_END, 1u << ROLE_PARENT, IPC_ANY_STATE, auth_on_cred_end },
	{ MSG_T_CRED_RELEASE, 1u << ROLE_PARENT, IPC_ANY_STATE, auth_on_cred_release },
	{ MSG_T_CHANNEL, 1u << ROLE_PARENT, IPC_ANY_STATE, on_channel },
	{ MSG_T_STOP, 1u << ROLE_PARENT, IPC_ANY_STATE, on_stop },
	{ MSG_T_PROBE, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_probe },
};

static void
pool_has_something(void *arg, unsigned what)
{
	struct auth *a = arg;

	(void)what;
	pool_ready(a->server.pool);
}

/* Half of the processors: the other half is for those who log in without a password. */
static unsigned
threads(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN) / 2;

	return n < 1 ? 1 : n > POOL_THREADS_MAX ? POOL_THREADS_MAX : (unsigned)n;
}

static void
prepare(struct auth *a)
{
	TAILQ_INIT(&a->realms);
	TAILQ_INIT(&a->workers);
	/* until the parent gives the lasting one */
	arc4random_buf(a->server.secret, sizeof a->server.secret);
	if (sasl_server_init(&a->server) == 0 && (a->server.pool = pool_new()) != NULL &&
	    (a->server.failures = failures_new((uint64_t)arc4random() << 32 | arc4random())) != NULL)
		return;
	fprintf(stderr, "postern-auth: cannot start: out of memory or descriptors, or libgsasl lacks a mechanism\n");
	exit(71);
}

int
main(int argc, char **argv)
{
	static struct auth a;
	unsigned n = threads();

	if (argc == 2 && strcmp(argv[1], "-H") == 0)
		return auth_hash_main();
	if (argc < 3 || strcmp(argv[1], "-r") != 0 || strcmp(argv[2], role_name(ROLE_AUTH)) != 0) {
		fprintf(stderr, "postern-auth is started by posternd(8)\n");
		return 64;
	}
	prepare(&a);
	child_init(&a.child, ROLE_AUTH, argc, argv, rules, PT_COUNT(rules), &a);
	if (pool_start(a.server.pool, n) != 0) {
		log_msg(LOG_L_ERROR, "cannot start: no thread for passwords");
		return 71;
	}
	ev_io_init(&a.pool_io, a.child.loop, pool_fd(a.server.pool), pool_has_something, &a);
	ev_io_want(&a.pool_io, EV_IO_READ);
	a.child.state = PROC_SERVING;
	setproctitle("auth: %s", proc_state_name(PROC_SERVING));
	child_run(&a.child);
}
