/* proto/smtp/smtp_reply.h - everything that smtp, submission and lmtp say: codes (RFC 5321 §4.2), enhanced
 * codes (RFC 3463) and texts in one table.
 *
 * The functions append to out: 0, or PT_ENOMEM and PT_ETOOBIG from the buffer. */
#ifndef PROTO_SMTP_SMTP_REPLY_H
#define PROTO_SMTP_SMTP_REPLY_H

#include "proto/engine.h"
#include "util/buf.h"

#define SMTP_REPLY_MAX 512 /* octets of a line with its CRLF (RFC 5321 §4.5.3.1.5) */
#define SMTP_VALUE_MAX 320 /* octets of a name within a reply; longer is cut */

/* V(X, name, verdict, text): why a client's certificate is no login, by its verdict (struct engine_peer). Where a command
 * needs a login the text stands behind SMTP_TEXT_OF_LOGIN's words, where AUTH EXTERNAL asked for it behind the others. */
#define SMTP_VERDICTS(V, X)                                                                        \
	V(X, NONE, "none", "no client certificate came. Connect again with yours.")                \
	V(X, EXPIRED, "expired", "the client certificate has expired. Connect with a new one.")    \
	V(X, NOT_YET_VALID, "not-yet-valid",                                                       \
	  "the client certificate is not valid yet. Check both clocks.")                           \
	V(X, REVOKED, "revoked", "the client certificate is revoked. Ask for a new one.")          \
	V(X, UNKNOWN_CA, "unknown-ca",                                                             \
	  "this server does not trust the certificate's issuer. Send the whole chain, or use a "   \
	  "certificate issued for this server.")                                                   \
	V(X, WRONG_PURPOSE, "wrong-purpose",                                                       \
	  "the certificate is not made for TLS clients. Use one that is.")                         \
	V(X, BAD_SIGNATURE, "bad-signature",                                                       \
	  "the certificate's signature is wrong. Use an unaltered copy.")                          \
	V(X, CRL_STALE, "crl-stale",                                                               \
	  "the server's list of revoked certificates is out of date. Tell its administrator.")     \
	V(X, UNMAPPED, "unmapped",                                                                 \
	  "the certificate is good, but belongs to no user here. Ask the administrator to register it.")
#define SMTP_TEXT_OF_LOGIN(X, name, verdict, text) X(LOGIN_##name, "530", "5.7.0", "Log in first: " text)
#define SMTP_TEXT_OF_EXTERNAL(X, name, verdict, text)                                              \
	X(EXTERNAL_##name, "535", "5.7.8", "EXTERNAL is not possible: " text)

/* X(name, code, enhanced code, text). '%' stands where a name goes in. A text tells a person what happened
 * and, where something was refused, what to do next. */
#define SMTP_TEXTS(X)                                                                              \
	/* it works */                                                                             \
	X(GREETING, "220", "", "% ESMTP Postern")                                                  \
	X(GREETING_LMTP, "220", "", "% LMTP Postern")                                              \
	X(HELO, "250", "", "%")                                                                    \
	X(GO_AHEAD, "220", "2.0.0", "Begin TLS negotiation now.")                                  \
	X(OK, "250", "2.0.0", "Done.")                                                             \
	X(RESET, "250", "2.0.0", "All is forgotten but your name.")                                \
	X(SENDER_OK, "250", "2.1.0", "Sender taken.")                                              \
	X(RECIPIENT_OK, "250", "2.1.5", "Recipient taken.")                                        \
	X(ACCEPTED, "250", "2.0.0", "The message is kept as %.")                                   \
	X(CHUNK_OK, "250", "2.0.0", "% octets taken.")                                             \
	X(GO_ON, "354", "", "Send the message; a dot alone on a line ends it.")                    \
	X(CHALLENGE, "334", "", "%")                                                               \
	X(LOGGED_IN, "235", "2.7.0", "You are logged in as %.")                                    \
	X(QUIT, "221", "2.0.0", "Goodbye.")                                                        \
	X(VRFY, "252", "2.1.5", "Whether that exists is told at RCPT.")                            \
	X(HELP, "214", "2.0.0", "%")                                                               \
	/* the line is none, or nothing that we know */                                            \
	X(BARE_LF, "500", "5.5.2",                                                                 \
	  "This line ended in LF alone. End each line in CR LF (openssl s_client has -crlf).")     \
	X(BARE_CR, "500", "5.5.2", "A CR stood within a line. End each line in CR LF.")            \
	X(NUL, "500", "5.5.2", "A NUL stood in the line. Send text; TLS begins after STARTTLS.")   \
	X(TEXT, "500", "5.5.2", "The line is not printable UTF-8. Send text without control octets.") \
	X(TOO_LONG, "500", "5.5.6", "The line is too long.")                                       \
	X(EMPTY, "500", "5.5.2", "An empty line is no command.")                                   \
	X(UNKNOWN, "500", "5.5.1", "There is no such command. HELP lists them.")                   \
	X(NOT_HERE, "502", "5.5.1", "This command does not exist here. HELP lists those that do.") \
	X(SAY_LHLO, "500", "5.5.1", "This is LMTP: say LHLO.")                                     \
	X(SAY_EHLO, "500", "5.5.1", "This is SMTP: say EHLO.")                                     \
	X(HELO_ARGUMENT, "501", "5.5.4", "Say who you are: a domain, or an address in brackets.")  \
	X(NO_ARGUMENT, "501", "5.5.4", "This command takes no argument.")                          \
	X(NEEDS_ARGUMENT, "501", "5.5.4", "This command needs an argument.")                       \
	X(TLS_ARGUMENT, "501", "5.5.4", "STARTTLS takes no argument. Send it alone.")              \
	X(MAIL_SYNTAX, "501", "5.5.4", "Write it as MAIL FROM:<address>.")                         \
	X(RCPT_SYNTAX, "501", "5.5.4", "Write it as RCPT TO:<address>.")                           \
	X(SENDER_SYNTAX, "501", "5.1.7", "That is no address; one looks like <alice@example.org>.") \
	X(RECIPIENT_SYNTAX, "501", "5.1.3",                                                        \
	  "That is no address; one looks like <alice@example.org>.")                               \
	X(ADDRESS_LONG, "501", "5.1.3", "The address is too long.")                                \
	X(SENDER_LONG, "501", "5.1.7", "The address is too long.")                                 \
	X(SENDER_UTF8, "553", "5.6.7", "An address with UTF-8 needs SMTPUTF8 behind it in MAIL.")  \
	X(RECIPIENT_UTF8, "553", "5.6.7", "An address with UTF-8 needs SMTPUTF8 in MAIL.")         \
	X(PARAMETER, "555", "5.5.4", "There is no such parameter here. EHLO lists what there is.") \
	X(PARAMETER_VALUE, "501", "5.5.4", "A parameter is not as its RFC has it, or came twice.") \
	X(BDAT_SYNTAX, "501", "5.5.4",                                                             \
	  "How long the chunk is cannot be told. Write it as BDAT octets, or BDAT octets LAST. Goodbye.") \
	X(BDAT_HUGE, "552", "5.3.4", "The chunk is larger than this server takes. Goodbye.")       \
	/* not now */                                                                              \
	X(FIRST_HELO, "503", "5.5.1", "Say who you are first: EHLO, or LHLO in LMTP.")             \
	X(NESTED, "503", "5.5.1", "A message is under way. Finish it, or RSET.")                   \
	X(FIRST_MAIL, "503", "5.5.1", "MAIL comes first.")                                         \
	X(FIRST_RCPT, "503", "5.5.1", "No recipient has been taken: RCPT comes first.")            \
	X(NO_RECIPIENTS, "554", "5.5.1", "No recipient was taken, so there is nothing to do.")     \
	X(IN_CHUNKS, "503", "5.5.1", "The message comes in chunks: go on with BDAT, or RSET.")     \
	X(TLS_UP, "503", "5.5.1", "TLS is up already; go on with other commands.")                 \
	X(TLS_NOT_OFFERED, "502", "5.5.1", "STARTTLS is not offered here.")                        \
	X(TLS_UNAVAILABLE, "454", "4.7.0",                                                         \
	  "TLS is temporarily unavailable. Send STARTTLS again in a moment.")                      \
	X(TLS_FIRST, "530", "5.7.0", "This needs TLS: send STARTTLS first.")                       \
	/* login */                                                                                \
	X(LOGIN_FIRST, "530", "5.7.0", "Log in first: with a client certificate, or AUTH.")        \
	X(LOGIN_PASSWORD, "530", "5.7.0", "Log in first: AUTH, with a password.")                  \
	SMTP_VERDICTS(SMTP_TEXT_OF_LOGIN, X)                                                       \
	X(AUTH_NOT_HERE, "502", "5.5.1", "There is no login here. Users send by submission.")      \
	X(AUTH_TWICE, "503", "5.5.1", "You are logged in already.")                                \
	X(AUTH_SYNTAX, "501", "5.5.4", "Write it as AUTH mechanism, or AUTH mechanism response.")  \
	X(AUTH_MECHANISM, "504", "5.5.4", "There is no such mechanism here. EHLO lists them.")     \
	X(AUTH_TLS, "538", "5.7.11", "Logging in needs TLS: send STARTTLS first.")                 \
	X(AUTH_NO_TLS, "538", "5.7.11",                                                            \
	  "Logging in needs TLS, and this port has none. Connect to one that has.")                \
	X(EXTERNAL_NOT_HERE, "504", "5.5.4",                                                       \
	  "A certificate is no login on this port. Log in with a password: EHLO lists how.")       \
	X(EXTERNAL_NOT_ASKED, "504", "5.5.4",                                                      \
	  "EXTERNAL is not possible: this port asks for no certificate. Connect to one that does, or log in as EHLO lists.") \
	SMTP_VERDICTS(SMTP_TEXT_OF_EXTERNAL, X)                                                    \
	X(AUTH_BASE64, "501", "5.5.2", "The response is not base64.")                              \
	X(AUTH_LONG, "500", "5.5.6", "The response is too long.")                                  \
	X(AUTH_CANCELLED, "501", "5.0.0", "Logging in is cancelled, as you asked.")                \
	X(AUTH_MALFORMED, "501", "5.5.2", "The response is not what the mechanism asks for.")      \
	X(AUTH_FAILED, "535", "5.7.8", "The login is not right. Check user and password.")         \
	X(AUTH_FAILED_EXTERNAL, "535", "5.7.8",                                                    \
	  "The certificate is not a login for that user. Leave the user out, or use its own.")     \
	X(AUTH_OTHER, "535", "5.7.8",                                                              \
	  "This session belongs to % by certificate. To be somebody else, connect without it.")    \
	X(AUTH_AUTHZID, "535", "5.7.8",                                                            \
	  "The password is right, but you may not act as that other user. Leave the other user out.") \
	X(AUTH_LIMITED, "454", "4.7.0",                                                            \
	  "Too many logins from your address, or as this user, have failed. Try again in ten minutes.") \
	X(AUTH_UNAVAILABLE, "454", "4.7.0", "Logins cannot be checked at present. Try again later.") \
	/* who and for whom */                                                                     \
	X(SENDER_DENIED, "550", "5.7.1", "That is no address of yours. Send from: %.")              \
	X(FROM_DENIED, "550", "5.7.1",                                                             \
	  "The From field holds an address that is none of yours. Use: %.")                        \
	X(SENDER_FIELD_DENIED, "550", "5.7.1",                                                     \
	  "The Sender field holds an address that is none of yours. Use: %.")                      \
	X(RESENT_DENIED, "550", "5.7.1",                                                           \
	  "A Resent-From or Resent-Sender field holds an address that is none of yours. Use: %.")  \
	X(FROM_SYNTAX, "554", "5.6.0", "The From field cannot be read: it must be addresses.")     \
	X(SENDER_FIELD_SYNTAX, "554", "5.6.0", "The Sender field cannot be read: it must be an address.") \
	X(RESENT_SYNTAX, "554", "5.6.0",                                                           \
	  "A Resent-From or Resent-Sender field cannot be read: it must be addresses.")            \
	X(FROM_TWICE, "554", "5.6.0", "The message has more than one From field: it must be one.") \
	X(SENDER_FIELD_TWICE, "554", "5.6.0", "The message has more than one Sender field: it may be one.") \
	X(WHO_MANY, "554", "5.6.0",                                                                \
	  "From, Sender and Resent fields hold too many addresses, or are longer than 4096 octets.") \
	X(ASK_LATER, "451", "4.3.0", "That cannot be found out at present. Try again later.")      \
	X(USER_UNKNOWN, "550", "5.1.1", "There is no such user here.")                             \
	X(NO_RELAY, "550", "5.7.1", "That is no domain of ours, and we do not relay.")             \
	X(NO_RELAY_YET, "550", "5.7.1",                                                            \
	  "That is no domain of this server, and it does not send to others yet.")                 \
	X(OVERQUOTA, "552", "5.2.2", "The mailbox is full.")                                       \
	X(OVERQUOTA_NOW, "452", "4.2.2",                                                           \
	  "A recipient's mailbox has become full meanwhile; nothing was kept. Send it again: that one is refused then.") \
	X(OVERQUOTA_SOME, "552", "5.2.2",                                                          \
	  "A recipient's mailbox has no room for this message; nothing was kept. Send it to each alone.") \
	X(TOO_MANY_RECIPIENTS, "452", "4.5.3",                                                     \
	  "The message has as many recipients as it may. Send it again for the others.")           \
	/* the message */                                                                          \
	X(TOO_BIG, "552", "5.3.4", "The message is larger than this server takes.")                \
	X(BODY_LF, "554", "5.6.0",                                                                 \
	  "A line of the message ended in LF alone. Lines end in CR LF; nothing was kept.")        \
	X(BODY_CR, "554", "5.6.0",                                                                 \
	  "A CR stood within a line of the message. Lines end in CR LF; nothing was kept.")        \
	X(BODY_NUL, "554", "5.6.0", "A NUL stood in the message; nothing was kept.")               \
	X(BODY_LONG, "554", "5.6.0",                                                               \
	  "A line of the message was longer than 1000 octets; nothing was kept.")                  \
	X(AMBIGUOUS_END, "554", "5.5.2",                                                           \
	  "A dot stood alone between line ends that are not CR LF; nothing was kept. Goodbye.")    \
	X(LOOP, "554", "5.4.6", "The message has been through too many servers: it loops.")        \
	X(COMMIT_LATER, "451", "4.3.0", "The message cannot be kept at present. Try again later.") \
	X(FULL, "452", "4.3.1", "The server has no room at present. Try again later.")             \
	/* goodbye */                                                                              \
	X(EARLY, "554", "5.5.1", "You spoke before the greeting. Connect again and wait for it.")  \
	X(INJECTION, "554", "5.7.0",                                                               \
	  "Octets came behind STARTTLS. Connect again and wait for its reply before TLS.")         \
	X(LINE_ENDLESS, "500", "5.5.6", "The line has no end. Connect again and send shorter lines.") \
	X(ERRORS, "421", "4.7.0", "Too many errors. Goodbye.")                                     \
	X(COMMANDS, "421", "4.7.0", "Too many commands without a message. Goodbye.")               \
	X(UNKNOWN_USERS, "421", "4.7.0", "Too many recipients that do not exist. Goodbye.")        \
	X(LOGINS, "421", "4.7.0", "Too many failed logins. Goodbye.")                              \
	X(IDLE, "421", "4.4.2", "Nothing came for too long. Goodbye.")                             \
	X(SLOW, "421", "4.4.2", "The message took too long; nothing of it was kept. Goodbye.")     \
	X(SHUTDOWN, "421", "4.3.2",                                                                \
	  "The server is going down or starting anew. Connect again in a moment.")                 \
	X(CERTIFICATE, "421", "4.7.0",                                                             \
	  "The client certificate of this session is not trusted any more. Connect with another.") \
	X(USER_GONE, "421", "4.7.0",                                                               \
	  "Your user was removed from this server. Ask its administrator if that was not meant.")  \
	X(PASSWORD_CHANGED, "421", "4.7.0",                                                        \
	  "The password of this session was changed. Log in again with the new one.")              \
	X(LIMIT_TOTAL, "421", "4.3.2",                                                             \
	  "The server has as many connections as it may. Try again later.")                        \
	X(LIMIT_ADDRESS, "421", "4.7.0",                                                           \
	  "Your address has as many connections as it may. Close one, then try again.")

enum smtp_text {
#define SMTP_TEXT_ENUM(name, code, enhanced, text) SMTP_TX_##name,
	SMTP_TEXTS(SMTP_TEXT_ENUM)
#undef SMTP_TEXT_ENUM
	SMTP_TX_COUNT,
	SMTP_TX_NONE = SMTP_TX_COUNT /* nothing to object to */
};

/* A whole reply with its CRLF; static storage. For texts without '%'. */
const char *smtp_reply_line(enum smtp_text t);

/* "550 5.7.1", "354"; static storage. */
struct span smtp_reply_code(enum smtp_text t);

/* Begins with 5: a refusal for good. */
bool smtp_reply_is_permanent(enum smtp_text t);

/* Appends the reply; of value, which goes where '%' stands if it does, at most SMTP_VALUE_MAX octets, with '?' for control
 * characters, and for UTF-8 where the client has not asked for it. */
int smtp_reply_text(struct buf *out, enum smtp_text t) PT_MUST_USE;
int smtp_reply_about(struct buf *out, enum smtp_text t, struct span value, bool utf8) PT_MUST_USE;

/* Appends the whole reply that asks for more (RFC 4954 §4): 334 and base64. */
int smtp_reply_challenge(struct buf *out, struct span challenge) PT_MUST_USE;

/* What the reply to EHLO and LHLO lists beside what is always there. */
struct smtp_offer {
	bool locked;         /* nothing works before STARTTLS */
	bool starttls;
	uint64_t size;       /* octets of a message; 0: no limit of its own */
	const char *const *mechanisms; /* of AUTH */
	size_t nmechanisms;
};

/* Appends the whole reply to EHLO or LHLO. */
int smtp_reply_ehlo(struct buf *out, const char *hostname, const struct smtp_offer *offer) PT_MUST_USE;

/* What to say to a client that has to log in, where a certificate can be the login (certificate) or not. */
enum smtp_text smtp_reply_login(const struct engine_peer *peer, bool certificate);
/* What to say to AUTH EXTERNAL where certificates are a login, but this session's is none. */
enum smtp_text smtp_reply_external(const struct engine_peer *peer);

#endif
