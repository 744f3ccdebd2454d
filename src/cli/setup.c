/* cli/setup.c - "postern setup": from nothing to a server that can be started and takes mail. It asks for
 * nothing that it can find out, makes what is missing, keeps what is there, and says what to do next. */
#include "cli/setup.h"

#include "cli/cli_load.h"

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
	char *const strings[] = { s->conf_file, s->folder, s->tls_folder, s->certificate, s->key, s->state, s->empty,
				  s->run, s->pid_file, s->socket, s->mail, s->users, s->lmtp, s->client_ca };
	size_t i;

	for (i = 0; i < PT_COUNT(strings); i++)
		free(strings[i]);
	for (i = 0; i < s->nitems; i++)
		free(s->items[i].name);
	conf_free(&s->conf);
	explicit_bzero(s->password, sizeof s->password);
}

/* What must be known before anything is made: nothing is half done when it fails. */
static enum cli_exit
look(struct setup *s, struct diag *diag)
{
	const struct sockaddr_un *un = NULL;
	struct cli named = *s->cli;
	enum cli_exit code = CLI_OK;

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
		if ((code = setup_mail_agrees(s)) != CLI_OK)
			return code;
	}
	if (strlen(s->socket) >= sizeof un->sun_path)
		return cli_fail(
		    s->cli, CLI_FAILED,
		    "the control socket would be %s: %zu octets, and a unix socket's path "
		    "has at most %zu; choose a folder with a shorter path",
		    s->socket, strlen(s->socket), sizeof un->sun_path - 1);
	if (s->found != SETUP_CONF_OWN && (code = setup_mail_decide(s)) == CLI_OK)
		return setup_mail_ports(s);
	return code;
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
	if (s->mail != NULL && ((rc = make_folder_of(s, s->mail, mode, diag)) != 0 ||
				(rc = setup_files_folder_of(s, s->mail, 0700, "_posternq", diag)) != 0))
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

/* A server for mail needs somebody whom it reaches: who a new configuration, or a kept one whose users file is not there,
 * calls the postmaster. */
static enum cli_exit
make_user(struct setup *s)
{
	enum cli_exit code;

	if (s->conf->users_file == NULL)
		return CLI_OK;
	if (access(s->conf->users_file, F_OK) == 0)
		return setup_note(s, "users", s->conf->users_file, SETUP_THERE) != 0 ? cli_fail_memory(s->cli) : CLI_OK;
	if (s->conf->postmaster == NULL)
		return CLI_OK;
	if ((code = user_first(s->cli, s->conf, s->conf->postmaster, s->password)) != CLI_OK)
		return code;
	s->made_user = true;
	if (setup_note(s, "users", s->conf->users_file, SETUP_MADE) != 0 ||
	    setup_note(s, "user", s->conf->postmaster, SETUP_MADE) != 0)
		return cli_fail_memory(s->cli);
	return CLI_OK;
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
	if (cli->user.from_stdin + cli->user.generate + cli->user.no_password > 1)
		return cli_fail(cli, CLI_USAGE, "--stdin, --generate and --no-password: one of them");
	umask(022);
	if ((code = look(&s, &diag)) != CLI_OK)
		goto out;
	if ((rc = make_all(&s, &diag)) != 0) {
		code = cli_fail(cli, CLI_FAILED, "%s",
				diag.text[0] != '\0' ? diag.text : pt_strerror(rc));
		goto out;
	}
	named.conf_file = s.conf_file;
	if ((s.conf == NULL && (code = cli_load(&named, &s.conf)) != CLI_OK) ||
	    (code = make_user(&s)) != CLI_OK)
		goto out;
	code = setup_tell(&s);
out:
	setup_fini(&s);
	return code;
}
