/* proto/ask.h - what an engine of a mail protocol asks its caller, and what it tells for the log.
 *
 * An engine decides nothing that needs another process: whether a recipient exists, whether a login is
 * good, whether a sender may be used, where a message goes. It gives out ENGINE_EV_ASK with one question
 * and parks: it takes no input until engine_reply() has answered. Octets of a message do not go through
 * questions: the answer to ASK_BODY brings a sink, and they go straight from the caller's buffer into it.
 *
 * All spans and strings of a question are borrowed from the engine until the answer or until
 * ENGINE_EV_CLOSE, which withdraws it. All of an answer is borrowed until engine_reply() returns, but
 * the sink, which stays until it is dropped or ASK_COMMIT is given out. */
#ifndef PROTO_ASK_H
#define PROTO_ASK_H

#include "util/span.h"

#define ASK_ID_MAX 40 /* octets of a message's id without the NUL: letters, digits, '-' and '.' */

enum ask_kind {
	ASK_IDENTITY,  /* is address, whom the client's certificate maps to, one of our users? */
	ASK_RECIPIENT, /* does address exist here? */
	ASK_SENDER,    /* may user send as address (MAIL FROM, or an address of the From field)? */
	ASK_SASL,      /* one step of a login */
	ASK_BODY,      /* a message begins: where do its octets go? */
	ASK_COMMIT,    /* the message is complete in the sink: is it kept? The sink is the caller's now */
	ASK_KIND_COUNT
};

enum ask_result {
	ASK_OK,
	ASK_MORE,      /* of ASK_SASL: text is a challenge */
	ASK_TEMP,      /* who should know cannot be asked at present */
	ASK_UNKNOWN,   /* of ASK_IDENTITY, ASK_RECIPIENT, ASK_COMMIT: no such user in a domain of ours */
	ASK_ELSEWHERE, /* of ASK_RECIPIENT: not a domain of ours */
	ASK_DENIED,    /* of ASK_SENDER, ASK_SASL: no */
	ASK_OTHER,     /* of ASK_SASL: who it is is proved, but not that he may be the one that he wants to be */
	ASK_LIMITED,   /* of ASK_SASL: too many have failed lately, so this one was not looked at */
	ASK_MALFORMED, /* of ASK_SASL: not what the mechanism says */
	ASK_OVERQUOTA, /* of ASK_RECIPIENT, ASK_COMMIT: the user's mailbox is full */
	ASK_FULL,      /* of ASK_BODY, ASK_COMMIT: the server has no room */
	ASK_RESULT_COUNT
};

/* Where the octets of one message go. A sink that fails (no space, no memory) keeps taking octets and
 * says so when ASK_COMMIT is answered. */
struct ask_sink_ops {
	/* How many octets it takes now: 0 or at least ASK_SINK_ROOM_MIN. After 0 the caller, who knows
	 * when there is room again, offers the engine its input again. */
	size_t (*room)(void *arg);
	/* Takes n octets, n <= what room() said last. */
	void (*put)(void *arg, const uint8_t *p, size_t n);
	/* The message is given up: nothing of it is kept. The last call. */
	void (*drop)(void *arg);
};

#define ASK_SINK_ROOM_MIN 8192 /* all that an engine adds to a message fits, and input behind it */

struct ask_sink {
	const struct ask_sink_ops *ops;
	void *arg;
};

/* From whom and for whom a message is. */
struct ask_envelope {
	struct span sender;            /* canonical (mail/mail_addr.h), empty for the null sender */
	const struct span *recipients; /* canonical, as they were accepted, in order */
	size_t nrecipients;
	uint64_t declared;             /* octets, as SIZE said; 0: it did not */
	bool each; /* LMTP: the result is told recipient by recipient; else it is one for all */
	bool utf8; /* SMTPUTF8 */
};

struct ask {
	enum ask_kind kind;
	struct span address;   /* of ASK_IDENTITY, ASK_RECIPIENT (also "postmaster" alone) and ASK_SENDER */
	const char *user;      /* who is logged in; NULL: nobody */
	const char *mechanism; /* of ASK_SASL: "EXTERNAL"; NULL: the exchange goes on */
	struct span data;      /* of ASK_SASL: what the client sent, decoded; wiped after the answer */
	/* of ASK_BODY and ASK_COMMIT; of ASK_RECIPIENT with those that were taken before: none in a new one */
	const struct ask_envelope *envelope;
	uint64_t octets;       /* of ASK_COMMIT: that went into the sink */
};

struct ask_reply {
	enum ask_result result;
	/* ASK_SASL: with ASK_MORE the challenge, with ASK_OK what the mechanism tells with success.
	 * ASK_SENDER with ASK_DENIED: the addresses that may be used, for people; may be empty. */
	struct span text;
	/* ASK_IDENTITY, ASK_SASL with ASK_OK: who that is, canonical. ASK_SASL refused: the user of ours who was named, for the
	 * note about it alone; or NULL */
	const char *user;
	/* ASK_BODY with ASK_OK: */
	struct ask_sink sink;
	const char *id; /* unique for ever */
	int64_t now_s;  /* seconds since 1970, UTC */
	/* ASK_COMMIT: one for each recipient, in order; NULL: result is that of all */
	const enum ask_result *each;
};

/* What an engine tells for the log; given out as ENGINE_EV_NOTE, borrowed until the next call that takes
 * the engine, but engine_event(). What it came to is in reply, as the peer was told. */
enum note_kind {
	NOTE_MESSAGE,   /* accepted: all of the envelope; with each, results may differ */
	NOTE_DISCARDED, /* a message was refused, given up or cut off after it had begun */
	NOTE_LOGIN,     /* user is logged in by mechanism */
	NOTE_LOGIN_FAILED,
	NOTE_SENDER_REFUSED,
	NOTE_RECIPIENT_REFUSED,
	NOTE_EARLY_TALKER,
	NOTE_KIND_COUNT
};

struct note {
	enum note_kind kind;
	struct span reply;  /* without CRLF; empty where nothing was said */
	struct span address; /* of the refusals: as it was typed or canonical; not to be trusted. Of NOTE_LOGIN_FAILED: the
			      * user of ours who was named, or empty */
	const char *user;
	const char *mechanism;
	const char *id; /* of a message; NULL: it was refused before it had one */
	const struct ask_envelope *envelope;
	const enum ask_result *results; /* of NOTE_MESSAGE: one for each recipient */
	uint64_t octets;
};

/* Stable words for the log: "recipient", "over-quota", "login-failed". Static storage. */
const char *ask_kind_name(enum ask_kind kind);
const char *ask_result_name(enum ask_result result);
const char *note_kind_name(enum note_kind kind);

#endif
