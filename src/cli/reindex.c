/* cli/reindex.c - "postern reindex": mailboxes' indexes made anew of what can be read of them and of the files that are there. */
#include "cli/admin.h"

#include "mail/normal.h"

#include <stdlib.h>
#include <string.h>

struct reindexing {
	const struct cli *cli;
	struct admin *a;
	json_t *done, *failed; /* arrays, with --json */
	unsigned long long boxes, failures, messages, given;
};

static long long
number(const json_t *row, const char *name)
{
	return (long long)json_integer_value(json_object_get(row, name));
}

/* "3 kept, 1 from its name": where the UIDs are from. */
static int
put_origins(struct buf *out, const json_t *row)
{
	static const struct {
		const char *name, *text;
	} from[] = {
		{ "kept", "kept" }, { "named", "from the file's name" }, { "imported", "from Dovecot's list" },
		{ "given", "new" },
	};
	const char *between = "; UIDs: ";
	size_t i;
	int rc = 0;

	for (i = 0; i < PT_COUNT(from) && rc == 0; i++) {
		if (number(row, from[i].name) == 0)
			continue;
		rc = buf_printf(out, "%s%lld %s", between, number(row, from[i].name), from[i].text);
		between = ", ";
	}
	return rc;
}

static int
put_box(struct buf *out, const json_t *row)
{
	const char *header = json_string_value(json_object_get(row, "header"));
	int rc = buf_printf(out, "%s %s: %lld messages; UIDVALIDITY %lld %s", json_string_value(json_object_get(row, "user")),
		json_string_value(json_object_get(row, "mailbox")), number(row, "messages"), number(row, "uidvalidity"),
		header == NULL || strcmp(header, "kept") == 0 ? "kept"
			: strcmp(header, "imported") == 0 ? "from Dovecot's list"
			: "is new: the index had no header any more, and clients fetch everything again");

	if (rc == 0)
		rc = put_origins(out, row);
	if (rc == 0 && number(row, "damaged") > 0)
		rc = buf_printf(out, "; %lld damaged places in the old index", number(row, "damaged"));
	if (rc == 0 && number(row, "missing") > 0)
		rc = buf_printf(out, "; %lld messages of the old index have no file any more", number(row, "missing"));
	return rc != 0 ? rc : buf_append_str(out, "\n");
}

static enum cli_exit
box_done(struct reindexing *r, json_t *row)
{
	struct buf out;

	r->boxes++;
	r->messages += (unsigned long long)number(row, "messages");
	r->given += (unsigned long long)number(row, "given");
	if (r->cli->json)
		return json_array_append(r->done, row) == 0 ? CLI_OK : cli_fail_memory(r->cli);
	buf_init(&out, CLI_TEXT_MAX);
	if (put_box(&out, row) == 0)
		return cli_put_text(r->cli, &out);
	buf_fini(&out);
	return cli_fail_memory(r->cli);
}

/* One that fails does not keep the others from being made. */
static enum cli_exit
box_failed(struct reindexing *r, const char *user, const char *box, const char *why)
{
	r->failures++;
	if (r->cli->json)
		return json_array_append_new(r->failed, json_pack("{s:o, s:o, s:o}", "user", cli_json_string(user), "mailbox",
			       cli_json_string(box), "error", cli_json_string(why))) == 0 ? CLI_OK : cli_fail_memory(r->cli);
	(void)cli_fail(r->cli, CLI_FAILED, "%s %s: %s", user, box, why);
	return CLI_OK;
}

static enum cli_exit
one(void *arg, const char *user, const char *box)
{
	struct reindexing *r = arg;
	enum cli_exit code;
	json_t *rows;
	char *why;

	code = admin_rows(r->a, "reindex", user, box, false, &rows, &why);
	if (code == CLI_OK)
		code = box_done(r, json_array_get(rows, 0));
	else if (code == CLI_FAILED)
		code = box_failed(r, user, box, why != NULL ? why : "out of memory");
	json_decref(rows);
	free(why);
	return code;
}

static enum cli_exit
say_sum(struct reindexing *r)
{
	enum cli_exit code = r->failures == 0 ? CLI_OK : CLI_FAILED;
	struct buf out;

	if (r->cli->json) {
		json_t *o = json_pack("{s:b, s:O, s:O, s:b}", "ok", r->failures == 0, "mailboxes", r->done, "failed", r->failed,
			"server", admin_is_served(r->a));

		if (o != NULL && r->failures > 0)
			json_object_set_new(o, "error", json_string("not all could be done"));
		return cli_put_json(r->cli, o) != CLI_OK ? CLI_FAILED : code;
	}
	buf_init(&out, CLI_TEXT_MAX);
	if (buf_printf(&out, "%llu mailboxes with %llu messages have a new index%s; %llu could not be done\n", r->boxes,
		    r->messages, r->given == 0 ? ", and every message has the UID that it had" : "", r->failures) != 0)
		return cli_fail_memory(r->cli);
	return cli_put_text(r->cli, &out) != CLI_OK ? CLI_FAILED : code;
}

enum cli_exit
cli_reindex(const struct cli *cli, int argc, char **argv)
{
	struct reindexing r = { .cli = cli, .done = json_array(), .failed = json_array() };
	char user[NORMAL_ADDRESS_MAX];
	enum cli_exit code;

	if (argc > 2)
		code = cli_fail(cli, CLI_USAGE, "reindex takes an address and the name of a mailbox, no more; a name with blanks goes in quotes");
	else if (argc > 0 && !normal_address(span_str(argv[0]), user))
		code = cli_fail(cli, CLI_USAGE, "\"%s\" is not an address: it should be NAME@DOMAIN, without blanks or \"/\"", argv[0]);
	else if (r.done == NULL || r.failed == NULL)
		code = cli_fail_memory(cli);
	else
		code = admin_open(cli, &r.a);
	if (code == CLI_OK) {
		code = admin_each(r.a, argc > 0 ? user : NULL, argc > 1 ? argv[1] : NULL, one, &r);
		if (code == CLI_OK)
			code = say_sum(&r);
	}
	admin_close(&r.a);
	json_decref(r.done);
	json_decref(r.failed);
	return code;
}
