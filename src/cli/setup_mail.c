/* cli/setup_mail.c - what a mail server has to know and nobody can decide for its owner: which domain, who is
 * postmaster. From an option, from the machine, or (at a terminal) by asking, with what the machine suggests as the
 * answer that Enter gives. */
#include "cli/setup.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAILNAME "/etc/mailname" /* Debian policy §11.6: the domain of this machine's mail */
#define ANSWER_MAX 512
#define CA_MAX ((size_t)1024 * 1024)

/* --- what the machine knows ------------------------------------------------------------------- */

static bool
is_full_name(const char *name)
{
	char normal[NORMAL_DOMAIN_MAX];

	return strchr(name, '.') != NULL && strncmp(name, "localhost.", 10) != 0 &&
	       normal_domain(span_str(name), normal);
}

/* The first full name that stands beside the short one in /etc/hosts. No server is asked: one that does not answer
 * would hold us up, and its answer could come from anybody. */
static bool
find_in_hosts(const char *host, char out[NORMAL_DOMAIN_MAX])
{
	const struct hostent *h;
	bool found = false, is_it;
	const char *full;
	size_t i;

	sethostent(0);
	while (!found && (h = gethostent()) != NULL) {
		full = is_full_name(h->h_name) ? h->h_name : NULL;
		is_it = strcasecmp(h->h_name, host) == 0;
		for (i = 0; h->h_aliases[i] != NULL; i++) {
			is_it = is_it || strcasecmp(h->h_aliases[i], host) == 0;
			if (full == NULL && is_full_name(h->h_aliases[i]))
				full = h->h_aliases[i];
		}
		found = is_it && full != NULL && normal_domain(span_str(full), out);
	}
	endhostent();
	return found;
}

/* "": it has none that another machine could know. */
static void
find_hostname(char out[NORMAL_DOMAIN_MAX], char short_out[NORMAL_DOMAIN_MAX])
{
	char name[HOST_NAME_MAX + 1] = "";

	(void)gethostname(name, sizeof name - 1);
	out[0] = '\0';
	if (!normal_domain(span_str(name), short_out))
		snprintf(short_out, NORMAL_DOMAIN_MAX, "localhost");
	if (is_full_name(name))
		snprintf(out, NORMAL_DOMAIN_MAX, "%s", short_out);
	else if (name[0] != '\0' && strcasecmp(name, "localhost") != 0)
		(void)find_in_hosts(name, out);
}

static bool
find_mailname(char out[NORMAL_DOMAIN_MAX])
{
	char line[ANSWER_MAX];
	FILE *f = fopen(MAILNAME, "re");
	bool found = f != NULL && fgets(line, sizeof line, f) != NULL;

	if (f != NULL)
		fclose(f);
	if (!found)
		return false;
	line[strcspn(line, " \t\r\n")] = '\0';
	return is_full_name(line) && normal_domain(span_str(line), out);
}

/* mail.example.org serves example.org; example.org itself. */
static const char *
domain_of(const char *hostname)
{
	const char *rest = strchr(hostname, '.');

	return rest != NULL && strchr(rest + 1, '.') != NULL ? rest + 1 : hostname;
}

/* Who runs this, also behind sudo; root is nobody's mail name. */
static void
suggest_postmaster(const struct setup *s, char out[NORMAL_ADDRESS_MAX])
{
	char address[ANSWER_MAX];
	const char *name = getenv("SUDO_USER");
	const struct passwd *pw;

	if (getuid() != 0)
		name = (pw = getpwuid(getuid())) != NULL ? pw->pw_name : NULL;
	if (name != NULL && name[0] != '\0' && strcmp(name, "root") != 0 && strcmp(name, "nobody") != 0) {
		snprintf(address, sizeof address, "%s@%s", name, s->domains[0]);
		if (normal_address(span_str(address), out))
			return;
	}
	snprintf(address, sizeof address, "postmaster@%s", s->domains[0]);
	if (!normal_address(span_str(address), out))
		out[0] = '\0';
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Enter is the suggestion. false: there is no more input. */
static bool
ask(const char *question, const char *suggested, char answer[ANSWER_MAX])
{
	char *p = answer;

	fprintf(stderr, "%s [%s]: ", question, suggested);
	fflush(stderr);
	if (fgets(answer, ANSWER_MAX, stdin) == NULL)
		return false;
	answer[strcspn(answer, "\n")] = '\0';
	while (isspace((unsigned char)*p))
		p++;
	memmove(answer, p, strlen(p) + 1);
	for (p = answer + strlen(answer); p > answer && isspace((unsigned char)p[-1]); p--)
		p[-1] = '\0';
	if (answer[0] == '\0')
		snprintf(answer, ANSWER_MAX, "%s", suggested);
	return true;
}

static bool
may_ask(const struct setup *s)
{
	return !s->cli->json && !s->cli->user.from_stdin && isatty(STDIN_FILENO) != 0;
}

static enum cli_exit
fail_no_answer(const struct setup *s, const char *option)
{
	return cli_fail(s->cli, CLI_USAGE, "no answer, and nothing was made; without questions: postern setup %s", option);
}

static enum cli_exit
ask_domain(struct setup *s, const char *suggested)
{
	char answer[ANSWER_MAX];

	do {
		if (!ask("Mail of which domain ends here?", suggested, answer))
			return fail_no_answer(s, "--domain DOMAIN");
		if (normal_domain(span_str(answer), s->domains[0]))
			s->ndomains = 1;
		else
			fprintf(stderr, "\"%s\" is no domain; one looks like example.org\n", answer);
	} while (s->ndomains == 0);
	return CLI_OK;
}

static bool
is_ours(const struct setup *s, const char *address)
{
	size_t i;

	for (i = 0; i < s->ndomains; i++)
		if (strcmp(s->domains[i], strrchr(address, '@') + 1) == 0)
			return true;
	return false;
}

static enum cli_exit
ask_postmaster(struct setup *s)
{
	char suggested[NORMAL_ADDRESS_MAX], answer[ANSWER_MAX];

	suggest_postmaster(s, suggested);
	for (;;) {
		if (!ask("Who is the first user, and gets what is for the postmaster?", suggested, answer))
			return fail_no_answer(s, "--postmaster USER@DOMAIN");
		if (strchr(answer, '@') == NULL && strlen(answer) + 1 + strlen(s->domains[0]) < sizeof answer) {
			strcat(answer, "@");
			strcat(answer, s->domains[0]);
		}
		if (normal_address(span_str(answer), s->postmaster) && is_ours(s, s->postmaster))
			return CLI_OK;
		fprintf(stderr, "\"%s\" is no address in %s\n", answer, s->domains[0]);
	}
}

/* --- what was given --------------------------------------------------------------------------- */

static enum cli_exit
take_domains(struct setup *s)
{
	const struct cli_setup *o = &s->cli->setup;
	size_t i;

	if (o->ndomains > CLI_DOMAINS_MAX)
		return cli_fail(s->cli, CLI_USAGE, "at most %d domains at a time", CLI_DOMAINS_MAX);
	for (i = 0; i < o->ndomains; i++)
		if (!normal_domain(span_str(o->domains[i]), s->domains[i]))
			return cli_fail(s->cli, CLI_USAGE, "\"%s\" is no domain; one looks like example.org", o->domains[i]);
	s->ndomains = o->ndomains;
	return CLI_OK;
}

static enum cli_exit
take_client_ca(struct setup *s)
{
	const char *file = s->cli->setup.client_ca;
	struct buf text;
	struct diag diag;
	bool good;

	if (file == NULL)
		return CLI_OK;
	if ((s->client_ca = realpath(file, NULL)) == NULL)
		return cli_fail(s->cli, CLI_FAILED, "--client-ca %s: %s", file, strerror(errno));
	if (setup_files_read(s->client_ca, CA_MAX, &text, &diag) != 0)
		return cli_fail(s->cli, CLI_FAILED, "--client-ca: %s", diag.text);
	good = buf_append(&text, "", 1) == 0 &&
	       strstr((const char *)buf_span(&text).p, "-----BEGIN CERTIFICATE-----") != NULL;
	buf_wipe(&text); /* somebody may have named a key */
	if (!good)
		return cli_fail(s->cli, CLI_FAILED, "--client-ca %s holds no certificate in PEM: name the certificate of "
				"the CA that signs your users' certificates", file);
	return CLI_OK;
}

static enum cli_exit
take_options(struct setup *s)
{
	const struct cli_setup *o = &s->cli->setup;
	enum cli_exit code;

	if ((code = take_domains(s)) != CLI_OK)
		return code;
	if (o->hostname != NULL && !is_full_name(o->hostname))
		return cli_fail(s->cli, CLI_USAGE, "\"%s\" is no full name of a machine; one looks like mail.example.org",
				o->hostname);
	if (o->hostname != NULL)
		(void)normal_domain(span_str(o->hostname), s->hostname);
	if (o->postmaster != NULL && !normal_address(span_str(o->postmaster), s->postmaster))
		return cli_fail(s->cli, CLI_USAGE, "\"%s\" is no address of a user: it should be NAME@DOMAIN", o->postmaster);
	return take_client_ca(s);
}

/* A configuration that is there is not changed, so what was asked for must be in it already. */
enum cli_exit
setup_mail_agrees(struct setup *s)
{
	const struct conf *c = s->conf;
	enum cli_exit code;
	size_t i, k;

	if ((code = take_options(s)) != CLI_OK)
		return code;
	for (i = 0; i < s->ndomains; i++) {
		for (k = 0; k < c->ndomains && strcmp(c->domains[k], s->domains[i]) != 0; k++)
			;
		if (k == c->ndomains)
			return cli_fail(s->cli, CLI_FAILED, "%s is there, without the domain %s, and setup does not change it: "
					"add the domain to it, or move the file away; nothing was made", s->conf_file,
					s->domains[i]);
	}
	if (s->postmaster[0] != '\0' && (c->postmaster == NULL || strcmp(c->postmaster, s->postmaster) != 0))
		return cli_fail(s->cli, CLI_FAILED, "%s is there, with another postmaster, and setup does not change it: write "
				"\"postmaster %s\" into it, or move the file away; nothing was made", s->conf_file,
				s->postmaster);
	return CLI_OK;
}

enum cli_exit
setup_mail_decide(struct setup *s)
{
	char found[NORMAL_DOMAIN_MAX], nodename[NORMAL_DOMAIN_MAX];
	enum cli_exit code;

	if ((code = take_options(s)) != CLI_OK)
		return code;
	find_hostname(found, nodename);
	if (s->hostname[0] == '\0')
		memcpy(s->hostname, found, sizeof found);
	if (s->ndomains == 0 && s->postmaster[0] != '\0') {
		snprintf(s->domains[0], sizeof s->domains[0], "%s", strrchr(s->postmaster, '@') + 1);
		s->ndomains = 1;
	}
	if (s->ndomains == 0 && find_mailname(s->domains[0]))
		s->ndomains = 1;
	snprintf(found, sizeof found, "%s", s->hostname[0] != '\0' ? domain_of(s->hostname) : nodename);
	if (s->ndomains == 0 && may_ask(s) && (code = ask_domain(s, found)) != CLI_OK)
		return code;
	if (s->ndomains == 0) {
		memcpy(s->domains[0], found, sizeof found);
		s->ndomains = 1;
	}
	if (s->postmaster[0] == '\0' && may_ask(s) && (code = ask_postmaster(s)) != CLI_OK)
		return code;
	if (s->postmaster[0] == '\0')
		suggest_postmaster(s, s->postmaster);
	if (s->postmaster[0] == '\0' || !is_ours(s, s->postmaster))
		return cli_fail(s->cli, CLI_USAGE, "the postmaster %s is in none of the domains: name one who is, with "
				"--postmaster USER@%s", s->postmaster, s->domains[0]);
	return CLI_OK;
}

/* --- where it listens ------------------------------------------------------------------------- */

enum { FREE, TAKEN, IMPOSSIBLE };

static int
try_port(int family, bool loopback, unsigned port)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, rc;

	if (fd < 0)
		return IMPOSSIBLE;
	if (loopback) {
		in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in6.sin6_addr = in6addr_loopback;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (family == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
		rc = bind(fd, (const struct sockaddr *)&in6, sizeof in6);
	} else {
		rc = bind(fd, (const struct sockaddr *)&in4, sizeof in4);
	}
	rc = rc == 0 ? FREE : errno == EADDRINUSE ? TAKEN : IMPOSSIBLE;
	close(fd);
	return rc;
}

/* The first that nobody listens at. Somebody may take it before the server starts; the server says so then. */
static unsigned
find_port(unsigned first)
{
	unsigned port;

	for (port = first; port < first + SETUP_PORT_TRIES; port++)
		if (try_port(AF_INET, true, port) == FREE)
			return port;
	return 0;
}

static const struct {
	unsigned well_known, first; /* 0: none, it is always found */
} ports[SETUP_PORTS] = {
	[SETUP_PORT_LINE] = { 0, 7777 },
	[SETUP_PORT_SMTP] = { 25, 2525 },
	[SETUP_PORT_SUBMISSION] = { 587, 5870 },
	[SETUP_PORT_SUBMISSIONS] = { 465, 4650 },
};

enum cli_exit
setup_mail_ports(struct setup *s)
{
	unsigned port;
	size_t i;

	s->ipv6 = !s->local && try_port(AF_INET6, false, 0) == FREE;
	for (i = 0; i < SETUP_PORTS; i++) {
		port = s->local ? 0 : ports[i].well_known;
		if (port != 0 && (try_port(AF_INET, false, port) == TAKEN ||
				  (s->ipv6 && try_port(AF_INET6, false, port) == TAKEN)))
			return cli_fail(s->cli, CLI_FAILED, "port %u is taken: another mail server runs here. Stop it, and keep "
					"it from being started (systemctl disable --now postfix, or exim4), then run setup "
					"again; nothing was made", port);
		if (port == 0 && (port = find_port(ports[i].first)) == 0)
			return cli_fail(s->cli, CLI_FAILED, "no port from %u to %u is free on 127.0.0.1: stop what listens there; "
					"nothing was made", ports[i].first, ports[i].first + SETUP_PORT_TRIES - 1);
		s->ports[i] = port;
	}
	return CLI_OK;
}
