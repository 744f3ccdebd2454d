/* cli/setup_tell.c - what setup says at its end: what it made, and the lines to paste next. */
#include "cli/setup.h"

#include "cli/cli_table.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Lines for a shell; each "" where there is nothing that would work. */
enum { START, TALK, SEND, READ, STATUS, LINES };

static const char *const line_names[LINES] = {
	[START] = "start", [TALK] = "talk", [SEND] = "send", [READ] = "read", [STATUS] = "status",
};

static const char *const line_words[LINES] = {
	[START] = "Start the server",
	[TALK] = "Talk to it, then type CAPABILITY, WHOAMI, QUIT",
	[SEND] = "Send a message with the password (with a certificate: --cert FILE --key FILE instead of --user)",
	[READ] = "And there it is",
	[STATUS] = "See what it does",
};

/* systemd's way to start it, where systemd runs and knows the unit. */
static bool
systemd_knows(void)
{
	static const char *const folders[] = { "/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib" };
	char path[128];
	size_t i;

	if (access("/run/systemd/system", F_OK) != 0)
		return false;
	for (i = 0; i < PT_COUNT(folders); i++) {
		snprintf(path, sizeof path, "%s/systemd/system/postern.service", folders[i]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

static int
put_start(const struct setup *s, struct buf *out)
{
	int rc;

	if (!s->local && systemd_knows())
		return buf_append_str(out, "systemctl enable --now postern");
	if (!s->local)
		return buf_append_str(out, SBINDIR "/posternd");
	if ((rc = buf_append_str(out, SBINDIR "/posternd -d -f ")) != 0)
		return rc;
	return cli_shell_quote(out, s->conf_file);
}

static int
put_status(const struct setup *s, struct buf *out)
{
	int rc;

	if ((rc = buf_append_str(out, BINDIR "/postern ")) != 0)
		return rc;
	if (s->local && ((rc = buf_append_str(out, "-f ")) != 0 ||
			 (rc = cli_shell_quote(out, s->conf_file)) != 0 ||
			 (rc = buf_append_str(out, " ")) != 0))
		return rc;
	return buf_append_str(out, "status");
}

/* A listener of a service with this protocol that is reached with STARTTLS on this machine, NULL when there is none. */
static const struct conf_listen *
find_listen(const struct setup *s, enum conf_protocol protocol)
{
	const struct conf_service *service;
	const struct conf_listen *l;
	size_t i, k;

	for (i = 0; i < s->conf->nservices; i++) {
		service = &s->conf->services[i];
		for (k = 0; k < service->nlistens; k++) {
			l = &service->listens[k];
			if (service->protocol == protocol && l->addr.sa.sa_family == AF_INET &&
			    (l->addr.in.sin_addr.s_addr == htonl(INADDR_ANY) ||
			     l->addr.in.sin_addr.s_addr == htonl(INADDR_LOOPBACK)) &&
			    (l->mode == CONF_LISTEN_STARTTLS || l->mode == CONF_LISTEN_STARTTLS_REQUIRED))
				return l;
		}
	}
	return NULL;
}

static int
put_talk(const struct setup *s, struct buf *out)
{
	const struct conf_listen *l = find_listen(s, CONF_PROTOCOL_LINE);
	int rc;

	if (l == NULL || !setup_conf_uses_ours(s))
		return 0;
	if ((rc = buf_printf(out,
			     "openssl s_client -connect 127.0.0.1:%u -starttls sieve -crlf -quiet "
			     "-verify_return_error -servername localhost -CAfile ",
			     ntohs(l->addr.in.sin_port))) != 0)
		return rc;
	return cli_shell_quote(out, s->certificate);
}

static int
put_option(struct buf *out, const char *option, const char *value)
{
	int rc = buf_printf(out, " %s ", option);

	return rc != 0 ? rc : cli_shell_quote(out, value);
}

/* From the first user to himself. curl asks for the password. */
static int
put_send(const struct setup *s, struct buf *out)
{
	const struct conf_listen *l = find_listen(s, CONF_PROTOCOL_SUBMISSION);
	const char *who = s->conf->postmaster;
	int rc;

	if (l == NULL || who == NULL || !setup_conf_uses_ours(s))
		return 0;
	if ((rc = buf_append_str(out, "printf 'Subject: hello\\n\\nIt works.\\n' | curl -sS --crlf --ssl-reqd "
			"--connect-to ::127.0.0.1: --upload-file -")) != 0 ||
	    (rc = put_option(out, "--cacert", s->certificate)) != 0 ||
	    (rc = put_option(out, "--mail-from", who)) != 0 || (rc = put_option(out, "--mail-rcpt", who)) != 0 ||
	    (rc = put_option(out, "--user", who)) != 0)
		return rc;
	return buf_printf(out, " smtp://localhost:%u", ntohs(l->addr.in.sin_port));
}

static int
put_read(const struct setup *s, struct buf *out)
{
	const char *who = s->conf->postmaster;
	char *folder = NULL;
	int rc;

	if (find_listen(s, CONF_PROTOCOL_SUBMISSION) == NULL || who == NULL || s->conf->mail == NULL ||
	    !setup_conf_uses_ours(s))
		return 0;
	if (asprintf(&folder, "%s/%s/Maildir/new", s->conf->mail, who) < 0)
		return PT_ENOMEM;
	if ((rc = buf_append_str(out, "cat ")) == 0 && (rc = cli_shell_quote(out, folder)) == 0)
		rc = buf_append_str(out, "/*");
	free(folder);
	return rc;
}

static const char *const did_words[] = { "there", "made", "replaced" };

static int
items_json(const struct setup *s, json_t *items)
{
	const struct setup_item *item;
	size_t i;

	for (i = 0; i < s->nitems; i++) {
		item = &s->items[i];
		if (json_array_append_new(items, json_pack("{s:s, s:o, s:s}", "what", item->what,
							   "name", cli_json_string(item->name),
							   "did", did_words[item->did])) != 0)
			return PT_ENOMEM;
	}
	return 0;
}

static int
next_json(const char *const lines[LINES], json_t *next)
{
	size_t i;

	for (i = 0; i < LINES; i++)
		if (*lines[i] != '\0' && json_object_set_new(next, line_names[i], cli_json_string(lines[i])) != 0)
			return PT_ENOMEM;
	return 0;
}

/* The first user, when this run made him. */
static int
user_json(const struct setup *s, json_t *answer)
{
	json_t *user;

	if (s->conf->postmaster == NULL || !s->made_user)
		return 0;
	user = json_pack("{s:o}", "address", cli_json_string(s->conf->postmaster));
	if (user == NULL ||
	    (s->password[0] != '\0' && json_object_set_new(user, "password", json_string(s->password)) != 0)) {
		json_decref(user);
		return PT_ENOMEM;
	}
	return json_object_set_new(answer, "user", user) != 0 ? PT_ENOMEM : 0;
}

static enum cli_exit
tell_json(const struct setup *s, const char *const lines[LINES])
{
	json_t *items = json_array(), *next = json_object(), *answer;

	if (items == NULL || next == NULL || items_json(s, items) != 0 || next_json(lines, next) != 0) {
		json_decref(items);
		json_decref(next);
		return cli_fail_memory(s->cli);
	}
	answer = json_pack("{s:b, s:b, s:o, s:o, s:o}", "ok", 1, "changed", setup_changed(s), "configuration",
		cli_json_string(s->conf_file), "items", items, "next", next);
	if (answer == NULL || user_json(s, answer) != 0) {
		json_decref(answer);
		return cli_fail_memory(s->cli);
	}
	return cli_put_json(s->cli, answer);
}

static int
put_items(const struct setup *s, struct buf *out)
{
	static const struct cli_column columns[] = {
		{ "WHAT", false }, { "NAME", false }, { "", false }
	};
	struct cli_table *t = cli_table_new(columns, PT_COUNT(columns));
	size_t i;
	int rc;

	if (t == NULL)
		return PT_ENOMEM;
	for (i = 0; i < s->nitems; i++) {
		cli_table_cell(t, s->items[i].what);
		cli_table_cell(t, s->items[i].name);
		cli_table_cell(t, s->items[i].did == SETUP_THERE ? "was there"
								 : did_words[s->items[i].did]);
	}
	rc = cli_table_print(t, out);
	cli_table_free(&t);
	return rc;
}

/* What a file of somebody's own means. */
static const char *
kept(const struct setup *s)
{
	if (s->conf->nservices == 0)
		return "The configuration has no service, and setup does not touch it: somebody wrote it.\n"
		       "Move it away and run setup again for one that serves, or add a service.\n\n";
	if (!setup_changed(s))
		return "Nothing was changed: all of this was there.\n\n";
	if (s->found == SETUP_CONF_OWN)
		return "The configuration was kept as it is: somebody wrote it.\n\n";
	return "";
}

static int
put_user(const struct setup *s, struct buf *out)
{
	int rc;

	if (s->conf->users_file != NULL && access(s->conf->users_file, F_OK) != 0)
		return buf_append_str(out, "There is no user yet, and no \"postmaster\" in the configuration that says who is "
				"the first:\n    postern user add NAME@DOMAIN\n");
	if (!s->made_user)
		return 0;
	if ((rc = buf_printf(out, "The first user, and postmaster, is %s", s->conf->postmaster)) != 0)
		return rc;
	if (s->password[0] != '\0')
		return buf_printf(out, ".\nThe password, shown this once: %s\n", s->password);
	return buf_append_str(out, s->cli->user.no_password ? ", who has no password.\n" : ".\n");
}

/* What only people can do, for a new configuration of the whole machine or with a domain that is a guess. */
static int
put_rest(const struct setup *s, struct buf *out)
{
	const char *name = s->hostname[0] != '\0' ? s->hostname : s->conf->hostname;
	int rc = 0;

	if (s->found == SETUP_CONF_OWN)
		return 0;
	if (strchr(s->domains[0], '.') == NULL)
		rc = buf_printf(out, "\n\"%s\" is known to this machine alone: give a domain to get mail from others\n"
				"(\"domain\" in %s, or setup --domain anew).\n", s->domains[0], s->conf_file);
	if (rc == 0 && !s->local)
		rc = buf_printf(out, "\nFor mail from others: an MX record of %s that names %s, port 25 open, and a\n"
				"certificate of a public CA in place of %s.\n", s->domains[0], name, s->certificate);
	if (rc == 0 && s->client_ca == NULL)
		rc = buf_append_str(out, "\nFor logins by certificate: client-ca and identity in the configuration, or setup\n"
				"--client-ca from the start; postern(1) has the steps.\n");
	return rc;
}

static enum cli_exit
tell_text(const struct setup *s, const char *const lines[LINES])
{
	struct buf out;
	size_t i;
	int rc;

	buf_init(&out, CLI_TEXT_MAX);
	if ((rc = put_items(s, &out)) == 0 && (rc = buf_printf(&out, "\n%s", kept(s))) == 0)
		rc = put_user(s, &out);
	for (i = 0; i < LINES && rc == 0; i++)
		if (*lines[i] != '\0')
			rc = buf_printf(&out, "%s:\n    %s\n", line_words[i], lines[i]);
	if (rc == 0)
		rc = put_rest(s, &out);
	if (rc != 0) {
		buf_wipe(&out);
		return cli_fail_memory(s->cli);
	}
	return cli_put_text(s->cli, &out);
}

enum cli_exit
setup_tell(struct setup *s)
{
	static int (*const puts[LINES])(const struct setup *, struct buf *) = {
		[START] = put_start, [TALK] = put_talk, [SEND] = put_send, [READ] = put_read, [STATUS] = put_status,
	};
	const char *lines[LINES];
	struct buf bufs[LINES];
	enum cli_exit code;
	size_t i;
	int rc = 0;

	for (i = 0; i < LINES; i++)
		buf_init(&bufs[i], CLI_TEXT_MAX);
	for (i = 0; i < LINES && rc == 0; i++)
		if ((rc = puts[i](s, &bufs[i])) == 0 && (rc = buf_append(&bufs[i], "", 1)) == 0)
			lines[i] = (const char *)buf_span(&bufs[i]).p;
	if (rc != 0)
		code = cli_fail_memory(s->cli);
	else
		code = (s->cli->json ? tell_json : tell_text)(s, lines);
	for (i = 0; i < LINES; i++)
		buf_fini(&bufs[i]);
	return code;
}
