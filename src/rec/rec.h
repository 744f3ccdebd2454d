/* rec/rec.h - what the flight recorder keeps of one connection: a record of fixed size, numbers where
 * numbers do.
 *
 * A worker writes records into memory that others read (rec/rec_ring.h); words are made by the reader. So
 * nothing here is a pointer, every text is cut to its size, and whoever reads a record checks all of it
 * first (rec_check()): the worker that wrote it may have been taken over. Layout is the same in all
 * processes of one installation; rec_ring.h holds a version. */
#ifndef REC_REC_H
#define REC_REC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REC_STEPS 48      /* kept of one connection: the first half for good, of the rest the last */
#define REC_SERVICE_MAX 32 /* octets of texts, each with its NUL; longer ones are cut */
#define REC_WORD_MAX 24
#define REC_SIGNATURE_MAX 32
#define REC_SNI_MAX 64
#define REC_NAME_MAX 128
#define REC_SANS_MAX 160
#define REC_USER_MAX 96
#define REC_SERIAL_MAX 20 /* RFC 5280 §4.1.2.2 */

/* --- steps ------------------------------------------------------------------------------------- */

/* X(name, words): number is what the words say behind the colon. New ones at the end: records outlive an upgrade. */
#define REC_STEP_KINDS(X)                                                                          \
	X(ACCEPTED, "connection accepted")                                                         \
	X(STARTTLS, "asks for TLS (STARTTLS)")                                                     \
	X(GO_AHEAD, "go-ahead for TLS")                                                            \
	X(UNAVAILABLE, "TLS refused for now")                                                      \
	X(INJECTION, "octets behind STARTTLS")                                                     \
	X(TLS_BEGINS, "TLS from the first octet")                                                  \
	X(HANDSHAKE, "")  /* number: of the message, RFC 8446 §4 and RFC 5246 §7.4 */              \
	X(ALERT, "alert") /* number: of the alert, RFC 8446 §6 */                                  \
	X(VERDICT, "certificate judged") /* number: enum tls_verdict */                            \
	X(ESTABLISHED, "TLS established")                                                          \
	X(RENEGOTIATION, "asks for a new handshake (renegotiation)")                               \
	X(RESTART, "back to plaintext")                                                            \
	X(END, "end of file")                                                                      \
	X(RESET, "connection reset")                                                               \
	X(NEEDS_TLS, "command refused: it needs TLS")                                              \
	X(LATE, "time is over")                                                                    \
	X(GOODBYE, "goodbye of the server")                                                        \
	X(CLOSED, "connection closed")                                                             \
	X(PROGRAM_EXIT, "program ended with code") /* number: its exit code */                     \
	X(PROGRAM_SIGNAL, "program ended by signal") /* number: of the signal */

enum rec_step_kind {
#define REC_STEP_ENUM(name, words) REC_STEP_##name,
	REC_STEP_KINDS(REC_STEP_ENUM)
#undef REC_STEP_ENUM
	REC_STEP_KIND_COUNT
};

/* Which way it went. */
enum rec_way {
	REC_WAY_NONE, /* nothing travelled */
	REC_WAY_IN,   /* from the client */
	REC_WAY_OUT,  /* to the client */
	REC_WAY_COUNT
};

struct rec_step {
	uint32_t us_low; /* since the connection was accepted, 48 bits in all */
	uint16_t us_high;
	uint8_t kind;   /* enum rec_step_kind */
	uint8_t number;
	uint32_t size : 24; /* octets; of a handshake message without its header */
	uint32_t way : 8;   /* enum rec_way */
};

/* --- facts ------------------------------------------------------------------------------------- */

/* Where a connection was when it ended, or where it is. */
#define REC_PHASES(X)                                                                              \
	X(PLAIN, "plaintext")                                                                      \
	X(HANDSHAKE, "handshake")                                                                  \
	X(SECURE, "TLS")                                                                           \
	X(REHANDSHAKE, "renegotiation")                                                            \
	X(CLOSING, "closing")                                                                      \
	X(REFUSED, "refused") /* it was closed as soon as it was accepted */

enum rec_phase {
#define REC_PHASE_ENUM(name, word) REC_PHASE_##name,
	REC_PHASES(REC_PHASE_ENUM)
#undef REC_PHASE_ENUM
	REC_PHASE_COUNT
};

/* What the worker knows of an end, or of what went wrong on the way, at the place where it meets it; what that
 * means is why_judge()'s. */
#define REC_CAUSES(X)                                                                              \
	X(NONE)              /* it goes on, or ended well */                                       \
	X(END_OF_FILE)       /* the peer's end in plaintext */                                     \
	X(IDLE)              /* the engine's idle time is over */                                  \
	X(ERRORS)            /* too many errors */                                                 \
	X(LINE_TOO_LONG)                                                                           \
	X(EARLY_TALKER)      /* it spoke before it was greeted */                                  \
	X(LOGINS)            /* too many logins failed */                                          \
	X(TOO_MUCH)          /* more than the limits of a service allow */                         \
	X(INJECTION)                                                                               \
	X(GOODBYE)           /* the server stops or drains */                                      \
	X(NO_MEMORY)                                                                               \
	X(NO_KEYHOLDER)      /* STARTTLS was refused for now; the session goes on */               \
	X(TLS)               /* the TLS session failed: fault, alerts, verdict */                  \
	X(LATE)              /* the handshake was not done in time */                              \
	X(TRUNCATED)         /* end of file in TLS without close_notify */                         \
	X(RESET)             /* the transport broke */                                             \
	X(NOT_READING)       /* the peer did not take what it was sent */                          \
	X(RENEGOTIATION_OFF)                                                                       \
	X(RENEGOTIATION_RATE)                                                                      \
	X(RENEGOTIATION_INSECURE)                                                                  \
	X(KEY_UPDATES)                                                                             \
	X(RESTARTS)                                                                                \
	X(LIMIT_TOTAL)                                                                             \
	X(LIMIT_SERVICE)                                                                           \
	X(LIMIT_ADDRESS)                                                                           \
	X(DISTRUSTED)        /* in a session that was trusted the certificate is so no more: see the verdict */ \
	X(PROGRAM_BUSY)      /* as many programs run as may */                                     \
	X(PROGRAM_FAILED)    /* it could not be started */                                         \
	X(PROGRAM_LOST)      /* the process that starts programs has died, and it with that */     \
	X(LOGIN)             /* the session goes on, but its certificate did not count */          \
	X(TICKET)            /* the session goes on, but its ticket was not taken */               \
	X(USER_GONE)         /* in a session, its user is none any more */                            \
	X(PASSWORD_CHANGED)  /* in a session, the password that it was made with */                   \
	X(SLOW)              /* a message took longer than it may */                               \
	X(KILLED)            /* its worker has ended */

enum rec_cause {
#define REC_CAUSE_ENUM(name) REC_CAUSE_##name,
	REC_CAUSES(REC_CAUSE_ENUM)
#undef REC_CAUSE_ENUM
	REC_CAUSE_COUNT
};

/* What the first octets looked like. */
#define REC_OCTETS(X)                                                                              \
	X(NONE, "nothing")                                                                         \
	X(TLS, "TLS")                                                                              \
	X(HTTP, "HTTP")                                                                            \
	X(SSH, "SSH")                                                                              \
	X(TEXT, "text")                                                                            \
	X(OTHER, "octets of no protocol known here")

enum rec_octets {
#define REC_OCTETS_ENUM(name, words) REC_OCTETS_##name,
	REC_OCTETS(REC_OCTETS_ENUM)
#undef REC_OCTETS_ENUM
	REC_OCTETS_COUNT
};

/* Why a ticket that the client came with was not taken. */
enum rec_ticket {
	REC_TICKET_NONE,    /* it came without one, or its session was resumed */
	REC_TICKET_OFF,     /* this service takes none */
	REC_TICKET_FOREIGN, /* it is sealed with another key */
	REC_TICKET_OLD,     /* with ours: its time is over, or what it was for has changed */
	REC_TICKET_COUNT
};

enum rec_mode { /* of the listener; the names are the configuration's */
	REC_MODE_STARTTLS,
	REC_MODE_STARTTLS_REQUIRED,
	REC_MODE_TLS,
	REC_MODE_PLAIN,
	REC_MODE_COUNT
};

enum rec_client_cert {
	REC_CC_NONE,
	REC_CC_REQUEST,
	REC_CC_OPTIONAL,
	REC_CC_REQUIRE,
	REC_CC_COUNT
};

#define REC_F_OPEN 0x01u     /* it is not over */
#define REC_F_PARTIAL 0x02u  /* its steps were not kept */
#define REC_F_RESUMED 0x04u
#define REC_F_KNOWN 0x08u    /* the chain was verified before */
#define REC_F_SECURED 0x10u  /* a handshake was completed once */
#define REC_F_HELLO 0x20u    /* a ClientHello came completely */
#define REC_F_REFUSED 0x40u  /* the certificate ended the handshake */
#define REC_F_AMBIGUOUS 0x80u /* the certificate names two users */
#define REC_F_NEEDS_TLS 0x100u /* a command was refused because it needs TLS */
#define REC_F_CROWDED 0x200u /* near a limit: deadlines were shorter */
#define REC_F_SELF_SIGNED 0x400u
#define REC_F_ALERT_SENT 0x800u /* alert_sent means something; so with the next */
#define REC_F_ALERT_GOT 0x1000u
#define REC_F_OTHER_NAME 0x2000u /* the client asked for a name that the certificate it was shown is not for */
#define REC_F_ALL 0x3fffu

enum rec_family { REC_UNIX, REC_IPV4, REC_IPV6, REC_FAMILY_COUNT };

struct rec_addr {
	uint8_t family; /* enum rec_family */
	uint8_t octets[16]; /* network order; IPv4 in the first four */
	uint16_t port;
};

struct rec {
	uint64_t id;       /* REC_ID(): never the same twice while the server runs */
	uint64_t start_us; /* CLOCK_REALTIME, when it was accepted */
	uint64_t first_us; /* the same of the first of those that were alike; repeats > 0 only */
	uint64_t end_us;   /* since it was accepted; while it is open, of its last step */
	uint64_t octets_in, octets_out;
	uint64_t generation;
	int64_t not_before, not_after; /* of the leaf, seconds of the epoch */
	int64_t when; /* of a revocation, of a list's end, of a CA's expiry; 0: not known */
	uint64_t number;   /* of the cause: a limit, milliseconds of a deadline, messages, ... */
	uint64_t window_ms; /* in which number was allowed */
	uint32_t pid;
	uint32_t repeats;  /* earlier failures of this address with this code, which this one replaces */
	uint32_t flags;    /* REC_F_* */
	int32_t error;     /* of the TLS library, as it was told; 0: none */
	struct rec_addr peer, local;
	uint16_t code;     /* enum why_code; 0: nothing is wrong */
	uint16_t restarts, renegotiations, key_updates;
	uint16_t offered_suites; /* in the ClientHello */
	uint16_t skipped;  /* steps left out in the middle */
	uint8_t nsteps;
	uint8_t phase;     /* enum rec_phase */
	uint8_t cause;     /* enum rec_cause */
	uint8_t fault;     /* enum tls_fault */
	uint8_t reason;    /* enum tls_reason */
	uint8_t verdict;   /* enum tls_verdict */
	uint8_t alert_sent, alert_got;
	uint8_t mode;      /* enum rec_mode */
	uint8_t client_cert; /* enum rec_client_cert */
	uint8_t plain_first, tls_first; /* enum rec_octets, of each phase */
	uint8_t ticket;    /* enum rec_ticket */
	uint8_t tickets;   /* given */
	uint8_t version;   /* rank, as tls_hello.h counts versions: 5 is TLS 1.3, 0 none yet */
	uint8_t offered_min, offered_max; /* ranks of what the client offers */
	uint8_t allowed;   /* bits of ranks: what the configuration allows */
	uint8_t chain;     /* certificates shown */
	uint8_t nserial;
	uint8_t serial[REC_SERIAL_MAX];
	char service[REC_SERVICE_MAX];
	char cipher[REC_WORD_MAX];
	char group[REC_WORD_MAX];
	char signature[REC_SIGNATURE_MAX];
	char alpn[REC_WORD_MAX];
	char sni[REC_SNI_MAX];
	char domain[REC_SNI_MAX]; /* the name block that it led to; empty: the tls block itself */
	char subject[REC_NAME_MAX];
	char issuer[REC_NAME_MAX];
	char sans[REC_SANS_MAX]; /* ", " between */
	char user[REC_USER_MAX];
	struct rec_step steps[REC_STEPS];
};

/* An id is the slot of the worker's table and a number that goes up, also over workers: "3-1042". */
#define REC_ID_SHIFT 48
#define REC_ID(slot, number) ((uint64_t)(slot) << REC_ID_SHIFT | (number))
#define REC_ID_TEXT_MAX 32
const char *rec_id_text(uint64_t id, char out[REC_ID_TEXT_MAX]);
bool rec_id_parse(const char *text, uint64_t *id_out);

/* Appends a step. Beyond REC_STEPS the one in the middle goes; skipped counts them. us: since accepted. */
void rec_step_add(struct rec *r, enum rec_step_kind kind, uint8_t number, enum rec_way way, uint32_t size,
		  uint64_t us);
uint64_t rec_step_us(const struct rec_step *s);

/* Copies a text into one of the fields above, cut between characters; NULL is empty. Control characters and
 * what is not UTF-8 become '?'. */
void rec_text_set(char *out, size_t cap, const char *text);

/* What the octets look like. Pure. */
enum rec_octets rec_octets_kind(const uint8_t *p, size_t n);

/* A record that came from another process: everything in it is within its bounds, and every text ends and is
 * printable. What is wrong in a text is mended in place; false: no record. */
bool rec_check(struct rec *r);

/* Words. Static storage; the enum's value must be in range. */
const char *rec_step_words(enum rec_step_kind kind);
const char *rec_phase_word(enum rec_phase p);
const char *rec_octets_words(enum rec_octets o);
const char *rec_mode_word(enum rec_mode m);
const char *rec_client_cert_word(enum rec_client_cert c);

/* "ClientHello"; NULL for a number that no message has. */
const char *rec_message_name(uint8_t type);

/* "unknown_ca"; NULL for a number that no alert has (RFC 8446 §6, RFC 5246 §7.2). */
const char *rec_alert_name(uint8_t alert);

/* "192.0.2.1", "2001:db8::1", "unix:"; and "192.0.2.1:25", "[2001:db8::1]:25". */
#define REC_ADDR_TEXT_MAX 64
const char *rec_host_text(const struct rec_addr *a, char out[REC_ADDR_TEXT_MAX]);
const char *rec_addr_text(const struct rec_addr *a, char out[REC_ADDR_TEXT_MAX]);

/* "TLS 1.3", from a rank; "" for 0. */
const char *rec_version_word(unsigned rank);

#endif
