/* cli/store_stat.c - "postern store stat": how the store stands, and how much mail who has. Asked mailbox by mailbox, as each is read
 * by the store's helper threads: nobody waits for this. */
#include "cli/admin.h"

#include "cli/cli_table.h"
#include "mail/normal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What scripts ask for, as of "store check": something could not be read. */
#define UNREADABLE ((enum cli_exit)2)

#define TEXT_MAX ((size_t)64 << 20) /* octets of the table: a line for each user */

struct stat_all {
	const struct cli *cli;
	struct admin *a;
	json_t *store;      /* its row; NULL: of one user */
	json_t *list;       /* rows: users, or mailboxes of the one */
	json_t *unreadable;
	json_t *user;       /* the row of `list` that is being counted; borrowed */
};

static long long
number(const json_t *row, const char *name)
{
	return (long long)json_integer_value(json_object_get(row, name));
}

static const char *
text(const json_t *row, const char *name)
{
	const char *s = json_string_value(json_object_get(row, name));

	return s == NULL ? "" : s;
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

static enum cli_exit
unreadable(struct stat_all *s, const char *user, const char *box, const char *why)
{
	if (json_array_append_new(s->unreadable, json_pack("{s:o, s:o, s:o}", "user", cli_json_string(user), "mailbox",
		    cli_json_string(box), "error", cli_json_string(why))) != 0)
		return cli_fail_memory(s->cli);
	if (!s->cli->json)
		(void)cli_fail(s->cli, UNREADABLE, "%s%s%s%scannot be read: %s", user, box[0] != '\0' ? " " : "", box,
			user[0] != '\0' ? " " : "the store ", why);
	return CLI_OK;
}

static enum cli_exit
ask(struct stat_all *s, const char *what, const char *user, const char *box, json_t **row_out)
{
	enum cli_exit code;
	json_t *rows;
	char *why;

	*row_out = NULL;
	code = admin_rows(s->a, what, user, box, false, &rows, &why);
	if (code == CLI_OK)
		*row_out = json_incref(json_array_get(rows, 0));
	else if (code == CLI_FAILED)
		code = unreadable(s, user, box, why != NULL ? why : "out of memory");
	json_decref(rows);
	free(why);
	return code;
}

static int
add(json_t *sum, const char *name, long long n)
{
	return json_object_set_new(sum, name, json_integer((json_int_t)(number(sum, name) + n)));
}

/* Into the row of its user, the last one or a new one. */
static enum cli_exit
count(struct stat_all *s, const char *user, const json_t *box)
{
	json_t *quota = json_object_get(box, "quota");

	if (s->user == NULL || strcmp(text(s->user, "user"), user) != 0) {
		s->user = json_pack("{s:o, s:i, s:i, s:i, s:n}", "user", cli_json_string(user), "mailboxes", 0, "messages", 0, "octets", 0,
			"quota");
		if (s->user == NULL || json_array_append_new(s->list, s->user) != 0) {
			s->user = NULL;
			return cli_fail_memory(s->cli);
		}
	}
	if (add(s->user, "mailboxes", 1) != 0 || add(s->user, "messages", number(box, "messages")) != 0 ||
	    add(s->user, "octets", number(box, "octets")) != 0 ||
	    (quota != NULL && json_object_set(s->user, "quota", quota) != 0))
		return cli_fail_memory(s->cli);
	return CLI_OK;
}

static enum cli_exit
one(void *arg, const char *user, const char *box)
{
	struct stat_all *s = arg;
	enum cli_exit code;
	json_t *row;

	if ((code = ask(s, "stat", user, box, &row)) == CLI_OK && row != NULL)
		code = s->store != NULL ? count(s, user, row)
			: json_array_append(s->list, row) == 0 ? CLI_OK : cli_fail_memory(s->cli);
	json_decref(row);
	return code;
}

/* --- for people -------------------------------------------------------------------------------------------------- */

static int
put_octets(struct buf *out, long long n)
{
	static const char units[] = "kMGTPE";
	double v = (double)n;
	size_t u = 0;

	if (n < 10000)
		return buf_printf(out, "%lld octets", n);
	for (v /= 1000; v >= 1000 && u + 1 < sizeof units - 1; u++)
		v /= 1000;
	return buf_printf(out, "%.1f%c octets", v, units[u]);
}

static int
put_checkpoint(struct buf *out, const json_t *s)
{
	time_t t = (time_t)number(s, "checkpointed");
	char when[64] = "";
	struct tm tm;

	if (json_object_get(s, "checkpointed") == NULL)
		return buf_printf(out, "checkpoint     none since the start; the files have all up to record %lld for good\n",
			number(s, "durable"));
	if (localtime_r(&t, &tm) == NULL || strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S %Z", &tm) == 0)
		strlcpy(when, "-", sizeof when);
	return buf_printf(out, "checkpoint     at %s: the files have all up to record %lld for good\n", when, number(s, "durable"));
}

static int
put_journal(struct buf *out, const json_t *s)
{
	int rc = buf_printf(out, "journal        %lld segments in use, %lld spare, %lld at most, each of ", number(s, "segments"),
		number(s, "spare"), number(s, "segments_max"));

	if (rc == 0)
		rc = put_octets(out, number(s, "segment_octets"));
	if (rc == 0)
		rc = buf_printf(out, "; the newest record is %lld\n", number(s, "newest"));
	if (rc == 0)
		rc = put_checkpoint(out, s);
	if (rc == 0)
		rc = buf_printf(out, "under way      %lld transactions are committed and not yet in the files\n", number(s, "unapplied"));
	if (rc == 0 && number(s, "stuck") > 0)
		rc = buf_printf(out, "stuck          %lld mailboxes cannot be written: the journal keeps what was accepted for them, and the "
			"log says why\n", number(s, "stuck"));
	if (rc == 0 && number(s, "flushes") > 0)
		rc = buf_printf(out, "flushes        %lld since the start: mean %lld us, half within %lld us, 99%% within %lld us, longest %lld us\n",
			number(s, "flushes"), number(s, "flush_mean_us"), number(s, "flush_p50_us"), number(s, "flush_p99_us"),
			number(s, "flush_longest_us"));
	return rc;
}

static int
put_space(struct buf *out, const json_t *s)
{
	int rc = buf_append_str(out, "space          ");

	if (rc == 0)
		rc = json_object_get(s, "free_octets") != NULL ? put_octets(out, number(s, "free_octets")) : buf_append_str(out, "octets without a limit");
	if (rc == 0 && json_object_get(s, "free_inodes") != NULL)
		rc = buf_printf(out, " and %lld inodes", number(s, "free_inodes"));
	if (rc == 0)
		rc = buf_append_str(out, " are free; mail is refused below ");
	if (rc == 0)
		rc = put_octets(out, number(s, "margin_octets"));
	return rc != 0 ? rc : buf_printf(out, " or %lld inodes\n", number(s, "margin_inodes"));
}

static int
put_store(struct buf *out, const struct stat_all *s)
{
	int rc = put_journal(out, s->store);

	if (rc == 0)
		rc = put_space(out, s->store);
	if (rc == 0 && admin_is_served(s->a))
		rc = buf_printf(out, "in use         %lld processes are clients; %lld mailboxes are open, %lld in memory\n",
			number(s->store, "clients"), number(s->store, "mailboxes_open"), number(s->store, "mailboxes_in_memory"));
	return rc != 0 ? rc : buf_printf(out, "queue          %lld messages\nkeys           %lld\n", number(s->store, "queued"),
		number(s->store, "keys"));
}

static const struct cli_column of_users[] = { { "USER", false }, { "MAILBOXES", true }, { "MESSAGES", true }, { "OCTETS", true },
	{ "QUOTA", true } };
static const struct cli_column of_boxes[] = { { "MAILBOX", false }, { "MESSAGES", true }, { "OCTETS", true }, { "UNSEEN", true },
	{ "UIDNEXT", true }, { "UIDVALIDITY", true }, { "MODSEQ", true } };

static int
put_list(struct buf *out, const struct stat_all *s)
{
	static const char *const user_cells[] = { "user", "mailboxes", "messages", "octets", "quota" };
	static const char *const box_cells[] = { "mailbox", "messages", "octets", "unseen", "uidnext", "uidvalidity", "modseq" };
	const char *const *names = s->store != NULL ? user_cells : box_cells;
	size_t ncells = s->store != NULL ? PT_COUNT(of_users) : PT_COUNT(of_boxes), i, k, n = json_array_size(s->list);
	struct cli_table *t = cli_table_new(s->store != NULL ? of_users : of_boxes, ncells);
	const json_t *row;
	int rc;

	if (t == NULL)
		return PT_ENOMEM;
	for (i = 0; i < n; i++) {
		row = json_array_get(s->list, i);
		cli_table_cell(t, text(row, names[0]));
		for (k = 1; k < ncells; k++) {
			if (json_is_integer(json_object_get(row, names[k])))
				cli_table_number(t, number(row, names[k]));
			else
				cli_table_cell(t, "-");
		}
	}
	rc = s->store != NULL ? buf_append_str(out, "\n") : 0;
	if (rc == 0)
		rc = cli_table_print(t, out);
	cli_table_free(&t);
	return rc;
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static enum cli_exit
say(struct stat_all *s, const char *user)
{
	enum cli_exit code = json_array_size(s->unreadable) > 0 ? UNREADABLE : CLI_OK;
	struct buf out;
	json_t *o;
	int rc;

	if (s->cli->json) {
		o = json_pack("{s:b, s:O, s:O, s:b}", "ok", code == CLI_OK, s->store != NULL ? "users" : "mailboxes", s->list,
			"unreadable", s->unreadable, "server", admin_is_served(s->a));
		if (o != NULL && s->store != NULL)
			json_object_set(o, "store", s->store);
		if (o != NULL && user != NULL)
			json_object_set_new(o, "user", cli_json_string(user));
		if (o != NULL && code != CLI_OK)
			json_object_set_new(o, "error", json_string("not all could be read"));
		return cli_put_json(s->cli, o) != CLI_OK ? UNREADABLE : code;
	}
	buf_init(&out, TEXT_MAX);
	rc = s->store != NULL && json_object_size(s->store) > 0 ? put_store(&out, s) : 0;
	if (rc == 0 && json_array_size(s->list) > 0)
		rc = put_list(&out, s);
	if (rc == 0)
		return cli_put_text(s->cli, &out) != CLI_OK ? UNREADABLE : code;
	buf_fini(&out);
	return rc == PT_ETOOBIG ? cli_fail(s->cli, UNREADABLE, "that is too much for a table; --json has all of it") : cli_fail_memory(s->cli);
}

static enum cli_exit
stat_of(struct stat_all *s, const char *user)
{
	enum cli_exit code = admin_open(s->cli, &s->a);

	if (code == CLI_OK && user == NULL) {
		code = ask(s, "stat-store", "", "", &s->store);
		if (code == CLI_OK && s->store == NULL && (s->store = json_object()) == NULL)
			code = cli_fail_memory(s->cli);
	}
	if (code == CLI_OK)
		code = admin_each(s->a, user, NULL, one, s);
	if (code == CLI_OK)
		code = say(s, user);
	else if (code == CLI_FAILED)
		code = UNREADABLE;
	admin_close(&s->a);
	return code;
}

enum cli_exit
cli_store_stat(const struct cli *cli, int argc, char **argv)
{
	struct stat_all s = { .cli = cli };
	char user[NORMAL_ADDRESS_MAX];
	enum cli_exit code;

	if (cli->repair)
		return cli_fail(cli, CLI_USAGE, "store stat changes nothing: --repair is for \"postern store check\"");
	if (argc > 1)
		return cli_fail(cli, CLI_USAGE, "store stat takes one address, no more");
	if (argc > 0 && !normal_address(span_str(argv[0]), user))
		return cli_fail(cli, CLI_USAGE, "\"%s\" is not an address: it should be NAME@DOMAIN, without blanks or \"/\"", argv[0]);
	s.list = json_array();
	s.unreadable = json_array();
	code = s.list == NULL || s.unreadable == NULL ? cli_fail_memory(cli) : stat_of(&s, argc > 0 ? user : NULL);
	json_decref(s.list);
	json_decref(s.unreadable);
	json_decref(s.store);
	return code;
}
