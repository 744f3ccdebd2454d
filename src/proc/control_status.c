/* proc/control_status.c - "status" as JSON: what the parent has told, and the sums over the workers'
 * tables. */
#include "config.h"

#include "proc/control.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *
mode_name(enum conf_listen_mode mode)
{
	switch (mode) {
	case CONF_LISTEN_STARTTLS:
		return "starttls";
	case CONF_LISTEN_STARTTLS_REQUIRED:
		return "starttls-required";
	case CONF_LISTEN_TLS:
		return "tls";
	case CONF_LISTEN_PLAIN:
		return "plain";
	}
	return "";
}

static json_t *
processes(const struct control *c)
{
	const struct process_row *r;
	const struct table *t;
	json_t *a = json_array(), *o;

	TAILQ_FOREACH(r, &c->processes, next) {
		o = json_pack("{s:s, s:i, s:I, s:s, s:i}", "role", role_name(r->p.role), "pid",
			(int)r->p.pid, "generation", (json_int_t)r->p.generation, "state",
			proc_state_name(r->p.state), "restarts", (int)r->p.restarts);
		if (r->p.role == ROLE_WORKER && r->p.slot < TABLE_SLOTS_MAX &&
		    (t = c->tables[r->p.slot]) != NULL && o != NULL) {
			json_object_set_new(o, "slot", json_integer(r->p.slot));
			json_object_set_new(o, "credentials",
				json_integer((json_int_t)atomic_load(&t->credentials)));
			json_object_set_new(o, "connections",
				json_integer((json_int_t)atomic_load(&t->connections)));
			json_object_set_new(o, "accepted",
				json_integer((json_int_t)atomic_load(&t->accepted)));
		}
		if (r->p.role == ROLE_KEYHOLDER) /* it has agreed before they may */
			json_object_set_new(o, "credentials", json_integer((json_int_t)c->cred.generation));
		json_array_append_new(a, o);
	}
	return a;
}

/* The credential generation in use, since when; and when changed files were last refused, and why that is so. */
static json_t *
credentials(const struct control *c)
{
	json_t *o = json_pack("{s:I}", "generation", (json_int_t)c->cred.generation);

	json_object_set_new(o, "since",
		c->cred.done != 0 ? json_integer((json_int_t)c->cred.done) : json_null());
	json_object_set_new(o, "refused",
		c->cred.failed != 0 ? json_integer((json_int_t)c->cred.failed) : json_null());
	json_object_set_new(o, "error", c->cred.why[0] != '\0' ? json_string(c->cred.why) : json_null());
	return o;
}

/* Adds up one service over all tables that know it. */
void
control_sum_service(const struct control *c, const char *name, struct table_service *sum)
{
	const struct table *t;
	size_t i, k, n;

	memset(sum, 0, sizeof *sum);
	for (i = 0; i < TABLE_SLOTS_MAX; i++) {
		if ((t = c->tables[i]) == NULL)
			continue;
		n = atomic_load_explicit(&t->nservices, memory_order_acquire);
		for (k = 0; k < n && k < TABLE_SERVICES_MAX; k++)
			if (strncmp(t->services[k].name, name, TABLE_SERVICE_NAME_MAX - 1) == 0)
				table_service_add(sum, &t->services[k]);
	}
}

static void
put_counters(const struct control *c, const char *name, json_t *o)
{
	json_t *failures = json_object(), *verdicts = json_object();
	struct table_service sum;
	size_t i;

	control_sum_service(c, name, &sum);
#define PUT(counter, help)                                                                         \
	json_object_set_new(o, #counter, json_integer((json_int_t)atomic_load(&sum.counter)));
	TABLE_COUNTERS(PUT)
#undef PUT
	for (i = 0; i < TABLE_FAILURE_COUNT; i++)
		json_object_set_new(failures, table_failure_name((enum table_failure)i),
			json_integer((json_int_t)atomic_load(&sum.failures[i])));
	for (i = 0; i < TLS_VERDICT_COUNT; i++)
		json_object_set_new(verdicts, tls_verdict_name((enum tls_verdict)i),
			json_integer((json_int_t)atomic_load(&sum.verdicts[i])));
	json_object_set_new(o, "failures", failures);
	json_object_set_new(o, "verdicts", verdicts);
}

uint64_t
control_end(const struct control *c, const char *name, enum table_end end)
{
	const struct table *t;
	uint64_t first = 0, one;
	size_t i, k, n;

	for (i = 0; i < TABLE_SLOTS_MAX; i++) {
		if ((t = c->tables[i]) == NULL || atomic_load(&t->generation) != c->generation)
			continue;
		n = atomic_load_explicit(&t->nservices, memory_order_acquire);
		for (k = 0; k < n && k < TABLE_SERVICES_MAX; k++) {
			if (strncmp(t->services[k].name, name, TABLE_SERVICE_NAME_MAX - 1) != 0)
				continue;
			one = atomic_load(&t->services[k].ends[end]);
			if (one != 0 && (first == 0 || one < first))
				first = one;
		}
	}
	return first;
}

void
control_certs(const struct control *c, const char *name, struct table_certs *out)
{
	const struct table *t;
	size_t i, k, n;

	for (i = 0; i < TABLE_SLOTS_MAX; i++) {
		if ((t = c->tables[i]) == NULL || atomic_load(&t->generation) != c->generation)
			continue;
		n = atomic_load_explicit(&t->nservices, memory_order_acquire);
		for (k = 0; k < n && k < TABLE_SERVICES_MAX; k++)
			if (strncmp(t->services[k].name, name, TABLE_SERVICE_NAME_MAX - 1) == 0 &&
			    table_certs_get(&t->services[k], out) && out->n > 0)
				return;
	}
	out->n = 0;
}

static json_t *
certificates(const struct control *c, const char *service)
{
	struct table_certs certs;
	json_t *a = json_array();
	uint32_t i;

	control_certs(c, service, &certs);
	for (i = 0; i < certs.n; i++)
		json_array_append_new(a, json_pack("{s:s, s:I}", "file", certs.list[i].file, "not_after",
						 (json_int_t)certs.list[i].not_after));
	return a;
}

static json_t *
services(const struct control *c)
{
	const struct conf_service *s;
	json_t *a = json_array(), *o, *listens;
	uint64_t until;
	size_t i, k;

	for (i = 0; c->conf != NULL && i < c->conf->nservices; i++) {
		s = &c->conf->services[i];
		o = json_pack("{s:s}", "name", s->name);
		listens = json_array();
		for (k = 0; k < s->nlistens; k++)
			json_array_append_new(listens, json_sprintf("%s %s", s->listens[k].text,
				mode_name(s->listens[k].mode)));
		json_object_set_new(o, "listen", listens);
		put_counters(c, s->name, o);
#define PUT(end, key, help)                                                                        \
	until = control_end(c, s->name, TABLE_END_##end);                                          \
	json_object_set_new(o, key, until != 0 ? json_integer((json_int_t)until) : json_null());
		TABLE_ENDS(PUT)
#undef PUT
		json_object_set_new(o, "certificates", certificates(c, s->name));
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *
limitations(const struct control *c)
{
	char copy[sizeof c->limitations], *p = copy, *line;
	json_t *a = json_array();

	strlcpy(copy, c->limitations, sizeof copy);
	while ((line = strsep(&p, "\n")) != NULL)
		if (line[0] != '\0')
			json_array_append_new(a, json_string(line));
	return a;
}

char *
control_status_text(const struct control *c)
{
	time_t now = time(NULL);
	char *text;
	json_t *o;

	o = json_pack("{s:b, s:s, s:i, s:I, s:I, s:I, s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "ok", 1,
		"version", PACKAGE_VERSION, "pid", (int)c->pid, "started", (json_int_t)c->started,
		"uptime", (json_int_t)((uint64_t)now - c->started), "generation",
		(json_int_t)c->generation, "state", proc_state_name(c->state), "config",
		c->config, "log_dropped", (json_int_t)c->log_dropped,
		"credentials", credentials(c), "limitations", limitations(c), "processes", processes(c), "services", services(c));
	text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}
