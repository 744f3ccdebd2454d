/* conf/conf.h - the configuration as the rest of the program sees it.
 *
 * One file in our own grammar (conf_grammar.y), read against one schema table per block
 * (conf_schema.c); this is what comes out, with every default filled in. The processes get it as
 * text: the parent prints the effective configuration (conf_show) into a sealed memfd and each
 * child reads that with the same code, so conf_parse(conf_show(c)) equals c for every c.
 *
 * A struct conf is built once and never changed. Not thread safe while it is built. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "util/buf.h"
#include "util/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONF_FILE_MAX          (1024 * 1024) /* octets of one configuration file */
#define CONF_INCLUDE_DEPTH_MAX 8             /* files within files */
#define CONF_ERRORS_MAX        100 /* mistakes reported in one run; the rest are counted */
#define CONF_CERTS_MAX         8   /* certificates of one tls block */
#define CONF_OCSP_MAX          16  /* files of OCSP responses of one tls or name block */
#define CONF_NAMES_MAX         64  /* name blocks of one tls block */
#define CONF_HOSTS_MAX         64  /* host names of one of them */
#define CONF_LISTEN_MAX        16  /* addresses of one service */
#define CONF_SERVICES_MAX      64
#define CONF_TLS_MAX           64
#define CONF_WORKERS_MAX       64
#define CONF_DOMAINS_MAX       256

/* Where a value was written; file is NULL when it is the schema's default. */
struct conf_origin {
	const char *file; /* owned by the struct conf */
	unsigned line;    /* from 1 */
	unsigned column;  /* from 1, in octets */
};

enum conf_listen_mode {
	CONF_LISTEN_STARTTLS,          /* plaintext, may be upgraded */
	CONF_LISTEN_STARTTLS_REQUIRED, /* plaintext, nothing works before the upgrade */
	CONF_LISTEN_TLS,               /* TLS from the first octet */
	CONF_LISTEN_PLAIN,             /* never TLS: loopback and unix sockets only */
};

union conf_sockaddr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

struct conf_listen {
	struct conf_origin origin;
	char *text; /* canonical: "127.0.0.1:7777", "[::1]:7777", "unix:/run/x" */
	union conf_sockaddr addr;
	socklen_t addr_len;
	enum conf_listen_mode mode;
};

enum conf_client_certificate {
	CONF_CC_NONE,     /* not asked for */
	CONF_CC_REQUEST,  /* asked for; whatever comes, the handshake completes */
	CONF_CC_OPTIONAL, /* none is fine, a bad one is refused */
	CONF_CC_REQUIRE,  /* none or a bad one is refused */
};

/* At most count in each window_ms; both 0: none at all ("off"). */
struct conf_rate {
	uint64_t count;
	uint64_t window_ms;
};

enum conf_verify {
	CONF_VERIFY_ONCE,   /* a renegotiation asks for no certificate again */
	CONF_VERIFY_ALWAYS, /* it does, and one that changes ends the connection */
};

enum conf_after_close {
	CONF_AFTER_CLOSE_PLAINTEXT,  /* close_notify leads back to where STARTTLS came from */
	CONF_AFTER_CLOSE_DISCONNECT,
};

#define CONF_TLS_1_2 1u
#define CONF_TLS_1_3 2u

struct conf_cert {
	struct conf_origin origin;
	char *certificate; /* PEM file, leaf first, or PKCS#12 */
	char *key;         /* PEM file; NULL: the key is in the certificate file */
	char *passphrase;  /* file whose first line opens the key; NULL: none */
};

struct conf_tls {
	struct conf_origin origin;
	char *name;
	struct conf_cert *certs; /* at least one */
	size_t ncerts;
	unsigned protocols; /* CONF_TLS_1_2 | CONF_TLS_1_3 */
	char *priority;     /* GnuTLS priority string; NULL: ours */
	enum conf_client_certificate client_certificate;
	char **ocsp; /* files of OCSP responses for the certificates, DER or PEM */
	size_t nocsp;
	char **client_ca; /* PEM files; none: no client certificate is trusted */
	size_t nclient_ca;
	char **client_crl; /* PEM files of revocation lists by CAs of client_ca */
	size_t nclient_crl;
	uint32_t crl_grace_ms; /* how long after its nextUpdate a list is still good enough */
	enum conf_verify verify;
	struct conf_rate renegotiation;   /* TLS 1.2; none: refused */
	uint32_t handshake_timeout_ms;    /* whole handshake */
	uint32_t first_flight_timeout_ms; /* until the first flight of the client is complete */
	unsigned tickets;            /* bool: session tickets are given and taken */
	uint32_t ticket_lifetime_ms; /* from the full handshake on */
	struct conf_name *names;     /* for clients that ask for another host */
	size_t nnames;
	uint32_t overridden;         /* conf/'s own: which directives the service gave itself */
	struct conf_origin *origins; /* conf/'s own: by directive */
};

/* What holds for clients that ask for one of these hosts (SNI, RFC 6066 §3), within a tls block. */
struct conf_name {
	struct conf_origin origin;
	char **hosts; /* in the form of mail/normal.h; "*.example.net": one label stands for the '*' */
	size_t nhosts;
	struct conf_tls *tls; /* the block around it with this one's directives applied; it has no names */
	/* what it gives itself; the rest is the very array of the block around it */
	bool own_certs, own_ocsp, own_client_ca, own_client_crl;
	const struct conf_tls *own; /* conf/'s own: as it was read */
};

enum conf_map_kind {
	CONF_MAP_SAN_EMAIL, /* each rfc822Name of subjectAltName (RFC 5280 §4.2.1.6) */
};

struct conf_map {
	struct conf_origin origin;
	enum conf_map_kind kind;
	char *from; /* PEM file: only chains that end in a CA of it; NULL: all of client-ca */
};

enum conf_protocol {
	CONF_PROTOCOL_LINE,
	CONF_PROTOCOL_EXEC,
	CONF_PROTOCOL_SMTP,
	CONF_PROTOCOL_SUBMISSION,
	CONF_PROTOCOL_LMTP,
};

/* How a client logs in. */
#define CONF_LOGIN_CERTIFICATE 1u
#define CONF_LOGIN_PASSWORD 2u
#define CONF_LOGIN_NONE 4u /* needs no login; alone */


/* Of services that take messages. */
struct conf_mail {
	uint32_t max_message_octets;
	uint32_t max_recipients; /* of a message */
	uint32_t max_errors;     /* of a session, like the following */
	uint32_t max_unknown;
	uint32_t max_commands;   /* without a message between */
	uint32_t message_timeout_ms;
	uint32_t greeting_delay_ms; /* of smtp */
};

/* --- exec services ---------------------------------------------------------------------------- */

#define CONF_EXEC_ARGS_MAX 64         /* words of a command */
#define CONF_EXEC_ENVIRONMENT_MAX 64  /* variables */
#define CONF_EXEC_TEXT_MAX 512        /* octets of a text or pattern */
#define CONF_EXEC_PATTERNS_MAX 16
#define CONF_EXEC_CAPABILITIES_MAX 8
#define CONF_EXEC_KEYWORD "STARTTLS"
#define CONF_EXEC_REPLY "OK begin TLS"

enum conf_start {
	CONF_START_AFTER_TLS, /* no program before TLS is up */
	CONF_START_AT_ONCE,   /* one in plaintext, and another in TLS */
};

/* Resource limits of a program, setrlimit(2). */
enum conf_limit_kind {
	CONF_LIMIT_CPU,       /* seconds */
	CONF_LIMIT_MEMORY,    /* octets of address space */
	CONF_LIMIT_FILES,     /* open descriptors */
	CONF_LIMIT_FILE_SIZE, /* octets of one file */
	CONF_LIMIT_PROCESSES, /* of its user, all together */
};
#define CONF_LIMITS 5

struct conf_limit {
	bool set;
	uint64_t value;
	struct conf_origin origin;
};

enum conf_place {
	CONF_PLACE_BEFORE,
	CONF_PLACE_AFTER,
	CONF_PLACE_APPEND,
};

struct conf_capability {
	struct conf_origin origin;
	char *text;
	enum conf_place place;
	char *pattern; /* of the program's line */
	char *to;      /* of the client's line that it answers; NULL: any */
};

/* What the server says itself, instead of the program; proto/exec/exec_engine.h has the defaults. */
#define CONF_SAYS(X)                                                                               \
	X(BEFORE_TLS, "before-tls")                                                                \
	X(ARGUMENTS, "arguments")                                                                  \
	X(INJECTION, "injection")                                                                  \
	X(UNAVAILABLE, "unavailable")                                                              \
	X(LOGIN, "login")                                                                          \
	X(AWAY, "away")                                                                            \
	X(BUSY, "busy")                                                                            \
	X(FAILED, "failed")                                                                        \
	X(TOO_LONG, "too-long")                                                                    \
	X(ERRORS, "errors")                                                                        \
	X(CERTIFICATE, "certificate")                                                              \
	X(USER, "user")                                                                            \
	X(IDLE, "idle")                                                                            \
	X(SHUTDOWN, "shutdown")

enum conf_say_when {
#define CONF_SAY_ENUM(name, word) CONF_SAY_##name,
	CONF_SAYS(CONF_SAY_ENUM)
#undef CONF_SAY_ENUM
	CONF_SAY_COUNT
};

struct conf_say {
	char *text; /* NULL: the default */
	struct conf_origin origin;
};

struct conf_exec {
	char **command; /* at least the program's absolute path */
	size_t ncommand;
	char *user;      /* ignored without root */
	char *directory; /* the program's working directory */
	char **environment; /* "NAME=VALUE" */
	size_t nenvironment;
	struct conf_limit limits[CONF_LIMITS]; /* by kind */
	unsigned start;      /* enum conf_start */
	char *greeting;      /* NULL: none */
	char *keyword, *reply; /* of STARTTLS */
	bool case_sensitive, arguments;
	char **plaintext; /* patterns of lines that go to the program where TLS is required */
	size_t nplaintext;
	struct conf_capability *capabilities;
	size_t ncapabilities;
	char *banner; /* pattern; NULL: none is left out */
	struct conf_say says[CONF_SAY_COUNT];
	uint32_t max_programs, max_waiting, wait_timeout_ms;
	uint32_t stop_timeout_ms; /* from SIGTERM to SIGKILL */
};

struct conf_service {
	struct conf_origin origin;
	char *name;
	enum conf_protocol protocol;
	struct conf_listen *listens;
	size_t nlistens;
	struct conf_tls *tls; /* owned: the named block with the overrides applied; NULL only when
			       * every listen is plain */
	uint32_t max_connections; /* over all workers */
	uint32_t max_per_address; /* over all workers; an IPv6 client counts by its /64 */
	uint32_t idle_timeout_ms;
	struct conf_mail mail; /* of smtp, submission and lmtp */
	enum conf_after_close after_close;
	unsigned login;              /* CONF_LOGIN_... */
	struct conf_exec exec;       /* of protocol exec */
	struct conf_rate restarts; /* none: each close_notify ends the connection */
	struct conf_origin *origins; /* conf/'s own: by directive */
};

enum conf_log {
	CONF_LOG_SYSLOG,
	CONF_LOG_STDERR,
	CONF_LOG_FILE,
};

enum conf_log_format {
	CONF_LOG_TEXT,
	CONF_LOG_JSON,
};

struct conf {
	char *file;       /* the file it came from */
	char *hostname;   /* default: gethostname() */
	char **domains;   /* of mail, in their normal form (mail/normal.h) */
	size_t ndomains;
	char *postmaster; /* address in its normal form; NULL: none */
	char *users_file; /* NULL: none, and nobody has a mailbox or a password */
	char *mail;       /* folder of the mailboxes; NULL: none, and no store */
	uint32_t journal_mib; /* room of the store's journal */
	char *state;      /* folder of everything durable; default LOCALSTATEDIR/lib/postern */
	unsigned workers; /* "auto" (default) is the number of processors, resolved at load */
	enum conf_log log;
	char *log_file;
	enum conf_log_format log_format;
	unsigned recorder;        /* bool, default on: steps of connections are kept */
	uint32_t drain_ms;        /* default 1h: how long old sessions live after a reload */
	uint32_t stop_timeout_ms; /* default 10s: for commands under way at SIGTERM */
	uint32_t linger_ms;       /* default 2s: wait for the peer's end of a closing connection */
	uint32_t max_connections; /* over all services and workers; default 20000 */
	char *pid_file;           /* default RUNSTATEDIR/postern/posternd.pid */
	char *control_socket;     /* default RUNSTATEDIR/postern/control */
	char *control_group;      /* default "postern-admin" */
	struct conf_tls *tls;     /* the blocks as written, without any service's overrides */
	size_t ntls;
	struct conf_map *maps; /* identity rules in order */
	size_t nmaps;
	char *impersonate; /* file of who may act as whom; NULL: nobody */
	struct conf_origin impersonate_origin;
	struct conf_service *services;
	size_t nservices;
	struct conf_priv *priv; /* the memory of all this, and origins; owned by conf/ */
};

/* The mistakes of one run. Opaque; owned by the caller. */
struct conf_errors;
struct conf_errors *conf_errors_new(void); /* NULL when out of memory */
void conf_errors_free(struct conf_errors **e);
size_t conf_errors_count(const struct conf_errors *e);

/* Appends all of them, in the order of file and line, as people read them:
 *   file:line:column: what is wrong; what was expected; did you mean 'x'?
 *       the line
 *           ^~~~                                                              */
int conf_errors_print(const struct conf_errors *e, struct buf *out) PT_MUST_USE;

/* Reads path and what it includes. On success *conf_out is owned by the caller. Otherwise
 * PT_EINVAL with at least one mistake in errors (a file that cannot be read is one, too), or
 * PT_ENOMEM. Never both a configuration and mistakes. */
int conf_load(const char *path, struct conf **conf_out, struct conf_errors *errors) PT_MUST_USE;

/* The same from memory; name stands in messages; "include" is a mistake here, and relative paths
 * are taken from the folder "base" (NULL: they are a mistake). */
int conf_parse(const char *name, const char *base, struct span text, struct conf **conf_out,
	       struct conf_errors *errors) PT_MUST_USE;

/* Appends the effective configuration in the file's own grammar; with origins, each line ends in
 * a comment that tells where the value comes from ("# default", "# /etc/postern/postern.conf:12").
 */
int conf_show(const struct conf *conf, bool origins, struct buf *out) PT_MUST_USE;

/* Walks the effective configuration in the order of conf_show(), for those who print it in another
 * form. A block is an OPEN, what is in it, and a CLOSE. Unset values without a default are left
 * out. */
enum conf_item_kind {
	CONF_ITEM_VALUE,
	CONF_ITEM_OPEN,
	CONF_ITEM_CLOSE,
};

struct conf_item {
	enum conf_item_kind kind;
	const char *path; /* the blocks around it: "", "service calc", "service calc/tls main" */
	const char *name; /* of the directive: "hostname", "service" */
	const char *const
	    *words; /* behind the name, without quotes: a block's name, a value's words */
	size_t nwords;
	bool repeats;                     /* the block may have several of this name */
	bool is_number;                   /* one word, decimal digits only */
	unsigned depth;                   /* blocks around it */
	const struct conf_origin *origin; /* never NULL; its file is NULL for a default */
};

/* Everything in item is borrowed until the callback returns; what it returns other than 0 ends the
 * walk. */
typedef int conf_item_f(void *arg, const struct conf_item *item);
int conf_show_each(const struct conf *conf, conf_item_f *f, void *arg) PT_MUST_USE;

/* NULL inside is fine; sets the pointer to NULL. */
void conf_free(struct conf **conf);

/* Two effective tls blocks that give the same credentials: certificates, protocols, priority,
 * client-certificate mode, CA set, revocation lists and their grace (names, timeouts and tickets, whose keys
 * go by service and name, do not count). */
bool conf_tls_same_credentials(const struct conf_tls *a, const struct conf_tls *b);

#endif
