/* tests/crash/model.h - what the users of crash_client.c know: the mailboxes, messages and keys that must be there,
 * and what each request changes in that. Pure: talks to nobody.
 *
 * Every user has mailboxes of its own, and a part in mailboxes that all users of all processes share: there each
 * one changes its own messages only, so that what must be there is still known, whatever order requests came in. */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include "store/store_types.h"

#include <stdbool.h>
#include <stdint.h>

#define OWN 10            /* mailboxes of a user's own, INBOX first; they are renamed into each other */
#define SHARED 6          /* INBOX and one more of three users whom everybody writes to */
#define BOXES (OWN + SHARED)
#define OUTSIDE (OWN + 4) /* from here on: mailboxes that another program changes, too */
#define OUTSIDER 0xff     /* the user whose messages that program brings */
#define MESSAGES 8        /* of a mailbox: above it only what makes it smaller is done */
#define MESSAGES_SHARED 2
#define PICKED 4
#define RECIPIENTS 4
#define KEYS 4
#define KEYWORDS 3
#define BODY_LARGE (160 * 1024) /* beyond STORE_BODY_MAX: through a file */

/* INBOX; Archive, Lists, Old, each with two below it: a rename takes those along. */
extern const char *const model_box_names[BOXES];
extern const char *const model_spaces[KEYS];
extern const char *const model_keywords[KEYWORDS];

struct message {
	uint64_t id;   /* its user << 32 | number; its octets follow from id and size */
	uint32_t size;
	uint32_t uid;   /* 0: not known yet; then it stands behind those that are */
	uint32_t flags; /* bit 6 + n: model_keywords[n] */
};

struct box {
	uint8_t exists, subscribed;
	uint32_t n;
	uint32_t uidvalidity, uidnext; /* 0: not known yet */
	uint64_t modseq;
	struct message m[MESSAGES + PICKED];
};

struct key {
	uint64_t value;   /* 0: not there; its octets follow from it and size */
	uint32_t size;
	uint64_t version; /* 0: not known yet */
	int64_t lo, hi;   /* it is forgotten not before, and at the latest; 0: never */
};

enum kind {
	NOTHING, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, ADD, FLAGS, EXPUNGE, COPY, MOVE, PUT,
	MIXED /* ADD, PUT and SUBSCRIBE */
};

struct op {
	enum kind kind;
	enum store_rc other;  /* an answer that is right, too, and means that nothing was done; STORE_OK: none */
	bool never;           /* and STORE_OK is not */
	uint64_t id;          /* of the message or value; the transaction's id is made of it */
	uint32_t box, to;     /* COPY, MOVE, RENAME: from, to */
	uint32_t size, flags;
	bool has_flags;
	enum store_flag_op flag_op;
	uint64_t unchangedsince;
	uint32_t nuids, uids[PICKED];
	uint32_t nboxes, boxes[RECIPIENTS]; /* ADD, MIXED */
	uint32_t key, value_size, ttl;
	uint64_t expect;
	bool gone;            /* PUT: away with it */
	int64_t sent;
};

struct state {
	struct box box[BOXES];
	struct key key[KEYS];
	struct op op; /* on its way */
	uint32_t last_validity;
	uint64_t acked, next_id;
};

/* The octets of a message, of a value (size: at least 17 octets; out has one more, for a NUL). */
void model_body(uint64_t id, uint32_t size, uint8_t *out);
void model_value(uint64_t value, uint32_t size, char *out);

/* What is chosen next, by a generator that is given. restless: mailboxes come, go and get other names, and messages move between them, twice as
 * often as people do that. */
extern bool model_restless;
typedef uint64_t model_random(void);
void model_choose(const struct state *s, model_random *rnd, int64_t now, struct op *op_out);

/* What a request that was done does; not later than now. */
void model_apply(struct state *s, const struct op *op, int64_t now);

/* Whether what was found is what must be there. why_out says in a few words why not. */
bool model_matches(const struct state *is, const struct state *want, int64_t now, const char **why_out);

/* Where the mailbox `box` is after from was renamed to to; box itself if that does not concern it; -1: such a name is not ours. */
int model_renamed(uint32_t box, uint32_t from, uint32_t to);

#endif
