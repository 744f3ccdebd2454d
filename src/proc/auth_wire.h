/* proc/auth_wire.h - what both ends of a channel between a worker and auth have to know beside the messages. */
#ifndef PROC_AUTH_WIRE_H
#define PROC_AUTH_WIRE_H

#include "mail/normal.h"
#include "util/buf.h"

/* Flags of AUTH_SASL_BEGIN. */
#define AUTH_WIRE_TLS 0x1u
#define AUTH_WIRE_INITIAL 0x2u      /* there is an initial response, empty perhaps */
#define AUTH_WIRE_SUCCESS_DATA 0x4u /* see struct auth_sasl */
#define AUTH_WIRE_FLAGS 0x7u

#define AUTH_TEXT_MAX 512 /* octets of AUTH_SENDER_IS' text with the NUL */
#define AUTH_EXCHANGES_MAX 4096 /* SASL exchanges of one worker at a time; the next ones find auth busy */

/* What AUTH_OUSTED tells of users. Sessions that rest on it end. */
enum auth_change {
	AUTH_CHANGE_GONE,     /* they are none any more */
	AUTH_CHANGE_PASSWORD, /* they have another password, or none */
	AUTH_CHANGE_COUNT
};

#define AUTH_OUSTED_MAX (12 * 1024) /* octets of users in one AUTH_OUSTED */

/* One user that a recipient address reaches. */
struct auth_recipient {
	char user[NORMAL_ADDRESS_MAX]; /* the mailbox, in its normal form */
	uint64_t quota;                /* octets; 0: none */
};

/* Appends one user to the list of AUTH_RECIPIENTS. PT_ENOMEM, PT_ETOOBIG. */
int auth_wire_put(struct buf *list, const char *user, uint64_t quota) PT_MUST_USE;

/* Takes the next one from the front of list. False when that is no user, or empty. */
bool auth_wire_take(struct span *list, struct auth_recipient *r_out);

/* Takes the next name, with its NUL, from the front of users: borrowed. NULL when that is none, or empty. */
const char *auth_wire_take_name(struct span *users);

#endif
