/* cli/user.c - "postern user": users come, change and go. The running server needs no telling: it watches the file. */
#include "cli/user.h"

#include "cli/cli_load.h"
#include "cli/cli_table.h"
#include "mail/normal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One run of a command that changes something. */
struct job {
	const struct cli *cli;
	struct conf *conf;
	struct user_file file;
	char user[NORMAL_ADDRESS_MAX];
	char password[USER_PASSWORD_MAX]; /* generated; "": none */
	char field[USER_FIELD_MAX];
};

/* --- what is asked for ------------------------------------------------------------------------ */

static enum cli_exit
take_address(const struct cli *cli, const char *what, const char *text, char out[NORMAL_ADDRESS_MAX])
{
	if (normal_address(span_str(text), out))
		return CLI_OK;
	return cli_fail(cli, CLI_USAGE, "\"%s\" is not %s: it should be NAME@DOMAIN, without blanks or \"/\"", text,
			what);
}

static enum cli_exit
check_options(const struct cli *cli, bool line, bool password)
{
	const struct cli_user *u = &cli->user;
	unsigned sources = u->from_stdin + u->generate + u->no_password;
	uint64_t quota;

	if (!password && sources > 0)
		return cli_fail(cli, CLI_USAGE, "this command takes no password; postern user passwd does");
	if (!line && (u->quota != NULL || u->naliases > 0 || u->nno_aliases > 0))
		return cli_fail(cli, CLI_USAGE, "this command changes no quota and no alias; postern user set does");
	if (sources > 1)
		return cli_fail(cli, CLI_USAGE, "--stdin, --generate and --no-password: one of them");
	if (u->naliases == CLI_ALIASES_MAX || u->nno_aliases == CLI_ALIASES_MAX)
		return cli_fail(cli, CLI_USAGE, "less than %d aliases at a time", CLI_ALIASES_MAX);
	if (u->quota != NULL && !users_quota_parse(span_str(u->quota), &quota))
		return cli_fail(cli, CLI_USAGE, "\"%s\" is no quota: - or a number with K, M, G or T, such as 10G",
				u->quota);
	return CLI_OK;
}

static enum user_password_source
source_of(const struct cli_user *u)
{
	return u->from_stdin ? USER_PASSWORD_STDIN : u->generate ? USER_PASSWORD_GENERATE
		: u->no_password ? USER_PASSWORD_NONE : USER_PASSWORD_ASK;
}

/* --- a line ----------------------------------------------------------------------------------- */

/* What a line consists of, while it is put together. */
struct parts {
	const char *credentials;
	uint64_t quota;
	char aliases[USERS_ALIASES_MAX + CLI_ALIASES_MAX][NORMAL_ADDRESS_MAX];
	size_t naliases;
};

static size_t
find_alias(const struct parts *p, const char *alias)
{
	size_t i;

	for (i = 0; i < p->naliases && strcmp(p->aliases[i], alias) != 0; i++)
		;
	return i;
}

static void
add_alias(struct parts *p, const char *alias)
{
	if (find_alias(p, alias) == p->naliases)
		snprintf(p->aliases[p->naliases++], NORMAL_ADDRESS_MAX, "%s", alias);
}

static enum cli_exit
apply_options(struct job *j, struct parts *p)
{
	const struct cli_user *u = &j->cli->user;
	char alias[NORMAL_ADDRESS_MAX];
	enum cli_exit code;
	size_t i, at;

	if (u->quota != NULL)
		PT_ASSERT(users_quota_parse(span_str(u->quota), &p->quota));
	for (i = 0; i < u->nno_aliases; i++) {
		if ((code = take_address(j->cli, "an alias", u->no_aliases[i], alias)) != CLI_OK)
			return code;
		if ((at = find_alias(p, alias)) == p->naliases)
			return cli_fail(j->cli, CLI_FAILED, "%s is no alias of %s: nothing was changed", alias, j->user);
		memmove(p->aliases[at], p->aliases[at + 1], (p->naliases-- - at - 1) * sizeof p->aliases[0]);
	}
	for (i = 0; i < u->naliases; i++) {
		if ((code = take_address(j->cli, "an alias", u->aliases[i], alias)) != CLI_OK)
			return code;
		add_alias(p, alias);
	}
	return CLI_OK;
}

static int
print_line(const char *user, const struct parts *p, struct buf *out)
{
	char quota[32];
	size_t i;
	int rc;

	users_quota_print(p->quota, quota);
	rc = buf_printf(out, "%s %s %s %s", user, p->credentials, quota, p->naliases == 0 ? "-" : p->aliases[0]);
	for (i = 1; i < p->naliases && rc == 0; i++)
		rc = buf_printf(out, ",%s", p->aliases[i]);
	return rc != 0 ? rc : buf_append(out, "", 1);
}

/* As the file has them, in the file's own words. */
static void
print_credentials(const struct user_credentials *c, char out[USER_FIELD_MAX])
{
	int n = 0;

	snprintf(out, USER_FIELD_MAX, "-");
	if (c->scram.iterations != 0)
		n = snprintf(out, USER_FIELD_MAX, "{SCRAM-SHA-256}%u,%s,%s,%s", c->scram.iterations, c->scram.salt,
			c->scram.stored_key, c->scram.server_key);
	if (c->yescrypt[0] != '\0')
		n += snprintf(out + n, USER_FIELD_MAX - (size_t)n, "{yescrypt}%s", c->yescrypt);
	PT_ASSERT(n < USER_FIELD_MAX);
}

/* old NULL: a new user. Fields that are not given stay. */
static enum cli_exit
put(struct job *j, const struct user *old, const char *credentials)
{
	static struct parts p; /* too large for a stack, and there is one command in a process */
	char kept[USER_FIELD_MAX] = "-";
	enum cli_exit code;
	struct buf line;
	size_t i;

	p = (struct parts){ .credentials = credentials != NULL ? credentials : kept,
		.quota = old != NULL ? old->quota : 0 };
	if (old != NULL)
		print_credentials(&old->credentials, kept);
	for (i = 0; old != NULL && i < old->naliases; i++)
		add_alias(&p, old->aliases[i]);
	buf_init(&line, CLI_TEXT_MAX);
	if ((code = apply_options(j, &p)) == CLI_OK)
		code = print_line(j->user, &p, &line) != 0 ? cli_fail_memory(j->cli)
			: user_file_put(j->cli, &j->file, old, (const char *)buf_span(&line).p);
	buf_wipe(&line);
	explicit_bzero(kept, sizeof kept);
	return code;
}

/* --- commands that change something ----------------------------------------------------------- */

static bool
is_ours(const struct conf *conf, const char *user)
{
	size_t i;

	for (i = 0; i < conf->ndomains; i++)
		if (strcmp(conf->domains[i], strrchr(user, '@') + 1) == 0)
			return true;
	return false;
}

/* Done: said once, with the password that nobody will see again. */
static enum cli_exit
say_done(const struct job *j, const char *sentence)
{
	bool ours = is_ours(j->conf, j->user);
	struct buf out;
	json_t *answer;
	int rc;

	if (j->cli->json) {
		answer = json_pack("{s:b, s:o, s:o, s:b}", "ok", 1, "user", cli_json_string(j->user), "file",
			cli_json_string(j->file.path), "domain_is_ours", ours);
		if (answer != NULL && j->password[0] != '\0' &&
		    json_object_set_new(answer, "password", json_string(j->password)) != 0) {
			json_decref(answer);
			answer = NULL;
		}
		return cli_put_json(j->cli, answer);
	}
	buf_init(&out, CLI_TEXT_MAX);
	rc = buf_printf(&out, "%s %s\n", j->user, sentence);
	if (rc == 0 && j->password[0] != '\0')
		rc = buf_printf(&out, "password, shown this once: %s\n", j->password);
	if (rc == 0 && !ours)
		rc = buf_printf(&out, "mail for %s is not taken yet: add it to \"domain\" in %s\n",
			strrchr(j->user, '@') + 1, j->conf->file);
	return rc != 0 ? cli_fail_memory(j->cli) : cli_put_text(j->cli, &out);
}

/* Looks before somebody is asked for a password, without a lock that he would hold meanwhile. */
static enum cli_exit
look_first(struct job *j, bool must_be_there)
{
	enum cli_exit code;
	bool there;

	if ((code = user_file_open(j->cli, j->conf, false, &j->file)) != CLI_OK)
		return code;
	there = users_get(j->file.users, j->user) != NULL;
	if (there == must_be_there)
		code = CLI_OK;
	else if (there)
		code = cli_fail(j->cli, CLI_FAILED, "%s is a user already, in %s: \"postern user passwd\" and \"postern "
			"user set\" change one", j->user, j->file.path);
	else
		code = cli_fail(j->cli, CLI_FAILED, "nobody is %s in %s: \"postern user list\" shows who is there",
			j->user, j->file.path);
	user_file_close(&j->file);
	return code;
}

enum { WANTS_OLD = 1, WANTS_PASSWORD = 2, CHANGES_LINE = 4, DELETES = 8 };

/* All that changes one user: look, ask, lock, look again, write. */
static enum cli_exit
change(const struct cli *cli, const char *address, unsigned what, const char *sentence)
{
	static struct job job;
	struct job *j = &job;
	const struct user *old;
	enum cli_exit code;

	*j = (struct job){ .cli = cli };
	if ((code = check_options(cli, (what & CHANGES_LINE) != 0, (what & WANTS_PASSWORD) != 0)) != CLI_OK ||
	    (code = take_address(cli, "an address", address, j->user)) != CLI_OK ||
	    (code = cli_load(cli, &j->conf)) != CLI_OK)
		return code;
	if ((code = look_first(j, (what & WANTS_OLD) != 0)) == CLI_OK && (what & WANTS_PASSWORD) != 0)
		code = user_password_get(cli, j->user, source_of(&cli->user), j->password, j->field);
	if (code == CLI_OK && (code = user_file_open(cli, j->conf, true, &j->file)) == CLI_OK) {
		old = users_get(j->file.users, j->user);
		if ((old != NULL) != ((what & WANTS_OLD) != 0))
			code = cli_fail(cli, CLI_FAILED, "%s was changed by somebody else meanwhile: try again",
				j->file.path);
		else if (what & DELETES)
			code = user_file_put(cli, &j->file, old, NULL);
		else
			code = put(j, old, (what & WANTS_PASSWORD) != 0 ? j->field : NULL);
		if (code == CLI_OK)
			code = say_done(j, (what & (WANTS_OLD | WANTS_PASSWORD)) == (WANTS_OLD | WANTS_PASSWORD) &&
					cli->user.no_password ? "has no password any more" : sentence);
		user_file_close(&j->file);
	}
	conf_free(&j->conf);
	explicit_bzero(j, sizeof *j);
	return code;
}

/* --- the first one ---------------------------------------------------------------------------- */

enum cli_exit
user_first(const struct cli *cli, struct conf *conf, const char *address, char password_out[USER_PASSWORD_MAX])
{
	static struct job job;
	struct job *j = &job;
	enum cli_exit code;

	*j = (struct job){ .cli = cli, .conf = conf };
	password_out[0] = '\0';
	if ((code = take_address(cli, "an address", address, j->user)) != CLI_OK ||
	    (code = user_password_get(cli, j->user, cli->user.from_stdin ? USER_PASSWORD_STDIN
		: cli->user.no_password ? USER_PASSWORD_NONE : USER_PASSWORD_GENERATE, j->password, j->field)) != CLI_OK)
		return code;
	if ((code = user_file_open(cli, conf, true, &j->file)) == CLI_OK) {
		if (users_count(j->file.users) == 0 && (code = put(j, NULL, j->field)) == CLI_OK)
			memcpy(password_out, j->password, sizeof j->password);
		user_file_close(&j->file);
	}
	explicit_bzero(j, sizeof *j);
	return code;
}

/* --- list ------------------------------------------------------------------------------------- */

static json_t *
user_json(const struct user *u)
{
	json_t *forms = json_array(), *aliases = json_array();
	size_t i;

	if (u->credentials.scram.iterations != 0)
		(void)json_array_append_new(forms, json_string("SCRAM-SHA-256"));
	if (u->credentials.yescrypt[0] != '\0')
		(void)json_array_append_new(forms, json_string("yescrypt"));
	for (i = 0; i < u->naliases; i++)
		(void)json_array_append_new(aliases, cli_json_string(u->aliases[i]));
	return json_pack("{s:o, s:o, s:o, s:o}", "user", cli_json_string(u->address), "password", forms, "quota",
		u->quota == 0 ? json_null() : json_integer((json_int_t)u->quota), "aliases", aliases);
}

static enum cli_exit
list_json(const struct cli *cli, const struct user_file *f)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < users_count(f->users); i++)
		if (json_array_append_new(list, user_json(users_at(f->users, i))) != 0) {
			json_decref(list);
			return cli_fail_memory(cli);
		}
	return cli_put_json(cli, json_pack("{s:b, s:o, s:o}", "ok", 1, "file", cli_json_string(f->path), "users",
					 list));
}

static void
put_row(struct cli_table *t, const struct user *u)
{
	struct buf aliases;
	char quota[32];
	size_t i;
	int rc = 0;

	users_quota_print(u->quota, quota);
	buf_init(&aliases, CLI_TEXT_MAX);
	for (i = 0; i < u->naliases && rc == 0; i++)
		rc = buf_printf(&aliases, "%s%s", i > 0 ? ", " : "", u->aliases[i]);
	if (rc == 0)
		rc = buf_append(&aliases, "", 1);
	cli_table_cell(t, u->address);
	cli_table_cell(t, u->credentials.scram.iterations != 0 || u->credentials.yescrypt[0] != '\0' ? "yes" : "no");
	cli_table_cell(t, quota);
	cli_table_cell(t, rc != 0 ? "?" : u->naliases == 0 ? "-" : (const char *)buf_span(&aliases).p);
	buf_fini(&aliases);
}

static enum cli_exit
list_text(const struct cli *cli, const struct user_file *f)
{
	static const struct cli_column columns[] = { { "USER", false }, { "PASSWORD", false }, { "QUOTA", true },
		{ "ALIASES", false } };
	struct cli_table *t = cli_table_new(columns, PT_COUNT(columns));
	enum cli_exit code;
	struct buf out;
	size_t i;

	if (t == NULL)
		return cli_fail_memory(cli);
	for (i = 0; i < users_count(f->users); i++)
		put_row(t, users_at(f->users, i));
	buf_init(&out, USERS_FILE_MAX);
	code = cli_table_print(t, &out) != 0 ? cli_fail_memory(cli) : cli_put_text(cli, &out);
	cli_table_free(&t);
	buf_fini(&out);
	return code;
}

static enum cli_exit
list(const struct cli *cli)
{
	struct user_file f;
	struct conf *conf;
	enum cli_exit code;

	if ((code = check_options(cli, false, false)) != CLI_OK || (code = cli_load(cli, &conf)) != CLI_OK)
		return code;
	if ((code = user_file_open(cli, conf, false, &f)) == CLI_OK) {
		code = cli->json ? list_json(cli, &f) : list_text(cli, &f);
		user_file_close(&f);
	}
	conf_free(&conf);
	return code;
}

/* --- the command ------------------------------------------------------------------------------ */

static const struct act {
	const char *name;
	unsigned what;
	const char *done;
} acts[] = {
	{ "add", WANTS_PASSWORD | CHANGES_LINE, "is a user now" },
	{ "passwd", WANTS_OLD | WANTS_PASSWORD, "has another password now" },
	{ "set", WANTS_OLD | CHANGES_LINE, "is changed" },
	{ "del", WANTS_OLD | DELETES, "is no user any more; the mailbox, if there is one, is not touched" },
};

enum cli_exit
cli_user(const struct cli *cli, int argc, char **argv)
{
	const struct act *a;

	if (argc == 0)
		return cli_fail(cli, CLI_USAGE, "what is to be done is missing: postern user add | list | passwd | set "
			"| del");
	if (strcmp(argv[0], "list") == 0)
		return argc == 1 ? list(cli) : cli_fail(cli, CLI_USAGE, "user list takes no argument");
	for (a = acts; a < acts + PT_COUNT(acts) && strcmp(a->name, argv[0]) != 0; a++)
		;
	if (a == acts + PT_COUNT(acts))
		return cli_fail(cli, CLI_USAGE, "there is no \"user %s\": add, list, passwd, set and del are there",
				argv[0]);
	if (argc != 2)
		return cli_fail(cli, CLI_USAGE, "user %s takes one address: postern user %s NAME@DOMAIN", argv[0],
				argv[0]);
	if ((a->what & CHANGES_LINE) != 0 && (a->what & WANTS_OLD) != 0 && !cli->user.any)
		return cli_fail(cli, CLI_USAGE, "what is to be set is missing: --quota, --alias, --no-alias");
	return change(cli, argv[1], a->what, a->done);
}
