/* cli/setup.c - "postern setup": from nothing to a server that can be started and answers. It asks
 * nothing, makes what is missing, keeps what is there, and says what to do next. */
#include "cli/setup.h"

#include "cli/cli_load.h"
#include "cli/cli_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int
setup_note(struct setup *s, const char *what, const char *name, enum setup_did did)
{
	struct setup_item *item = &s->items[s->nitems];
	size_t i;

	for (i = 0; i < s->nitems; i++) /* two paths may share their folder */
		if (strcmp(s->items[i].name, name) == 0 && strcmp(s->items[i].what, what) == 0)
			return 0;
	PT_ASSERT(s->nitems < SETUP_ITEMS_MAX);
	if ((item->name = strdup(name)) == NULL)
		return PT_ENOMEM;
	item->what = what;
	item->did = did;
	s->nitems++;
	return 0;
}

bool
setup_changed(const struct setup *s)
{
	size_t i;

	for (i = 0; i < s->nitems; i++)
		if (s->items[i].did != SETUP_THERE)
			return true;
	return false;
}

void
setup_fini(struct setup *s)
{
	char *const strings[] = { s->conf_file, s->folder, s->tls_folder, s->certificate, s->key,
				 s->state,     s->empty,  s->run,        s->pid_file,    s->socket };
	size_t i;

	for (i = 0; i < PT_COUNT(strings); i++)
		free(strings[i]);
	for (i = 0; i < s->nitems; i++)
		free(s->items[i].name);
	conf_free(&s->conf);
}

/* What must be known before anything is made: nothing is half done when it fails. */
static enum cli_exit
look(struct setup *s, struct diag *diag)
{
	const struct sockaddr_un *un = NULL;
	struct cli named = *s->cli;
	enum cli_exit code;

	s->root = geteuid() == 0;
	if (!s->root && !s->cli->conf_given)
		return cli_fail(
		    s->cli, CLI_DENIED,
		    "setup for the whole machine needs root; for yourself, name a file and "
		    "everything goes beside it: postern -f ~/postern/postern.conf setup");
	if (setup_conf_paths(s, diag) != 0 || setup_conf_look(s, diag) != 0)
		return cli_fail(s->cli, CLI_FAILED, "%s", diag->text);
	if (s->found == SETUP_CONF_OWN) {
		named.conf_file = s->conf_file;
		if ((code = cli_load(&named, &s->conf)) != CLI_OK)
			return code;
		if (setup_conf_adopt(s, diag) != 0)
			return cli_fail(s->cli, CLI_CONFIG, "%s", diag->text);
	}
	if (strlen(s->socket) >= sizeof un->sun_path)
		return cli_fail(
		    s->cli, CLI_FAILED,
		    "the control socket would be %s: %zu octets, and a unix socket's path "
		    "has at most %zu; choose a folder with a shorter path",
		    s->socket, strlen(s->socket), sizeof un->sun_path - 1);
	return CLI_OK;
}

static int
make_folder_of(struct setup *s, const char *file, mode_t mode, struct diag *diag)
{
	char *folder = strndup(file, (size_t)(strrchr(file, '/') - file));
	int rc = folder == NULL ? PT_ENOMEM : setup_files_folder(s, folder, mode, diag);

	free(folder);
	return rc;
}

/* Modes: the children come by descriptors, so nobody but the owner needs to list the state folder;
 * root's is 0711 because the children's root directory in it is reached by path once. A plain
 * user's are nobody else's business; the machine's run folder holds the socket that group
 * postern-admin may use. */
static int
make_all(struct setup *s, struct diag *diag)
{
	mode_t mode = s->local && !s->root ? 0700 : 0755;
	int rc;

	if (s->root && (rc = setup_accounts_make(s, diag)) != 0)
		return rc;
	if ((rc = setup_files_folder(s, s->folder, mode, diag)) != 0 ||
	    (rc = setup_files_folder(s, s->state, s->root ? 0711 : 0700, diag)) != 0 ||
	    (rc = make_folder_of(s, s->pid_file, mode, diag)) != 0 ||
	    (rc = make_folder_of(s, s->socket, mode, diag)) != 0)
		return rc;
	if (s->root && (asprintf(&s->empty, "%s/empty", s->state) < 0 ||
			(rc = setup_files_folder(s, s->empty, 0755, diag)) != 0))
		return rc != 0 ? rc : PT_ENOMEM;
	if (setup_conf_uses_ours(s) &&
	    ((rc = setup_files_folder(s, s->tls_folder, mode, diag)) != 0 ||
	     (rc = setup_files_credentials(s, diag)) != 0))
		return rc;
	return setup_conf_write(s, diag);
}

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

/* The listener of the line service that openssl can reach with STARTTLS, NULL when there is none.
 */
static const struct conf_listen *
find_line(const struct setup *s)
{
	const struct conf_service *service;
	const struct conf_listen *l;
	size_t i, k;

	for (i = 0; i < s->conf->nservices; i++) {
		service = &s->conf->services[i];
		for (k = 0; k < service->nlistens; k++) {
			l = &service->listens[k];
			if (service->protocol == CONF_PROTOCOL_LINE &&
			    l->addr.sa.sa_family == AF_INET &&
			    (l->mode == CONF_LISTEN_STARTTLS ||
			     l->mode == CONF_LISTEN_STARTTLS_REQUIRED))
				return l;
		}
	}
	return NULL;
}

/* Nothing is appended when no line of ours would work: other certificates, other services. */
static int
put_talk(const struct setup *s, struct buf *out)
{
	const struct conf_listen *l = find_line(s);
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

static enum cli_exit
tell_json(const struct setup *s, const char *start, const char *talk, const char *status)
{
	json_t *items = json_array(), *next = json_object();

	if (items == NULL || next == NULL || items_json(s, items) != 0 ||
	    json_object_set_new(next, "start", cli_json_string(start)) != 0 ||
	    (*talk != '\0' && json_object_set_new(next, "talk", cli_json_string(talk)) != 0) ||
	    json_object_set_new(next, "status", cli_json_string(status)) != 0) {
		json_decref(items);
		json_decref(next);
		return cli_fail_memory(s->cli);
	}
	return cli_put_json(s->cli,
			    json_pack("{s:b, s:b, s:o, s:o, s:o}", "ok", 1, "changed",
				      setup_changed(s), "configuration",
				      cli_json_string(s->conf_file), "items", items, "next", next));
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

static enum cli_exit
tell_text(const struct setup *s, const char *start, const char *talk, const char *status)
{
	const char *kept = "";
	struct buf out;

	if (s->conf->nservices == 0)
		kept =
		    "The configuration has no service, and setup does not touch it: somebody wrote "
		    "it.\nMove it away and run setup again for one that serves, or add a "
		    "service.\n\n";
	else if (!setup_changed(s))
		kept = "Nothing was changed: all of this was there.\n\n";
	else if (s->found == SETUP_CONF_OWN)
		kept = "The configuration was kept as it is: somebody wrote it.\n\n";
	buf_init(&out, CLI_TEXT_MAX);
	if (put_items(s, &out) != 0 ||
	    buf_printf(&out, "\n%sStart the server:\n    %s\n", kept, start) != 0 ||
	    (*talk != '\0' &&
	     buf_printf(&out, "Talk to it, then type CAPABILITY, WHOAMI, QUIT:\n    %s\n", talk) !=
		 0) ||
	    buf_printf(&out, "See what it does:\n    %s\n", status) != 0) {
		buf_fini(&out);
		return cli_fail_memory(s->cli);
	}
	return cli_put_text(s->cli, &out);
}

static enum cli_exit
tell(const struct setup *s)
{
	struct buf lines[3]; /* start, talk, status: each with its NUL */
	enum cli_exit code;
	size_t i;

	for (i = 0; i < PT_COUNT(lines); i++)
		buf_init(&lines[i], CLI_TEXT_MAX);
	if (put_start(s, &lines[0]) != 0 || put_talk(s, &lines[1]) != 0 ||
	    put_status(s, &lines[2]) != 0 || buf_append(&lines[0], "", 1) != 0 ||
	    buf_append(&lines[1], "", 1) != 0 || buf_append(&lines[2], "", 1) != 0)
		code = cli_fail_memory(s->cli);
	else
		code = (s->cli->json ? tell_json : tell_text)(s, (const char *)lines[0].base,
							      (const char *)lines[1].base,
							      (const char *)lines[2].base);
	for (i = 0; i < PT_COUNT(lines); i++)
		buf_fini(&lines[i]);
	return code;
}

enum cli_exit
cli_setup(const struct cli *cli, int argc, char **argv)
{
	struct setup s = { .cli = cli };
	struct cli named = *cli;
	struct diag diag = { "" };
	enum cli_exit code;
	int rc;

	(void)argv;
	if (argc > 0)
		return cli_fail(cli, CLI_USAGE, "setup takes no argument");
	umask(022);
	if ((code = look(&s, &diag)) != CLI_OK)
		goto out;
	if ((rc = make_all(&s, &diag)) != 0) {
		code = cli_fail(cli, CLI_FAILED, "%s",
				diag.text[0] != '\0' ? diag.text : pt_strerror(rc));
		goto out;
	}
	named.conf_file = s.conf_file;
	if (s.conf == NULL && (code = cli_load(&named, &s.conf)) != CLI_OK)
		goto out;
	code = tell(&s);
out:
	setup_fini(&s);
	return code;
}
