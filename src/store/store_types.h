/* store/store_types.h - the words that the store and its clients share: results, limits, flags, mailboxes. */
#ifndef STORE_STORE_TYPES_H
#define STORE_STORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What became of a request, and what a protocol answers. */
#define STORE_RCS(X)                                                                               \
	/*                              SMTP        IMAP                  */                       \
	X(OK, "done")                /* 250         OK                    */                       \
	X(TEMP, "temporary failure") /* 451 4.3.0   NO [UNAVAILABLE]      */                       \
	X(FULL, "no space on the disk") /* 452 4.3.1 NO [UNAVAILABLE]     */                       \
	X(OVERQUOTA, "over quota")   /* 552 5.2.2   NO [OVERQUOTA]        */                       \
	X(CONFLICT, "changed meanwhile") /* -       NO [MODIFIED]         */                       \
	X(NOTFOUND, "does not exist") /* 550 5.1.1  NO [NONEXISTENT]      */                       \
	X(EXISTS, "exists already")  /* -           NO [ALREADYEXISTS]    */                       \
	X(DENIED, "not permitted")   /* 550 5.7.1   NO [NOPERM]           */                       \
	X(INVALID, "invalid request") /* 554 5.3.0  BAD                   */                       \
	X(UNKNOWN, "outcome unknown") /* sent, not answered: only at the end of a process */

enum store_rc {
#define STORE_RC_ENUM(name, text) STORE_##name,
	STORE_RCS(STORE_RC_ENUM)
#undef STORE_RC_ENUM
	STORE_RC_COUNT
};

/* "over quota". Static storage. */
const char *store_rc_text(unsigned rc);

#define STORE_BODY_MAX (32 * 1024)          /* octets of a body that goes through the journal */
#define STORE_MESSAGE_MAX (1024ull << 20)   /* octets of a message; services have lower limits */
#define STORE_USER_MAX 254                  /* octets of a user's name: an address (RFC 5321 §4.5.3.1.3) */
#define STORE_NO_QUOTA UINT64_MAX           /* of one message: it is taken whatever the mailbox holds, and changes no limit */
#define STORE_BOX_MAX 240                   /* octets of a mailbox's name on disk, in modified UTF-7 */
#define STORE_KEYWORD_MAX 64                /* octets of a keyword */
#define STORE_KEYWORDS_MAX 26               /* keywords of a mailbox: Maildir has the letters a to z */
#define STORE_TXN_OPS_MAX 2000              /* parts of a transaction */
#define STORE_TXN_OCTETS_MAX (4u << 20)     /* octets of its bodies that are not in files, and of its text */
#define STORE_SPACE_MAX 32                  /* octets of the name of a key space: lower case, digits, '-' */
#define STORE_KEY_MAX 512                   /* octets of a key */
#define STORE_VALUE_MAX (15u * 1024)        /* octets of a value */
#define STORE_TTL_MAX_S (10u * 366 * 86400) /* seconds that a key may live, if not for ever */
#define STORE_RCPTS_MAX 1000                /* recipients of a message in the queue */
#define STORE_ADDRESS_MAX 254               /* octets of a sender or recipient there (RFC 5321 §4.5.3.1.3) */
#define STORE_PARAMS_MAX 1024               /* octets of what a transport wants to know of one of them */
#define STORE_SERVICE_MAX 64                /* octets of a service's name */
#define STORE_OUTCOME_MAX 512               /* octets of what the other side said (RFC 5321 §4.5.3.1.5) */
#define STORE_CLAIM_MAX 64                  /* messages of one claim */
#define STORE_LEASE_MAX_S 3600              /* seconds that a claim is good for */
#define STORE_ANY_VERSION UINT64_MAX

/* System flags; bit 6 + n is keyword n. */
#define STORE_SEEN (1u << 0)
#define STORE_ANSWERED (1u << 1)
#define STORE_FLAGGED (1u << 2)
#define STORE_DELETED (1u << 3)
#define STORE_DRAFT (1u << 4)
#define STORE_FORWARDED (1u << 5) /* $Forwarded, Maildir's P */
#define STORE_KEYWORD(n) (1u << (6 + (n)))

/* Flags by name: a mailbox gives a keyword its bit when it first sees it. Borrowed. */
struct store_flags {
	uint32_t system;             /* STORE_SEEN to STORE_FORWARDED */
	const char *const *keywords; /* atoms (RFC 3501 §9), case as the first use wrote it */
	size_t nkeywords;
};

enum store_flag_op { STORE_FLAGS_SET, STORE_FLAGS_ADD, STORE_FLAGS_REMOVE };

/* A recipient of a message in the queue; the letter is the one of its line. */
#define STORE_RCPT_STATES(X)                                                                       \
	X(WAITING, 'w')   /* for an attempt, at a time */                                          \
	X(DELIVERED, 'd')                                                                          \
	X(FAILED, 'f')    /* for good */                                                           \
	X(EXPIRED, 'x')   /* too long */

enum store_rcpt_state {
#define STORE_RCPT_ENUM(name, letter) STORE_RCPT_##name,
	STORE_RCPT_STATES(STORE_RCPT_ENUM)
#undef STORE_RCPT_ENUM
	STORE_RCPT_STATE_COUNT
};

enum store_box_op {
	STORE_BOX_CREATE,
	STORE_BOX_DELETE,
	STORE_BOX_RENAME,
	STORE_BOX_SUBSCRIBE,
	STORE_BOX_UNSUBSCRIBE
};

/* A message of a view. */
struct store_msg {
	uint32_t uid;
	uint32_t flags;
	uint64_t modseq;
	uint64_t size; /* octets, with CRLF */
	int64_t date;  /* internal date, seconds since 1970 */
	uint64_t line; /* private: where its line is in the log */
	uint64_t guid[2]; /* private: store_view_guid() */
	uint8_t where; /* private: INDEX_NEW, INDEX_LF */
};

enum store_change_kind {
	STORE_CHANGE_EXISTS,   /* the message uid is there (at the end) */
	STORE_CHANGE_FLAGS,    /* its flags, at sequence number seq */
	STORE_CHANGE_VANISHED, /* it is gone; seq is the number it had until now */
	STORE_CHANGE_GONE      /* the mailbox is deleted or renamed, or has another UIDVALIDITY: close it */
};

struct store_change {
	enum store_change_kind kind;
	uint32_t seq;
	uint32_t uid;
};

struct store_status {
	uint32_t uidvalidity;
	uint32_t uidnext;
	uint32_t messages;
	uint32_t unseen;
	uint32_t recent; /* never seen by anyone: Maildir's new/ */
	uint32_t deleted;
	uint64_t octets;
	uint64_t modseq;
	char id[33]; /* mailbox id (RFC 8474), 32 hexadecimal digits */
};

struct store_box {
	const char *name; /* UTF-8 */
	bool exists;      /* false: only subscribed to */
	bool subscribed;
	struct store_status status;
};

#endif
