/* cli/store.c - "postern store check": what is wrong in the store, in plain words, and what would mend it. */
#include "cli/admin.h"

#include "mail/normal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What scripts ask for: these two take the place of CLI_FAILED and CLI_USAGE. */
#define FOUND ((enum cli_exit)1)
#define UNREADABLE ((enum cli_exit)2)

struct check {
	const struct cli *cli;
	struct admin *a;
	json_t *findings, *unreadable; /* arrays, with --json */
	char last[NORMAL_ADDRESS_MAX]; /* user whose mailboxes were checked */
	unsigned long long boxes, files, octets, young, found, repaired, unread;
};

static unsigned long long
number(const json_t *row, const char *name)
{
	return (unsigned long long)json_integer_value(json_object_get(row, name));
}

static const char *
text(const json_t *row, const char *name)
{
	const char *s = json_string_value(json_object_get(row, name));

	return s == NULL ? "" : s;
}

/* --- what was found ------------------------------------------------------------------------------------------- */

static int
put_finding(const struct check *c, struct buf *out, const json_t *row)
{
	int rc = 0;

	if (text(row, "user")[0] != '\0')
		rc = buf_printf(out, text(row, "mailbox")[0] != '\0' ? "%s %s: " : "%s%s: ", text(row, "user"), text(row, "mailbox"));
	if (rc == 0)
		rc = buf_append_str(out, text(row, "text"));
	if (rc == 0 && json_is_true(json_object_get(row, "repaired")))
		rc = buf_append_str(out, "; repaired");
	else if (rc == 0 && text(row, "repair")[0] != '\0')
		rc = buf_printf(out, c->cli->repair ? "; not repaired: the server's log may say why" : "; with --repair %s",
			text(row, "repair"));
	return rc != 0 ? rc : buf_append_str(out, "\n");
}

static enum cli_exit
finding(struct check *c, json_t *row)
{
	struct buf out;

	c->repaired += json_is_true(json_object_get(row, "repaired"));
	if (c->cli->json)
		return json_array_append(c->findings, row) == 0 ? CLI_OK : cli_fail_memory(c->cli);
	buf_init(&out, CLI_TEXT_MAX);
	if (put_finding(c, &out, row) == 0)
		return cli_put_text(c->cli, &out);
	buf_fini(&out);
	return cli_fail_memory(c->cli);
}

static enum cli_exit
take(struct check *c, json_t *rows)
{
	enum cli_exit code = CLI_OK;
	size_t i, n = json_array_size(rows);
	unsigned long long told = 0, found;
	json_t *row;

	for (i = 0; i < n && code == CLI_OK; i++) {
		row = json_array_get(rows, i);
		if (json_object_get(row, "kind") != NULL) {
			told++;
			code = finding(c, row);
			continue;
		}
		found = number(row, "found");
		c->found += found;
		c->files += number(row, "files");
		c->octets += number(row, "octets");
		c->young += number(row, "young");
		if (found > told && !c->cli->json)
			printf("... and %llu more there\n", found - told);
	}
	return code;
}

static enum cli_exit
unreadable(struct check *c, const char *user, const char *box, const char *why)
{
	c->unread++;
	if (c->cli->json)
		return json_array_append_new(c->unreadable, json_pack("{s:o, s:o, s:o}", "user", cli_json_string(user), "mailbox",
			       cli_json_string(box), "error", cli_json_string(why))) == 0 ? CLI_OK : cli_fail_memory(c->cli);
	(void)cli_fail(c->cli, UNREADABLE, "%s%s%s%scannot be checked: %s", user, box[0] != '\0' ? " " : "", box,
		user[0] != '\0' ? " " : "the store ", why);
	return CLI_OK;
}

static enum cli_exit
ask(struct check *c, const char *what, const char *user, const char *box)
{
	enum cli_exit code;
	json_t *rows;
	char *why;

	code = admin_rows(c->a, what, user, box, c->cli->repair, &rows, &why);
	if (code == CLI_OK)
		code = take(c, rows);
	else if (code == CLI_FAILED)
		code = unreadable(c, user, box, why != NULL ? why : "out of memory");
	json_decref(rows);
	free(why);
	return code;
}

/* What belongs to the user as a whole, once his mailboxes are done. */
static enum cli_exit
whole_user(struct check *c)
{
	enum cli_exit code = c->last[0] == '\0' ? CLI_OK : ask(c, "check-user", c->last, "");

	c->last[0] = '\0';
	return code;
}

static enum cli_exit
one(void *arg, const char *user, const char *box)
{
	struct check *c = arg;
	enum cli_exit code = strcmp(user, c->last) == 0 ? CLI_OK : whole_user(c);

	if (code != CLI_OK)
		return code;
	snprintf(c->last, sizeof c->last, "%s", user);
	c->boxes++;
	return ask(c, "check", user, box);
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static enum cli_exit
say_sum(struct check *c)
{
	enum cli_exit code = c->unread > 0 ? UNREADABLE : c->found > 0 ? FOUND : CLI_OK;
	struct buf out;
	int rc;

	if (c->cli->json) {
		json_t *o = json_pack("{s:b, s:O, s:O, s:I, s:I, s:I, s:I, s:I, s:b}", "ok", c->unread == 0, "findings", c->findings,
			"unreadable", c->unreadable, "found", (json_int_t)c->found, "repaired", (json_int_t)c->repaired,
			"mailboxes", (json_int_t)c->boxes, "files", (json_int_t)c->files, "octets", (json_int_t)c->octets,
			"server", admin_is_served(c->a));

		if (o != NULL && c->unread > 0)
			json_object_set_new(o, "error", json_string("not all could be checked"));
		return cli_put_json(c->cli, o) != CLI_OK ? UNREADABLE : code;
	}
	buf_init(&out, CLI_TEXT_MAX);
	rc = buf_printf(&out, "%llu mailboxes, %llu files, %llu octets: ", c->boxes, c->files, c->octets);
	if (rc == 0 && c->found == 0)
		rc = buf_append_str(&out, c->unread == 0 ? "nothing is wrong" : "nothing is wrong in what could be read");
	else if (rc == 0)
		rc = buf_printf(&out, "%llu things are wrong, %llu of them repaired", c->found, c->repaired);
	if (rc == 0 && c->unread > 0)
		rc = buf_printf(&out, "; %llu mailboxes could not be checked", c->unread);
	if (rc == 0 && c->young > 0)
		rc = buf_printf(&out, "; %llu files came from other programs within the last minute", c->young);
	if (rc == 0)
		rc = buf_append_str(&out, "\n");
	if (rc == 0)
		return cli_put_text(c->cli, &out) != CLI_OK ? UNREADABLE : code;
	buf_fini(&out);
	return cli_fail_memory(c->cli) == CLI_OK ? code : UNREADABLE;
}

static enum cli_exit
check(struct check *c, const char *user, const char *box)
{
	enum cli_exit code = admin_open(c->cli, &c->a);

	if (code == CLI_OK && user == NULL)
		code = ask(c, "check-store", "", "");
	if (code == CLI_OK)
		code = admin_each(c->a, user, box, one, c);
	if (code == CLI_OK && box == NULL)
		code = whole_user(c);
	if (code == CLI_OK)
		code = say_sum(c);
	else if (code == CLI_FAILED)
		code = UNREADABLE;
	admin_close(&c->a);
	return code;
}

enum cli_exit
cli_store(const struct cli *cli, int argc, char **argv)
{
	struct check c = { .cli = cli };
	char user[NORMAL_ADDRESS_MAX];
	enum cli_exit code;

	if (argc > 0 && strcmp(argv[0], "stat") == 0)
		return cli_store_stat(cli, argc - 1, argv + 1);
	if (argc == 0 || strcmp(argv[0], "check") != 0)
		return cli_fail(cli, CLI_USAGE, "store does two things: check, with an address and a mailbox or without, and stat, with an "
			"address or without; try: postern store stat");
	if (argc > 3)
		return cli_fail(cli, CLI_USAGE, "store check takes an address and the name of a mailbox, no more; a name with blanks goes in quotes");
	if (argc > 1 && !normal_address(span_str(argv[1]), user))
		return cli_fail(cli, CLI_USAGE, "\"%s\" is not an address: it should be NAME@DOMAIN, without blanks or \"/\"", argv[1]);
	c.findings = json_array();
	c.unreadable = json_array();
	if (c.findings == NULL || c.unreadable == NULL)
		return cli_fail_memory(cli);
	code = check(&c, argc > 1 ? user : NULL, argc > 2 ? argv[2] : NULL);
	json_decref(c.findings);
	json_decref(c.unreadable);
	return code;
}
