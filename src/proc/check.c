/* proc/check.c - posternd -n: reads all that a start would read, binds and starts nothing.
 *
 * Certificates and keys are parsed in a child that has given up root's rights first: a check is run by
 * administrators and by an upgrade, on files that may come from anywhere. */
#include "proc/parent.h"

#include "proc/confine.h"
#include "conf/conf_schema.h"
#include "mail/normal.h"
#include "proc/ages.h"
#include "proc/domain.h"
#include "proc/files.h"
#include "proc/keyfile.h"
#include "tls/tls_check.h"
#include "tls/tls_cred.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAID_MAX (1024 * 1024) /* octets of complaints that are remembered */

struct check {
	const struct generation *g;
	struct tls_key *keys[CRED_KEYS_MAX];
	struct buf chains[CRED_KEYS_MAX];
	bool warned[CRED_KEYS_MAX], cost_said[CRED_KEYS_MAX];
	bool ca_warned[CRED_FILES_MAX + 1]; /* by file; the last for none */
	const char *where; /* the domain that is being checked */
	bool asked; /* somewhere for client certificates */
	bool rule_applies[TLS_FROM_MAX]; /* somewhere; by number of the CA file */
	unsigned mistakes;
	struct buf said; /* each text with its NUL */
};

static void
complain(struct check *c, const char *where, const struct diag *diag, int rc)
{
	c->mistakes++;
	/* a file that several services name is spoken of at the first of them */
	if (diag->text[0] == '/') {
		if (buf_size(&c->said) > 0 && memmem(buf_span(&c->said).p, buf_size(&c->said), diag->text,
						      strlen(diag->text) + 1) != NULL)
			return;
		(void)!buf_append(&c->said, diag->text, strlen(diag->text) + 1);
	}
	fprintf(stderr, "posternd: %s%s%s\n", where, where[0] != '\0' ? ": " : "",
		diag->text[0] != '\0' ? diag->text : pt_strerror(rc));
}

static void
warn(const char *where, const char *text)
{
	fprintf(stderr, "posternd: warning: %s%s%s\n", where, where[0] != '\0' ? ": " : "", text);
}

static void
on_warning(void *where, const char *text)
{
	warn(where, text);
}

static int
sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed, struct span data,
     uint8_t *sig, size_t *len)
{
	struct check *c = arg;

	(void)generation;
	return tls_key_sign(c->keys[key], algorithm, hashed, data, sig, len);
}

static void
on_key_warning(void *arg, const char *path, const char *text)
{
	(void)arg;
	warn(path, text);
}

static void
check_keys(struct check *c)
{
	const struct gen_cert *cert;
	struct diag diag;
	size_t i;
	int rc;

	for (i = 0; i < c->g->cred->ncerts; i++) {
		cert = &c->g->cred->certs[i];
		const struct key_files files = { cert->certificate, cert->key, cert->passphrase, cert->cert_fd,
			cert->key_fd, cert->pass_fd };

		diag.text[0] = '\0';
		buf_init(&c->chains[i], 2 * TLS_FILE_MAX);
		rc = key_files_load(&files, (uint64_t)time(NULL), &c->keys[i], &c->chains[i], on_key_warning, c,
			&diag);
		if (rc != 0)
			complain(c, "", &diag, rc);
	}
}

static size_t
read_files(struct check *c, enum cred_kind kind, uint32_t set, struct buf *bufs, struct tls_ca_file *out,
	   size_t max)
{
	const struct gen_file *f;
	struct diag diag;
	size_t i, n = 0;
	int rc;

	for (i = 0; i < c->g->cred->nfiles && n < max; i++) {
		f = &c->g->cred->files[i];
		if (f->kind != kind || f->set != set)
			continue;
		diag.text[0] = '\0';
		buf_init(&bufs[n], TLS_FILE_MAX);
		if ((rc = file_slurp(f->fd, &bufs[n], &diag)) != 0) {
			complain(c, f->path, &diag, rc);
			continue;
		}
		out[n] = (struct tls_ca_file){ buf_span(&bufs[n]), f->path };
		n++;
	}
	return n;
}

/* A trust domain as it is checked. */
struct checked {
	const struct conf_tls *tls;
	const struct conf_name *name; /* NULL: the tls block itself */
	struct domain_sets sets;
	char where[CONF_NAME_MAX + NORMAL_DOMAIN_MAX + 16];
};

static struct checked
checked_of(const struct conf *conf, uint32_t service, uint32_t name)
{
	const struct conf_service *s = &conf->services[service];
	const struct conf_name *n = name > 0 ? &s->tls->names[name - 1] : NULL;
	struct checked d = { .tls = n != NULL ? n->tls : s->tls, .name = n,
		.sets = domain_sets(s->tls, service, name) };

	snprintf(d.where, sizeof d.where, n != NULL ? "%s, name %s" : "%s", s->name,
		n != NULL ? n->hosts[0] : "");
	return d;
}

/* Loads all files of lists but those that are bad; -1, or the number of one that is bad, too (complained of). */
static ptrdiff_t
try_crls(struct check *c, const struct checked *d, const struct tls_ca_file *cas, size_t ncas,
	 const bool bad[CRED_FILES_MAX], struct tls_crl_set **set)
{
	struct diag diag = { "" };
	const struct gen_file *f;
	size_t i;
	int rc = tls_crl_new(cas, ncas, d->tls->crl_grace_ms / 1000, set, &diag);

	if (rc != 0)
		return -1; /* a CA file is wrong; that is said where it is loaded */
	for (i = 0; i < c->g->cred->nfiles; i++) {
		f = &c->g->cred->files[i];
		if (f->kind != CRED_CRL || f->set != d->sets.client_crl || bad[i])
			continue;
		if ((rc = crl_load_fd(*set, f->fd, f->path, &diag)) == 0)
			continue;
		complain(c, d->where, &diag, rc);
		return (ptrdiff_t)i;
	}
	return -1;
}

/* The revocation lists of a domain; NULL when it names none. Each file that is bad is complained of. */
static struct tls_crl_set *
read_crls(struct check *c, const struct checked *d, const struct tls_ca_file *cas, size_t ncas)
{
	static bool bad[CRED_FILES_MAX];
	struct tls_crl_set *set = NULL;
	ptrdiff_t at;

	if (d->tls->client_certificate == CONF_CC_NONE || d->tls->nclient_crl == 0)
		return NULL;
	memset(bad, 0, sizeof bad);
	while ((at = try_crls(c, d, cas, ncas, bad, &set)) >= 0) {
		bad[at] = true;
		tls_crl_free(&set);
	}
	return set;
}

/* Once for each certificate and each CA file, in the domain that names it first. */
static void
warn_of_files(struct check *c, const struct checked *d, const struct tls_ca_file *cas, size_t ncas)
{
	const struct gen_file *f;
	uint32_t key;
	size_t i, k;

	for (i = 0; i < d->tls->ncerts; i++) {
		key = generation_key(c->g, &d->tls->certs[i]);
		if (!c->warned[key])
			tls_check_chain_whole(buf_span(&c->chains[key]), cas, ncas, on_warning,
				d->tls->certs[i].certificate);
		c->warned[key] = true;
	}
	for (i = 0; i < ncas; i++) {
		for (k = 0; k < c->g->cred->nfiles; k++) {
			f = &c->g->cred->files[k];
			if (f->kind == CRED_CLIENT_CA && strcmp(f->path, cas[i].path) == 0)
				break;
		}
		if (k < c->g->cred->nfiles && !c->ca_warned[k])
			tls_check_cas(cas[i].pem, (uint64_t)time(NULL), on_warning,
				(void *)(uintptr_t)cas[i].path);
		c->ca_warned[k] = true;
	}
}

/* What is wrong with all certificates of a domain together: their cost, said of each file once, and a name that none
 * of them is for. */
static void
warn_of_certificates(struct check *c, const struct checked *d)
{
	struct tls_chain chains[CONF_CERTS_MAX];
	uint32_t key;
	size_t i;

	for (i = 0; i < d->tls->ncerts; i++) {
		key = generation_key(c->g, &d->tls->certs[i]);
		if (c->keys[key] == NULL)
			return; /* said already */
		chains[i] = (struct tls_chain){ buf_span(&c->chains[key]), key };
	}
	for (i = 0; i < d->tls->ncerts; i++) {
		if (!c->cost_said[chains[i].key])
			tls_check_cost(chains, d->tls->ncerts, on_warning, d->tls->certs[i].certificate);
		c->cost_said[chains[i].key] = true;
	}
	for (i = 0; d->name != NULL && i < d->name->nhosts; i++)
		tls_check_host(chains, d->tls->ncerts, d->name->hosts[i], on_warning,
			(void *)(uintptr_t)d->where);
}

static void
on_mistake(void *arg, const char *text)
{
	struct check *c = arg;
	struct diag diag;

	diag_set(&diag, 0, "%s", text);
	complain(c, c->where, &diag, 0);
}

static void
check_domain(struct check *c, const struct checked *d)
{
	struct tls_ca_file cas[CONF_CLIENT_CA_MAX], froms[TLS_FROM_MAX], ocsps[CONF_OCSP_MAX];
	struct buf ca_bufs[CONF_CLIENT_CA_MAX], from_bufs[TLS_FROM_MAX], ocsp_bufs[CONF_OCSP_MAX];
	struct tls_chain chains[CONF_CERTS_MAX];
	struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3,
		.priority = d->name == NULL ? d->tls->priority : NULL, /* the block's, and said there */
		.client_cert = (enum tls_client_cert)d->tls->client_certificate,
		.chains = chains, .cas = cas, .froms = froms, .ocsps = ocsps, .sign = sign, .sign_arg = c,
		.report = on_mistake, .report_arg = c };
	char text[TLS_CRL_WARNING_MAX];
	struct diag diag = { "" };
	struct tls_cred *cred;
	const char *code;
	uint32_t key;
	size_t i;
	int rc;

	c->where = d->where;
	for (i = 0; i < d->tls->ncerts; i++) {
		key = generation_key(c->g, &d->tls->certs[i]);
		if (c->keys[key] != NULL) /* else it was said already */
			chains[conf.nchains++] = (struct tls_chain){ buf_span(&c->chains[key]), key };
	}
	conf.ncas = read_files(c, CRED_CLIENT_CA, d->sets.client_ca, ca_bufs, cas, PT_COUNT(cas));
	if (d->tls->client_certificate != CONF_CC_NONE)
		conf.nfroms = read_files(c, CRED_FROM, CRED_SET_IDENTITY, from_bufs, froms,
			PT_COUNT(froms));
	if (conf.nchains == d->tls->ncerts) /* else it may be for the one that is missing */
		conf.nocsps = read_files(c, CRED_OCSP, d->sets.ocsp, ocsp_bufs, ocsps, PT_COUNT(ocsps));
	conf.crls = read_crls(c, d, cas, conf.ncas);
	if ((rc = tls_cred_new(&conf, &cred, &diag)) != 0) {
		if (rc != PT_EINVAL)
			complain(c, d->where, &diag, rc);
		tls_crl_free(&conf.crls);
	}
	c->asked = c->asked || conf.nfroms > 0;
	for (i = 0; i < conf.nfroms; i++) /* a set that cannot be used may have had them all */
		c->rule_applies[i] = c->rule_applies[i] || cred == NULL || tls_cred_applies(cred, i);
	while (cred != NULL && tls_cred_warning(cred, (uint64_t)time(NULL), &code, text))
		warn(d->where, text);
	warn_of_files(c, d, cas, conf.ncas);
	warn_of_certificates(c, d);
	tls_cred_unref(&cred);
	for (i = 0; i < conf.ncas; i++)
		buf_fini(&ca_bufs[i]);
	for (i = 0; i < conf.nfroms; i++)
		buf_fini(&from_bufs[i]);
	for (i = 0; i < conf.nocsps; i++)
		buf_fini(&ocsp_bufs[i]);
}

static void
check_service(struct check *c, uint32_t service)
{
	const struct conf_tls *tls = c->g->conf->services[service].tls;
	struct checked d;
	uint32_t i;

	for (i = 0; tls != NULL && i <= tls->nnames; i++) {
		d = checked_of(c->g->conf, service, i);
		check_domain(c, &d);
	}
}

static void
check_rules(struct check *c)
{
	const struct gen_file *f;
	struct diag diag;
	size_t i, from = 0;

	for (i = 0; c->asked && i < c->g->cred->nfiles; i++) {
		f = &c->g->cred->files[i];
		if (f->kind == CRED_FROM && !c->rule_applies[from++])
			complain(c, "", &diag, diag_set(&diag, PT_EINVAL, CRED_RULE_UNUSED, f->path));
	}
}

__attribute__((noreturn)) static void
check_child(const struct generation *g)
{
	static struct check c;
	const struct passwd *pw;
	uint32_t i;

	c.g = g;
	buf_init(&c.said, SAID_MAX);
	if (geteuid() == 0) {
		if ((pw = getpwnam(confine_user(ROLE_KEYHOLDER))) == NULL) {
			fprintf(stderr, "posternd: the account %s does not exist: run \"postern setup\" as "
				"root\n", confine_user(ROLE_KEYHOLDER));
			_exit(1);
		}
		if (setgroups(0, NULL) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
		    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
			_exit(1);
	}
	check_keys(&c);
	for (i = 0; i < g->conf->nservices; i++)
		check_service(&c, i);
	check_rules(&c);
	c.mistakes += check_accounts(g);
	fflush(NULL);
	_exit(c.mistakes == 0 ? 0 : 1);
}

/* --- files that are not there ------------------------------------------------------------------- */

/* Every file that a directive names, so that not only the first one that is missing is said. */
struct paths {
	struct check check; /* to complain with */
	char **seen;
	size_t n;
};

static void
try_path(struct paths *p, const char *path)
{
	struct diag diag = { "" };
	char **more;
	size_t i;
	int fd;

	for (i = 0; path != NULL && i < p->n; i++)
		if (strcmp(p->seen[i], path) == 0)
			return;
	if (path == NULL || (more = reallocarray(p->seen, p->n + 1, sizeof *more)) == NULL)
		return;
	p->seen = more;
	p->seen[p->n++] = (char *)(uintptr_t)path;
	/* O_NONBLOCK: a FIFO must not hold us up */
	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) >= 0)
		close(fd);
	else
		complain(&p->check, "", &diag, diag_set(&diag, PT_ENOENT, "cannot open %s: %s", path,
			strerror(errno)));
}

static void
try_tls(struct paths *p, const struct conf_tls *tls)
{
	size_t i;

	for (i = 0; i < tls->ncerts; i++) {
		try_path(p, tls->certs[i].certificate);
		try_path(p, tls->certs[i].key);
		try_path(p, tls->certs[i].passphrase);
	}
	for (i = 0; i < tls->nocsp; i++)
		try_path(p, tls->ocsp[i]);
	for (i = 0; i < tls->nclient_ca; i++)
		try_path(p, tls->client_ca[i]);
	for (i = 0; tls->client_certificate != CONF_CC_NONE && i < tls->nclient_crl; i++)
		try_path(p, tls->client_crl[i]);
	for (i = 0; i < tls->nnames; i++)
		try_tls(p, tls->names[i].tls);
}

/* Complains of all files that cannot be opened; how many. */
static unsigned
check_paths(const struct conf *conf)
{
	static struct paths p;
	size_t i;

	buf_init(&p.check.said, SAID_MAX);
	for (i = 0; i < conf->nservices; i++)
		if (conf->services[i].tls != NULL)
			try_tls(&p, conf->services[i].tls);
	for (i = 0; i < conf->nmaps; i++)
		try_path(&p, conf->maps[i].from);
	free(p.seen);
	buf_fini(&p.check.said);
	return p.check.mistakes;
}

int
check_main(const char *conf_path)
{
	struct conf_errors *errors = conf_errors_new();
	struct diag diag = { "" };
	struct generation *g;
	struct conf *conf;
	struct buf text;
	unsigned mistakes;
	int rc, status;
	pid_t pid;

	if (errors == NULL)
		return 71;
	if (conf_load(conf_path, &conf, errors) != 0) {
		buf_init(&text, 1024 * 1024);
		(void)!conf_errors_print(errors, &text);
		(void)!write(STDERR_FILENO, buf_span(&text).p, buf_size(&text));
		buf_fini(&text);
		conf_errors_free(&errors);
		return 78;
	}
	conf_errors_free(&errors);
	if (check_paths(conf) > 0) {
		conf_free(&conf);
		return 78;
	}
	if ((rc = generation_new(conf, 1, NULL, false, &g, &diag)) != 0) {
		fprintf(stderr, "posternd: %s\n", diag.text);
		return 78;
	}
	mistakes = check_exec(g->conf);
	fflush(NULL);
	if ((pid = fork()) == 0)
		check_child(g);
	generation_free(&g);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 71;
	return WEXITSTATUS(status) == 0 && mistakes == 0 ? 0 : 78;
}
