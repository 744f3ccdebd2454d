/* auth/users.c - see users.h: the file's text to users, and two sorted lists to find them by. */
#include "auth/users.h"

#include "auth/lines.h"
#include "util/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 4

/* Addresses and aliases in alphabetical order; equal aliases in the file's. */
struct key {
	const char *address; /* borrowed from the user */
	uint32_t user;
};

struct users {
	struct user *users;
	size_t n, cap;
	struct key *addresses; /* n of them */
	struct key *aliases;
	size_t naliases;
};

/* What a run over the file shares. */
struct reading {
	struct lines lines;
	struct users *u;
};

/* --- fields ----------------------------------------------------------------------------------- */

static int
base64_value(uint8_t c)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c != '\0' ? strchr(letters, c) : NULL;

	return p != NULL ? (int)(p - letters) : -1;
}

/* Octets that canonical base64 (RFC 4648 §3.5, with padding) stands for; SIZE_MAX when it is none. */
static size_t
base64_octets(struct span s)
{
	size_t i, pad = 0;

	if (s.n == 0 || s.n % 4 != 0)
		return SIZE_MAX;
	while (pad < 2 && s.p[s.n - 1 - pad] == '=')
		pad++;
	for (i = 0; i < s.n - pad; i++)
		if (base64_value(s.p[i]) < 0)
			return SIZE_MAX;
	if (pad > 0 && (base64_value(s.p[s.n - 1 - pad]) & (pad == 1 ? 3 : 15)) != 0)
		return SIZE_MAX; /* bits that stand for nothing */
	return s.n / 4 * 3 - pad;
}

static bool
take_base64(struct span s, size_t min, size_t max, char out[USERS_BASE64_MAX])
{
	size_t n = base64_octets(s);

	if (n == SIZE_MAX || n < min || n > max || s.n >= USERS_BASE64_MAX)
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

static const char *
scram_parse(struct span s, struct user_scram *out)
{
	struct span part[4];
	uint64_t iterations;
	size_t i;

	for (i = 0; i < 4; i++)
		part[i] = i < 3 ? lines_cut(&s, ',') : s;
	if (!scan_u64(part[0], &iterations) || iterations < USERS_ITERATIONS_MIN ||
	    iterations > USERS_ITERATIONS_MAX)
		return "{SCRAM-SHA-256} begins with 4096 to 1000000 iterations";
	if (!take_base64(part[1], USERS_SALT_MIN, USERS_SALT_MAX, out->salt))
		return "the salt of {SCRAM-SHA-256} is 8 to 64 octets in base64";
	if (!take_base64(part[2], USERS_KEY_SIZE, USERS_KEY_SIZE, out->stored_key) ||
	    !take_base64(part[3], USERS_KEY_SIZE, USERS_KEY_SIZE, out->server_key))
		return "{SCRAM-SHA-256} ends in StoredKey and ServerKey, each 32 octets in base64";
	out->iterations = (uint32_t)iterations;
	return NULL;
}

/* "$y$", parameters, "$", salt, "$", 43 characters of hash (crypt(5)). */
static const char *
yescrypt_parse(struct span s, char out[USERS_YESCRYPT_MAX])
{
	static const char expected[] = "{yescrypt} is followed by $y$PARAMETERS$SALT$HASH";
	struct span rest = s, part[5];
	size_t i, k;

	if (s.n >= USERS_YESCRYPT_MAX)
		return expected;
	for (i = 0; i < 5; i++)
		part[i] = i < 4 ? lines_cut(&rest, '$') : rest;
	if (part[0].n != 0 || !span_equal(part[1], span_str("y")) || part[2].n == 0 || part[4].n != 43)
		return expected;
	for (i = 2; i < 5; i++)
		for (k = 0; k < part[i].n; k++)
			if (part[i].p[k] != '.' && (base64_value(part[i].p[k]) < 0 || part[i].p[k] == '+'))
				return expected;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return NULL;
}

bool
users_credentials_parse(struct span field, struct user_credentials *c, const char **why)
{
	static const char forms[] = "credentials are - or one or both of {SCRAM-SHA-256} and {yescrypt}";
	struct span name, value;
	const uint8_t *next;

	*c = (struct user_credentials){ .yescrypt = "" };
	*why = field.n == 0 ? forms : NULL;
	while (field.n > 0 && *why == NULL) {
		if (field.p[0] != '{') {
			*why = forms;
			break;
		}
		next = memchr(field.p + 1, '{', field.n - 1);
		value = (struct span){ field.p + 1, next != NULL ? (size_t)(next - field.p) - 1
								 : field.n - 1 };
		field = (struct span){ value.p + value.n, field.n - 1 - value.n };
		name = lines_cut(&value, '}');
		if (span_is_nocase(name, "SCRAM-SHA-256") && c->scram.iterations == 0)
			*why = scram_parse(value, &c->scram);
		else if (span_is_nocase(name, "yescrypt") && c->yescrypt[0] == '\0')
			*why = yescrypt_parse(value, c->yescrypt);
		else
			*why = forms;
	}
	if (*why != NULL)
		explicit_bzero(c, sizeof *c);
	return *why == NULL;
}

static const struct unit {
	char letter;
	unsigned shift;
} units[] = { { 'T', 40 }, { 'G', 30 }, { 'M', 20 }, { 'K', 10 } };

bool
users_quota_parse(struct span field, uint64_t *octets)
{
	unsigned shift = 0;
	uint64_t n;
	size_t i;

	if (span_equal(field, span_str("-"))) {
		*octets = 0;
		return true;
	}
	for (i = 0; i < PT_COUNT(units) && field.n > 0 && shift == 0; i++)
		if ((field.p[field.n - 1] & ~0x20) == units[i].letter)
			shift = units[i].shift;
	if (shift != 0)
		field.n--;
	if (!scan_u64(field, &n) || n == 0 || n > (uint64_t)INT64_MAX >> shift)
		return false;
	*octets = n << shift;
	return true;
}

void
users_quota_print(uint64_t octets, char out[32])
{
	size_t i;

	for (i = 0; i < PT_COUNT(units); i++)
		if (octets != 0 && (octets & ((UINT64_C(1) << units[i].shift) - 1)) == 0) {
			snprintf(out, 32, "%llu%c", (unsigned long long)(octets >> units[i].shift),
				units[i].letter);
			return;
		}
	snprintf(out, 32, octets == 0 ? "-" : "%llu", (unsigned long long)octets);
}

/* --- lines ------------------------------------------------------------------------------------ */

static void
read_aliases(struct reading *r, struct span field, struct user *user)
{
	struct span list = field;
	size_t i, n = 1;
	char *alias;

	if (span_equal(field, span_str("-")))
		return;
	for (i = 0; i < field.n; i++)
		n += field.p[i] == ',';
	if (n > USERS_ALIASES_MAX) {
		lines_mistake(&r->lines, "%zu aliases; expected at most %d", n, USERS_ALIASES_MAX);
		return;
	}
	if ((user->aliases = calloc(n, sizeof *user->aliases)) == NULL) {
		r->lines.rc = PT_ENOMEM;
		return;
	}
	while (n-- > 0) {
		if ((alias = lines_address(&r->lines, lines_cut(&list, ','), "an alias")) == NULL)
			continue;
		for (i = 0; i < user->naliases && strcmp(user->aliases[i], alias) != 0; i++)
			;
		if (i == user->naliases) {
			user->aliases[user->naliases++] = alias;
			continue;
		}
		lines_mistake(&r->lines, "alias %s twice; expected each once", alias);
		free(alias);
	}
}

static struct user *
new_user(struct reading *r)
{
	struct users *u = r->u;
	struct user *more;
	size_t cap;

	if (u->n == USERS_MAX) {
		lines_mistake(&r->lines, "more than %d users; expected at most that many", USERS_MAX);
		return NULL;
	}
	if (u->n == u->cap) {
		cap = u->cap == 0 ? 64 : u->cap * 2;
		/* not realloc: what it leaves behind holds credentials */
		if ((more = calloc(cap, sizeof *more)) == NULL) {
			r->lines.rc = PT_ENOMEM;
			return NULL;
		}
		if (u->n > 0)
			memcpy(more, u->users, u->n * sizeof *more);
		freezero(u->users, u->cap * sizeof *more);
		u->users = more;
		u->cap = cap;
	}
	u->users[u->n] = (struct user){ .line = r->lines.line };
	return &u->users[u->n];
}

static void
read_user(struct reading *r, const struct span *fields, size_t n)
{
	struct user *user;
	const char *why;

	if ((user = new_user(r)) == NULL)
		return;
	if ((user->address = lines_address(&r->lines, fields[0], "an address")) == NULL)
		return;
	r->u->n++; /* from here on it is freed with the others */
	if (!span_equal(fields[1], span_str("-")) &&
	    !users_credentials_parse(fields[1], &user->credentials, &why))
		lines_mistake(&r->lines, "%s", why);
	if (n > 2 && !users_quota_parse(fields[2], &user->quota))
		lines_mistake(&r->lines, "this is not a quota; expected - or a number with K, M, G or T");
	if (n > 3)
		read_aliases(r, fields[3], user);
}

static void
read_lines(struct reading *r)
{
	struct span fields[FIELDS_MAX];
	size_t n;

	while ((n = lines_next(&r->lines, fields, FIELDS_MAX)) > 0)
		if (n == 1)
			lines_mistake(&r->lines, "no credentials behind the address; expected - for a user "
				"without a password");
		else if (n > FIELDS_MAX)
			lines_mistake(&r->lines, "more than four fields; expected address, credentials, quota, "
				"and aliases with commas and no blanks between them");
		else
			read_user(r, fields, n);
}

/* --- both lists ------------------------------------------------------------------------------- */

static int
compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	int c = strcmp(x->address, y->address);

	return c != 0 ? c : x->user < y->user ? -1 : x->user > y->user;
}

/* First place whose address is not before this one. */
static size_t
lower_bound(const struct key *keys, size_t n, const char *address)
{
	size_t lo = 0, hi = n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (strcmp(keys[mid].address, address) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int
make_lists(struct users *u)
{
	size_t i, k, n = 0;

	for (i = 0; i < u->n; i++)
		u->naliases += u->users[i].naliases;
	u->addresses = calloc(u->n + 1, sizeof *u->addresses);
	u->aliases = calloc(u->naliases + 1, sizeof *u->aliases);
	if (u->addresses == NULL || u->aliases == NULL)
		return PT_ENOMEM;
	for (i = 0; i < u->n; i++) {
		u->addresses[i] = (struct key){ u->users[i].address, (uint32_t)i };
		for (k = 0; k < u->users[i].naliases; k++)
			u->aliases[n++] = (struct key){ u->users[i].aliases[k], (uint32_t)i };
	}
	qsort(u->addresses, u->n, sizeof *u->addresses, compare_keys);
	qsort(u->aliases, u->naliases, sizeof *u->aliases, compare_keys);
	return 0;
}

/* What can only be seen when all lines are read. */
static void
check_lists(struct reading *r)
{
	const struct users *u = r->u;
	const struct user *user;
	size_t i, run = 1;

	for (i = 1; i < u->n; i++) {
		if (strcmp(u->addresses[i - 1].address, u->addresses[i].address) != 0)
			continue;
		r->lines.line = u->users[u->addresses[i].user].line;
		lines_mistake(&r->lines, "user %s again; expected one line for each, and line %u has it",
			u->addresses[i].address, u->users[u->addresses[i - 1].user].line);
	}
	for (i = 0; i < u->naliases; i++) {
		run = i > 0 && strcmp(u->aliases[i - 1].address, u->aliases[i].address) == 0 ? run + 1 : 1;
		r->lines.line = u->users[u->aliases[i].user].line;
		if (run == USERS_ALIAS_USERS_MAX + 1)
			lines_mistake(&r->lines, "more than %d users have the alias %s; expected at most that many",
				USERS_ALIAS_USERS_MAX, u->aliases[i].address);
		if ((user = users_get(u, u->aliases[i].address)) != NULL)
			lines_mistake(&r->lines, "alias %s is the address of the user in line %u; expected another",
				user->address, user->line);
	}
}

int
users_parse(const char *name, struct span text, struct users **users_out, struct buf *mistakes)
{
	struct reading r;
	int rc;

	*users_out = NULL;
	if ((r.u = calloc(1, sizeof *r.u)) == NULL)
		return PT_ENOMEM;
	lines_init(&r.lines, name, text, USERS_FILE_MAX, mistakes);
	read_lines(&r);
	if (r.lines.rc == 0 && (r.lines.rc = make_lists(r.u)) == 0)
		check_lists(&r);
	if ((rc = lines_end(&r.lines)) != 0)
		users_free(&r.u);
	*users_out = r.u;
	return rc;
}

void
users_free(struct users **up)
{
	struct users *u = *up;
	size_t i, k;

	if (u == NULL)
		return;
	for (i = 0; i < u->n; i++) {
		for (k = 0; k < u->users[i].naliases; k++)
			free(u->users[i].aliases[k]);
		free(u->users[i].aliases);
		free(u->users[i].address);
	}
	freezero(u->users, u->cap * sizeof *u->users);
	free(u->addresses);
	free(u->aliases);
	free(u);
	*up = NULL;
}

size_t
users_count(const struct users *u)
{
	return u->n;
}

const struct user *
users_at(const struct users *u, size_t i)
{
	return &u->users[i];
}

const struct user *
users_get(const struct users *u, const char *address)
{
	size_t i = lower_bound(u->addresses, u->n, address);

	return i < u->n && strcmp(u->addresses[i].address, address) == 0
		? &u->users[u->addresses[i].user] : NULL;
}

size_t
users_by_alias(const struct users *u, const char *alias, const struct user *out[USERS_ALIAS_USERS_MAX])
{
	size_t i = lower_bound(u->aliases, u->naliases, alias), n = 0;

	for (; i < u->naliases && n < USERS_ALIAS_USERS_MAX &&
	       strcmp(u->aliases[i].address, alias) == 0; i++)
		out[n++] = &u->users[u->aliases[i].user];
	return n;
}

bool
users_credentials_equal(const struct user_credentials *a, const struct user_credentials *b)
{
	const struct user_scram *x = &a->scram, *y = &b->scram;

	return x->iterations == y->iterations && strcmp(a->yescrypt, b->yescrypt) == 0 &&
	       (x->iterations == 0 || (strcmp(x->salt, y->salt) == 0 && strcmp(x->stored_key, y->stored_key) == 0 &&
				       strcmp(x->server_key, y->server_key) == 0));
}

enum users_change
users_compare(const struct user *was, const struct users *now)
{
	const struct user *is = users_get(now, was->address);

	if (is == NULL)
		return USERS_GONE;
	return users_credentials_equal(&was->credentials, &is->credentials) ? USERS_SAME : USERS_PASSWORD;
}
