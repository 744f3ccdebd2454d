/* cli/admin.c - see admin.h. */
#include "cli/admin.h"

#include "cli/cli_client.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 3600000 /* a large mailbox may be read whole; the server does not wait longer either */

struct admin {
	struct cli cli;        /* with the socket, so that the configuration is read once */
	char *socket;
	struct own_store *own; /* NULL: a server answers */
};

enum cli_exit
admin_open(const struct cli *cli, struct admin **out)
{
	struct admin *a = calloc(1, sizeof *a);
	enum cli_exit code;
	bool running;

	*out = NULL;
	if (a == NULL)
		return cli_fail_memory(cli);
	a->cli = *cli;
	if ((code = cli_client_reach(cli, &a->socket, &running)) == CLI_OK) {
		a->cli.socket = a->socket;
		if (!running)
			code = own_store_open(cli, &a->own);
	}
	if (code != CLI_OK)
		admin_close(&a);
	*out = a;
	return code;
}

void
admin_close(struct admin **ap)
{
	struct admin *a = *ap;

	if (a == NULL)
		return;
	own_store_close(&a->own);
	free(a->socket);
	free(a);
	*ap = NULL;
}

bool
admin_is_served(const struct admin *a)
{
	return a->own == NULL;
}

static enum cli_exit
take_rows(json_t *answer, json_t **rows_out, char **why_out)
{
	json_t *rows = json_object_get(answer, "rows");
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (json_is_true(json_object_get(answer, "ok")) && json_is_array(rows)) {
		*rows_out = json_incref(rows);
		return CLI_OK;
	}
	*why_out = strdup(error != NULL ? error : "posternd refused without a reason");
	return CLI_FAILED;
}

enum cli_exit
admin_rows(struct admin *a, const char *what, const char *user, const char *box, bool repair, json_t **rows_out,
	   char **why_out)
{
	enum cli_exit code;
	json_t *answer;

	*rows_out = NULL;
	*why_out = NULL;
	if (a->own != NULL)
		return own_store_rows(a->own, what, user, box, repair, rows_out, why_out);
	code = cli_client_answer(&a->cli, json_pack("{s:s, s:s, s:s, s:s, s:b}", "command", "store", "what", what, "user",
		user, "mailbox", box, "repair", repair), TIMEOUT_MS, &answer);
	if (code != CLI_OK)
		return code == CLI_FAILED ? CLI_NOT_RUNNING : code; /* told: nobody answers */
	code = take_rows(answer, rows_out, why_out);
	json_decref(answer);
	return code;
}

/* --- which there are ------------------------------------------------------------------------------------------ */

static enum cli_exit
tell(struct admin *a, enum cli_exit code, char *why)
{
	if (code == CLI_FAILED)
		code = cli_fail(&a->cli, CLI_FAILED, "%s", why != NULL ? why : "out of memory");
	free(why);
	return code;
}

/* All pages of a list; field: of a row. */
static enum cli_exit
each_of(struct admin *a, const char *what, const char *user, const char *field, admin_box_f *f, void *arg)
{
	char *after = strdup(""), *why;
	bool users = user == NULL;
	enum cli_exit code = CLI_OK;
	const char *name;
	json_t *rows;
	size_t i, n = 1;

	while (n > 0 && code == CLI_OK) {
		if (after == NULL)
			return cli_fail_memory(&a->cli);
		if ((code = admin_rows(a, what, users ? after : user, users ? "" : after, false, &rows, &why)) != CLI_OK) {
			free(after);
			return tell(a, code, why);
		}
		n = json_array_size(rows);
		for (i = 0; i < n && code == CLI_OK; i++) {
			if ((name = json_string_value(json_object_get(json_array_get(rows, i), field))) == NULL)
				continue;
			code = users ? f(arg, name, NULL) : f(arg, user, name);
			if (i + 1 == n) {
				free(after);
				after = strdup(name);
			}
		}
		json_decref(rows);
	}
	free(after);
	return code;
}

enum cli_exit
admin_each_user(struct admin *a, const char *user, admin_box_f *f, void *arg)
{
	return user != NULL ? f(arg, user, NULL) : each_of(a, "users", NULL, "user", f, arg);
}

struct each {
	struct admin *a;
	admin_box_f *f;
	void *arg;
};

static enum cli_exit
each_box(void *arg, const char *user, const char *box)
{
	struct each *e = arg;

	(void)box;
	return each_of(e->a, "mailboxes", user, "mailbox", e->f, e->arg);
}

enum cli_exit
admin_each(struct admin *a, const char *user, const char *box, admin_box_f *f, void *arg)
{
	struct each e = { a, f, arg };

	return box != NULL ? f(arg, user, box) : admin_each_user(a, user, each_box, &e);
}
