/* proc/worker_accept.c - taking connections from the shared listeners: fairly between the workers, within
 * the limits, and through a shortage of descriptors. */
#include "proc/conn.h"
#include "proc/conn_rec.h"

#include "util/log.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_BATCH 8        /* connections taken in one turn of the loop */
#define ACCEPT_YIELD_MS 1     /* how long a busier worker lets the others go first */
#define ACCEPT_PAUSE_MS 500   /* when descriptors have run out */
#define ACCEPT_CALM_MS 5000   /* without a shortage: it is over, and that is said */
#define ACCEPT_SLACK 4        /* connections above the mean that are not worth yielding for */
#define ACCEPT_TURNS 16       /* then this worker goes to the end of the kernel's queue */

static void on_listener(void *arg, unsigned what);
static void accept_some(struct listener *l);

static void
watch(struct worker *w, bool on)
{
	size_t i;

	for (i = 0; i < w->nlisteners; i++) {
		if (w->listeners[i].fd < 0)
			continue;
		if (on)
			ev_io_want_alone(&w->listeners[i].io);
		else
			ev_io_want(&w->listeners[i].io, 0);
	}
}

static void
resume(void *arg)
{
	struct worker *w = arg;

	if (w->accepting)
		watch(w, true);
}

static void
pause_for(struct worker *w, uint64_t ms)
{
	watch(w, false);
	ev_timer_set(&w->accept_timer, ms);
}

void
accept_start(struct worker *w)
{
	size_t i;

	ev_timer_init(&w->accept_timer, w->child.loop, resume, w);
	for (i = 0; i < w->nlisteners; i++)
		ev_io_init(&w->listeners[i].io, w->child.loop, w->listeners[i].fd, on_listener,
			&w->listeners[i]);
	w->accepting = true;
	watch(w, true);
}

void
accept_stop(struct worker *w)
{
	size_t i;

	w->accepting = false;
	for (i = 0; i < w->nlisteners; i++) {
		if (w->listeners[i].fd < 0)
			continue;
		ev_io_fini(&w->listeners[i].io);
		/* the kernel may have told us alone of one that has just come */
		accept_some(&w->listeners[i]);
		close(w->listeners[i].fd);
		w->listeners[i].fd = -1;
	}
	ev_timer_fini(&w->accept_timer);
}

void
accept_conn_gone(struct worker *w)
{
	if (w->accept_full_ms != 0 && w->accepting)
		watch(w, true);
}

void
accept_second(struct worker *w, uint64_t now_ms)
{
	size_t i;

	/* another worker was told of a connection and could not take it: it waits for a signature, or was killed */
	for (i = 0; i < w->nlisteners && w->accepting; i++)
		if (w->listeners[i].fd >= 0 && ev_io_wants(&w->listeners[i].io) != 0)
			accept_some(&w->listeners[i]);
	if (w->accept_full_ms == 0 || now_ms < w->accept_full_ms + ACCEPT_CALM_MS)
		return;
	w->accept_full_ms = 0;
	log_msg(LOG_L_NOTICE, "descriptors are free again: connections are accepted");
}

/* --- limits: sums over all workers' tables ---------------------------------------------------- */

static const struct table_service *
find_service(const struct table *t, const struct service *svc)
{
	size_t n = atomic_load_explicit(&t->nservices, memory_order_acquire), i;

	for (i = 0; i < n && i < TABLE_SERVICES_MAX; i++)
		if (strncmp(t->services[i].name, svc->count->name, TABLE_SERVICE_NAME_MAX) == 0)
			return &t->services[i];
	return NULL;
}

struct sums {
	uint64_t total, service, address;
};

static struct sums
sum_up(const struct worker *w, const struct service *svc, uint64_t key)
{
	struct sums s = { 0, 0, 0 };
	const struct table_service *ts;
	const struct table *t;
	unsigned i;

	for (i = 0; i < w->ntables; i++) {
		if ((t = i == w->slot ? w->table : w->tables[i]) == NULL)
			continue;
		s.total += atomic_load_explicit(&t->connections, memory_order_relaxed);
		if ((ts = find_service(t, svc)) != NULL)
			s.service += atomic_load_explicit(&ts->connections, memory_order_relaxed);
		if (key != 0)
			s.address += table_addr_count(t, key);
	}
	return s;
}

bool
accept_is_crowded(const struct worker *w, const struct service *svc)
{
	struct sums s = sum_up(w, svc, 0);

	return s.total * 5 > (uint64_t)w->conf->max_connections * 4 ||
		s.service * 5 > (uint64_t)svc->conf->max_connections * 4;
}

/* One line and the end. Nothing is kept for a connection that is refused, so a flood of them costs
 * little. */
static void
refuse(struct listener *l, int fd, const union addr *peer, socklen_t len, enum engine_bye why,
       enum rec_cause cause, uint64_t limit)
{
	const char *text = l->service->protocol->refusal(why);

	if (l->conf->mode != CONF_LISTEN_TLS)
		(void)send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
	atomic_fetch_add_explicit(&l->service->count->refused, 1, memory_order_relaxed);
	conn_rec_refused(l, peer, len, cause, limit);
}

static void
take(struct listener *l, int fd, const union addr *peer, socklen_t len)
{
	const struct conf_service *conf = l->service->conf;
	struct worker *w = l->worker;
	uint8_t host[ADDR_KEY_SIZE];
	struct sums s;
	uint64_t key;

	addr_key(peer, host);
	key = table_addr_key(w->seed, conf->name, host);
	s = sum_up(w, l->service, key);
	if (s.total >= w->conf->max_connections) {
		refuse(l, fd, peer, len, ENGINE_BYE_LIMIT_TOTAL, REC_CAUSE_LIMIT_TOTAL,
			w->conf->max_connections);
		return;
	}
	if (s.service >= conf->max_connections) {
		refuse(l, fd, peer, len, ENGINE_BYE_LIMIT_TOTAL, REC_CAUSE_LIMIT_SERVICE, conf->max_connections);
		return;
	}
	/* all peers of a unix socket are one address: there the limit of the service is enough */
	if (s.address >= conf->max_per_address && peer->sa.sa_family != AF_UNIX) {
		refuse(l, fd, peer, len, ENGINE_BYE_LIMIT_ADDRESS, REC_CAUSE_LIMIT_ADDRESS,
			conf->max_per_address);
		return;
	}
	atomic_fetch_add_explicit(&w->table->accepted, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->table->connections, 1, memory_order_relaxed);
	if (conn_new(w, l, fd, peer, len, key) == NULL)
		worker_conn_gone(w);
}

/* --- fairness --------------------------------------------------------------------------------- */

/* This worker has more connections than the mean of those that serve: the others first. */
static bool
above_the_mean(const struct worker *w)
{
	uint64_t sum = 0, own, n = 0;
	const struct table *t;
	unsigned i;

	for (i = 0; i < w->ntables; i++) {
		t = i == w->slot ? w->table : w->tables[i];
		if (t == NULL || atomic_load_explicit(&t->pid, memory_order_relaxed) == 0 ||
		    atomic_load_explicit(&t->state, memory_order_relaxed) != PROC_SERVING)
			continue;
		sum += atomic_load_explicit(&t->connections, memory_order_relaxed);
		n++;
	}
	own = atomic_load_explicit(&w->table->connections, memory_order_relaxed);
	return n > 1 && own * n > sum + n * (ACCEPT_SLACK + sum / n / 16);
}

static void
out_of_descriptors(struct worker *w)
{
	if (w->accept_full_ms == 0)
		log_msg(LOG_L_ERROR, "out of file descriptors or memory: no connections are accepted until "
			"some have ended; raise the limit of open files (ulimit -n, LimitNOFILE)");
	w->accept_full_ms = ev_now_ms();
	pause_for(w, ACCEPT_PAUSE_MS);
}

static void
accept_some(struct listener *l)
{
	struct worker *w = l->worker;
	socklen_t len;
	union addr peer;
	int i, fd, rc;

	for (i = 0; i < ACCEPT_BATCH && l->fd >= 0; i++) {
		if ((rc = listen_accept(l->fd, &peer, &len, &fd)) == PT_EFULL)
			out_of_descriptors(w);
		if (rc != 0)
			return;
		take(l, fd, &peer, len);
	}
}

static void
on_listener(void *arg, unsigned what)
{
	struct listener *l = arg;
	struct worker *w = l->worker;

	(void)what;
	if (!w->accept_yielded && above_the_mean(w)) {
		/* once, for a moment, whatever the others do: nobody waits for a worker that is stuck */
		w->accept_yielded = true;
		pause_for(w, ACCEPT_YIELD_MS);
		return;
	}
	w->accept_yielded = false;
	accept_some(l);
	/* the kernel wakes the first of those that sleep, so that one worker would do all the work there is for one;
	 * who begins to watch anew is the last */
	if (++w->accept_turns < ACCEPT_TURNS || ev_timer_pending(&w->accept_timer))
		return;
	w->accept_turns = 0;
	watch(w, false);
	watch(w, true);
}
