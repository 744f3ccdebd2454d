/* tls/tls_crl.h - certificate revocation lists (RFC 5280 §5) as our own sets of serial numbers.
 *
 * A set has the lists of one trust domain. Each is checked when it is loaded: signed by a CA of
 * client-ca that may sign lists, complete (no delta), about its issuer's own certificates (not
 * indirect). GnuTLS never gets them: it would walk them linearly. A look-up is a binary search.
 *
 * Memory: 25 octets for an entry, 1,000,000 entries at most; while a list is loaded, also its
 * octets. Looking up changes nothing. Not thread safe. */
#ifndef TLS_TLS_CRL_H
#define TLS_TLS_CRL_H

#include "tls/tls_verdict.h"
#include "util/diag.h"
#include "util/span.h"

#include <stdbool.h>
#include <stdint.h>

#define TLS_CRL_FILE_MAX (128 * 1024 * 1024) /* octets of one PEM file: the entries below, with reasons */
#define TLS_CRL_ENTRIES_MAX 1000000          /* of all lists of one set */
#define TLS_CRL_LISTS_MAX 256                /* of one set */
#define TLS_CRL_CAS_MAX 4096                 /* CA certificates that may sign them */
#define TLS_CRL_SERIAL_MAX 20                /* octets: RFC 5280 §4.1.2.2 */
#define TLS_CRL_WARNING_MAX 1024             /* octets of one warning with its NUL */
#define TLS_CRL_SKEW_S 300                   /* clocks may differ that much before we speak of it */

struct tls_ca_file;
struct tls_crl_set;

/* An empty set for the CAs in these files (tls_cred.h), which are borrowed during the call. grace_s: for
 * how long a list is still good enough after its nextUpdate. PT_EINVAL with a sentence in diag, PT_EFULL,
 * PT_ENOMEM. */
int tls_crl_new(const struct tls_ca_file *cas, size_t ncas, uint64_t grace_s, struct tls_crl_set **set_out,
		struct diag *diag) PT_MUST_USE;

/* Adds all lists of a PEM file. Of two lists of one issuer, key and scope the newer counts, whatever
 * the order. file is borrowed during the call. On error the set is of no use any more: PT_EINVAL with
 * a sentence that names file and list; PT_EFULL, PT_ENOMEM. */
int tls_crl_load(struct tls_crl_set *set, struct span file, const char *path, struct diag *diag)
	PT_MUST_USE;

/* Of what a set was made of, so that one need not be made again: files and grace. */
struct tls_crl_source {
	uint8_t digest[32];
};

/* Begins such a digest with the CAs and the grace, and goes on with one file of lists. Equal digests: the same set, with
 * the same things said. False: the library refuses, and nothing can be told. */
bool tls_crl_source_begin(const struct tls_ca_file *cas, size_t ncas, uint64_t grace_s,
			  struct tls_crl_source *source_out) PT_MUST_USE;
bool tls_crl_source_add(struct tls_crl_source *source, struct span file, const char *path) PT_MUST_USE;

/* Notes what the set was made of; and whether it was made of that. */
void tls_crl_note_source(struct tls_crl_set *set, const struct tls_crl_source *source);
bool tls_crl_is_from(const struct tls_crl_set *set, const struct tls_crl_source *source);

/* One more owner. */
struct tls_crl_set *tls_crl_ref(struct tls_crl_set *set);

/* Gives up one reference. NULL is fine; sets the pointer to NULL. */
void tls_crl_free(struct tls_crl_set **set);

/* What the lists say about a chain, DER, leaf first, n at most TLS_CHAIN_MAX (tls_key.h); now in seconds of
 * the epoch. Looks up the leaf, and whatever presented certificate or CA of client-ca bears the name of an
 * issuer of what was looked up, up to the self-issued CA; further presented certificates are not
 * looked at. TLS_VERDICT_TRUSTED: nothing against it; TLS_VERDICT_REVOKED; TLS_VERDICT_CRL_STALE: not
 * revoked as far as is known, but a list of one of the issuers is older than the grace allows;
 * TLS_VERDICT_BAD_SIGNATURE: not to be read as certificates. Checks no signature: for chains that are
 * verified, now or earlier. An issuer without a list has revoked nothing. */
enum tls_verdict tls_crl_judge(const struct tls_crl_set *set, const struct span *chain, size_t n,
			       uint64_t now);

/* Whether this certificate itself is in a list of its issuer, and since when (seconds of the epoch; 0: the list
 * does not say). For words: tls_crl_judge() decides. */
bool tls_crl_revoked_at(const struct tls_crl_set *set, struct span der, int64_t *when_out);

/* The next thing that an administrator should know and that has not been said of this set: a list
 * beyond 80 % of its life, past its nextUpdate, past the grace, from the future; a CA without a list.
 * False when there is nothing new. text_out holds TLS_CRL_WARNING_MAX octets, printable. */
bool tls_crl_warning(struct tls_crl_set *set, uint64_t now, char *text_out) PT_MUST_USE;

/* The earliest nextUpdate of its lists, in seconds of the epoch; 0 when there are none. */
uint64_t tls_crl_next_update(const struct tls_crl_set *set);

/* Entries of all lists that count. */
size_t tls_crl_entries(const struct tls_crl_set *set);

#endif
