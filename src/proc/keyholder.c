/* proc/keyholder.c - the process that has the private keys.
 *
 * Holds: every server key of every live generation, a channel to the parent, one to each worker. Gave up:
 * user, root folder, files, network, exec. It parses key and certificate files (by descriptor, from
 * the parent), hands the certificates found there back without the keys, and signs what workers ask
 * for: with keys of the worker's own configuration, never more than TLS_SIGN_DATA_MAX octets. A key never
 * leaves this process. */
#include "proc/keyholder.h"

#include "proc/child.h"
#include "proc/cred_kind.h"
#include "proc/files.h"
#include "proc/keyfile.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#define SAID_MAX 1024 /* warnings that are remembered */

struct held_key {
	struct key_files files; /* open until CRED_END */
	struct tls_key *key;
};

struct held_generation {
	TAILQ_ENTRY(held_generation) next;
	uint64_t number;
	uint64_t config; /* whose workers may name its keys */
	bool loaded;
	size_t nkeys;
	struct held_key keys[CRED_KEYS_MAX];
};

struct keyholder {
	struct child child;
	TAILQ_HEAD(, held_generation) generations;
	unsigned nlinks;
	uint64_t said[SAID_MAX]; /* digests of the warnings given last: with each credential generation they come again */
	unsigned nsaid;
	bool stopping; /* end when the last worker has gone over to the next keyholder */
};

/* A worker may name the keys of its own configuration's generations and no others. */
struct worker_link {
	struct keyholder *keyholder;
	uint64_t config;
};

static struct held_generation *
generation_get(struct keyholder *k, uint64_t number)
{
	struct held_generation *g;

	TAILQ_FOREACH(g, &k->generations, next)
		if (g->number == number)
			return g;
	return NULL;
}

static void
generation_free(struct keyholder *k, struct held_generation *g)
{
	size_t i;

	TAILQ_REMOVE(&k->generations, g, next);
	for (i = 0; i < g->nkeys; i++) {
		key_files_close(&g->keys[i].files);
		tls_key_free(&g->keys[i].key);
		free(g->keys[i].files.cert_path);
		free(g->keys[i].files.key_path);
		free(g->keys[i].files.pass_path);
	}
	freezero(g, sizeof *g);
}

static int
on_cred_begin(void *self, void *peer, struct frame *f)
{
	struct keyholder *k = self;
	struct held_generation *g;
	struct msg_cred_begin m;

	(void)peer;
	if (msg_cred_begin_decode(f, &m) != 0 || generation_get(k, m.generation) != NULL)
		return PT_EPROTO;
	PT_ASSERT((g = calloc(1, sizeof *g)) != NULL);
	g->number = m.generation;
	g->config = m.config;
	TAILQ_INSERT_TAIL(&k->generations, g, next);
	return 0;
}

static int
take_file(struct key_files *files, const struct msg_cred_file *m, struct frame *f)
{
	char **path;
	int *fd;

	switch (m->kind) {
	case CRED_CERT:
		path = &files->cert_path;
		fd = &files->cert_fd;
		break;
	case CRED_KEY:
		path = &files->key_path;
		fd = &files->key_fd;
		break;
	case CRED_PASSPHRASE:
		path = &files->pass_path;
		fd = &files->pass_fd;
		break;
	default:
		return PT_EPROTO;
	}
	if (*fd >= 0)
		return PT_EPROTO;
	PT_ASSERT((*path = strndup((const char *)m->path.p, m->path.n)) != NULL);
	*fd = frame_take_fd(f);
	return 0;
}

static int
on_cred_file(void *self, void *peer, struct frame *f)
{
	struct keyholder *k = self;
	struct held_generation *g;
	struct msg_cred_file m;

	(void)peer;
	if (msg_cred_file_decode(f, &m) != 0 || (g = generation_get(k, m.generation)) == NULL ||
	    g->loaded || m.key >= CRED_KEYS_MAX || m.key > g->nkeys)
		return PT_EPROTO;
	if (m.key == g->nkeys)
		key_files_init(&g->keys[g->nkeys++].files);
	return take_file(&g->keys[m.key].files, &m, f);
}

/* What "posternd -n" would warn of, each once; that a certificate ends soon is said every day by a worker. */
static void
warn(void *arg, const char *path, const char *text)
{
	struct keyholder *k = arg;
	char line[LOG_LINE_MAX];
	uint64_t h = 14695981039346656037ull; /* FNV-1a */
	unsigned i;

	snprintf(line, sizeof line, "%s: %s", path, text);
	for (i = 0; line[i] != '\0'; i++)
		h = (h ^ (uint8_t)line[i]) * 1099511628211ull;
	for (i = 0; i < SAID_MAX; i++)
		if (k->said[i] == h)
			return;
	k->said[k->nsaid++ % SAID_MAX] = h;
	log_msg(LOG_L_WARNING, "%s", line);
}

static void
send_chain(struct keyholder *k, uint64_t generation, uint32_t key, int fd)
{
	struct msg_cred_chain m = { .generation = generation, .key = key };
	struct frame f;

	PT_ASSERT(msg_cred_chain_encode(&m, 0, &f) == 0);
	child_send(&k->child, &f, fd);
}

/* One certificate directive: key in, certificates out. */
static int
load_key(struct keyholder *k, struct held_generation *g, uint32_t number, struct diag *diag)
{
	struct held_key *h = &g->keys[number];
	struct buf chain;
	int rc, fd = -1;

	buf_init(&chain, 2 * TLS_FILE_MAX);
	rc = key_files_load(&h->files, (uint64_t)time(NULL), &h->key, &chain, warn, k, diag);
	if (rc == 0 && (rc = memfd_sealed("postern-chain", buf_span(&chain), &fd)) == 0)
		send_chain(k, g->number, number, fd);
	if (fd >= 0)
		close(fd);
	key_files_close(&h->files);
	buf_fini(&chain);
	return rc;
}

static int
on_cred_end(void *self, void *peer, struct frame *f)
{
	struct keyholder *k = self;
	struct held_generation *g;
	struct diag diag = { "" };
	struct msg_cred_end m;
	uint32_t i;
	int rc = 0;

	(void)peer;
	if (msg_cred_end_decode(f, &m) != 0 || (g = generation_get(k, m.generation)) == NULL ||
	    g->loaded)
		return PT_EPROTO;
	for (i = 0; i < g->nkeys && rc == 0; i++) {
		if (g->keys[i].files.cert_fd < 0)
			return PT_EPROTO;
		rc = load_key(k, g, i, &diag);
	}
	g->loaded = rc == 0;
	child_ack_cred(&k->child, m.generation, rc == 0,
		rc == 0 || diag.text[0] != '\0' ? diag.text : pt_strerror(rc));
	if (rc != 0)
		generation_free(k, g);
	return 0;
}

static int
on_cred_release(void *self, void *peer, struct frame *f)
{
	struct keyholder *k = self;
	struct held_generation *g;
	struct msg_cred_release m;

	(void)peer;
	if (msg_cred_release_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((g = generation_get(k, m.generation)) != NULL)
		generation_free(k, g);
	return 0;
}

static int
on_sign(void *self, void *peer, struct frame *f)
{
	uint8_t sig[TLS_SIGNATURE_MAX];
	const struct worker_link *wl = self;
	struct keyholder *k = wl->keyholder;
	struct held_generation *g;
	struct link *l = peer;
	struct msg_signed r = { 0 };
	struct msg_sign m;
	uint32_t id = f->id;
	size_t n = 0;
	int rc;

	if (msg_sign_decode(f, &m) != 0 || m.data.n > TLS_SIGN_DATA_MAX || m.hashed > 1)
		return PT_EPROTO;
	/* a generation may just have been released: no answer but "no" */
	if ((g = generation_get(k, m.generation)) != NULL && g->config == wl->config && g->loaded && m.key < g->nkeys &&
	    tls_key_sign(g->keys[m.key].key, m.algorithm, m.hashed != 0, m.data, sig, &n) == 0)
		r = (struct msg_signed){ .ok = 1, .signature = { sig, n } };
	PT_ASSERT(msg_signed_encode(&r, id, f) == 0);
	/* the worker waits for this one answer: one that has ended is gone, one that does not read is at
	 * fault */
	if ((rc = frame_send(chan_fd(l->chan), f, -1)) != 0 && rc != PT_EEOF)
		rc = PT_EPROTO;
	return rc;
}

static const struct ipc_rule worker_rules[] = {
	{ MSG_T_SIGN, 1u << ROLE_WORKER, IPC_ANY_STATE, on_sign },
};

static void
worker_gone(void *self, struct link *l, int rc)
{
	struct worker_link *wl = self;
	struct keyholder *k = wl->keyholder;

	free(wl);
	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "a worker broke the protocol; it gets no more signatures");
	link_free(&l);
	k->nlinks--;
	if (k->stopping && k->nlinks == 0)
		exit(0);
}

static int
on_channel(void *self, void *peer, struct frame *f)
{
	struct keyholder *k = self;
	struct worker_link *wl;
	struct msg_channel m;

	(void)peer;
	if (msg_channel_decode(f, &m) != 0 || m.role != ROLE_WORKER)
		return PT_EPROTO;
	PT_ASSERT((wl = malloc(sizeof *wl)) != NULL);
	*wl = (struct worker_link){ k, m.generation };
	if (link_new(&k->child, frame_take_fd(f), ROLE_WORKER, worker_rules, PT_COUNT(worker_rules), wl,
		    worker_gone) != NULL)
		k->nlinks++;
	else
		free(wl);
	return 0;
}

static int
on_stop(void *self, void *peer, struct frame *f)
{
	struct keyholder *k = self;
	struct msg_stop m;

	(void)peer;
	if (msg_stop_decode(f, &m) != 0)
		return PT_EPROTO;
	k->stopping = true;
	if (k->nlinks == 0)
		exit(0);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_LOG_END, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_log_end },
	{ MSG_T_CRED_BEGIN, 1u << ROLE_PARENT, IPC_ANY_STATE, on_cred_begin },
	{ MSG_T_CRED_FILE, 1u << ROLE_PARENT, IPC_ANY_STATE, on_cred_file },
	{ MSG_T_CRED_END, 1u << ROLE_PARENT, IPC_ANY_STATE, on_cred_end },
	{ MSG_T_CRED_RELEASE, 1u << ROLE_PARENT, IPC_ANY_STATE, on_cred_release },
	{ MSG_T_CHANNEL, 1u << ROLE_PARENT, IPC_ANY_STATE, on_channel },
	{ MSG_T_STOP, 1u << ROLE_PARENT, IPC_ANY_STATE, on_stop },
	{ MSG_T_PROBE, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_probe },
};

int
keyholder_main(int argc, char **argv)
{
	static struct keyholder k;

	tls_key_wipe_freed();
	TAILQ_INIT(&k.generations);
	child_init(&k.child, ROLE_KEYHOLDER, argc, argv, rules, PT_COUNT(rules), &k);
	k.child.state = PROC_SERVING;
	setproctitle("keyholder: %s", proc_state_name(PROC_SERVING));
	child_run(&k.child);
}
