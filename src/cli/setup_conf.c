/* cli/setup_conf.c - the configuration file of "postern setup": where it and all it names belong,
 * whose it is, and what stands in a new one. A file that somebody wrote is never touched: it is
 * read, and the rest of setup follows it. */
#include "cli/setup.h"
#include "cli/setup_pristine.h"
#include "util/utf8.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The file of -f as an absolute path whose folder, where it is there, is free of symbolic links. */
static int
absolute(const char *file, char **out, struct diag *diag)
{
	char *slash, *folder = NULL, *real = NULL, *cwd = NULL;
	const char *name;
	int rc = PT_ENOMEM;

	*out = NULL;
	slash = strrchr(file, '/');
	name = slash != NULL ? slash + 1 : file;
	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return diag_set(
		    diag, PT_EINVAL,
		    "-f %s names a folder: name a file in it, as in -f %s%spostern.conf", file,
		    file, *name == '\0' ? "" : "/");
	folder = slash == NULL ? strdup(".") : strndup(file, (size_t)(slash - file) + 1);
	if (folder == NULL)
		goto out;
	if ((real = realpath(folder, NULL)) != NULL) {
		rc = asprintf(out, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
	} else if (file[0] == '/') {
		rc = asprintf(out, "%s", file);
	} else {
		if ((cwd = getcwd(NULL, 0)) == NULL) {
			rc = diag_set(diag, PT_EIO, "the folder we are in: %s", strerror(errno));
			goto out;
		}
		rc = asprintf(out, "%s/%s", cwd, file);
	}
	rc = rc < 0 ? PT_ENOMEM : 0;
	if (rc != 0)
		*out = NULL;
out:
	free(folder);
	free(real);
	free(cwd);
	return rc;
}

static int
paths_local(struct setup *s)
{
	return asprintf(&s->tls_folder, "%s/tls", s->folder) < 0 ||
		       asprintf(&s->state, "%s/state", s->folder) < 0 ||
		       asprintf(&s->mail, "%s/mail", s->folder) < 0 ||
		       asprintf(&s->run, "%s/run", s->folder) < 0
		   ? PT_ENOMEM
		   : 0;
}

static int
paths_machine(struct setup *s)
{
	return (s->tls_folder = strdup(SYSCONFDIR "/postern/tls")) == NULL ||
		       (s->state = strdup(LOCALSTATEDIR "/lib/postern")) == NULL ||
		       (s->mail = strdup(LOCALSTATEDIR "/mail/postern")) == NULL ||
		       (s->run = strdup(RUNSTATEDIR "/postern")) == NULL
		   ? PT_ENOMEM
		   : 0;
}

int
setup_conf_paths(struct setup *s, struct diag *diag)
{
	int rc;

	if ((rc = absolute(s->cli->conf_file, &s->conf_file, diag)) != 0)
		return rc;
	s->local = s->cli->conf_given && strcmp(s->conf_file, CLI_DEFAULT_CONF) != 0;
	if (!utf8_printable(span_str(s->conf_file))) /* no configuration can hold such a path */
		return diag_set(
		    diag, PT_EINVAL,
		    "the path of -f has control characters or is not UTF-8: choose another");
	s->folder = strndup(s->conf_file, (size_t)(strrchr(s->conf_file, '/') - s->conf_file));
	if (s->folder == NULL || (rc = s->local ? paths_local(s) : paths_machine(s)) != 0 ||
	    asprintf(&s->users, "%s/users", s->folder) < 0 || asprintf(&s->lmtp, "unix:%s/lmtp", s->run) < 0 ||
	    asprintf(&s->certificate, "%s/server.pem", s->tls_folder) < 0 ||
	    asprintf(&s->key, "%s/server.key", s->tls_folder) < 0 ||
	    asprintf(&s->pid_file, "%s/posternd.pid", s->run) < 0 ||
	    asprintf(&s->socket, "%s/control", s->run) < 0)
		return PT_ENOMEM;
	return 0;
}

int
setup_conf_look(struct setup *s, struct diag *diag)
{
	struct buf text;
	int rc = setup_files_read(s->conf_file, CONF_FILE_MAX, &text, diag);

	s->found = SETUP_CONF_OWN;
	if (rc == PT_ENOENT) {
		s->found = SETUP_CONF_NONE;
		rc = 0;
	} else if (rc == PT_ETOOBIG) {
		rc = 0; /* nothing that we installed; the parser will tell */
	} else if (rc == 0 && span_equal(buf_span(&text), span_str(setup_pristine))) {
		s->found = SETUP_CONF_PRISTINE;
	}
	buf_fini(&text);
	return rc;
}

static bool
is_ours(const struct setup *s, const struct conf_cert *c)
{
	return strcmp(c->certificate, s->certificate) == 0 && c->key != NULL &&
	       strcmp(c->key, s->key) == 0;
}

/* A certificate or key that is named and not there: the server would not start, and what belongs
 * there only its owner knows. */
static int
check_credentials(const struct setup *s, const struct conf_tls *tls, struct diag *diag)
{
	const struct conf_cert *c;
	const char *missing;
	size_t i;

	for (i = 0; i < tls->ncerts; i++) {
		c = &tls->certs[i];
		missing = NULL;
		if (access(c->certificate, F_OK) != 0 && errno == ENOENT)
			missing = c->certificate;
		else if (c->key != NULL && access(c->key, F_OK) != 0 && errno == ENOENT)
			missing = c->key;
		if (missing != NULL && !is_ours(s, c))
			return diag_set(
			    diag, PT_ENOENT,
			    "%s:%u names %s, which does not exist: put it there, or change "
			    "the line, then run setup again; nothing was made",
			    c->origin.file != NULL ? c->origin.file : s->conf_file, c->origin.line,
			    missing);
	}
	return 0;
}

bool
setup_conf_uses_ours(const struct setup *s)
{
	const struct conf *c = s->conf;
	size_t i, k;

	if (c == NULL)
		return true;
	for (i = 0; i < c->ntls; i++)
		for (k = 0; k < c->tls[i].ncerts; k++)
			if (is_ours(s, &c->tls[i].certs[k]))
				return true;
	return false;
}

static int
replace_string(char **to, const char *with)
{
	char *copy = with != NULL ? strdup(with) : NULL;

	if (copy == NULL && with != NULL)
		return PT_ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

int
setup_conf_adopt(struct setup *s, struct diag *diag)
{
	const struct conf *c = s->conf;
	char *slash;
	size_t i;
	int rc;

	for (i = 0; i < c->ntls; i++)
		if ((rc = check_credentials(s, &c->tls[i], diag)) != 0)
			return rc;
	if ((rc = replace_string(&s->state, c->state)) != 0 ||
	    (rc = replace_string(&s->mail, c->mail)) != 0 ||
	    (rc = replace_string(&s->users, c->users_file)) != 0 ||
	    (rc = replace_string(&s->pid_file, c->pid_file)) != 0 ||
	    (rc = replace_string(&s->socket, c->control_socket)) != 0 ||
	    (rc = replace_string(&s->run, c->control_socket)) != 0)
		return rc;
	if ((slash = strrchr(s->run, '/')) != NULL)
		*slash = '\0';
	return 0;
}

/* A string of the configuration's grammar. */
static int
put_quoted(struct buf *out, const char *s)
{
	int rc = buf_append_str(out, "\"");

	for (; *s != '\0' && rc == 0; s++) {
		if (strchr("\"\\", *s) != NULL && (rc = buf_append_str(out, "\\")) != 0)
			break;
		rc = buf_append(out, s, 1);
	}
	return rc != 0 ? rc : buf_append_str(out, "\"");
}

static int
put_setting(struct buf *out, const char *before, const char *path, const char *behind)
{
	int rc;

	if ((rc = buf_append_str(out, before)) != 0 || (rc = put_quoted(out, path)) != 0)
		return rc;
	return buf_append_str(out, behind);
}

static int
put_top(const struct setup *s, struct buf *out)
{
	size_t i;
	int rc = 0;

	if (s->hostname[0] != '\0')
		rc = buf_printf(out, "hostname   %s\n", s->hostname);
	if (rc == 0)
		rc = buf_append_str(out, "domain    ");
	for (i = 0; i < s->ndomains && rc == 0; i++)
		rc = buf_printf(out, " %s", s->domains[i]);
	if (rc != 0 || (rc = buf_append_str(out, "\npostmaster ")) != 0 ||
	    (rc = put_quoted(out, s->postmaster)) != 0 ||
	    (rc = put_setting(out, "\nusers      file ", s->users, "   # postern user add, list, passwd, set, del\n")) != 0 ||
	    (rc = put_setting(out, "mail       ", s->mail, "\n")) != 0)
		return rc;
	if (s->local && ((rc = put_setting(out, "state      ", s->state, "\n")) != 0 ||
			 (rc = put_setting(out, "pid-file   ", s->pid_file, "\n")) != 0 ||
			 (rc = put_setting(out, "control    { socket ", s->socket, " }\n")) != 0))
		return rc;
	return buf_append_str(out, "\n");
}

/* Whose certificates are a login. */
static int
put_tls(const struct setup *s, struct buf *out)
{
	int rc;

	if ((rc = put_setting(out,
			      "tls main {\n"
			      "\t# signed by itself, made by setup: good for a first look; put one here that your users'\n"
			      "\t# mail programs trust\n"
			      "\tcertificate ",
			      s->certificate, " key ")) != 0 ||
	    (rc = put_quoted(out, s->key)) != 0)
		return rc;
	if (s->client_ca == NULL)
		return buf_append_str(out, "\n"
			"\t# the CA that signs your users' certificates makes them their logins, with the block below:\n"
			"\t# client-ca people.pem\n"
			"}\n\n"
			"# identity { map san-email from people.pem }\n\n");
	if ((rc = put_setting(out, "\n\tclient-ca   ", s->client_ca, "\n}\n\n")) != 0)
		return rc;
	return put_setting(out, "# a certificate of this CA is the login of the user whose address is in it\n"
		"identity {\n\tmap san-email from ", s->client_ca, "\n}\n\n");
}

static int
put_listen(const struct setup *s, struct buf *out, enum setup_port port, const char *mode)
{
	int rc = buf_printf(out, "\tlisten   %s:%u %s\n", s->local ? "127.0.0.1" : "0.0.0.0", s->ports[port], mode);

	return rc == 0 && s->ipv6 ? buf_printf(out, "\tlisten   [::]:%u %s\n", s->ports[port], mode) : rc;
}

static int
put_services(const struct setup *s, struct buf *out)
{
	int rc;

	if ((rc = buf_append_str(out, "# mail from other servers, for the domains above\nservice smtp {\n\tprotocol smtp\n")) != 0 ||
	    (rc = put_listen(s, out, SETUP_PORT_SMTP, "starttls")) != 0 ||
	    (rc = buf_append_str(out, "\ttls      main\n}\n\n"
		"# mail from users, by certificate or password\nservice submission {\n\tprotocol submission\n")) != 0 ||
	    (rc = put_listen(s, out, SETUP_PORT_SUBMISSION, "starttls-required")) != 0 ||
	    (rc = put_listen(s, out, SETUP_PORT_SUBMISSIONS, "tls")) != 0 ||
	    (rc = buf_append_str(out, "\ttls      main\n\tlogin    certificate password\n}\n\n"
		"# mail from another server on this machine\nservice lmtp {\n\tprotocol lmtp\n\tlisten   ")) != 0 ||
	    (rc = put_quoted(out, s->lmtp)) != 0)
		return rc;
	return buf_printf(out, " starttls\n\ttls      main\n}\n\n"
		"# a small protocol to try TLS and certificates with: CAPABILITY, WHOAMI, QUIT\n"
		"service line {\n"
		"\tprotocol line\n"
		"\tlisten   127.0.0.1:%u starttls-required\n"
		"\ttls      main\n"
		"}\n",
		s->ports[SETUP_PORT_LINE]);
}

int
setup_conf_text(const struct setup *s, struct buf *out)
{
	int rc;

	if ((rc = buf_append_str(out,
		 "# Postern's configuration, made by \"postern setup\"; its manual is postern.conf(5).\n"
		 "# After a change: posternd -n checks it, postern reload puts it to work.\n\n")) != 0 ||
	    (rc = put_top(s, out)) != 0 || (rc = put_tls(s, out)) != 0)
		return rc;
	return put_services(s, out);
}

int
setup_conf_write(struct setup *s, struct diag *diag)
{
	bool replace = s->found == SETUP_CONF_PRISTINE;
	struct buf text;
	int rc;

	if (s->found == SETUP_CONF_OWN)
		return setup_note(s, "configuration", s->conf_file, SETUP_THERE);
	buf_init(&text, CONF_FILE_MAX);
	if ((rc = setup_conf_text(s, &text)) == 0 &&
	    (rc = setup_files_write(s->conf_file, 0644, buf_span(&text), replace, diag)) == 0)
		rc = setup_note(s, "configuration", s->conf_file,
				replace ? SETUP_REPLACED : SETUP_MADE);
	buf_fini(&text);
	return rc;
}
