/* mail/mail_from.h - the addresses of a From field (RFC 5322 §3.4 mailbox-list, with what §4.4 has as
 * obsolete: routes, blanks and comments everywhere; groups, RFC 6854). Pure, no allocation. */
#ifndef MAIL_MAIL_FROM_H
#define MAIL_MAIL_FROM_H

#include "mail/mail_addr.h"

enum mail_from {
	MAIL_FROM_ADDR, /* *out is the next address */
	MAIL_FROM_END,  /* there are no more */
	MAIL_FROM_BAD,  /* this is no list of mailboxes */
};

/* Takes the next address off the front of *rest, the unfolded value of the field. */
enum mail_from mail_from_next(struct span *rest, struct mail_addr *out);

#endif
