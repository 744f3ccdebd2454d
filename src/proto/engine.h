/* proto/engine.h - the shape that every protocol engine has.
 *
 * An engine is one session of one protocol without any I/O: octets in, octets and events out. It
 * knows no socket, clock, file or TLS library; the caller (a worker, or a test with a fake clock)
 * owns those. One engine lives for exactly one session: after a TLS handshake, and after a return
 * to plaintext, the caller frees it and makes a new one, so that nothing learnt before can be
 * remembered after (RFC 3207 §4.2, RFC 9051 §6.2.1). Not thread safe. */
#ifndef PROTO_ENGINE_H
#define PROTO_ENGINE_H

#include "util/span.h"

struct ask;       /* proto/ask.h: the questions of the mail protocols, */
struct ask_reply; /* their answers, */
struct note;      /* and what they tell for the log */
struct smtp_conf; /* proto/smtp/smtp_engine.h */

/* How a session begins. */
enum engine_start {
	ENGINE_GREET,     /* a new connection: greet */
	ENGINE_UPGRADED,  /* TLS has just come up by STARTTLS: say what the protocol says then */
	ENGINE_RESTARTED, /* back in plaintext after close_notify: say nothing until asked */
};

/* Whether this session may be upgraded. */
enum engine_offer {
	ENGINE_OFFER_NONE,     /* STARTTLS is not offered: TLS is up already, or never will be */
	ENGINE_OFFER_STARTTLS, /* offered, not needed */
	ENGINE_OFFER_REQUIRED, /* offered, and nothing else works before it */
};

struct exec_conf;

/* What is the same for all sessions of a service. Borrowed by each engine, outlives it. */
struct engine_conf {
	const char *hostname;
	const char *service;      /* the service's name in the configuration */
	uint32_t idle_timeout_ms; /* without a complete command; 0: no limit */
	const struct smtp_conf *smtp; /* of smtp, submission and lmtp; NULL elsewhere */
	const struct exec_conf *exec; /* proto/exec/exec_engine.h; of exec services, NULL elsewhere */
};

/* What the caller knows about this session. Borrowed, outlives the engine. Strings are printable
 * UTF-8 without control characters, NULL where there is nothing to tell. */
struct engine_peer {
	bool tls;                /* the rest means something only then */
	bool resumed;
	const char *tls_version; /* "TLS1.3" */
	const char *tls_cipher;  /* "AES-128-GCM" */
	const char *tls_group;   /* "X25519" */
	const char *verdict;     /* of the client certificate: "none", "trusted", "expired", ... */
	const char *subject;     /* distinguished name, RFC 4514 */
	const char *const *sans; /* "email:alice@example.org", "dns:...", "uri:..." */
	size_t nsans;
	const char *identity;    /* the user that the certificate maps to */
	const char *tls_suite;   /* as IANA names it: "TLS_AES_128_GCM_SHA256" */
	bool binds;              /* SASL: channel binding can be had */
	const char *address;     /* also in plaintext: "192.0.2.1", "2001:db8::1"; NULL: a unix socket */
};

/* Why the caller ends a session; each protocol has its own words for it. */
enum engine_bye {
	ENGINE_BYE_SHUTDOWN,      /* the server stops or drains */
	ENGINE_BYE_LIMIT_TOTAL,   /* too many connections at this server */
	ENGINE_BYE_LIMIT_ADDRESS, /* too many connections from this address */
	/* from here on: who is there may not stay, and gets nothing more */
	ENGINE_BYE_CERTIFICATE,   /* the session's client certificate is not trusted any more */
	ENGINE_BYE_USER,          /* the session's user is none any more */
	ENGINE_BYE_PASSWORD,      /* the password that the session was logged in with was changed */
	ENGINE_BYE_COUNT
};

/* Why an engine wants the connection closed; for the log and the counters. */
#define ENGINE_CLOSES(X)                                                                           \
	X(QUIT, "quit")                                                                            \
	X(IDLE, "idle timeout")                                                                    \
	X(ERRORS, "too many errors")                                                               \
	X(LINE_TOO_LONG, "line too long")                                                          \
	X(INJECTION, "octets behind STARTTLS")                                                     \
	X(BYE, "ended by the server")                                                              \
	X(END_OF_INPUT, "end of input")                                                            \
	X(EARLY_TALKER, "spoke before the greeting")                                               \
	X(LOGINS, "too many failed logins")                                                        \
	X(TOO_MUCH, "more than its limits allow")                                                  \
	X(SLOW, "message too slow")                                                                \
	X(LOGIN, "no login")                                                                       \
	X(PROGRAM, "the program ended")                                                            \
	X(NO_PROGRAM, "no program could be started")                                                            \
	X(NO_MEMORY, "out of memory")

enum engine_close {
#define ENGINE_CLOSE_ENUM(name, text) ENGINE_CLOSE_##name,
	ENGINE_CLOSES(ENGINE_CLOSE_ENUM)
#undef ENGINE_CLOSE_ENUM
	ENGINE_CLOSE_COUNT
};

/* Static text of a reason, as above. */
const char *engine_close_text(enum engine_close why);

enum engine_event_type {
	ENGINE_EV_START_TLS, /* the peer asked for TLS: answer with engine_answer(); OK: the
			      * go-ahead is the last of the output, and after it the handshake
			      * begins. Until the answer, and after OK for ever, the engine takes no
			      * input. */
	ENGINE_EV_INJECTION, /* octets stood behind STARTTLS (CVE-2011-0411): for the counters;
			      * needs no answer; the one reply and ENGINE_EV_CLOSE follow */
	ENGINE_EV_CLOSE,     /* send the output, then close; the engine takes no more input */
	ENGINE_EV_ASK,       /* a question: answer with engine_reply(); no input is taken before */
	ENGINE_EV_NOTE,      /* something for the log; needs no answer */
	ENGINE_EV_START_PROGRAM, /* start the service's program for this session: engine_program_started() or
				  * engine_program_refused() is the answer */
	ENGINE_EV_END_PROGRAM_INPUT, /* all of engine_to_program() is taken, and no more will come */
};

struct engine_event {
	enum engine_event_type type;
	enum engine_close why; /* of ENGINE_EV_CLOSE */
	const struct ask *ask;   /* of ENGINE_EV_ASK: borrowed until the answer */
	const struct note *note; /* of ENGINE_EV_NOTE */
	bool needed_tls;       /* of ENGINE_EV_CLOSE: a command was refused because it needs TLS first */
};

enum engine_answer {
	ENGINE_ANSWER_OK,
	ENGINE_ANSWER_UNAVAILABLE, /* a temporary refusal; the session goes on */
};

#define ENGINE_OUTPUT_MAX (16 * 1024) /* octets an engine holds for a peer that does not read */
/* Above this an engine takes no input, so that every single reply still fits below the maximum. */
#define ENGINE_OUTPUT_HIGH (4 * 1024)

/* Why there is no program. */
enum engine_no_program {
	ENGINE_NO_PROGRAM_BUSY,   /* as many run as may, and waiting is over */
	ENGINE_NO_PROGRAM_FAILED, /* it cannot be started, or nobody can */
	ENGINE_NO_PROGRAM_AWAY,   /* who knows the users cannot be asked now */
	ENGINE_NO_PROGRAM_LOGIN,  /* the certificate maps to one who is no user here, and the service wants one */
};

struct engine; /* begins with: const struct engine_ops *ops */

struct engine_ops {
	const char *name;
	size_t (*input)(struct engine *e, const uint8_t *buf, size_t len, uint64_t now_ms);
	struct span (*output)(const struct engine *e);
	void (*output_done)(struct engine *e, size_t n);
	bool (*event)(struct engine *e, struct engine_event *ev_out);
	void (*answer)(struct engine *e, enum engine_answer answer, uint64_t now_ms);
	uint64_t (*tick)(struct engine *e, uint64_t now_ms);
	void (*end_of_input)(struct engine *e);
	void (*bye)(struct engine *e, enum engine_bye why);
	void (*free)(struct engine **e);
	/* NULL in engines that ask nothing */
	void (*reply)(struct engine *e, const struct ask_reply *reply, uint64_t now_ms);
	const struct engine_program_ops *program; /* NULL: a protocol without a program */
};

/* See the calls of the same names. */
struct engine_program_ops {
	void (*started)(struct engine *e, uint64_t now_ms);
	void (*refused)(struct engine *e, enum engine_no_program why);
	struct span (*to)(const struct engine *e);
	void (*to_done)(struct engine *e, size_t n);
	size_t (*room)(const struct engine *e);
	void (*output)(struct engine *e, const uint8_t *buf, size_t len, uint64_t now_ms);
	void (*ended)(struct engine *e);
};

struct engine {
	const struct engine_ops *ops;
};

/* Offer len octets from the peer, everything that was read so far and not taken. Returns how many
 * were taken (0..len); fewer than len means: drain output or answer the pending event first, then
 * offer the rest again. Never fails, keeps no pointer. What stands behind a STARTTLS line in the
 * same offer is an injection: it is never taken. */
size_t engine_input(struct engine *e, const uint8_t *buf, size_t len, uint64_t now_ms);

/* Octets waiting for the peer: borrowed, valid until the next call that takes e.
 * engine_output_done() drops the first n of them (n <= what is there). */
struct span engine_output(const struct engine *e);
void engine_output_done(struct engine *e, size_t n);

/* The next thing the engine needs from us; false if none. Each is given out once. Ask after every
 * call that takes input, an answer or the time. */
bool engine_event(struct engine *e, struct engine_event *ev_out);

/* Answers an ENGINE_EV_START_TLS that was given out; any other time it is our own bug (asserted).
 * engine_bye() and engine_end_of_input() withdraw the question. The idle time starts again. */
void engine_answer(struct engine *e, enum engine_answer answer, uint64_t now_ms);

/* Answers the ENGINE_EV_ASK that was given out; any other time it is our own bug (asserted). What is
 * said, and whether the session goes on, is the protocol's business. */
void engine_reply(struct engine *e, const struct ask_reply *reply, uint64_t now_ms);

/* Time passes; may make output and events. Returns the next deadline in ms, UINT64_MAX for none
 * (an engine that waits for an answer, or is closed, has none). */
uint64_t engine_tick(struct engine *e, uint64_t now_ms);

/* The peer will send no more (close_notify, or end of file in plaintext). What was taken of a
 * command that is not complete is dropped; ENGINE_EV_CLOSE follows, at once or, where a question is
 * open (ENGINE_EV_ASK: the command it belongs to was complete), after its answer. Nothing happens when the engine
 * command that is not complete is dropped; ENGINE_EV_CLOSE follows (where there is a program, when
 * that has ended its output). Nothing happens when the engine
 * is closed already or has given its go-ahead for TLS. */
void engine_end_of_input(struct engine *e);

/* Ends the session with the protocol's goodbye; output and ENGINE_EV_CLOSE follow: at once, but with
 * ENGINE_BYE_SHUTDOWN a message under way is first taken to its end and answered. Nothing happens
 * when the engine is closed already or has given its go-ahead for TLS: an octet of plaintext behind
 * that would break the handshake. */
void engine_bye(struct engine *e, enum engine_bye why);

/* --- a program behind the engine: a second stream of octets -------------------------------------
 *
 * Only of engines that gave out ENGINE_EV_START_PROGRAM. The program is the caller's: it ends it when the
 * engine is freed. Back-pressure: the engine takes no input while too much waits for the program, and
 * has no room for its output while too much waits for the peer. */

bool engine_has_program(const struct engine *e);

/* Answers ENGINE_EV_START_PROGRAM, one of the two and once; any other time it is our own bug (asserted). */
void engine_program_started(struct engine *e, uint64_t now_ms);
void engine_program_refused(struct engine *e, enum engine_no_program why);

/* Octets for the program's input: borrowed, valid until the next call that takes e; a program that has closed its
 * input is spared them (say that they are done). */
struct span engine_to_program(const struct engine *e);
void engine_to_program_done(struct engine *e, size_t n);

/* How much of the program's output the engine takes now; and that much or less of it. */
size_t engine_program_room(const struct engine *e);
void engine_program_output(struct engine *e, const uint8_t *buf, size_t len, uint64_t now_ms);

/* It will write no more, and all that it wrote was given. ENGINE_EV_CLOSE follows. Also when it writes no more than
 * we wait for: after engine_end_of_input(), `linger` behind its last octet. */
void engine_program_ended(struct engine *e);

/* NULL is fine; sets the pointer to NULL. */
void engine_free(struct engine **e);

/* What a service has to know of its protocol before there is an engine. */
struct engine_protocol {
	const char *name;
	/* What a client may call it when it begins TLS (ALPN, RFC 7301), ends with NULL: a client that names protocols
	 * and none of these is turned away, so that what is meant for another protocol's server is never read as this one
	 * (the ALPACA attack). NULL: it has no such name, and what clients name does not matter. */
	const char *const *alpn;
	/* New session. conf and peer are borrowed and must outlive the engine. NULL when out of
	 * memory. */
	struct engine *(*new)(const struct engine_conf *conf, enum engine_start start,
			      enum engine_offer offer, const struct engine_peer *peer,
			      uint64_t now_ms);
	/* The one line that a connection gets that is closed at once: static storage, with line
	 * end. */
	const char *(*refusal)(enum engine_bye why);
};

#endif
