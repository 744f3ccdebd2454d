/* proc/workers.c - starting workers: their slots and shared tables, and all that each needs to serve a
 * generation: listeners, credentials, the ticket key, channels to the helpers. */
#include "proc/parent.h"

#include "proc/files.h"
#include "util/log.h"

#include <string.h>
#include <unistd.h>

static void
send_table(struct proc *proc, uint32_t slot, const struct parent_table *t, bool own)
{
	SEND(proc, table, own ? t->fd : t->reader_fd, .slot = slot, .own = own);
}

void
workers_send_tables(struct parent *p, struct proc *proc)
{
	uint32_t i;

	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (p->tables[i].fd >= 0 && !(proc->role == ROLE_WORKER &&
						    (proc->slot == i || i == TABLE_SLOT_PAST)))
			send_table(proc, i, &p->tables[i], false);
}

int
workers_free_slot(struct parent *p, uint32_t *slot_out)
{
	uint32_t i;

	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (!p->tables[i].taken || (p->tables[i].retiring != 0 && !recorders_wait(p, i))) {
			*slot_out = i;
			return 0;
		}
	return PT_EFULL;
}

/* The slot's table, empty, and known to everyone. */
int
workers_prepare_table(struct parent *p, uint32_t slot)
{
	struct parent_table *t = &p->tables[slot];
	struct table *map;
	struct proc *proc;
	int rc;

	t->taken = true;
	if (slot != TABLE_SLOT_PAST || t->rec_fd < 0)
		recorders_prepare(p, slot);
	if (t->fd >= 0) {
		if ((map = table_map(t->fd, true)) == NULL)
			return PT_EIO;
		table_clear(map);
		table_unmap(&map);
		return 0;
	}
	if ((rc = table_create(&t->fd)) != 0 || (rc = table_reader_fd(t->fd, &t->reader_fd)) != 0)
		return rc;
	TAILQ_FOREACH(proc, &p->procs, next)
		if ((proc->role == ROLE_WORKER || proc == p->helpers[ROLE_CONTROL]) && proc->slot != slot)
			send_table(proc, slot, t, false);
	return 0;
}

static void
send_chains(struct proc *proc, const struct generation *g, const struct cred_set *set, uint32_t number,
	    const struct conf_tls *tls)
{
	uint32_t k, key;

	for (k = 0; k < tls->ncerts; k++) {
		key = generation_key(g, &tls->certs[k]);
		SEND(proc, cred_file, set->certs[key].chain_fd, .generation = set->number, .set = number,
			.kind = CRED_CHAIN, .index = k, .key = key,
			.path = span_str(tls->certs[k].certificate));
	}
}

void
workers_send_credentials(struct proc *proc, const struct generation *g, const struct cred_set *set)
{
	const struct conf_tls *tls;
	const struct gen_file *f;
	uint32_t i, k;

	SEND(proc, cred_begin, -1, .generation = set->number, .config = g->number);
	for (i = 0; i < g->conf->nservices; i++) {
		if ((tls = g->conf->services[i].tls) == NULL)
			continue;
		send_chains(proc, g, set, CRED_SET(i, 0), tls);
		for (k = 0; k < tls->nnames; k++)
			if (tls->names[k].own_certs)
				send_chains(proc, g, set, CRED_SET(i, k + 1), tls->names[k].tls);
	}
	for (i = 0; i < set->nfiles; i++) {
		f = &set->files[i];
		SEND(proc, cred_file, f->fd, .generation = set->number, .set = f->set,
			.kind = (uint8_t)f->kind, .index = f->index, .path = span_str(f->path));
	}
	SEND(proc, cred_end, -1, .generation = set->number);
}

/* In a memfd: what travels in a frame may wait in a queue. */
static void
send_ticket_key(const struct generation *g, struct proc *proc)
{
	int fd;

	if (!g->has_ticket_key ||
	    memfd_sealed("postern-ticket", (struct span){ g->ticket_key, sizeof g->ticket_key }, &fd) != 0)
		return;
	SEND(proc, ticket_key, fd, .unused = 0);
	close(fd);
}

int
workers_start(struct parent *p, struct generation *g, uint32_t slot)
{
	struct diag diag = { "" };
	struct proc *proc;
	size_t i;
	int rc;

	if ((rc = workers_prepare_table(p, slot)) != 0 ||
	    (rc = launch(p, ROLE_WORKER, slot, g->number, &proc, &diag)) != 0) {
		if (diag.text[0] != '\0')
			log_msg(LOG_L_ERROR, "a worker cannot be started: %s", diag.text);
		p->tables[slot].taken = false;
		return rc;
	}
	send_table(proc, slot, &p->tables[slot], true);
	recorders_send_own(p, proc);
	workers_send_tables(p, proc);
	SEND(proc, seed, -1, .seed = p->seed);
	send_ticket_key(g, proc);
	SEND(proc, config, g->conf_fd, .generation = g->number);
	helpers_join_worker(p, proc);
	for (i = 0; i < g->nlisteners; i++)
		SEND(proc, listener, g->listeners[i].fd, .service = g->listeners[i].service,
			.listen = g->listeners[i].listen);
	cred_set_hold(g->cred, slot);
	workers_send_credentials(proc, g, g->cred);
	supervise_tell_process(p, proc, false);
	return 0;
}

/* What an ended worker has counted is kept in the table of those that are no more; its connections are
 * gone, so its own is emptied at once: limits count it no longer. Its records take a moment longer. */
void
workers_retire_table(struct parent *p, const struct proc *worker)
{
	const uint32_t slot = worker->slot;
	struct table *t, *past;

	recorders_retire(p, worker);
	if ((t = table_map(p->tables[slot].fd, true)) == NULL)
		return;
	if ((past = table_map(p->tables[TABLE_SLOT_PAST].fd, true)) != NULL)
		table_retire(past, t);
	table_clear(t);
	table_unmap(&past);
	table_unmap(&t);
}
