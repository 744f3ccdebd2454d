/* proc/ticket_key.h - the master key of session tickets, in the state folder. The parent's.
 *
 * <state>/keys/ticket, 64 octets, mode 0600 in a folder of mode 0700. It is made once, outlives reloads,
 * upgrades, stops and starts, and is read again at each of them. Whoever knows it can read the tickets
 * that were made with it: so a file that others could have read or written is not used but replaced.
 * That costs the clients one full handshake each, nothing more; removing it by hand and reloading is
 * therefore how to change it. */
#ifndef PROC_TICKET_KEY_H
#define PROC_TICKET_KEY_H

#include "util/diag.h"

#include <stdint.h>

#define TICKET_KEY_SIZE 64

enum ticket_key_source {
	TICKET_KEY_READ,     /* it was there */
	TICKET_KEY_MADE,     /* there was none */
	TICKET_KEY_REPLACED, /* the one that was there cannot be used; diag tells why */
};

/* Reads <state>/keys/<name>, or makes it and its folder, whatever it is for: 64 random octets that outlive the server.
 * The same errors, the same care. */
int state_key_open(const char *state, const char *name, uint8_t key_out[TICKET_KEY_SIZE],
		   enum ticket_key_source *source_out, struct diag *diag) PT_MUST_USE;

/* Reads <state>/keys/ticket, or makes it and its folder. PT_EIO, PT_EPERM with a sentence in diag: then
 * there is no key. Secret: wipe it. */
int ticket_key_open(const char *state, uint8_t key_out[TICKET_KEY_SIZE], enum ticket_key_source *source_out,
		    struct diag *diag) PT_MUST_USE;

/* The same, and says in the log what is worth telling. Without a file the key is prev's, or (prev NULL) a
 * new one that only this process knows: tickets do not outlive it then. PT_EIO: no random octets. */
int ticket_key_load(const char *state, const uint8_t *prev, uint8_t key_out[TICKET_KEY_SIZE]) PT_MUST_USE;

#endif
