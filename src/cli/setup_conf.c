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
		       asprintf(&s->run, "%s/run", s->folder) < 0
		   ? PT_ENOMEM
		   : 0;
}

static int
paths_machine(struct setup *s)
{
	return (s->tls_folder = strdup(SYSCONFDIR "/postern/tls")) == NULL ||
		       (s->state = strdup(LOCALSTATEDIR "/lib/postern")) == NULL ||
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
	char *copy = strdup(with);

	if (copy == NULL)
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

int
setup_conf_text(const struct setup *s, struct buf *out)
{
	int rc;

	if ((rc = buf_append_str(
		 out,
		 "# Postern's configuration, made by \"postern setup\"; its manual is "
		 "postern.conf(5).\n"
		 "# After a change: posternd -n checks it, postern reload puts it to work.\n\n")) !=
	    0)
		return rc;
	if (s->local && ((rc = put_setting(out, "state ", s->state, "\n")) != 0 ||
			 (rc = put_setting(out, "pid-file ", s->pid_file, "\n")) != 0 ||
			 (rc = put_setting(out, "control { socket ", s->socket, " }\n\n")) != 0))
		return rc;
	if ((rc = put_setting(out,
			      "tls main {\n"
			      "\t# signed by itself, made by setup: good for this machine and a "
			      "first look\n"
			      "\tcertificate ",
			      s->certificate, " key ")) != 0 ||
	    (rc = put_quoted(out, s->key)) != 0)
		return rc;
	return buf_printf(
	    out,
	    "\n}\n\n"
	    "# a small protocol to try TLS and certificates with: CAPABILITY, WHOAMI, "
	    "QUIT\n"
	    "service line {\n"
	    "\tprotocol line\n"
	    "\tlisten   127.0.0.1:%u starttls-required\n"
	    "\ttls      main\n"
	    "}\n",
	    s->port);
}

/* The first port from SETUP_PORT on that nobody listens at. Somebody may take it before the server
 * starts; the server says so then. */
static unsigned
find_port(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	unsigned port, one = 1;
	bool is_free;
	int fd;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (port = SETUP_PORT; port < SETUP_PORT + SETUP_PORT_TRIES; port++) {
		if ((fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
			break;
		in.sin_port = htons((uint16_t)port);
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		is_free = bind(fd, (const struct sockaddr *)&in, sizeof in) == 0;
		close(fd);
		if (is_free)
			return port;
	}
	return 0;
}

int
setup_conf_write(struct setup *s, struct diag *diag)
{
	bool replace = s->found == SETUP_CONF_PRISTINE;
	struct buf text;
	int rc;

	if (s->found == SETUP_CONF_OWN)
		return setup_note(s, "configuration", s->conf_file, SETUP_THERE);
	if ((s->port = find_port()) == 0)
		return diag_set(
		    diag, PT_EBUSY,
		    "no port from %d to %d is free on 127.0.0.1: stop what listens there",
		    SETUP_PORT, SETUP_PORT + SETUP_PORT_TRIES - 1);
	buf_init(&text, CONF_FILE_MAX);
	if ((rc = setup_conf_text(s, &text)) == 0 &&
	    (rc = setup_files_write(s->conf_file, 0644, buf_span(&text), replace, diag)) == 0)
		rc = setup_note(s, "configuration", s->conf_file,
				replace ? SETUP_REPLACED : SETUP_MADE);
	buf_fini(&text);
	return rc;
}
