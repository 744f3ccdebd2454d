/* proc/worker_cred.c - a credential generation comes in by descriptors and becomes one credential set
 * for each trust domain, all or none: an error anywhere leaves the sets as they were. What was replaced lives until
 * its last session has ended. */
#include "proc/worker.h"

#include "conf/conf_schema.h"
#include "proc/ages.h"
#include "proc/files.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENT_CA_MAX 64

static void load_step(void *arg);

struct cred_file {
	uint8_t kind;
	uint32_t set, key;
	char *path;
	struct buf octets;
	int fd; /* of a revocation list, which may be large: read when it is needed; else -1 */
};

/* A generation while its files come in and its sets are built. */
struct cred_load {
	uint64_t generation;
	uint32_t service, domain; /* the next one whose set is built */
	bool failed;
	struct diag diag;
	size_t n;
	struct cred_file files[CRED_FILES_MAX];
};

/* --- generations in use ----------------------------------------------------------------------- */

/* Live sessions keep a set that was replaced, and with it the need for its keys. The parent is told when the last one
 * of a generation has gone. */
struct cred_held {
	TAILQ_ENTRY(cred_held) next;
	uint64_t generation;
	size_t sets;
};

void
worker_cred_init(struct worker *w)
{
	TAILQ_INIT(&w->cred_held);
	ev_timer_init(&w->load_timer, w->child.loop, load_step, w);
}

static struct cred_held *
held_of(struct worker *w, uint64_t generation)
{
	struct cred_held *h;

	TAILQ_FOREACH(h, &w->cred_held, next)
		if (h->generation == generation)
			return h;
	return NULL;
}

static void
hold(struct worker *w, uint64_t generation)
{
	struct cred_held *h = calloc(1, sizeof *h);

	PT_ASSERT(h != NULL);
	h->generation = generation;
	TAILQ_INSERT_TAIL(&w->cred_held, h, next);
}

static void
tell_if_unused(struct worker *w, uint64_t generation)
{
	const struct msg_cred_unused m = { .generation = generation };
	struct cred_held *h = held_of(w, generation);
	struct frame f;

	if (h == NULL || h->sets > 0 || generation == w->cred_generation || generation == w->cred_staged ||
	    (w->load != NULL && generation == w->load->generation))
		return;
	TAILQ_REMOVE(&w->cred_held, h, next);
	free(h);
	PT_ASSERT(msg_cred_unused_encode(&m, 0, &f) == 0);
	child_send(&w->child, &f, -1);
}

static void
set_gone(void *arg, uint64_t generation)
{
	struct worker *w = arg;
	struct cred_held *h = held_of(w, generation);

	PT_ASSERT(h != NULL && h->sets > 0);
	h->sets--;
	tell_if_unused(w, generation);
}

/* --- files come in ---------------------------------------------------------------------------- */

static void
load_free(struct cred_load **lp)
{
	struct cred_load *l = *lp;
	size_t i;

	if (l == NULL)
		return;
	for (i = 0; i < l->n; i++) {
		if (l->files[i].fd >= 0)
			close(l->files[i].fd);
		buf_fini(&l->files[i].octets);
		free(l->files[i].path);
	}
	free(l);
	*lp = NULL;
}

int
worker_on_cred_begin(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_cred_begin m;

	(void)peer;
	if (msg_cred_begin_decode(f, &m) != 0 || w->conf == NULL || w->load != NULL ||
	    m.config != w->generation)
		return PT_EPROTO;
	PT_ASSERT((w->load = calloc(1, sizeof *w->load)) != NULL);
	w->load->generation = m.generation;
	hold(w, m.generation);
	return 0;
}

int
worker_on_cred_file(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct cred_load *l = w->load;
	struct msg_cred_file m;
	struct cred_file *file;
	int fd, rc;

	(void)peer;
	if (msg_cred_file_decode(f, &m) != 0 || l == NULL || m.generation != l->generation ||
	    l->n == CRED_FILES_MAX ||
	    (m.kind != CRED_CHAIN && m.kind != CRED_CLIENT_CA && m.kind != CRED_FROM &&
		    m.kind != CRED_CRL && m.kind != CRED_OCSP))
		return PT_EPROTO;
	file = &l->files[l->n++];
	file->kind = m.kind;
	file->set = m.set;
	file->key = m.key;
	buf_init(&file->octets, 2 * TLS_FILE_MAX);
	PT_ASSERT((file->path = strndup((const char *)m.path.p, m.path.n)) != NULL);
	file->fd = -1;
	fd = frame_take_fd(f);
	if (m.kind == CRED_CRL) {
		file->fd = fd;
		return 0;
	}
	if (!l->failed && (rc = file_slurp(fd, &file->octets, &l->diag)) != 0) {
		l->failed = true;
		diag_prefix(&l->diag, "%s", file->path);
	}
	close(fd);
	return 0;
}

static size_t
collect(const struct cred_load *l, enum cred_kind kind, uint32_t set, struct tls_ca_file *out, size_t max)
{
	size_t i, n = 0;

	for (i = 0; i < l->n && n < max; i++)
		if (l->files[i].kind == kind && l->files[i].set == set)
			out[n++] = (struct tls_ca_file){ buf_span(&l->files[i].octets),
				l->files[i].path };
	return n;
}

/* A file of revocation lists, which may be large: in memory while it is looked at. */
static int
slurp_crl(const struct cred_file *f, struct buf *out, struct diag *diag)
{
	int rc;

	buf_init(out, TLS_CRL_FILE_MAX);
	if ((rc = file_slurp(f->fd, out, diag)) != 0)
		diag_prefix(diag, "%s", f->path);
	return rc;
}

/* What the revocation lists of a domain are made of; false: none, or it cannot be told. */
static bool
crl_source(const struct cred_load *l, uint32_t set, const struct conf_tls *tls, const struct tls_ca_file *cas,
	   size_t ncas, struct tls_crl_source *out)
{
	struct diag ignored = { "" };
	bool ok, any = false;
	struct buf text;
	size_t i;

	ok = tls_crl_source_begin(cas, ncas, tls->crl_grace_ms / 1000, out);
	for (i = 0; i < l->n && ok; i++) {
		if (l->files[i].kind != CRED_CRL || l->files[i].set != set)
			continue;
		any = true;
		ok = slurp_crl(&l->files[i], &text, &ignored) == 0 &&
			tls_crl_source_add(out, buf_span(&text), l->files[i].path);
		buf_fini(&text);
	}
	return ok && any;
}

/* The revocation lists of a domain; NULL when it names none. Those in use, when their files and CAs are the same: to read
 * a large one takes long, and most often something else has changed. */
static int
build_crls(const struct cred_load *l, uint32_t set, const struct conf_tls *tls, const struct tls_ca_file *cas,
	   size_t ncas, const struct tls_cred *before, struct tls_crl_set **out, struct diag *diag)
{
	struct tls_crl_set *had = before != NULL ? tls_cred_crls(before) : NULL;
	struct tls_crl_source source;
	bool told = crl_source(l, set, tls, cas, ncas, &source);
	size_t i;
	int rc = 0;

	*out = NULL;
	if (told && had != NULL && tls_crl_is_from(had, &source)) {
		*out = tls_crl_ref(had);
		return 0;
	}
	for (i = 0; i < l->n && rc == 0; i++) {
		if (l->files[i].kind != CRED_CRL || l->files[i].set != set)
			continue;
		if (*out == NULL)
			rc = tls_crl_new(cas, ncas, tls->crl_grace_ms / 1000, out, diag);
		if (rc == 0)
			rc = crl_load_fd(*out, l->files[i].fd, l->files[i].path, diag);
	}
	if (rc != 0)
		tls_crl_free(out);
	else if (told)
		tls_crl_note_source(*out, &source);
	return rc;
}

static int
build_one(struct worker *w, const struct conf_tls *tls, struct domain_sets sets, const struct tls_cred *before,
	  struct tls_cred **out)
{
	struct tls_ca_file cas[CLIENT_CA_MAX], froms[TLS_FROM_MAX], ocsps[CONF_OCSP_MAX];
	struct tls_chain chains[CONF_CERTS_MAX];
	struct cred_load *l = w->load;
	struct tls_cred_conf conf = {
		.protocols = ((tls->protocols & CONF_TLS_1_2) ? TLS_PROTO_1_2 : 0) |
			((tls->protocols & CONF_TLS_1_3) ? TLS_PROTO_1_3 : 0),
		.priority = tls->priority,
		.client_cert = (enum tls_client_cert)tls->client_certificate, /* same order */
		.chains = chains, .cas = cas, .froms = froms, .ocsps = ocsps,
		.generation = l->generation, .sign = signer_sign, .sign_arg = &w->signer,
		.before = before, .gone = set_gone, .gone_arg = w,
	};
	size_t i;
	int rc;

	for (i = 0; i < l->n && conf.nchains < CONF_CERTS_MAX; i++)
		if (l->files[i].kind == CRED_CHAIN && l->files[i].set == sets.certs)
			chains[conf.nchains++] = (struct tls_chain){ buf_span(&l->files[i].octets),
				l->files[i].key };
	conf.nocsps = collect(l, CRED_OCSP, sets.ocsp, ocsps, PT_COUNT(ocsps));
	conf.ncas = collect(l, CRED_CLIENT_CA, sets.client_ca, cas, PT_COUNT(cas));
	if (tls->client_certificate != CONF_CC_NONE)
		conf.nfroms = collect(l, CRED_FROM, CRED_SET_IDENTITY, froms, PT_COUNT(froms));
	if (tls->client_certificate != CONF_CC_NONE &&
	    (rc = build_crls(l, sets.client_crl, tls, cas, conf.ncas, before, &conf.crls, &l->diag)) != 0)
		return rc;
	if ((rc = tls_cred_new(&conf, out, &l->diag)) != 0)
		tls_crl_free(&conf.crls);
	else
		held_of(w, l->generation)->sets++;
	return rc;
}

_Static_assert((int)CONF_CC_NONE == (int)TLS_CLIENT_CERT_NONE &&
		       (int)CONF_CC_REQUEST == (int)TLS_CLIENT_CERT_REQUEST &&
		       (int)CONF_CC_OPTIONAL == (int)TLS_CLIENT_CERT_OPTIONAL &&
		       (int)CONF_CC_REQUIRE == (int)TLS_CLIENT_CERT_REQUIRE,
	"the modes of conf/ and tls/ are the same");

_Static_assert(CONF_MAPS_MAX <= TLS_FROM_MAX && CONF_CLIENT_CA_MAX <= CLIENT_CA_MAX,
	"no rule and no file that the configuration takes is left out");

/* A set that is staged already and gives the same; NULL: none. */
static struct tls_cred *
find_same(const struct worker *w, const struct conf_tls *tls)
{
	const struct domain *d;
	size_t i, k;

	for (i = 0; i < w->conf->nservices; i++)
		for (k = 0; k < w->services[i].domains.n; k++) {
			d = &w->services[i].domains.list[k];
			if (d->staged != NULL && conf_tls_same_credentials(d->tls, tls))
				return d->staged;
		}
	return NULL;
}

/* Domains whose effective blocks give the same credentials share one set. */
static int
build_domain(struct worker *w, uint32_t service, uint32_t i)
{
	struct service *s = &w->services[service];
	struct domain *d = &s->domains.list[i];
	struct tls_cred *same;
	int rc;

	if ((same = find_same(w, d->tls)) != NULL) {
		d->staged = tls_cred_ref(same);
		return 0;
	}
	if ((rc = build_one(w, d->tls, domain_sets(s->conf->tls, service, i), d->cred, &d->staged)) == 0)
		return 0;
	if (d->name != NULL)
		diag_prefix(&w->load->diag, "service %s, name %s", s->conf->name, d->name);
	else
		diag_prefix(&w->load->diag, "service %s", s->conf->name);
	return rc;
}

/* The CAs of an identity rule's file must be trusted somewhere, or nobody could ever come by it. */
static int
check_rules(const struct worker *w)
{
	const struct cred_load *l = w->load;
	size_t i, k, m, from = 0;
	bool asked = false, applies;

	for (i = 0; i < l->n; i++) {
		if (l->files[i].kind != CRED_FROM)
			continue;
		applies = false;
		for (k = 0; k < w->conf->nservices; k++)
			for (m = 0; m < w->services[k].domains.n; m++) {
				const struct domain *d = &w->services[k].domains.list[m];

				asked = asked || d->tls->client_certificate != CONF_CC_NONE;
				applies = applies || tls_cred_applies(d->staged, from);
			}
		if (asked && !applies)
			return diag_set(&w->load->diag, PT_EINVAL, CRED_RULE_UNUSED, l->files[i].path);
		from++;
	}
	return 0;
}

static void
drop_staged(struct worker *w)
{
	size_t i, k;

	for (i = 0; i < CONF_SERVICES_MAX; i++)
		for (k = 0; k < w->services[i].domains.n; k++)
			tls_cred_unref(&w->services[i].domains.list[k].staged);
	expiries_fini(&w->expiries_staged);
	w->cred_staged = 0;
}

static void
stage(struct worker *w)
{
	const struct cred_load *l = w->load;
	size_t i;

	for (i = 0; i < l->n; i++)
		if (l->files[i].kind == CRED_CHAIN)
			expiry_add(&w->expiries_staged, l->files[i].set, l->files[i].path,
				buf_span(&l->files[i].octets));
	w->cred_staged = l->generation;
}

/* All are built, or one cannot be. */
static void
finish_load(struct worker *w, int rc)
{
	struct cred_load *l = w->load;

	if (rc != 0 && l->diag.text[0] == '\0')
		diag_set(&l->diag, rc, "%s", pt_strerror(rc));
	if (rc != 0)
		drop_staged(w);
	else
		stage(w);
	child_ack_cred(&w->child, l->generation, rc == 0, rc == 0 ? "" : l->diag.text);
	load_free(&w->load);
}

/* The next domain; false: there is none left. */
static bool
build_next(struct worker *w, int *rc)
{
	struct cred_load *l = w->load;

	while (l->service < w->conf->nservices && l->domain == w->services[l->service].domains.n) {
		l->service++;
		l->domain = 0;
	}
	if (l->service == w->conf->nservices)
		return false;
	*rc = build_domain(w, l->service, l->domain++);
	return true;
}

/* One domain, then the connections, then the next: whoever has a session must not feel it. */
static void
load_step(void *arg)
{
	struct worker *w = arg;
	int rc = w->load->failed ? PT_EINVAL : 0;

	do
		if (rc != 0 || !build_next(w, &rc)) {
			finish_load(w, rc != 0 ? rc : check_rules(w));
			return;
		}
	while (rc != 0 || w->child.state == PROC_STARTING);
	ev_timer_set(&w->load_timer, 0);
}

int
worker_on_cred_end(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_cred_end m;

	(void)peer;
	if (msg_cred_end_decode(f, &m) != 0 || w->load == NULL || m.generation != w->load->generation)
		return PT_EPROTO;
	load_step(w);
	return 0;
}

/* The key goes by service, name and credential set; without one the domain gives no tickets. */
static void
set_ticket_key(struct worker *w, const struct service *s, struct domain *d)
{
	d->tickets = false;
	if (!d->tls->tickets || !w->has_ticket_master)
		return;
	d->tickets = tls_ticket_key_derive(w->ticket_master, s->conf->name, d->name != NULL ? d->name : "",
		d->cred, d->tls->ticket_lifetime_ms / 1000, &d->ticket) == 0;
	if (!d->tickets)
		log_msg(LOG_L_ERROR, "service %s gives no session tickets: no key can be made for them",
			s->conf->name);
}

/* All processes have the generation: from now on it is the one that new sessions get. Live sessions keep
 * their reference to the old one. */
int
worker_on_cred_commit(void *self, void *peer, struct frame *f)
{
	struct msg_cred_commit m;
	struct worker *w = self;
	uint64_t before;
	struct domain *d;
	size_t i, k;

	(void)peer;
	if (msg_cred_commit_decode(f, &m) != 0 || w->cred_staged == 0 || m.generation != w->cred_staged)
		return PT_EPROTO;
	before = w->cred_generation;
	w->cred_generation = m.generation;
	w->cred_staged = 0;
	atomic_store(&w->table->credentials, m.generation);
	for (i = 0; i < CONF_SERVICES_MAX; i++)
		for (k = 0; k < w->services[i].domains.n; k++) {
			d = &w->services[i].domains.list[k];
			if (d->staged == NULL)
				continue;
			tls_cred_unref(&d->cred);
			d->cred = d->staged;
			d->staged = NULL;
			set_ticket_key(w, &w->services[i], d);
		}
	worker_ages_committed(w);
	worker_expiry_committed(w);
	tell_if_unused(w, before);
	judge_begin(w);
	return 0;
}

/* Some other process could not load it. */
int
worker_on_cred_release(void *self, void *peer, struct frame *f)
{
	struct msg_cred_release m;
	struct worker *w = self;

	(void)peer;
	if (msg_cred_release_decode(f, &m) != 0)
		return PT_EPROTO;
	if (w->load != NULL && m.generation == w->load->generation) {
		ev_timer_clear(&w->load_timer);
		load_free(&w->load);
		drop_staged(w);
	}
	if (m.generation == w->cred_staged)
		drop_staged(w);
	tell_if_unused(w, m.generation);
	return 0;
}
