/* proc/auth_realm.c - users come in: a configuration, its files by descriptors, all or nothing. A file with a mistake
 * leaves what was there. */
#include "proc/auth.h"

#include "conf/conf.h"
#include "proc/cred_kind.h"
#include "proc/files.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPORT_MAX 900 /* octets of mistakes that go to the parent and the log: "posternd -n" shows all */

struct auth_load {
	uint64_t number; /* what the parent calls it; CRED_ACK repeats it */
	char *users_path, *impersonate_path;
	int users_fd, impersonate_fd;
};

struct auth_realm *
auth_realm_get(struct auth *a, uint64_t generation)
{
	struct auth_realm *r;

	TAILQ_FOREACH(r, &a->realms, next)
		if (r->generation == generation)
			return r;
	return NULL;
}

static void
load_free(struct auth_load **lp)
{
	struct auth_load *l = *lp;

	if (l == NULL)
		return;
	if (l->users_fd >= 0)
		close(l->users_fd);
	if (l->impersonate_fd >= 0)
		close(l->impersonate_fd);
	free(l->users_path);
	free(l->impersonate_path);
	free(l);
	*lp = NULL;
}

static void
realm_free(struct auth *a, struct auth_realm *r)
{
	auth_worker_forget_realm(a, r);
	TAILQ_REMOVE(&a->realms, r, next);
	load_free(&r->load);
	users_free(&r->users);
	impersonate_free(&r->impersonate);
	conf_free(&r->conf);
	freezero(r, sizeof *r);
}

int
auth_on_config(void *self, void *peer, struct frame *f)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct auth *a = self;
	struct auth_realm *r;
	struct msg_config m;
	struct diag diag;
	struct buf text;

	(void)peer;
	if (msg_config_decode(f, &m) != 0 || errors == NULL || auth_realm_get(a, m.generation) != NULL)
		return PT_EPROTO;
	buf_init(&text, 4 * CONF_FILE_MAX);
	PT_ASSERT(file_slurp(f->fd, &text, &diag) == 0);
	PT_ASSERT(conf_parse("configuration", "/", buf_span(&text), &conf, errors) == 0);
	PT_ASSERT((r = calloc(1, sizeof *r)) != NULL);
	r->generation = m.generation;
	r->conf = conf;
	r->realm.directory = (struct directory){ .domains = conf->domains, .ndomains = conf->ndomains,
		.postmaster = conf->postmaster };
	TAILQ_INSERT_TAIL(&a->realms, r, next);
	conf_errors_free(&errors);
	buf_fini(&text);
	return 0;
}

int
auth_on_cred_begin(void *self, void *peer, struct frame *f)
{
	struct auth *a = self;
	struct msg_cred_begin m;
	struct auth_realm *r;

	(void)peer;
	if (msg_cred_begin_decode(f, &m) != 0 || (r = auth_realm_get(a, m.config)) == NULL || r->load != NULL)
		return PT_EPROTO;
	PT_ASSERT((r->load = calloc(1, sizeof *r->load)) != NULL);
	*r->load = (struct auth_load){ .number = m.generation, .users_fd = -1, .impersonate_fd = -1 };
	return 0;
}

static struct auth_realm *
loading(struct auth *a, uint64_t number)
{
	struct auth_realm *r;

	TAILQ_FOREACH(r, &a->realms, next)
		if (r->load != NULL && r->load->number == number)
			return r;
	return NULL;
}

int
auth_on_cred_file(void *self, void *peer, struct frame *f)
{
	struct auth *a = self;
	struct msg_cred_file m;
	struct auth_realm *r;
	char **path;
	int *fd;

	(void)peer;
	if (msg_cred_file_decode(f, &m) != 0 || (r = loading(a, m.generation)) == NULL ||
	    (m.kind != CRED_USERS && m.kind != CRED_IMPERSONATE))
		return PT_EPROTO;
	fd = m.kind == CRED_USERS ? &r->load->users_fd : &r->load->impersonate_fd;
	path = m.kind == CRED_USERS ? &r->load->users_path : &r->load->impersonate_path;
	if (*fd >= 0)
		return PT_EPROTO;
	PT_ASSERT((*path = strndup((const char *)m.path.p, m.path.n)) != NULL);
	*fd = frame_take_fd(f);
	return 0;
}

/* One file to its parser. */
static int
read_file(int fd, const char *path, size_t max, struct buf *text, struct buf *mistakes)
{
	struct diag diag = { "" };
	int rc;

	buf_init(text, max);
	if ((rc = file_slurp(fd, text, &diag)) != 0 && buf_printf(mistakes, "%s: %s\n", path, diag.text) != 0)
		rc = PT_ENOMEM;
	return rc;
}

static int
parse(const struct auth_load *l, struct users **users, struct impersonate **impersonate, struct buf *mistakes)
{
	struct buf text;
	int rc;

	if ((rc = read_file(l->users_fd, l->users_path, USERS_FILE_MAX, &text, mistakes)) == 0)
		rc = users_parse(l->users_path, buf_span(&text), users, mistakes);
	buf_wipe(&text);
	if (rc != 0 || l->impersonate_fd < 0)
		return rc;
	if ((rc = read_file(l->impersonate_fd, l->impersonate_path, IMPERSONATE_FILE_MAX, &text, mistakes)) == 0)
		rc = impersonate_parse(l->impersonate_path, buf_span(&text), impersonate, mistakes);
	buf_fini(&text);
	return rc;
}

/* Workers hear of it behind every answer that was given from the old users, so no login slips through between. */
static void
replace(struct auth *a, struct auth_realm *r, struct users *users, struct impersonate *impersonate)
{
	struct users *were = r->users;

	impersonate_free(&r->impersonate);
	r->users = users;
	r->impersonate = impersonate;
	r->realm.directory.users = users;
	r->realm.impersonate = impersonate;
	verify_model(users, &r->realm.model);
	if (were != NULL)
		auth_worker_tell_ousted(a, r, were);
	users_free(&were);
}

static void
say_loaded(struct auth *a, const struct auth_realm *r, bool ok, const char *text)
{
	struct msg_auth_loaded m = { .generation = r->generation, .ok = ok, .text = span_str(text),
		.users = (uint32_t)users_count(r->users) };
	struct frame f;

	PT_ASSERT(msg_auth_loaded_encode(&m, 0, &f) == 0);
	child_send(&a->child, &f, -1);
}

int
auth_on_cred_end(void *self, void *peer, struct frame *f)
{
	struct impersonate *impersonate = NULL;
	struct users *users = NULL;
	struct auth *a = self;
	struct msg_cred_end m;
	struct auth_realm *r;
	char text[REPORT_MAX + 1];
	struct buf mistakes;
	bool update;
	int rc;

	(void)peer;
	if (msg_cred_end_decode(f, &m) != 0 || (r = loading(a, m.generation)) == NULL || r->load->users_fd < 0)
		return PT_EPROTO;
	update = r->users != NULL;
	buf_init(&mistakes, 1024 * 1024);
	rc = parse(r->load, &users, &impersonate, &mistakes);
	snprintf(text, sizeof text, "%.*s", (int)buf_size(&mistakes),
		buf_size(&mistakes) > 0 ? (const char *)buf_span(&mistakes).p : "");
	if (rc == 0) {
		replace(a, r, users, impersonate);
		auth_worker_tell_change(a, r); /* before the parent hears that it is done */
	} else {
		users_free(&users);
		impersonate_free(&impersonate);
	}
	while (text[0] != '\0' && text[strlen(text) - 1] == '\n')
		text[strlen(text) - 1] = '\0';
	if (rc != 0 && text[0] == '\0')
		snprintf(text, sizeof text, "%s", pt_strerror(rc));
	if (update)
		say_loaded(a, r, rc == 0, text);
	else
		child_ack_cred(&a->child, m.generation, rc == 0, text);
	buf_fini(&mistakes);
	load_free(&r->load);
	return 0;
}

/* The number is the configuration's: its last worker has ended, or it never served. */
int
auth_on_cred_release(void *self, void *peer, struct frame *f)
{
	struct msg_cred_release m;
	struct auth *a = self;
	struct auth_realm *r;

	(void)peer;
	if (msg_cred_release_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((r = auth_realm_get(a, m.generation)) != NULL)
		realm_free(a, r);
	return 0;
}
