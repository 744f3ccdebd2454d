/* store/admin_question.c - which questions there are, and what they need: for who asks as for who answers. */
#include "store/admin.h"

#include "store/maildir.h"

#include <string.h>

static const struct {
	const char *name;
	bool changes;
	bool user, box; /* needed */
} kinds[ADMIN_WHATS] = {
	[ADMIN_USERS] = { "users", false, false, false },
	[ADMIN_BOXES] = { "mailboxes", false, true, false },
	[ADMIN_REINDEX] = { "reindex", true, true, true },
	[ADMIN_CHECK] = { "check", false, true, true },
	[ADMIN_CHECK_STORE] = { "check-store", false, false, false },
	[ADMIN_STAT] = { "stat", false, true, true },
	[ADMIN_STAT_STORE] = { "stat-store", false, false, false },
	[ADMIN_CHECK_USER] = { "check-user", false, true, false },
};

bool
admin_changes(enum admin_what what, bool repair)
{
	return repair || kinds[what].changes;
}

const char *
admin_name(unsigned what)
{
	return what < ADMIN_WHATS ? kinds[what].name : NULL;
}

enum admin_what
admin_find(const char *name)
{
	unsigned i;

	for (i = 0; i < ADMIN_WHATS && strcmp(kinds[i].name, name) != 0; i++)
		continue;
	return (enum admin_what)i;
}

const char *
admin_question_make(struct admin_question *q, unsigned what, bool repair, struct span user, struct span box)
{
	if (what >= ADMIN_WHATS)
		return "there is no such question";
	*q = (struct admin_question){ .what = (enum admin_what)what, .repair = repair };
	if ((kinds[what].user && user.n == 0) || (kinds[what].box && box.n == 0))
		return "the question is not whole";
	if (user.n > 0 && !maildir_user_ok(user))
		return "no user can have that name";
	if (box.n > 0 && !maildir_key(box, q->key))
		return "no mailbox can have that name";
	memcpy(q->user, user.p, user.n);
	return NULL;
}
