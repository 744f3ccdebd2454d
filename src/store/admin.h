/* store/admin.h - what an operator asks of the store, and the store does: one question at a time, answered by rows
 * (store/row.h) and an end. The same for the process that serves and for a command that has the store to itself.
 *
 * Questions are small: of all users a page, of a user his mailboxes, and then one mailbox each, so that who asks sets the pace, can
 * stop at any time, and nothing has to be kept for him. Reading waits for disks in helper threads. */
#ifndef STORE_ADMIN_H
#define STORE_ADMIN_H

#include "store/mailbox.h"

enum admin_what {
	ADMIN_USERS,   /* of the mail folder, in order, behind `user`: rows of "user"; ADMIN_PAGE at most */
	ADMIN_BOXES,   /* of a user, in order, behind `key`: rows of "mailbox"; ADMIN_PAGE at most */
	ADMIN_REINDEX, /* of a mailbox: one row */
	ADMIN_CHECK,   /* of a mailbox: a row for each finding ("kind"), and one at the end ("found") */
	ADMIN_CHECK_STORE, /* the same of what belongs to nobody, and of the queue */
	ADMIN_STAT,    /* of a mailbox: one row */
	ADMIN_STAT_STORE, /* of the store: one row */
	ADMIN_CHECK_USER, /* the same as of a mailbox, of what belongs to a user as a whole */
	ADMIN_WHATS
};

#define ADMIN_PAGE 500

struct admin_question {
	enum admin_what what;
	bool repair;
	char user[STORE_USER_MAX + 1];
	char key[STORE_BOX_MAX + 1];
	uint64_t clients; /* ADMIN_STAT_STORE: that who answers has; the row says it */
};

/* text: for people, "" when there is nothing to add. Neither is kept. */
typedef void admin_row_f(void *arg, struct span row);
typedef void admin_end_f(void *arg, enum store_rc rc, const char *text);

/* Whether the question may only be asked by who may change things. */
bool admin_changes(enum admin_what what, bool repair);

/* "users", "reindex", ...; NULL: there is no such question. And the way back: ADMIN_WHATS. Static storage. */
const char *admin_name(unsigned what);
enum admin_what admin_find(const char *name);

/* Takes names as they come from outside: a user's address, a mailbox's name in UTF-8 (empty: none). NULL, or what is wrong with them. Static storage. */
const char *admin_question_make(struct admin_question *q, unsigned what, bool repair, struct span user, struct span box);

/* Calls row any number of times, then end, once; both perhaps before it returns. */
void admin_ask(struct mailboxes *mbs, const struct admin_question *q, admin_row_f *row, admin_end_f *end, void *arg);

#endif
