/* proto/line/line_reply.h - everything the line protocol says (doc/line.md §4).
 *
 * A reply is any number of data lines, each of quoted strings, and one final line that begins with
 * OK, NO, BAD or BYE, a space and a quoted text. So no data line can be taken for its end.
 *
 * The functions append to out: 0, or PT_ENOMEM and PT_ETOOBIG from the buffer. */
#ifndef PROTO_LINE_LINE_REPLY_H
#define PROTO_LINE_LINE_REPLY_H

#include "proto/engine.h"
#include "util/buf.h"

#define LINE_VALUE_MAX 320 /* of one fact, before escaping: a mail address and a prefix fit */
#define LINE_NAME_MAX 255  /* of host and service: gnutls-cli reads a greeting into 1023 octets */
#define LINE_SANS_MAX 8    /* subject alternative names told of one certificate */

/* X(name, status, response code, text). The codes are RFC 5804 §1.3's where it has one. A text
 * tells a person what happened and, where something was refused, what to do next. */
#define LINE_TEXTS(X)                                                                              \
	X(READY, "OK", "", "Ready. HELP lists the commands.")                                      \
	X(READY_STARTTLS, "OK", "", "Ready. STARTTLS begins TLS; HELP lists the commands.")        \
	X(CAPABILITY, "OK", "", "These are the capabilities.")                                     \
	X(NOOP, "OK", "", "Done.")                                                                 \
	X(ECHO, "OK", "", "That is what you sent.")                                                \
	X(HELP, "OK", "", "These are the commands.")                                               \
	X(HELP_LOCKED, "OK", "", "These work in plaintext. The others work after STARTTLS.")       \
	X(HELP_ONE, "OK", "", "HELP alone lists all commands.")                                    \
	X(HELP_NONE, "NO", "(NONEXISTENT) ", "There is no such command. HELP lists them.")         \
	X(QUIT, "OK", "", "Goodbye.")                                                              \
	X(GO_AHEAD, "OK", "", "Begin TLS negotiation now.")                                        \
	X(ENCRYPT_NEEDED, "NO", "(ENCRYPT-NEEDED) ",                                               \
	  "This needs TLS. Send STARTTLS first, then this command again.")                         \
	X(TLS_UP, "NO", "", "TLS is up already; go on with other commands.")                       \
	X(TLS_NOT_OFFERED, "NO", "",                                                               \
	  "STARTTLS is not offered here. Go on in plaintext, or connect to a port that has TLS.")  \
	X(TLS_UNAVAILABLE, "NO", "(TRYLATER) ",                                                    \
	  "TLS is temporarily unavailable. Send STARTTLS again in a moment.")                      \
	X(TLS_ARGUMENT, "BAD", "", "STARTTLS takes no argument. Send it alone.")                   \
	X(NO_ARGUMENT, "BAD", "", "This command takes no argument. HELP lists the commands.")      \
	X(NOOP_ARGUMENT, "BAD", "",                                                                \
	  "NOOP takes one string. Send one word, or put more in quotes: \\\"a tag\\\".")           \
	X(ECHO_ARGUMENT, "BAD", "", "ECHO needs a text. Send ECHO, a space and the text.")         \
	X(HELP_ARGUMENT, "BAD", "",                                                                \
	  "HELP takes one name. Send HELP alone, or HELP and one command.")                        \
	X(UNKNOWN, "BAD", "", "There is no such command. HELP lists them.")                        \
	X(EMPTY, "BAD", "", "An empty line is no command. HELP lists the commands.")               \
	X(BARE_LF, "BAD", "",                                                                      \
	  "This line ended in LF alone. End each line in CR LF (openssl s_client has -crlf).")     \
	X(BARE_CR, "BAD", "", "A CR stood within a line. End each line in CR LF.")                 \
	X(NUL, "BAD", "", "A NUL stood in the line. Send text; TLS begins only after STARTTLS.")   \
	X(TEXT, "BAD", "", "The line is not printable UTF-8. Send text without control octets.")   \
	X(TOO_LONG, "BAD", "", "The line is too long. At most 1024 octets with CR LF are taken.")  \
	X(BYE_TOO_LONG, "BYE", "", "The line has no end. Connect again and send shorter lines.")   \
	X(BYE_ERRORS, "BYE", "", "Too many errors. Connect again; HELP lists the commands.")       \
	X(BYE_IDLE, "BYE", "(TRYLATER) ",                                                          \
	  "No command came for too long. Connect again; NOOP keeps a session open.")               \
	X(BYE_INJECTION, "BYE", "",                                                                \
	  "Octets came behind STARTTLS. Connect again and wait for its reply before TLS.")         \
	X(BYE_SHUTDOWN, "BYE", "(TRYLATER) ",                                                      \
	  "The server is going down or starting anew. Connect again in a moment.")                 \
	X(BYE_LIMIT_TOTAL, "BYE", "(TRYLATER) ",                                                   \
	  "The server has as many connections as it may. Try again later.")                        \
	X(BYE_LIMIT_ADDRESS, "BYE", "(TRYLATER) ",                                                 \
	  "Your address has as many connections as it may. Close one, then try again.")            \
	X(BYE_CERTIFICATE, "BYE", "",                                                              \
	  "Your client certificate is not accepted any more. Get a new one, then connect again.")  \
	X(BYE_USER, "BYE", "",                                                                     \
	  "Your user was removed from this server. Ask its administrator if that was not meant.")  \
	X(WHO_PLAINTEXT, "OK", "", "Nobody is logged in: this connection is plaintext.")           \
	X(WHO_IDENTITY, "OK", "", "Your client certificate is your login.")                        \
	X(WHO_NONE, "OK", "",                                                                      \
	  "Nobody is logged in: no client certificate came. Connect again with one.")              \
	X(WHO_NOT_ASKED, "OK", "",                                                                 \
	  "Nobody is logged in: this service does not ask for client certificates.")               \
	X(WHO_EXPIRED, "OK", "",                                                                   \
	  "Nobody is logged in: the client certificate has expired. Connect with a new one.")      \
	X(WHO_NOT_YET_VALID, "OK", "",                                                             \
	  "Nobody is logged in: the client certificate is not valid yet. Check both clocks.")      \
	X(WHO_REVOKED, "OK", "",                                                                   \
	  "Nobody is logged in: the client certificate is revoked. Ask for a new one.")            \
	X(WHO_UNKNOWN_CA, "OK", "",                                                                \
	  "Nobody is logged in: this server does not trust the certificate's issuer. Send the "    \
	  "whole chain, or use a certificate issued for this server.")                             \
	X(WHO_WRONG_PURPOSE, "OK", "",                                                             \
	  "Nobody is logged in: the certificate is not made for TLS clients. Use one that is.")    \
	X(WHO_BAD_SIGNATURE, "OK", "",                                                             \
	  "Nobody is logged in: the certificate's signature is wrong. Use an unaltered copy.")     \
	X(WHO_CRL_STALE, "OK", "",                                                                 \
	  "Nobody is logged in: the server's list of revoked certificates is out of date. Tell "   \
	  "its administrator.")                                                                    \
	X(WHO_UNMAPPED, "OK", "",                                                                  \
	  "Nobody is logged in: the certificate is good, but belongs to no user here. Ask the "    \
	  "administrator to register it.")                                                         \
	X(WHO_NOBODY, "OK", "", "Nobody is logged in: the client certificate was not accepted.")

enum line_text {
#define LINE_TEXT_ENUM(name, status, code, text) LINE_TX_##name,
	LINE_TEXTS(LINE_TEXT_ENUM)
#undef LINE_TEXT_ENUM
	LINE_TX_COUNT,
	LINE_TX_NONE = LINE_TX_COUNT /* nothing to object to */
};

/* A whole final line with its CRLF; static storage. */
const char *line_reply_line(enum line_text t);

/* Whether the line begins with BAD: such replies are counted. */
bool line_reply_is_bad(enum line_text t);

/* Appends the final line. */
int line_reply_text(struct buf *out, enum line_text t) PT_MUST_USE;

/* Appends one data line: name and value as quoted strings, or the value alone where name is NULL.
 * '"' and '\' are escaped, control octets become '?', and of the value at most max octets are told,
 * "..." at their end when it was longer. */
int line_reply_data(struct buf *out, const char *name, struct span value, size_t max) PT_MUST_USE;

/* Appends OK with the tag that came with NOOP (RFC 5804 §2.13). */
int line_reply_tag(struct buf *out, struct span tag) PT_MUST_USE;

/* Appends the capability lines, without a final line. */
int line_reply_capabilities(struct buf *out, const struct engine_conf *conf,
			    bool starttls) PT_MUST_USE;

/* The final line of a greeting: ready; or, where a client certificate came and is nobody's login, why
 * that is so. */
enum line_text line_reply_ready(const struct engine_peer *peer, bool starttls);

/* Appends all that is known of the peer, with the final line. */
int line_reply_whoami(struct buf *out, const struct engine_peer *peer) PT_MUST_USE;

#endif
