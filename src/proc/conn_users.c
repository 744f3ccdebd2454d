/* proc/conn_users.c - sessions that exist, when their user is none any more or has another password: auth tells whom it
 * is about, and whatever session rests on that ends with its protocol's goodbye. A session rests on a user by the
 * certificate that maps to him, by the login that is in force, and by the password that it was made with. */
#include "proc/conn_impl.h"

#include "proc/conn_mail_impl.h"
#include "proc/worker.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX (AUTH_OUSTED_MAX / 2) /* each has a letter and its NUL at least */

struct names {
	enum auth_change what;
	const char *list[NAMES_MAX]; /* sorted */
	size_t n;
};

static int
compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool
has(const struct names *names, const char *user)
{
	return user != NULL && bsearch(&user, names->list, names->n, sizeof names->list[0], compare) != NULL;
}

static bool
rests_on(const struct conn *c, const struct names *names)
{
	if (names->what == AUTH_CHANGE_PASSWORD)
		return c->mail != NULL && has(names, c->mail->by);
	return has(names, c->secure->identity) ||
	       (c->mail != NULL && (has(names, c->mail->login) || has(names, c->mail->by)));
}

static void
say_goodbye(struct conn *c)
{
	bool gone = c->ousted == CONN_OUSTED_GONE;

	COUNT(c, ousted, 1);
	conn_fault(c, gone ? REC_CAUSE_USER_GONE : REC_CAUSE_PASSWORD_CHANGED);
	engine_bye(c->engine, gone ? ENGINE_BYE_USER : ENGINE_BYE_PASSWORD);
	c->ousted = CONN_OUSTED_NOT;
}

void
conn_users_late(struct conn *c)
{
	if (c->ousted != CONN_OUSTED_NOT)
		say_goodbye(c);
}

void
conn_users_ousted(void *arg, enum auth_change what, struct span users)
{
	static struct names names; /* too large for a stack; one change at a time */
	struct worker *w = arg;
	struct conn *c, *next;

	names = (struct names){ .what = what };
	while (users.n > 0 && names.n < NAMES_MAX)
		names.list[names.n++] = auth_wire_take_name(&users);
	qsort(names.list, names.n, sizeof names.list[0], compare);
	for (c = TAILQ_FIRST(&w->conns); c != NULL; c = next) {
		next = conn_next(c);
		if (c->secure == NULL || c->engine == NULL || !rests_on(c, &names))
			continue;
		c->ousted = what == AUTH_CHANGE_GONE ? CONN_OUSTED_GONE : CONN_OUSTED_PASSWORD;
		if (c->at.state != CONN_SECURE)
			continue; /* in a renegotiation, at whose end it is told; or on its way out */
		say_goodbye(c);
		conn_wake(c);
	}
}
