/* proto/exec/exec_engine.h - one session of an exec service without I/O: any program's stdin and stdout behind
 * STARTTLS or TLS.
 *
 * In plaintext input is looked at line by line, for the keyword that begins TLS; what else may be done there is
 * configured. Once TLS is up, octets go to the program and come from it as they are. The program of a
 * session is the caller's business (the program calls of proto/engine.h): one that was started in
 * plaintext ends with the plaintext session, and TLS has another. Nothing that the client or the
 * program said before is known to it.
 *
 * The interface is exec_protocol. Not thread safe. Memory: at most 320 octets while nothing waits; EXEC_TO_MAX,
 * EXEC_RAW_MAX, EXEC_LINE_MAX and ENGINE_OUTPUT_MAX more when everything does. */
#ifndef PROTO_EXEC_EXEC_ENGINE_H
#define PROTO_EXEC_EXEC_ENGINE_H

#include "proto/engine.h"

#define EXEC_LINE_MAX 4096           /* octets of a plaintext line that is looked at, with its end */
#define EXEC_SKIP_MAX (64 * 1024)    /* octets skipped of a refused line that is longer */
#define EXEC_ERRORS_MAX 10           /* lines refused in a session; then it is over */
#define EXEC_TO_MAX (32 * 1024)      /* octets that wait for a program that does not read */
#define EXEC_RAW_MAX (4 * 1024)      /* of its output while that is looked at by line */
#define EXEC_HOLD_MS 200             /* that the beginning of a line may be held back for its rest */
#define EXEC_BANNER_MAX (16 * 1024)  /* octets of a banner that is left out; more is none */
#define EXEC_TEXT_MAX 512            /* octets of a configured text or pattern, without line end */
#define EXEC_PATTERNS_MAX 16         /* of the lines that the program gets in plaintext */
#define EXEC_CAPABILITIES_MAX 8

/* What we say ourselves. X(name, word of the configuration, text where none is configured; NULL: nothing is
 * said) */
#define EXEC_TEXTS(X)                                                                              \
	X(BEFORE_TLS, "before-tls", "ERR not before TLS: send %s")                                 \
	X(ARGUMENTS, "arguments", "ERR %s takes no arguments")                                     \
	X(INJECTION, "injection", "ERR octets behind %s")                                          \
	X(UNAVAILABLE, "unavailable", "ERR TLS is not available now, try again later")             \
	X(LOGIN, "login", "ERR %s")                                                                \
	X(AWAY, "away", "ERR logins cannot be checked now, try again later")                       \
	X(BUSY, "busy", "ERR too many at once, try again later")                                   \
	X(FAILED, "failed", "ERR the program cannot be started; see the server's log")             \
	X(TOO_LONG, "too-long", "ERR line too long")                                               \
	X(ERRORS, "errors", "ERR too many errors")                                                 \
	X(CERTIFICATE, "certificate", NULL)                                                        \
	X(USER, "user", NULL)                                                                      \
	X(IDLE, "idle", NULL)                                                                      \
	X(SHUTDOWN, "shutdown", NULL)

enum exec_text {
#define EXEC_TEXT_ENUM(name, word, text) EXEC_TX_##name,
	EXEC_TEXTS(EXEC_TEXT_ENUM)
#undef EXEC_TEXT_ENUM
	EXEC_TEXT_COUNT
};

enum exec_place {
	EXEC_BEFORE, /* a line before the one that matches */
	EXEC_AFTER,  /* a line behind it */
	EXEC_APPEND, /* at its end */
};

/* What is put into a plaintext program's own answer, so that clients learn of STARTTLS. Patterns: '*' any octets,
 * '?' one, without regard to case. */
struct exec_capability {
	enum exec_place place;
	const char *text;
	const char *pattern; /* of the program's line */
	const char *to;      /* only in the answer to a line like this, and once; NULL: always */
};

/* Of a service. All borrowed. */
struct exec_conf {
	bool at_once;        /* a program is started in plaintext, too */
	bool needs_login;    /* nobody without an identity gets a program in TLS */
	bool case_sensitive; /* the keyword */
	bool arguments;      /* words behind the keyword are fine */
	const char *greeting; /* without line end; NULL: none */
	const char *keyword;
	const char *reply;   /* the go-ahead, without line end */
	const char *banner;  /* pattern of the last line of what the program says unasked; left out
			      * where no client expects it: behind STARTTLS, and back in plaintext */
	const char *const *plaintext; /* patterns of lines that go to the program before STARTTLS where that
				       * is required */
	size_t nplaintext;
	const struct exec_capability *capabilities;
	size_t ncapabilities;
	const char *says[EXEC_TEXT_COUNT]; /* NULL: the default */
	uint32_t linger_ms;  /* for the program's last words when the server ends the session */
};

extern const struct engine_protocol exec_protocol;

#endif
