/* conf/conf_check.c - what must hold between directives, looked at when everything has been read.
 * Silent about what follows from a mistake that has been reported. */
#include "conf/conf_read.h"

#include "conf/conf_value.h"

#include <arpa/inet.h>
#include <string.h>

static int
index_of(const struct conf_block *b, const char *name)
{
	int i = conf_schema_find(b, name);

	PT_ASSERT(i >= 0);
	return i;
}

/* A listen mode that leads to TLS needs to know with what. */
static void
check_needs_tls(struct conf_reader *r, const struct conf_service_scope *ss,
		const struct conf_service *sv)
{
	size_t i;

	if (ss->tls_node != NULL || r->incomplete || ss->scope.node->brace == NULL ||
	    ss->scope.node->brace->unclosed ||
	    (ss->scope.excused & 1u << index_of(&conf_schema_service, "tls")) != 0)
		return;
	for (i = 0; i < sv->nlistens; i++) {
		if (sv->listens[i].mode == CONF_LISTEN_PLAIN || ss->listens[i] == NULL)
			continue;
		conf_mistake_word(
		    r->errors, ss->listens[i], NULL,
		    "an address with TLS in a service without 'tls'; expected 'tls NAME' "
		    "in the service, or 'plain' on a loopback or unix address");
		return; /* the others have the same cure */
	}
}

/* Whether the block asks for what nobody can have: a trusted certificate while no CA is trusted. */
static bool
lacks_ca(const struct conf_tls *tls)
{
	return (tls->client_certificate == CONF_CC_OPTIONAL ||
		tls->client_certificate == CONF_CC_REQUIRE) &&
	       tls->nclient_ca == 0;
}

/* The scope gave the mode and no CA. A client-ca that is there and gave none has been reported. */
static void
report_lacks_ca(struct conf_reader *r, const struct conf_scope *s)
{
	int ca = index_of(&conf_schema_tls, "client-ca");
	const struct conf_word *w = s->set[index_of(&conf_schema_tls, "client-certificate")];

	if (w != NULL && w->next != NULL && s->set[ca] == NULL && (s->excused & 1u << ca) == 0)
		conf_mistake_word(
		    r->errors, w->next, NULL,
		    "'%s' while no client CA is trusted; expected 'client-ca FILE' beside it",
		    w->next->text);
}

/* Judges what services use, once for each block; a block that none uses as it stands. */
static void
check_client_ca(struct conf_reader *r)
{
	int mode = index_of(&conf_schema_tls, "client-certificate");
	int ca = index_of(&conf_schema_tls, "client-ca");
	const struct conf *conf = r->conf;
	const struct conf_service_scope *ss;
	bool used, lacks;
	size_t i, k;

	for (i = 0; i < conf->ntls; i++) {
		used = lacks = false;
		for (k = 0; k < conf->nservices; k++) {
			ss = &r->services[k];
			if (ss->tls_base != &conf->tls[i])
				continue;
			used = true;
			if (!lacks_ca(conf->services[k].tls) || r->tls[i].set[ca] != NULL ||
			    ss->tls.set[ca] != NULL)
				continue;
			if (ss->tls.set[mode] != NULL)
				report_lacks_ca(r, &ss->tls);
			else
				lacks = true;
		}
		if (lacks || (!used && lacks_ca(&conf->tls[i])))
			report_lacks_ca(r, &r->tls[i]);
	}
}

static struct conf_name_scope *
scope_of_name(struct conf_reader *r, const struct conf_name *name)
{
	struct conf_name_scope *ns;

	for (ns = r->names; ns->own != name->own; ns = ns->next)
		;
	return ns;
}

/* What a name block says for itself, within what is around it here; each mistake once. */
static void
check_name(struct conf_reader *r, const struct conf_name *name)
{
	struct conf_name_scope *ns = scope_of_name(r, name);
	const struct conf_word *ca = ns->scope.set[index_of(&conf_schema_name, "client-ca")];
	const struct conf_word *mode = ns->scope.set[index_of(&conf_schema_name, "client-certificate")];

	if (mode != NULL && mode->next != NULL && ca == NULL && !ns->lacks_ca && lacks_ca(name->tls)) {
		ns->lacks_ca = true;
		conf_mistake_word(r->errors, mode->next, NULL,
				  "'%s' while no client CA is trusted; expected 'client-ca FILE' beside it",
				  mode->next->text);
	}
	if (ca != NULL && !name->own_client_crl && name->tls->nclient_crl > 0 && !ns->lacks_crl) {
		ns->lacks_crl = true;
		conf_mistake_word(r->errors, ca, NULL,
				  "'client-ca' of a name whose tls block has 'client-crl'; expected beside it "
				  "'client-crl FILE' with the lists of these CAs, or 'client-crl none'");
	}
}

/* Names within what services use, and within blocks that none uses. */
static void
check_names(struct conf_reader *r)
{
	const struct conf *conf = r->conf;
	size_t i, k;
	bool used;

	for (i = 0; i < conf->nservices; i++)
		for (k = 0; conf->services[i].tls != NULL && k < conf->services[i].tls->nnames; k++)
			check_name(r, &conf->services[i].tls->names[k]);
	for (i = 0; i < conf->ntls; i++) {
		used = false;
		for (k = 0; k < conf->nservices; k++)
			used = used || r->services[k].tls_base == &conf->tls[i];
		for (k = 0; !used && k < conf->tls[i].nnames; k++)
			check_name(r, &conf->tls[i].names[k]);
	}
}

/* The statement of a service's directive; its own first word where only the default stands. */
static const struct conf_word *
word_of(const struct conf_service_scope *ss, const char *name)
{
	const struct conf_word *w = ss->scope.set[index_of(&conf_schema_service, name)];

	return w != NULL ? w : ss->scope.node->words.first;
}

/* --- exec ------------------------------------------------------------------------------------- */

/* Nobody can log in where nobody is asked for a certificate, and nobody has in plaintext. */
static void
check_login(struct conf_reader *r, const struct conf_service_scope *ss, const struct conf_service *sv)
{
	size_t i;

	if (sv->login != CONF_LOGIN_NONE && (sv->login & CONF_LOGIN_NONE) != 0) {
		conf_mistake_word(r->errors, word_of(ss, "login"), NULL,
				  "'none' beside another way to log in; expected it alone");
		return;
	}
	if (sv->login != CONF_LOGIN_CERTIFICATE)
		return;
	if (sv->tls != NULL && ss->tls_base != NULL && sv->tls->client_certificate == CONF_CC_NONE)
		conf_mistake_word(r->errors, word_of(ss, "login"), NULL,
				  "'login certificate' where no client is asked for one; expected 'login none', "
				  "or another 'client-certificate' in the tls block");
	for (i = 0; i < sv->nlistens; i++) {
		if (ss->listens[i] == NULL ||
		    (sv->listens[i].mode != CONF_LISTEN_PLAIN && sv->listens[i].mode != CONF_LISTEN_STARTTLS))
			continue;
		conf_mistake_word(r->errors, ss->listens[i], NULL,
				  "a program for everyone in plaintext, in a service with 'login certificate'; "
				  "expected 'login none', or 'starttls-required' or 'tls' here");
		return;
	}
}

static void
check_exec(struct conf_reader *r, const struct conf_service_scope *ss, const struct conf_service *sv)
{
	size_t i;

	if (sv->protocol != CONF_PROTOCOL_EXEC || r->incomplete)
		return;
	check_login(r, ss, sv);
	if ((sv->login & CONF_LOGIN_PASSWORD) != 0)
		conf_mistake_word(r->errors, word_of(ss, "login"), NULL,
				  "'password' in a service with protocol exec; expected 'certificate' or 'none'");
	if (sv->exec.start == CONF_START_AT_ONCE)
		return;
	for (i = 0; i < sv->nlistens; i++)
		if (ss->listens[i] != NULL && sv->listens[i].mode == CONF_LISTEN_STARTTLS) {
			conf_mistake_word(r->errors, ss->listens[i], NULL,
					  "'starttls' would serve plaintext, for which there is no program; "
					  "expected 'starttls-required', or 'start at-once' in the service");
			return;
		}
}

/* --- mail ------------------------------------------------------------------------------------- */

/* Mail is for somebody: without users and domains each recipient would be refused. */
static void
check_mail_users(struct conf_reader *r, const struct conf_service_scope *ss)
{
	static const char *const needed[][2] = { { "users", "users file PATH" }, { "domain", "domain DOMAIN" },
						 { "mail", "mail DIR" } };
	size_t i;
	int at;

	for (i = 0; i < PT_COUNT(needed); i++) {
		at = index_of(&conf_schema_top, needed[i][0]);
		if (r->top.set[at] == NULL && (r->top.excused & 1u << at) == 0)
			conf_mistake_word(r->errors, word_of(ss, "protocol"), NULL,
					  "a service for mail without '%s'; expected '%s' outside of the services",
					  needed[i][0], needed[i][1]);
	}
}

/* Where a client can log in by nothing that it has, the service is of no use. */
static void
check_submission(struct conf_reader *r, const struct conf_service_scope *ss, const struct conf_service *sv)
{
	size_t i;

	if ((sv->login & CONF_LOGIN_NONE) != 0)
		conf_mistake_word(r->errors, word_of(ss, "login"), NULL,
				  "'none' in a service with protocol submission, which would send for everyone; expected "
				  "'certificate', 'password' or both");
	if (sv->login == CONF_LOGIN_CERTIFICATE && sv->tls != NULL && ss->tls_base != NULL &&
	    sv->tls->client_certificate == CONF_CC_NONE)
		conf_mistake_word(r->errors, word_of(ss, "login"), NULL,
				  "'login certificate' where no client is asked for one; expected 'login password', "
				  "or another 'client-certificate' in the tls block");
	for (i = 0; i < sv->nlistens; i++) {
		if (ss->listens[i] == NULL || sv->listens[i].mode != CONF_LISTEN_PLAIN)
			continue;
		conf_mistake_word(r->errors, ss->listens[i], NULL,
				  "submission without TLS, where nobody can log in; expected 'starttls-required' or "
				  "'tls'");
		return;
	}
}

static bool
is_smtp_port(const union conf_sockaddr *addr)
{
	if (addr->sa.sa_family == AF_UNIX)
		return false;
	return (addr->sa.sa_family == AF_INET ? addr->in.sin_port : addr->in6.sin6_port) == htons(25);
}

/* Whoever can speak LMTP puts mail into everyone's mailbox. */
static void
check_lmtp(struct conf_reader *r, const struct conf_service_scope *ss, const struct conf_service *sv)
{
	size_t i;

	for (i = 0; i < sv->nlistens; i++)
		if (ss->listens[i] != NULL && is_smtp_port(&sv->listens[i].addr))
			conf_mistake_word(r->errors, ss->listens[i], NULL,
					  "lmtp on port 25, where other servers speak SMTP (RFC 2033 forbids it); expected "
					  "another port, as 24");
	if (sv->tls != NULL && sv->tls->client_certificate == CONF_CC_REQUIRE)
		return;
	for (i = 0; i < sv->nlistens; i++) {
		if (ss->listens[i] == NULL || conf_value_is_local(&sv->listens[i].addr))
			continue;
		conf_mistake_word(r->errors, ss->listens[i], NULL,
				  "lmtp for everyone; expected a loopback or unix address, or 'client-certificate "
				  "require' in the tls block");
		return;
	}
}

static void
check_mail(struct conf_reader *r, const struct conf_service_scope *ss, const struct conf_service *sv, bool *users_checked)
{
	if (r->incomplete || (ss->scope.protocol & CONF_PROTOCOLS_MAIL) == 0)
		return;
	if (!*users_checked) /* all services have the same cure */
		check_mail_users(r, ss);
	*users_checked = true;
	if (sv->protocol == CONF_PROTOCOL_SUBMISSION)
		check_submission(r, ss, sv);
	if (sv->protocol == CONF_PROTOCOL_LMTP)
		check_lmtp(r, ss, sv);
}

void
conf_check(struct conf_reader *r)
{
	bool users_checked = false;
	size_t i;

	for (i = 0; i < r->conf->nservices; i++) {
		check_needs_tls(r, &r->services[i], &r->conf->services[i]);
		check_exec(r, &r->services[i], &r->conf->services[i]);
		check_mail(r, &r->services[i], &r->conf->services[i], &users_checked);
	}
	if (r->incomplete)
		return;
	check_client_ca(r);
	check_names(r);
}
